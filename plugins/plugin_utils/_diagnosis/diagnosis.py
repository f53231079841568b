# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explains logs: compares them with the known failures and says what happened, why and what to do. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import features, packages, reading
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.knowledge import PLACE, SEVERITIES, WRAPPER_PRIORITY, Entry
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.reading import BINARY, BUILD, EMPTY, OTHER, SERVER, Log

_ANYWHERE = frozenset(("multinode", "host", "security"))
"""Stages whose failures reach every log: those of a group, of the host, and what is known of a version."""
_LATER = _ANYWHERE | {"runtime"}


@dataclass(frozen=True)
class Hit:
    """An entry that was found: on which node, in which of its lines."""

    entry: Entry
    node: str
    line_number: int
    line: str
    groups: dict
    shown: int
    """Number of the line a reader has to see: where a signature spans several lines, the one of them that tells of an error."""
    last: int
    """Number of the last line that the signature spans."""
    beside: int | None = None
    """Number of the line that its entry wants beside it, which tells this cause from others."""
    calm: bool = False
    """Whether its own logger calls the line a warning or less: the program may have got over it."""
    got_over: bool = False
    """Whether the build shows that it went on without it."""
    at: int = 0
    """Where its match begins in the words of its log."""
    quoted: tuple[tuple[int, int], ...] = ()
    """Where the text lies that its cause only repeats (``Entry.quotes``)."""

    @property
    def is_wrapper(self) -> bool:
        """Whether it names a consequence or a marker, never a root cause."""
        return self.entry.marker or self.entry.priority >= WRAPPER_PRIORITY

    @property
    def names_a_cause(self) -> bool:
        """Whether it is an answer; what this collection itself says of a container (``gb10.vllm: it exited``) is one where nothing else is known."""
        return not self.is_wrapper or (not self.entry.marker and self.line.startswith("gb10.vllm: "))


def evidence(box: str, log: list[str], kernel_log: list[str], has_key: bool) -> tuple[dict[str, str], set[str]]:
    """Logs and context, as ``diagnose`` takes them, of a server in one of our containers; ``has_key``: whether it has an API key."""
    logs = {box: "\n".join(log)}
    if kernel_log:
        logs[f"{box} (kernel)"] = "\n".join(kernel_log)
    return logs, {"container", "api_key"} if has_key else {"container"}


def find(logs: dict[str, str], entries: list[Entry], context: frozenset[str] | set[str] = frozenset()) -> list[Hit]:
    """Every known failure in the logs of one or several nodes, in order of importance.

    :param logs: node -> its log text (raw or clean; what stands in front of the programs' words is stripped here).
    :param context: what is known about the server, for entries with ``unless`` (``api_key``, ``container``).
    """
    return _find([reading.read(node, text) for node, text in logs.items()], entries, context)


