# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a build is, and why it failed, read from BuildKit's plain output. Pure text in, facts out."""

from __future__ import annotations

import re

from ansible_collections.gb10.vllm.plugins.module_utils._io.lines import cut

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_VERTEX = re.compile(r"#(\d+) \[(?:([^\]]*) )?(\d+)/(\d+)\] (.*)")
_INTERNAL = re.compile(r"#(\d+) (\[internal\].*|exporting to .*|pulling .*|naming to .*|resolve image config.*|extracting .*)")
_DEFINITION = re.compile(r"#(\d+) \[internal\] load build definition")
_END = re.compile(r"#(\d+) (DONE [\d.]+s|CACHED|CANCELED|ERROR:? ?.*)$")
_OUTPUT = re.compile(r"#(\d+) (?:[\d.]+ )?(.*)")
_BYTES = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s?([kKMGT]?i?B)(?: / (\d{1,15}(?:\.\d{1,9})?)\s?([kKMGT]?i?B))?")
_BASE = re.compile(r"FROM (\S+?)@(sha256:[0-9a-f]{64})")
_UNIT = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip

# A failure with one of these is worth another try; anything else fails the same way again.
_NETWORK = re.compile(
    r"network timeout|increasing\s+UV_HTTP_TIMEOUT|error sending request|request or response body error|operation timed out|"
    r"[Cc]onnection (?:timed out|reset|refused|aborted)|[Cc]ould not resolve host|[Tt]emporary failure (?:in name resolution|resolving)|"
    r"no such host|server misbehaving|TLS handshake timeout|i/o timeout|Client\.Timeout exceeded|"
    r"(?:502|503|504) (?:Bad Gateway|Service|Gateway)|HTTP error (?:502|503|504)|GnuTLS recv error|RPC failed|early EOF|"
    r"Failed to fetch: `|ReadTimeoutError|IncompleteRead|[Nn]etwork is unreachable|Failed to connect to|net/http: request canceled"
)
_NOISE = re.compile(
    r"^(?:-+|={3,}|\s*\d* ?\|.*|>>>.*|Dockerfile[\w.-]*:\d+|"
    r"#\d+ (?:sha256:[0-9a-f]{64}|CACHED|DONE .*|\[internal\].*|transferring (?:context|dockerfile).*))$"
)


class BuildLog:
    """Follows the output of one or more ``docker build --progress=plain`` runs, line by line.

    ``step`` of ``steps`` count the numbered steps of all stages seen; ``text`` is what is being done now;
    ``bytes`` and ``total_bytes`` are those of the current transfer, 0 when none is known.
    """

    def __init__(self) -> None:
        self.text = ""
        self.bytes = 0
        self.total_bytes = 0
        self.base_images: dict[str, str] = {}
        self._stages: dict[tuple[int, str], int] = {}
        self._names: dict[str, str] = {}
        self._done: set[tuple[int, str]] = set()
        self._counted: dict[tuple[int, str], tuple[int, str]] = {}
        self._ended: set[str] = set()
        self._build = 0

    @property
    def steps(self) -> int:
        return sum(self._stages.values())

    @property
    def step(self) -> int:
        return min(len(self._done) + 1, self.steps) if self.steps else 0

    def feed(self, line: str) -> None:
        """Take in one line of output."""
        line = _ANSI.sub("", cut(line.rsplit("\r", 1)[-1])).rstrip()
        if not line:
            return
        if not line.startswith("#"):
            self.text, self.bytes, self.total_bytes = line.strip(), 0, 0
            return
        start = _DEFINITION.match(line)
        if start and start.group(1) in self._ended:  # numbers begin again: the script started its next docker build
            self._build += 1
            self._names, self._ended = {}, set()
        vertex = _VERTEX.match(line)
        if vertex:
            number, stage, position, total, what = vertex.groups()
            key = (self._build, stage or "")
            self._stages[key] = max(self._stages.get(key, 0), int(total))
            self._names[number] = what
            self._counted[(self._build, number)] = (self._build, f"{stage} {position}")
            self._show(what)
            base = _BASE.search(what)
            if base:
                self.base_images[base.group(1)] = base.group(2)
            return
        end = _END.match(line)
        if end:
            place = (self._build, end.group(1))
            self._ended.add(end.group(1))
            if place in self._counted and not end.group(2).startswith(("ERROR", "CANCELED")):
                self._done.add(self._counted[place])
            return
        internal = _INTERNAL.match(line)
        if internal:
            self._names[internal.group(1)] = internal.group(2)
            self._show(internal.group(2))
            return
        output = _OUTPUT.match(line)
        if output:
            self._output(output.group(1), output.group(2))

    def _output(self, number: str, text: str) -> None:
        amounts = _BYTES.search(text)
        if amounts and (text.startswith("sha256:") or "transferring" in text or amounts.group(3)):
            self.bytes = _size(amounts.group(1), amounts.group(2))
            self.total_bytes = _size(amounts.group(3), amounts.group(4)) if amounts.group(3) else 0
            self.text = self._names.get(number, text) if text.startswith("sha256:") else text
        elif text and not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
            step = " ".join(self._names.get(number, "").split())
            step = re.sub(r"--mount=\S+ ", "", step)
            self._show(f"{step[:60]}{'...' if len(step) > 60 else ''}: {text}" if step else text)

    def _show(self, text: str) -> None:
        self.text, self.bytes, self.total_bytes = " ".join(text.split())[:200], 0, 0


