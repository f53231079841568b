# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens to the fields of a recipe that are neither its command nor its image, as data and small judges. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.rows import CHANGED, MAPPED, REFUSED, Row

# Looked at elsewhere: mapping.py and images.py.
ELSEWHERE = ("model", "model_revision", "defaults", "env", "command", "container", "build_args", "mods", "runtime_config")
# What tells people something and no machine.
TOLD = {
    "recipe_version": "the format",
    "sparkrun_version": "the format",
    "name": "a title; a server's name is given in gb10_servers",
    "description": "told in the report",
    "metadata": "read for people; the plan reads the model's own files instead",
    "maintainer": "told in the report",
    "runtime_version": "the image decides which vLLM runs",
    **dict.fromkeys(("author", "tags", "notes", "license", "homepage", "source", "url", "version", "display_name", "title", "category"), "told to people only"),
    "capabilities": "what the model can do is read from its files",
    "unsupported_capabilities": "what the model can do is read from its files",
}
INSTEAD = {
    "benchmark": "the playbook gb10.vllm.benchmark measures, by its own profiles",
    "readiness": "a server is ready when it has answered, and its time is worked out from its size",
    "distribution_config": "models and images reach the boxes from box to box",
    "runtime_cache": "caches lie in the state directory of the box",
    "cluster_only": "how many boxes is said by `boxes`",
    "solo_only": "how many boxes is said by `boxes`",
    "min_nodes": "how many boxes is said by `boxes`",
    "max_nodes": "how many boxes is said by `boxes`",
    "mode": "how many boxes is said by `boxes`",
}
SPARKRUN = (0, 4)
"""The release of sparkrun whose rules are followed: placeholders of the command and of ``env``, what it adds to a command."""
HOOKS = ("pre_exec", "post_exec", "post_commands")
NEVER = {
    **dict.fromkeys(HOOKS, "commands that the author wants run on your machines; read them, and do by hand what you want of them"),
    "stop_after_post": "a server here stays up",
    "scheduler": "the inventory is the placement",
    "layout": "the inventory is the placement",
    "cluster_config": "the inventory and gb10_fabric say what the cluster is",
    "include": "this recipe is only a part; name one that stands alone",
    "overrides": "this recipe is only a part; name one that stands alone",
    "containers": "a server has one image here; name it in `image` of its entry",
    "volumes": "what a container sees of its box is the model and the files that arguments name",
    "ports": "a server has its one port",
    "patches": "changes of the image belong into an image of your own",
    "draft_model": "name it in --speculative-config, as vLLM takes it",
}
RUNTIMES = ("", "vllm", "vllm-distributed", "vllm-ray", "eugr-vllm", "eugr-vllm-ray")
OTHERS = {
    "sglang": "SGLang", "llama-cpp": "llama.cpp", "llamacpp": "llama.cpp", "trtllm": "TensorRT-LLM", "atlas": "Atlas", "modular-max": "Modular MAX",
    "tokenary": "Tokenary", "ollama": "Ollama",
}  # fmt: skip
BUILDERS = ("", "eugr", "docker-pull", "docker")
# The container's settings: those that a unit and a container of ours have anyway, and those that would open the box.
EXECUTOR = {
    "auto_remove": "a container lives as long as its unit",
    "restart_policy": "systemd restarts it, at most gb10_restarts times",
    "gpus": "a server gets the GPU of its box",
    "ipc": "shared memory is gb10_shm_gib",
    "shm_size": "shared memory is gb10_shm_gib",
    "network": "its port is published, it has a network of its own",
    "user": "root without capabilities",
    "memory_limit": "the plan keeps it within the box",
    "ulimits": "set by the unit's container",
    "detach": "a unit runs it",
    "name": "it is called gb10-vllm-NAME",
    "container_name": "it is called gb10-vllm-NAME",
}


def rows(document: Document) -> list[Row]:
    """What becomes of every field that is looked at here."""
    found: list[Row] = []
    for name, value in document.fields.items():
        if name in ELSEWHERE:
            continue
        found += _one(document, name, value)
    inner = document.fields.get("runtime_config")
    if inner not in (None, {}) and not isinstance(inner, Mapping):
        raise document.error("runtime_config", "it must be a mapping")
    for name in inner or {}:
        if name not in ("build_args", "mods"):
            found.append(Row(f"runtime_config.{name}", document.line(f"runtime_config.{name}"), REFUSED, "", "not known for a runtime that is vLLM"))
    for name in document.twice:
        found.append(Row(name, document.line(name), CHANGED, "", "it is there twice; the last one counts"))
    return found


