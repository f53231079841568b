# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What describes the collection agrees with what is in it."""

from __future__ import annotations

import importlib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def test_the_action_group_names_every_module():
    modules = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")
    assert read("meta/runtime.yml")["action_groups"]["all"] == modules


def test_every_filter_is_documented():
    registered = set()
    for path in (ROOT / "plugins/filter").glob("*.py"):
        module = importlib.import_module(f"ansible_collections.gb10.vllm.plugins.filter.{path.stem}")
        registered |= set(module.FilterModule().filters())
    assert registered == {path.stem for path in (ROOT / "plugins/filter").glob("*.yml")}


def test_fragments_use_the_sections_of_the_changelog():
    sections = {name for name, _title in read("changelogs/config.yaml")["sections"]} | {"release_summary"}
    for path in (ROOT / "changelogs/fragments").glob("*"):
        content = read(path)
        assert set(content) <= sections, path.name
        assert isinstance(content.pop("release_summary", ""), str), path.name
        assert all(isinstance(entry, str) for entries in content.values() for entry in entries), path.name


def test_the_example_inventory_is_short():
    for path in (ROOT / "inventory/gb10").rglob("*.yml"):
        assert len(path.read_text().splitlines()) < 25, path.name
