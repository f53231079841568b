# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of a server and its box, and what a look says, each key and each boundary."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import container, probe, readiness, warm
from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.module_utils._engine import rank as engine_rank
from ansible_collections.gb10.vllm.plugins.module_utils._engine.api import Api, Form, json_object
from fake_docker import FakeDocker

MIB = 2**20

# ---- the container


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-01-02T03:04:05.5Z", 1767323045.5), ("2026-01-02T03:04:05Z", 1767323045.0), ("2026-01-02T03:04:05", 1767323045.0),
        ("2026-01-02T03:04:05.25+01:00", 1767319445.25),
        ("2026-01-02T03:04:05+01:00", 1767319445.0), ("2026-01-02T03:04:05.Z", 1767323045.0), ("0001-01-01T00:00:00Z", None), ("1979-12-31T00:00:00Z", None),
        ("1980-01-01T00:00:00Z", 315532800.0),
        ("word", None), ("", None),
    ],
)  # fmt: skip
def test_a_time_as_docker_says_it(stamp, seconds):
    assert container.epoch(stamp) == seconds


def test_lines_are_in_the_order_of_their_time_and_those_without_one_are_left_out():
    text = "2026-01-02T03:04:06Z late\nno time\n2026-01-02T03:04:05Z first\r\n2026-01-02T03:04:05Z second word\n"
    assert container.read_log(text) == [(1767323045.0, "first"), (1767323045.0, "second word"), (1767323046.0, "late")]


def test_a_log_is_asked_for_from_a_second_earlier_and_keeps_both_ends(tmp_path, monkeypatch):
    docker = FakeDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    docker.answer("'logs '*", "echo '2026-01-02T03:04:05Z out'; echo '2026-01-02T03:04:04Z error' >&2")
    assert container.logs("c", "2026-01-02T03:04:05Z") == [(1767323044.0, "error"), (1767323045.0, "out")]
    container.logs("c", "word")
    assert docker.calls() == ["logs --timestamps --since 1767323044.000000 c", "logs --timestamps --since word c"]
    monkeypatch.setattr(container, "LOG_HEAD_BYTES", 48)
    monkeypatch.setattr(container, "LOG_TAIL_BYTES", 50)
    lines = "".join(f"2026-01-02T03:04:{number:02}Z {number:02}\n" for number in range(20))  # 24 bytes each
    (tmp_path / "lines").write_text(lines)
    docker.answer("'logs '*", f"cat {tmp_path}/lines")
    assert [line for _at, line in container.logs("c", "word")] == ["00", "01", "18", "19"]
    (tmp_path / "lines").write_text(lines[: 48 + 96])
    assert len(container.logs("c", "word")) == 6, "up to twice the tail nothing is left out"


def test_what_the_kernel_said_since_then():
    text = "[    1.500000] before\n[    2.000000] at\nno stamp\n[x] odd\n[   10.1] after\n"
    assert container.kernel_lines(text, 100.0, 102.0) == ["[    2.000000] at", "[   10.1] after"]
    many = "\n".join(f"[{number}.0] x" for number in range(600))
    assert container.kernel_lines(many, 0.0, 0.0) == [f"[{number}.0] x" for number in range(100, 600)]


def test_signs_of_life_are_summed_over_the_processes_that_are_still_there(monkeypatch):
    mine = os.getpid()
    asked = []
    answer = SimpleNamespace(returncode=0, stdout=f"PID\n999999999\n{mine}\n")
    monkeypatch.setattr(container, "docker", lambda *words, **how: asked.append((words, how)) or answer)
    found = container.activity("c")
    assert asked == [(("top", "c", "-eo", "pid"), {"timeout_s": 30.0, "check": False})] and found["processes"] == [mine, 999999999]
    assert found["rss_bytes"] > MIB and found["rss_bytes"] % 4096 == 0
    answer.returncode = 1
    assert container.activity("c") == {"read_bytes": 0, "rss_bytes": 0, "processes": []}


# ---- how long, and has it moved


