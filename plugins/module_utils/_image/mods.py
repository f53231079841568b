# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mods of spark-vllm-docker: directories with a run.sh that changes an image, put into one layer of it. Pure.

Upstream copies a mod into every fresh container and runs it there, as root, at each start; here it runs once, in the build, and counts as an input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


def names(given: Sequence[str]) -> list[str]:
    """Mods as they are named in an image's settings, each once; GB10Error for what is no name of one."""
    found = []
    for one in given:
        name = str(one).strip().strip("/")
        name = name if name.startswith("mods/") else f"mods/{name}"
        if not NAME.fullmatch(name):
            raise GB10Error(f"mods holds {str(one)[:60]!r}, which is no mod of the project: name a directory below mods/")
        found.append(name)
    return list(dict.fromkeys(found))


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
