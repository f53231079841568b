# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From config.json or params.json to checked facts about a model.

Every value is read through `Config`, which knows where it stands and refuses a bad one in one sentence
that names the key. vLLM: ``transformers_utils/model_arch_config_convertor.py``, ``config/model.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import layers_registry as registry
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.class_defaults import CLASS_DEFAULTS, FLAT_TEXT_TYPES
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import Rules

MAX_LAYERS = 10_000
MAX_HEADS = 1_000_000
MAX_SIZE = 1 << 24  # widths
MAX_VOCAB = 1 << 28
MAX_LENGTH = 1 << 40

# other spellings of a key, in the order vLLM tries them
ALIASES: dict[str, tuple[str, ...]] = {
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads"),
    "num_key_value_heads": ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "intermediate_size": ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "hidden_dim"),
    "num_experts": ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts"),
    "num_experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k", "top_k"),
    "num_shared_experts": ("n_shared_experts", "moe_num_shared_experts", "num_shared_experts"),
    "moe_intermediate_size": ("moe_intermediate_size", "expert_ffn_hidden_size"),
    "num_nextn_predict_layers": ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers"),
}

# keys a saved top-level configuration may lack; every other shape key must be there
_OPTIONAL_AT_TOP = frozenset(
    {
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "sliding_window",
        "vocab_size",
        "intermediate_size",
        "tie_word_embeddings",
    }
)
_REQUIRED_AT_TOP = frozenset({"num_hidden_layers", "hidden_size", "num_attention_heads"})

_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_TEXT_KEYS = ("text_config", "llm_config", "language_config", "language_model", "text_model_config", "wrapped_model_config")
# rope types whose factor is not applied to the length (it is already in it)
_UNSCALED_ROPES = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})
_LAYER_TYPE_NAMES = frozenset(
    {
        "full_attention",
        "sliding_attention",
        "chunked_attention",
        "linear_attention",
        "indexed_attention",
        "compressed_sparse_attention",
        "heavily_compressed_attention",
        "main",
        "compress",
    }
)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Config:
    """One configuration object: checked reads of keys, with the values of its class behind it."""

    __slots__ = ("data", "defaults", "where")

    def __init__(self, data: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, where: str = "") -> None:
        if not isinstance(data, Mapping):
            raise GB10Error(f"{where.rstrip('.') or 'the model configuration'} is {_show(data)}: it must be a JSON object.")
        self.data = data
        self.defaults = defaults or {}
        self.where = where

    def name(self, key: str) -> str:
        """The key as a user finds it in the file."""
        return f"{self.where}{key}"

    def get(self, key: str, default: Any = None) -> Any:
        """The raw value; a key that is absent (not null) takes the class's value."""
        if key in self.data:
            value = self.data[key]
            return default if value is None else value
        return self.defaults.get(key, default)

    def has(self, key: str) -> bool:
        """Whether the file gives the key a value."""
        return self.data.get(key) is not None

    def child(self, key: str) -> Config | None:
        """A nested object, or None when it is absent."""
        value = self.data.get(key)
        if value is None:
            return None
        return Config(value, where=f"{self.where}{key}.")

    def fail(self, key: str, value: Any, wanted: str) -> GB10Error:
        """The error for a value that no model has."""
        return GB10Error(f"config key {self.name(key)!r} is {_show(value)}: it must be {wanted}.")

    def _integer(self, key: str, value: Any, low: int, high: int) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) <= high:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(key, value, f"an integer from {low} to {high}")
        return value

    def optional(self, key: str, low: int = 0, high: int = MAX_SIZE) -> int | None:
        """An integer or None; aliases are tried in vLLM's order."""
        for name in ALIASES.get(key, (key,)):
            value = self.get(name)
            if value is not None:
                return self._integer(name, value, low, high)
        return None

    def integer(self, key: str, low: int = 1, high: int = MAX_SIZE, default: int | None = None) -> int:
        """An integer; GB10Error when the key is missing and has no default."""
        value = self.optional(key, low, high)
        if value is not None:
            return value
        if default is None:
            raise GB10Error(f"config key {self.name(key)!r} is missing: the KV cache cannot be sized without it.")
        return default

    def number(self, key: str, default: float | None = None) -> float | None:
        """A finite number or the default."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e18:
            raise self.fail(key, value, "a number")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean (0 and 1 count)."""
        value = self.get(key, default)
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        raise self.fail(key, value, "true or false")

    def text(self, key: str) -> str | None:
        """A string or None."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.fail(key, value, "a string")
        return value

    def sequence(self, key: str) -> list[Any] | None:
        """A list or None; at most one entry per layer any model has."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or len(value) > MAX_LAYERS:
            raise self.fail(key, value, f"a list of at most {MAX_LAYERS} entries")
        return list(value)

    def strings(self, key: str) -> list[str] | None:
        """A list of strings or None."""
        value = self.sequence(key)
        if value is not None and not all(isinstance(entry, str) for entry in value):
            raise self.fail(key, value, "a list of strings")
        return value

    def integers(self, key: str, low: int = 0, high: int = MAX_SIZE) -> list[int] | None:
        """A list of integers or None."""
        value = self.sequence(key)
        return None if value is None else [self._integer(key, entry, low, high) for entry in value]

    def mapping(self, key: str) -> Mapping[str, Any] | None:
        """An object or None."""
        value = self.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise self.fail(key, value, "an object")
        return value


