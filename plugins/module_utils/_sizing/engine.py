# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the engine is told and where it runs: the inputs of the KV arithmetic that are not in config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.rules import Rules, is_version, release_of, rules_for, tells_no_age
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import EngineFacts

NEWEST_RULES = "0.33.0"
PLATFORMS = ("gb10", "cpu")
RUNNERS = ("auto", "generate", "pooling")
CONVERTS = ("auto", "none", "embed", "classify", "reward")
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
KV_CACHE_DTYPES = (
    "auto",
    "bfloat16",
    "float16",
    "fp8",
    "fp8_e4m3",
    "fp8_e5m2",
    "fp8_inc",
    "fp8_ds_mla",
    "nvfp4",
    "fp8_per_token_head",
    "int8_per_token_head",
    "int4_per_token_head",
)


@dataclass(frozen=True)
class Engine:
    """One ``vllm serve`` command line, as far as it decides the KV cache.

    ``None`` means "vLLM's default for this platform, version and model". ``platform`` is ``gb10``
    (one integrated CUDA device of compute capability 12.1) or ``cpu`` (vLLM's CPU build: blocks of
    128 tokens, one batch in flight). ``cpu_amx`` and ``cpu_avx512_bf16`` describe that CPU: without AMX
    MLA has blocks of 16, with AVX512-bf16 recurrent states are float32.
    """

    vllm_version: str = NEWEST_RULES
    platform: str = "gb10"
    cuda_runtime: str = "13.0"
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    decode_context_parallel_size: int = 1
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    enable_prefix_caching: bool | None = None
    mamba_cache_mode: str | None = None
    mamba_cache_dtype: str = "auto"
    mamba_ssm_cache_dtype: str = "auto"
    async_scheduling: bool | None = None
    speculative_method: str | None = None
    num_speculative_tokens: int = 0
    block_size: int | None = None
    gdn_prefill_backend: str | None = None
    disable_hybrid_kv_cache_manager: bool = False
    runner: str = "auto"
    convert: str = "auto"
    disable_sliding_window: bool = False
    enable_chunked_prefill: bool | None = None
    performance_mode: str = "balanced"
    allow_long_max_model_len: bool = False  # VLLM_ALLOW_LONG_MAX_MODEL_LEN
    latent: bool = True  # latent attention is kept as such; not with VLLM_MLA_DISABLE
    kv_cache_dtype_skip_layers: tuple[str, ...] = ()  # numbers of layers, or sliding_window
    layer_partition: tuple[int, ...] | None = None  # VLLM_PP_LAYER_PARTITION: layers of each pipeline stage
    cpu_amx: bool = True
    cpu_avx512_bf16: bool = True

    @property
    def rules(self) -> Rules:
        """The rules of this engine's release."""
        return rules_for(self.vllm_version)

    @property
    def device(self) -> str:
        """The device's name in vLLM's log lines."""
        return "CPU" if self.platform == "cpu" else "GPU"


_COUNTS = {
    "tensor_parallel_size": (1, 1024),
    "pipeline_parallel_size": (1, 1024),
    "decode_context_parallel_size": (1, 1024),
    "max_num_batched_tokens": (1, 1 << 31),
    "max_num_seqs": (1, 1 << 31),
    "num_speculative_tokens": (0, 4096),
    "block_size": (1, 1 << 24),
}
_CHOICES = {
    "platform": PLATFORMS,
    "runner": RUNNERS,
    "convert": CONVERTS,
    "performance_mode": ("balanced", "interactivity", "throughput"),
    "dtype": ("auto", "half", "float", *DTYPE_BYTES),
    "mamba_cache_mode": (None, "none", "align"),
    "mamba_cache_dtype": ("auto", *DTYPE_BYTES),
    "mamba_ssm_cache_dtype": ("auto", *DTYPE_BYTES),
    "gdn_prefill_backend": (None, "auto", "triton", "flashinfer"),
    "kv_cache_dtype": KV_CACHE_DTYPES,
}


