# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several models in one go: what is whole is returned, what is not is named."""

from __future__ import annotations

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import placed, read_models

CONFIG = checkpoints.TINY_LLAMA


@pytest.fixture
def models(tmp_path):
    tensors = list(checkpoints.dense(CONFIG))
    checkpoints.write_model(tmp_path / "new", dict(CONFIG, architectures=["NobodyKnowsForCausalLM"]), tensors)
    return str(checkpoints.write_model(tmp_path / "tiny", CONFIG, tensors)), str(tmp_path / "new"), str(tmp_path / "none")


def known(facts):
    if facts["architecture"] != "LlamaForCausalLM":
        raise GB10Error(f"nobody knows {facts['architecture']}", known=["LlamaForCausalLM"])


def test_one_bad_model_does_not_hide_the_good_one(models):
    tiny, new, none = models
    facts, problems = read_models([none, tiny, new, tiny], check=known)
    assert facts == {tiny: inspect_model(tiny) | placed(tiny)}
    assert list(problems) == [none, new]
    assert "does not exist" in str(problems[none]) and problems[none].details["path"] == none
    assert str(problems[new]) == f"the model in {new}: nobody knows NobodyKnowsForCausalLM"
    assert problems[new].details == {"path": new, "known": ["LlamaForCausalLM"]}


def test_what_may_be_missing(models):
    tiny, new, none = models
    facts, problems = read_models([tiny, new, none], allow_missing=True)
    assert problems == {} and facts[none] == {"present": False, "path": none} and facts[new]["present"]


def test_earlier_versions_are_read_on_request(models, tmp_path):
    tiny = models[0]
    before = checkpoints.write_model(tmp_path / "tiny@0123456789abcd", CONFIG, list(checkpoints.dense(CONFIG)))
    assert set(read_models([tiny])[0]) == {tiny}
    assert set(read_models([tiny], kept=True)[0]) == {tiny, str(before)}