@dataclass(frozen=True)
class Rope:
    """One rotary embedding: vLLM keeps a table of ``max_position * rotary_dim`` values for each distinct one."""

    layer_type: str | None
    rope_type: str
    theta: float
    factor: float | None
    original_max_position: int | None
    rotary_dim: int
    max_position: int


@dataclass(frozen=True)
class ModelFacts:
    """What the configuration says about a model, checked. Sizes are counts, never bytes."""

    architecture: str
    text_architecture: str
    family: str
    model_type: str
    text_model_type: str
    kind: str  # generate | pooling | encoder_only | encoder_decoder
    multimodal: bool
    auto_map: bool
    num_layers: int
    hidden_size: int
    vocab_size: int
    intermediate_size: int | None
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    tie_word_embeddings: bool
    dtype: str | None
    quant_method: str | None
    kv_cache_scheme: str | None  # what the checkpoint asks for: fp8, fp8_e4m3, nvfp4 or None
    derived_max_model_len: int
    derived_max_model_len_key: str | None
    original_max_model_len: int | None  # longrope: the length before scaling, vLLM's default
    ropes: tuple[Rope, ...]
    num_experts: int
    num_experts_per_token: int
    num_shared_experts: int
    moe_intermediate_size: int | None
    num_nextn_predict_layers: int
    layer_types: tuple[str, ...] | None
    sliding_window: int | None
    text: Config
    root: Config
    warnings: tuple[str, ...] = ()


def is_mistral_params(config: Mapping[str, Any]) -> bool:
    """Whether the object is Mistral's params.json and not a config.json."""
    return isinstance(config, Mapping) and "architectures" not in config and "n_layers" in config and "dim" in config


