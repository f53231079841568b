# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vLLM's log lines as numbers."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.module_utils._io import lines
from hypothesis import given
from hypothesis import strategies as st

VERSIONS = st.sampled_from([f"0.{minor}.0" for minor in range(12, 34)])
HUNDREDTHS = st.integers(min_value=0, max_value=20000)
TOKENS = st.integers(min_value=1, max_value=10**8)
TIMES = st.integers(min_value=1, max_value=10**6).map(lambda hundredths: hundredths / 100)


def as_bytes(hundredths: int) -> int:
    """Bytes of a GiB figure with two decimals: what a log can tell."""
    return engine_log.gib_to_bytes(f"{hundredths / 100}")


def facts(text: str) -> dict:
    return engine_log.parse_facts(f"(EngineCore_DP0 pid=88) INFO 11-23 11:40:11 [v1/worker/gpu_worker.py:560] {text}")


@given(HUNDREDTHS, VERSIONS)
def test_available_memory_survives_format_and_parse(hundredths, version):
    assert facts(engine_log.format_available(as_bytes(hundredths), version)) == {"available_kv_bytes": as_bytes(hundredths)}


@given(st.integers(min_value=0, max_value=200 * 2**30), VERSIONS)
def test_a_printed_figure_contains_the_exact_number(value, version):
    text = engine_log.bytes_to_gib(value, padded=engine_log.version_tuple(version) < (0, 14))
    low, high = engine_log.gib_range(text)
    assert low - 1 <= value <= high + 1
    assert abs(engine_log.gib_to_bytes(text) - value) <= 0.005 * 2**30 + 1


@given(TOKENS, TOKENS, TIMES, VERSIONS, st.sampled_from(["GPU", "CPU"]))
def test_capacity_survives_format_and_parse(tokens, length, times, version, device):
    lines = engine_log.format_capacity(tokens, length, times, version, device).split("\n")
    text = "\n".join(f"(EngineCore pid=7) INFO 11-23 11:40:11 [kv_cache_utils.py:1] {line}" for line in lines)
    assert engine_log.parse_facts(text) == {"kv_tokens": tokens, "max_model_len": length, "concurrency": times}
    assert len(lines) == (1 if engine_log.version_tuple(version) >= (0, 28) else 2)


@given(HUNDREDTHS, st.integers(min_value=0, max_value=10**9), VERSIONS)
def test_model_loading_survives_format_and_parse(hundredths, microseconds, version):
    line = engine_log.format_model_loading(as_bytes(hundredths), microseconds / 10**6, version)
    assert facts(line) == {"weights_bytes": as_bytes(hundredths), "load_s": microseconds / 10**6}


@given(HUNDREDTHS, st.integers(min_value=0, max_value=9999))
def test_graphs_survive_format_and_parse(hundredths, seconds):
    assert facts(engine_log.format_graphs(as_bytes(hundredths), seconds)) == {"graph_bytes": as_bytes(hundredths), "graph_s": seconds}


@given(TOKENS, TOKENS, HUNDREDTHS)
def test_auto_fit_survives_format_and_parse(original, fitted, hundredths):
    wanted = {"from_max_model_len": original, "max_model_len": fitted, "available_bytes": as_bytes(hundredths)}
    found = facts(engine_log.format_auto_fit(original, fitted, as_bytes(hundredths)))
    assert found == {"auto_fit": wanted, "max_model_len": fitted}


@given(TOKENS, HUNDREDTHS, HUNDREDTHS, st.integers(min_value=0, max_value=10**7), VERSIONS)
def test_too_small_a_cache_survives_format_and_parse(length, need, have, estimate, version):
    line = "ValueError: " + engine_log.format_kv_too_small(length, as_bytes(need), as_bytes(have), estimate, version)
    wanted = {"max_model_len": length, "needed_bytes": as_bytes(need), "available_bytes": as_bytes(have)}
    if estimate:
        wanted["estimated_max_model_len"] = estimate
    assert facts(line) == {"kv_too_small": wanted}


