# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the user's variables are what the roles' argument specs say; all roles at once, so that a run does not validate each role on each box."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import key_mistakes, without_empty
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.expand import with_recipes

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
        for option in specs().get(name, []):
            result = ArgumentSpecValidator({name: option}).validate({name: _with_servers(name, _plain(value))})
            said += [text if text.endswith(".") else f"{text}." for text in result.error_messages if text not in said]
    return list(dict.fromkeys(said)) or key_mistakes(values)


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
