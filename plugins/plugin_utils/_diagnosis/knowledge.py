# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The known failures: entries of diagnoses.yml and of users' own files, read and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._engine.log import PHASES
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.lines import clean_lines
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import expressions
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.expressions import Expression
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.repair import RULES
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.vulnerabilities import exposure_verdict

BUILTIN = Path(__file__).parent / "diagnoses.yml"

STAGES = ("build", "startup", "runtime", "multinode", "host", "security")
SEVERITIES = ("fatal", "degraded", "info")
LEVELS = ("safe", "confirm", "never")
WRAPPER_PRIORITY = 70
"""From this number on an entry names a consequence or a marker, never a root cause."""
MOST_HITS_PER_ENTRY = 3

_REQUIRED: dict[str, type] = {"id": str, "stage": str, "signature": str, "example": str, "cause": str, "fix": str, "source": list}
_OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "priority": int,
    "severity": str,
    "auto": dict,
    "applies_to": str,
    "evidence": str,
    "unless": list,
    "check": str,
    "phases": list,
    "also_stages": list,
    "counter_example": (str, list),
    "raised_in": str,
    "not_raised_in": str,
    "beside": str,
    "until": str,
    "marker": bool,
    "broad": bool,
    "packages": bool,
    "outside": bool,
}
_AUTO = {"level": str, "action": str, "why": str, "set": dict, "env": dict, "unset": list, "unset_env": list, "container": dict}


def _version_is_old(groups: dict) -> bool:
    version = groups.get("ver") or (f"0.{groups['minor']}.{groups['patch']}" if groups.get("minor") else "")
    return bool(version) and exposure_verdict(version, "0.0.0.0")["verdict"] != "allow"


PLACE = re.compile(r"\{([a-z_]\w*)\}")
"""Where a value that the signature captured is put into an entry's words, or its ``until``."""

_FREE_TEXT = re.compile(r"\(\?P<(?P<name>\w+)>(?:\(\?![^()]*\))*\[\^[^\]]*\]\{\d+,(?P<most>\d+)\}\??\)")

_OWN_WORDS = 80
"""Fewer letters than these beside what it repeats, and a cause explains nothing of its own."""

CHECKS = {"version_is_old": _version_is_old}
"""Conditions beyond a pattern that an entry may name in ``check``; they get the pattern's named groups."""


@dataclass(frozen=True)
class Entry:
    """One known failure, as written in diagnoses.yml."""

    id: str
    stage: str
    signature: Expression
    example: str
    cause: str
    fix: str
    source: tuple[str, ...]
    priority: int = 20
    severity: str = "fatal"
    auto: dict = field(default_factory=lambda: {"level": "never"})
    applies_to: str = ""
    unless: tuple[str, ...] = ()
    check: str = ""
    phases: tuple[str, ...] = ()
    also_stages: tuple[str, ...] = ()
    counter_examples: tuple[str, ...] = ()
    raised_in: Expression | None = None
    """Where the traceback above a match has to end: an expression for the deepest frame that says something (``reading.place_of``)."""
    not_raised_in: Expression | None = None
    """Where the same words mean another thing."""
    beside: Expression | None = None
    """What has to stand elsewhere in the same log: it tells this cause from others with the same words."""
    until: str = ""
    """What takes a match back where it stands below: then the program got over it. ``{name}`` is what the signature captured."""
    marker: bool = False
    """Whether it only tells how something ended; such an entry never names a cause."""
    broad: bool = False
    """Whether its signature is little more than the type of an exception: its answer also names the features the traceback passed."""
    packages: bool = False
    """Whether it says that code of different versions met: its answer also names the packages at the end of the traceback."""
    outside: bool = False
    """Whether another program than the server says it: a server that comes up below takes nothing back."""

    @cached_property
    def quotes(self) -> tuple[str, ...]:
        """Names of the groups that take whatever the program says, where the cause does little more than repeat it."""
        if len(PLACE.sub("", self.cause)) >= _OWN_WORDS:
            return ()
        free = (group["name"] for group in _FREE_TEXT.finditer(self.signature.pattern) if int(group["most"]) >= 60)
        return tuple(name for name in free if f"{{{name}}}" in self.cause)

    @property
    def stages(self) -> tuple[str, ...]:
        """Every stage in whose logs it may be found."""
        return (self.stage, *self.also_stages)

    def is_taken_back(self, match: re.Match, text: str) -> bool:
        """Whether the text below a match says that what it tells of has passed."""
        if not self.until:
            return False
        values = {name: value for name, value in match.groupdict().items() if value is not None}
        pattern = PLACE.sub(lambda place: re.escape(values[place.group(1)]) if place.group(1) in values else place.group(), self.until)
        return re.compile(pattern, re.MULTILINE).search(text, match.end()) is not None

    def matches(self, text: str, accept: Callable[[re.Match], bool] | None = None) -> list[re.Match]:
        """The first places of a cleaned text in which it is found; ``accept`` may refuse some."""
        found = []
        for match in self.signature.finditer(text):
            checked = not self.check or CHECKS[self.check](match.groupdict())
            if match.group() and checked and (accept is None or accept(match)) and not self.is_taken_back(match, text):
                found.append(match)
                if len(found) == MOST_HITS_PER_ENTRY:
                    break
        return found


