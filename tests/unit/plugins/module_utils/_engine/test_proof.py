# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first load of a server that has just come up, and what is measured of it."""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
import zlib

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import proof, sampling, warm
from ansible_collections.gb10.vllm.plugins.module_utils._engine.proof import Proof
from ansible_collections.gb10.vllm.plugins.module_utils._engine.warm import Load

GIB = 2**30
LOAD = Load(batch_tokens=8192, context=65536, requests=4)


def lengths(bodies):
    return [body["truncate_prompt_tokens"] for body in bodies]


@pytest.mark.parametrize(
    ("load", "kind", "expected"),
    [
        (LOAD, "chat", [8192]),
        (Load(8192, 8193, 1), "completion", [8192]),
        (Load(8192, 2049, 1), "chat", [2048, 2048, 2048, 2048]),
        (Load(5000, 2049, 1), "chat", [2048, 2048, 904]),
        (Load(512, 512, 1), "embedding", [512]),
        (Load(512, 512, 1), "chat", [511, 1]),
        (Load(10**6, 2, 1), "chat", [1] * warm.MOST_AT_ONCE),
    ],
)
def test_the_prefills_fill_one_batch_together(load, kind, expected):
    bodies = warm.prefills(kind, "m", load, 7)
    assert lengths(bodies) == expected
    for body in bodies:
        text = body["input" if kind == "embedding" else "prompt"]
        assert len(text.split()) > body["truncate_prompt_tokens"], "at least a token for each word"
        assert body.get("max_tokens", 1) + body["truncate_prompt_tokens"] <= load.context or kind == "embedding"
    assert load.context < 10 or len({json.dumps(body) for body in bodies}) == len(bodies), "no request finds the tokens of another one cached"


def test_no_cache_of_prefixes_holds_the_words_of_another_time():
    assert warm.words(50, 1) != warm.words(50, 2) and warm.words(50, 1) == warm.words(50, 1)


@pytest.mark.parametrize(("requests", "context", "number", "tokens"), [(4, 65536, 4, 16), (1000, 65536, warm.MOST_AT_ONCE, 16), (0, 10, 1, 5), (2, 1, 2, 1)])
def test_the_short_requests_are_as_many_as_was_planned_for(requests, context, number, tokens):
    bodies = warm.shorts("chat", "m", Load(8192, context, requests), 7)
    assert len(bodies) == number and {body["max_tokens"] for body in bodies} == {tokens} == {body["min_tokens"] for body in bodies}
    assert len({body["prompt"] for body in bodies}) == number or tokens == 1


def test_all_short_requests_run_at_once():
    together, most, lock = [0], [0], threading.Barrier(4, timeout=10)

    def call(path, body, timeout_s):
        if body["max_tokens"] > 1:
            together[0] += 1
            lock.wait()
            most[0] = max(most[0], together[0])
        return 200, "{}"

    done = warm.run(call, "chat", "m", LOAD, 5.0)
    assert most == [4] and (done["prefill_tokens"], done["requests"]) == (8192, 4) and "problem" not in done


@pytest.mark.parametrize(("status", "requests"), [(0, 0), (400, 0), (503, 0)])
def test_a_load_that_is_not_answered_ends_there(status, requests):
    calls = []
    done = warm.run(lambda path, body, timeout_s: calls.append((path, timeout_s)) or (status, "no"), "embedding", "m", LOAD, 5.0)
    assert done["problem"] == (status, "no") and done["requests"] == requests and calls == [("/v1/embeddings", 5.0)]


@pytest.mark.parametrize(("status", "seen", "problem"), [(200, 1, None), (400, 0, None), (500, 0, (500, "no")), (0, 0, (0, "no"))])
def test_a_model_that_sees_gets_a_large_image(status, seen, problem):
    """One that is not made for it says so, and that is no fault; one that breaks over it is."""
    asked = []

    def call(path, body, timeout_s):
        asked.append((path, body))
        return (status, "no") if "messages" in body else (200, "{}")

    done = warm.run(call, "chat", "m", LOAD._replace(images=1), 5.0)
    assert (done["images"], done.get("problem"), asked[-1][0]) == (seen, problem, "/v1/chat/completions")
    url = asked[-1][1]["messages"][0]["content"][0]["image_url"]["url"]
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    assert data.startswith(b"\x89PNG") and struct.unpack(">II", data[16:24]) == (1540, 1540) and len(data) < 20_000
    length = struct.unpack(">I", data[33:37])[0]
    assert len(zlib.decompress(data[41 : 41 + length])) == 1540 * (3 * 1540 + 1)
    for kind, load in (("completion", LOAD._replace(images=1)), ("chat", LOAD)):
        asked.clear()
        warm.run(call, kind, "m", load, 5.0)
        assert not any("messages" in body for _path, body in asked)


@pytest.fixture
def box(monkeypatch, tmp_path):
    """A box on which a server of 24 GiB of weights and 60 GiB of cache takes 5 GiB more at its peak under load."""
    base = {"total_bytes": 120 * GIB, "ours_bytes": 2 * GIB, "others_bytes": 3 * GIB, "device_bytes": None}
    before = {**base, "available_bytes": 110 * GIB, "wander_bytes": 0}
    ended = []
    told = {"noted": (before, 18 * GIB), "now": 22 * GIB}
    monkeypatch.setattr(sampling, "noted", lambda container: told["noted"])
    monkeypatch.setattr(sampling, "end", ended.append)
    monkeypatch.setattr(sampling, "moment", lambda ours=(): {**base, "available_bytes": told["now"], "seen": list(ours)})
    monkeypatch.setattr(sampling, "available_bytes", lambda: told["now"])
    monkeypatch.setattr(sampling, "EVERY_S", 0.01)
    monkeypatch.setattr(proof, "activity", lambda container: {"processes": [7, 8]})
    told["ended"] = ended
    return told


