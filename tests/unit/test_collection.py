# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What describes the collection agrees with what is in it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.filter.gb10 import FilterModule

ROOT = Path(__file__).parents[2]
ROOM = "ansible_collections.gb10.vllm.plugins.plugin_utils._filters"


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def test_the_action_group_names_every_module():
    modules = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")
    assert read("meta/runtime.yml")["action_groups"]["all"] == modules


def test_every_filter_is_documented():
    assert set(FilterModule().filters()) == {path.stem for path in (ROOT / "plugins/filter").glob("*.yml")}


def test_filters_lie_in_one_file_and_are_made_once():
    """Ansible goes through every file of the folder, and asks each for all that it has, for each filter that a process meets."""
    assert [path.name for path in (ROOT / "plugins/filter").glob("*.py")] == ["gb10.py"]
    assert FilterModule().filters() is FilterModule().filters()


def test_no_filter_has_the_name_of_another():
    rooms = [importlib.import_module(f"{ROOM}.{path.stem}") for path in (ROOT / "plugins/plugin_utils/_filters").glob("*.py") if path.stem != "__init__"]
    assert sum(len(room.FILTERS) for room in rooms) == len(FilterModule().filters()) > 80


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


PAGES = [path for pattern in ("*.md", "docs/*.md", "roles/*/README.md", "tests/boxes/README.md") for path in sorted(ROOT.glob(pattern))]


def headings(path):
    """The names by which headings can be linked to, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*?)#* *$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.M)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").strip().lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain} | set(re.findall(r'<a id="([^"]+)">', path.read_text()))


def leads_nowhere(path):
    """Links of a page to files of the tree, or places in them, that are not there."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.M | re.S)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, place = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (place and target.suffix == ".md" and place not in headings(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_of_a_page_leads_nowhere(path):
    assert leads_nowhere(path) == []


def test_the_reader_of_links_sees_what_leads_nowhere(tmp_path):
    (tmp_path / "a.md").write_text("# One `two`, three\n[a](#one-two-three) [b](#four) [c](b.md) [d](https://x.example) `[e](f.md)`\n")
    assert leads_nowhere(tmp_path / "a.md") == ["#four", "b.md"]


def test_the_archive_that_is_told_of_is_that_of_this_version():
    named = re.findall(r"gb10-vllm-(\S+?)\.tar\.gz", (ROOT / "README.md").read_text())
    assert named and set(named) == {read("galaxy.yml")["version"]}


def named_options(options):
    for option in (options or {}).values():
        yield from (re.split(r"[=.\[]", one)[0] for one in re.findall(r"\bO\(([^)]*)\)", str(option.get("description", ""))))
        yield from named_options(option.get("options"))


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/meta/argument_specs.yml")), ids=lambda path: path.parents[1].name)
def test_an_option_that_a_role_refers_to_is_its_own(path):
    """antsibull-docs makes a link of O(name)."""
    for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
        assert set(named_options(entry.get("options"))) - set(entry.get("options") or {}) == set()
