# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models as people bring them, without their data (sparse files with real headers), and what the roles make of a server that wants one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import reach
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import placed
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import Tensor
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment, mounts, wanted
from checkpoints import DATA, dense, tensor, write_model

GIB = 2**30
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "tie_word_embeddings": False, "rope_theta": 500000.0,
    "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 128256, "max_position_embeddings": 131072,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
}  # fmt: skip
LLAMA_8B = {**LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
QWEN = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16", "hidden_size": 4096, "intermediate_size": 12288,
    "head_dim": 128, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 40960,
    "rope_theta": 1000000, "rope_scaling": None, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip
ROBERTA = {
    "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "torch_dtype": "float32", "hidden_size": 1024, "intermediate_size": 4096,
    "num_hidden_layers": 24, "num_attention_heads": 16, "max_position_embeddings": 8194, "position_embedding_type": "absolute", "pad_token_id": 1,
    "type_vocab_size": 1, "vocab_size": 250002,
}  # fmt: skip
HYBRID = {
    "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5", "vision_config": {"hidden_size": 1152, "depth": 27},
    "text_config": {
        "model_type": "qwen3_5_text", "hidden_size": 5120, "intermediate_size": 17408, "num_hidden_layers": 64, "num_attention_heads": 24,
        "num_key_value_heads": 4, "head_dim": 256, "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 48, "mtp_num_hidden_layers": 1, "vocab_size": 248320,
        "max_position_embeddings": 262144, "dtype": "bfloat16",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.25, "mrope_section": [11, 11, 10]},
    },
}  # fmt: skip
MODELOPT = {
    "producer": {"name": "modelopt", "version": "0.29.0"},
    "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16, "exclude_modules": ["lm_head"]},
}
EAGLE = {
    "architectures": ["Eagle3Speculator"], "speculators_model_type": "eagle3", "draft_vocab_size": 32000,
    "transformer_layer_config": {**LLAMA_8B, "num_hidden_layers": 1},
    "speculators_config": {"proposal_methods": [{"speculative_tokens": 3}], "verifier": {"name_or_path": "acme/base"}},
}  # fmt: skip

