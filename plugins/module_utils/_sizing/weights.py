# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a checkpoint weighs once vLLM has loaded it, from its safetensors headers alone.

Pure functions: bytes in, facts out. Reading a directory is in ``model_dir``, reading a hub repository in ``hub``.

``parse_header`` checks one shard, ``summarise`` condenses all tensors into a small dict that travels between boxes,
and ``loaded_weights`` turns that dict into bytes at load for one engine (dtype, tensor parallel size, speculation).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights_shares
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import Stage
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.quantization import online

# The safetensors format refuses longer headers (safetensors/src/tensor.rs, MAX_HEADER_SIZE).
HEADER_LIMIT = 100_000_000

# Bits per element of every dtype the format knows.
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip

RUN_DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "float": 4}

MISTRAL_PATTERN = "consolidated*.safetensors"
MISTRAL_INDEX = "consolidated.safetensors.index.json"
HF_INDEX = "model.safetensors.index.json"

GROUPS = ("embedding", "attention", "mlp", "vision", "other")


class Tensor(NamedTuple):
    """One entry of a header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class Shard:
    """One safetensors file: its size and what its header declares."""

    name: str
    size_bytes: int
    header_sha256: str
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True)
class LoadedWeights:
    """Bytes torch holds after loading, what vLLM logs as ``Model loading took``."""

    total_bytes: int
    buffer_bytes: int
    params: int
    groups: dict[str, int] = field(default_factory=dict)
    corrections: tuple[dict[str, Any], ...] = ()


def header_length(prefix: bytes, size_bytes: int, where: str) -> int:
    """Length in bytes of the JSON header, from the first 8 bytes of a file of ``size_bytes``.

    GB10Error: file shorter than 8 bytes, header longer than the file or over the format's 100 MB limit.
    """
    if prefix[:4] == b"GGUF":
        raise GB10Error(f"{where} is a GGUF file whatever its name says; vLLM on a GB10 needs safetensors: download the safetensors version")
    if len(prefix) < 8:
        raise GB10Error(f"{where} has only {size_bytes} bytes, too few for a safetensors file: download it again (is it a Git LFS or half-finished download?)")
    length = int.from_bytes(prefix[:8], "little")
    if prefix[:7] == b"version":
        raise GB10Error(f"{where} is a Git LFS pointer, not the weights: run `git lfs pull` in the model directory or download the file")
    if length > HEADER_LIMIT:
        raise GB10Error(
            f"{where} declares a header of {length} bytes, over the {HEADER_LIMIT} bytes the safetensors format allows: the file is not"
            " safetensors or is damaged, download it again"
        )
    if 8 + length > size_bytes:
        raise GB10Error(f"{where} declares a header of {length} bytes but the file has only {size_bytes}: it is truncated, download it again")
    return length


def _whole(value: Any) -> bool:
    """Whether a JSON value is a whole number; ``true`` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def parse_header(blob: bytes, size_bytes: int, where: str) -> Shard:
    """Check one shard: the JSON parses, tensors fill the data part without gap or overlap, the file is complete.

    ``blob`` is the JSON header without its 8-byte length, ``size_bytes`` the size of the whole file, ``where`` its path for messages.
    """
    try:
        header = json.loads(blob)
    except (ValueError, RecursionError) as exc:
        raise GB10Error(f"the safetensors header of {where} is not valid JSON ({_short(exc)}): the file is damaged, download it again") from exc
    if not isinstance(header, dict):
        raise GB10Error(f"the safetensors header of {where} is not a JSON object: the file is damaged, download it again")
    placed = [_place(name, entry, where) for name, entry in header.items() if name != "__metadata__"]
    position = 0
    for begin, end in sorted((begin, begin + tensor.nbytes) for begin, tensor in placed):
        if begin != position:
            raise GB10Error(f"the tensors in {where} leave a gap or overlap at data offset {position}: the file is damaged, download it again")
        position = end
    expected = 8 + len(blob) + position
    if size_bytes != expected:
        problem = "truncated" if size_bytes < expected else "longer than its header says"
        raise GB10Error(
            f"{where} is {problem}: it has {size_bytes} bytes and its header asks for {expected}; download it again",
            size_bytes=size_bytes,
            expected_bytes=expected,
        )
    return Shard(where.rsplit("/", 1)[-1], size_bytes, hashlib.sha256(blob).hexdigest(), tuple(tensor for _begin, tensor in placed))


