# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One server over two boxes in short: started, answers, a rank is killed, answers again. Alone: `make group`; everything else: `make deep-group`.

Behind test_whole_way.py, whose box has the image that it uses.
"""

from __future__ import annotations

import time

from group_boxes import pair_of_boxes


def test_it_answers_and_answers_again_after_a_rank_was_killed(tmp_path):
    began = time.monotonic()
    with pair_of_boxes(tmp_path) as pair:
        assert "2 boxes: 2 ok" in pair.site() and pair.chat() == 200
        before = pair.now()
        pair.of(1, "docker kill gb10-vllm-duo")
        pair.both_start_again(before)
    print(f"{time.monotonic() - began:.0f} s in all")