def _find(logs: list[Log], entries: list[Entry], context: frozenset[str] | set[str]) -> list[Hit]:
    hits = []
    up = {log.node: log.up for log in logs}
    for log in logs:
        starts, position, words = [], 0, log.words
        for line in words:
            starts.append(position)
            position += len(line) + 1
        text = "\n".join(words)
        for entry in entries:
            if context.intersection(entry.unless) or not _of_its_kind(entry, log):
                continue
            near = entry.beside.search(text) if entry.beside is not None else None
            if entry.beside is not None and near is None:
                continue
            beside = bisect_right(starts, near.start()) - 1 if near else None
            for match in entry.matches(text, _acceptable(entry, log, starts)):
                number = bisect_right(starts, match.start()) - 1
                if _may_act(entry, log, number):
                    groups = {name: value for name, value in match.groupdict().items() if value is not None}
                    end = bisect_right(starts, max(match.start(), match.end() - 1)) - 1
                    shown = _telling(log.lines, number, end)
                    over = number in log.got_over
                    led_to = not log.errors.isdisjoint(range(number + 1, end + 1))
                    calm = over or (shown in log.calm and not led_to and (reading.is_tried(log.lines[shown]) or not reading.is_error(log.lines[shown])))
                    quoted = tuple(match.span(name) for name in entry.quotes if match[name])
                    hits.append(Hit(entry, log.node, number, log.lines[number], groups, shown, end, beside, calm, over, match.start(), quoted))
    order = {severity: rank for rank, severity in enumerate(SEVERITIES)}
    consequences = _consequences(hits, logs)
    repeated = _explained_inside(hits)

    def importance(hit: Hit) -> tuple:
        # The loudest error is usually on the wrong node: what NCCL or the rendezvous says comes after a node's own failure.
        echo = len(logs) > 1 and hit.entry.stage == "multinode"
        # The same words mean another thing once the server was up: then an entry for a running server is closer.
        late = hit.entry.stage == "startup" and hit.line_number > up[hit.node]
        # In a shell's transcript a later command fails for what an earlier one left undone.
        after = (hit.node, hit.line_number) in consequences
        # What one entry only repeats, another explains.
        repeats = (hit.node, hit.at, hit.entry.id) in repeated
        # What is only a warning is the cause where nothing else is.
        return order[hit.entry.severity], hit.is_wrapper, hit.calm, echo, after, repeats, hit.entry.priority, late, hit.line_number

    return sorted(hits, key=importance)


def _explained_inside(hits: list[Hit]) -> set[tuple[str, int, str]]:
    """(node, position, entry) of what only repeats words of the log which another entry explains."""
    named = [hit for hit in hits if hit.entry.severity == "fatal" and not hit.is_wrapper and not hit.calm]
    explaining = [hit for hit in named if not hit.quoted and hit.entry.raised_in is None]
    return {
        (hit.node, hit.at, hit.entry.id)
        for hit in hits
        for start, end in hit.quoted
        if any(other.node == hit.node and start <= other.at < end and other.entry.id != hit.entry.id for other in explaining)
    }


def _consequences(hits: list[Hit], logs: list[Log]) -> set[tuple[str, int]]:
    """(node, line) of what a later command of a transcript says that does something, where an earlier one failed for something known."""
    found = set()
    for log in logs:
        prompts = reading.prompts(log.lines)
        known = sorted({hit.line_number for hit in hits if hit.node == log.node and hit.entry.severity == "fatal" and not hit.is_wrapper and not hit.calm})
        if not prompts or not known:
            continue
        starts = [number for number, _acts in prompts]
        asked = {number: bisect_right(starts, number) - 1 for number in known}
        acting = [number for number in known if asked[number] < 0 or prompts[asked[number]][1]]
        found |= {(log.node, number) for number in acting if asked[number] > asked[acting[0]]}
    return found


def _acceptable(entry: Entry, log: Log, starts: list[int]) -> Callable[[re.Match], bool]:
    """What is asked of a match beside its words: that it stands where the entry says, and that warnings do not crowd out the error they led to."""
    warnings: list[int] = []

    def accept(match: re.Match) -> bool:
        number = bisect_right(starts, match.start()) - 1
        if number in log.typed and bisect_right(starts, match.end() - 1) - 1 == number:
            return False
        if entry.raised_in is not None and not entry.raised_in.search(reading.place_of(log.lines, number)):
            return False
        if entry.not_raised_in is not None and entry.not_raised_in.search(reading.place_of(log.lines, number)):
            return False
        if number in log.calm:
            warnings.append(number)
        return number not in log.calm or len(warnings) == 1

    return accept


def _telling(lines: list[str], first: int, last: int) -> int:
    """The last line of a match that tells of an error; its first line where none does."""
    return next((number for number in range(last, first, -1) if reading.is_error(lines[number]) and not reading.is_wrapper(lines[number])), first)


def _with_what_passed(log: Log, entries: list[Entry]) -> Log:
    """The log with, among the lines that were got over, those of known failures which the text below takes back (``until``)."""
    text = "\n".join(log.words)
    taken = [match for entry in entries if entry.until for match in entry.signature.finditer(text) if entry.is_taken_back(match, text)]
    return replace(log, got_over=log.got_over | {text.count("\n", 0, match.start()) for match in taken}) if taken else log