def _place(name: str, entry: Any, where: str) -> tuple[int, Tensor]:
    """One entry of a header, checked: the offset where the tensor begins, and the tensor."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        bits = DTYPE_BITS[dtype]
        if not all(_whole(n) and n >= 0 for n in shape) or not _whole(begin) or not _whole(end):
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise GB10Error(
            f"tensor {_short(name)} in {where} has no valid dtype, shape and data_offsets: the file is damaged or newer than"
            " this collection's safetensors reader, download it again"
        ) from None
    nbytes = (math.prod(shape) * bits + 7) // 8
    if end - begin != nbytes or begin < 0:
        raise GB10Error(
            f"tensor {_short(name)} in {where} occupies {end - begin} bytes where its shape and dtype need {nbytes}: the file is damaged, download it again"
        )
    return begin, Tensor(name, dtype, tuple(shape), nbytes)


def choose_files(names: Iterable[str], where: str, load_format: str = "auto") -> tuple[str, list[str], str]:
    """Which of a model's files vLLM would load: ``(layout, safetensors files, name of the index that may filter them)``.

    vLLM: ``model_executor/model_loader/default_loader.py _prepare_weights``. ``layout`` is ``mistral`` when
    ``consolidated*.safetensors`` exist (vLLM prefers them over HF files beside them) and ``hf`` otherwise;
    a ``load_format`` other than auto and mistral reads the HF files.
    """
    names = sorted(names)
    safetensors = [n for n in names if n.endswith(".safetensors")]
    consolidated = [n for n in safetensors if fnmatch.fnmatchcase(n, MISTRAL_PATTERN)]
    if consolidated and (load_format in ("auto", "mistral") or len(consolidated) == len(safetensors)):
        return "mistral", consolidated, MISTRAL_INDEX
    if safetensors:
        return "hf", safetensors, HF_INDEX
    gguf = [n for n in names if n.lower().endswith(".gguf")]
    if gguf:
        raise GB10Error(
            f"{where} holds GGUF weights ({gguf[0]}), which this collection does not size and vLLM serves only experimentally:"
            " use the model's safetensors version"
        )
    pickled = [n for n in names if n.endswith((".bin", ".pt", ".pth")) and n.startswith(("pytorch_model", "consolidated", "model"))]
    if pickled:
        raise GB10Error(
            f"{where} holds only pickled PyTorch weights ({pickled[0]}), whose sizes cannot be read without executing them:"
            " use or convert to the safetensors version"
        )
    raise GB10Error(f"{where} holds no *.safetensors file: the download is missing or not finished, fetch the weights")


def index_files(index: Any, where: str) -> dict[str, str]:
    """The ``weight_map`` of an index file (tensor name -> shard name), checked; ``where`` is the index's path."""
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise GB10Error(f"{where} has no weight_map that names the shards: download the index again")
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not shard or "/" in shard or "\x00" in shard or shard in (".", ".."):
            raise GB10Error(f"{where} puts tensor {_short(tensor)} into {_short(shard)}, which is not a file name: download the index again")
    return weight_map


def check_index(weight_map: Mapping[str, str], shards: Sequence[Shard], where: str) -> None:
    """Every tensor the index names is in the shard it names; GB10Error with the first that is not."""
    found = {(t.name, s.name) for s in shards for t in s.tensors}
    missing = [(t, f) for t, f in weight_map.items() if (t, f) not in found]
    if missing:
        tensor, shard = missing[0]
        raise GB10Error(
            f"{where}: the index places tensor {_short(tensor)} in {shard}, which does not hold it"
            + (f" ({len(missing)} such tensors)" if len(missing) > 1 else "")
            + ": index and shards are from different versions, download both again"
        )