class PullLog:
    """Follows ``docker pull`` as it draws on a terminal: layers ready of layers, bytes of bytes that are known.

    ``keep`` holds the lines that say something for good (no bars), for the log; take them out after each ``feed``.
    """

    def __init__(self) -> None:
        self.text = "asking the registry"
        self.keep: list[str] = []
        self._layers: dict[str, str] = {}
        self._amounts: dict[str, tuple[int, int]] = {}

    @property
    def steps(self) -> int:
        return len(self._layers)

    @property
    def step(self) -> int:
        return sum(state in ("Pull complete", "Already exists") for state in self._layers.values())

    @property
    def bytes(self) -> int:
        return sum(done for done, _total in self._amounts.values())

    @property
    def total_bytes(self) -> int:
        return sum(total for _done, total in self._amounts.values())

    def feed(self, line: str) -> None:
        """Take in one line, as split at carriage returns and newlines."""
        line = _ANSI.sub("", cut(line)).strip()
        layer = re.match(r"([0-9a-f]{12}): ([A-Z][A-Za-z ]+?)\s*(?:\[.*?\]\s*(\S.*))?$", line)
        if not layer:
            if line and not re.match(r"[0-9a-f]{12}: ", line):
                self.keep.append(line)
            return
        name, state, amount = layer.groups()
        if self._layers.get(name) != state:
            self.keep.append(f"{name}: {state}")
        self._layers[name] = state
        sizes = _BYTES.search((amount or "").replace("/", " / ")) if state == "Downloading" else None
        if sizes and sizes.group(3):
            self._amounts[name] = (_size(sizes.group(1), sizes.group(2)), _size(sizes.group(3), sizes.group(4)))
        elif name in self._amounts and state not in ("Downloading", "Waiting", "Pulling fs layer"):
            self._amounts[name] = (self._amounts[name][1],) * 2
        states = list(self._layers.values())
        working = "downloading" if "Downloading" in states else "unpacking" if "Extracting" in states else state.lower()
        self.text = f"{working} layers"


# What looks like the network and fails the same way again: certificates, logins, names that do not exist.
_NOT_THE_NETWORK = re.compile(
    r"certificate|x509|UnknownIssuer|self.signed|CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|unauthorized|authentication required"
    r"|access denied|denied:|toomanyrequests|manifest unknown|(?:401|403|404) (?:Unauthorized|Forbidden|Not Found)"
    r"|HTTP (?:status client error|error) \(?(?:401|403|404)|[Nn]o space left on device"
)


def is_network_failure(log: str) -> bool:
    """Whether the end of a log shows a failure of the network, which another try may get past; a certificate that is not trusted is none."""
    end = "\n".join(cut(line) for line in log.splitlines()[-80:])
    return bool(_NETWORK.search(end)) and not _NOT_THE_NETWORK.search(end)


def excerpt(log: str, most: int = 600) -> list[str]:
    """What a diagnosis looks at of a build's whole log: all lines of a short one, else its beginning, those that tell of errors, and its end."""
    lines = [cut(line) for line in log.splitlines() if line.strip()]
    if len(lines) <= most:
        return lines
    head, tail = lines[: most // 6], lines[-most // 2 :]
    between = [line for line in lines[len(head) : -len(tail)] if re.search(r"[Ee]rror|ERROR|fatal|[Ff]ailed|Killed", line)]
    return [*head, *between[: most - len(head) - len(tail)], *tail]


_WRAPPER = re.compile(r"failed to solve|executor failed running|did not complete successfully|^(?:#\d+ )?ERROR: (?:process|exit code)")


def last_error(log: str) -> str:
    """The most telling line of a failed build's log, for the message; empty when there is none."""
    lines = [_ANSI.sub("", cut(line)).strip() for line in log.splitlines()]
    for pattern in (r"^(?:#\d+ [\d.]+ )?(?:×|error[:\[]|Error:|ERROR: )", r"^(?:#\d+ )?ERROR", r"[Ff]ailed|[Ee]rror"):
        for line in reversed(lines):
            if re.search(pattern, line) and not _NOISE.match(line) and not _WRAPPER.search(line):
                return re.sub(r"^#\d+ [\d.]+ ", "", line)[:300]
    return next((line[:300] for line in reversed(lines) if line and not _NOISE.match(line)), "")


def tail(log: str, count: int = 12) -> list[str]:
    """The last ``count`` lines that say something."""
    lines = [_ANSI.sub("", cut(line)).rstrip() for line in log.splitlines()]
    return [line for line in lines if line.strip() and not _NOISE.match(line.strip())][-count:]


def _size(number: str, unit: str) -> int:
    return int(float(number) * _UNIT.get(unit, 1))
