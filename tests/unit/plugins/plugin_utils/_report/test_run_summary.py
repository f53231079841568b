# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands at the end of a run."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.plugin_utils._report.run_summary import BATCH_PUT_BACK, first_sentence, summary


def box(name, phase="Report", **more):
    return {"name": name, "phase": phase, "changed": 0, "repairs": [], "busy_s": 1.0, "failed": False, "unreachable": False, "step": "", "message": ""} | more


def texts(boxes, phases=(("Plan", 2.0), ("Activate", 63.0), ("Report", 1.0)), check=False):
    return [text for text, _state in summary(boxes, list(phases), check)]


def test_first_sentence_takes_a_second_one_when_the_first_says_too_little():
    assert first_sentence("It failed. The port 8000 is taken.\nStop it.") == "It failed. The port 8000 is taken."
    long = "The container ended with code 1 because the KV cache does not fit into what is left. Lower max_model_len."
    assert first_sentence(long) == long.partition(" Lower")[0]
    assert first_sentence("vLLM 0.32.0 has no e.g. flags") == "vLLM 0.32.0 has no e.g. flags"
    assert len(first_sentence("x" * 1000)) == 300


def test_failures_come_first_then_the_boxes_in_natural_order():
    boxes = [box("spark-10"), box("spark-2"), box("spark-3", unreachable=True, step="Read", message="no route")]
    boxes += [box("spark-4", phase="Activate", failed=True, step="Prove it", message="It did not answer.")]
    lines = texts(boxes)
    assert lines[0] == "4 boxes: 1 failed, 1 unreachable, 2 ok; the run stopped in phase Report"
    assert [line.split()[1] for line in lines if "unchanged" in line] == ["spark-4", "spark-3", "spark-2", "spark-10"]
    assert lines[2] == "      Prove it: It did not answer." and lines[4] == "      Read: no route"


def test_boxes_whose_turn_never_came_are_held_back():
    boxes = [box("a", phase="Activate", failed=True, step="s", message="m"), box("b", phase="Supply"), box("c", phase="Activate")]
    lines = texts(boxes, [("Plan", 1), ("Supply", 1), ("Activate", 1)])
    assert lines[0] == "3 boxes: 1 failed, 1 held back, 1 ok; the run stopped in phase Activate"


def test_a_box_that_ended_with_the_run_is_held_back_in_the_phase_in_which_the_other_failed():
    boxes = [box("a", phase="Supply", failed=True, step="s", message="m"), box("b", phase="Supply", held_back=True)]
    assert texts(boxes, [("Plan", 1), ("Supply", 1)])[0] == "2 boxes: 1 failed, 1 held back; the run stopped in phase Supply"


def test_a_box_that_went_back_with_its_batch_is_told_after_the_one_that_failed():
    message = "a: its new servers were put back because b failed in the same batch."
    boxes = [box("a", phase="Activate", failed=True, step="Go back", tags=[BATCH_PUT_BACK], message=message)]
    boxes += [box("b", phase="Activate", failed=True, step="Prove it", message="It did not answer.")]
    lines = texts(boxes, [("Activate", 1)])
    assert lines[0] == "2 boxes: 1 failed, 1 put back; the run stopped in phase Activate"
    assert [line.split()[0] for line in lines if "unchanged" in line] == ["FAILED", "put"] and "because b failed" in lines[4]


def test_changes_repairs_and_times_are_told():
    lines = texts([box("a", changed=3, repairs=["eager"], busy_s=125)])
    assert lines[0] == "1 box: 1 ok"
    assert lines[1].split() == ["ok", "a", "Report", "changed", "3", "repaired", "1", "2", "min", "5", "s"]
    assert lines[2] == "      repairs: eager"
    assert lines[3] == "  Plan 2 s, Activate 1 min 3 s, Report 1 s; in all 1 min 6 s"


def test_check_mode_says_would():
    lines = texts([box("a", changed=2)], check=True)
    assert lines[0].endswith("(check mode: nothing was changed)") and "would change 2" in lines[1]


def test_fifty_boxes_take_one_line_each_in_a_terminal_of_usual_width():
    lines = texts([box(f"spark-{number:02}", changed=number) for number in range(50)])
    assert len(lines) == 52
    assert max(map(len, lines)) < 80