def _of_its_kind(entry: Entry, log: Log) -> bool:
    """An entry explains logs of its own stages only: nothing of a build explains a server, or the other way round."""
    if entry.severity != "fatal" or log.kind not in (BUILD, SERVER) or not _ANYWHERE.isdisjoint(entry.stages):
        return True
    return "build" in entry.stages if log.kind == BUILD else "startup" in entry.stages or "runtime" in entry.stages


def _may_act(entry: Entry, log: Log, number: int) -> bool:
    """What breaks a running server never explains a start, nor one phase of a start another."""
    if entry.severity == "fatal" and not entry.outside and "msg=" not in entry.signature.pattern and _CALM_GO.search(log.lines[number][:160]):
        return False
    if entry.severity != "fatal" or log.kind != SERVER or not _ANYWHERE.isdisjoint(entry.stages):
        return True
    if "startup" not in entry.stages and number < log.up and not _is_of_a_client(entry, log.lines[number]):
        return False
    return not entry.phases or engine_log.where(log.lines[: number + 1])[0] in entry.phases


# What a program that writes logfmt (Go) says of its own course; Python's loggers say of exceptions that they are INFO, these do not.
# An entry whose signature names `msg=` knows what it reads.
_CALM_GO = re.compile(r"\b(?:level|lvl)=(?i:debug|info)\b")
_TO_A_CLIENT = re.compile(r"\bError code: [45]\d\d\b|[\"']code[\"']: ?[45]\d\d\b|\bHTTP/[12](?:\.\d)? [45]\d\d\b")


def _is_of_a_client(entry: Entry, line: str) -> bool:
    """Whether a line is the answer that a client got of a running server: people put it above the server's own log."""
    return "runtime" in entry.stages and bool(_TO_A_CLIENT.search(line))


_OPTIONAL_PART = re.compile(r"\[\[(.*?)\]\]")


def diagnose(logs: dict[str, str], entries: list[Entry], context: frozenset[str] | set[str] = frozenset()) -> dict:
    """The most likely root cause of a failure.

    Returns plain values: ``verdict`` (known; unknown: it failed for something that is not known, or did not come up without saying why;
    healthy: it came up and holds no error; nothing: empty, binary, or of something else), ``found`` (whether it is a known one), ``id``,
    ``stage``, ``node``, ``what`` (the decisive line), ``why``, ``todo``, ``source``, ``lines`` (at most three, in the order of the log), ``auto``,
    ``values`` (numbers the engine named), ``also`` (other fatal findings), ``notes`` (weaknesses that are not the cause).
    """
    read = [_with_what_passed(reading.read(node, text), entries) for node, text in logs.items()]
    hits = _find(read, entries, context)
    notes = _notes(hits)
    started = {log.node: log.started for log in read if log.kind == SERVER}
    # What was said before a server came up did not keep it from coming up.
    late = [hit for hit in hits if hit.entry.outside or hit.line_number >= started.get(hit.node, 0) or _is_of_a_client(hit.entry, hit.line)]
    fatal = [hit for hit in late if hit.entry.severity == "fatal" and not _is_harmless(hit, started)]
    own = _end_of_another(fatal, read)
    root = own or (_named_in(fatal[0], hits) if fatal else None)
    explained = _explained([hit for hit in fatal if hit.entry.raised_in is None])
    if read and all(_has_its_image(log) for log in read):
        return {**NOTHING, "verdict": "healthy", "why": BUILT, "notes": [*notes, *_noted(fatal)]}
    if fatal and all(hit.got_over for hit in fatal) and all(reading.first_cause(log) is None for log in read):
        return {**_without_error(read), "notes": notes}
    if own is None and (root is None or root.is_wrapper or _passes_by(root, read, explained)):
        placed = [hit for hit in fatal if hit.entry.raised_in and _is_first(hit, read)]
        before = {root.node: root.line_number} if root is not None and not root.is_wrapper else {}
        unexplained = None if placed or _all_went_well(read, fatal) else _unexplained(read, explained, before)
        if unexplained is not None:
            return {**unexplained, "todo": _ending(root, unexplained["todo"]), "also": _also(fatal), "notes": notes}
        root = placed[0] if placed else root
    root = root or next((hit for hit in hits if hit.entry.severity == "degraded" and hit.entry.stage == "runtime" and _REFUSAL.search(hit.line)), None)
    if root is None:
        return {**_without_error(read), "notes": notes}
    refused = bool(fatal) and all(_is_got_over(hit, read) for hit in fatal)
    if refused or (fatal and _all_went_well(read, fatal)):
        return {**NOTHING, "verdict": "healthy", "why": REFUSED if refused else WELL, "notes": [*notes, *_noted(fatal)]}
    return {**_named(root, hits, fatal, read), "notes": notes}


