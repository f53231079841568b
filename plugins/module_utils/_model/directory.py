# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a model directory: config, safetensors headers, tokenizer. Never reads weights themselves."""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import plain
from ansible_collections.gb10.vllm.plugins.module_utils._model import hub_cache
from ansible_collections.gb10.vllm.plugins.module_utils._model.beside import read_beside, with_quantization
from ansible_collections.gb10.vllm.plugins.module_utils._model.formats import as_draft, check_config, check_directory
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights

# No real config.json, index or tokenizer_config.json comes near these; more is a mistake or an attack.
CONFIG_LIMIT = 16 * 2**20
INDEX_LIMIT = 128 * 2**20

ADAPTER = "adapter_config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.tiktoken", "tiktoken.model")


def inspect_model(path: str, *, load_format: str = "auto", allow_missing: bool = False, part: bool = False) -> dict[str, Any]:
    """Everything the plan needs to know about the model in directory ``path``; GB10Error in one sentence for what is wrong.

    Reads config.json or params.json, the index, tokenizer_config.json and 8 bytes plus the header of each shard.
    With ``allow_missing`` a directory that does not exist gives ``present: False`` instead of an error. ``part``: it drafts for another model or is an
    adapter of one; of what has no configuration of its own only the files are told.
    """
    path = os.path.abspath(os.path.expanduser(path))
    try:
        with os.scandir(path) as entries:
            sizes = dict(_entry(path, e) for e in entries)
    except FileNotFoundError:
        cached = hub_cache.of_repository(path)
        if cached:
            raise GB10Error(f"{path} does not exist, but the cache of huggingface_hub there holds the model: name {cached} as `model`") from None
        if allow_missing:
            return {"present": False, "path": path}
        raise GB10Error(_unknown(path)) from None
    except NotADirectoryError:
        hint = "GGUF files are not supported, use the model's safetensors version" if path.lower().endswith(".gguf") else "name the directory it is in"
        raise GB10Error(f"the model path {path} is a file, not a directory: {hint}") from None
    except OSError as exc:
        raise GB10Error(_os_problem(path, exc)) from exc

    hub_cache.check_level(path, sizes)

    def read(name: str, limit: int) -> bytes:
        if isinstance(sizes.get(name), OSError):
            raise GB10Error(_os_problem(os.path.join(path, name), sizes[name]))
        return _read(os.path.join(path, name), limit)

    def open_shard(name: str) -> weights.Shard:
        return read_shard(os.path.join(path, name))

    if part and "config.json" not in sizes:
        return _files_alone(path, sizes, read)
    facts = describe(path, sizes, read, open_shard, load_format, part)
    others = [name for name in sizes if name.endswith(".safetensors") and not name.startswith("consolidated")]
    if load_format == "auto" and facts["layout"] == "mistral" and others and "config.json" in sizes:
        with contextlib.suppress(GB10Error):  # the other layout may be half there; vLLM reads it only where its user asks for it
            hf = describe(path, sizes, read, open_shard, "hf")
            facts["hf"] = {"config": hf["config"], "weights": hf["weights"]}
    return facts


def describe(
    where: str,
    sizes: Mapping[str, Any],
    read: Callable[[str, int], bytes],
    open_shard: Callable[[str], weights.Shard],
    load_format: str = "auto",
    part: bool = False,
) -> dict[str, Any]:
    """The facts of one model from its file names and sizes and two readers; a directory and a hub repository share it."""
    read = _once(read)
    if not part:
        check_directory(where, sizes, read)
    layout, files, index_name = weights.choose_files(sizes, where, load_format)
    config_name = "params.json" if layout == "mistral" and "params.json" in sizes else "config.json"
    config_blob, config = _configuration(where, config_name, sizes, read, part)
    weight_map: dict[str, str] = {}
    if index_name in sizes:
        weight_map = weights.index_files(load_json(read(index_name, INDEX_LIMIT), f"{where}/{index_name}"), f"{where}/{index_name}")
        files = _indexed(where, sizes, weight_map)
    elif layout == "hf":
        _check_numbering(where, files)
        files = sorted(files, key=lambda name: name != "model.safetensors")
    shards = [open_shard(name) for name in files]
    if weight_map:
        weights.check_index(weight_map, shards, where)
    tensors = _tensors(where, shards, index_name)
    summary = weights.summarise(tensors, config)
    summary["files"] = len(files)
    loaded = weights.loaded_weights(summary, config)
    summary.update(loaded_bytes=loaded.total_bytes, buffer_bytes=loaded.buffer_bytes, loaded_params=loaded.params, corrections=list(loaded.corrections))

    template = _chat_template(where, sizes, read, layout)
    headers = {s.name: s.header_sha256 for s in shards}
    known = {n: s for n, s in sizes.items() if isinstance(s, int)}
    entries = [(n, s, headers.get(n, "")) for n, s in known.items() if _belongs(n, headers)]
    entries.append((config_name, len(config_blob), hashlib.sha256(config_blob).hexdigest()))
    return {
        "present": True,
        "path": where,
        "config": config,
        "config_file": config_name,
        "layout": layout,
        "architecture": architecture(config),
        "weights": summary,
        "manifest": weights.manifest_hash(entries),
        "size_bytes": sum(s.size_bytes for s in shards),
        "tokenizer": any(name in sizes for name in TOKENIZERS),
        "chat_template": template,
        "kind": kind(config, sizes, template),
        "auto_map": sorted(config["auto_map"]) if isinstance(config.get("auto_map"), dict) else [],
        "code_elsewhere": _code_elsewhere(config, where, sizes, read),
        "files": [{"name": s.name, "bytes": s.size_bytes} for s in shards],
        "beside": read_beside(where, sizes, read),
        "names": sorted(name for name in known if name.endswith((".json", ".safetensors")) or name.startswith("tokenizer.model")),
    }


