# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keys of objects take is what was recorded of vLLM's configuration classes, and an attention backend goes with the model and the GPU."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import flags, object_values
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.choices import ATTENTION
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.object_values import VALUES

RECORDED = json.loads(gzip.decompress((Path(__file__).parent / "data" / "vllm-arguments.json.gz").read_bytes()))
# Checked in `object_keys` and `speculation`, or open in one of the releases.
ELSEWHERE = {
    "attention_config.indexer_kv_dtype", "pooler_config.pooling_type", "pooler_config.seq_pooling_type", "pooler_config.tok_pooling_type",
    "speculative_config.kv_cache_dtype", "speculative_config.method", "structured_outputs_config.backend",
}  # fmt: skip


def refuse(**args):
    object_values.refuse(flags.normalise_args(args, "s"), "server s")


def test_the_sets_are_those_that_were_recorded():
    said: dict[str, set[str]] = {}
    for version in RECORDED.values():
        for key, values in version["objects"].items():
            said.setdefault(key, set()).update(values)
    assert {key: values for key, values in said.items() if key not in ELSEWHERE} == {".".join(key): set(text.split()) for key, text in VALUES.items()}
    assert said["attention_config.backend"] == ATTENTION


@pytest.mark.parametrize(("name", "key"), VALUES)
def test_every_key_refuses_what_its_class_does_not_take(name, key):
    for value in ("loud", "x" * 900, True, 77):
        with pytest.raises(GB10Error) as refused:
            refuse(**{name: {key: value}})
        assert f"args.{name}.{key} is " in str(refused.value) and len(str(refused.value)) < 500
    other = {"kv_role": "kv_both"} if name == "kv_transfer_config" else {}
    for value in VALUES[name, key].split():
        refuse(**{name: {**other, key: value}})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"-cc.cudagraph_mode": "FULLY"}, "did you mean FULL?"),
        ({"-cc.mode": 4}, "args.compilation_config.mode is 4"),
        ({"-ac.backend": "FLASHY"}, "args.attention_config.backend is 'FLASHY'"),
        ({"attention_backend": "TRITON_ATTN", "-ac.backend": "TRITON_ATTN"}, "both say the backend"),
        ({"kv_transfer_config": {"kv_connector": "OffloadingConnector"}}, "without a kv_role"),
        ({"kernel_config": '{"moe_backend": "marlyn"}'}, "did you mean marlin?"),
    ],
)
def test_a_value_within_an_object_is_refused_in_one_sentence(args, words):
    with pytest.raises(GB10Error) as refused:
        refuse(**args)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "args",
    [
        {"-cc.mode": 3, "-cc.cudagraph_mode": "full"},
        {"-cc.cudagraph_mode": 2},
        {"-ac.backend": "triton_attn"},
        {"-ac.backend": "auto"},
        {"-ac.flash_attn_version": "3"},
        {"kernel_config": {"linear_backend": "FlashInfer-Cutlass"}},
        {"kv_transfer_config": {"kv_connector": "OffloadingConnector", "kv_role": "kv_both"}},
    ],
)
def test_what_vllm_takes_goes_through(args):
    refuse(**args)


@pytest.mark.parametrize(
    ("backend", "plain", "latent"),
    [
        ("FLASH_ATTN", "", "latent"), ("FLASHINFER", "", "latent"), ("TRITON_MLA", "latent", ""), ("FLASHMLA", "latent", "compute capability"),
        ("CUTLASS_MLA", "latent", "compute capability"), ("FLASHMLA_SPARSE", "latent", "sparse"), ("FLASHINFER_MLA_SPARSE_SM120", "latent", "sparse"),
        ("HPC_ATTN", "compute capability", "latent"), ("TORCH_SDPA", "can be chosen", "can be chosen"), ("TRITON_MSA", "sparse", "latent"),
        ("TURBOQUANT", "kv_cache_dtype", "latent"), ("CUSTOM", "", ""), ("auto", "", ""), ("", "", ""),
    ],
)  # fmt: skip
def test_a_backend_goes_with_the_model_and_the_gpu(backend, plain, latent):
    """As vLLM 0.32's own configuration said of each on a platform that answers as a GB10 (v1/attention/selector.py)."""
    for is_latent, words in ((False, plain), (True, latent)):
        for args in ({"attention_backend": backend.lower()}, {"attention_config": {"backend": backend}}):
            if words:
                with pytest.raises(GB10Error, match=words):
                    object_values.check_backend(args, is_latent, False, True, "server s")
            else:
                object_values.check_backend(args, is_latent, False, True, "server s")
    object_values.check_backend({"attention_backend": "FLASHINFER_MLA_SPARSE_SM120"}, True, True, True, "server s")
