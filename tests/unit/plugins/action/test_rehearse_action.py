# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller says of a rehearsal: what vLLM refused ends the run in one short text, what nobody could ask does not."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.action import rehearse
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import knowledge

FLAG = ["usage: vllm [-h] [-v]", "vllm: error: unrecognized arguments: --no-such-flag x"]
LENGTH = [
    "Traceback (most recent call last):",
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
    "  Value error, User-specified max_model_len (1000000) is greater than the derived max_model_len (max_position_embeddings=4096.0 or model_max_length=None"
    " in model's config.json). To allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. [type=value_error]",
]
UNKNOWN = ["Traceback (most recent call last):", '  File "/opt/venv/x.py", line 3, in y', "ValueError: the moon is in the wrong house " + "x" * 5000]


def refusal(log):
    return rehearse._refusal({"name": "tiny", "log": log, "why": "it ended with 2"}, "spark-01", knowledge.load())


@pytest.mark.parametrize("log", [FLAG, LENGTH, UNKNOWN, []])
def test_a_refusal_is_short_and_says_where_and_that_nothing_was_touched(log):
    told = refusal(log)
    assert told.startswith("spark-01: vLLM refuses tiny, asked before anything was stopped.")
    assert told.endswith("Nothing that serves was changed.") and len(told) <= 600 and "Traceback" not in told


def test_it_is_explained_as_a_start_that_failed_would_be():
    assert "--no-such-flag" in refusal(FLAG) and "What to do: " in refusal(FLAG)
    assert "1000000" in refusal(LENGTH) and "4096" in refusal(LENGTH)
    assert "the moon is in the wrong house" in refusal(UNKNOWN)


def test_outcomes():
    one = {"name": "a", "verdict": "passed", "remembered": False, "seconds": 12.4}
    assert rehearse._outcome(one) == "a passes after 12 s"
    assert rehearse._outcome({**one, "remembered": True}) == "a passes, as before"
    assert rehearse._outcome({**one, "verdict": "unable"}) == "a is not rehearsed"
