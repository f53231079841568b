# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the documentation of several modules has in common."""

from __future__ import annotations

import yaml
from ansible_collections.gb10.vllm.plugins.doc_fragments import attributes, state_dir


def test_what_changes_something_and_what_only_reads_say_so():
    made, reads = (yaml.safe_load(text) for text in (attributes.ModuleDocFragment.DOCUMENTATION, attributes.ModuleDocFragment.READS))
    for one, check, diff, why in (
        (made, "Can run in check mode and return what it would change, without changing it.", "none", "Shows no differences."),
        (reads, "Can run in check mode, where it does the same.", "N/A", "Nothing is changed."),
    ):
        modes = {"check_mode": {"support": "full", "description": check}, "diff_mode": {"support": diff, "description": why}}
        assert one == {"options": {}, "attributes": modes}


def test_records_have_one_place():
    assert yaml.safe_load(state_dir.ModuleDocFragment.DOCUMENTATION)["options"]["state_dir"] == {
        "description": "Directory on the box in which the collection keeps its records.", "type": "path", "default": "/var/lib/gb10-vllm",
    }  # fmt: skip
