# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the value of an argument is of the kind that vLLM's parser reads for it, and that value as the parser would have it. Pure.

vLLM: ``engine/arg_utils.py optional_type``, ``utils/argparse_utils.py human_readable_int``. Which argument takes what beside its kind is recorded in the
tests' vllm-arguments.json.gz.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import JSON, LIST, NUMBER, TEXT, TRUTH, WHOLE
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import human_int, shown, words

# Numbers, lists and objects for which the word None stands for no value.
OPTIONAL = words(
    "allowed_media_domains api_key collect_detailed_traces cpu_distributed_timeout_seconds custom_histogram_buckets default_mm_loras diffusion_config "
    "distributed_timeout_seconds ec_transfer_config engram_config grpc_port kv_cache_memory_bytes kv_events_config kv_offloading_size "
    "kv_transfer_config logits_processors lora_modules lora_target_modules mamba_block_size max_cpu_loras max_log_len max_lora_cls_labels "
    "max_num_active_seqs max_num_queued_reqs max_num_queued_tokens max_num_scheduled_tokens max_parallel_loading_workers mm_processor_kwargs "
    "num_gpu_blocks_override numa_bind_cpus numa_bind_nodes pooler_config prefix_cache_retention_interval prefix_match_unit quantization_config "
    "reasoning_config served_model_name speculative_config video_pruning_rate watermark_config weight_transfer_config"
)
# Of these the ones that have another value where nobody says one.
BY_DEFAULT = words("prefix_cache_retention_interval")
# Whole numbers that may be written as 4k, and lists of whole numbers.
SUFFIXED = words("kv_cache_memory_bytes max_model_len max_num_batched_tokens max_num_queued_tokens max_num_scheduled_tokens safetensors_prefetch_block_size")
WHOLE_ITEMS = words("cudagraph_capture_sizes numa_bind_nodes")
# Lists of names without spaces: for vLLM several in one text would be one name, which nothing has.
NAMES = words(
    "allowed_media_domains cpu_offload_params kv_cache_dtype_skip_layers logits_processors lora_target_modules middleware offload_params "
    "sleep_preserve_parameter_names"
)
# Flags that stand before each of several values.
AGAIN = words("middleware")
# Objects that may also be lists, and some that may be plain text.
LISTS = words("allowed_headers allowed_methods allowed_origins custom_histogram_buckets")
OR_TEXT = words("model_loader_extra_config pt_load_map_location")
# What an adapter's object may say.
ADAPTER = words("name path base_model_name is_3d_lora_weight")
# Read by the plan itself, which has words of its own for them, such as auto.
PLANNED = words("gpu_memory_utilization kv_cache_memory_bytes max_model_len max_num_batched_tokens max_num_seqs port")
_WHOLE = re.compile(r"\s*[+-]?\d+(_\d+)*\s*", re.ASCII)
_ANOTHER = re.compile(r"\s[^\s/=]+=")
_FLAG = re.compile(r"-(?!\d+$|\d*\.\d+$)[^ ]+")
_MEANT = {WHOLE: "a whole number", NUMBER: "a number", TEXT: "one text", LIST: "a list", JSON: "an object: write a dictionary"}


def read(name: str, kind: str, value: Any) -> Any:
    """The value of an argument of this kind (``arguments.ARGUMENTS``, no truth value); None for one that says nothing, itself where it is of no such kind."""
    if kind in ("", TRUTH) or value is None:
        return value
    if value == "" and not name.startswith("spec_"):  # a template that gave nothing; for vLLM it is none, or no choice
        return None
    if value == "None" and name in OPTIONAL:
        return value if name in BY_DEFAULT else None
    made = _READERS[kind](name, value)
    return value if made is _WRONG else made


def refuse(name: str, kind: str, value: Any, who: str) -> None:
    """GB10Error for a value that vLLM's parser does not take: a text for a number, a list for a single value, a truth value where there is no switch."""
    if kind in ("", TRUTH) or (name in BY_DEFAULT and value == "None") or _READERS[kind](name, value) is not _WRONG:
        return
    meant = _MEANT[kind] + (" such as 4096 or 4k" if name in SUFFIXED else " of whole numbers, as [1, 2, 4]" if name in WHOLE_ITEMS else "")
    meant = "a list of entries such as `name=/path`, or of dictionaries with name and path" if name == "lora_modules" else meant
    level = ", or say optimization_level for a number from 0 to 3" if name == "compilation_config" else ""
    if kind == JSON and isinstance(value, str):
        raise GB10Error(f"{who}: args.{name} is not JSON: write it as a dictionary{level} (it is {shown(value)})")
    raise GB10Error(f"{who}: args.{name} is {shown(value)}{', as a switch is' if isinstance(value, bool) else ''}: vLLM takes {meant} there{level}")


_WRONG = object()


def _whole(name: str, value: Any) -> Any:
    if name in PLANNED:
        return _WRONG if isinstance(value, (bool, list, tuple, Mapping)) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return _WRONG
    if name in SUFFIXED:
        try:
            return human_int(value, name)
        except GB10Error:
            return _WRONG
    return value if _WHOLE.fullmatch(value) else _WRONG


def _number(name: str, value: Any) -> Any:
    if isinstance(value, (bool, list, tuple, Mapping)):
        return _WRONG
    try:
        return value if name in PLANNED or not math.isnan(float(value)) else _WRONG
    except (ValueError, OverflowError):
        return _WRONG


def _text(name: str, value: Any) -> Any:
    # argparse takes a word that begins with a dash for a flag.
    unfit = isinstance(value, (bool, list, tuple, Mapping)) or (isinstance(value, str) and _FLAG.fullmatch(value))
    return _WRONG if unfit else value


def _list(name: str, value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, Mapping) and name != "lora_modules"):
        return _WRONG
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if name in WHOLE_ITEMS and any(_whole("", item) is _WRONG for item in items):
        return _WRONG
    if name in NAMES and any(isinstance(item, str) and len(item.split()) > 1 for item in items):
        return _WRONG
    if name == "lora_modules" and not all(map(_is_adapter, items)):
        return _WRONG
    if any(isinstance(item, (list, tuple)) or (isinstance(item, str) and _FLAG.fullmatch(item)) for item in items):
        return _WRONG
    return value if items else None


def _is_adapter(item: Any) -> bool:
    """``name=path``, or an object of both (``entrypoints/launchers/cli_args.py LoRAParserAction``); a list of them in one text is none."""
    if isinstance(item, str) and "=" in item and "," not in item:
        return not _ANOTHER.search(item)
    if isinstance(item, str):
        try:
            item = json.loads(item) if item else {"name": "", "path": ""}
        except (ValueError, RecursionError):
            return False
    return isinstance(item, Mapping) and {"name", "path"} <= set(item) <= ADAPTER


def _object(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)) and name in LISTS:
        return json.dumps(list(value))
    if not isinstance(value, str):
        return value if isinstance(value, Mapping) else _WRONG
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value if name in OR_TEXT and not value.lstrip().startswith("{") else _WRONG
    if found is None and name in OPTIONAL:
        return None
    return found if isinstance(found, Mapping) else value if isinstance(found, list) and name in LISTS else _WRONG


_READERS = {WHOLE: _whole, NUMBER: _number, TEXT: _text, LIST: _list, JSON: _object}