def _named(root: Hit, hits: list[Hit], fatal: list[Hit], read: list[Log]) -> dict:
    """The answer, but for its notes, where ``root`` is what failed, or what tells best how it ended."""
    others = [hit for hit in fatal if hit.entry.id != root.entry.id]
    same = [hit.shown for hit in hits if (hit.entry.id, hit.node) == (root.entry.id, root.node)]
    values = root.groups | {name: value for hit in hits if hit.entry.id == root.entry.id for name, value in hit.groups.items() if name not in root.groups}
    lines = next(log.lines for log in read if log.node == root.node)
    shown = root.shown
    if reading.is_wrapper(lines[shown]):  # the `raise` of a traceback; what was raised stands below
        shown = next((number for number in sorted(same) if reading.is_error(lines[number]) and not reading.is_wrapper(lines[number])), shown)
    suspected, instead = features.suspicion(lines, shown, root.entry.broad) if root.entry.raised_in or root.entry.broad else ("", "")
    met, compare = packages.met(lines, shown) if root.entry.packages else ("", "")
    apart = _said_by_one_only(root, hits, read) or _raised_elsewhere(root, lines, shown)
    return {
        **NOTHING,
        "verdict": "known" if root.names_a_cause else "unknown",
        "found": root.names_a_cause,
        "id": root.entry.id,
        "stage": root.entry.stage,
        "node": root.node,
        "what": lines[shown].strip(),
        "why": fill(root.entry.cause, values) + met + suspected,
        "todo": fill(root.entry.fix, values) + compare + instead + apart,
        "source": list(root.entry.source),
        "lines": decisive_lines(lines, shown, [hit.line_number for hit in others if hit.node == root.node], sorted(same), root.beside),
        "auto": root.entry.auto,
        "values": values,
        "also": _also(others),
    }


def _end_of_another(fatal: list[Hit], logs: list[Log]) -> Hit | None:
    """Where the most important one is a rank's waiting for another: what the log of that other one says of its own end. None elsewhere."""
    servers = {log.node for log in logs if log.kind == SERVER}
    if len(servers) < 2 or "multinode" not in fatal[0].entry.stages:
        return None
    elsewhere = (hit for hit in fatal if hit.node in servers - {fatal[0].node} and "multinode" not in hit.entry.stages)
    return next((hit for hit in elsewhere if hit.entry.marker or not hit.is_wrapper), None)


def _said_by_one_only(root: Hit, hits: list[Hit], logs: list[Log]) -> str:
    """What to look at first where one box of a group fails for what the others have: empty for one log, and for failures of the group as such."""
    servers = [log.node for log in logs if log.kind == SERVER]
    saying = {hit.node for hit in hits if hit.entry.id == root.entry.id}
    if len(servers) < 2 or root.node not in servers or len(saying) > 1 or "multinode" in root.entry.stages or not root.names_a_cause:
        return ""
    return f" Only {root.node} says so: compare its image, files, environment and cache with those of the other boxes."


_RAY_TASK = re.compile(r"\bray::\w[^\n(]{0,200}\(\)? ?\(pid=\d{1,9}, ip=(?P<ip>[\w.:]{3,60}?)[,)]")
_RAY_HEAD = re.compile(r"(?:existing Ray cluster at address|Local node IP|--node-ip-address)[:= ]{1,3}(?P<ip>[\w.]{3,60})")