def from_mistral_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Mistral's params.json in the names of config.json (vLLM: ``transformers_utils/configs/mistral.py``)."""
    source = dict(params)
    renamed = {
        "dim": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "n_kv_heads": "num_key_value_heads",
        "hidden_dim": "intermediate_size",
        "tied_embeddings": "tie_word_embeddings",
    }
    config: dict[str, Any] = {renamed.get(key, key): value for key, value in source.items()}
    config.setdefault("max_position_embeddings", 128_000)
    config.setdefault("max_seq_len", config["max_position_embeddings"])
    config.setdefault("model_type", "transformer")
    heads, layers = config.get("num_attention_heads"), config.get("num_hidden_layers")
    window = config.get("sliding_window")
    if isinstance(window, list):
        if not isinstance(layers, int) or not window or not 0 < layers <= MAX_LAYERS:
            raise GB10Error(f"params key 'sliding_window' is {_show(window)}: it must be one window per layer of a repeating pattern.")
        windows = [entry for entry in window if entry]
        config["layer_types"] = ["sliding_attention" if window[i % len(window)] else "full_attention" for i in range(layers)]
        config["sliding_window"] = windows[0] if windows else None
    yarn = config.pop("yarn", None)
    if yarn:
        if not isinstance(yarn, Mapping):
            raise GB10Error(f"params key 'yarn' is {_show(yarn)}: it must be an object.")
        config["rope_parameters"] = {
            "rope_type": "yarn",
            "factor": yarn.get("factor"),
            "original_max_position_embeddings": yarn.get("original_max_position_embeddings"),
            "rope_theta": config.get("rope_theta"),
        }
    quantization = config.pop("quantization", None)
    if quantization:
        if not isinstance(quantization, Mapping):
            raise GB10Error(f"params key 'quantization' is {_show(quantization)}: it must be an object.")
        weight = quantization.get("qformat_weight")
        config["quantization_config"] = {"quant_method": "fp8"} if weight == "fp8_e4m3" else dict(quantization)
    moe = config.get("moe")
    if moe is not None and not isinstance(moe, Mapping):
        raise GB10Error(f"params key 'moe' is {_show(moe)}: it must be an object.")
    if moe:
        config["num_experts"] = moe.get("num_experts")
        config["num_experts_per_tok"] = moe.get("num_experts_per_tok")
        config["n_shared_experts"] = moe.get("num_shared_experts")
        config["moe_intermediate_size"] = moe.get("expert_hidden_dim")
    if config.get("model_type") == "mamba":
        config["architectures"] = ["Mamba2ForCausalLM"]
    elif config.get("qk_nope_head_dim"):
        config["architectures"] = ["MistralLarge3ForCausalLM"]
        config["model_type"] = "deepseek_v3"
        config.setdefault("num_key_value_heads", heads)
    else:
        config["architectures"] = ["MixtralForCausalLM" if moe else "MistralForCausalLM"]
    vision = config.pop("vision_encoder", None)
    multimodal = config.pop("multimodal", None)
    if isinstance(multimodal, Mapping):
        vision = multimodal.get("vision_encoder_args") or vision
        if multimodal.get("whisper_model_args") and not vision:
            return {"architectures": ["VoxtralForConditionalGeneration"], "model_type": "voxtral", "text_config": config, "audio_config": multimodal}
    if vision:
        wrapped = {"architectures": ["PixtralForConditionalGeneration"], "model_type": "pixtral", "text_config": config, "vision_config": vision}
        if "quantization_config" in config:
            wrapped["quantization_config"] = config["quantization_config"]
        return wrapped
    return config


def _architecture(root: Config) -> str:
    names = root.strings("architectures")
    if not names:
        raise GB10Error("config key 'architectures' is missing: it names the model class, without it the layers are unknown.")
    return names[0]


def _text_object(root: Config) -> tuple[Config, bool]:
    """The configuration of the language model and whether it is nested."""
    thinker = root.child("thinker_config")
    for outer in filter(None, (thinker, root)):
        for key in _TEXT_KEYS:
            value = outer.data.get(key)
            if isinstance(value, Mapping) and value:
                return Config(value, where=f"{outer.where}{key}."), True
            if value is not None and key == "text_config" and not isinstance(value, Mapping):
                raise outer.fail(key, value, "an object")
    return root, False


def _text_architecture(architecture: str, text: Config) -> str:
    """The architecture whose layer rule applies; GB10Error for one that is not known."""
    if architecture in registry.FAMILY_OF:
        return architecture
    if architecture in registry.CAUSAL_POOLING:
        return registry.CAUSAL_POOLING[architecture]
    if architecture not in registry.WRAPPERS:
        raise GB10Error(
            f"architecture {architecture!r} (config key 'architectures') is not known here, so its KV cache cannot be sized: "
            "set gb10_assume_full_attention to count every layer as full attention, or leave the model to vLLM."
        )
    inner = registry.WRAPPERS[architecture]
    if inner is not None:
        return inner
    named = text.strings("architectures") or []
    for name in named:
        name = registry.CAUSAL_POOLING.get(name, name)
        if name in registry.FAMILY_OF:
            return name
    model_type = text.text("model_type")
    if not named and model_type in registry.TEXT_TYPES:
        return registry.TEXT_TYPES[model_type]
    raise GB10Error(
        f"the language model of {architecture} is not known here: config keys {text.name('architectures')!r} and {text.name('model_type')!r} "
        f"say {_show(named[0] if named else None)} and {_show(model_type)}; set gb10_assume_full_attention to count every layer as full attention."
    )


