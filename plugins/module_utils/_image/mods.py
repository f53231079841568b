# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mods of spark-vllm-docker: directories with a run.sh that changes an image, put into one layer of it. Pure.

Upstream copies a mod into every fresh container and runs it there, as root, at each start; here it runs once, in the build, and counts as an input.
One that is named by the path of a directory (of the controller) is somebody's own, and its files come along: ``{path in it: {content, executable}}``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

NAME = re.compile(r"mods/[A-Za-z0-9][A-Za-z0-9._-]*")
SCRIPT = "run.sh"
WHERE = "/workspace/mods"
# What cannot act from a layer of an image, and what would make the same layer another one tomorrow.
_OF_THE_HOST = re.compile(r"/proc/sys|/sys/(?:class|kernel|fs|devices)|\bsysctl\b|\bnvidia-smi\s+-|\bmodprobe\b|\bmount\b|\bsystemctl\b")
_LATER = re.compile(r"\bnohup\b|\bsetsid\b|\bdisown\b|[^&>|]&\s*(?:$|[#\n])", re.MULTILINE)
# The mods of the commit that is built by default, with what is against each of them; "" where nothing is.
PIN = "358bf26e3d7d315450a6159ccdc0b38cbbd6b855"
AT_PIN = {
    **dict.fromkeys(
        (
            "mods/diffusiongemma", "mods/exp-b12x", "mods/exp-w4a16", "mods/fix-Salyut1-GLM-4.7-NVFP4", "mods/fix-eagle-fine-prefix",
            "mods/fix-gemma4-tool-parser", "mods/fix-glm-4.7-flash-AWQ", "mods/fix-qwen3-coder-next", "mods/fix-qwen3-next-autoround",
            "mods/fix-qwen3.5-autoround", "mods/fix-qwen3.5-chat-template", "mods/fix-qwen3.6-chat-template", "mods/fix-qwen35-tp4-marlin",
            "mods/gpu-mem-util-gb", "mods/inkling-sm12-paged-kv", "mods/instanttensor-hybrid-draft-loader", "mods/kv-cache-prealloc-cleanup",
            "mods/nemotron-nano", "mods/nemotron-super", "mods/step-3.7-flash", "mods/use-ngc-vllm", "mods/use-official-vllm",
        ),
        "",
    ),
    "mods/drop-caches": "it empties the host's caches again and again, which needs privilege on the box and no image can do",
}  # fmt: skip
FETCHING = (
    "mods/exp-b12x", "mods/exp-w4a16", "mods/fix-gemma4-tool-parser", "mods/fix-glm-4.7-flash-AWQ", "mods/fix-qwen3-coder-next",
    "mods/fix-qwen3-next-autoround", "mods/nemotron-nano", "mods/nemotron-super", "mods/use-official-vllm",
)  # fmt: skip
MOST_FILES, MOST_BYTES = 200, 2 * 2**20
"""Of a mod that comes along; the largest of the project's has 60 KiB."""
_FETCHING = re.compile(
    r"\b(?:curl|wget|aria2c|rsync|scp|gh|huggingface-cli|hf)\s|\bgit\s+(?:\S+\s+)*?(?:clone|fetch|pull|submodule)\b|"
    r"\bpip3?\s+(?:\S+\s+)*?(?:install|download)\b|\b(?:apt|apt-get|dnf|apk|npm|cargo|conda)\s+(?:\S+\s+)*?(?:install|update|add|build|ci)\b|"
    r"\buv\s+(?:sync|add|run|tool)\b|url(?:open|retrieve)|requests\.get|snapshot_download"
)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


def names(given: Sequence[str]) -> list[str]:
    """Mods as they are called in an image, each once; a path of a directory stands for its last part. GB10Error for what is no name of one."""
    found: dict[str, str] = {}
    for one in given:
        text = str(one).strip()
        name = f"mods/{posixpath.basename(text.rstrip('/'))}" if is_path(text) else text.strip("/")
        name = name if name.startswith("mods/") else f"mods/{name}"
        if not NAME.fullmatch(name):
            raise GB10Error(f"mods holds {text[:60]!r}, which is no mod of the project: name a directory below mods/, or the whole path of one of your own")
        if found.setdefault(name, text) != text and (is_path(text) or is_path(found[name])):
            raise GB10Error(f"mods names {found[name][:80]} and {text[:80]}, which would have one name in the image ({name}): give one of them another")
    return list(found)