def _raised_elsewhere(root: Hit, lines: list[str], shown: int) -> str:
    """What to look at first where Ray says that another box than its head raised the error in line ``shown``: empty everywhere else."""
    near = range(max(0, shown - 60), shown + 1)
    raised = {match["ip"] for number in near if (match := _RAY_TASK.search(lines[number]))}
    heads = {match["ip"] for line in lines if (match := _RAY_HEAD.search(line))}
    if len(raised) != 1 or raised & heads or not heads or "multinode" in root.entry.stages or not root.names_a_cause:
        return ""
    return (
        f" It was the box {raised.pop()} that said so, a worker of Ray: compare its image, files, environment and cache with those of the others; "
        "the model has to lie at the same path on every box (copy it there, or share the folder)."
    )


def _ending(root: Hit | None, todo: str) -> str:
    """What to look at, with what is known of the way it ended."""
    if root is None or not root.entry.marker:
        return todo
    return f"{fill(root.entry.cause, root.groups)} {fill(root.entry.fix, root.groups)} {todo}"


def _is_harmless(hit: Hit, started: dict[str, int]) -> bool:
    """Whether it is a warning about the start of a server that came up all the same."""
    return hit.calm and started.get(hit.node, 0) > 0 and not _LATER.intersection(hit.entry.stages)


def _explained(hits: list[Hit]) -> set[tuple[str, int]]:
    return {(hit.node, number) for hit in hits for number in range(hit.line_number, hit.last + 1)}


def _is_first(hit: Hit, logs: list[Log]) -> bool:
    log = next(log for log in logs if log.node == hit.node)
    first = reading.first_cause(log)
    return first is not None and hit.line_number <= first <= hit.last


def _passes_by(root: Hit, logs: list[Log], explained: set[tuple[str, int]]) -> bool:
    """Whether the server itself raised another error first, with a message, that no entry explains: then the root is a consequence, or chance.

    A root that is only a warning is passed by for any other error.
    """
    log = next(log for log in logs if log.node == root.node)
    if log.kind != SERVER and (before := reading.failed_before(log, root.line_number)):
        return not any((log.node, number) in explained for number in before)
    raised = reading.first_cause(log) if root.calm else reading.raised(log)
    if raised is None or (log.node, raised) in explained or root.line_number <= raised <= root.last:
        return False
    if root.line_number < raised and reading.is_only_a_status(log.lines[raised]) and _REFUSAL.search(log.lines[root.line_number]):
        return False
    if root.entry.raised_in is None and root.entry.signature.search(log.lines[raised]):  # said so often that the hits ended before
        return False
    return root.entry.raised_in is not None or not reading.is_chained(log, raised, max(number for node, number in explained if node == log.node))


def _also(hits: list[Hit]) -> list[dict]:
    return _unique([{"id": hit.entry.id, "node": hit.node, "what": hit.line.strip()} for hit in hits])[:5]


# A server that is well refuses a request: what its client, or its own log, shows of the answer.
_REFUSAL = re.compile(
    r'"(?:object|type|code)": ?"?(?:error|BadRequest|invalid|NotFound|4\d\d)|\b(?:BadRequest|HTTP\w*|APIStatus|Value|NotFound)(?:Error|Exception)\b'
    r"|\b(?:ClientResponseError: 4\d\d|UnidentifiedImageError|binascii\.Error)\b"
    r'|HTTP/1\.\d" 4\d\d|Error code: 4\d\d'
)

BUILT = "The image was built; what failed before was tried again or left out."
WELL = "The program said below that it did what it was asked for; what it told of above was tried again or left out."
REFUSED = "The server refused a request and answered others; the log holds no other error."
_ANSWERED = re.compile(r'"POST /\S* HTTP/1\.\d" 200')


