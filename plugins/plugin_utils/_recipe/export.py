# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs, as a recipe that others can use: the arguments of a deployment without what belongs to this box. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import flag_name, words
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import REPO_ID, is_secret, names_a_secret
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.arguments import arguments
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.words import Word

FORMATS = ("v1", "v2")
# Worked out for this box, or of this box only.
OWN = ("middleware", "kv_cache_memory_bytes", "host", "port", "max_model_len", "gpu_memory_utilization", "served_model_name", "ssl_certfile", "ssl_keyfile")
HERE = re.compile(r"^/(?:run|opt|cache|models)/")
PLACES = {
    "host": ("--host", "host"),
    "port": ("--port", "port"),
    "max_model_len": ("--max-model-len", "max_model_len"),
    "gpu_memory_utilization": ("--gpu-memory-utilization", "gpu_memory_utilization"),
    "served_model_name": ("--served-model-name", "served_model_name"),
}


def exported(deployment: Mapping[str, Any], form: str, env: Mapping[str, Any] | None = None, image: Mapping[str, Any] | None = None) -> tuple[str, list[str]]:
    """(the recipe as YAML, what was left out and why). ``env``: the server's own; ``image``: ``gb10_image``. GB10Error for a format that is none."""
    if form not in FORMATS:
        raise GB10Error(f"export: the format {form[:20]!r} is not known; use {' or '.join(FORMATS)}.")
    command = list((deployment.get("container") or {}).get("command") or [])
    if "serve" not in command:
        raise GB10Error("export: what runs has no `vllm serve` in its command, so it is no server of this collection.")
    _loose, found = arguments([Word(str(word), 0) for word in command[command.index("serve") + 1 :]])
    held = {one.name: one.value for one in found}
    left: list[str] = []
    args = {}
    for one in found:
        if one.name in OWN:
            continue
        if isinstance(one.value, str) and HERE.match(one.value):
            left.append(f"--{one.name.replace('_', '-')}: {one.value} is a file of this box")
            continue
        args[one.name] = one.value
    defaults: dict[str, Any] = {
        "port": deployment.get("port", 8000),
        "host": "0.0.0.0",
        **{key: held[key] for key in ("max_model_len", "gpu_memory_utilization") if key in held},
        "served_model_name": deployment.get("served_model_name") or "model",
    }
    variables = _shared(env or {}, left)
    model = str(deployment.get("model") or deployment.get("model_path") or "")
    if not REPO_ID.fullmatch(model):
        left.append(f"model: {model} is a directory of this box; name the repository it came from")
    return _written(form, str(deployment["name"]), model, defaults, args, variables, dict(image or {})), left


def _shared(env: Mapping[str, Any], left: list[str]) -> dict[str, str]:
    found = {}
    for name, value in env.items():
        if names_a_secret(str(name)) or is_secret(str(value)):
            left.append(f"env.{name}: a secret")
        else:
            found[str(name)] = str(value)
    return found


def _written(form: str, name: str, model: str, defaults: Mapping[str, Any], args: Mapping[str, Any], env: Mapping[str, str], image: Mapping[str, Any]) -> str:
    doubled = form == "v1"
    lines = ["vllm serve " + (_quoted(model, doubled) if doubled else "{model}")]
    lines += [f"{flag} {{{key}}}" for key, (flag, _name) in PLACES.items() if key in defaults]
    lines += [" ".join(_quoted(word, doubled) for word in words(flag_name(key), value)) for key, value in args.items()]
    command = " \\\n  ".join(lines) + "\n"
    made: dict[str, Any] = {"recipe_version": form.removeprefix("v")}
    if doubled:
        made.update(name=name, description=f"vLLM serving {model}")
    made["model"] = model
    made["container"] = "vllm-node"
    if not doubled:
        made.update(runtime="vllm", metadata={"description": f"vLLM serving {model}"}, max_nodes=1)
        made["container"] = image["image"] if image.get("source") == "prebuilt" and image.get("image") else "vllm-node"
    else:
        made["solo_only"] = True
    made.update({"mods": list(image["mods"])} if image.get("mods") else {})
    made.update({"build_args": list(image["arguments"])} if image.get("arguments") else {})
    made["defaults"] = dict(defaults)
    made.update({"env": dict(env)} if env else {})
    head = yaml.safe_dump(made, sort_keys=False, width=150)
    return head + "command: |\n" + "".join(f"  {line}\n" for line in command.splitlines())


def _quoted(word: str, doubled: bool) -> str:
    text = shlex.quote(word)
    return text.replace("{", "{{").replace("}", "}}") if doubled else text


def plain(value: Any) -> Any:
    """The same value in containers of Python's own: Ansible's kinds of texts are none that YAML can write."""
    return json.loads(json.dumps(value, default=str))