def _with_defaults(text: Config, nested: bool, model_type: str | None) -> Config:
    """``text`` with the values of its configuration class behind it."""
    known = CLASS_DEFAULTS.get(FLAT_TEXT_TYPES.get(model_type or "", model_type or ""), {})
    if nested:
        # a nested object is saved without what equals its class
        return Config(text.data, known, text.where)
    kept = {key: value for key, value in known.items() if key not in _REQUIRED_AT_TOP}
    return Config(text.data, kept, text.where)


def _rope_objects(text: Config) -> list[tuple[str | None, Mapping[str, Any]]]:
    """Rope parameters, one per layer type when they are nested, in either spelling."""
    merged: Mapping[str, Any] = {}
    for key in ("rope_parameters", "rope_scaling"):
        value = text.mapping(key)
        if value:
            merged = value
            break
    if merged and set(merged) <= _LAYER_TYPE_NAMES:
        return [(name, entry) for name, entry in merged.items() if isinstance(entry, Mapping) and entry]
    return [(None, merged)] if merged else []


def _rope_type(entry: Mapping[str, Any]) -> str:
    value = entry.get("rope_type", entry.get("type"))
    return value if isinstance(value, str) else "default"


def _derive_length(text: Config, model_type: str, ropes: Sequence[Mapping[str, Any]], rules: Rules) -> tuple[int, str | None, int | None, list[str]]:
    """The model's own length (``config/model.py _get_and_verify_max_len``), its key, longrope's shorter default."""
    warnings: list[str] = []
    lengths = [(key, text.optional(key, 1, MAX_LENGTH)) for key in _LENGTH_KEYS]
    found = [(value, key) for key, value in lengths if value is not None]
    derived, key = min(found, key=lambda pair: pair[0]) if found else (None, None)
    explicit = text.optional("model_max_length", 1, MAX_LENGTH)
    if explicit is not None:
        derived, key = explicit, "model_max_length"
    if derived is None:
        derived = 2048
        warnings.append("the configuration names no maximum length; vLLM then assumes 2048 tokens")
    length: float = derived
    if ropes and "gemma3" not in model_type:
        scale: float = 1.0
        for entry in ropes:
            kind = _rope_type(entry)
            unscaled = kind in _UNSCALED_ROPES
            if rules.yarn_from_original and kind == "yarn":
                original = entry.get("original_max_position_embeddings")
                if isinstance(original, (int, float)) and not isinstance(original, bool) and 0 < original <= MAX_LENGTH:
                    length, unscaled = original, False
            if not unscaled:
                factor = entry.get("factor", scale)
                if factor is None:
                    factor = 1.0
                if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor <= 1e6:
                    raise GB10Error(f"config key {text.name('rope_scaling.factor')!r} is {_show(factor)}: it must be a positive number.")
                scale = factor
        length *= scale
    if not 1 <= length <= MAX_LENGTH:
        name = text.name(key or "max_position_embeddings")
        raise GB10Error(f"config key {name!r} with its rope factor gives {_show(length)} tokens: no model has that length.")
    default: int | None = None
    if any(_rope_type(entry) == "longrope" for entry in ropes):
        default = text.optional("original_max_position_embeddings", 1, MAX_LENGTH)
        for entry in ropes:
            value = entry.get("original_max_position_embeddings")
            if default is None and isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_LENGTH:
                default = value
    return int(length), key, default, warnings


def _pattern(count: int, every: int, often: str, seldom: str = "full_attention") -> list[str]:
    return [often if (index + 1) % every else seldom for index in range(count)]


