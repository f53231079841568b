# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values a configuration class supplies when config.json leaves a key out, by ``model_type``.

Facts of transformers 5.19 (``models/*/configuration_*.py``): the numbers and flags that decide shapes.
Saved configurations leave out nested values that equal these, so nested text configurations need them.
docs/extending.md says when an architecture needs an entry.
"""

from __future__ import annotations

from typing import Any

# fmt: off
CLASS_DEFAULTS: dict[str, dict[str, Any]] = {
    "afmoe": {
        "num_hidden_layers": 32, "hidden_size": 2048, "num_attention_heads": 16, "head_dim": 128, "max_position_embeddings": 16384,
        "sliding_window": 1024, "vocab_size": 200192, "intermediate_size": 6144,
    },
    "apertus": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 65536, "vocab_size": 131072,
        "intermediate_size": 14336,
    },
    "arcee": {
        "num_hidden_layers": 32, "hidden_size": 2560, "num_attention_heads": 32, "max_position_embeddings": 4096, "vocab_size": 32000,
        "intermediate_size": 18432,
    },
    "aria_text": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 32000,
        "intermediate_size": 4096,
    },
    "axk1": {
        "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 64, "num_key_value_heads": 64, "max_position_embeddings":
        32768, "vocab_size": 163840, "intermediate_size": 18432, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
        "v_head_dim": 128,
    },
    "bamba": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        262144, "vocab_size": 128000, "intermediate_size": 14336, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2,
        "mamba_n_heads": 128, "mamba_n_groups": 1,
    },
    "bert": {
        "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 512, "vocab_size": 30522,
        "intermediate_size": 3072, "tie_word_embeddings": True,
    },
    "bloom": {"hidden_size": 64, "vocab_size": 250880, "tie_word_embeddings": True, "n_head": 8, "n_layer": 2},
    "cohere": {
        "num_hidden_layers": 40, "hidden_size": 8192, "num_attention_heads": 64, "max_position_embeddings": 8192, "vocab_size": 256000,
        "intermediate_size": 22528, "tie_word_embeddings": True,
    },
    "cohere2": {
        "num_hidden_layers": 40, "hidden_size": 8192, "num_attention_heads": 64, "max_position_embeddings": 8192, "sliding_window":
        4096, "vocab_size": 256000, "intermediate_size": 22528, "tie_word_embeddings": True,
    },
    "cohere2_moe": {
        "num_hidden_layers": 40, "hidden_size": 8192, "num_attention_heads": 64, "head_dim": 128, "max_position_embeddings": 8192,
        "sliding_window": 4096, "vocab_size": 256000, "intermediate_size": 22528, "tie_word_embeddings": True,
    },
    "cwm": {
        "num_hidden_layers": 64, "hidden_size": 6144, "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 131072, "sliding_window": 8192, "vocab_size": 128256, "intermediate_size": 21504,
    },
    "dbrx": {"vocab_size": 32000, "d_model": 2048, "n_heads": 16, "n_layers": 24, "max_seq_len": 2048},
    "deepseek_v2": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 102400,
        "intermediate_size": 11008, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    },
    "deepseek_v3": {
        "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 128, "num_key_value_heads": 128, "max_position_embeddings":
        4096, "vocab_size": 129280, "intermediate_size": 18432, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
        "v_head_dim": 128,
    },
    "deepseek_v32": {
        "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 128, "num_key_value_heads": 128, "head_dim": 64,
        "max_position_embeddings": 163840, "vocab_size": 129280, "intermediate_size": 18432, "kv_lora_rank": 512, "qk_rope_head_dim":
        64, "qk_nope_head_dim": 128, "v_head_dim": 128, "index_head_dim": 128, "index_topk": 2048,
    },
    "deepseek_v4": {
        "num_hidden_layers": 43, "hidden_size": 4096, "num_attention_heads": 64, "num_key_value_heads": 1, "head_dim": 512,
        "max_position_embeddings": 1048576, "sliding_window": 128, "vocab_size": 129280, "index_head_dim": 128, "index_topk": 512,
    },
    "ernie4_5": {
        "num_hidden_layers": 18, "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 128,
        "max_position_embeddings": 131072, "vocab_size": 103424, "intermediate_size": 3072, "tie_word_embeddings": True,
    },
    "ernie4_5_moe": {
        "num_hidden_layers": 28, "hidden_size": 2560, "num_attention_heads": 20, "num_key_value_heads": 4, "max_position_embeddings":
        131072, "vocab_size": 103424, "intermediate_size": 12288, "tie_word_embeddings": True,
    },
    "exaone4": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        2048, "sliding_window": 4096, "vocab_size": 102400, "intermediate_size": 16384,
    },
    "exaone_moe": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        2048, "sliding_window": 4096, "vocab_size": 102400, "intermediate_size": 16384,
    },
    "falcon": {
        "num_hidden_layers": 32, "hidden_size": 4544, "num_attention_heads": 71, "max_position_embeddings": 2048, "vocab_size": 65024,
        "tie_word_embeddings": True, "multi_query": True, "new_decoder_architecture": False,
    },
    "falcon_h1": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        8192, "vocab_size": 128000, "intermediate_size": 14336, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2,
        "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_ssm": 1024,
    },
    "falcon_mamba": {
        "num_hidden_layers": 32, "hidden_size": 768, "vocab_size": 50280, "tie_word_embeddings": True, "state_size": 16, "conv_kernel":
        4, "expand": 2,
    },
    "flex_olmo": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 4096, "vocab_size": 100352,
        "intermediate_size": 11008,
    },
    "gemma": {
        "num_hidden_layers": 28, "hidden_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
        "max_position_embeddings": 8192, "vocab_size": 256000, "intermediate_size": 24576, "tie_word_embeddings": True,
    },
    "gemma2": {
        "num_hidden_layers": 26, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 8192, "sliding_window": 4096, "vocab_size": 256000, "intermediate_size": 9216, "tie_word_embeddings":
        True,
    },
    "gemma3_text": {
        "num_hidden_layers": 26, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 131072, "sliding_window": 4096, "vocab_size": 262208, "intermediate_size": 9216,
        "tie_word_embeddings": True,
    },
    "gemma3n_text": {
        "num_hidden_layers": 35, "hidden_size": 2048, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
        "max_position_embeddings": 32768, "sliding_window": 512, "vocab_size": 262400, "intermediate_size": 16384,
        "tie_word_embeddings": True, "num_kv_shared_layers": 15,
    },
    "gemma4_text": {
        "num_hidden_layers": 30, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 131072, "sliding_window": 512, "vocab_size": 262144, "intermediate_size": 9216,
        "tie_word_embeddings": True, "num_kv_shared_layers": 0, "attention_k_eq_v": False, "global_head_dim": 512,
    },
    "glm": {
        "num_hidden_layers": 40, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128,
        "max_position_embeddings": 131072, "vocab_size": 151552, "intermediate_size": 13696,
    },
    "glm4": {
        "num_hidden_layers": 40, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128,
        "max_position_embeddings": 131072, "vocab_size": 151552, "intermediate_size": 13696,
    },
    "glm4_moe": {
        "num_hidden_layers": 46, "hidden_size": 4096, "num_attention_heads": 96, "num_key_value_heads": 8, "max_position_embeddings":
        131072, "vocab_size": 151552, "intermediate_size": 10944,
    },
    "glm4_moe_lite": {
        "num_hidden_layers": 47, "hidden_size": 2048, "num_attention_heads": 20, "num_key_value_heads": 20, "max_position_embeddings":
        202752, "vocab_size": 154880, "intermediate_size": 10240, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 192,
        "v_head_dim": 256,
    },
    "glm4v_moe_text": {
        "num_hidden_layers": 46, "hidden_size": 4096, "num_attention_heads": 96, "num_key_value_heads": 8, "max_position_embeddings":
        65536, "vocab_size": 151424, "intermediate_size": 10944,
    },
    "glm4v_text": {
        "num_hidden_layers": 40, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 2, "max_position_embeddings":
        32768, "vocab_size": 151552, "intermediate_size": 13696,
    },
    "glm_moe_dsa": {
        "num_hidden_layers": 78, "hidden_size": 6144, "num_attention_heads": 64, "num_key_value_heads": 64, "head_dim": 64,
        "max_position_embeddings": 202752, "vocab_size": 154880, "intermediate_size": 12288, "kv_lora_rank": 512, "qk_rope_head_dim":
        64, "qk_nope_head_dim": 192, "v_head_dim": 256, "index_head_dim": 128, "index_topk": 2048,
    },
    "glm_ocr_text": {
        "num_hidden_layers": 16, "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings":
        131072, "vocab_size": 59392, "intermediate_size": 4096,
    },
    "gpt-sw3": {"vocab_size": 50257, "tie_word_embeddings": True, "n_positions": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12},
    "gpt2": {"vocab_size": 50257, "tie_word_embeddings": True, "n_positions": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12},
    "gpt_bigcode": {
        "vocab_size": 50257, "tie_word_embeddings": True, "multi_query": True, "n_positions": 1024, "n_embd": 768, "n_head": 12,
        "n_layer": 12,
    },
    "gpt_neox": {
        "num_hidden_layers": 44, "hidden_size": 6144, "num_attention_heads": 64, "max_position_embeddings": 2048, "vocab_size": 50432,
        "intermediate_size": 24576,
    },
    "gpt_oss": {
        "num_hidden_layers": 36, "hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
        "max_position_embeddings": 131072, "sliding_window": 128, "vocab_size": 201088, "intermediate_size": 2880,
    },
    "gptj": {"vocab_size": 50400, "n_positions": 2048, "n_embd": 4096, "n_head": 16, "n_layer": 28},
    "granite": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 32000,
        "intermediate_size": 11008,
    },
    "granite_swa": {
        "num_hidden_layers": 24, "hidden_size": 2560, "num_attention_heads": 20, "num_key_value_heads": 4, "max_position_embeddings":
        8192, "sliding_window": 128, "vocab_size": 100352, "intermediate_size": 8192, "tie_word_embeddings": True,
    },
    "granitemoe": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 32000,
        "intermediate_size": 11008,
    },
    "granitemoe_swa": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "sliding_window": 128,
        "vocab_size": 32000, "intermediate_size": 11008,
    },
    "granitemoehybrid": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 32000,
        "intermediate_size": 11008, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_n_heads": 128, "mamba_n_groups":
        1,
    },
    "granitemoeshared": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 32000,
        "intermediate_size": 11008,
    },
    "hunyuan_v1_dense": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 290943,
        "intermediate_size": 11008,
    },
    "hunyuan_v1_moe": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 290943,
        "intermediate_size": 11008,
    },
    "hy_v3": {
        "num_hidden_layers": 80, "hidden_size": 4096, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 131072, "vocab_size": 120832, "intermediate_size": 13312,
    },
    "hyperclovax": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 32000,
        "intermediate_size": 11008,
    },
    "jais2": {
        "num_hidden_layers": 32, "hidden_size": 3328, "num_attention_heads": 26, "max_position_embeddings": 8192, "vocab_size": 150272,
        "intermediate_size": 26624,
    },
    "jamba": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        262144, "vocab_size": 65536, "intermediate_size": 14336, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
        "attn_layer_period": 8, "attn_layer_offset": 4,
    },
    "kimi_linear": {
        "num_hidden_layers": 27, "hidden_size": 2304, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        1048576, "vocab_size": 163840, "intermediate_size": 9216, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
        "v_head_dim": 128, "linear_conv_kernel_dim": 4,
    },
    "laguna": {
        "num_hidden_layers": 40, "hidden_size": 2048, "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 131072, "sliding_window": 512, "vocab_size": 100352, "intermediate_size": 8192,
    },
    "lfm2": {
        "num_hidden_layers": 32, "hidden_size": 2560, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        128000, "vocab_size": 65536, "intermediate_size": 12288, "tie_word_embeddings": True, "conv_L_cache": 3,
    },
    "lfm2_moe": {
        "num_hidden_layers": 32, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        128000, "vocab_size": 65536, "intermediate_size": 7168, "tie_word_embeddings": True, "conv_L_cache": 3,
    },
    "llama": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 32000,
        "intermediate_size": 11008,
    },
    "llama4": {},
    "llama4_text": {
        "num_hidden_layers": 48, "hidden_size": 5120, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 131072, "vocab_size": 202048, "intermediate_size": 8192, "attention_chunk_size": 8192,
        "no_rope_layer_interval": 4,
    },
    "longcat_flash": {
        "hidden_size": 6144, "num_attention_heads": 64, "head_dim": 64, "max_position_embeddings": 131072, "vocab_size": 131072,
        "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "num_layers": 28,
    },
    "mamba": {
        "num_hidden_layers": 32, "hidden_size": 768, "vocab_size": 50280, "tie_word_embeddings": True, "state_size": 16, "conv_kernel":
        4, "expand": 2,
    },
    "mamba2": {
        "num_hidden_layers": 64, "hidden_size": 4096, "head_dim": 64, "vocab_size": 32768, "state_size": 128, "conv_kernel": 4,
        "expand": 2, "n_groups": 8, "num_heads": 128,
    },
    "mellum": {
        "num_hidden_layers": 28, "hidden_size": 2304, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
        "max_position_embeddings": 131072, "sliding_window": 1024, "vocab_size": 98304, "intermediate_size": 7168,
    },
    "mimo_v2_flash": {
        "num_hidden_layers": 48, "hidden_size": 4096, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192,
        "max_position_embeddings": 131072, "sliding_window": 128, "vocab_size": 152576, "intermediate_size": 16384, "v_head_dim": 128,
    },
    "minicpm3": {
        "num_hidden_layers": 62, "hidden_size": 2560, "num_attention_heads": 40, "num_key_value_heads": 40, "max_position_embeddings":
        32768, "vocab_size": 73448, "intermediate_size": 6400, "tie_word_embeddings": True, "kv_lora_rank": 256, "qk_rope_head_dim": 32,
        "qk_nope_head_dim": 64,
    },
    "minimax_m2": {
        "num_hidden_layers": 62, "hidden_size": 3072, "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 196608, "vocab_size": 200064, "intermediate_size": 1536,
    },
    "minimax_m3_vl_text": {
        "num_hidden_layers": 60, "hidden_size": 6144, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128,
        "max_position_embeddings": 524288, "vocab_size": 200064, "intermediate_size": 3072, "index_head_dim": 128,
    },
    "ministral3": {
        "num_hidden_layers": 34, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 262144, "vocab_size": 131072, "intermediate_size": 14336,
    },
    "mistral": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        131072, "sliding_window": 4096, "vocab_size": 32000, "intermediate_size": 14336,
    },
    "mixtral": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings":
        131072, "vocab_size": 32000, "intermediate_size": 14336,
    },
    "modernbert": {
        "num_hidden_layers": 22, "hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 8192, "vocab_size": 50368,
        "intermediate_size": 1152, "tie_word_embeddings": True,
    },
    "muse_glimmer_text": {
        "num_hidden_layers": 52, "hidden_size": 6656, "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128,
        "max_position_embeddings": 131072, "sliding_window": 2048, "vocab_size": 202048, "intermediate_size": 19968,
    },
    "nemotron": {
        "num_hidden_layers": 32, "hidden_size": 6144, "num_attention_heads": 48, "max_position_embeddings": 4096, "vocab_size": 256000,
        "intermediate_size": 24576,
    },
    "nemotron_h": {
        "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 4096,
        "vocab_size": 131072, "intermediate_size": 21504, "mamba_num_heads": 128, "mamba_head_dim": 64, "ssm_state_size": 128,
        "conv_kernel": 4, "expand": 2, "n_groups": 8,
    },
    "olmo": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 50304,
        "intermediate_size": 11008,
    },
    "olmo2": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 50304,
        "intermediate_size": 11008,
    },
    "olmo3": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 2048, "sliding_window":
        4096, "vocab_size": 50304, "intermediate_size": 11008,
    },
    "olmo_hybrid": {
        "num_hidden_layers": 32, "hidden_size": 3840, "num_attention_heads": 30, "max_position_embeddings": 65536, "vocab_size": 100352,
        "intermediate_size": 11008, "linear_conv_kernel_dim": 4,
    },
    "olmoe": {
        "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 16, "max_position_embeddings": 4096, "vocab_size": 50304,
        "intermediate_size": 2048,
    },
    "opt": {
        "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 2048, "vocab_size": 50272,
        "tie_word_embeddings": True,
    },
    "paddleocr_vl_text": {
        "num_hidden_layers": 18, "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 128,
        "max_position_embeddings": 131072, "vocab_size": 103424, "intermediate_size": 3072, "tie_word_embeddings": True,
    },
    "phi": {
        "num_hidden_layers": 24, "hidden_size": 2048, "num_attention_heads": 32, "max_position_embeddings": 2048, "vocab_size": 51200,
        "intermediate_size": 8192,
    },
    "phi3": {
        "num_hidden_layers": 32, "hidden_size": 3072, "num_attention_heads": 32, "max_position_embeddings": 4096, "vocab_size": 32064,
        "intermediate_size": 8192,
    },
    "qwen2": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        32768, "sliding_window": 4096, "vocab_size": 151936, "intermediate_size": 22016, "max_window_layers": 28,
    },
    "qwen2_5_omni_text": {
        "num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings":
        32768, "sliding_window": 32768, "vocab_size": 152064, "intermediate_size": 18944, "tie_word_embeddings": True,
        "max_window_layers": 28,
    },
    "qwen2_5_vl_text": {
        "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings":
        32768, "sliding_window": 4096, "vocab_size": 152064, "intermediate_size": 29568, "max_window_layers": 80,
    },
    "qwen2_moe": {
        "num_hidden_layers": 24, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings":
        32768, "sliding_window": 4096, "vocab_size": 151936, "intermediate_size": 5632, "max_window_layers": 28,
    },
    "qwen2_vl_text": {
        "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings":
        32768, "sliding_window": 4096, "vocab_size": 152064, "intermediate_size": 29568, "max_window_layers": 80,
    },
    "qwen3": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128,
        "max_position_embeddings": 32768, "sliding_window": 4096, "vocab_size": 151936, "intermediate_size": 22016, "max_window_layers":
        28,
    },
    "qwen3_5": {},
    "qwen3_5_moe": {},
    "qwen3_5_moe_text": {
        "num_hidden_layers": 40, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
        "max_position_embeddings": 32768, "vocab_size": 248320, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    },
    "qwen3_5_text": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 32768, "vocab_size": 248320, "intermediate_size": 12288, "linear_num_key_heads": 16,
        "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    },
    "qwen3_moe": {
        "num_hidden_layers": 24, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings":
        32768, "sliding_window": 4096, "vocab_size": 151936, "intermediate_size": 6144,
    },
    "qwen3_next": {
        "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
        "max_position_embeddings": 32768, "vocab_size": 151936, "intermediate_size": 5632, "linear_num_key_heads": 16,
        "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    },
    "qwen3_omni_moe_text": {
        "num_hidden_layers": 28, "hidden_size": 2048, "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings":
        32768, "vocab_size": 3584, "intermediate_size": 18944,
    },
    "qwen3_vl_moe_text": {
        "num_hidden_layers": 24, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings":
        128000, "vocab_size": 151936, "intermediate_size": 5632, "tie_word_embeddings": True,
    },
    "qwen3_vl_text": {
        "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128,
        "max_position_embeddings": 128000, "vocab_size": 151936, "intermediate_size": 22016,
    },
    "roberta": {
        "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 512, "vocab_size": 50265,
        "intermediate_size": 3072, "tie_word_embeddings": True,
    },
    "seed_oss": {
        "num_hidden_layers": 64, "hidden_size": 4096, "num_attention_heads": 80, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 524288, "vocab_size": 155136, "intermediate_size": 27648,
    },
    "smollm3": {
        "num_hidden_layers": 36, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings":
        32768, "vocab_size": 128256, "intermediate_size": 11008, "tie_word_embeddings": True, "no_rope_layer_interval": 4,
    },
    "stablelm": {
        "num_hidden_layers": 32, "hidden_size": 2560, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings":
        4096, "vocab_size": 50304, "intermediate_size": 6912,
    },
    "starcoder2": {
        "num_hidden_layers": 30, "hidden_size": 3072, "num_attention_heads": 24, "num_key_value_heads": 2, "max_position_embeddings":
        4096, "vocab_size": 49152, "intermediate_size": 12288, "tie_word_embeddings": True,
    },
    "step3p5": {
        "num_hidden_layers": 45, "hidden_size": 4096, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 128000, "vocab_size": 128815, "intermediate_size": 11264,
    },
    "vaultgemma": {
        "num_hidden_layers": 26, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 8192, "sliding_window": 4096, "vocab_size": 256000, "intermediate_size": 9216, "tie_word_embeddings":
        True,
    },
    "whisper": {
        "vocab_size": 51865, "tie_word_embeddings": True, "d_model": 384, "decoder_layers": 4, "decoder_attention_heads": 6,
        "max_target_positions": 448,
    },
    "xlm-roberta": {
        "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 512, "vocab_size": 30522,
        "intermediate_size": 3072, "tie_word_embeddings": True,
    },
    "zamba2": {
        "num_hidden_layers": 54, "hidden_size": 2560, "num_attention_heads": 32, "max_position_embeddings": 4096, "vocab_size": 32000,
        "tie_word_embeddings": True, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_ngroups": 1, "n_mamba_heads": 8,
    },
}
# fmt: on

# model_type of a flat multimodal configuration -> model_type whose values it takes
FLAT_TEXT_TYPES = {
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "llama4": "llama4_text",
    "minimax_m3_vl": "minimax_m3_vl_text",
    "kimi_k2": "deepseek_v3",
    "mimo_v2": "mimo_v2_flash",
}