@given(HUNDREDTHS, HUNDREDTHS, HUNDREDTHS, st.sampled_from([0.5, 0.7, 0.85, 0.92]), VERSIONS)
def test_admission_survives_format_and_parse(free, total, want, utilization, version):
    line = engine_log.format_admission(as_bytes(free), as_bytes(total), utilization, as_bytes(want), version)
    wanted = {"free_bytes": as_bytes(free), "total_bytes": as_bytes(total), "requested_bytes": as_bytes(want), "utilization": utilization}
    assert facts(line) == {"admission": wanted}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "num_blocks": TOKENS,
            "block_size": TOKENS,
            "kv_tokens": TOKENS,
            "concurrency": TIMES,
            "kv_cache_memory_bytes": st.integers(min_value=0, max_value=2**40),
            "mamba_page_bytes": TOKENS,
            "gpu_memory_utilization": st.sampled_from([0.5, 0.92]),
            "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
            "prefix_caching": st.booleans(),
        },
    )
)
def test_metrics_survive_format_and_parse(wanted):
    assert engine_log.parse_cache_config("# HELP x\n" + engine_log.format_cache_config(wanted)) == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Model loading took 23.3 GiB and 2.651245 seconds", {"weights_bytes": round(23.3 * 2**30), "load_s": 2.651245}),
        ("Model loading took 56.88 GiB memory and 0.819194 seconds", {"weights_bytes": round(56.88 * 2**30), "load_s": 0.819194}),
        ("GPU KV cache size: 487,744 tokens", {"kv_tokens": 487744}),
        ("Maximum concurrency for 65,536 tokens per request: 7.44x", {"max_model_len": 65536, "concurrency": 7.44}),
        (
            "CPU KV cache size: 4,194,304 tokens, Maximum concurrency for 4,096 tokens per request: 1024.00x",
            {"kv_tokens": 4194304, "max_model_len": 4096, "concurrency": 1024.0},
        ),
        (
            "Explicitly set (0.02/11.59) GiB for KV cache on node 0.",
            {"available_kv_bytes": round(0.02 * 2**30), "node_total_bytes": round(11.59 * 2**30)},
        ),
        ("Graph capturing finished in 7 secs, took 0.80 GiB", {"graph_s": 7, "graph_bytes": round(0.8 * 2**30)}),
        ("Estimated CUDA graph memory: -35.69 GiB total", {"graph_estimate_bytes": round(-35.69 * 2**30)}),
        (
            "Auto-fit max_model_len: full model context length 4096 fits in available KV cache memory (0.02 GiB CPU)",
            {"auto_fit": {"from_max_model_len": 4096, "max_model_len": 4096, "available_bytes": round(0.02 * 2**30)}, "max_model_len": 4096},
        ),
        ("init engine (profile, create kv cache, warmup model) took 0.46 s", {"init_s": 0.46}),
        ("init engine (profile, create kv cache, warmup model) took 88.91 s (compilation: 64.31 s)", {"init_s": 88.91, "compile_s": 64.31}),
        ("Using FlashInfer GDN prefill kernel (requested=auto, head_k_dim=128).", {"gdn_prefill_kernel": "FlashInfer"}),
        (
            "Setting attention block size to 1088 tokens to ensure that attention page size is >= mamba page size.",
            {"attention_block_size": 1088},
        ),
        ("No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", {"no_kv_memory": True}),
        (
            "The model's max seq len (4096) is larger than the maximum number of tokens that can be stored in KV cache (3664).",
            {"kv_too_small": {"max_model_len": 4096, "kv_tokens": 3664}},
        ),
        ("Loading weights took 138.61 seconds", {"read_s": 138.61}),
        ("vLLM API server version 0.14.0rc1.dev539", {"vllm_version": "0.14.0rc1.dev539"}),
        ("nothing of interest took 7 seconds", {}),
    ],
)
def test_wordings(line, wanted):
    assert facts(line) == wanted


def test_prefixes_of_docker_journald_vllm_and_colours_go():
    for raw in (
        "2026-11-23T14:04:45.1Z (EngineCore_DP0 pid=8254) ERROR 11-23 14:04:45 [v1/core.py:402] init failed",
        "Nov 23 14:04:45 box1 gb10-vllm-devstral[77]: (Worker_TP1 pid=9) ERROR 11-23 14:04:45 [core.py:402] init failed",
        "\x1b[0;36m(APIServer pid=1)\x1b[0;0m ERROR 11-23 14:04:45 [core.py:402] init failed",
        "(Worker_TP0_EP0 pid=9, ip=192.0.2.4) ERROR:    init failed".replace("ERROR:    init", "ERROR 11-23 14:04:45 [core.py:402] init"),
        "(APIServer pid=1) 2026-11-23 14:04:45 (EngineCore_DP0 pid=8254) ERROR 11-23 14:04:45 [core.py:402] init failed",
        "(EngineCore_DP0 pid=8) (Worker_TP1 pid=9) ERROR 11-23 14:04:45 [core.py:402] init failed",
        "init failed",
    ):
        assert lines.clean_line(raw) == "init failed", raw
    assert lines.clean_line("INFO:     Application startup complete.") == "Application startup complete."
    assert lines.clean_line('(EngineCore pid=8)   File "x.py", line 3') == '  File "x.py", line 3', "frames stay indented"


