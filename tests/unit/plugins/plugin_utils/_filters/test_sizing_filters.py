# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sizing filters as a template uses them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gb10.vllm.plugins.filter.gb10 import FilterModule

FILTERS = FilterModule().filters()
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 40, "hidden_size": 5120, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072, "max_position_embeddings": 393216, "dtype": "bfloat16",
    "intermediate_size": 32768,
}  # fmt: skip


def test_kv_cache_bytes():
    kv = FILTERS["kv_cache_bytes"]
    assert kv(CONFIG, 393216, vllm_version="0.13.0") == 60 * 2**30
    assert kv({"config": CONFIG, "present": True}, "64K", 4) == 4 * 65536 * 163840 + 2621440
    assert kv(CONFIG, 65536, kv_cache_dtype="fp8") * 2 == kv(CONFIG, 65536)
    assert kv(CONFIG, 65536, tensor_parallel_size=2) * 2 == kv(CONFIG, 65536)


@pytest.mark.parametrize(
    "call,match",
    [
        (lambda: FILTERS["kv_cache_bytes"]("text", 1), "wants a model's config.json"),
        (lambda: FILTERS["kv_cache_bytes"](CONFIG, "many"), "is not a whole number"),
        (lambda: FILTERS["kv_cache_bytes"](CONFIG, 10**7), "more than the 393216 tokens"),
        (lambda: FILTERS["kv_cache_bytes"]({}, 1), "architectures"),
        (lambda: FILTERS["human_bytes"]("x"), "wants a number of bytes"),
        (lambda: FILTERS["plan_picture"]({}), "not a plan"),
    ],
)
def test_mistakes_are_one_sentence(call, match):
    with pytest.raises(AnsibleFilterError, match=match):
        call()
