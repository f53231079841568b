# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explains logs: compares them with the known failures of diagnoses.yml and says what, why and what to do.

``load`` reads and validates the knowledge; ``diagnose`` is pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._engine.log import clean_line, says_started, split_lines
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.repair import RULES
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.vulnerabilities import exposure_verdict

BUILTIN = Path(__file__).parent / "diagnoses.yml"

STAGES = ("build", "startup", "runtime", "multinode", "host", "security")
SEVERITIES = ("fatal", "degraded", "info")
LEVELS = ("safe", "confirm", "never")
WRAPPER_PRIORITY = 70
"""From this number on an entry names a consequence or a marker, never a root cause."""
LAST_LINES = 2000
MOST_HITS_PER_ENTRY = 3

_REQUIRED = {"id": str, "stage": str, "signature": str, "example": str, "cause": str, "fix": str, "source": list}
_OPTIONAL = {
    "priority": int,
    "severity": str,
    "auto": dict,
    "applies_to": str,
    "evidence": str,
    "unless": list,
    "check": str,
}
_AUTO = {"level": str, "action": str, "why": str, "set": dict, "env": dict, "unset": list, "unset_env": list, "container": dict}


def _version_is_old(groups: dict) -> bool:
    version = groups.get("ver") or (f"0.{groups['minor']}.{groups['patch']}" if groups.get("minor") else "")
    return bool(version) and exposure_verdict(version, "0.0.0.0")["verdict"] != "allow"


CHECKS = {"version_is_old": _version_is_old}
"""Conditions beyond a pattern that an entry may name in ``check``; they get the pattern's named groups."""


@dataclass(frozen=True)
class Entry:
    """One known failure, as written in diagnoses.yml."""

    id: str
    stage: str
    signature: re.Pattern
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


@dataclass(frozen=True)
class Hit:
    """An entry that was found: on which node, in which of its lines."""

    entry: Entry
    node: str
    line_number: int
    line: str
    groups: dict


# ---- loading ----------------------------------------------------------------------------------------------------


def parse_entry(raw: object, where: str) -> Entry:
    """One validated entry; GB10Error says which field of which entry is wrong and how."""
    if not isinstance(raw, dict):
        raise GB10Error(f"{where} is not a mapping of fields such as id, signature, cause and fix.")
    where = f"{where} ({raw['id']})" if isinstance(raw.get("id"), str) else where
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
    if raw.get("check"):
        _one_of(raw["check"], tuple(CHECKS), f"{where}: check")
    auto = raw.get("auto", {"level": "never"})
    _check_auto(auto, where)
    try:
        signature = re.compile(raw["signature"], re.MULTILINE)
    except re.error as error:
        raise GB10Error(f"{where}: the signature is not a regular expression: {error}.") from error
    entry = Entry(
        id=raw["id"],
        stage=raw["stage"],
        signature=signature,
        example=raw["example"],
        cause=raw["cause"].strip(),
        fix=raw["fix"].strip(),
        source=tuple(str(item) for item in raw["source"]),
        priority=raw.get("priority", 20),
        severity=raw.get("severity", "fatal"),
        auto=auto,
        applies_to=raw.get("applies_to", ""),
        unless=tuple(raw.get("unless", ())),
        check=raw.get("check", ""),
    )
    if not _matches(entry, "\n".join(_clean(entry.example))):
        raise GB10Error(f"{where}: the signature does not match its own example, so it would never be found.")
    return entry


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


def _kind(kind: type) -> str:
    return {str: "a text", list: "a list", dict: "a mapping", int: "a whole number"}[kind]