FACTS = {"weights_bytes": 24 * GIB, "kv_cache_memory_bytes": 60 * GIB, "kv_tokens": 1000}


def under_load(box):
    def call(path, body, timeout_s):
        box["now"] = 21 * GIB
        time.sleep(0.1)
        box["now"] = 23 * GIB
        return 200, "{}"

    return call


def test_the_peak_under_load_is_what_counts(box):
    found, why = Proof("c", 0, LOAD).measure(under_load(box), "chat", "m", FACTS, 5.0)
    assert why == "" and found["beside_bytes"] == 5 * GIB and found["host_bytes"] == 2 * GIB
    assert found["memory"] == {
        "before_bytes": 110 * GIB, "lowest_start_bytes": 18 * GIB, "ready_bytes": 22 * GIB, "lowest_bytes": 21 * GIB, "others_bytes": 0, "shared_pool": True,
    }  # fmt: skip
    assert (found["load"]["requests"], box["ended"]) == (4, ["c"])


def test_nothing_is_asked_of_a_server_whose_start_nobody_watched(box):
    """A silent run: no load, no measurement."""
    box["noted"] = None
    assert Proof("c", 0, LOAD).measure(lambda *_: pytest.fail("a load"), "chat", "m", FACTS, 5.0) == ({}, "")


def test_without_a_load_the_first_answer_is_measured(box):
    found, why = Proof("c").measure(lambda *_: pytest.fail("a load"), "chat", "m", FACTS, 5.0)
    assert (found["beside_bytes"], why, "load" in found) == (4 * GIB, "", False)


def test_a_server_that_does_not_stand_its_load_is_told_and_looked_at_again(box):
    assert Proof("c", 0, LOAD).measure(lambda *_: (500, '{"message": "out of memory"}'), "chat", "m", FACTS, 5.0) == ({}, "HTTP 500, out of memory")
    assert Proof("c", 0, LOAD).measure(lambda *_: (0, "refused"), "chat", "m", FACTS, 5.0) == ({}, "refused")
    assert box["ended"] == [], "the watch goes on"


def test_a_load_that_is_refused_is_no_fault_of_the_server(box):
    found, why = Proof("c", 0, LOAD).measure(lambda *_: (400, '{"message": "no such option"}'), "chat", "m", FACTS, 5.0)
    assert why == "" and found["beside_bytes"] == 4 * GIB and found["load"]["problem"] == "HTTP 400, no such option"


@pytest.mark.parametrize(
    ("facts", "weights", "words"),
    [
        ({**FACTS, "blocks_override": 12}, 0, "num_gpu_blocks_override"),
        ({"kv_cache_memory_bytes": 60 * GIB}, 0, "did not say"),
        ({"weights_bytes": 24 * GIB, "kv_tokens": 1000}, 0, "did not say"),
        ({**FACTS, "weights_bytes": 99 * GIB}, 0, "negative"),
    ],
)
def test_what_cannot_be_measured_is_said_with_the_readings(box, facts, weights, words):
    found, _why = Proof("c", weights, LOAD).measure(under_load(box), "chat", "m", facts, 5.0)
    assert "beside_bytes" not in found and words in found["memory"]["problem"] and found["memory"]["lowest_bytes"] == 21 * GIB


def test_an_engine_that_logs_no_weights_is_measured_by_the_planned_ones(box):
    found, _why = Proof("c", 24 * GIB, LOAD).measure(under_load(box), "chat", "m", {"kv_cache_memory_bytes": 60 * GIB}, 5.0)
    assert found["beside_bytes"] == 5 * GIB
    found, _why = Proof("c", 80 * GIB, None).measure(under_load(box), "embedding", "m", {}, 5.0)
    assert found["beside_bytes"] == 7 * GIB, "a model without a cache"


def moment(available, ours=0):
    return {
        "total_bytes": 119 * GIB,
        "available_bytes": available * GIB,
        "ours_bytes": ours,
        "others_bytes": GIB,
        "device_bytes": None,
        "device_total_bytes": 0,
    }


@pytest.mark.parametrize("words", [["--kv-cache-memory-bytes", str(2 * GIB)], [f"--kv-cache-memory-bytes={2 * GIB}"]])
def test_a_rank_is_read_once_and_the_size_of_its_cache_is_what_it_was_told(monkeypatch, words):
    before = {**moment(60), "wander_bytes": 0}
    over = []
    monkeypatch.setattr(sampling, "noted", lambda container: (before, 45 * GIB))
    monkeypatch.setattr(sampling, "moment", lambda pids: moment(50, ours=GIB))
    monkeypatch.setattr(sampling, "end", over.append)
    monkeypatch.setattr(proof, "activity", lambda container: {"processes": [1]})
    found = Proof("c", weights_bytes=7 * GIB).measure_rank({"weights_bytes": 5 * GIB}, ["vllm", "serve", "m", *words])
    assert found["beside_bytes"] == 3 * GIB and found["host_bytes"] == GIB and over == ["c"]
    assert found["memory"]["lowest_start_bytes"] == 45 * GIB and found["memory"]["lowest_bytes"] == 50 * GIB
    monkeypatch.setattr(sampling, "noted", lambda container: None)
    assert Proof("c").measure_rank({}, []) == {}
