# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The product says of thirty configurations, arguments and environments what vLLM's own configuration code says of them."""

from __future__ import annotations

from combinations import combinations
from compare import compared


def test_thirty_combinations_come_out_as_in_the_engine(ask, capsys):
    chosen = [one for one in combinations() if one.quick]
    assert len(chosen) >= 30
    wrong, total, explained = compared(chosen, *ask(chosen))
    with capsys.disabled():
        print(f"\nengine's configuration: {len(chosen)} combinations, {total} fields, {len(wrong)} wrong, {explained} differ for a reason")
    assert not wrong, "\n".join(wrong)