@pytest.mark.parametrize(
    ("size", "limits"),
    [(0, (3600.0, 1500.0)), (-1, (3600.0, 1500.0)), (40_000_000, (901.0, 600.5)), (4 * 10**9, (1000.0, 650.0)), (1, (900.000000025, 600.0000000125))],
)
def test_how_long_a_start_may_take(size, limits):
    assert readiness.timeouts(size) == pytest.approx(limits, rel=1e-12)


@pytest.mark.parametrize(
    ("after", "moved"),
    [
        ({}, False), ({"log_mark": 2.0}, True), ({"processes": [1, 2]}, True), ({"rss_bytes": 164 * MIB}, True), ({"rss_bytes": 36 * MIB}, True),
        ({"rss_bytes": 164 * MIB - 1}, False),
        ({"read_bytes": 26 * MIB}, True), ({"read_bytes": 26 * MIB - 1}, False), ({"read_bytes": 0}, False),
    ],
)  # fmt: skip
def test_what_counts_as_progress(after, moved):
    before = {"log_mark": 1.0, "processes": [1], "rss_bytes": 100 * MIB, "read_bytes": 10 * MIB}
    assert readiness.made_progress(before, {**before, **after}) is moved


def test_the_same_figure_as_two_generations_of_vllm_print_it():
    half = 3 * 2**29
    assert (engine_log.bytes_to_gib(half), engine_log.bytes_to_gib(half, True)) == ("1.5", "1.50")
    said = [engine_log.format_model_loading(half, 3.5, version) for version in ("0.13.9", "0.14.0", "0.33.0")]
    assert said == ["Model loading took 1.50 GiB memory and 3.500000 seconds", *["Model loading took 1.5 GiB memory and 3.500000 seconds"] * 2]


# ---- the first load


def test_each_kind_of_server_is_asked_in_its_own_words():
    load = warm.Load(10, 6, 3)
    for kind, own in (
        ("rerank", ("query", "documents")),
        ("score", ("text_1", "text_2")),
        ("embedding", ("input",)),
        ("classify", ("input",)),
        ("pooling", ("input",)),
    ):
        if kind not in warm.POOLED:
            continue
        bodies = warm.prefills(kind, "m", load, 7)
        text = warm.words(8, 7)
        values = {"query": "1", "documents": [text], "text_1": "1", "text_2": text, "input": text}
        assert bodies[0] == {"model": "m", **{name: values[name] for name in own}, "truncate_prompt_tokens": 6} and [
            one["truncate_prompt_tokens"] for one in bodies
        ] == [6, 4]
    assert warm.prefills("chat", "m", load, 7) == [
        {"model": "m", "prompt": warm.words(7, 7 + number), "max_tokens": 1, "min_tokens": 1, "temperature": 0, "truncate_prompt_tokens": 5}
        for number in (0, 1)
    ]
    shorts = warm.shorts("chat", "m", load, 1)
    assert [(one["max_tokens"], one["min_tokens"], one["truncate_prompt_tokens"], one["prompt"]) for one in shorts] == [
        (3, 3, 3, warm.words(5, 1 + number)) for number in range(3)
    ]
    assert len(warm.shorts("chat", "m", warm.Load(1, 1, 0), 1)) == 1 and len(warm.shorts("chat", "m", warm.Load(1, 9**9, 10**6), 1)) == warm.MOST_AT_ONCE
    assert warm.words(3, 1) != warm.words(3, 2) and len(warm.words(3, 1).split()) == 3


@pytest.mark.parametrize(
    ("kind", "images", "replies", "found"),
    [
        ("chat", 0, {}, {"requests": 2}), ("chat", 1, {}, {"requests": 2, "images": 1}), ("completion", 1, {}, {"requests": 2}), ("chat", 1,
        {"/v1/chat/completions": (400, "no")}, {"requests": 2, "images": 0}),
        ("chat", 1, {"/v1/chat/completions": (500, "no")}, {"requests": 2, "images": 0, "problem": (500, "no")}), ("chat", 1, {"/v1/chat/completions": (0,
        "gone")}, {"requests": 2, "images": 0, "problem": (0, "gone")}),
        ("chat", 1, {"/v1/completions": (503, "full")}, {"requests": 0, "problem": (503, "full")}),
    ],
)  # fmt: skip
def test_what_a_first_load_came_to(kind, images, replies, found):
    asked = []

    def call(path, body, timeout_s):
        asked.append((path, timeout_s))
        return replies.get(path, (200, ""))

    told = dict(warm.run(call, kind, "m", warm.Load(8, 100, 2, images), 9.0))
    assert told.pop("seconds") >= 0 and told == {"prefill_tokens": 8, **found}
    assert {one[1] for one in asked} == {9.0} and asked[0][0] == "/v1/completions"