def _is_got_over(hit: Hit, logs: list[Log]) -> bool:
    """Whether it is a request that a server refused which is well: it came up before, and answered another request after."""
    log = next(log for log in logs if log.node == hit.node)
    refused = hit.entry.stage == "runtime" and hit.line_number > log.started > 0 and _REFUSAL.search(hit.line)
    return bool(refused) and any(_ANSWERED.search(line) for line in log.lines[hit.last + 1 :])


_STATUS = re.compile(r'HTTP/1\.\d" (?P<code>\d{3})')


def _ended_with_a_refusal(log: Log, number: int) -> bool:
    """Whether an error of a running server ended with the refusal of one request, and it answered another one after, without a further error."""
    if log.kind != SERVER or not 0 < log.started < number:
        return False
    answers = [(later, match["code"]) for later, line in enumerate(log.lines[number:], number) if (match := _STATUS.search(line))]
    if not answers or not answers[0][1].startswith("4") or max(log.errors, default=number) > answers[0][0]:
        return False
    return any(_ANSWERED.search(line) for line in log.lines[answers[0][0] + 1 :])


_NAMED = re.compile(r"naming to \S{1,300}(?: \d[\d.]{0,9}s)? done|Successfully (?:built|tagged) \S|writing image sha256:\w{64} (?:\S{1,20} )?done")


def _has_its_image(log: Log) -> bool:
    """Whether it is a build that gave its image a name, and nothing failed after: what failed before was tried again."""
    last = next((number for number in range(len(log.lines) - 1, -1, -1) if _NAMED.search(log.lines[number])), None)
    return log.kind == BUILD and last is not None and not any(reading.is_error(line) for line in log.lines[last + 1 :])


_MEASURED = re.compile(r"^# Avg bus bandwidth|Ray runtime started\.$")
_DONE = re.compile(
    r"^Successfully installed \S|^(?:Installed|Audited) \d{1,6} packages? in |Ray runtime started\.|Server is ready to receive web requests|HTTP Server Listen"
    r"|^# Avg bus bandwidth|Fetching \d{1,6} files: 100%|The server is fired up and ready to roll|HTTP server is listening"
    r"|msg=\"Loki started\"|msg=\"?Listening on"
)
"""What other programs than a server of vLLM say when they did what they were asked for."""


def _all_went_well(logs: list[Log], fatal: list[Hit]) -> bool:
    return all(_has_its_image(log) or _went_well(log, fatal) for log in logs)


def _went_well(log: Log, fatal: list[Hit]) -> bool:
    """Whether a program that is no server of vLLM (or NCCL's test, Ray's start) said that it went well, below every known failure and with none after."""
    said = _DONE if log.kind in (BUILD, OTHER) else _MEASURED
    last = next((number for number in range(len(log.lines) - 1, -1, -1) if said.search(log.lines[number])), -1)
    if last < 0 or any(hit.last >= last for hit in fatal if hit.node == log.node):
        return False
    return not any(reading.is_error(line) or reading.is_wrapper(line) for line in log.lines[last + 1 :])


NOTHING: dict = {
    "verdict": "nothing", "found": False, "id": "", "stage": "", "node": "", "what": "", "why": "", "todo": "", "source": [], "lines": [],
    "auto": {"level": "never"}, "values": {}, "also": [], "notes": [],
}  # fmt: skip


def _named_in(root: Hit, hits: list[Hit]) -> Hit:
    """The weakness that the decisive line itself names, if it does: a server that refuses a request says why."""
    for hit in hits:
        if hit.entry.severity == "degraded" and hit.entry.stage == "runtime" and (hit.node, hit.line_number) == (root.node, root.line_number):
            return hit
    return root


def _notes(hits: list[Hit]) -> list[dict]:
    return _noted([hit for hit in hits if hit.entry.severity == "degraded"])


def _noted(hits: list[Hit]) -> list[dict]:
    return _unique([{"id": hit.entry.id, "node": hit.node, "what": hit.line.strip(), "todo": fill(hit.entry.fix, hit.groups)} for hit in hits])