def _one_of(value: object, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        raise GB10Error(f"{what} is {value!r}, it must be one of {', '.join(allowed)}.")


def read_file(path: Path) -> list[Entry]:
    """Entries of one YAML file; GB10Error names the file and the entry."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise GB10Error(f"The file of diagnoses {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GB10Error(f"The file of diagnoses {path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(raw, list):
        raise GB10Error(f"The file of diagnoses {path} must be a list of entries, each beginning with `- id:`.")
    entries = [parse_entry(item, f"{path.name}, entry {number}") for number, item in enumerate(raw, 1)]
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise GB10Error(f"{path.name} has two entries with the id {entry.id}.")
        seen.add(entry.id)
    return entries


@lru_cache(maxsize=1)
def builtin() -> tuple[Entry, ...]:
    """The collection's own knowledge."""
    return tuple(read_file(BUILTIN))


def load(extra: list[str] | tuple[str, ...] = ()) -> list[Entry]:
    """The collection's entries and those of the user's files; an entry of the user replaces ours of the same id."""
    entries = {entry.id: entry for entry in builtin()}
    for path in extra:
        entries.update({entry.id: entry for entry in read_file(Path(path).expanduser())})
    return list(entries.values())


# ---- diagnosing -------------------------------------------------------------------------------------------------


def _clean(text: str) -> list[str]:
    return [clean_line(line) for line in split_lines(text)]


def _matches(entry: Entry, text: str) -> list[re.Match]:
    found = []
    for match in entry.signature.finditer(text):
        if match.group() and (not entry.check or CHECKS[entry.check](match.groupdict())):
            found.append(match)
            if len(found) == MOST_HITS_PER_ENTRY:
                break
    return found


def evidence(box: str, log: list[str], kernel_log: list[str], has_key: bool) -> tuple[dict[str, str], set[str]]:
    """Logs and context, as ``diagnose`` takes them, of a server in one of our containers; ``has_key``: whether it has an API key."""
    logs = {box: "\n".join(log)}
    if kernel_log:
        logs[f"{box} (kernel)"] = "\n".join(kernel_log)
    return logs, {"container", "api_key"} if has_key else {"container"}


def find(logs: dict[str, str], entries: list[Entry], context: frozenset[str] | set[str] = frozenset()) -> list[Hit]:
    """Every known failure in the logs of one or several nodes, in order of importance.

    :param logs: node -> its log text (raw or clean; prefixes, ANSI codes and progress bars are stripped here).
    :param context: what is known about the server, for entries with ``unless`` (``api_key``, ``container``).
    """
    hits = []
    for node, text in logs.items():
        lines = _clean(text)[-LAST_LINES:]
        joined = "\n".join(lines)
        starts, position = [], 0
        for line in lines:
            starts.append(position)
            position += len(line) + 1
        for entry in entries:
            if context.intersection(entry.unless):
                continue
            for match in _matches(entry, joined):
                number = bisect_right(starts, match.start()) - 1
                groups = {name: value for name, value in match.groupdict().items() if value is not None}
                hits.append(Hit(entry, node, number, lines[number], groups))
    several_nodes = len(logs) > 1
    up = {node: _line_of_startup(text) for node, text in logs.items()}
    order = {severity: rank for rank, severity in enumerate(SEVERITIES)}

    def importance(hit: Hit) -> tuple:
        wrapper = hit.entry.priority >= WRAPPER_PRIORITY
        # The loudest error is usually on the wrong node: what NCCL or the rendezvous says comes after a node's own failure.
        echo = several_nodes and hit.entry.stage == "multinode"
        # The same words mean another thing once the server was up: then an entry for a running server is closer.
        late = hit.entry.stage == "startup" and hit.line_number > up[hit.node]
        return order[hit.entry.severity], wrapper, echo, hit.entry.priority, late, hit.line_number

    return sorted(hits, key=importance)


def _line_of_startup(text: str) -> float:
    """Number of the line in which the server says it is up, infinity when it does not."""
    lines = _clean(text)[-LAST_LINES:]
    return next((float(number) for number, line in enumerate(lines) if says_started([line])), float("inf"))


_PLACE = re.compile(r"\{([a-z_]\w*)\}")
_OPTIONAL_PART = re.compile(r"\[\[(.*?)\]\]")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt)\b:?|^(?:fatal|FATAL|error|ERROR|E):\s|: error: |panic:")


def diagnose(logs: dict[str, str], entries: list[Entry], context: frozenset[str] | set[str] = frozenset()) -> dict:
    """The most likely root cause of a failed start.

    Returns plain values: ``found`` (whether it is a known one), ``id``, ``stage``, ``node``, ``what`` (the decisive line),
    ``why``, ``todo``, ``source``, ``lines`` (at most three, in the order of the log), ``auto``, ``values`` (numbers the
    engine named), ``also`` (other fatal findings), ``notes`` (weaknesses that are not the cause).
    """
    hits = find(logs, entries, context)
    fatal = [hit for hit in hits if hit.entry.severity == "fatal"]
    notes = _notes(hits)
    root = _named_in(fatal[0], hits) if fatal else None
    if root is None or root.entry.priority >= WRAPPER_PRIORITY:
        unknown = _unknown(logs, {hit.line for hit in fatal})
        if unknown is not None:
            return {**unknown, "notes": notes}
    if root is None:
        return {
            "found": False,
            "id": "",
            "stage": "",
            "node": "",
            "what": "",
            "why": "The log holds no error.",
            "todo": "",
            "source": [],
            "lines": [],
            "auto": {"level": "never"},
            "values": {},
            "also": [],
            "notes": notes,
        }
    others = [hit for hit in fatal if hit.entry.id != root.entry.id]
    return {
        "found": True,
        "id": root.entry.id,
        "stage": root.entry.stage,
        "node": root.node,
        "what": root.line.strip(),
        "why": fill(root.entry.cause, root.groups),
        "todo": fill(root.entry.fix, root.groups),
        "source": list(root.entry.source),
        "lines": decisive_lines(_clean(logs[root.node])[-LAST_LINES:], root.line_number, [hit.line_number for hit in others if hit.node == root.node]),
        "auto": root.entry.auto,
        "values": root.groups,
        "also": _unique([{"id": hit.entry.id, "node": hit.node, "what": hit.line.strip()} for hit in others])[:5],
        "notes": notes,
    }