def _configuration(where: str, name: str, sizes: Mapping[str, Any], read: Callable[[str, int], bytes], part: bool) -> tuple[bytes, dict[str, Any]]:
    """The configuration's file and what it says, with what lies beside it."""
    if name not in sizes:
        raise GB10Error(f"{where} has no config.json (nor params.json with consolidated*.safetensors): it is not a complete model, download it again")
    blob = read(name, CONFIG_LIMIT)
    config = load_json(blob, f"{where}/{name}")
    if not isinstance(config, dict):
        raise GB10Error(f"{where}/{name} is not a JSON object: download it again")
    config = with_quantization(config, where, sizes, read)
    if part:
        return blob, as_draft(config)
    check_config(where, config)
    return blob, config


def _files_alone(where: str, sizes: Mapping[str, Any], read: Callable[[str, int], bytes]) -> dict[str, Any]:
    """The facts of an adapter: which files it has, and what its small ones say."""
    known = {name: size for name, size in sizes.items() if isinstance(size, int)}
    said = hashlib.sha256(read(ADAPTER, CONFIG_LIMIT)).hexdigest() if ADAPTER in sizes else ""
    entries = [(name, size, said if name == ADAPTER else "") for name, size in known.items() if name.startswith("adapter_")]
    manifest = weights.manifest_hash(entries)
    return {"present": True, "path": where, "config": {}, "architecture": "", "kind": "part", "manifest": manifest, "names": sorted(known)}


def _once(read: Callable[[str, int], bytes]) -> Callable[[str, int], bytes]:
    """``read`` that reads each file once: a hub answers from afar."""
    held: dict[str, bytes] = {}

    def reading(name: str, limit: int) -> bytes:
        if name not in held:
            held[name] = read(name, limit)
        return held[name]

    return reading


def _indexed(where: str, sizes: Mapping[str, Any], weight_map: Mapping[str, str]) -> list[str]:
    """The shards that the index names, all of which are there."""
    wanted = sorted(set(weight_map.values()))
    missing = [name for name in wanted if name not in sizes]
    if missing:
        raise GB10Error(
            f"{where} lacks {len(missing)} of the {len(wanted)} shards its index names, the first is {missing[0]}: finish the download",
            missing=missing,
        )
    return wanted


def _tensors(where: str, shards: list[weights.Shard], index_name: str) -> list[weights.Tensor]:
    """All tensors of the shards, none of which is in two of them.

    Without an index vLLM reads every file; beside a whole model.safetensors the same tensors in another precision are loaded over it.
    """
    seen: dict[str, str] = {}
    tensors = []
    for shard in shards:
        for tensor in shard.tensors:
            other = seen.setdefault(tensor.name, shard.name)
            if other == shard.name:
                tensors.append(tensor)
            elif other != "model.safetensors":
                raise GB10Error(
                    f"{where} holds tensor {tensor.name} twice, in {other} and {shard.name}: remove the files of the other version or add {index_name}"
                )
    if not tensors:
        raise GB10Error(f"the safetensors files of {where} hold no tensors at all: download them again")
    return tensors


def read_shard(path: str) -> weights.Shard:
    """Header of one safetensors file, checked against the file's size."""
    try:
        with open(path, "rb", buffering=0, opener=plain) as handle:
            size = os.fstat(handle.fileno()).st_size
            length = weights.header_length(handle.read(8), size, path)
            blob = bytearray()
            while len(blob) < length:
                part = handle.read(length - len(blob))
                if not part:
                    break
                blob += part
    except OSError as exc:
        raise GB10Error(_os_problem(path, exc)) from exc
    return weights.parse_header(bytes(blob), size, path)


def load_json(blob: bytes, where: str) -> Any:
    """JSON of a file named ``where``; GB10Error says in which line it breaks."""
    try:
        return json.loads(blob)
    except json.JSONDecodeError as exc:
        raise GB10Error(f"{where} is not JSON (line {exc.lineno}, column {exc.colno}: {exc.msg}): download it again or repair that line") from exc
    except (ValueError, RecursionError) as exc:
        raise GB10Error(f"{where} is not JSON text ({type(exc).__name__}): download it again") from exc


def architecture(config: Mapping[str, Any]) -> str:
    """The first architecture a config names, ``""`` when it names none (Mistral's params.json)."""
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