def _unique(items: list[dict]) -> list[dict]:
    return list({item["id"]: item for item in reversed(items)}.values())[::-1]


def _unexplained(logs: list[Log], explained: set[tuple[str, int]], roots: dict[str, int]) -> dict | None:
    """The first cause in the logs when no entry explains it; the nodes' own failures come before what they say of each other.

    :param roots: node -> line of a known failure which is a consequence where an earlier command of the same transcript failed.
    """
    before = {log.node: reading.failed_before(log, roots[log.node]) for log in logs if log.kind != SERVER and log.node in roots}
    causes = [(log, before[log.node][-1] if before.get(log.node) else reading.first_cause(log)) for log in logs]
    open_causes = [(log, number) for log, number in causes if number is not None and (log.node, number) not in explained]
    found = [(log, number) for log, number in open_causes if not _ended_with_a_refusal(log, number)]
    if not found:
        return None
    log, number = min(found, key=lambda one: bool(_ECHO.search(one[0].lines[one[1]])))
    suspected, instead = features.suspicion(log.lines, number) if log.kind == SERVER else ("", "")
    return {
        **NOTHING,
        "verdict": "unknown",
        "node": log.node,
        "what": log.lines[number].strip(),
        "why": f"This error is not among the known ones.{suspected}",
        "todo": f"{reading.what_to_look_at(log)}{instead} {ADD}",
        "lines": decisive_lines(log.lines, number, [reading.head_of(log.lines, number)]),
    }


ADD = "When you know the cause, add it to a file of your own and name that in gb10_diagnoses."
_ECHO = re.compile(r"NCCL|Gloo|gloo|TCPStore|DistStore|rendezvous|[Cc]onnection (?:reset|closed|refused) by peer|Broken pipe|timed out")


def _without_error(logs: list[Log]) -> dict:
    """What is said of logs in which no line tells of a failure; only one that came up is called one without an error."""
    kinds = {log.kind for log in logs}
    if kinds <= {EMPTY}:
        return {**NOTHING, "why": "The log is empty.", "todo": "Give the log from its first line on; `docker logs NAME` shows that of a container."}
    if BINARY in kinds:
        return {**NOTHING, "why": "This is not a text file, so it is not a log.", "todo": "Unpack it first if it is compressed."}
    if all(log.up != float("inf") for log in logs if log.kind != EMPTY) or _ended_well(logs):
        return {**NOTHING, "verdict": "healthy", "why": "The log holds no error."}
    if not any(reading.is_familiar(log) for log in logs):
        todo = "Give the log of a build, of a vLLM server or of the kernel."
        return {**NOTHING, "why": "This does not look like the log of a build, of a vLLM server or of a kernel.", "todo": todo}
    log = next(one for one in logs if one.kind != EMPTY and one.up == float("inf"))
    other = reading.other_program(log)
    if other is not None:
        name, number = other
        why = f"This is the log of another program ({name}), and no line of it says that it failed."
        return {**NOTHING, "why": why, "todo": "Give the log of the vLLM server.", "lines": [log.lines[number].strip()[:400]]}
    last = [number for number, line in enumerate(log.lines) if line.strip() and not _FILLER.search(line)] or [len(log.lines) - 1]
    return {
        **NOTHING,
        "verdict": "unknown",
        "node": log.node,
        "why": "It did not come up, and no line of the log says why." if log.kind == SERVER else "No line of the log tells of a failure that is known.",
        "todo": reading.what_to_look_at(log),
        "lines": [log.lines[number].strip()[:400] for number in last[-3:]],
    }


def _ended_well(logs: list[Log]) -> bool:
    """A build that says at its end that its image has a name, a container that ended with code 0, or a play of Ansible that went well."""
    good = re.compile(
        r"naming to \S+.*done|^(?:#\d+ )?DONE \d|Successfully (?:built|tagged)|writing image sha256:\w+ (?:\S+ )?done|exited with code 0\b"
        r"|: ok=\d+ +changed=\d+ +unreachable=0 +failed=0\b"
    )
    return all(any(good.search(line) for line in log.lines[-15:]) for log in logs if log.kind != EMPTY)