def layer_types(text: Config, model_type: str, count: int, window: int | None) -> list[str] | None:
    """One name per layer: the file's, or what the configuration class derives; None when the class has no such list.

    transformers: ``configuration_*.py`` ``__post_init__``.
    """
    given = text.strings("layer_types") or text.strings("layers_block_type")
    if given:
        names = ["linear_attention" if name == "mamba" else "full_attention" if name == "attention" else name for name in given]
        if model_type.startswith("gemma4") and len(names) == count:
            names[-1] = "full_attention"
        return names
    sliding = "sliding_attention"
    if model_type.startswith(("gemma3n",)):
        return _pattern(count, 5, sliding)
    if model_type.startswith("gemma4"):
        names = _pattern(count, 6, sliding)
        names[-1] = "full_attention"
        return names
    if model_type.startswith("gemma3"):
        return _pattern(count, text.integer("sliding_window_pattern", 1, MAX_LAYERS, 6), sliding)
    if model_type in ("gemma2", "vaultgemma"):
        return _pattern(count, 2, sliding)
    if model_type in ("cohere2", "cohere2_moe"):
        return _pattern(count, text.integer("sliding_window_pattern", 1, MAX_LAYERS, 4), sliding)
    if model_type in ("exaone4", "exaone_moe"):
        pattern = text.get("sliding_window_pattern", 4)
        if window is None or not pattern:
            return ["full_attention"] * count
        every = len(pattern) if isinstance(pattern, str) else text.integer("sliding_window_pattern", 1, MAX_LAYERS, 4)
        return _pattern(count, every, sliding)
    if model_type in ("olmo3", "muse_glimmer", "muse_glimmer_text"):
        return _pattern(count, 4, sliding)
    if model_type == "afmoe":
        return _pattern(count, text.integer("global_attn_every_n_layers", 1, MAX_LAYERS, 4), sliding)
    if model_type == "cwm":
        return ["full_attention" if index % 4 == 0 else sliding for index in range(count)]
    if model_type == "gpt_oss":
        return [sliding if index % 2 == 0 else "full_attention" for index in range(count)]
    if model_type in ("mimo_v2_flash", "mimo_v2"):
        pattern = text.integers("hybrid_layer_pattern", 0, 1)
        if pattern:
            return [sliding if entry else "full_attention" for entry in pattern]
        return ["full_attention" if index == 0 or (index + 1) % 6 == 0 else sliding for index in range(count)]
    if model_type in ("qwen2", "qwen3", "qwen2_vl", "qwen2_5_vl", "qwen2_vl_text", "qwen2_5_vl_text"):
        first = text.integer("max_window_layers", 0, MAX_LAYERS, 28)
        return [sliding if window is not None and index >= first else "full_attention" for index in range(count)]
    if model_type in ("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"):
        return _pattern(count, text.integer("full_attention_interval", 1, MAX_LAYERS, 4), "linear_attention")
    if model_type in ("llama4", "llama4_text"):
        no_rope = text.integers("no_rope_layers", 0, 1)
        if not no_rope:
            return _pattern(count, text.integer("no_rope_layer_interval", 1, MAX_LAYERS, 4), "chunked_attention")
        return ["chunked_attention" if entry else "full_attention" for entry in no_rope]
    if model_type in ("lfm2", "lfm2_moe"):
        full = text.integers("full_attn_idxs", 0, MAX_LAYERS)
        return ["full_attention" if full is None or index in full else "conv" for index in range(count)]
    if model_type == "jamba":
        period = text.integer("attn_layer_period", 1, MAX_LAYERS, 8)
        offset = text.integer("attn_layer_offset", 0, MAX_LAYERS, 4)
        return ["full_attention" if index % period == offset else "linear_attention" for index in range(count)]
    if model_type == "bamba":
        full = text.integers("attn_layer_indices", 0, MAX_LAYERS) or []
        return ["full_attention" if index in full else "linear_attention" for index in range(count)]
    if model_type == "olmo_hybrid":
        names = ["full_attention" if index % 4 == 3 else "linear_attention" for index in range(count)]
        if "full_attention" not in names:
            names[-1] = "full_attention"
        return names
    return None