def test_a_picture_is_one_that_can_be_shown():
    body = warm.picture("m")
    image, text = body["messages"][0]["content"]
    assert {key: body[key] for key in ("model", "max_tokens", "temperature")} == {"model": "m", "max_tokens": 1, "temperature": 0} and text == {
        "type": "text",
        "text": "What is this?",
    }
    assert image["type"] == "image_url" and image["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")


# ---- the API


def test_what_is_asked_of_the_api(monkeypatch):
    seen = []

    class Connection:
        def __init__(self, *given, **named):
            seen.append((given, named))

        def request(self, *given, **named):
            seen.append((given, named))

        def getresponse(self):
            return SimpleNamespace(status=201, read=lambda most: seen.append(most) or b"\xff{}")

        def close(self):
            seen.append("closed")

    monkeypatch.setattr("http.client.HTTPConnection", Connection)
    api = Api("http://127.0.0.1:8000/x/", "k")
    key = {"Authorization": "Bearer k"}
    assert api.call("/p") == (201, "\ufffd{}") and seen[0] == (("127.0.0.1", 8000), {"timeout": 5.0})
    assert seen[1] == (("GET", "/x/p"), {"body": None, "headers": key}) and seen[-1] == "closed"
    api.call("/p", {"a": 1}, 9.0)
    assert seen[4][1] == {"timeout": 9.0} and seen[5] == (("POST", "/x/p"), {"body": b'{"a": 1}', "headers": {**key, "Content-Type": "application/json"}})
    Api("http://h:1", None).call("/p", Form(b"f", "text/plain"))
    assert seen[9] == (("POST", "/p"), {"body": b"f", "headers": {"Content-Type": "text/plain"}})
    api.call("/p", {})
    assert seen[13][0][0] == "POST" and seen[13][1]["body"] == b"{}"
    monkeypatch.setattr(Connection, "request", lambda *_given, **_named: (_ for _ in ()).throw(OSError()))
    assert api.call("/p") == (0, "OSError") and seen[-1] == "closed"
    assert [json_object(text) for text in ('{"a": 1}', "[1]", "x", "[" * 10**5)] == [{"a": 1}, {}, {}, {}]


# ---- a look that finds no container, or one that waits


@pytest.fixture
def follow(monkeypatch):
    monkeypatch.setattr(probe, "inspect", lambda _name: None)
    for module in (probe, engine_rank):
        monkeypatch.setattr(module, "memory_available_bytes", lambda: 77)

    def look(**given):
        one = probe.Follower("c", "http://127.0.0.1:1", None, "tiny", "auto", "hi", 600.0, 5.0, **given)
        return one, one.observe()

    return look


def test_one_that_is_not_there_yet_is_waited_for_so_long(follow, monkeypatch):
    now = 5000.0
    monkeypatch.setattr(probe.time, "time", lambda: now)
    expected = {
        "phase": "created", "progress": "waiting for container c to be created", "reason": "", "elapsed_s": 0.0, "memory_available_bytes": 77, "facts": {},
        "answer": None,
        "container": {"name": "c", "exists": False}, "activity": {"missing_since": now, "at": now}, "log_tail": [],
    }  # fmt: skip
    follower, seen = follow()
    assert seen == expected and follower.last == expected["activity"]
    since = now - probe.MISSING_GRACE_S
    assert follow(last={"missing_since": since})[1] == {**expected, "elapsed_s": probe.MISSING_GRACE_S, "activity": {"missing_since": since, "at": now}}
    late = follow(last={"missing_since": since - 0.26})[1]
    reason = f"no container of this name was created within {probe.MISSING_GRACE_S:.0f} s"
    assert (late["phase"], late["reason"], late["log"], late["kernel_log"]) == ("failed", reason, [f"gb10.vllm: {reason}"], []) and late[
        "elapsed_s"
    ] == probe.MISSING_GRACE_S + 0.3
    assert follow(start="2026-01-02T03:04:05Z")[1]["reason"] == "the container was removed while it started"