def parse_entry(raw: object, where: str, *, with_example: bool = True) -> Entry:
    """One validated entry; GB10Error says which field of which entry is wrong and how.

    :param with_example: whether it must bring its own example; those of our own entries lie with the tests.
    """
    if not isinstance(raw, dict):
        raise GB10Error(f"{where} is not a mapping of fields such as id, signature, cause and fix.")
    where = f"{where} ({raw['id']})" if isinstance(raw.get("id"), str) else where
    _check_fields(raw if with_example else {"example": "-", **raw}, where)
    auto = raw.get("auto", {"level": "never"})
    _check_auto(auto, where)
    counter = raw.get("counter_example", ())
    entry = Entry(
        id=raw["id"],
        stage=raw["stage"],
        signature=_expression(raw["signature"], f"{where}: the signature", with_example),
        example=raw.get("example", ""),
        cause=raw["cause"].strip(),
        fix=raw["fix"].strip(),
        source=tuple(str(item) for item in raw["source"]),
        priority=raw.get("priority", 20),
        severity=raw.get("severity", "fatal"),
        auto=auto,
        applies_to=raw.get("applies_to", ""),
        unless=tuple(raw.get("unless", ())),
        check=raw.get("check", ""),
        phases=tuple(raw.get("phases", ())),
        also_stages=tuple(raw.get("also_stages", ())),
        counter_examples=(counter,) if isinstance(counter, str) else tuple(counter),
        raised_in=_expression(raw["raised_in"], f"{where}: raised_in", with_example) if raw.get("raised_in") else None,
        not_raised_in=_expression(raw["not_raised_in"], f"{where}: not_raised_in", with_example) if raw.get("not_raised_in") else None,
        beside=_expression(raw["beside"], f"{where}: beside", with_example) if raw.get("beside") else None,
        until=_expression(raw["until"], f"{where}: until", with_example).pattern if raw.get("until") else "",
        marker=raw.get("marker", False),
        broad=raw.get("broad", False),
        packages=raw.get("packages", False),
        outside=raw.get("outside", False),
    )
    if with_example or entry.example:
        _check_examples(entry, where)
    return entry


def _expression(pattern: str, what: str, whole: bool) -> Expression:
    """``whole``: whether it is compiled at once, for some mistakes show only then; our own are compiled by the tests."""
    try:
        expression = Expression(pattern)
        if whole:
            re.compile(pattern, re.MULTILINE)
        return expression
    except (re.error, OverflowError, RecursionError) as error:
        raise GB10Error(f"{what} is not a regular expression: {error}.") from error