def check_engine(engine: Engine) -> Engine:
    """The engine itself; GB10Error naming the first setting that no vLLM accepts."""
    release_of(engine.vllm_version)
    for name, (low, high) in _COUNTS.items():
        value = getattr(engine, name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise GB10Error(f"{name} is {value!r}: give an integer from {low} to {high}.")
    for name, choices in _CHOICES.items():
        value = getattr(engine, name)
        if value not in choices:
            known = ", ".join(str(choice) for choice in choices if choice is not None)
            raise GB10Error(f"{name} is {value!r}: vLLM on {engine.platform} takes one of {known}.")
    if engine.tensor_parallel_size % engine.decode_context_parallel_size:
        raise GB10Error(
            f"decode_context_parallel_size {engine.decode_context_parallel_size} does not divide "
            f"tensor_parallel_size {engine.tensor_parallel_size}: choose a divisor."
        )
    packed = engine.kv_cache_dtype == "nvfp4" or engine.kv_cache_dtype.endswith("_per_token_head")
    if packed and not engine.rules.packed_kv_dtypes:
        raise GB10Error(f"kv_cache_dtype {engine.kv_cache_dtype} does not exist in vLLM {engine.vllm_version}: it came with 0.20.")
    if packed and engine.platform == "cpu":
        raise GB10Error(f"kv_cache_dtype {engine.kv_cache_dtype} is not supported by vLLM's CPU backend: use auto or fp8.")
    for flag in ("cpu_amx", "cpu_avx512_bf16", "disable_hybrid_kv_cache_manager"):
        if not isinstance(getattr(engine, flag), bool):
            raise GB10Error(f"{flag} is {getattr(engine, flag)!r}: give true or false.")
    return engine


def cpu_features(cpuinfo: str) -> EngineFacts:
    """``cpu_amx`` and ``cpu_avx512_bf16`` from the text of /proc/cpuinfo: what vLLM's CPU build decides blocks and states by."""
    flags: set[str] = set()
    for line in cpuinfo.splitlines():
        name, _colon, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags.update(value.split())
    return {"cpu_amx": "amx_tile" in flags, "cpu_avx512_bf16": "avx512_bf16" in flags}


def engine_identity(engine: EngineFacts) -> EngineFacts:
    """``{vllm_version, image_version, platform, cuda_runtime, source}``: a version ending in ``+cpu`` is vLLM's CPU build, anything else a GB10's.

    ``vllm_version`` is what was stated, which wins over ``image_version``, what the image calls itself.
    """
    stated = str(engine.get("vllm_version") or "").strip().removeprefix("v")
    found = str(engine.get("image_version") or "").strip().removeprefix("v")
    version, source = stated or found, "given" if stated or found else f"assumed: no version is known, the rules of {NEWEST_RULES} are used"
    if not stated and found and not tells_no_age(found) and not is_version(found):
        # such as "dev", which vLLM calls itself where its build recorded nothing
        version, source = NEWEST_RULES, f"assumed: the image calls its vLLM {found[:40]!r}, the rules of {NEWEST_RULES} are used"
    source, version = str(engine.get("source") or source), version or NEWEST_RULES
    on_cpu = any("cpu" in text.partition("+")[2] for text in (version, found))
    platform = engine.get("platform") or ("cpu" if on_cpu else "gb10")
    if platform not in ("gb10", "cpu"):
        raise GB10Error(f"engine.platform is {platform!r}; it can be gb10 or cpu")
    identity: EngineFacts = {"vllm_version": version, "platform": platform, "source": source}
    if found:
        identity["image_version"] = found
    if engine.get("cuda_runtime"):
        identity["cuda_runtime"] = str(engine["cuda_runtime"])
    if platform == "cpu" and "cpu_amx" in engine:
        identity["cpu_amx"] = engine["cpu_amx"]
    if platform == "cpu" and "cpu_avx512_bf16" in engine:
        identity["cpu_avx512_bf16"] = engine["cpu_avx512_bf16"]
    return identity


def engine_of(identity: EngineFacts, settings: Mapping[str, Any]) -> Engine:
    """The engine of a release and a box under a server's settings, which are fields of Engine."""
    extra = {key: value for key, value in identity.items() if key in ("cuda_runtime", "cpu_amx", "cpu_avx512_bf16")}
    return Engine(vllm_version=identity["vllm_version"], platform=identity["platform"], **{**extra, **settings})