def test_a_rank_that_waits_says_for_whom_and_stalls_after_its_time(monkeypatch):
    monkeypatch.setattr(engine_rank, "memory_available_bytes", lambda: 77)
    monkeypatch.setattr(engine_rank.time, "time", lambda: 5000.0)
    last = {"log_mark": 3}
    expected = {
        "phase": "created", "progress": "waiting for b", "reason": "", "elapsed_s": 0.0, "memory_available_bytes": 77, "facts": {}, "answer": None,
        "container": {"name": "c", "exists": True, "status": "created"}, "activity": {"waiting_since": 5000.0, "at": 5000.0}, "log_tail": [],
    }  # fmt: skip
    assert engine_rank.waiting("c", "waiting for b", last, 60.0) == expected and last == expected["activity"]
    assert engine_rank.waiting("c", "waiting for b", {"waiting_since": 4940.0}, 60.0)["phase"] == "created"
    stalled = engine_rank.waiting("c", "waiting for b", {"waiting_since": 4939.0}, 60.0)
    reason = "it has been waiting for b for 61 s"
    assert {key: stalled[key] for key in ("phase", "reason", "kernel_log", "log", "elapsed_s")} == {
        "phase": "stalled",
        "reason": reason,
        "kernel_log": [],
        "log": [f"gb10.vllm: {reason}"],
        "elapsed_s": 61.0,
    }


def test_why_another_rank_ended_it_is_read_from_its_unit_since_then(monkeypatch):
    asked = []
    text = "x\nb has left the group. All ranks of duo start again together.\nc has gone. All ranks of duo start again together.\n"
    monkeypatch.setattr(engine_rank, "run", lambda words, limit: asked.append((words, limit)) or SimpleNamespace(stdout=text))
    assert engine_rank.left("gb10-vllm-a", 1234.6) == "c has gone"
    common = ["journalctl", "--quiet", "--unit", "gb10-vllm-a.service", "--output=cat", "--lines=50"]
    text = ""
    assert engine_rank.left("gb10-vllm-a", None) == "" and asked == [([*common, "--since=@1235"], 3.0), (common, 3.0)]


def test_a_look_at_one_that_ended_says_all_there_is_of_it(monkeypatch):
    began = time.time() - 10
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began))
    since = []
    monkeypatch.setattr(
        probe,
        "inspect",
        lambda _name: {"State": {"Status": "exited", "StartedAt": stamp, "ExitCode": 3, "OOMKilled": True}, "RestartCount": 4, "Config": {"Image": "i"}},
    )
    monkeypatch.setattr(
        probe,
        "logs",
        lambda name, followed: (
            [(began, "first"), (began + 1, "the key is sesame"), (began + 2, "Route: /x"), (began + 3, "")] if (name, followed) == ("c", stamp) else []
        ),
    )
    monkeypatch.setattr(probe, "kernel_log", lambda at: since.append(at) or ["[1] oom"])
    monkeypatch.setattr(probe, "memory_available_bytes", lambda: 77)
    follower = probe.Follower("c", "http://127.0.0.1:1", None, "tiny", "auto", "hi", 600.0, 5.0)
    follower.secrets = ["sesame"]
    seen = follower.observe()
    assert seen["container"] == {
        "name": "c",
        "exists": True,
        "status": "exited",
        "started_at": stamp,
        "exit_code": 3,
        "oom_killed": True,
        "restart_count": 4,
        "image": "i",
    }
    assert (seen["phase"], seen["kernel_log"], seen["memory_available_bytes"], seen["answer"]) == ("failed", ["[1] oom"], 77, None) and since == [
        container.epoch(stamp)
    ]
    assert (
        9.0 <= seen["elapsed_s"] <= 60.0
        and round(seen["elapsed_s"], 1) == seen["elapsed_s"]
        and len(seen["log"]) == 5
        and seen["log"][-1] == f"gb10.vllm: {seen['reason']}"
    )
    assert seen["log_tail"][0] == "first" and len(seen["log_tail"]) == 2 and "sesame" not in json.dumps(seen)
