# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From config.json or params.json to checked facts about a model.

A bad value is refused in one sentence that names its key (`config`). vLLM: ``transformers_utils/model_arch_config_convertor.py``, ``config/model.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import layers_registry as registry
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.class_defaults import CLASS_DEFAULTS, FLAT_TEXT_TYPES
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.config import ALIASES, MAX_HEADS, MAX_LAYERS, MAX_LENGTH, MAX_VOCAB, Config
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layer_types import layer_types
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_dropped import is_dropped
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_refused import REFUSED, full_attention_is_safe, is_draft, refusal
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.mistral_params import from_mistral_params, is_mistral_params
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.model_length import Limits, model_length
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.overrides import TEXT_KEYS
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import Rules
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import Beside

_REQUIRED_AT_TOP = frozenset({"num_hidden_layers", "hidden_size", "num_attention_heads"})

# Endings of architectures that vLLM pools unless it knows them otherwise (config/model.py _SUFFIX_TO_DEFAULTS).
_GENERATING_ENDINGS = ("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel")
_POOLING_ENDINGS = (
    "ForTextEncoding", "EmbeddingModel", "ForSequenceClassification", "ForTokenClassification", "ForAudioClassification", "ForImageClassification",
    "ForVideoClassification", "ClassificationModel", "ForRewardModeling", "RewardModel",
)  # fmt: skip


@dataclass(frozen=True)
class ModelFacts:
    """What the configuration says about a model, checked. Sizes are counts, never bytes."""

    architecture: str
    text_architecture: str
    family: str
    text_model_type: str
    kind: str  # generate | pooling | encoder_only | encoder_decoder
    runner: str  # generate | pooling
    pooling: tuple[str, ...]  # how sentence-transformers' files ask to pool, such as CLS
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
    num_experts: int
    num_experts_per_token: int
    moe_intermediate_size: int | None
    num_nextn_predict_layers: int
    layer_types: tuple[str, ...] | None
    sliding_window: int | None
    text: Config
    item_tokens: int = 0  # of the largest image or video of a model that attends both ways inside one; 0 for others
    vision: Mapping[str, int] | None = None  # hidden_size, intermediate_size, patch_size, image_size (0: any) of the vision tower
    warnings: tuple[str, ...] = ()


def _architecture(root: Config) -> str:
    names = root.strings("architectures")
    if not names:
        raise GB10Error("config key 'architectures' is missing: it names the model class, without it the layers are unknown.")
    # vLLM takes the first that it has
    return next((name for name in names if registry.is_known(name)), names[0])


def _text_object(root: Config) -> tuple[Config, bool]:
    """The configuration of the language model and whether it is nested."""
    thinker = root.child("thinker_config")
    for outer in filter(None, (thinker, root)):
        for key in TEXT_KEYS:
            value = outer.data.get(key)
            if isinstance(value, Mapping) and value:
                return Config(value, where=f"{outer.where}{key}."), True
            if value is not None and key == "text_config" and not isinstance(value, Mapping):
                raise outer.fail(key, value, "an object")
    return root, False


def _implemented(architecture: str) -> str:
    """The architecture whose class vLLM makes this one of, as ``XForCausalLM`` for ``XForSequenceClassification``; itself where it has or knows none.

    ``model_executor/models/registry.py _normalize_arch``.
    """
    known = (registry.FAMILY_OF, registry.CAUSAL_POOLING, registry.WRAPPERS, registry.ENCODER_ONLY, registry.FLAT_MULTIMODAL, REFUSED)
    endings = (*_GENERATING_ENDINGS, *_POOLING_ENDINGS, "Model")
    ending = next((ending for ending in endings if architecture.endswith(ending)), "")
    if not ending or is_draft(architecture) or any(architecture in names for names in known):
        return architecture
    others = (architecture.removesuffix(ending) + other for other in endings)
    return next((other for other in others if any(other in names for names in known)), architecture)