def _window(text: Config, model_type: str) -> int | None:
    """The configuration's window after its class has looked at it (0 means none)."""
    value = text.get("sliding_window")
    if isinstance(value, list):
        found = [entry for entry in value if entry]
        value = found[0] if found else None
    if value is None or value is False:
        return None
    window = text._integer("sliding_window", value, 0, MAX_LENGTH)
    if not window or (model_type.startswith(("qwen2", "qwen3")) and not text.flag("use_sliding_window")):
        return None
    if text.get("use_sliding_window") is False and model_type in ("smollm3", "starcoder2"):
        return None
    if text.flag("use_bidirectional_attention") if model_type.startswith("gemma3") else text.get("use_bidirectional_attention") == "all":
        window = window // 2 + 1
    return window


def _quantization(root: Config, text: Config) -> tuple[str | None, str | None]:
    """The quantization method and the KV dtype the checkpoint declares (``utils/torch_utils.py get_kv_cache_quant_algo_string``)."""
    for owner in (root, text):
        for key in ("quantization_config", "compression_config"):
            found = owner.mapping(key)
            if found:
                return _quant_method(found), _kv_scheme(found)
    return None, None


def _quant_method(found: Mapping[str, Any]) -> str | None:
    method = found.get("quant_method")
    producer = found.get("producer")
    if isinstance(producer, Mapping) and producer.get("name") == "modelopt":
        inner = found.get("quantization")
        algorithm = str(inner.get("quant_algo", "") if isinstance(inner, Mapping) else "").upper()
        return {"NVFP4": "modelopt_fp4", "MIXED_PRECISION": "modelopt_mixed"}.get(algorithm, "modelopt")
    return method.lower().replace("compressed_tensors", "compressed-tensors") if isinstance(method, str) else None


def _kv_scheme(found: Mapping[str, Any]) -> str | None:
    method = _quant_method(found) or ""
    inner = found.get("quantization")
    objects = [entry for entry in (inner, found) if isinstance(entry, Mapping)]
    if method.startswith("modelopt"):
        declared = next((entry[key] for key in ("kv_cache_scheme", "kv_cache_quant_algo") for entry in objects if entry.get(key)), None)
        if isinstance(declared, Mapping):
            if declared.get("num_bits") == 8 and declared.get("type") == "float" and declared.get("dynamic") is False:
                return "fp8_e4m3"
            return "nvfp4" if declared.get("num_bits") == 4 and declared.get("type") == "float" else None
        return {"fp8": "fp8_e4m3", "nvfp4": "nvfp4"}.get(str(declared).lower()) if declared else None
    scheme = found.get("kv_cache_scheme")
    return "fp8" if method == "compressed-tensors" and isinstance(scheme, Mapping) and scheme else None


def _head_dim(text: Config, hidden: int, heads: int) -> int:
    """``model_arch_config_convertor.py get_head_size`` without MLA."""
    value = text.optional("head_dim", 0, 65_536)
    if value:
        return value
    for key in ("hidden_size_per_head", "kv_channels", "attention_head_dim"):
        value = text.optional(key, 1, 65_536)
        if value:
            return value
    if not heads:
        return 0
    if hidden < heads:
        raise GB10Error(
            f"config keys {text.name('hidden_size')!r} ({hidden}) and {text.name('num_attention_heads')!r} ({heads}) contradict each other: "
            "a head would have no width."
        )
    return hidden // heads


def _kv_heads(text: Config, family: str, model_type: str, heads: int) -> int:
    if model_type in ("falcon", "RefinedWeb", "RefinedWebModel") and not text.flag("new_decoder_architecture") and text.flag("multi_query"):
        return 1
    if model_type == "gpt_bigcode":
        return 1 if text.flag("multi_query", True) else heads
    if model_type == "chatglm" and not text.flag("multi_query_attention"):
        return heads
    if model_type == "dbrx":
        nested = text.child("attn_config")
        return nested.integer("kv_n_heads", 1, MAX_HEADS, heads) if nested else heads
    return text.integer("num_key_value_heads", 1, MAX_HEADS, heads) if heads else 0