def called(text: str) -> str:
    """A mod as a recipe names it, below ``mods/`` where it names no folder."""
    name = text.strip().removeprefix("./").rstrip("/")
    return name if "/" in name else f"mods/{name}"


def is_path(text: str) -> bool:
    """Whether a mod is named by the path of a directory on the controller, and is not one of the project's."""
    return text.startswith(("/", "~/"))


def content(files: Mapping[str, Any], name: str) -> dict[str, tuple[bytes, bool]]:
    """{path: (bytes, whether it is executable)} of files that came along. GB10Error for a path that leaves the directory, and for more than is meant."""
    found: dict[str, tuple[bytes, bool]] = {}
    for path, one in files.items():
        if path in ("", ".") or posixpath.isabs(path) or posixpath.normpath(path) != path or ".." in path.split("/") or not path.isprintable():
            raise GB10Error(f"{name} holds a file called {path[:60]!r}, which is no path within it")
        try:
            found[path] = (base64.b64decode(str(one["content"]), validate=True), bool(one.get("executable")))
        except (binascii.Error, ValueError, KeyError, TypeError, AttributeError):
            raise GB10Error(f"the file {path[:60]} of {name} did not arrive whole") from None
    if len(found) > MOST_FILES or sum(len(text) for text, _executable in found.values()) > MOST_BYTES:
        raise GB10Error(f"{name} has more than {MOST_FILES} files or {MOST_BYTES // 1024} KiB, which is more than a mod is")
    return found


def digest(files: Mapping[str, tuple[bytes, bool]]) -> str:
    """Git's digest of a directory with these files: what a mod of the project with the same files has in its repository."""
    entries: dict[str, tuple[str, bytes]] = {}
    below: dict[str, dict[str, tuple[bytes, bool]]] = {}
    for path, (text, executable) in files.items():
        head, slash, tail = path.partition("/")
        if slash:
            below.setdefault(head, {})[tail] = (text, executable)
        else:
            entries[head] = ("100755" if executable else "100644", _object("blob", text))
    entries |= {f"{head}/": ("40000", bytes.fromhex(digest(inner))) for head, inner in below.items()}
    listed = b"".join(f"{mode} {name.rstrip('/')}".encode() + b"\0" + one for name, (mode, one) in sorted(entries.items(), key=lambda item: item[0].encode()))
    return _object("tree", listed).hex()


def _object(kind: str, text: bytes) -> bytes:
    return hashlib.sha1(f"{kind} {len(text)}\0".encode() + text, usedforsecurity=False).digest()


def fetches(script: str) -> bool:
    """Whether a mod's run.sh fetches something from the network as far as its words say."""
    return bool(_FETCHING.search(_COMMENT.sub("", script)))


def against(script: str) -> str:
    """Why a mod's run.sh can be no layer of an image, without a full stop; "" where nothing in it says so."""
    code = _COMMENT.sub("", script)
    if _OF_THE_HOST.search(code):
        return "it changes the host's kernel or driver, which needs privilege on the box and no image can do"
    if _LATER.search(code):
        return "it starts something that goes on beside the server, which a layer of an image cannot"
    return ""


def dockerfile(image: str, mods: Sequence[str]) -> str:
    """A Dockerfile that runs these mods in order over ``image``; its context is the project's checkout."""
    lines = [f"FROM {image}"]
    for name in mods:
        place = f"{WHERE}/{name.removeprefix('mods/')}"
        lines += [f"COPY {name} {place}", f'RUN export WORKSPACE_DIR="$PWD" && cd {place} && chmod +x {SCRIPT} && ./{SCRIPT}']
    return "\n".join(lines) + "\n"
