# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judging a server: timeouts, signs of life, answers, secrets."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import readiness
from ansible_collections.gb10.vllm.plugins.module_utils._io import redaction
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(min_value=1, max_value=10**12), st.integers(min_value=1, max_value=10**12))
def test_larger_models_get_more_time(one, other):
    small, large = sorted((one, other))
    total, stall = readiness.timeouts(large)
    assert total >= readiness.timeouts(small)[0] and stall >= readiness.timeouts(small)[1]
    assert 600 < stall < total


def test_timeouts_of_known_loads():
    total, stall = readiness.timeouts(70 * 10**9)
    slowest_s = 70 * 10**9 / 75e6
    assert total - 900 >= 1.8 * slowest_s, "half of the slowest load seen, 75 MB/s, is allowed, beside 15 minutes to compile"
    assert total <= 3600, "and no more than that"
    assert stall >= slowest_s, "a loader that is silent until it ends"
    assert readiness.timeouts(0) == (3600.0, 1500.0)


def test_signs_of_life():
    still = {"log_mark": 5.0, "processes": [1, 2], "rss_bytes": 10 * 2**30, "read_bytes": 2**30}
    assert not readiness.made_progress(still, dict(still))
    assert not readiness.made_progress(still, {**still, "rss_bytes": still["rss_bytes"] + 2**20, "read_bytes": still["read_bytes"] + 2**20})
    assert readiness.made_progress(still, {**still, "log_mark": 6.0})
    assert readiness.made_progress(still, {**still, "processes": [1, 2, 3]})
    assert readiness.made_progress(still, {**still, "read_bytes": still["read_bytes"] + 2**26})
    assert readiness.made_progress(still, {**still, "rss_bytes": still["rss_bytes"] - 2**27})


def test_slow_progress_adds_up():
    """Ten megabytes a second, looked at every second, are progress: the baseline is the last progress, not the last look."""
    seen = readiness.signs_of_life({}, {"log_mark": 0.0, "read_bytes": 0}, now=1000.0, began=990.0)
    assert seen["at"] == 990.0
    ages = []
    for second in range(1, 31):
        seen = readiness.signs_of_life(seen, {"log_mark": 0.0, "read_bytes": second * 10**7}, now=1000.0 + second, began=990.0)
        ages.append(1000.0 + second - seen["at"])
    assert max(ages[2:]) <= 2
    for second in range(31, 61):
        seen = readiness.signs_of_life(seen, {"log_mark": 0.0, "read_bytes": 3 * 10**8}, now=1000.0 + second, began=990.0)
    assert 1060.0 - seen["at"] >= 30


def test_a_first_look_takes_the_time_of_the_last_line():
    assert readiness.signs_of_life({}, {"log_mark": 500.0}, now=1000.0, began=400.0)["at"] == 500.0


def test_secrets_go():
    text = "non-default args: {'api_key': ['s3cret-key'], 'port': 8000} --hf-token hf_abcdefghij0123 VLLM_API_KEY=s3cret-key and s3cret-key"
    clean = redaction.redact(text, ["s3cret-key"])
    assert "s3cret" not in clean
    assert "hf_abc" not in clean
    assert "'port': 8000" in clean


@pytest.mark.parametrize(
    "text",
    [
        "vllm serve --api-key {} --port 8000",
        "vllm serve --api-key={} --port 8000",
        "vllm serve --hf-token {}",
        "non-default args: {{'api_key': ['{}', '{}'], 'port': 8000}}",
        "non-default args: {{'api_key': '{}'}}",
        "'hf_token': '{}'",
        "VLLM_API_KEY={}",
        "HF_TOKEN={} vllm serve",
        'VLLM_API_KEY="{}"',
        "--api-key '{}'",
        "HF_TOKEN: {}",
    ],
)
def test_a_key_nobody_told_us_goes_by_its_name(text):
    clean = redaction.redact(text.replace("{}", "s3cret-k3y").replace("{{", "{").replace("}}", "}"), [])
    assert "s3cret" not in clean and "********" in clean
    assert ("8000" in clean) == ("8000" in text)


@pytest.mark.parametrize("around", ["{}", "token {} was refused", "https://user:{}@hub", '"{}"'])
def test_a_token_of_the_hub_goes_by_its_looks(around):
    clean = redaction.redact(around.replace("{}", "hf_AbCdEfGhIjKlMnOpQrSt"), [])
    assert clean == around.replace("{}", "hf_********")


@given(st.text(min_size=4, max_size=40), st.text(max_size=60))
def test_no_given_secret_survives(secret, around):
    # A secret that is part of what is written in its place cannot be told from it.
    if secret not in "********":
        assert secret not in redaction.redact(f"{around}{secret}{around}", [secret]).replace("********", "\0")


def test_listed_models():
    body = {"data": [{"id": "base", "max_model_len": 10}, {"id": "lora"}]}
    assert readiness.listed_model(body, "base") == ("base", 10, ["base", "lora"])
    assert readiness.listed_model(body, None)[0] == "base"
    assert readiness.listed_model(body, "other")[0] is None
    assert readiness.listed_model({}, "other") == (None, None, [])


def test_answers():
    assert readiness.answer_text("chat", {"choices": [{"message": {"content": "hi"}}]}) == "hi"
    assert readiness.answer_text("chat", {"choices": [{"message": {"content": None, "reasoning": "hm"}}]}) == "hm"
    assert readiness.answer_text("chat", {"choices": [{"message": {"content": ""}}]}) is None
    assert readiness.answer_text("completion", {"choices": [{"text": " hi"}]}) == " hi"
    assert readiness.answer_text("embedding", {"data": [{"embedding": [0.1, 0.2]}]}) == "embedding of 2 numbers"
    assert readiness.answer_text("chat", {"error": "x"}) is None
    assert readiness.answer_text("chat", {"choices": []}) is None


def test_only_a_missing_endpoint_makes_auto_try_the_next():
    assert readiness.is_wrong_endpoint(404, '{"detail":"Not Found"}')
    assert readiness.is_wrong_endpoint(400, '{"error":{"message":"The model does not support Chat Completions API"}}')
    assert not readiness.is_wrong_endpoint(404, '{"error":{"message":"The model `x` does not exist."}}')
    assert not readiness.is_wrong_endpoint(400, '{"error":{"message":"max_tokens is too large"}}')
    assert not readiness.is_wrong_endpoint(401, "")


def test_why_a_container_ended():
    assert "OOMKilled" in readiness.exit_reason({"ExitCode": 137, "OOMKilled": True})
    assert "SIGKILL" in readiness.exit_reason({"ExitCode": 137})
    assert "SIGTERM" in readiness.exit_reason({"ExitCode": 143})
    assert "no such file" in readiness.exit_reason({"ExitCode": 127, "Error": "exec: no such file"})
    assert readiness.exit_reason({"ExitCode": 1}) == "it exited with code 1"
