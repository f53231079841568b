# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in an image: the versions of vLLM, torch and CUDA, and the project's own build metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import Image
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import docker

_MARK = "GB10{"
# Runs inside the image with its own python3; reads files only, so no CUDA library is loaded.
_READ_VERSIONS = r"""
import importlib.metadata as m, importlib.util as u, json, os, re
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return None
def source(package, file, pattern):
    try:
        spec = u.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            found = re.search(pattern, open(os.path.join(place, file)).read(), re.M)
            if found:
                return found.group(1)
    except (OSError, ValueError, ImportError):
        pass
    return None
try:
    text = open("/workspace/build-metadata.yaml").read()
except OSError:
    text = ""
print("GB10" + json.dumps({
    "vllm_version": version("vllm") or source("vllm", "_version.py", r"^(?:__version__|version).*=\s*['\"]([^'\"]+)"),
    "torch_version": source("torch", "version.py", r"^__version__\s*=\s*['\"]([^'\"]+)") or version("torch"),
    "cuda_version": source("torch", "version.py", r"^cuda[^=]*=\s*['\"]([^'\"]+)") or os.environ.get("CUDA_VERSION"),
    "transformers_version": version("transformers"),
    "flashinfer_version": version("flashinfer-python"),
    "build_metadata": text,
}))
"""


class Versions:
    """Reads each image once and keeps what it found in the ``record``, unless only a ``look`` is allowed. ``name``: the image's."""

    def __init__(self, name: str, record: Record, docker_path: str, warn: Callable[[str], None], *, look: bool = False) -> None:
        self.name = name
        self.record = record
        self.docker_path = docker_path
        self.warn = warn
        self.look = look

    def of(self, image: Image) -> dict[str, Any]:
        """``{vllm_version, torch_version, cuda_version, ..., build_metadata}``; an image without vLLM is warned about."""
        known = self.record.versions(image.id)
        if known:
            return known
        output = self._ask(image)
        found = judge(output, image.labels, image.environment)
        if not found["vllm_version"]:
            self.warn(f"image {self.name} ({image.id[7:19]}) has no vLLM that its python3 can find; a server from it will not start")
        if _MARK in output and not self.look:
            self.record.keep_versions(image.id, found)
        return found

    def _ask(self, image: Image) -> str:
        question = ["run", "--rm", "--network", "none", "--entrypoint", "python3", image.id, "-c", _READ_VERSIONS]
        try:
            return docker(*question, command=self.docker_path, check=False).stdout
        except GB10Error:  # one that does not answer in time, for example: an image can be used without its versions
            return ""


def judge(output: str, labels: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The versions, from what the image said, its labels and its environment. Pure.

    Our own label counts most for vLLM, then what was found, then the build metadata; for CUDA torch, then the variable.
    """
    line = next((line[4:] for line in output.splitlines() if line.startswith(_MARK)), "")
    found: dict[str, Any] = json.loads(line) if line else {}
    found["build_metadata"] = flat_yaml(found.pop("build_metadata", ""))
    label = labels.get("gb10.vllm.vllm_version")
    found["vllm_version"] = label or found.get("vllm_version") or found["build_metadata"].get("vllm_version")
    found.setdefault("torch_version", None)
    found["cuda_version"] = found.get("cuda_version") or environment.get("CUDA_VERSION")
    return found


def flat_yaml(text: str) -> dict[str, str]:
    """The scalar lines of the project's build-metadata.yaml (one nested block at most, its keys are kept as they are)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z_]\w*):\s*(.+?)\s*$", line)
        if match:
            value = match.group(2).strip("\"'")
            if value != "unknown":
                found[match.group(1)] = value
    return found