def _text_architecture(architecture: str, text: Config) -> str:
    """The architecture whose layer rule applies; GB10Error for one that is not known."""
    if architecture in registry.FAMILY_OF:
        return architecture
    if architecture in registry.CAUSAL_POOLING:
        return registry.CAUSAL_POOLING[architecture]
    if architecture not in registry.WRAPPERS:
        raise refusal(architecture, text.data)
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
    if is_dropped(architecture):
        raise refusal(architecture, text.data)
    raise GB10Error(
        f"the language model of {architecture} is not known here: config keys {text.name('architectures')!r} and {text.name('model_type')!r} "
        f"say {shown(named[0] if named else None)} and {shown(model_type)}; "
        + (
            "set gb10_assume_full_attention to count every layer as full attention."
            if full_attention_is_safe(named[0] if named else "", text.data)
            else "serve another model, or read docs/extending.md on how to add it."
        )
    )


def _with_defaults(text: Config, nested: bool, model_type: str | None) -> Config:
    """``text`` with the values of its configuration class behind it."""
    known = CLASS_DEFAULTS.get(FLAT_TEXT_TYPES.get(model_type or "", model_type or ""), {})
    if nested:
        # a nested object is saved without what equals its class
        return Config(text.data, known, text.where)
    kept = {key: value for key, value in known.items() if key not in _REQUIRED_AT_TOP}
    return Config(text.data, kept, text.where)


def _window(text: Config, model_type: str) -> int | None:
    """The configuration's window after its class has looked at it (0 means none)."""
    value = text.get("sliding_window")
    if isinstance(value, list):
        found = [entry for entry in value if entry]
        value = found[0] if found else None
    if value is None or value is False:
        return None
    window = text.check_integer("sliding_window", value, 0, MAX_LENGTH)
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
                method, scheme = _quant_method(found), _kv_scheme(found)
                # ModelOpt's is read off the outer configuration only
                return method, None if owner is not root and (method or "").startswith("modelopt") else scheme
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
    if method == "compressed-tensors" and isinstance(scheme, Mapping) and scheme and (scheme.get("num_bits", 8), scheme.get("type", "float")) != (8, "float"):
        # compressed_tensors.py CompressedTensorsKVCacheMethod.validate_kv_cache_scheme
        raise GB10Error(f"config key 'quantization_config.kv_cache_scheme' asks for {shown(scheme.get('num_bits'))} bits: vLLM keeps 8-bit float only.")
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


def _kv_heads(text: Config, model_type: str, heads: int) -> int:
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


class _Shape(NamedTuple):
    """Numbers of layers and heads, and widths."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int


def _shape(text: Config, family: str, model_type: str) -> _Shape:
    if family == "whisper":
        layers = text.integer("decoder_layers", 1, MAX_LAYERS)
        hidden, heads = text.integer("d_model"), text.integer("decoder_attention_heads", 1, MAX_HEADS)
        return _Shape(layers, hidden, heads, heads, _head_dim(Config({}), hidden, heads))
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
        return _Shape(layers, hidden, 0, 0, 0)
    heads = text.integer("num_attention_heads", 1, MAX_HEADS)
    kv_heads = _kv_heads(text, model_type, heads)
    if family not in registry.MLA_FAMILIES and heads % kv_heads:
        raise GB10Error(
            f"config keys {text.name('num_attention_heads')!r} ({heads}) and {text.name('num_key_value_heads')!r} ({kv_heads}) contradict each other: "
            "the first must be a multiple of the second."
        )
    return _Shape(layers, hidden, heads, kv_heads, _head_dim(text, hidden, heads))


def _kind_of(architecture: str, text: Config, assume_full_attention: bool, draft: bool) -> tuple[str, str, str]:
    """The language model's architecture, its layer rule (family) and what it is for; GB10Error for an architecture not known."""
    if architecture in registry.ENCODER_ONLY:
        return architecture, "encoder_only", "encoder_only"
    if architecture == "JinaEmbeddingsV5Model" and text.get("is_decoder") is False:
        return architecture, "encoder_only", "encoder_only"
    try:
        inner = _text_architecture(architecture, text)
    except GB10Error:
        if not draft and not (assume_full_attention and full_attention_is_safe(architecture, text.data)):
            raise
        inner = architecture
    family = registry.FAMILY_OF.get(inner, "uniform")
    if family == "whisper":
        return inner, family, "encoder_decoder"
    pooling = architecture in registry.CAUSAL_POOLING or architecture.endswith(("ForSequenceClassification", "RewardModel"))
    return inner, family, "pooling" if pooling else "generate"


