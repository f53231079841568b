# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One reader of lines for every log: builds, starts, groups, the kernel, in whatever dress people keep or paste them.

What stands in front of a program's own words says who printed them and when, not what happened. It is taken off once, here, before
anything else looks at a line. ``clean_line(clean_line(x)) == clean_line(x)``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

LONGEST_LINE = 8192
"""Characters of a line that are looked at; what is longer was not written for people."""
LONGEST_JSON = 65536
"""Characters of a line of JSON, which may hold a whole traceback; expressions see only the lines in it, each cut to ``LONGEST_LINE``."""
_ROUNDS = 24

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|\\x1b\[[0-9;]*m|\^\[\[[0-9;]*m")
# Those of one byte beyond ASCII (C1) and those that turn the direction of writing, too: what is shown of a log comes to a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u200b\u202a-\u202e\u2066-\u2069]")
_NO_CONTROL = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(0x7F, 0xA0), 0xFEFF, 0x200B, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_DATE = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?"
_ZONE = r"(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
_LEVEL = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)"
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        r"^(?:> ?)+(?=\S|$|\s)",  # a quote in an issue
        r"^#\d{1,4} (?:\d+\.\d+ )?(?!\[)(?=\s*\S)",  # BuildKit: the step and its seconds; `#7 [2/9] RUN` names the step itself
        r"^\d{1,5}\.\d{2,3} (?!GiB|MiB|GB|MB|kB|s\b|sec|ms\b|tokens\b|reqs?\b|it/s|%)(?=\s*\S)",  # BuildKit's summary of a failed step: seconds alone
        r"^\[[a-z]+/[\w.-]+(?:/[\w.-]+)?\] ",  # kubectl logs --prefix
        rf"^{_DATE}{_ZONE} (?:stdout|stderr) [FP] ",  # containerd
        r"^(?:[\w.-]+-\d+|[\w.-]+_\d+|[a-z][\w.-]*) +\| ?",  # docker compose: the service and a bar
        r"^\[\d\d[-/]\d\d[-/]\d{2,4} \d\d:\d\d:\d\d\] ?",  # rich
        r"^(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d+)? [\w.-]+ (?:(?=systemd-oomd\[)|[\w@.:/-]+?(?:\[\d+\])?: )",  # syslog
        rf"^(?:[A-Z][a-z]{{2}} )?{_DATE}{_ZONE} [\w.-]+ (?:(?=systemd-oomd\[)|[\w@.:/-]+?\[\d+\]: )",  # journald, ISO dates
        # Dates cut off: any number behind a process that is known here, three digits behind another (an index in brackets has fewer).
        r"^[\w.-]+ (?!systemd-oomd\[)(?:(?:systemd|docker|containerd|podman|kubelet|vllm|gb10|python|bash|sh|ray)[\w.@-]*\[\d+|[\w.@-]+\[\d{3,7})\]: ",
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7,9}Z (?=- )",  # docker logs -t: a dash behind it is the program's own
        rf"^\[?{_DATE}{_ZONE}\]?(?: - |[ \t]|:|$)",  # docker logs -t, Docker Desktop, python's logging
        r"^\d{10}\.\d{3,6} [\w.-]+ [\w@./-]+\[\d+\]: ",  # journald, short-unix
        r"^(?:[\w.-]+ )?kernel: (?=\S)",
        r"^\[ *\d+\.\d{3,6}\] (?:[\w.-]+ (?:kernel|[\w@./-]+\[\d+\]): )?",  # dmesg, journald short-monotonic
        r"^\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ",  # dmesg -T
        r"^\([A-Za-z]\w*(?:[- ]\w+)*(?:,? ?(?:pid|rank|actor|ip|node)=[^,)\s]+)*\) ?",  # (EngineCore_DP0 pid=9), (RayWorkerWrapper pid=9, ip=192.0.2.8)
        r"^\((?:autoscaler|raylet|gcs_server|scheduler)(?: [+\w.]+)?\) ?",
        r"^\((?:pid|ip|rank)=[^)\s]+(?:, ?\w+=[^)\s]+)*\) ?",
        r"^\[\d+,\d+\]<std(?:out|err)>:",  # mpirun
        r"^\[default\d+\]:",  # torchrun
        r"^\[(?:node|worker|tp|pp|dp|ep)[-_ ]?\d+\]: ?",
        r"^\[[Rr]ank[ :]?\d+\] ?(?:: ?)?",
        r"^[Rr]ank ?\d+: ",
        rf"^{_LEVEL}\s+\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?\s+(?:\[[^\]]+\] ?|[\w./-]+\.py:\d+\] ?)?",  # vLLM
        rf"^\[?{_LEVEL}\]?\s+{_DATE}\s+(?:\[[^\]]+\] ?)?",
        rf"^{_LEVEL}:[\w.]+:(?=\S)",  # logging.basicConfig
        rf"^(?:[\w.]+ - )?{_LEVEL} - (?:(?![A-Z]+ - )[A-Za-z_][\w.]* - )?",  # a word in capitals is Ansible's (FAILED - RETRYING), no logger's name
        r"^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):\s+(?=[A-Z\d])",  # uvicorn
    )
)
_REPEATED = re.compile(r" ?\[repeated \d+x across cluster\](?: \(Ray deduplicates logs.*)?$")
_FENCE = re.compile(r"^\s*(?:```|~~~)\w*\s*$")
_ERROR_LEVEL = re.compile(r"\b(?:ERROR|CRITICAL|FATAL)\b|\"level\": ?\"(?:error|critical|fatal)\"")
# Those of programs that are no Python: HAProxy, Go's logfmt and logrus, glog, Ray.
_FOREIGN_ERROR = re.compile(
    r"\[ALERT\]|\b(?:level|lvl)=(?:error|fatal|panic)\b|\b(?:ERRO|FATA)\[\d|(?:^|[\s|\])])[EF]\d{4} \d\d:\d\d:\d\d\.\d"
    r"|\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{1,6} [EFC] \d"
)
# A logger's own words, not those of a program such as NCCL that says WARN of all that fails.
_CALM_LEVEL = re.compile(
    r"\b(?:DEBUG|INFO|WARNING)\b(?: \d\d-\d\d \d|:? \[|: ?\S+:| +- )|\"level\": ?\"(?:debug|info|warn(?:ing)?)\""
    r"|\[(?:NOTICE|WARNING)\](?:: | {1,6}\(\d{1,9}\) : )|\b(?:level|lvl)=(?i:debug|info|warn(?:ing)?)\b|\b(?:DEBU|INFO|WARN)\[\d"  # HAProxy, Ansible; Go
    r"|(?:^|[\s|\])])W\d{4} \d\d:\d\d:\d\d\.\d|\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{1,6} [DIW] \d"  # glog; Ray
)
# Where loggers and Docker put the text of a line, and what they add to it.
_TEXT_KEYS = ("log", "message", "msg", "MESSAGE", "event", "text", "body", "line")
_TRACE_KEYS = ("exc_info", "exception", "stack_trace", "stacktrace", "traceback", "stack", "error")


