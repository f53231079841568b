# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vLLM's own words as numbers: every wording of 0.12 to 0.33, for GPUs and for the CPU build.

Pure: text in, plain values out. vLLM prints GiB rounded to two decimals (``utils/mem_utils.py format_gib``),
so bytes read from a log are exact to 0.005 GiB only; ``/metrics`` carries block and token counts unrounded.
The ``format_*`` functions write the same lines, so that ``parse(format(x)) == x`` can be tested.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.module_utils._io.lines import LONGEST_JSON, clean_lines
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import parse_version as version_tuple

GIB = 2**30

PHASES = ("created", "loading", "profiling", "compiling", "capturing", "serving", "ready", "failed", "stalled")


def _real(text: str) -> float:
    """A number; ValueError for so many digits that none is left, which vLLM never prints."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text[:20])
    return value


def gib_to_bytes(text: str) -> int:
    """Bytes of a printed GiB figure such as ``60.0`` or ``60.00``: the middle of what rounds to it."""
    return round(_real(text) * GIB)


def bytes_to_gib(value: int, padded: bool = False) -> str:
    """The figure as vLLM prints it: ``round(x, 2)`` since 0.14, ``%.2f`` (padded) up to 0.13."""
    return f"{value / GIB:.2f}" if padded else f"{round(value / GIB, 2)}"


def gib_range(text: str) -> tuple[int, int]:
    """Smallest and largest number of bytes that is printed as ``text`` (two decimals)."""
    hundredths = round(_real(text) * 100)
    return math.ceil((hundredths - 0.5) * GIB / 100), math.floor((hundredths + 0.5) * GIB / 100)


def _count(text: str) -> int:
    return int(text.replace(",", ""))


_G = r"-?\d+(?:\.\d+)?"


def _single(key: str, convert):
    return lambda match: {key: convert(match.group(1))}


def _model_loading(match: re.Match) -> dict:
    return {"weights_bytes": gib_to_bytes(match.group("gib")), "load_s": _real(match.group("seconds"))}


def _graphs(match: re.Match) -> dict:
    return {"graph_s": int(match.group(1)), "graph_bytes": gib_to_bytes(match.group(2))}


def _capacity(match: re.Match) -> dict:
    facts: dict[str, float] = {"kv_tokens": _count(match.group("tokens"))}
    if match.group("length"):
        facts["max_model_len"] = _count(match.group("length"))
        facts["concurrency"] = _real(match.group("times"))
    return facts


def _concurrency(match: re.Match) -> dict:
    return {"max_model_len": _count(match.group(1)), "concurrency": _real(match.group(2))}


def _auto_fit(match: re.Match) -> dict:
    return {
        "auto_fit": {
            "from_max_model_len": int(match.group(1)),
            "max_model_len": int(match.group(2)),
            "available_bytes": gib_to_bytes(match.group(3)),
        },
        "max_model_len": int(match.group(2)),
    }


def _auto_fit_full(match: re.Match) -> dict:
    fit = {"from_max_model_len": int(match.group(1)), "max_model_len": int(match.group(1))}
    if match.group(2):
        fit["available_bytes"] = gib_to_bytes(match.group(2))
    return {"auto_fit": fit, "max_model_len": int(match.group(1))}


def _kv_too_small(match: re.Match) -> dict:
    found = {
        "max_model_len": int(match.group("length")),
        "needed_bytes": gib_to_bytes(match.group("need")),
        "available_bytes": gib_to_bytes(match.group("have")),
    }
    if match.group("estimate"):
        found["estimated_max_model_len"] = int(match.group("estimate"))
    return {"kv_too_small": found}


def _kv_tokens_too_few(match: re.Match) -> dict:
    return {"kv_too_small": {"max_model_len": int(match.group(1)), "kv_tokens": int(match.group(2))}}


def _admission(match: re.Match) -> dict:
    return {
        "admission": {
            "free_bytes": gib_to_bytes(match.group("free")),
            "total_bytes": gib_to_bytes(match.group("total")),
            "utilization": _real(match.group("util")),
            "requested_bytes": gib_to_bytes(match.group("want")),
        }
    }


def _budget(match: re.Match) -> dict:
    facts = {
        "free_at_start_bytes": gib_to_bytes(match.group("free")),
        "total_bytes": gib_to_bytes(match.group("total")),
        "gpu_memory_utilization": _real(match.group("util")),
        "requested_bytes": gib_to_bytes(match.group("want")),
    }
    for key in ("consumed_bytes", "activation_bytes", "graph_bytes"):
        if match.group(key):
            facts[key] = gib_to_bytes(match.group(key))
    return facts


def _utilization_equivalent(match: re.Match) -> dict:
    return {
        "gpu_memory_utilization": _real(match.group(1)),
        "utilization_without_graphs": _real(match.group(2)),
    }


def _cpu_kv(match: re.Match) -> dict:
    return {"available_kv_bytes": gib_to_bytes(match.group(1)), "node_total_bytes": gib_to_bytes(match.group(2))}


def _reserved(match: re.Match) -> dict:
    return {"free_at_start_bytes": gib_to_bytes(match.group(1)), "available_kv_bytes": gib_to_bytes(match.group(2))}


def _init_engine(match: re.Match) -> dict:
    facts = {"init_s": _real(match.group(1))}
    if match.group(2):
        facts["compile_s"] = _real(match.group(2))
    return facts


def _flag(key: str):
    return lambda _match: {key: True}


# (pattern, what it gives). A later line wins over an earlier one: a start that was repeated in one log ends with its last.
_FACTS = tuple(
    (re.compile(pattern), give)
    for pattern, give in (
        (r"vLLM API server version v?(\S+)", _single("vllm_version", str)),
        (r"Initializing an? (?:V[01] )?LLM engine \(v([^)\s]+)\)", _single("vllm_version", str)),
        (r"█\s+version v?(\d\S*)", _single("vllm_version", str)),
        (r"Resolved architecture: (\w+)", _single("architecture", str)),
        (r"Using max model len (\d+)", _single("max_model_len", int)),
        (r"Loading weights took (\d+(?:\.\d+)?) seconds", _single("read_s", _real)),
        (rf"Model loading took (?P<gib>{_G}) (?:GiB(?: memory)?|GB) and (?P<seconds>\d+(?:\.\d+)?) seconds", _model_loading),
        (rf"Available KV cache memory: ({_G}) GiB", _single("available_kv_bytes", gib_to_bytes)),
        (rf"Initial free memory ({_G}) GiB, reserved ({_G}) GiB memory for KV Cache as specified", _reserved),
        (r'File "[^"]*", line \d+, in (_?allocate_kv_cache\w*|initialize_kv_cache\w*|init_kv_cache)\b', _flag("kv_not_allocated")),
        (rf"(?:Explicitly|Auto) set \(({_G})/({_G})\) GiB for KV cache on node \d+", _cpu_kv),
        (
            r"\b(?:GPU|CPU|XPU|TPU|HPU) KV cache size: (?P<tokens>[\d,]+) tokens"
            r"(?:, Maximum concurrency for (?P<length>[\d,]+) tokens per request: (?P<times>\d+(?:\.\d+)?)x)?",
            _capacity,
        ),
        (r"^Maximum concurrency for ([\d,]+) tokens per request: (\d+(?:\.\d+)?)x", _concurrency),
        (rf"Graph capturing finished in (\d+) secs, took ({_G}) GiB", _graphs),
        (rf"Estimated CUDA graph memory: ({_G}) GiB total", _single("graph_estimate_bytes", gib_to_bytes)),
        (
            r"The current --gpu-memory-utilization=([\d.]+) is equivalent to --gpu-memory-utilization=([\d.]+) ",
            _utilization_equivalent,
        ),
        (
            rf"Free memory on device (?:cuda:\d+ )?\((?P<free>{_G})/(?P<total>{_G}) GiB\) on startup\. "
            rf"Desired GPU memory utilization is \((?P<util>[\d.]+), (?P<want>{_G}) GiB\)\."
            rf"(?: Actual usage is (?P<consumed_bytes>{_G}) GiB for (?:consumed memory[^,]*|weight),"
            rf"(?: and)? (?P<activation_bytes>{_G}) GiB for peak activation"
            rf"(?:, {_G} GiB for non-torch memory)?"
            rf"(?:, and (?P<graph_bytes>{_G}) GiB for CUDAGraph memory)?)?",
            _budget,
        ),
        (rf"Auto-fit max_model_len: reduced from (\d+) to (\d+) to fit in available \S+(?: cache)? memory \(({_G}) GiB", _auto_fit),
        (
            rf"Auto-fit max_model_len: full model context length (\d+) fits in available [^(]*(?:\(({_G}) GiB)?",
            _auto_fit_full,
        ),
        (
            r"To serve at least one request with the models?'s max seq len \((?P<length>\d+)\), "
            rf"\(?(?P<need>{_G}) GiB KV cache is needed, which is larger than the available KV cache memory "
            rf"\((?P<have>{_G}) GiB\)(?:\. Based on the available memory, the estimated maximum model length is (?P<estimate>\d+))?",
            _kv_too_small,
        ),
        (
            r"The model's max seq len \((\d+)\) is larger than the maximum number of tokens that can be stored in KV cache \((\d+)\)",
            _kv_tokens_too_few,
        ),
        (r"(No available memory for the cache blocks)", _flag("no_kv_memory")),
        (r"(Cannot auto-fit max_model_len: not enough)", _flag("no_kv_memory")),
        (
            rf"Free memory on device (?:cuda:\d+ )?\((?P<free>{_G})/(?P<total>{_G}) GiB\) on startup is less than desired "
            rf"GPU memory utilization \((?P<util>[\d.]+), (?P<want>{_G}) GiB\)",
            _admission,
        ),
        (
            rf"Available memory on node \d+ \((?P<free>{_G})/(?P<total>{_G}) GiB\) on startup is less than desired "
            rf"CPU memory utilization \((?P<util>[\d.]+), (?P<want>{_G}) GiB\)",
            _admission,
        ),
        (r"Setting attention block size to (\d+) tokens", _single("attention_block_size", int)),
        (r"Using (\S+) GDN prefill kernel", _single("gdn_prefill_kernel", str)),
        (r"Using (\S+) attention backend", _single("attention_backend", str)),
        (r"Using (?:AttentionBackendEnum\.)?(\w+) backend\.?$", _single("attention_backend", str)),
        (r"Using (\w+) KV cache layout", _single("kv_cache_layout", str)),
        (r"init engine \(profile, create kv cache, warmup model\) took (\d+(?:\.\d+)?) s(?:econds)?(?: \(compilation: (\d+(?:\.\d+)?))?", _init_engine),
        (r"torch\.compile (?:takes|took) (\d+(?:\.\d+)?) s in total", _single("compile_s", _real)),
        (r"(Enforce eager set|Cudagraph is disabled under eager mode)", _flag("eager")),
    )
)


def parse_line(line: str) -> dict:
    """Facts in one cleaned line; empty when it says nothing we measure."""
    found: dict = {}
    for pattern, give in _FACTS:
        match = pattern.search(line)
        if match:
            try:
                found.update(give(match))
            except ValueError:
                continue  # digits that are no number, such as 1.2.3: not vLLM's own line
    return found


def parse_facts(text: str) -> dict:
    """Facts of a whole log. ``*_bytes`` are bytes (to 0.005 GiB), ``*_s`` seconds, the rest counts and names.

    With several workers the last one printed wins, which is right for one GPU and nearly so for more
    (vLLM itself takes the smallest and then prints the common capacity).
    """
    facts: dict = {}
    for line in clean_lines(text):
        facts.update(parse_line(line))
    return facts


# ---- /metrics ---------------------------------------------------------------------------------------------------

_CACHE_CONFIG = re.compile(r"^vllm:cache_config_info\{(.*)\}\s", re.MULTILINE)
_LABEL = re.compile(r'\b([A-Za-z_]\w{0,80})="((?:[^"\\]|\\.)*)"')
_LABELS_WANTED: dict[str, tuple[str, Callable[[str], float | str]]] = {
    "num_gpu_blocks": ("num_blocks", int),
    "num_gpu_blocks_override": ("blocks_override", int),
    "block_size": ("block_size", int),
    "kv_cache_size_tokens": ("kv_tokens", int),
    "kv_cache_max_concurrency": ("concurrency", _real),
    "kv_cache_memory_bytes": ("kv_cache_memory_bytes", int),
    "mamba_page_size_padded": ("mamba_page_bytes", int),
    "gpu_memory_utilization": ("gpu_memory_utilization", _real),
    "cache_dtype": ("kv_cache_dtype", str),
    "mamba_cache_mode": ("mamba_cache_mode", str),
}


def parse_cache_config(metrics: str) -> dict:
    """Facts in the labels of ``vllm:cache_config_info``: exact block, token and byte counts; absent where "None"."""
    match = _CACHE_CONFIG.search(metrics)
    if not match:
        return {}
    labels = dict(_LABEL.findall(match.group(1)[:LONGEST_JSON]))
    facts = {}
    for label, (key, convert) in _LABELS_WANTED.items():
        text = labels.get(label, "None")
        if text != "None":
            try:
                facts[key] = convert(text)
            except ValueError:
                continue
    if labels.get("enable_prefix_caching") in ("True", "False"):
        facts["prefix_caching"] = labels["enable_prefix_caching"] == "True"
    return facts


def format_cache_config(facts: dict) -> str:
    """A ``vllm:cache_config_info`` sample that carries ``facts``, "None" where one is absent."""
    labels = [f'{label}="{facts.get(key, "None")}"' for label, (key, _convert) in _LABELS_WANTED.items()]
    if "prefix_caching" in facts:
        labels.append(f'enable_prefix_caching="{facts["prefix_caching"]}"')
    return "vllm:cache_config_info{" + ",".join(labels) + "} 1.0\n"


# ---- the same lines, written ------------------------------------------------------------------------------------


def format_available(available_bytes: int, version: str = "0.33.0") -> str:
    """``v1/worker/gpu_worker.py determine_available_memory``."""
    return f"Available KV cache memory: {bytes_to_gib(available_bytes, version_tuple(version) < (0, 14))} GiB"


def format_capacity(tokens: int, max_model_len: int, concurrency: float, version: str = "0.33.0", device: str = "GPU") -> str:
    """``v1/core/kv_cache_utils.py``: one line since 0.28, two before; the device's name since 0.30."""
    number = version_tuple(version)
    name = device if number >= (0, 30) else "GPU"
    joint = ", " if number >= (0, 28) else "\n"
    return f"{name} KV cache size: {tokens:,} tokens{joint}Maximum concurrency for {max_model_len:,} tokens per request: {concurrency:.2f}x"