def _made_of(architecture: str, text: Config, assume_full_attention: bool, draft: bool) -> tuple[str, str, str, str]:
    """The architecture that vLLM has a class of, and of that what ``_kind_of`` returns: what is made of one that generates pools."""
    base = architecture if draft else _implemented(architecture)
    inner, family, kind = _kind_of(base, text, assume_full_attention, draft)
    if base != architecture and kind == "generate" and not architecture.endswith(_GENERATING_ENDINGS):
        kind = "pooling"
    return base, inner, family, kind


def _types(text: Config, model_type: str, layers: int, window: int | None) -> tuple[str, ...] | None:
    """The type of each layer, where the configuration or its class tells; GB10Error for too few."""
    types = layer_types(text, model_type, layers, window)
    if types is not None and len(types) < layers:
        raise GB10Error(f"config key {text.name('layer_types')!r} has {len(types)} entries for {layers} layers: it must have one per layer.")
    return tuple(types) if types is not None else None


@dataclass(frozen=True)
class Served:
    """What a model is served as, and what lies beside its config.json, as far as it changes the facts about it."""

    runner: str = "auto"
    convert: str = "auto"
    disable_sliding_window: bool = False
    beside: Beside = field(default_factory=Beside)


def runner_of(served: Served, kind: str, architecture: str) -> str:
    """``generate`` or ``pooling`` (``config/model.py _get_runner_type``); GB10Error for a model that pools and shall generate."""
    if served.runner == "generate" and kind in ("pooling", "encoder_only"):
        raise GB10Error(f"{architecture} cannot be served with runner generate: it pools what it reads; leave runner out.")
    if served.runner != "auto":
        return served.runner
    if served.convert not in ("auto", "none") or "pooling" in served.beside or kind in ("pooling", "encoder_only"):
        return "pooling"
    if architecture in registry.FAMILY_OF or architecture in registry.WRAPPERS or not architecture.endswith(_POOLING_ENDINGS):
        return "generate"
    return "pooling"


def _limits(root: Config, text: Config, served: Served, runner: str, window: int | None) -> Limits:
    """What limits the context besides the configuration (``ModelConfig.get_and_verify_max_len``)."""
    positions = root.get("position_embedding_type") or text.defaults.get("position_embedding_type")
    return Limits(
        window=window if served.disable_sliding_window else None,
        tokenizer=served.beside.get("tokenizer_max_length", math.inf) if runner == "pooling" and positions == "absolute" else math.inf,
        sentence=(served.beside["sentence_max_length"] or 0) if "sentence_max_length" in served.beside else None,
    )


def model_facts(
    config: Mapping[str, Any], rules: Rules, *, assume_full_attention: bool = False, served: Served | None = None, draft: bool = False
) -> ModelFacts:
    """Checked facts of a config.json (or Mistral's params.json) object; GB10Error naming the key that is wrong.

    An architecture that is not known is refused; ``assume_full_attention`` reads it as plain attention instead, where that is at least what
    it keeps, and so does ``draft`` for every model that drafts for another one.
    """
    served = served or Served()
    root = Config(from_mistral_params(config) if is_mistral_params(config) else config)
    architecture = _architecture(root)
    text, nested = _text_object(root)
    base, text_architecture, family, kind = _made_of(architecture, text, assume_full_attention, draft)
    text_model_type = text.text("model_type") or root.text("model_type") or ""
    text = _with_defaults(text, nested, text_model_type)
    sized = family != "encoder_only" or text.has("num_hidden_layers") or bool(text.defaults)
    shape = _shape(text, family, text_model_type) if sized else _Shape(0, 0, 0, 0, 0)
    window = _window(text, text_model_type)
    types = _types(text, text_model_type, shape.layers, window) if family != "encoder_only" else None
    quant_method, kv_scheme = _quantization(root, text)
    runner = runner_of(served, kind, architecture)
    if not text.flag("is_causal", True) and family == "uniform":
        family, kind = "encoder_only", "encoder_only" if runner == "pooling" else kind
    multimodal = base in registry.WRAPPERS or base in registry.FLAT_MULTIMODAL
    length = model_length(text, text_model_type, rules, _limits(root, text, served, runner, window))
    return ModelFacts(
        architecture=architecture,
        text_architecture=text_architecture,
        family=family,
        text_model_type=text_model_type,
        kind=kind,
        runner=runner,
        pooling=tuple(served.beside.get("pooler") or (served.beside.get("pooling", ()) if runner == "pooling" else ())),
        multimodal=multimodal,
        auto_map=bool(root.get("auto_map")),
        num_layers=shape.layers,
        hidden_size=shape.hidden,
        vocab_size=text.optional("vocab_size", 0, MAX_VOCAB) or root.optional("vocab_size", 0, MAX_VOCAB) or 0,
        intermediate_size=_width(text, "intermediate_size"),
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=_tied(root, text, nested),
        dtype=_dtype(root, text),
        quant_method=quant_method,
        kv_cache_scheme=kv_scheme,
        derived_max_model_len=length.tokens,
        derived_max_model_len_key=length.key,
        original_max_model_len=length.default,
        num_experts=_count(text, "num_experts"),
        num_experts_per_token=_count(text, "num_experts_per_token"),
        moe_intermediate_size=_width(text, "moe_intermediate_size"),
        num_nextn_predict_layers=text.optional("num_nextn_predict_layers", 0, 1000) or 0,
        layer_types=types,
        sliding_window=None if served.disable_sliding_window else window,
        text=text,
        vision=_vision(root, multimodal),
        item_tokens=_item_tokens(root, text, base),
        warnings=_guess(architecture, family, text_architecture) + length.warnings,
    )