def clean_line(line: str) -> str:
    """``line`` without colours, time stamps, names of processes, containers and loggers; its own indentation stays."""
    return _without_repeats(_undressed(line))


def cut(line: str) -> str:
    """What is looked at of a line: no expression is shown more of one, for how long many of them take grows with the square."""
    return line[:LONGEST_LINE]


def _undressed(line: str) -> str:
    line = _CONTROL.sub("", _ANSI.sub("", cut(line))).rstrip()
    for _round in range(_ROUNDS):  # prefixes nest, in any order; what is under one is looked at from the first on, which are the longer ones
        bare = next((shorter for shorter in (prefix.sub("", line, count=1) for prefix in _PREFIXES) if shorter != line), line)
        if bare == line:
            break
        line = bare
    return line


def _without_repeats(line: str) -> str:
    """Without what Ray adds at the end; not before JSON is taken apart, whose end would go with it."""
    return _REPEATED.sub("", line).rstrip()


def _unpacked(line: str, depth: int = 3) -> list[str]:
    """The cleaned lines in a raw one: JSON, as Docker's json-file driver and structured loggers write it, may hold several, dressed in their turn."""
    bare = _undressed(line)
    # What is longer than a line may be is JSON or nothing: of its rest no expression sees anything before it is taken apart.
    whole = bare + line[LONGEST_LINE:LONGEST_JSON].translate(_NO_CONTROL).rstrip() if len(line) > LONGEST_LINE else bare
    if depth and whole.startswith("{") and whole.endswith("}"):
        try:
            value = json.loads(whole)
        except (ValueError, RecursionError):
            value = None
        texts = [value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)][:1] if isinstance(value, dict) else []
        if texts and value is not None:
            texts += [value[key] for key in _TRACE_KEYS if isinstance(value.get(key), str)]
            return [one for text in texts for part in split_lines(text) for one in _unpacked(part, depth - 1)]
    return [_without_repeats(bare)]


def split_lines(text: str) -> list[str]:
    """Raw lines of a log that say something; what a progress bar overwrote with carriage returns becomes lines of its own."""
    return [line for line in text.replace("\r", "\n").split("\n") if line and not line.isspace()]


def levelled(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(what the logger's own level makes of it: ``error``, ``foreign`` for one of another program than a Python one, ``calm`` or nothing; the line
    cleaned) for every line that says something.

    ``lines`` may be an open file.
    """
    for raw in lines:
        for part in split_lines(raw):
            for line in _unpacked(part):
                if line.strip() and not _FENCE.match(line):
                    head = part[:160]
                    yield _level(head), line


def _level(head: str) -> str:
    levels = (("error", _ERROR_LEVEL), ("foreign", _FOREIGN_ERROR), ("calm", _CALM_LEVEL))
    return next((name for name, words in levels if words.search(head)), "")


def clean_lines(text: str) -> list[str]:
    """All lines of a log, cleaned (see ``clean_line``)."""
    return [line for _level, line in levelled(split_lines(text))]
