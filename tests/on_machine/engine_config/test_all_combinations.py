# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All combinations, generated and real (part of `make deep`): what vLLM takes is planned with its figures, what it refuses is refused."""

from __future__ import annotations

from combinations import combinations
from compare import REASONS, SHARE, compared


def test_every_combination_comes_out_as_in_the_engine(ask, capsys):
    chosen = combinations()
    assert len(chosen) >= 300
    wrong, total, explained = compared(chosen, *ask(chosen))
    with capsys.disabled():
        print(f"\nengine's configuration: {len(chosen)} combinations, {total} fields, {len(wrong)} wrong, {explained} differ for a reason")
    assert not wrong, "\n".join(wrong)
    assert explained <= SHARE * total


def test_every_reason_names_vllms_own_code():
    for entry in REASONS:
        assert entry["why"] and ":" in entry["where"] and entry["fields"], entry