def _guess(architecture: str, family: str, text_architecture: str) -> tuple[str, ...]:
    """The warning about an architecture that was read as plain attention."""
    if family != "uniform" or text_architecture in registry.FAMILY_OF:
        return ()
    return (f"architecture {architecture} is not known here: every layer is counted as full attention, which may be far more than vLLM keeps",)


def prediction_heads(config: Mapping[str, Any]) -> int:
    """Layers of a checkpoint that predict further tokens (multi-token prediction); 0 where its configuration names none."""
    text, _nested = _text_object(Config(from_mistral_params(config) if is_mistral_params(config) else config))
    return text.optional("num_nextn_predict_layers", 0, 1000) or 0


def _item_tokens(root: Config, text: Config, architecture: str) -> int:
    """``engine/arg_utils.py _get_min_mm_batched_tokens`` of a model for which ``is_mm_prefix_lm`` holds."""
    if architecture in registry.PREFIX_LM_VIDEOS and text.get("use_bidirectional_attention") == "vision":
        return registry.VIDEO_FRAMES * registry.FRAME_TOKENS
    key, usual = registry.PREFIX_LM_SIDES.get(architecture, ("", 0))
    return (root.optional(key, 1, 1 << 12) or usual) ** 2 if key else 0


def _vision(root: Config, multimodal: bool) -> Mapping[str, int] | None:
    """Widths of the vision tower; what its object leaves out is Pixtral's. None for a model without one."""
    owner = root.child("thinker_config") or root
    stated = owner.get("vision_config")
    if not multimodal or (not isinstance(stated, Mapping) and owner.has("audio_config")):
        return None
    tower = stated if isinstance(stated, Mapping) else {}

    def number(default: int, *keys: str) -> int:
        found = (tower.get(key) for key in keys)
        return next((value for value in found if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 20), default)

    hidden = number(1024, "hidden_size", "embed_dim", "width")
    return {
        "hidden_size": hidden,
        "intermediate_size": number(4 * hidden, "intermediate_size"),
        "patch_size": number(14, "patch_size"),
        "image_size": number(0, "image_size"),
    }


def _width(text: Config, key: str) -> int | None:
    """A width; None where the configuration gives one per layer."""
    return None if isinstance(text.get(key), list) else text.optional(key, 0, 1 << 30)


def _count(text: Config, key: str) -> int:
    """A number of experts; some configurations give one per layer."""
    for name in ALIASES[key]:
        value = text.get(name)
        if isinstance(value, list):
            numbers = [entry for entry in value if isinstance(entry, int) and not isinstance(entry, bool)]
            return max(numbers, default=0)
        if value is not None:
            return text.check_integer(name, value, 0, 1_000_000)
    return 0


def _tied(root: Config, text: Config, nested: bool) -> bool:
    """Whether lm_head is the embedding."""
    owners = (root, text) if nested else (text,)
    for owner in owners:
        if owner.has("tie_word_embeddings"):
            return owner.flag("tie_word_embeddings")
    return bool(text.defaults.get("tie_word_embeddings", False))
