# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module takes is what its documentation says: options, types, defaults, choices, what has to be there, and whether it can check."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
NAMES = sorted(path.stem for path in (PLUGINS / "modules").glob("*.py"))
# Filled in by the action plugin of the same name, so that no user gives them.
BY_THE_ACTION = {"box_info": {"owner", "take_over"}, "run_lock": {"owner", "take_over"}, "router_drain": {"owner"}}


class Made(Exception):
    """A module was made with this argument spec."""


def spec_of(name, monkeypatch):
    module = importlib.import_module(f"ansible_collections.gb10.vllm.plugins.modules.{name}")

    def made(**given):
        raise Made(given)

    monkeypatch.setattr(module, "AnsibleModule", made)
    with pytest.raises(Made) as found:
        module.main()
    return module, found.value.args[0]


def fragment(name):
    _gb10, _vllm, file, *part = name.split(".")
    module = importlib.import_module(f"ansible_collections.gb10.vllm.plugins.doc_fragments.{file}")
    return yaml.safe_load(getattr(module.ModuleDocFragment, part[0].upper() if part else "DOCUMENTATION"))


def documented(text):
    options, attributes = dict(text.get("options") or {}), dict(text.get("attributes") or {})
    named = text.get("extends_documentation_fragment") or []
    for name in (one for one in ([named] if isinstance(named, str) else named) if one.startswith("gb10.vllm.")):
        below = fragment(name)
        options |= below.get("options") or {}
        attributes = {one: {**said, **attributes.get(one, {})} for one, said in (below.get("attributes") or {}).items()} or attributes
    return options, attributes


def plain(options, suboptions):
    """{option: what counts of it}, with what is left out filled in as Ansible does."""
    return {
        name: {
            "type": one.get("type", "str"),
            "elements": one.get("elements"),
            "required": bool(one.get("required")),
            "choices": list(one["choices"]) if one.get("choices") else None,
            "default": one.get("default"),
            "below": plain(one[suboptions], suboptions) if one.get(suboptions) else None,
        }
        for name, one in options.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_a_module_takes_is_what_it_documents(name, monkeypatch):
    module, given = spec_of(name, monkeypatch)
    options, attributes = documented(yaml.safe_load(module.DOCUMENTATION))
    taken = {option: one for option, one in given["argument_spec"].items() if option in options or option not in BY_THE_ACTION.get(name, ())}
    assert plain(taken, "options") == plain(options, "suboptions")
    assert given["supports_check_mode"] is (attributes["check_mode"]["support"] == "full")


def flat(spec, before=""):
    for option, one in spec.items():
        yield before + option, one
        yield from flat(one.get("options") or {}, f"{before}{option}.")


# What holds something secret itself, so that no log of Ansible's has it.
SECRET = {
    ("box_info", "private"), ("kv_cache_budget", "hf_token"), ("recipe", "environment"), ("rehearse", "servers.environment"), ("router_config", "files"),
}  # fmt: skip


def test_what_is_secret_is_kept_out_of_every_log(monkeypatch):
    hidden = {(name, option) for name in NAMES for option, one in flat(spec_of(name, monkeypatch)[1]["argument_spec"]) if one.get("no_log")}
    assert hidden == SECRET
