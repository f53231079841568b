# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables, argument specs and defaults say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def read(path):
    return yaml.safe_load((ROOT / path).read_text()) or {}


def specs(role):
    options = {}
    for entry in read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values():
        options.update(entry.get("options") or {})
    return options


def test_the_list_of_known_variables_is_that_of_the_argument_specs():
    known = read("roles/preflight/vars/main.yml")["preflight_known_variables"]
    documented = {name for role in ROLES for name in specs(role) if name.startswith("gb10_")}
    assert known == sorted(known)
    assert set(known) == documented


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_a_role_or_playbook_reads_is_documented(role):
    used = set()
    for path in [*(ROOT / "roles" / role).rglob("*.y*ml"), *(ROOT / "playbooks").glob("*.yml")]:
        used |= set(re.findall(r"(?<![\w.])gb10_\w+", path.read_text()))
    known = set(read("roles/preflight/vars/main.yml")["preflight_known_variables"])
    assert used <= known


@pytest.mark.parametrize("role", ROLES)
def test_defaults_belong_to_their_role(role):
    path = ROOT / "roles" / role / "defaults" / "main.yml"
    names = yaml.safe_load(path.read_text()) if path.exists() else {}
    assert [name for name in names if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_page_and_every_option_a_description(role):
    assert (ROOT / "roles" / role / "README.md").read_text().startswith(f"# {role}\n")
    assert all(option.get("description") and option.get("type") for option in specs(role).values())