def _ropes(text: Config, head_dim: int, derived: int) -> tuple[Rope, ...]:
    """The distinct rotary tables of the language model."""
    entries = _rope_objects(text)
    theta = text.number("rope_theta", text.number("rotary_emb_base"))
    if not entries:
        if theta is None:
            return ()
        entries = [(None, {})]
    max_position = text.optional("max_position_embeddings", 1, MAX_LENGTH) or derived
    rope_dim = text.optional("qk_rope_head_dim", 0, 65_536)
    partial = text.number("partial_rotary_factor", text.number("rotary_pct", 1.0)) or 1.0
    found = []
    for name, entry in entries:
        share = entry.get("partial_rotary_factor", partial)
        share = share if isinstance(share, (int, float)) and not isinstance(share, bool) and 0 < share <= 1 else 1.0
        width = rope_dim or text.optional("rotary_dim", 0, 65_536) or int(head_dim * share)
        factor = entry.get("factor")
        original = entry.get("original_max_position_embeddings")
        base = entry.get("rope_theta", theta)
        found.append(
            Rope(
                name,
                _rope_type(entry),
                float(base) if isinstance(base, (int, float)) and not isinstance(base, bool) else 10_000.0,
                float(factor) if isinstance(factor, (int, float)) and not isinstance(factor, bool) else None,
                original if isinstance(original, int) and not isinstance(original, bool) else None,
                width,
                max_position,
            )
        )
    return tuple(dict.fromkeys(found))


def _dtype(root: Config, text: Config) -> str | None:
    for owner in (root, text):
        for key in ("dtype", "torch_dtype"):
            value = owner.get(key)
            if isinstance(value, str) and value not in ("auto", ""):
                return value.removeprefix("torch.")
    for key in ("vision_config", "encoder_config"):
        nested = root.data.get(key)
        if isinstance(nested, Mapping):
            for name in ("dtype", "torch_dtype"):
                if isinstance(nested.get(name), str):
                    return nested[name].removeprefix("torch.")
    return None


def _shape(text: Config, family: str, model_type: str) -> tuple[int, int, int, int, int]:
    """Layers, hidden size, heads, KV heads and head size."""
    if family == "whisper":
        layers = text.integer("decoder_layers", 1, MAX_LAYERS)
        hidden, heads = text.integer("d_model"), text.integer("decoder_attention_heads", 1, MAX_HEADS)
        return layers, hidden, heads, heads, _head_dim(Config({}), hidden, heads)
    if family == "nemotron_h":
        pattern = text.get("hybrid_override_pattern") or text.get("layers_block_type") or text.get("layer_types")
        layers = len(pattern) if isinstance(pattern, (str, list)) and pattern else text.integer("num_hidden_layers", 1, MAX_LAYERS)
    elif family == "longcat":
        layers = text.optional("num_layers", 1, MAX_LAYERS) or text.integer("num_hidden_layers", 2, MAX_LAYERS) // 2
    else:
        layers = text.integer("num_hidden_layers", 1, MAX_LAYERS)
    if layers > MAX_LAYERS:
        raise GB10Error(f"config key {text.name('num_hidden_layers')!r} gives {layers} layers: no model has that many.")
    hidden = text.integer("hidden_size")
    if family in registry.STATE_ONLY_FAMILIES:
        return layers, hidden, 0, 0, 0
    heads = text.integer("num_attention_heads", 1, MAX_HEADS)
    kv_heads = _kv_heads(text, family, model_type, heads)
    if family not in registry.MLA_FAMILIES and heads % kv_heads:
        raise GB10Error(
            f"config keys {text.name('num_attention_heads')!r} ({heads}) and {text.name('num_key_value_heads')!r} ({kv_heads}) contradict each other: "
            "the first must be a multiple of the second."
        )
    return layers, hidden, heads, kv_heads, _head_dim(text, hidden, heads)