def manifest_hash(entries: Iterable[tuple[str, int, str]]) -> str:
    """SHA-256 over ``(name, size, content or header hash)`` of a model's files, whatever their order."""
    digest = hashlib.sha256()
    for name, size, content in sorted(entries):
        digest.update(json.dumps([name, size, content]).encode())
    return digest.hexdigest()


# --- classification ---------------------------------------------------------------------------------------------------

# Which tensor is what, by its name; docs/extending.md says how to tell whether a new checkpoint needs more.
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_DIGITS = re.compile(r"\d+")
_VISION = re.compile(r"vision|visual|audio|multi_modal_projector|mm_projector|patch_merger|image_newline|sam_model|img_processor|speech|view_seperator")
_EMBED = re.compile(
    r"(?:embed_tokens|tok_embeddings|lm_head|wte|wpe|word_embeddings|token_type_embeddings|position_embeddings|embed_in|embed_out"
    r"|embed_positions|embeddings?|shared|proj_out)\.weight$|^output\.weight$"
)
_TABLE = re.compile(
    r"(?:embed_tokens|tok_embeddings|lm_head|wte|word_embeddings|token_type_embeddings|embed_in|embed_out|embeddings)\.weight$"
    r"|^output\.weight$"
)
_MLP = re.compile(
    r"expert|mlp|feed_forward|ffn|block_sparse_moe|moe|gate_up|gate_proj|up_proj|down_proj|fc1|fc2|c_fc|dense_h_to_4h"
    r"|dense_4h_to_h|intermediate\.dense|(?<!attention)\.output\.dense|router|\.gate\."
)
_EXPERT = re.compile(r"(?<!shared_)experts?[._]|block_sparse_moe\.experts")
_ATTENTION = re.compile(r"attn|attention|mamba|mixer|ssm|conv1d|indexer|kda|temporal_block|recurrent|q_proj|k_proj|v_proj|o_proj|qkv")
_NORM = re.compile(r"norm[^.]*\.(?:weight|bias)$|(?:^|\.)ln_?[\w]*\.(?:weight|bias)$")
_SCALE = re.compile(r"scale|zero_point|qzeros|g_idx|_amax|correction_bias|A_log$|\.D$|sinks$")
_UNUSED = re.compile(
    r"rotary_emb\.(?:inv_freq|cos_cached|sin_cached)$|masked_bias$|attention\.bias$|attn\.bias$|position_ids$|^cls\.|^talker\.|^token2wav\.|^code2wav\."
)
_MTP = re.compile(r"(?:^|\.)(?:mtp|mtp_block|nextn|eagle|medusa)(?:\.|_|$)")
_WHOLE = re.compile(r"q_a_proj|kv_a_proj|fused_qkv_a|indexer|router|\.gate\.weight$|layernorm|wq_a|wkv_a")
_KV_PROJ = re.compile(r"\.(?:k_proj|v_proj|wk|wv)\.")


def _classify(name: str) -> tuple[str, bool, bool, bool, str, bool]:
    """(group, vocabulary table, output head, keeps its dtype, how tensor parallelism treats it, never loaded) of a tensor name."""
    lower = name.lower()
    norm = bool(_NORM.search(lower))
    if _VISION.search(lower):
        group = "vision"
    elif _EMBED.search(lower) and not _ATTENTION.search(lower):
        group = "embedding"
    elif norm:
        group = "other"
    elif _MLP.search(lower):
        group = "mlp"
    elif _ATTENTION.search(lower):
        group = "attention"
    else:
        group = "other"
    table = group == "embedding" and bool(_TABLE.search(lower))
    keep = bool(_SCALE.search(name))
    if norm or _WHOLE.search(lower):
        split = "whole"
    elif _KV_PROJ.search(lower) and group == "attention":
        split = "kv"
    else:
        split = "split"
    return group, table, table and bool(weights_shares.HEAD.search(lower)), keep, split, bool(_UNUSED.search(name))