def format_model_loading(weights_bytes: int, seconds: float, version: str = "0.33.0") -> str:
    """``v1/worker/gpu_model_runner.py load_model``."""
    return f"Model loading took {bytes_to_gib(weights_bytes, version_tuple(version) < (0, 14))} GiB memory and {seconds:.6f} seconds"


def format_graphs(graph_bytes: int, seconds: int) -> str:
    """``v1/worker/gpu_model_runner.py capture_model``."""
    return f"Graph capturing finished in {seconds:.0f} secs, took {graph_bytes / GIB:.2f} GiB"


def format_auto_fit(original: int, fitted: int, available_bytes: int, device: str = "GPU") -> str:
    """``v1/core/kv_cache_utils.py _auto_fit_max_model_len`` (0.30 and later name the device)."""
    return f"Auto-fit max_model_len: reduced from {original} to {fitted} to fit in available KV cache memory ({bytes_to_gib(available_bytes)} GiB {device})"


def format_kv_too_small(max_model_len: int, needed_bytes: int, available_bytes: int, estimated: int = 0, version: str = "0.33.0") -> str:
    """``v1/core/kv_cache_utils.py _check_enough_kv_cache_memory``; an estimate of 0 hides that sentence."""
    number = version_tuple(version)
    padded = number < (0, 14)
    sentence = f"Based on the available memory, the estimated maximum model length is {estimated}. " if estimated else ""
    cpu_remark = " (which also controls CPU memory on the CPU backend)" if number >= (0, 22) else ""
    model = "model's" if number >= (0, 22) else "models's"
    return (
        f"To serve at least one request with the {model} max seq len ({max_model_len}), "
        f"({bytes_to_gib(needed_bytes, padded)} GiB KV cache is needed, which is larger than the available KV cache memory "
        f"({bytes_to_gib(available_bytes, padded)} GiB). {sentence}"
        f"Try increasing `gpu_memory_utilization`{cpu_remark} or decreasing `max_model_len` when initializing the engine. "
        "See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."
    )