def fill(text: str, groups: dict) -> str:
    """``text`` with ``{name}`` replaced by what the signature captured.

    What stands in ``[[double brackets]]`` is left out when a value in it is missing, otherwise the whole sentence is.
    """

    def known(part: str) -> bool:
        return all(name in groups for name in PLACE.findall(part))

    text = _OPTIONAL_PART.sub(lambda match: match.group(1) if known(match.group(1)) else "", text)
    sentences = [part for part in re.split(r"(?<=[.;])\s+(?=[A-Z])", text) if known(part)]
    return PLACE.sub(lambda match: groups[match.group(1)], " ".join(sentences))


# Lines that stand in every log and decide nothing.
_FILLER = re.compile(
    r"NCCL INFO|^\[?\d\d:\d\d:\d\d\]?$|^(?:Traceback|\s|\[?[WIE]\d{4}[ :]|Found ulimit|Route: |non-default args|During handling|The above exception)|Warning: "
    r"|^\S+\.(?:service|scope|timer|mount): |^(?:Start(?:ing|ed)|Finished|Stopp(?:ing|ed)|Created|Mounted) \S+\.|No available shared memory broadcast block"
)


def _shape(line: str) -> str:
    """A line without what differs where a program says the same of several things: paths, names in quotes, numbers."""
    return re.sub(r"\S*[/.\d]\S*|'[^']*'|\"[^\"]*\"", "", line)


NEAR_LINES = 15
"""An error this near before the decisive line belongs to the same failure."""


def decisive_lines(lines: list[str], root: int, others: list[int], same: list[int] | tuple[int, ...] = (), beside: int | None = None) -> list[str]:
    """At most three lines of the log, in its order: the root cause, what it led to, and what came just before.

    :param root: number of the decisive line; ``others``: numbers of further fatal findings; ``same``: of all that say what the root says.
    :param beside: number of the line without which the root would have another cause.
    """
    numbers = {root} if beside is None or not lines[beside].strip() or reading.is_wrapper(lines[beside]) else {root, beside}

    def told() -> set[str]:
        return {lines[number].strip() for number in numbers}

    errors = [number for number in range(root + 1, len(lines)) if reading.is_error(lines[number])]
    again = [number for number in same if not reading.is_wrapper(lines[number]) and _shape(lines[number]) != _shape(lines[root])]
    below = [number for number in range(root + 1, min(root + 8, len(lines))) if reading.is_reason(lines[number])][-1:]
    own = [number for number in errors if not reading.is_wrapper(lines[number]) and _shape(lines[number]) != _shape(lines[root])][
        :1
    ]  # a frame of a traceback is followed by what was raised
    plain = [number for number in range(root - 1, -1, -1) if lines[number].strip() and not _FILLER.search(lines[number])]
    told_before = [number for number in plain if root - number <= NEAR_LINES and reading.is_error(lines[number]) and not reading.is_wrapper(lines[number])]
    if lines[root].startswith("AssertionError"):  # the assertion itself is the line above
        told_before = [number for number in range(root - 1, max(-1, root - 3), -1) if lines[number].lstrip().startswith("assert ")] + told_before
    shapes = {_shape(lines[number]) for number in [root, *own]}
    second = [number for number in errors if not reading.is_wrapper(lines[number]) and _shape(lines[number]) not in shapes][:1]
    before = [*(number for number in again if number < root), *told_before[:1], *second]
    before += [*(number for number in plain if not reading.is_wrapper(lines[number])), *plain]
    further = [number for number in sorted(others) if not reading.is_wrapper(lines[number])]
    later = [*below, *own, *further, *(number for number in again if number > root), *sorted(others), *errors]
    for candidates, most in ((later, 1 + len(numbers)), (before, 3), (later, 3)):
        for number in candidates:
            if len(numbers) < most and lines[number].strip() not in told():
                numbers.add(number)
    return list(dict.fromkeys(reading.whole(lines, number)[:400] for number in sorted(numbers)))


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
