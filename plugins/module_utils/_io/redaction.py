# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown or written without the secrets in it: those in our private files by their values, all others by how they look.

The one place where that is decided; whatever a person or a file gets to see of a log, an error or an answer goes through ``redact``.
"""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.env_file import parse, secrets

HIDDEN = "********"
SHORTEST = 8
"""Characters from which on any value of a private file is taken for a secret; one that is secret by its name from 4 on."""

# A value: quoted, as a shell or Python quotes it, a list of such, or a word. Every repetition has an end: what is looked at may be hostile.
_QUOTED = r"'(?:[^'\\]|\\.|''){0,4096}'|\"(?:[^\"\\]|\\.){0,4096}\""
_VALUE = rf"(?:\[[^\]]{{0,4096}}\]|(?:{_QUOTED})+|(?!(?:None|null|true|false)\b|\*{{8}})[^\s,;&}}\])'\"]{{1,4096}})"
_NAMES = r"api[_-]?keys?|hf[_-]token|auth[_-]?token|access[_-]?token|client[_-]secret|secret[_-](?:access[_-])?key|secret|password|passwd"
_ASSIGNED = (
    re.compile(rf"(?i)((?<![a-z0-9])(?:{_NAMES})[\"']?\s{{0,4}}[:=]\s{{0,4}})({_VALUE})"),
    re.compile(rf"(?i)(--(?:{_NAMES})\s{{1,4}})(?!-)({_VALUE})"),
    # Variables as shells and Docker name them; in small letters such names are those of tokenizers (eos_token) and caches.
    re.compile(
        rf"(\b(?:[A-Z][A-Z0-9_]{{0,80}}_)?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_[A-Z0-9_]{{1,80}})?[\"']?\s{{0,4}}[:=]\s{{0,4}})({_VALUE})"
    ),
)
_BEARER = re.compile(r"(?i)\b((?:authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:bearer|basic|token)|bearer)\s{1,4})[\w.~+/=-]{4,4096}")
_LOOKS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{8,200}"), "hf_" + HIDDEN),
    (re.compile(r"\b(sk|ghp|gho|ghs|glpat|nvapi|xox[bp])[-_][\w-]{8,400}"), rf"\1-{HIDDEN}"),
    (re.compile(r"(?<=://)[^/\s:@'\"]{0,256}:(?![^/\s@]{0,256}\*{8})[^/\s'\"]{1,256}@"), f"{HIDDEN}@"),
)


def redact(text: str, values: Sequence[str]) -> str:
    """``text`` without the given values and without what looks like a secret: hub tokens, bearer tokens, keys by their names, passwords in addresses."""
    for value in sorted({one for one in values if len(one) >= 4}, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    for pattern, instead in _LOOKS:
        text = pattern.sub(instead, text)
    for pattern in (_BEARER, *_ASSIGNED):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def everywhere(value: Any, values: Sequence[str] = ()) -> Any:
    """A plain value (texts, lists, dicts) with all its texts redacted; what dicts are asked for stays."""
    if isinstance(value, str):
        return redact(value, values)
    if isinstance(value, dict):
        return {key: everywhere(one, values) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [everywhere(one, values) for one in value]
    return value


def values_of(texts: Iterable[str]) -> list[str]:
    """What is secret in private files of ``NAME=value`` lines, in every form in which a log may show it. Pure."""
    found: set[str] = set()
    for text in texts:
        named = parse(text)
        found.update(secrets(named).values())
        for value in named.values():
            found.update(one for one in (value, *value.splitlines()) if len(one) >= SHORTEST)
    for value in list(found):
        found.update(_forms(value))
    return sorted(one for one in found if len(one) >= 4)


def _forms(value: str) -> set[str]:
    """How else a value comes into a log: as JSON, Python, a shell, an address, HTML or base64 write it."""
    data = value.encode("utf-8", "surrogateescape")
    quoted = {urllib.parse.quote(data, safe=""), urllib.parse.quote(data), urllib.parse.quote_plus(data)}
    written = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1], repr(data)[2:-1]}
    small = {re.sub("%..", lambda match: match[0].lower(), one) for one in quoted}
    return {*written, *quoted, *small, html.escape(value), value.replace("'", "'\"'\"'"), *_base64_forms(data)}


def _base64_forms(data: bytes) -> set[str]:
    """What is the same in base64 whatever stands before and behind it, as the name of a user does in basic authentication."""
    found: set[str] = set()
    for before, first in ((0, 0), (1, 2), (2, 3)):
        core = base64.b64encode(bytes(before) + data).decode()[first : (before + len(data)) * 8 // 6]
        found.update({core, core.replace("+", "-").replace("/", "_")} if len(core) >= SHORTEST else ())
    return found


def values_in(config_dir: str | Path) -> list[str]:
    """``values_of`` all our private files on this box: the hub's and those of each server. What cannot be read holds nothing that we know."""
    found = []
    for path in [*Path(config_dir).glob("*.env"), *Path(config_dir).glob("*/*.env")]:
        try:
            found.append(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return values_of(found)