def format_admission(free_bytes: int, total_bytes: int, utilization: float, requested_bytes: int, version: str = "0.33.0") -> str:
    """``v1/worker/utils.py request_memory``."""
    padded = version_tuple(version) < (0, 14)
    free, total, want = (bytes_to_gib(value, padded) for value in (free_bytes, total_bytes, requested_bytes))
    return (
        f"Free memory on device cuda:0 ({free}/{total} GiB) on startup is less than desired GPU memory utilization "
        f"({utilization}, {want} GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
    )


# ---- where a start stands ---------------------------------------------------------------------------------------

_SHARDS = re.compile(r"Loading safetensors (?:checkpoint shards|using \S+ loader):\s+(\d+)% Completed \| (\d+)/(\d+)")
_PT_SHARDS = re.compile(r"Loading (?:pt|tensors?) checkpoint shards:\s+(\d+)% Completed \| (\d+)/(\d+)")
_CAPTURE = re.compile(r"Capturing CUDA graphs?(?: \(([^)]*)\))?:\s+(\d+)%(?:\|[^|]*\|\s*(\d+)/(\d+))?")
_STEPS = tuple(
    (re.compile(pattern), phase, text)
    for pattern, phase, text in (
        (r"Initializing an? (?:V[01] )?LLM engine", "created", "starting the engine"),
        (r"Starting to load model", "loading", "loading the model"),
        (r"Loading drafter model", "loading", "loading the draft model"),
        (r"Loading weights took", "loading", "weights read, preparing them"),
        (r"Model loading took", "profiling", "measuring memory"),
        (r"for vLLM's torch\.compile|Dynamo bytecode transform|Compiling a graph|Cache the graph", "compiling", "compiling"),
        (r"torch\.compile (?:takes|took)", "profiling", "measuring memory"),
        (r"Profiling CUDA graph memory", "profiling", "measuring the memory of CUDA graphs"),
        (r"Available KV cache memory|KV cache size: [\d,]+ tokens|for KV cache on node", "profiling", "creating the KV cache"),
        (r"Graph capturing finished", "capturing", "CUDA graphs captured"),
        (r"init engine \(profile", "capturing", "engine initialised, starting the API"),
        (r"Starting vLLM (?:API )?server|Waiting for application startup", "serving", "starting the API"),
        (r"Application startup complete|Uvicorn running on", "serving", "the engine says it is up"),
    )
)
_STARTED = re.compile(r"Application startup complete|Uvicorn running on ")