def kind(config: Mapping[str, Any], names: Mapping[str, Any], template: bool) -> str:
    """What the server can be asked for: chat, completion, embedding, classification or transcription."""
    name = architecture(config)
    if "Whisper" in name:
        return "transcription"
    if name.endswith(("ForSequenceClassification", "ForTokenClassification", "RewardModel")):
        return "classification"
    if "modules.json" in names or name.endswith(("BertModel", "RobertaModel", "EmbeddingModel", "ForEmbedding")) or name in ("BertForMaskedLM",):
        return "embedding"
    return "chat" if template else "completion"


def _chat_template(where: str, sizes: Mapping[str, Any], read: Callable[[str, int], bytes], layout: str) -> bool:
    if "chat_template.jinja" in sizes or "chat_template.json" in sizes:
        return True
    if "tekken.json" in sizes and layout == "mistral":
        return True  # mistral-common brings the template
    if "tokenizer_config.json" not in sizes:
        return False
    found = load_json(read("tokenizer_config.json", CONFIG_LIMIT), f"{where}/tokenizer_config.json")
    return isinstance(found, dict) and bool(found.get("chat_template"))


def _code_elsewhere(config: Mapping[str, Any], where: str, sizes: Mapping[str, Any], read: Callable[[str, int], bytes]) -> list[str]:
    """Repositories whose code the model's ``auto_map`` names, as in ``ORG/OTHER--file.Class``."""
    found = [config]
    for name in ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        content = load_json(read(name, CONFIG_LIMIT), f"{where}/{name}") if name in sizes else None
        found += [content] if isinstance(content, dict) else []
    values = [one for content in found if isinstance(content.get("auto_map"), Mapping) for one in content["auto_map"].values()]
    named = [one for value in values for one in (value if isinstance(value, list) else [value]) if isinstance(one, str) and "--" in one]
    return sorted({one.partition("--")[0] for one in named})


def _belongs(name: str, headers: Mapping[str, str]) -> bool:
    """Files whose change makes it another model: loaded shards, JSON beside them, tokenizers, templates, code."""
    if name in headers:
        return True
    return name.endswith((".json", ".model", ".txt", ".jinja", ".py", ".tiktoken")) and name not in ("config.json", "params.json")


def _check_numbering(where: str, files: list[str]) -> None:
    """Shards named ``…-00003-of-00010.safetensors`` without an index: all numbers must be there."""
    found: dict[str, set[int]] = {}
    for name in files:
        stem, _sep, total = name.removesuffix(".safetensors").rpartition("-of-")
        prefix, _dash, number = stem.rpartition("-")
        if number.isdigit() and total.isdigit() and len(total) <= 6:
            found.setdefault(f"{prefix}-*-of-{total}", set()).add(int(number))
    for pattern, numbers in found.items():
        total = pattern.rpartition("-")[2]
        missing = next((n for n in range(1, int(total) + 1) if n not in numbers), None)
        if missing is not None:
            name = pattern.replace("*", str(missing).zfill(len(total)))
            raise GB10Error(f"{where} lacks shard {name}.safetensors ({len(numbers)} of {int(total)} are there): finish the download")


def _entry(path: str, entry: os.DirEntry) -> tuple[str, Any]:
    """Name and size of a directory entry; the error instead of the size where there is none."""
    try:
        return entry.name, entry.stat().st_size
    except OSError as exc:
        return entry.name, exc


def _read(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb", opener=plain) as handle:
            blob = handle.read(limit + 1)
    except OSError as exc:
        raise GB10Error(_os_problem(path, exc)) from exc
    if len(blob) > limit:
        raise GB10Error(f"{path} is larger than {limit >> 20} MiB, which no real model needs: download it again")
    return blob


def _unknown(path: str) -> str:
    parent, name = os.path.split(path)
    try:
        siblings = [e for e in os.listdir(parent) if os.path.isdir(os.path.join(parent, e))]
    except OSError:
        if not os.path.isdir(parent):
            return f"the model directory {path} does not exist (nor does {parent}): check the path or download the model there"
        siblings = []
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    if not near:
        lower = {s.lower(): s for s in siblings}
        near = [s for key, s in lower.items() if name.lower() in key or key in name.lower()][:1]
    if near:
        return f"the model directory {path} does not exist; did you mean {os.path.join(parent, near[0])}?"
    return f"the model directory {path} does not exist: check the name or download the model there"


def _os_problem(path: str, exc: OSError) -> str:
    if exc.errno == errno.ELOOP:
        return f"{path} is a symbolic link that leads back to itself: point it at the model's files"
    if exc.errno == errno.EACCES:
        return f"{path} cannot be read by this user (permission denied): give read permission or run with become"
    if exc.errno == errno.ENOENT:
        return f"{path} is a link to a file that does not exist: finish the download or repair the link"
    if exc.errno == errno.EISDIR:
        return f"{path} is a directory where a file is expected: remove it and download the file"
    return f"{path} cannot be read ({exc.strerror or type(exc).__name__}): check the disk or network file system it is on"