def _named_in(root: Hit, hits: list[Hit]) -> Hit:
    """The weakness that the decisive line itself names, if it does: a server that refuses a request says why."""
    for hit in hits:
        if hit.entry.severity == "degraded" and hit.entry.stage == "runtime" and (hit.node, hit.line_number) == (root.node, root.line_number):
            return hit
    return root


def _notes(hits: list[Hit]) -> list[dict]:
    return _unique(
        [
            {"id": hit.entry.id, "node": hit.node, "what": hit.line.strip(), "todo": fill(hit.entry.fix, hit.groups)}
            for hit in hits
            if hit.entry.severity == "degraded"
        ]
    )


def _unique(items: list[dict]) -> list[dict]:
    return list({item["id"]: item for item in reversed(items)}.values())[::-1]


def _unknown(logs: dict[str, str], explained: set[str]) -> dict | None:
    """The last exception of the first log that has one, when no entry explains it."""
    for node, text in logs.items():
        lines = _clean(text)[-LAST_LINES:]
        numbers = [n for n, line in enumerate(lines) if _EXCEPTION.search(line.strip()) and line not in explained]
        if numbers:
            number = numbers[-1]
            return {
                "found": False,
                "id": "",
                "stage": "",
                "node": node,
                "what": lines[number].strip(),
                "why": "This error is not among the known ones.",
                "todo": "Read the lines before it in the log; when you know the cause, add it to a file of your own and name that in gb10_diagnoses.",
                "source": [],
                "lines": decisive_lines(lines, number, []),
                "auto": {"level": "never"},
                "values": {},
                "also": [],
            }
    return None


def fill(text: str, groups: dict) -> str:
    """``text`` with ``{name}`` replaced by what the signature captured.

    What stands in ``[[double brackets]]`` is left out when a value in it is missing, otherwise the whole sentence is.
    """

    def known(part: str) -> bool:
        return all(name in groups for name in _PLACE.findall(part))

    text = _OPTIONAL_PART.sub(lambda match: match.group(1) if known(match.group(1)) else "", text)
    sentences = [part for part in re.split(r"(?<=[.;])\s+(?=[A-Z])", text) if known(part)]
    return _PLACE.sub(lambda match: groups[match.group(1)], " ".join(sentences))


# Lines that stand in every log and decide nothing.
_FILLER = re.compile(r"^(?:Traceback|\s|\[?[WIE]\d{4}[ :]|Found ulimit|Route: |non-default args|During handling|The above exception)|Warning: ")


def decisive_lines(lines: list[str], root: int, others: list[int]) -> list[str]:
    """At most three lines of the log, in its order: the root cause, what it led to, and what came just before.

    :param root: number of the decisive line; ``others``: numbers of further fatal findings.
    """
    numbers = {root}

    def told() -> set[str]:
        return {lines[number].strip() for number in numbers}

    consequences = [number for number in range(root + 1, len(lines)) if _EXCEPTION.search(lines[number].strip())]
    before = [number for number in range(root - 1, -1, -1) if lines[number].strip() and not _FILLER.search(lines[number])]
    later = [*sorted(others), *consequences]
    for candidates, most in ((later, 2), (before, 3), (later, 3)):
        for number in candidates:
            if len(numbers) < most and lines[number].strip() not in told():
                numbers.add(number)
    return [lines[number].strip()[:400] for number in sorted(numbers)]


def explain(diagnosis: dict, heading: str) -> str:
    """One message for a person: what, why, what to do, source, the decisive lines."""
    parts = [f"{heading}."]
    if diagnosis["what"]:
        parts.append(f"What: {diagnosis['what'][:400]}")
    if diagnosis["why"]:
        parts.append(f"Why: {diagnosis['why']}")
    if diagnosis["todo"]:
        parts.append(f"What to do: {diagnosis['todo']}")
    if diagnosis["source"]:
        parts.append(f"Source: {diagnosis['id']}; {'; '.join(diagnosis['source'][:3])}")
    if diagnosis["lines"]:
        parts.append("Log:\n" + "\n".join(f"  | {line}" for line in diagnosis["lines"]))
    return "\n".join(parts)