SIGHTED = {
    "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "vision_config": {"hidden_size": 1152, "depth": 27},
    "text_config": {**QWEN, "model_type": "qwen3_vl_text", "max_position_embeddings": 262144},
}  # fmt: skip
HEARING = {
    "architectures": ["Qwen3ASRForConditionalGeneration"], "model_type": "qwen3_asr", "thinker_config": {
        "model_type": "qwen3_asr", "audio_config": {"d_model": 1024, "encoder_layers": 24}, "text_config": {
            "model_type": "qwen3", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
            "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 65536, "vocab_size": 151936,
        },
    },
}  # fmt: skip
THINKING = {
    "architectures": ["Qwen3OmniMoeForConditionalGeneration"], "model_type": "qwen3_omni_moe", "thinker_config": {
        "model_type": "qwen3_omni_moe_thinker", "audio_config": {"d_model": 1280, "encoder_layers": 32}, "vision_config": {"hidden_size": 1152, "depth": 27},
        "text_config": {
            "model_type": "qwen3_omni_moe_text", "hidden_size": 2048, "intermediate_size": 768, "moe_intermediate_size": 768, "num_experts": 128,
            "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
            "max_position_embeddings": 65536, "vocab_size": 152064, "dtype": "bfloat16",
        },
    },
}  # fmt: skip
BERT = {**ROBERTA, "architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512}
PACKED = {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "config_groups": {}}
FEW = [tensor("model.norm.weight", "BF16", 4096)]


def golden(model: str) -> dict[str, Any]:
    """The configuration of a model of the golden tables."""
    for table in ("kv-golden.json.gz", "kv-vllm-0.32-cpu.json.gz"):
        for row in json.loads(gzip.decompress((DATA / table).read_bytes()))["rows"]:
            if model in (row.get("model"), row.get("name")):
                return row["config"]
    raise KeyError(model)


def assistant() -> dict[str, Any]:
    """What Gemma 4's publisher lays beside it to draft for it: a few layers that read its KV cache."""
    text = golden("gemma-4-26B-A4B")["text_config"]
    layers = {"num_hidden_layers": 4, "layer_types": ["sliding_attention"] * 3 + ["full_attention"], "num_kv_shared_layers": 4, "hidden_size": 1024}
    return {"architectures": ["Gemma4AssistantForCausalLM"], "model_type": "gemma4_assistant", "dtype": "bfloat16", "text_config": {**text, **layers}}


def few(config: dict[str, Any], prefix: str = "") -> list[Tensor]:
    """Enough of a model whose weights are not what is asked about."""
    text = config.get("text_config", config)
    words = tensor(f"{prefix}embeddings.word_embeddings.weight", "F32", text["vocab_size"], text["hidden_size"])
    return [words] if "roberta" in text["model_type"] else [tensor("lm_head.weight", "BF16", text["vocab_size"], text["hidden_size"])]


def packed(config: dict[str, Any]) -> Iterable[Tensor]:
    """The same model in NVFP4 as ModelOpt writes it."""
    for one in dense(config):
        if "_proj" in one.name:
            rows, columns = one.shape
            yield tensor(one.name, "U8", rows, columns // 2)
            yield tensor(f"{one.name}_scale", "F8_E4M3", rows, columns // 16)
        else:
            yield one


def beside(length: int) -> dict[str, Any]:
    """What sentence-transformers lays beside a model."""
    return {"modules.json": [], "sentence_bert_config.json": {"max_seq_length": length}, "tokenizer_config.json": {"model_max_length": length}}


MODELS: dict[str, Any] = {
    "bge-m3": lambda: (ROBERTA, few(ROBERTA), beside(8192)),
    "bge-reranker": lambda: (
        {**ROBERTA, "architectures": ["XLMRobertaForSequenceClassification"]}, few(ROBERTA, "roberta."), {"tokenizer_config.json": {"model_max_length": 8192}}
    ),
    "l70": lambda: (LLAMA, dense(LLAMA), {}),
    "l70-fp4": lambda: (LLAMA, packed(LLAMA), {"hf_quant_config.json": MODELOPT}),
    "l8": lambda: (LLAMA_8B, dense(LLAMA_8B), {}),
    "qwen3-8b": lambda: (QWEN, dense(QWEN), {}),
    "qwen3.5-27b": lambda: (HYBRID, few(HYBRID), {}),
    "eagle": lambda: (EAGLE, dense({**LLAMA_8B, "num_hidden_layers": 1}), {}),
    "gpt-oss": lambda: (golden("gpt-oss-20b"), FEW, {}),
    "deepseek": lambda: (golden("DeepSeek-V2-Lite"), FEW, {}),
    "mamba": lambda: (golden("mamba2/Mamba2ForCausalLM"), FEW, {}),
    "gemma-4": lambda: (golden("gemma-4-26B-A4B"), FEW, {}),
    "gemma-4-assistant": lambda: (assistant(), [tensor("model.norm.weight", "BF16", 1024, 1024)], {}),
    "qwen3-vl": lambda: (SIGHTED, FEW, {}),
    "qwen3-asr": lambda: (HEARING, FEW, {}),
    "qwen3-omni-thinking": lambda: (THINKING, FEW, {}),
    "colbert": lambda: ({**BERT, "architectures": ["HF_ColBERT"]}, FEW, {}),
    "jina-ranking": lambda: ({**QWEN, "architectures": ["JinaForRanking"]}, FEW, {}),
    "jina-v4": lambda: ({**QWEN, "architectures": ["JinaEmbeddingsV4Model"]}, FEW, {}),
    "bert-text-length": lambda: (BERT, FEW, {"tokenizer_config.json": {"model_max_length": "4096"}}),
    "compressed": lambda: ({**LLAMA_8B, "quantization_config": PACKED}, FEW, {}),
    "compressed-kv4": lambda: ({**LLAMA_8B, "quantization_config": {**PACKED, "kv_cache_scheme": {"num_bits": 4, "type": "float"}}}, FEW, {}),
    "foreign-code": lambda: (
        {**ROBERTA, "auto_map": {"AutoConfig": "ORG/OTHER-REPO--configuration.Config"}}, few(ROBERTA), beside(8192)
    ),
}  # fmt: skip


def build(name: str, root: Path) -> Path:
    """The directory of a model, made once."""
    place = root / name
    if not place.exists():
        if name == "adapter":
            place.mkdir(parents=True)
            (place / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 64, "base_model_name_or_path": "ORG/BASE"}))
            (place / "adapter_model.safetensors").write_bytes(b"")
            return place
        config, tensors, files = MODELS[name]()
        write_model(place, config, list(tensors))
        for file, content in {"tokenizer.json": {}, "tokenizer_config.json": {"chat_template": "x"}, **files}.items():
            (place / file).write_text(json.dumps(content))
        for path in (place, *place.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return place


class Outcome:
    """What a server's owner sees: ``refused``, one text, or the server's plan and its container."""

    def __init__(self, refused: str = "", server: dict | None = None, plan: dict | None = None, container: dict | None = None) -> None:
        self.refused, self.server, self.plan, self.container = refused, server or {}, plan or {}, container or {}

    @property
    def warnings(self) -> str:
        return " ".join([*self.server.get("warnings", []), *self.plan.get("box", {}).get("warnings", [])])

    def flag(self, name: str) -> str | None:
        words = self.container.get("command", [])
        return words[words.index(name) + 1] if name in words else None


def ask(root: Path, model: str, version: str = "0.33.0", **server: Any) -> Outcome:
    """What becomes of a server, on the way that the roles preflight, plan and server go: written, read, reached, planned, made a container."""
    try:
        place = build(model, root)
        one = wanted.normalise([{"name": "s", "model": str(place), **server}], str(root))[0]
        facts = inspect_model(str(place)) | placed(str(place), str(root / "state"))
        parts = mounts.parts_wanted([one], str(root))
        models = {str(place): facts} | {part: inspect_model(part, part=True) for part in parts if Path(part).is_dir()}
        named = reach.named(mounts.files_named([one], str(root)))
        closed = mounts.files_refused([one], models, {"named": named})
        if closed:
            return Outcome(refused=closed)
        box = {"memory": {"total_bytes": int(119.7 * GIB), "available_bytes": int(110 * GIB)}, "holders": [], "servers": {}, "docker": {"containers": []}}
        known = mounts.with_drafts(models, [one], named)
        told = mounts.as_mounted([deployment.without_secrets(one)], named, models)
        plan = plan_box(box, told, known, {"vllm_version": version})
        planned = plan["servers"][0]
        if planned["verdict"] != "fits":
            return Outcome(refused=planned["reason"], server=planned, plan=plan)
        settings = {"config_dir": "/etc/gb10-vllm", "state_dir": "/var/lib/gb10-vllm", "shm_gib": 1, "stop_timeout_s": 60, "floor_bytes": 0}
        reached = mounts.reached(one, named.get("s") or {})
        made = deployment.build(planned, one, {"id": "i", "name": "n"}, "m", "x", settings, {"volumes": reached.volumes})
        return Outcome(server=planned, plan=plan, container=made["container"])
    except GB10Error as error:
        return Outcome(refused=str(error))
