# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of a user against the argument specs of all roles."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.options import ROLES, option_mistakes, specs

ROOT = Path(__file__).parents[5]
SERVER = {"name": "tiny", "model": "tiny"}


def test_every_variable_is_known_to_some_role():
    known = yaml.safe_load((ROOT / "roles/preflight/vars/main.yml").read_text())["preflight_known_variables"]
    assert ROLES == ROOT / "roles" or ROLES.resolve() == (ROOT / "roles").resolve()
    assert set(known) <= set(specs())


def test_what_the_inventories_ship_is_right():
    for path in ROOT.glob("inventory/*/group_vars/gb10.yml"):
        assert option_mistakes({name: value for name, value in yaml.safe_load(path.read_text()).items() if name.startswith("gb10_")}) == []


@pytest.mark.parametrize(
    "values,text",
    [
        ({"gb10_keep": "many"}, "gb10_keep"),
        ({"gb10_servers": [dict(SERVER, port="x")]}, "port"),
        ({"gb10_servers": [{"name": "tiny"}]}, "model"),
        ({"gb10_distribution": {"method": "carry"}}, "auto, fan_out, build_everywhere"),
        ({"gb10_hub": {"endpont": "x"}}, "endpont"),
    ],
)
def test_a_mistake_is_one_sentence(values, text):
    said = option_mistakes(values)
    assert len(said) == 1 and text in said[0] and said[0].endswith(".")


def test_a_text_that_is_a_number_is_one():
    assert option_mistakes({"gb10_keep": "2", "gb10_servers": [dict(SERVER, port="8000")], "gb10_unheard_of": 1}) == []


def test_another_executor_is_answered_with_what_to_do():
    for key in ("executor", "distributed_executor_backend"):
        (said,) = option_mistakes({"gb10_servers": [{"name": "big", "model": "big", "boxes": 2, key: "ray"}]})
        assert f"{key}" in said and "leave it out: `boxes` uses vLLM's own engine over several boxes, and a Ray cluster is not set up" in said