SHAPES = ["max seq len (", " GiB KV cache is needed", "Model loading took ", "KV cache size: ", " tokens", "%| 3/", "\x1b[0m", "1.2.3", "9" * 5000, "GiB"]


@given(st.lists(st.one_of(st.sampled_from(SHAPES), st.text(max_size=20)), max_size=30))
def test_no_log_makes_it_fail(pieces):
    text = "".join(pieces)
    assert isinstance(engine_log.parse_facts(text), dict)
    assert engine_log.where(lines.clean_lines(text))[0] in engine_log.PHASES
    assert isinstance(engine_log.parse_cache_config("vllm:cache_config_info{" + text + "} 1.0"), dict)


@pytest.mark.parametrize("number", ["9" * 5000, "1.2.3"])
def test_digits_that_are_no_number_are_left_alone(number):
    line = f"Free memory on device cuda:0 (1.0/2.0 GiB) on startup is less than desired GPU memory utilization ({number}, 3.0 GiB)"
    assert engine_log.parse_line(line) == {}
    assert engine_log.parse_line(f"Model loading took {number} GiB memory and 1.0 seconds") == {}
    assert "kv_tokens" not in engine_log.parse_line(f"GPU KV cache size: {number} tokens")
    assert engine_log.parse_cache_config(f'vllm:cache_config_info{{gpu_memory_utilization="{number}",block_size="16"}} 1.0') == {"block_size": 16}


def test_progress_bars_become_lines():
    assert lines.split_lines("a\rb\r\nc\n\n") == ["a", "b", "c"]


def test_where_a_start_stands():
    def where(*raw):
        return engine_log.where([lines.clean_line(line) for line in raw])

    start = "(EngineCore pid=1) INFO 11-23 11:40:11 [core.py:1] "
    assert where() == ("created", "starting the engine")
    bar = "Loading safetensors checkpoint shards:  30% Completed | 3/10 [00:42<01:39, 14.2s/it]"
    assert where(bar) == ("loading", "loading weights 3 of 10 shards")
    assert where(bar, start + "Model loading took 24.1 GiB memory and 140.2 seconds")[0] == "profiling"
    assert where(bar, start + "Dynamo bytecode transform time: 8.71 s")[0] == "compiling"
    graphs = "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  20%|##   | 10/51 [00:01<00:05]"
    assert where(bar, graphs) == ("capturing", "capturing CUDA graphs 10 of 51")
    assert where(bar, graphs, "INFO:     Application startup complete.")[0] == "serving"
    assert engine_log.says_started(["Application startup complete."])
    assert not engine_log.says_started(["Waiting for application startup."])


def test_what_a_hung_engine_repeats_is_no_progress():
    assert not engine_log.is_progress("No available shared memory broadcast block found in 60 seconds.")
    assert not engine_log.is_progress('127.0.0.1:51022 - "GET /health HTTP/1.1" 200 OK')
    assert engine_log.is_progress("Dynamo bytecode transform time: 8.71 s")


def test_a_real_metrics_line():
    line = (
        'vllm:cache_config_info{block_size="128",cache_dtype="auto",enable_prefix_caching="True",engine="0",'
        'kv_cache_max_concurrency="32.0",kv_cache_memory_bytes="67108864",kv_cache_size_tokens="131072",'
        'mamba_page_size_padded="None",num_gpu_blocks="1024"} 1.0\n'
    )
    assert engine_log.parse_cache_config(line) == {
        "block_size": 128,
        "kv_cache_dtype": "auto",
        "prefix_caching": True,
        "concurrency": 32.0,
        "kv_cache_memory_bytes": 67108864,
        "kv_tokens": 131072,
        "num_blocks": 1024,
    }