def summarise(tensors: Iterable[Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Condense all tensors of a checkpoint into the few classes that ``loaded_weights`` needs.

    Returns plain JSON: ``params`` and ``bytes`` in the files, ``groups`` (params and bytes by group), ``classes``
    (sums of tensors that are treated alike) and ``tables`` (vocabulary tables, whose rows get padded).
    """
    text = text_config(config)
    layers = _int(text, "num_hidden_layers", "n_layers", "n_layer", "num_layers")
    tied = _tied(config, text)
    cache: dict[str, tuple] = {}
    sums: dict[tuple, list[int]] = {}
    groups = {g: {"params": 0, "bytes": 0} for g in GROUPS}
    tables: list[dict[str, Any]] = []
    by_layer = weights_shares.ByLayer()
    total_params = total_bytes = 0
    for name, dtype, shape, nbytes in tensors:
        pattern = _DIGITS.sub("#", name)
        kind = cache.get(pattern)
        if kind is None:
            kind = cache[pattern] = _classify(name)
        group, table, head, keep, split, unused = kind
        # Two 4-bit values share a byte in checkpoints that store them as U8 (MXFP4, NVFP4) or eight an I32 (GPTQ, AWQ).
        elements = math.prod(shape) * _packing(dtype, pattern)
        skip = ""
        if unused:
            skip = "unused"
        elif head and tied:
            skip = "tied"
        elif group != "vision" and _is_mtp(name, layers):
            skip = "mtp"
        if not keep:
            total_params += elements
            groups[group]["params"] += elements
        total_bytes += nbytes
        groups[group]["bytes"] += nbytes
        if len(shape) < 2:
            split = "whole" if split == "split" and group != "attention" else split
        linear = len(shape) >= 2 and group in ("mlp", "attention") and split != "whole" and pattern.endswith(("weight", "proj"))
        # Scales and packed values too: one token reads those of the experts it is sent to, and no others.
        expert = group == "mlp" and split != "whole" and bool(_EXPERT.search(pattern))
        key = (group, dtype, split, keep, skip, linear, pattern.endswith("_blocks"), expert)
        entry = sums.setdefault(key, [0, 0])
        entry[0] += elements
        entry[1] += nbytes
        if group != "vision":
            by_layer.add(key, _LAYER.search(name), elements)
        if table and not skip and len(shape) == 2:
            tables.append({"name": name, "rows": shape[0], "width": shape[1], "dtype": dtype})
    return {
        "params": total_params,
        "bytes": total_bytes,
        "groups": groups,
        "classes": [
            {"group": k[0], "dtype": k[1], "split": k[2], "keep": k[3], "skip": k[4], "linear": k[5], "mxfp4": k[6], "params": v[0], "bytes": v[1]}
            | ({"expert": True} if k[7] else {})
            | by_layer.of(k)
            for k, v in sums.items()
        ],
        "tables": tables,
    }


def _packing(dtype: str, pattern: str) -> int:
    if dtype == "U8" and (pattern.endswith(("_blocks", "_packed", ".weight", "_proj"))):
        return 2
    if dtype == "I32" and pattern.endswith(("qweight", "weight_packed")):
        return 8
    return 1


def _is_mtp(name: str, layers: int | None) -> bool:
    if _MTP.search(name):
        return True
    if not layers or "encoder" in name or "decoder" in name:
        return False
    match = _LAYER.search(name)
    return match is not None and int(match.group(1)) >= layers


def _tied(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    """Whether input embedding and output head share memory (a head present in the files is then not loaded twice)."""
    for source in (text, config):
        for key in ("tie_word_embeddings", "tied_embeddings"):
            if isinstance(source.get(key), bool):
                return source[key]
    # transformers ties by default; Gemma and Whisper rely on that default, all others write the key.
    return str(text.get("model_type", "")).startswith(("gemma", "whisper", "cohere", "bert"))


# --- bytes at load ----------------------------------------------------------------------------------------------------


# What vLLM does to the files' bytes; loaded_weights adds those whose wording depends on the engine.
WHY = {
    "mtp": "next-token-prediction layers, not loaded without speculative decoding",
    "tied": "output head shares the input embedding's memory",
    "unused": "tensors vLLM computes itself or does not use",
    "repack": "repacking of 4-bit weights, about 0.2 %",
    "rope": "rotary position tables",
}


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a config (nested in multimodal ones)."""
    thinker = config.get("thinker_config")
    if isinstance(thinker, Mapping):
        config = thinker
    for key in ("text_config", "llm_config", "language_config"):
        nested = config.get(key)
        if isinstance(nested, Mapping) and nested:
            return nested
    return config


def run_dtype(config: Mapping[str, Any], requested: str = "auto") -> str:
    """The dtype vLLM computes in: ``auto`` follows the config, float32 becomes bfloat16.

    vLLM: ``config/model.py _resolve_auto_dtype``.
    """
    if requested in RUN_DTYPE_BYTES:
        return {"half": "float16", "float": "float32"}.get(requested, requested)
    for source in (config, text_config(config)):
        declared = source.get("dtype", source.get("torch_dtype"))
        if isinstance(declared, str) and declared.removeprefix("torch.") == "float16":
            return "float16"
    return "bfloat16"


def loaded_weights(
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    dtype: str = "auto",
    tensor_parallel_size: int = 1,
    stage: Stage | None = None,
    tower: str = "weights",
    speculative: bool = False,
    quantization: Any = None,
    quantization_config: Any = None,
    mxfp4_backend: str = "marlin",
    defaults: Mapping[str, Any] | None = None,
) -> LoadedWeights:
    """Bytes one rank holds after loading (``Model loading took``), from ``summarise``'s result.

    Corrects the sum of the files by what vLLM leaves out (next-token-prediction layers unless ``speculative``, a tied
    head, unused tensors), by the conversion of floating tensors to the run dtype, the vocabulary's padding to 64 rows,
    the rope tables, repacking of 4-bit weights (MXFP4 experts are padded for the Marlin kernel a GB10 uses) and by the
    split over ``tensor_parallel_size`` ranks and the pipeline stage this rank is (None: all layers). ``tower``: ``mm_encoder_tp_mode``,
    ``data`` copies what looks at images to every rank. ``quantization`` and ``quantization_config``: as asked for; what vLLM makes of 16-bit weights.
    ``defaults``: values of the model's configuration class for keys its file leaves out.
    """
    text = {**(defaults or {}), **text_config(config)}
    width = RUN_DTYPE_BYTES[run_dtype(config, dtype)]
    tp = max(1, tensor_parallel_size)
    kv_heads = _int(text, "num_key_value_heads", "n_kv_heads", "num_attention_heads", "n_heads") or 1
    factor = {"split": 1 / tp, "whole": 1.0, "kv": max(1, kv_heads // tp) / kv_heads if tp > 1 else 1.0}
    at_load = online("files" if _quantised(config, text) else None, quantization, quantization_config)
    by_group = dict.fromkeys(GROUPS, 0)
    changes: dict[str, int] = {}
    params = 0
    here = weights_shares.Here(stage, summary, _tied(config, text))
    for item in summary["classes"]:
        if item["skip"] and not (item["skip"] == "mtp" and speculative):
            _add(changes, item["skip"], -item["bytes"])
            continue
        made = at_load is not None and item["linear"] and (at_load.experts if item.get("expert") else at_load.linear)
        element = at_load.bits / 8 if at_load is not None and made else width
        size = _class_bytes(item, text, changes, element=element, mxfp4_backend=mxfp4_backend)
        share = here.share(item) * (1.0 if tower == "data" and item["group"] == "vision" else factor[item["split"]])
        by_group[item["group"]] += int(size * share)
        params += 0 if item["keep"] else int(item["params"] * share)
    multiple = 64 * tp // math.gcd(64, tp)
    for table in here.tables:
        element = width if table["dtype"] in ("F32", "F16", "BF16") else DTYPE_BITS.get(table["dtype"], 16) // 8
        pad = -table["rows"] % multiple * table["width"]
        _add(changes, "padding", pad * element)
        by_group["embedding"] += pad * element // tp
        params += pad // tp
    buffers = rope_bytes(config, width, defaults)
    _add(changes, "rope", buffers)
    why = {
        **WHY,
        "dtype": f"conversion to {f'{at_load.bits:g}-bit layers and ' if at_load else ''}{run_dtype(config, dtype)}",
        "mxfp4": f"MXFP4 experts padded for the {mxfp4_backend} kernel",
        "padding": f"vocabulary padded to a multiple of {multiple} rows",
    }
    corrections = tuple({"what": key, "bytes": value, "why": why[key]} for key, value in changes.items() if value)
    return LoadedWeights(sum(by_group.values()) + buffers, buffers, params, by_group, corrections)


def _quantised(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    """Whether the files hold weights that are quantised already."""
    declared = config.get("quantization_config") or text.get("quantization_config") or config.get("quantization")
    return isinstance(declared, Mapping) and bool(str(declared.get("quant_method", "")) or declared.get("quantization"))


def _add(changes: dict[str, int], what: str, size: int) -> None:
    if size:
        changes[what] = changes.get(what, 0) + size


def _class_bytes(item: Mapping[str, Any], text: Mapping[str, Any], changes: dict[str, int], *, element: float, mxfp4_backend: str) -> int:
    """Bytes at load of tensors that are treated alike; ``element``: bytes per value of floating ones. Notes in ``changes`` what differs."""
    size = item["bytes"]
    if item["dtype"] in ("F32", "F16", "BF16", "F64") and not item["keep"]:
        made = int(item["params"] * element)
        _add(changes, "dtype", made - size)
        size = made
    grown = 0
    if item["mxfp4"]:
        grown = _mxfp4_growth(text, size, mxfp4_backend)
        _add(changes, "mxfp4", grown)
    elif item["dtype"] in ("U8", "I32", "F4") and item["linear"]:
        grown = size // 500  # repacked 4-bit formats grow by about 0.2 %
        _add(changes, "repack", grown)
    return size + grown


def _mxfp4_growth(text: Mapping[str, Any], size: int, backend: str) -> int:
    """Bytes that padding adds to the packed experts and their scales.

    vLLM: ``fused_moe/oracle/mxfp4.py mxfp4_round_up_hidden_size_and_intermediate_size``: Marlin pads the hidden size to
    256 and the intermediate size to 128; Triton's packed rows on Hopper are a multiple of 64 bytes. Scales grow alike.
    """
    hidden = _int(text, "hidden_size") or 0
    inner = _int(text, "intermediate_size", "moe_intermediate_size") or 0
    if not hidden or not inner:
        return size // 500
    if backend == "marlin":
        hidden_padded, inner_padded = -(-hidden // 256) * 256, -(-inner // 128) * 128
        raw = 3 * hidden * inner
        padded = 3 * hidden_padded * inner_padded
    else:
        raw = 2 * inner * hidden + hidden * inner
        padded = 2 * inner * (-(-hidden // 128) * 128) + hidden * (-(-inner // 128) * 128)
    # Packed values are 16 of 17 bytes, scales the last one: both are padded, only the values are in `size`.
    return int(size * (padded / raw - 1) * 17 / 16)


# Families whose rope table is kept in float32, and how many tables they hold.
_ROPE_FLOAT32 = {"GptOss": 1, "DeepseekV32": 2, "DeepseekV4": 2, "GlmMoeDsa": 2}


def rope_bytes(config: Mapping[str, Any], width: int = 2, defaults: Mapping[str, Any] | None = None) -> int:
    """Bytes of the rotary tables: positions x rotary dimension x bytes, one per distinct rope.

    vLLM: ``model_executor/layers/rotary_embedding``. ``width`` is the run dtype's size in bytes.
    """
    text = {**(defaults or {}), **text_config(config)}
    positions = _int(text, "max_position_embeddings", "max_seq_len", "max_sequence_length", "n_positions")
    if positions is None and "n_layers" in text:
        positions = 128_000  # Mistral format without the key (vLLM: transformers_utils/configs/mistral.py)
    hidden = _int(text, "hidden_size", "dim", "n_embd", "d_model") or 0
    heads = _int(text, "num_attention_heads", "n_heads", "n_head") or 1
    head_dim = _int(text, "qk_rope_head_dim") or _int(text, "head_dim") or hidden // heads
    architectures = config.get("architectures")
    architecture = architectures[0] if isinstance(architectures, list) and architectures and isinstance(architectures[0], str) else ""
    if not positions or not head_dim or not _has_rope(text, architecture):
        return 0
    tables = []
    parameters = text.get("rope_parameters") or text.get("rope_scaling") or text.get("yarn") or {}
    if not isinstance(parameters, Mapping):
        parameters = {}
    nested = {k: v for k, v in parameters.items() if isinstance(v, Mapping)}
    if nested and any("attention" in k for k in nested):
        for kind, rope in nested.items():
            dim = (_int(text, "global_head_dim") or head_dim) if kind == "full_attention" else head_dim
            tables.append((_positions(positions, rope, "yarn" in text), dim if "global_head_dim" in text else _rotary(dim, text, rope)))
    else:
        tables.append((_positions(positions, parameters, "yarn" in text), _rotary(head_dim, text, parameters)))
        if text.get("rope_local_base_freq") or text.get("swa_rope_theta") or str(text.get("model_type", "")).startswith("gemma3"):
            tables.append((positions, _rotary(head_dim, text, {})))
    total = sum(p * d for p, d in tables)
    for prefix, copies in _ROPE_FLOAT32.items():
        if architecture.startswith(prefix):
            return total * 4 * copies
    return total * width


def _has_rope(text: Mapping[str, Any], architecture: str) -> bool:
    kind = str(text.get("position_embedding_type") or "")
    if kind in ("nope", "absolute", "alibi", "learned"):
        return False
    if text.get("qk_rope_head_dim") == 0 or text.get("mla_use_nope"):
        return False
    return not architecture.startswith(("NemotronH", "Jamba", "KimiLinear", "Whisper", "Bert", "Roberta", "XLMRoberta", "GPT2", "OPT", "Mamba", "Bloom"))


def _positions(positions: int, rope: Mapping[str, Any], mistral_yarn: bool) -> int:
    kind = str(rope.get("rope_type") or rope.get("type") or ("yarn" if mistral_yarn else ""))
    factor = rope.get("factor")
    factor = float(factor) if isinstance(factor, (int, float)) and not isinstance(factor, bool) and 0 < factor < 1e6 else 1.0
    original = _int(rope, "original_max_position_embeddings")
    if "yarn" in kind:
        return int((original or positions) * factor)
    if kind in ("linear", "dynamic"):
        return int(positions * factor)
    if kind in ("longrope", "su"):
        return positions + (original or 0)
    return positions


def _rotary(head_dim: int, text: Mapping[str, Any], rope: Mapping[str, Any]) -> int:
    explicit = _int(text, "rotary_dim")
    if explicit:
        return min(explicit, head_dim)
    for source in (rope, text):
        for key in ("partial_rotary_factor", "rotary_pct", "rope_percent"):
            share = source.get(key)
            if isinstance(share, (int, float)) and not isinstance(share, bool) and 0 < share <= 1:
                return int(head_dim * share)
    return head_dim


def _int(source: Mapping[str, Any], *keys: str) -> int | None:
    """The first of ``keys`` that holds a positive integer some model could have."""
    for key in keys:
        value = source.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 60:
            return value
    return None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
