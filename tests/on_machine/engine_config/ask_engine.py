# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks vLLM's own configuration code what it makes of models, arguments and environments, on a platform that answers as a GB10.

    ask_engine.py MODELS < work.json      {name: {"model": "directory below MODELS", "arguments": ["--flag", ...], "environment": {}}}

Runs inside the engine image. vLLM's parser, ``EngineArgs.create_engine_config`` and ``update_block_size_for_backend`` are its own. The platform
is its own ``CudaPlatformBase`` with the answers of a GB10 (compute capability 12.1, one integrated GPU whose memory NVML does not tell): the
CPU platform has other blocks, batches, dtypes and quantisations. What it takes for that is stood in for: the extension module of compiled
operators, which a configuration never calls, and NVML. One fork per question; prints one JSON object per line.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import types

os.environ.update(VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR")
COMPILED = ("vllm._C_stable_libtorch", "vllm._C", "vllm._moe_C", "vllm.vllm_flash_attn._vllm_fa2_C", "vllm.vllm_flash_attn._vllm_fa3_C")
for absent in COMPILED:
    sys.modules.setdefault(absent, types.ModuleType(absent))

import torch  # noqa: E402
import vllm.platforms  # noqa: E402

torch.version.cuda = "13.0"


class Operators:
    """vLLM's compiled operators: those that tell what the build can do say yes, no other is there."""

    def __getattr__(self, name: str):
        if "supports" in name:
            return lambda *_arguments: True
        raise AttributeError(name)


torch.ops._C = Operators()
from vllm.platforms.cuda import CudaPlatformBase  # noqa: E402
from vllm.platforms.interface import DeviceCapability  # noqa: E402


class GB10Platform(CudaPlatformBase):
    """What vLLM's CUDA platform says on a GB10."""

    @classmethod
    def get_device_capability(cls, device_id: int = 0) -> DeviceCapability:
        return DeviceCapability(12, 1)

    @classmethod
    def get_device_name(cls, device_id: int = 0) -> str:
        return "NVIDIA GB10"

    @classmethod
    def get_device_total_memory(cls, device_id: int = 0) -> int:
        raise RuntimeError("NVML: Not Supported")  # so does a GB10: its memory is the system's

    @classmethod
    def device_count(cls) -> int:
        return 1

    @classmethod
    def is_integrated_gpu(cls, device_id: int = 0) -> bool:
        return True

    @classmethod
    def num_compute_units(cls, device_id: int = 0) -> int:
        return 48

    @classmethod
    def is_fully_connected(cls, device_ids: list[int]) -> bool:
        return False

    @classmethod
    def get_device_numa_node(cls, device_id: int = 0) -> int | None:
        return None


vllm.platforms._current_platform = GB10Platform()
torch.cuda.device_count = lambda: 1

import vllm.model_executor.models.registry as registry  # noqa: E402
from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args  # noqa: E402
from vllm.usage.usage_lib import UsageContext  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402

# vLLM looks at a model class in a process of its own, so that CUDA is not begun in the parent; there is none to begin here.
registry._run_in_subprocess = lambda function: function()


PARSER = make_arg_parser(FlexibleArgumentParser())


def configuration(words: list[str]):
    parsed = PARSER.parse_args(words)
    if hasattr(parsed, "model_tag") and parsed.model_tag is not None:
        parsed.model = parsed.model_tag
    validate_parsed_serve_args(parsed)
    return AsyncEngineArgs.from_cli_args(parsed).create_engine_config(UsageContext.OPENAI_API_SERVER)


ATTENTION = {"attention", "full_attention", "sliding_attention", "chunked_attention", "hybrid"}
STATE = {"mamba", "linear_attention", "conv", "short_conv", "recurrent", "hybrid"}


def layers(config) -> dict[str, int]:
    """How many layers of each kind the configuration has once vLLM and its classes have filled it in.

    ``ModelConfig.get_num_layers_by_block_type`` would answer for most, but knows only one of the names that transformers gives a kind.
    """
    model = config.model_config
    number, text = model.get_total_num_hidden_layers(), model.hf_text_config
    if model.is_attention_free:
        return {"state": number}
    if not model.is_hybrid:
        return {"attention": number}
    latent = getattr(text, "linear_attn_config", None)
    if latent:
        return {"attention": len(latent["full_attn_layers"]), "state": len(latent["kda_layers"])}
    kinds = getattr(text, "layers_block_type", None) or getattr(text, "layer_types", None)
    if kinds is None:  # every layer has both
        return {"attention": number, "state": number}
    kinds = kinds[:number]
    return {"attention": sum(kind in ATTENTION for kind in kinds), "state": sum(kind in STATE for kind in kinds)}


def answer(words: list[str]) -> dict:
    config = configuration(words)
    model, cache, scheduler = config.model_config, config.cache_config, config.scheduler_config
    said = {
        "max_model_len": model.max_model_len,
        "kv_cache_dtype": cache.cache_dtype,
        "dtype": str(model.dtype).removeprefix("torch."),
        "block_size": block_size(config),
        "layers": layers(config),
        "kv_heads": model.get_num_kv_heads(config.parallel_config),
        "head_size": model.get_head_size(),
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "runner": model.runner_type,
        "quantization": model.quantization,
        "prefix_caching": bool(cache.enable_prefix_caching),
        "eager": bool(model.enforce_eager),
        "architecture": model.architecture,
        "speculation": speculation(config),
    }
    return said


def speculation(config) -> list | None:
    spec = config.speculative_config
    return None if spec is None else [spec.method, spec.num_speculative_tokens]


def block_size(config) -> int | None:
    """What the workers would settle on. Attention layers are not built here: the backend is asked for by the model's own shape."""
    from vllm.config import set_current_vllm_config
    from vllm.platforms import current_platform
    from vllm.v1.attention.selector import get_attn_backend

    model, cache = config.model_config, config.cache_config
    if hasattr(model.hf_text_config, "index_topk"):
        return None  # its only backend on a GB10 is FlashInfer's, which this image has not
    if model.is_attention_free or model.attn_type == "encoder_only" or not layers(config).get("attention"):
        return None
    with set_current_vllm_config(config):
        backend = get_attn_backend(model.get_head_size(), model.dtype, cache.cache_dtype, use_mla=model.use_mla)
        type(current_platform)._find_non_ssm_backends = classmethod(lambda cls, _config: [backend])
        type(current_platform).update_block_size_for_backend(config)
    return cache.block_size


def asked(question: dict, root: str) -> dict:
    os.environ.update(question.get("environment") or {})
    try:
        return answer([os.path.join(root, question["model"]), *question["arguments"]])
    except SystemExit as error:
        return {"refused": f"the command line: {error}"}
    except Exception as error:  # a refusal is an answer
        if os.environ.get("TRACE"):
            import traceback

            traceback.print_exc()
        return {"refused": f"{type(error).__name__}: {error}"}


def forked(question: dict, root: str) -> dict:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with open(writing, "w", encoding="utf-8") as out:
            json.dump(asked(question, root), out)
        sys.stderr.flush()
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as answered:
        text = answered.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"refused": "the process ended without an answer"}


def import_models(directories: set[str], root: str) -> None:
    """The modules of all model classes, once and before the forks: each takes seconds."""
    for directory in directories:
        with open(os.path.join(root, directory, "config.json"), encoding="utf-8") as config:
            names = json.load(config).get("architectures") or []
        for name in names:
            lazy = registry.ModelRegistry.models.get(name)
            with contextlib.suppress(Exception):  # one that cannot be imported is refused when it is asked for
                importlib.import_module(lazy.module_name)


def main() -> None:
    work = json.load(sys.stdin)
    import_models({question["model"] for question in work.values()}, sys.argv[1])
    for name, question in work.items():
        print(json.dumps({"name": name, **forked(question, sys.argv[1])}), flush=True)


if __name__ == "__main__":
    main()
