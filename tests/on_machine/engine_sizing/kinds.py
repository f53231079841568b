# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Eight kinds of models, made small, and the ways each is started.

Every kind keeps the layer pattern of its family and is small in all else. Head sizes are ones that vLLM's CPU kernels take. Budgets are
no multiples of a block, so that rounding shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VOCABULARY = 640  # at least the tokens that tests/boxes/make_model.py makes


@dataclass(frozen=True)
class Start:
    """One `vllm serve`: bytes of KV cache, its length (None: not given), further settings by their name in ``Engine``."""

    kv_bytes: int
    max_model_len: int | str | None = None
    engine: dict[str, Any] = field(default_factory=dict)
    refused: bool = False

    def arguments(self) -> list[str]:
        """The flags of the command line."""
        words = ["--kv-cache-memory-bytes", str(self.kv_bytes)]
        if self.max_model_len is not None:
            words += ["--max-model-len", str(self.max_model_len)]
        for name, value in self.engine.items():
            flag = name.replace("_", "-")
            words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
        return words


def _model(architecture: str, model_type: str, **more: Any) -> dict[str, Any]:
    common = {"architectures": [architecture], "model_type": model_type, "dtype": "bfloat16", "vocab_size": VOCABULARY, "hidden_size": 128}
    return {**common, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32768, **more}


def _mix(pattern: str) -> list[str]:
    names = {"s": "sliding_attention", "f": "full_attention", "l": "linear_attention"}
    return [names[letter] for letter in pattern]


DENSE = _model("LlamaForCausalLM", "llama", num_hidden_layers=3, head_dim=64, max_position_embeddings=131072)
SLIDING = _model(
    "Gemma3ForCausalLM", "gemma3_text", num_hidden_layers=13, num_key_value_heads=1, head_dim=32, sliding_window=512,
    layer_types=_mix("sssssfsssssfs"), query_pre_attn_scalar=32,
)  # fmt: skip
GPT_OSS = _model(
    "GptOssForCausalLM", "gpt_oss", num_hidden_layers=6, head_dim=64, sliding_window=128, layer_types=_mix("sfsfsf"), num_local_experts=4,
    num_experts_per_tok=2, rope_theta=150000, rope_scaling={
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
    },
)  # fmt: skip
MLA = _model(
    "DeepseekV2ForCausalLM", "deepseek_v2", num_hidden_layers=3, num_key_value_heads=4, q_lora_rank=None, kv_lora_rank=512, qk_rope_head_dim=64,
    qk_nope_head_dim=128, v_head_dim=128, first_k_dense_replace=1, moe_intermediate_size=64, n_routed_experts=4, n_shared_experts=1,
    num_experts_per_tok=2, moe_layer_freq=1, n_group=1, topk_group=1, topk_method="greedy", scoring_func="softmax", norm_topk_prob=False,
    routed_scaling_factor=1.0,
)  # fmt: skip
MAMBA2 = _model(
    "GraniteMoeHybridForCausalLM", "granitemoehybrid", num_hidden_layers=7, layer_types=["mamba", "mamba", "attention", "mamba", "mamba", "mamba", "attention"],
    mamba_n_heads=8, mamba_d_head=32, mamba_d_state=64, mamba_n_groups=1, mamba_d_conv=4, mamba_expand=2, num_local_experts=4, num_experts_per_tok=2,
    shared_intermediate_size=128, position_embedding_type="nope",
)  # fmt: skip
GDN = _model(
    "Qwen3NextForCausalLM", "qwen3_next", num_hidden_layers=8, head_dim=64, layer_types=_mix("lllflllf"), linear_num_key_heads=2,
    linear_num_value_heads=4, linear_key_head_dim=64, linear_value_head_dim=64, linear_conv_kernel_dim=4, num_experts=4, num_experts_per_tok=2,
    moe_intermediate_size=64, shared_expert_intermediate_size=64, decoder_sparse_step=1, partial_rotary_factor=0.25,
)  # fmt: skip
VISION = {
    "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "dtype": "bfloat16",
    "spatial_merge_size": 2, "vision_feature_layer": -1, "projector_hidden_act": "gelu", "multimodal_projector_bias": False, "tie_word_embeddings": False,
    "text_config": {
        "model_type": "ministral3", "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 5, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 65536, "sliding_window": None, "rms_norm_eps": 1e-05,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 8.0, "original_max_position_embeddings": 8192, "llama_4_scaling_beta": 0.1},
    },
    "vision_config": {
        "model_type": "pixtral", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 32,
        "image_size": 224, "patch_size": 14, "num_channels": 3, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
}  # fmt: skip
PIXTRAL = {
    "processor_config.json": {
        "processor_class": "PixtralProcessor", "image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]",
        "patch_size": 14, "spatial_merge_size": 2,
    },
    "preprocessor_config.json": {
        "image_processor_type": "PixtralImageProcessor", "processor_class": "PixtralProcessor", "patch_size": {"height": 14, "width": 14},
        "size": {"longest_edge": 224}, "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25],
    },
}  # fmt: skip
EMBEDDING = _model("Qwen3ForCausalLM", "qwen3", num_hidden_layers=4, head_dim=64, tie_word_embeddings=True)
ENCODER = {
    "architectures": ["BertModel"], "model_type": "bert", "dtype": "float32", "vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 128, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
}  # fmt: skip

MODELS = {
    "dense": DENSE, "sliding": SLIDING, "gpt-oss": GPT_OSS, "mla": MLA, "mamba2": MAMBA2, "gdn": GDN, "vision": VISION,
    "embedding": EMBEDDING, "encoder": ENCODER,
}  # fmt: skip

POOLING = {"runner": "pooling"}
PLAIN = {"enable_prefix_caching": False}
# kind: (model, start) pairs; a kind is exact when all its starts are
KINDS: dict[str, list[tuple[str, Start]]] = {
    "dense (Llama)": [("dense", Start(50_000_000, 20_000)), ("dense", Start(30_000_000, "auto")), ("dense", Start(30_000_000, None, refused=True))],
    "sliding window mix (Gemma 3)": [("sliding", Start(70_000_000, 16_384)), ("sliding", Start(40_000_000, 9_999, {"max_num_batched_tokens": 512}))],
    "gpt-oss": [("gpt-oss", Start(61_234_567, 12_345)), ("gpt-oss", Start(20_000_000, "auto"))],
    "latent attention (DeepSeek V2)": [("mla", Start(64_000_000, 5_000)), ("mla", Start(9_000_000, None, refused=True))],
    "Mamba2 hybrid (Granite 4)": [("mamba2", Start(66_000_000, 16_384)), ("mamba2", Start(33_000_000, 7_000, PLAIN))],
    "gated delta net hybrid (Qwen3-Next)": [("gdn", Start(77_000_000, 16_384)), ("gdn", Start(44_000_000, "auto"))],
    "multimodal (Mistral 3 with Pixtral)": [("vision", Start(55_555_555, 32_000))],
    "embedding (Qwen3, BERT)": [("embedding", Start(45_000_000, 8_192, POOLING)), ("encoder", Start(10_000_000, None, POOLING))],
}
SERVED = KINDS["Mamba2 hybrid (Granite 4)"][0]  # the one that is also started as a whole server
