# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the user's variables are what the roles' argument specs say; all roles at once, so that a run does not validate each role on each box."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import canonical_name, plain_name
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import images
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import key_mistakes, without_empty
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.expand import with_recipes

UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:g|gb|gi|gib)", re.IGNORECASE)
# What people know of `docker run` and compose files, and what does the same here.
CONTAINER = {
    "image": "write a mapping with keys of gb10_image, as in {source: existing, name: my-vllm:1}; without it the server runs with gb10_image",
    "ports": "say `port` and `address`",
    "volumes": "files that arguments name are mounted by themselves (docs/compatibility.md)",
    "shm_size": "say gb10_shm_gib",
    "ipc": "leave it out, gb10_shm_gib is the shared memory",
    "restart": "leave it out, systemd restarts it (gb10_restarts)",
    "environment": "say `env`",
    "command": "say `args`, as a mapping",
    "entrypoint": "leave it out",
    "gpus": "leave it out, the server has the box's GPU",
    "runtime": "leave it out, the server has the box's GPU",
    "network_mode": "leave it out, `address` says where it is reached",
    "container_name": "say `name`",
    "host": "say `address`",
    "executor": "leave it out: `boxes` uses vLLM's own engine over several boxes, and a Ray cluster is not set up (docs/groups.md)",
    "distributed_executor_backend": "leave it out: `boxes` uses vLLM's own engine over several boxes, and a Ray cluster is not set up (docs/groups.md)",
    "tensor_parallel_size": "say `boxes` for a server over several boxes; a GB10 has one GPU",
}
ROLES = Path(__file__).resolve().parents[3] / "roles"


@lru_cache(maxsize=1)
def specs() -> dict[str, list[dict[str, Any]]]:
    """Each ``gb10_*`` option as the roles describe it, once for each role that does."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            for name, option in (entry.get("options") or {}).items():
                if option not in found.setdefault(name, []):
                    found[name].append(option)
    return found


def option_mistakes(values: Mapping[str, Any]) -> list[str]:
    """One sentence, in Ansible's own words, for each value of the wrong type or not among the choices, and for keys that are too weak.

    ``values``: the user's variables by name.
    """
    said: list[str] = []
    for name, value in values.items():
        if value is None and name in specs():
            # A mapping whose lines are all commented out says nothing; anything else was meant to say something.
            types = {option.get("type", "str") for option in specs()[name]}
            said += [] if types & {"dict", "str", "path", "raw"} else [f"{name} is empty; give it a value or delete the line."]
            continue
        plainly = _hint(name, value)
        if plainly:
            said.append(plainly)
            continue
        for option in specs().get(name, []):
            result = ArgumentSpecValidator({name: _with_image(name, option)}).validate({name: _with_servers(name, _plain(value))})
            said += [text if text.endswith(".") else f"{text}." for text in result.error_messages if text not in said]
    return list(dict.fromkeys(said)) or key_mistakes(values)


def _hint(name: str, value: Any) -> str:
    """What was meant by a value whose shape shows it, in plainer words than Ansible's; "" for any other."""
    types = {option.get("type", "str") for option in specs().get(name, [])}
    if name == "gb10_image" and isinstance(value, str) and "=" not in value and not value.lstrip().startswith("{"):
        return "gb10_image is a text: write a mapping with `name` and `source`, as in {source: existing, name: my-vllm:1} (see docs/image.md)."
    if name == "gb10_servers" and isinstance(value, Mapping):
        return "gb10_servers is a mapping: write a list with a dash before each server and its name as `name`."
    if name == "gb10_servers" and isinstance(value, (list, tuple)):
        texts = [one for one in value if isinstance(one, str)]
        return f"gb10_servers holds the text {str(texts[0])[:60]!r}: each server is a mapping with `name` and `model`." if texts else _misplaced(value)
    with_unit = UNIT.fullmatch(value.strip()) if isinstance(value, str) and name.endswith("_gib") and types <= {"float", "int"} else None
    return f"{name} is {value.strip()!r}: it counts GiB, so write the number alone, as in {with_unit[1]}." if with_unit else ""


def _misplaced(servers: Sequence[Any]) -> str:
    """Where keys of servers belong that are arguments of vLLM or what other tools say of containers; "" where there are none."""
    known = {key for option in specs()["gb10_servers"] for key in option.get("options") or {}}
    for server in servers:
        if not isinstance(server, Mapping):
            continue
        strange = [str(key) for key in server if str(key) not in known or (key == "image" and images.not_a_mapping(server))]
        if not strange:
            continue
        arguments = [key for key in strange if key not in CONTAINER and canonical_name(plain_name(key)) in ARGUMENTS]
        said = [f"{', '.join(arguments)} {_are(arguments)} of vLLM's own, which stand in `args` of the server"] if arguments else []
        said += [f"{key}: {CONTAINER.get(key) or _unread(key, known)}" for key in strange if key not in arguments]
        return f"gb10_servers ({str(server.get('name') or server.get('model'))[:60]}): {'; '.join(said)[:480]}."
    return ""


def _with_image(name: str, option: Mapping[str, Any]) -> Mapping[str, Any]:
    """The option as its role describes it; the ``image`` of a server has the keys of gb10_image, and none of their defaults."""
    if name != "gb10_servers" or "image" not in (option.get("options") or {}):
        return option
    keys = next(one["options"] for one in specs()["gb10_image"] if one.get("options"))
    own = {key: {part: value for part, value in one.items() if part != "default"} for key, one in keys.items()}
    return {**option, "options": {**option["options"], "image": {**option["options"]["image"], "options": own}}}


def _unread(key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"nothing reads it; did you mean {near[0]}?" if near else "nothing reads it"


def _are(words: Sequence[str]) -> str:
    return "is an argument" if len(words) == 1 else "are arguments"


def _with_servers(name: str, value: Any) -> Any:
    """Servers with what their recipes say, without the settings that nothing follows."""
    if name != "gb10_servers" or not isinstance(value, list):
        return value
    with contextlib.suppress(GB10Error):  # `server_mistakes` says so
        value = with_recipes(value)
    return [without_empty(server) if isinstance(server, dict) else server for server in value]


def _plain(value: Any) -> Any:
    """The same value in containers of Python's own: the validator copies what it is given, and Ansible's hold all variables of the box."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value