def says_started(lines: list[str]) -> bool:
    """Whether the engine itself says that its API is up (one necessary condition of three)."""
    return any(_STARTED.search(line) for line in lines)


def where(lines: list[str]) -> tuple[str, str]:
    """(phase, progress in words) of a start, from its cleaned lines so far."""
    phase, text = "created", "starting the engine"
    for line in lines:
        shards = _SHARDS.search(line) or _PT_SHARDS.search(line)
        capture = _CAPTURE.search(line)
        if shards:
            phase, text = "loading", f"loading weights {shards.group(2)} of {shards.group(3)} shards"
        elif capture:
            what = f"{capture.group(3)} of {capture.group(4)}" if capture.group(4) else f"{capture.group(2)} %"
            kind = "FULL " if "FULL" in (capture.group(1) or "") else ""
            phase, text = "capturing", f"capturing {kind}CUDA graphs {what}"
        else:
            for pattern, step, words in _STEPS:
                if pattern.search(line):
                    phase, text = step, words
    return phase, text


# Lines that a hung engine goes on printing; they are no sign of progress.
_NOISE = re.compile(
    r"No available shared memory broadcast block found|Avg prompt throughput: 0\.0 tokens/s, Avg generation throughput: 0\.0 "
    r"|\"(?:GET|POST|HEAD) /(?:health|metrics|ping|version|load|v1/models)\b|Waiting for \d+ (?:local|remote)"
)


def is_progress(line: str) -> bool:
    """Whether a cleaned line shows that the start goes on."""
    return bool(line) and not _NOISE.search(line)