def _distribution(document: Document, value: Any) -> list[Row]:
    """Each part: what is copied beside the model is fetched here only where an argument names it."""
    if not isinstance(value, Mapping):
        return [Row("distribution_config", document.line("distribution_config"), CHANGED, "", INSTEAD["distribution_config"])]
    found = []
    for key, one in value.items():
        label = f"distribution_config.{key}"
        more = key in ("additional_models", "models") and one not in (None, [], "")
        why = (
            "fetched only as far as an argument names it, a draft in --speculative-config or an adapter in --lora-modules; nothing else is brought"
            if more
            else ""
        )
        found.append(Row(label, document.line(label), CHANGED, "", why or INSTEAD["distribution_config"]))
    return found or [Row("distribution_config", document.line("distribution_config"), MAPPED, "", "empty")]


def _least_version(document: Document, value: Any) -> Row:
    """Rules of a later sparkrun than the one that was read may make another command of a recipe."""
    name = "min_sparkrun_version"
    line, words = document.line(name), re.match(r"\D{0,2}(\d{1,6})(?:\.(\d{1,6}))?", str(value or "0"))
    newer = words is None or (int(words[1]), int(words[2] or 0)) > SPARKRUN
    known = ".".join(map(str, SPARKRUN))
    if newer:
        return Row(
            name,
            line,
            CHANGED,
            "",
            f"{str(value)[:20]}: the rules that are known here are sparkrun's up to {known}; compare the command with what it makes of it",
        )
    return Row(name, line, MAPPED, "", f"the rules of sparkrun up to {known} are known; nothing of it runs here")


def _one(document: Document, name: str, value: Any) -> list[Row]:
    line = document.line(name)
    if name == "distribution_config":
        return _distribution(document, value)
    if name == "min_sparkrun_version":
        return [_least_version(document, value)]
    if name in TOLD or name.startswith("x-"):
        return [Row(name, line, MAPPED, "", TOLD.get(name, "told to people only"))]
    if name == "runtime":
        return [_runtime(document, str(value or "").strip().lower(), line)]
    if name in ("executor", "builder"):
        fine = str(value or "").strip().lower() in (("", "docker") if name == "executor" else BUILDERS)
        why = "Docker runs it, the image comes by gb10_image" if fine else f"{str(value)[:40]!r} is not there here"
        return [Row(name, line, CHANGED if fine else REFUSED, "", why)]
    if name in ("executor_config", "builder_config"):
        return _executor(document, name, value)
    if name in INSTEAD:
        return [Row(name, line, CHANGED, "", INSTEAD[name])]
    if name in NEVER:
        return [Row(name, line, REFUSED if value else MAPPED, "", NEVER[name] if value else "empty")]
    known = [*ELSEWHERE, *TOLD, *INSTEAD, *NEVER, "runtime", "executor", "builder", "executor_config", "builder_config", "min_sparkrun_version"]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return [Row(name, line, REFUSED, "", "not a field that is known" + (f"; did the author mean `{near[0]}`?" if near else ""))]


def _runtime(document: Document, runtime: str, line: int) -> Row:
    if runtime in RUNTIMES:
        return Row("runtime", line, MAPPED, "", "vLLM")
    known = f"is {OTHERS[runtime]}" if runtime in OTHERS else "is not known"
    why = f"{runtime[:40]!r} {known}, and this collection runs vLLM only; look for a recipe of the same model with `runtime: vllm`"
    return Row("runtime", line, REFUSED, "", why)


def _executor(document: Document, name: str, value: Any) -> list[Row]:
    if value in (None, {}):
        return [Row(name, document.line(name), MAPPED, "", "empty")]
    if not isinstance(value, Mapping):
        raise document.error(name, "it must be a mapping")
    found = []
    for key, one in value.items():
        line, label = document.line(f"{name}.{key}"), f"{name}.{key}"
        if name == "builder_config":
            found.append(Row(label, line, REFUSED, "", "how an image is built is said by gb10_image"))
        elif key in EXECUTOR:
            found.append(Row(label, line, CHANGED, "", EXECUTOR[key]))
        elif one in (False, None, "", [], {}):
            found.append(Row(label, line, MAPPED, "", "off, as here"))
        else:
            why = "a container here has no privilege, no capability and no entry point but vLLM's"
            found.append(Row(label, line, REFUSED, "", why))
    return found
