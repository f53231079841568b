# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which safe change, if any, should the next try of a failed start make? A pure decision.

A repair only changes arguments or the environment of the one container that failed, or just waits for memory.
Whatever touches the host, files or what clients see (port, key, model) stays a proposal in the diagnosis.

What is changed are inputs of the plan (what is kept back, batch, sequences, context, KV dtype, graphs), which is then computed again: arguments,
records and predictions stay of one piece. ``gpu_memory_utilization`` is only the gate of a start whose KV cache is given in bytes, so lowering it
cures no lack of memory.
"""

from __future__ import annotations

import json
import math
import re

GIB = 2**30
MOST_REPAIRS = 2
FLOOR = "floor"
"""The id of the repair of a server that answers and leaves too little to the operating system."""
OS_FLOOR_BYTES = 12 * GIB
MOST_UTILIZATION = 0.85
LEAST_CONTEXT = 1024
LEAST_BATCH = 2048
GONE_FLAGS = ("--disable-log-requests", "--use-v2-block-manager", "--swap-space", "--disable-async-output-proc", "--num-scheduler-steps")
"""Flags of older versions whose absence changes no result."""
KEYS = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_dtype", "load_format")
BESIDE_BYTES = 3 * GIB
"""What a server takes beside weights and KV cache, where nothing better is known."""
_AMOUNT = re.compile(r"([\d.]+) ([KMG])iB")
OTHER_LOADERS = ("fastsafetensors", "instanttensor", "runai_streamer")


def decide(diagnosis: dict, facts: dict, wanted: dict, history: list[dict]) -> dict | None:
    """The repair for one failed start, or None.

    :param diagnosis: from ``diagnosis.diagnose``; ``phase`` may say ``stalled``.
    :param facts: what the engine said (``engine_log.parse_facts``), and ``memory_available_bytes`` of the box.
    :param wanted: what the server was started with: the ``command`` of its container or one of the plan's servers (its ``flags`` are
        read), or ``max_model_len``, ``max_num_seqs``, ``max_num_batched_tokens``, ``gpu_memory_utilization``, ``kv_cache_dtype``,
        ``load_format``, ``cuda_graphs`` (auto, always, never) and ``args``; further ``os_floor_bytes`` and ``model_files``.
    :param history: repairs already made to this start, oldest first.
    :returns: ``{id, set, reason, wait_for_memory}``. ``set`` holds new values for the keys of ``wanted``, and maybe
        ``env`` (name -> value, None removes it), ``args`` (flag -> value, None removes it) and ``container`` (docker settings).
        At most two per start, and never the same change twice in a row.
    """
    if len(history) >= MOST_REPAIRS:
        return None
    wanted = settings(wanted)
    if not diagnosis.get("found"):
        return _unstick(diagnosis, wanted, history)
    auto = diagnosis.get("auto") or {}
    if auto.get("level") != "safe":
        return None
    rule = RULES.get(auto.get("action", ""))
    if rule is None:
        return None
    for change, reason in rule(diagnosis, facts, wanted):
        repair = {"id": diagnosis["id"], "set": change, "reason": reason, "wait_for_memory": True}
        if not _tried(repair, history):
            return repair
    return None


def keep_floor(memory: dict, wanted: dict, history: list[dict]) -> dict | None:
    """The repair of a server that answers and leaves less than the floor: its KV cache gets smaller by what is missing, once; else None.

    :param memory: what the box saw of the start (``facts["memory"]`` of ``server_ready``, with ``missing_bytes``).
    :param wanted: with ``kv_cache_bytes`` as planned and ``os_floor_bytes``.
    """
    missing, kv = int(memory.get("missing_bytes") or 0), int(wanted.get("kv_cache_bytes") or 0)
    if not missing or kv <= missing or len(history) >= MOST_REPAIRS or any(past.get("id") == FLOOR for past in history):
        return None
    floor = int(wanted.get("os_floor_bytes") or OS_FLOOR_BYTES)
    reason = (
        f"{(floor - missing) / GIB:.2f} GiB of the {floor / GIB:.2f} GiB for the operating system were left, so the KV cache gets "
        f"{missing / GIB:.2f} GiB less than {kv / GIB:.2f} GiB"
    )
    return {"id": FLOOR, "set": {"kv_cache_most_bytes": kv - missing}, "reason": reason, "wait_for_memory": True}


def settings(wanted: dict) -> dict:
    """``wanted`` with what only its ``flags`` or ``command`` say: ``--max-num-seqs 4`` as ``max_num_seqs``, the rest under ``args``."""
    known = dict(wanted)
    args = {_flag(name): value for name, value in (wanted.get("args") or {}).items()}
    for entry in [*(wanted.get("flags") or []), *flags_of(wanted.get("command") or [])]:
        key = entry["flag"].removeprefix("--").replace("-", "_")
        if key == "enforce_eager":
            known["cuda_graphs"] = "never"
        elif key in KEYS:
            known.setdefault(key, entry["value"])
        else:
            args.setdefault(entry["flag"], entry["value"])
    known["args"] = args
    return known


def flags_of(command: list[str]) -> list[dict]:
    """The flags of a container's command (``... vllm serve MODEL --flag value ...``), as a plan has them: [{flag, value}].

    The command is what really ran: a server whose plan is not known any more (kept, put back, of an earlier release) still has it.
    """
    flags: list[dict] = []
    for word in command[command.index("serve") + 2 :] if "serve" in command else []:
        if word.startswith("--"):
            flags.append({"flag": word, "values": []})
        elif flags:
            flags[-1]["values"].append(word)
    return [{"flag": one["flag"], "value": _value(one["values"])} for one in flags]


def _value(words: list[str]) -> object:
    """A bare flag is true, one word a number where it reads as one, several words a list."""
    if len(words) != 1:
        return words or True
    for kind in (int, float):
        try:
            return kind(words[0])
        except ValueError:
            continue
    return words[0]


def _flag(name: str) -> str:
    return "--" + str(name).lstrip("-").replace("_", "-")


def _tried(repair: dict, history: list[dict]) -> bool:
    """A change of settings is never made twice in one start, waiting is not done twice in a row."""
    same = [past for past in history if past.get("id") == repair["id"] and past.get("set") == repair["set"]]
    if repair["set"]:
        return bool(same)
    return bool(same) and history[-1] == same[-1]


def _unstick(diagnosis: dict, wanted: dict, history: list[dict]) -> dict | None:
    """A start that hangs while an optional loader reads weights is tried with the default one."""
    loader = wanted.get("load_format")
    if diagnosis.get("phase") == "stalled" and diagnosis.get("stalled_in") == "loading" and loader in OTHER_LOADERS:
        reason = f"loading with {loader} showed no sign of life; the default loader is slower but waits for nothing else"
        repair = {"id": "stalled-loading", "set": {"load_format": "auto"}, "reason": reason, "wait_for_memory": True}
        return None if _tried(repair, history) else repair
    return None


def round_context(tokens: int) -> int:
    """A whole number of 1024 tokens that fits (memory moves a little from start to start), or the exact figure below 2048."""
    return tokens // 1024 * 1024 if tokens >= 2048 else tokens


def _fit_context(diagnosis, facts, wanted):
    values = diagnosis.get("values", {})
    told = facts.get("kv_too_small", {})
    fits = values.get("est_max_len") or values.get("derived") or values.get("kv_tokens") or told.get("estimated_max_model_len") or told.get("kv_tokens")
    if not fits:
        return
    fits = int(fits) if values.get("derived") else round_context(int(fits))
    now = wanted.get("max_model_len")
    if fits < LEAST_CONTEXT or (_is_number(now) and fits >= int(now)):
        return
    limit = "the model's own length" if values.get("derived") else "what the engine says fits into its KV cache"
    yield {"max_model_len": fits}, f"max_model_len {now or '(the model default)'} -> {fits}: {limit}"


def _cap_sequences(diagnosis, _facts, wanted):
    values = diagnosis.get("values", {})
    now = int(wanted["max_num_seqs"]) if _is_number(wanted.get("max_num_seqs")) else int(values.get("n") or values.get("seqs") or 256)
    most = min(64, int(values.get("blocks") or 64))
    fewer = most if now > most else max(1, now // 2)
    if fewer < now:
        yield {"max_num_seqs": fewer}, f"max_num_seqs {now} -> {fewer}: fewer requests at once need less memory while warming up"


def _lower_batch(diagnosis, facts, wanted):
    if facts.get("kv_not_allocated"):
        yield from _reserve(diagnosis, facts, wanted)  # the batch had not been made yet: the cache itself was too large
        return
    now = wanted.get("max_num_batched_tokens")
    fewer = max(LEAST_BATCH, int(now) // 2) if _is_number(now) else None
    if fewer and fewer < int(now):
        yield {"max_num_batched_tokens": fewer}, f"max_num_batched_tokens {now} -> {fewer}: the activation peak follows it"
    yield from _reserve(diagnosis, facts, wanted)


def _reserve(diagnosis, facts, wanted):
    """Keep more memory back, and so fewer bytes of KV cache: those are what vLLM takes, whatever share it was told that it may use."""
    kv = _pinned_bytes(wanted)
    step = _lacking_bytes(diagnosis, facts, kv)
    if kv <= step:
        return
    now = float(wanted["reserve_gib"]) if _is_number(wanted.get("reserve_gib")) else 0.0
    change = {"reserve_gib": now + step / GIB, "kv_cache_most_bytes": kv - step}
    yield (
        change,
        f"{step / GIB:g} GiB more are kept back and the KV cache gets {(kv - step) / GIB:.2f} instead of {kv / GIB:.2f} GiB: the box ran out of memory",
    )


def _lacking_bytes(diagnosis, facts, kv):
    """How much too much was asked for, in halves of a GiB: what the engine says it lacked, and half a GiB more; one at least, a quarter of the cache at most
    where only that is known."""
    values = diagnosis.get("values", {})
    asked = _AMOUNT.fullmatch(str(values.get("want") or values.get("want2") or ""))
    lacked = float(asked.group(1)) * {"K": 2**10, "M": 2**20, "G": GIB}[asked.group(2)] if asked else 0.0
    lacked = min(lacked, kv / 4) + GIB / 2
    free, weights = facts.get("free_at_start_bytes"), facts.get("weights_bytes")
    if facts.get("kv_not_allocated") and free and weights:
        lacked = max(lacked, kv + weights - free + BESIDE_BYTES)
    return max(GIB, math.ceil(lacked * 2 / GIB) * GIB // 2)


def _pinned_bytes(wanted):
    """The bytes of the KV cache that the server was started with; 0 where vLLM was to work them out from its share of the memory."""
    kv = wanted["args"].get("--kv-cache-memory-bytes") or wanted.get("kv_cache_bytes")
    return int(kv) if _is_number(kv) else 0


def _lighten(diagnosis, facts, wanted):
    """A step that took too long: fewer requests in it, then fewer tokens."""
    now = wanted.get("max_num_seqs")
    fewer = min(64, int(now) // 2) if _is_number(now) else 0
    if fewer >= 1:
        yield {"max_num_seqs": fewer}, f"max_num_seqs {now} -> {fewer}: a step with fewer requests ends sooner"
    batch = wanted.get("max_num_batched_tokens")
    smaller = max(LEAST_BATCH, int(batch) // 2) if _is_number(batch) else 0
    if smaller and smaller < int(batch):
        yield {"max_num_batched_tokens": smaller}, f"max_num_batched_tokens {batch} -> {smaller}: a smaller step ends sooner"


def _raise_utilization(_diagnosis, facts, wanted):
    total = facts.get("total_bytes")
    free = facts.get("memory_available_bytes")
    if not (_is_number(wanted.get("gpu_memory_utilization")) and total and free):
        return
    now = float(wanted["gpu_memory_utilization"])
    higher = min(MOST_UTILIZATION, round(now + 0.05, 2))
    if higher > now and free - higher * total >= int(wanted.get("os_floor_bytes") or OS_FLOOR_BYTES):
        yield {"gpu_memory_utilization": higher}, f"gpu_memory_utilization {now} -> {higher}: nothing was left for the KV cache"


def _free_memory(diagnosis, facts, wanted):
    yield {}, "another process still held memory when the engine looked; wait until it has come back and start again"
    told = facts.get("admission")
    now, kv = wanted.get("gpu_memory_utilization"), _pinned_bytes(wanted)
    if told and kv:
        # The share is only the gate of a start: what has to go is what it would let in.
        short = max(0, told["requested_bytes"] - told["free_bytes"]) + GIB
        if kv > short:
            change = {"kv_cache_most_bytes": kv - short, **({"gpu_memory_utilization": "auto"} if wanted.get("utilization_stated") else {})}
            yield change, f"the KV cache gets {short / GIB:.1f} GiB less than {kv / GIB:.1f} GiB: only {told['free_bytes'] / GIB:.1f} GiB were free"
    elif told and _is_number(now):
        lower = math.floor((told["free_bytes"] - 4 * GIB) / told["total_bytes"] * 100) / 100
        if 0.3 <= lower < float(now):
            reason = f"gpu_memory_utilization {now} -> {lower}: {told['free_bytes'] / GIB:.1f} GiB were free, 4 GiB of them stay free"
            yield {"gpu_memory_utilization": lower}, reason


def _wait(_diagnosis, _facts, _wanted):
    yield {}, "memory moved while the engine measured it; wait until it is stable and start again"


def _graphs(_diagnosis, _facts, wanted):
    mode = str(wanted.get("cuda_graphs") or "auto")
    if mode != "auto":
        return  # off already, or the user insists on them
    compilation = wanted["args"].get("--compilation-config") or {}
    if isinstance(compilation, str):
        try:
            compilation = json.loads(compilation)
        except ValueError:
            return  # a shorthand of the user's own, better left alone
    if compilation.get("cudagraph_mode") != "PIECEWISE":
        change = {"args": {"--compilation-config": {**compilation, "cudagraph_mode": "PIECEWISE"}}}
        yield change, "capturing CUDA graphs failed: capture only the piecewise ones, which keep most of the speed"
    yield {"cuda_graphs": "never"}, "capturing CUDA graphs failed again: run without them, which decodes slower"


def _default_loader(diagnosis, _facts, wanted):
    now = wanted.get("load_format")
    missing = diagnosis.get("values", {}).get("m") if diagnosis.get("id") == "KB-189" else None
    if missing is not None and missing not in OTHER_LOADERS:
        return  # the package that is missing is not a loader
    if now not in (None, "auto"):
        yield {"load_format": "auto"}, f"load_format {now} -> auto: this model or image does not load with it"


def _mistral_format(diagnosis, facts, wanted):
    """Read a Mistral model in the one of its two layouts that is complete; ``wanted["model_files"]`` lists its files."""
    if wanted.get("load_format") == "mistral":
        yield from _default_loader(diagnosis, facts, wanted)
        return
    files = wanted.get("model_files") or []
    weights = any(name.startswith("consolidated") and name.endswith(".safetensors") for name in files)
    if weights and "params.json" in files and "tekken.json" in files:
        change = {"load_format": "mistral", "args": {"--tokenizer-mode": "mistral", "--config-format": "mistral"}}
        yield change, "the model is complete in Mistral's own layout, so read that one"


def _attention(_diagnosis, _facts, wanted):
    if "--attention-backend" in wanted["args"]:
        yield {"args": {"--attention-backend": None}}, "leave --attention-backend away so that vLLM chooses one that can"
    if wanted.get("kv_cache_dtype") not in (None, "auto"):
        yield {"kv_cache_dtype": "auto"}, f"kv_cache_dtype {wanted['kv_cache_dtype']} -> auto: no attention kernel supports it here"


def _drop_flags(diagnosis, _facts, wanted):
    refused = str(diagnosis.get("values", {}).get("args", "")).split()
    gone = [flag for flag in refused if flag in GONE_FLAGS and flag in wanted["args"]]
    if gone and len(gone) == len([word for word in refused if word.startswith("--")]):
        yield {"args": dict.fromkeys(gone)}, f"leave {', '.join(gone)} away: this vLLM no longer has it and works the same without"


def _as_written(diagnosis, _facts, wanted):
    auto = diagnosis["auto"]
    change: dict = dict(auto.get("set", {}))
    for kind in ("env", "container"):
        if auto.get(kind):
            change[kind] = dict(auto[kind])
    if auto.get("unset_env"):
        change.setdefault("env", {}).update(dict.fromkeys(auto["unset_env"]))
    if auto.get("unset"):
        change["args"] = {**change.get("args", {}), **dict.fromkeys(auto["unset"])}
    already = all(wanted.get(key) == value for key, value in change.items())
    if change and not already:
        yield change, auto.get("why", "the change the diagnosis names")


RULES = {
    "fit_context": _fit_context,
    "cap_sequences": _cap_sequences,
    "lower_batch": _lower_batch,
    "lighten": _lighten,
    "reserve": _reserve,
    "raise_utilization": _raise_utilization,
    "free_memory": _free_memory,
    "wait_for_memory": _wait,
    "graphs": _graphs,
    "default_loader": _default_loader,
    "mistral_format": _mistral_format,
    "attention": _attention,
    "drop_flags": _drop_flags,
    "set": _as_written,
}
"""What ``auto.action`` in diagnoses.yml may name for a server; each yields (change, reason), the best first."""


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