def model_facts(config: Mapping[str, Any], rules: Rules, *, assume_full_attention: bool = False) -> ModelFacts:
    """Checked facts of a config.json (or Mistral's params.json) object; GB10Error naming the key that is wrong.

    An architecture that is not known is refused; ``assume_full_attention`` reads it as plain attention instead.
    """
    if is_mistral_params(config):
        config = from_mistral_params(config)
    root = Config(config)
    architecture = _architecture(root)
    text, nested = _text_object(root)
    warnings: list[str] = []
    kind = "generate"
    if architecture in registry.ENCODER_ONLY:
        family, text_architecture, kind = "encoder_only", architecture, "encoder_only"
    else:
        try:
            text_architecture = _text_architecture(architecture, text)
            family = registry.FAMILY_OF[text_architecture]
        except GB10Error:
            if not assume_full_attention:
                raise
            text_architecture, family = architecture, "uniform"
            warnings.append(f"architecture {architecture} is not known here: every layer is counted as full attention, which may be far from what vLLM does")
        if architecture in registry.CAUSAL_POOLING or architecture.endswith(("ForSequenceClassification", "RewardModel")):
            kind = "pooling"
    model_type = root.text("model_type") or ""
    text_model_type = text.text("model_type") or model_type
    text = _with_defaults(text, nested, text_model_type)
    if family == "whisper":
        kind = "encoder_decoder"
    if family == "encoder_only" and not text.has("num_hidden_layers") and not text.defaults:
        layers, hidden, heads, kv_heads, head_dim = 0, 0, 0, 0, 0
    else:
        layers, hidden, heads, kv_heads, head_dim = _shape(text, family, text_model_type)
    window = _window(text, text_model_type)
    types = layer_types(text, text_model_type, layers, window) if family != "encoder_only" else None
    if types is not None and len(types) < layers:
        raise GB10Error(f"config key {text.name('layer_types')!r} has {len(types)} entries for {layers} layers: it must have one per layer.")
    ropes = [entry for _name, entry in _rope_objects(text)]
    derived, key, longrope, more = _derive_length(text, text_model_type, ropes, rules)
    warnings += more
    quant_method, kv_scheme = _quantization(root, text)
    if not text.flag("is_causal", True) and family == "uniform":
        family, kind = "encoder_only", "encoder_only"
    return ModelFacts(
        architecture=architecture,
        text_architecture=text_architecture,
        family=family,
        model_type=model_type,
        text_model_type=text_model_type,
        kind=kind,
        multimodal=architecture in registry.WRAPPERS,
        auto_map=bool(root.get("auto_map")),
        num_layers=layers,
        hidden_size=hidden,
        vocab_size=text.optional("vocab_size", 0, MAX_VOCAB) or root.optional("vocab_size", 0, MAX_VOCAB) or 0,
        intermediate_size=None if isinstance(text.get("intermediate_size"), list) else text.optional("intermediate_size", 0, 1 << 30),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        tie_word_embeddings=_tied(root, text, nested),
        dtype=_dtype(root, text),
        quant_method=quant_method,
        kv_cache_scheme=kv_scheme,
        derived_max_model_len=derived,
        derived_max_model_len_key=key,
        original_max_model_len=longrope,
        ropes=_ropes(text, head_dim, derived),
        num_experts=_count(text, "num_experts"),
        num_experts_per_token=_count(text, "num_experts_per_token"),
        num_shared_experts=_count(text, "num_shared_experts"),
        moe_intermediate_size=None if isinstance(text.get("moe_intermediate_size"), list) else text.optional("moe_intermediate_size", 0, 1 << 30),
        num_nextn_predict_layers=text.optional("num_nextn_predict_layers", 0, 1000) or 0,
        layer_types=tuple(types) if types is not None else None,
        sliding_window=window,
        text=text,
        root=root,
        warnings=tuple(warnings),
    )


def _count(text: Config, key: str) -> int:
    """A number of experts; some configurations give one per layer."""
    for name in ALIASES[key]:
        value = text.get(name)
        if isinstance(value, list):
            numbers = [entry for entry in value if isinstance(entry, int) and not isinstance(entry, bool)]
            return max(numbers, default=0)
        if value is not None:
            return text._integer(name, value, 0, 1_000_000)
    return 0


def _tied(root: Config, text: Config, nested: bool) -> bool:
    """Whether lm_head is the embedding."""
    owners = (root, text) if nested else (text,)
    for owner in owners:
        if owner.has("tie_word_embeddings"):
            return owner.flag("tie_word_embeddings")
    return bool(text.defaults.get("tie_word_embeddings", False))
