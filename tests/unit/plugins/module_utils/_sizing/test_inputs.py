# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be planned without a look at a machine, and what the answer holds."""

from __future__ import annotations

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import inputs, weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box

CONFIG = checkpoints.golden_weights()["Qwen3-0.6B", 1]["config"]
INFO = {"present": True, "config": CONFIG, "weights": weights.summarise(list(checkpoints.dense(CONFIG)), CONFIG), "layout": "hf", "kind": "chat"}
SERVER = {"name": "one", "model": "org/one", "model_path": "/srv/models/one", "max_model_len": 4096, "concurrency": 2}
FEATURES = {"cpu_amx": False, "cpu_avx512_bf16": True}


def wanted(**given):
    return {name: option.get("default") for name, option in inputs.OPTIONS.items()} | given


@pytest.mark.parametrize(
    "given,look",
    [
        ({"servers": [SERVER], "models": {"/srv/models/one": INFO}}, False),
        ({"servers": [SERVER], "models": {"org/one": INFO}}, False),
        ({"servers": [SERVER]}, True),
        ({"servers": [dict(SERVER, args={"speculative_config": {"model": "/srv/models/draft"}})], "models": {"org/one": INFO}}, True),
        ({"model": "org/one"}, True),
        ({"model": "org/one", "models": {"org/one": INFO}}, False),
        ({"model": "org/one", "models": {"org/one": INFO}, "engine": {"vllm_version": "0.32.0+cpu"}}, True),
        ({"model": "org/one", "models": {"org/one": INFO}, "engine": {"platform": "cpu"}, "box": {"cpu_features": FEATURES}}, False),
    ],
)
def test_a_look_is_needed_only_for_what_is_not_given(given, look):
    assert inputs.needs_a_look(wanted(**given)) is look


def test_the_answer_is_the_plan_and_names_only_what_was_read(monkeypatch):
    given = wanted(servers=[SERVER], models={"/srv/models/one": INFO})
    options = {"os_floor_gib": 12.0, "margin_gib": 1.5, "assume_full_attention": False}
    assert inputs.answer(given) == {"plan": plan_box(None, [SERVER], given["models"], {}, options, None)}
    monkeypatch.setattr(inputs, "inspect_model", lambda name, part=None: dict(INFO, path=name))
    read = inputs.answer(wanted(servers=[dict(SERVER, model="one")]))
    assert sorted(read) == ["models", "plan"] and list(read["models"]) == ["/srv/models/one"]


def test_the_processor_of_the_box_counts_and_not_that_of_the_controller(monkeypatch):
    monkeypatch.setattr(inputs, "cpu_features", lambda text: pytest.fail("read the processor of this machine"))
    given = wanted(model="org/one", models={"org/one": INFO}, engine={"platform": "cpu"}, box={"cpu_features": FEATURES}, concurrency=1)
    assert inputs.answer(given)["kv"]["needed_bytes"] > 0


@pytest.mark.parametrize(
    "given,text",
    [
        ({"model": "one", "available_gib": float("inf")}, "available_gib is inf"),
        ({"model": "one", "concurrency": 0}, "concurrency is 0: give a whole number above 0"),
        ({"servers": [{"name": "one"}]}, "server one names no model"),
    ],
)
def test_mistakes_are_one_sentence(given, text):
    with pytest.raises(GB10Error, match=text):
        inputs.answer(wanted(**given))