def _check_fields(raw: dict, where: str) -> None:
    """Every field is known and of its type, and names what exists."""
    for name, needed in _REQUIRED.items():
        if not raw.get(name) or not isinstance(raw[name], needed):
            raise GB10Error(f"{where} needs the field {name} ({_kind(needed)}).")
    for name, value in raw.items():
        kind = _REQUIRED.get(name) or _OPTIONAL.get(name)
        if kind is None:
            known = ", ".join([*_REQUIRED, *_OPTIONAL])
            raise GB10Error(f"{where} has the unknown field {name}; known are {known}.")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise GB10Error(f"{where}: the field {name} must be {_kind(kind)}.")
    _one_of(raw["stage"], STAGES, f"{where}: stage")
    _one_of(raw.get("severity", "fatal"), SEVERITIES, f"{where}: severity")
    for stage in raw.get("also_stages", ()):
        _one_of(stage, STAGES, f"{where}: also_stages")
    for phase in raw.get("phases", ()):
        _one_of(phase, PHASES, f"{where}: phases")
    if raw.get("check"):
        _one_of(raw["check"], tuple(CHECKS), f"{where}: check")


def _check_examples(entry: Entry, where: str) -> None:
    if not entry.matches("\n".join(clean_lines(entry.example))):
        raise GB10Error(f"{where}: the signature does not match its own example, so it would never be found.")
    for text in entry.counter_examples:
        if entry.matches("\n".join(clean_lines(text))):
            raise GB10Error(f"{where}: the signature matches its counter_example {text[:80]!r}.")


def _check_auto(auto: dict, where: str) -> None:
    """What is promised to be done must be something that is implemented (``repair.RULES``)."""
    _one_of(auto.get("level"), LEVELS, f"{where}: auto.level")
    for name, value in auto.items():
        if name not in _AUTO or not isinstance(value, _AUTO[name]):
            raise GB10Error(f"{where}: auto.{name} is not one of the known fields {', '.join(_AUTO)} or has the wrong type.")
    if "action" in auto:
        _one_of(auto["action"], tuple(RULES), f"{where}: auto.action")
    elif auto["level"] != "never":
        raise GB10Error(f"{where}: auto.level is {auto['level']}, so auto.action must say what is done, one of {', '.join(RULES)}.")


def _kind(kind: type | tuple[type, ...]) -> str:
    names = {str: "a text", list: "a list", dict: "a mapping", int: "a whole number"}
    return " or ".join(names[one] for one in (kind if isinstance(kind, tuple) else (kind,)))


def _one_of(value: object, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise GB10Error(f"{what} is {value!r}, it must be one of {', '.join(allowed)}.")


def _check_signature(entry: Entry, where: str) -> None:
    """A user's expression is not measured as ours are, so what may run for long is refused."""
    places = (("raised_in", entry.raised_in), ("not_raised_in", entry.not_raised_in))
    until = Expression(entry.until) if entry.until else None
    for name, expression in (("signature", entry.signature), *places, ("beside", entry.beside), ("until", until)):
        why = expressions.problem(expression.pattern) if expression else ""
        if why:
            raise GB10Error(f"{where} ({entry.id}): the {name} may run for very long on a hostile log: {why}.")


def read_file(path: Path, *, with_examples: bool = True) -> list[Entry]:
    """Entries of one YAML file; GB10Error names the file and the entry."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise GB10Error(f"The file of diagnoses {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise GB10Error(f"The file of diagnoses {path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(raw, list):
        raise GB10Error(f"The file of diagnoses {path} must be a list of entries, each beginning with `- id:`.")
    entries = [parse_entry(item, f"{path.name}, entry {number}", with_example=with_examples) for number, item in enumerate(raw, 1)]
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise GB10Error(f"{path.name} has two entries with the id {entry.id}.")
        seen.add(entry.id)
    return entries


@lru_cache(maxsize=1)
def builtin() -> tuple[Entry, ...]:
    """The collection's own knowledge."""
    return tuple(read_file(BUILTIN, with_examples=False))


def load(extra: list[str] | tuple[str, ...] = ()) -> list[Entry]:
    """The collection's entries and those of the user's files; an entry of the user replaces ours of the same id."""
    entries = {entry.id: entry for entry in builtin()}
    for name in extra:
        path = Path(name).expanduser()
        for number, entry in enumerate(read_file(path), 1):
            _check_signature(entry, f"{path}, entry {number}")
            entries[entry.id] = entry
    return list(entries.values())
