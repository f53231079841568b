# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The numbers that are written down are those of the tree. `tests/compat --quick` writes the table of docs/compatibility.md anew."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import knowledge

ROOT = Path(__file__).parents[2]
DOCUMENTED = ("plugins/modules/*.py", "roles/*/meta/argument_specs.yml", "plugins/filter/*.yml", "plugins/lookup/*.py", "plugins/callback/*.py")

AGAIN = "something was added or removed: `tests/compat --quick` writes the table anew"


def test_the_table_of_supported_versions_counts_what_is_there():
    table = (ROOT / "docs/compatibility.md").read_text().split("<!-- made by tests/compat -->")[1].split("<!-- end -->")[0]
    head, _rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    documented = sum(len([path for path in ROOT.glob(pattern) if path.name != "__init__.py"]) for pattern in DOCUMENTED)
    playbooks = len(list((ROOT / "playbooks").glob("*.yml")))
    assert len(rows) == 4
    assert {(row[head.index("documentation")], row[head.index("playbooks")]) for row in rows} == {(str(documented), str(playbooks))}, AGAIN


def test_the_changelog_counts_the_known_failures():
    text = (ROOT / "changelogs/fragments/diagnosis.yml").read_text()
    assert [int(number) for number in re.findall(r"(\d+) known failures", text)] == [len(knowledge.load())]
