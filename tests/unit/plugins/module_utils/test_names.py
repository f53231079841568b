# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names lie on boxes that are deployed: none of them may change."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.module_utils import _names


def test_what_lies_on_a_box_keeps_its_name():
    assert _names.container_name("a") == "gb10-vllm-a"
    assert _names.unit_name("a") == "gb10-vllm-a.service"
    assert _names.watch_name("a") == "gb10-vllm-watch@a.timer"
    assert (_names.SERVER_LABEL, _names.SPEC_LABEL) == ("gb10.vllm.server", "gb10.vllm.spec")
    assert (_names.STATE_DIR, _names.CONFIG_DIR, _names.RUN_DIR) == ("/var/lib/gb10-vllm", "/etc/gb10-vllm", "/run/gb10-vllm")
    assert (_names.LIBRARY_DIR, _names.IMAGE, _names.LONGEST_S) == ("/usr/local/lib/gb10-vllm", "vllm-node", 14400)
