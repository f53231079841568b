# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One redaction for everything shown or written: no secret of ours by its value, none of anybody's by its looks."""

from __future__ import annotations

import base64
import html
import json
import shlex
import time
import urllib.parse

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._engine import container, probe
from ansible_collections.gb10.vllm.plugins.module_utils._io import redaction
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import issue
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import status


@pytest.mark.parametrize(
    "shape",
    [
        "Authorization: Bearer {}",
        "authorization: bearer {}",
        "{{'Authorization': 'Bearer {}'}}",
        "-H 'Authorization: Basic {}'",
        '{{"api_key": "{}"}}',
        '{{"apiKey":"{}"}}',
        "x-api-key: {}",
        "VLLM_API_KEY='{}'",
        "--api-key={}",
        "--api-key {} --port 8000",
        "api_key=['{}', 'b']",
        "AWS_SECRET_ACCESS_KEY={}",
        "aws_secret_access_key = {}",
        "MY_SECRET_OF_MINE={}",
        "OPENAI_API_KEY: {}",
        "WANDB_API_KEY={}",
        'export DB_PASSWORD="{}"',
        "REGISTRY_TOKEN={}",
        "hf_token='{}'",
        "https://user:{}@proxy:3128/x",
        "redis://:{}@host:6379",
        "postgres://u:p@{}@host/db",
        "client_secret={}&grant=1",
    ],
)
def test_a_secret_goes_by_its_shape(shape):
    hidden = redaction.redact("before " + shape.format("S3cretValue9") + " after", [])
    assert "S3cret" not in hidden and redaction.HIDDEN in hidden and hidden.startswith("before ") and ("after" in hidden or "client" in shape)
    assert redaction.redact(hidden, []) == hidden
    assert "S3cret" not in issue.without_secrets(shape.format("S3cretValue9"))


@pytest.mark.parametrize(
    "text",
    [
        "non-default args: {'api_key': None, 'max_num_batched_tokens': 8192}",
        "eos_token='</s>', pad_token=None, num_tokens=55",
        "KeyError: 'token' of https://huggingface.co/a/b@main and http://127.0.0.1:8000/v1",
        "Support for password authentication was removed; MONKEY: x; TOKENIZER=auto",
        "the API refuses our key (HTTP 401)",
        '{"api_key": null}',
    ],
)
def test_what_is_no_secret_stays(text):
    assert redaction.redact(text, []) == text


FILES = {
    "key.env": "VLLM_API_KEY='it''s-the-key'\n",
    "server.env": 'DATABASE="pa55-of-the-env"\nSHORT=abc\nexport MY_PASSWORD=four\nTWO="first line 1\nsecond line 2"\nODD=\'a"b\\c/d?e\'\n',
}
SECRETS = (
    "it's-the-key",
    "its-the-key",
    "pa55-of-the-env",
    "first line 1",
    "second line 2",
    "hub-token-1",
    'a"b\\c/d?e',
    "a%22b%5Cc%2Fd%3Fe",
    'a\\"b\\\\c/d?e',
)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "devstral").mkdir()
    for name, text in FILES.items():
        (tmp_path / "devstral" / name).write_text(text)
    (tmp_path / "hub.env").write_text("SOMETHING=hub-token-1\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/key.env").write_text("VLLM_API_KEY=key-of-another\n")
    return tmp_path


def test_every_value_of_every_private_file_goes(config):
    values = redaction.values_in(config)
    log = " | ".join(one for one in (*SECRETS, "key-of-another") if one != "it's-the-key")
    hidden = redaction.redact(log + " abc my four", values)
    assert set(hidden.split(" | ")[:-1]) == {redaction.HIDDEN} and hidden.endswith("abc my " + redaction.HIDDEN)
    assert redaction.values_in(config / "nowhere") == []


def test_a_start_that_fails_says_no_secret_of_its_environment(config, monkeypatch):
    """The log that site shows, as the one of `diagnose`: reason, log, kept tail and answer."""
    monkeypatch.setattr(probe, "kernel_log", lambda _since: [])
    follower = probe.Follower("c", "http://127.0.0.1:1", str(config / "devstral/key.env"), None, "auto", "hi", 1.0, 1.0)
    result: dict = {}
    follower._fail(result, "login failed: pa55-of-the-env", ["psycopg: password=pa55-of-the-env user=x", "hub-token-1 and key-of-another"], 1.0)
    assert not any(secret in line for line in result["log"] for secret in (*SECRETS, "key-of-another"))
    details = {"State": {"StartedAt": "2026-01-02T03:04:05Z", "Status": "running"}, "Config": {"Labels": {"gb10.vllm.server": "devstral"}, "Env": []}}
    monkeypatch.setattr(container, "inspect", lambda _name: details)
    monkeypatch.setattr(container, "logs", lambda *_words: [(1.0, "psycopg: pa55-of-the-env hub-token-1")])
    monkeypatch.setattr(container, "kernel_log", lambda _since: [])
    assert container.collect("c", config_dir=str(config))[0]["log"] == [f"psycopg: {redaction.HIDDEN} {redaction.HIDDEN}"]


def test_a_status_shows_no_secret():
    shown = status.status({"a": {"problem": "x", "box": {}}}, "now")
    assert shown["boxes"]["a"]["servers"] == []
    assert redaction.everywhere({"a": ["Bearer abcdefgh", 7, None, ("HF_TOKEN=x",)]}) == {
        "a": [f"Bearer {redaction.HIDDEN}", 7, None, [f"HF_TOKEN={redaction.HIDDEN}"]]
    }


@pytest.mark.parametrize("piece", ["api_key=", "api_key=['", "A_KEY='", '"password": "\\', "://a:b", "Bearer ", "hf_", "A_KEY_", "--api-key ["])
def test_hostile_text_is_redacted_soon(piece):
    text = "\n".join([(piece * 8192)[:8192]] * 10)
    began = time.process_time()
    redaction.redact(text, ["abcdefgh"] * 50)
    assert time.process_time() - began < 2


ODD = "Zq7+/p\u00e4 w\"x'y\\z9&k=1234567890"


@pytest.mark.parametrize(
    "form",
    [
        lambda key: key,
        json.dumps,
        lambda key: json.dumps(key, ensure_ascii=False),
        repr,
        lambda key: repr(key.encode()),
        shlex.quote,
        html.escape,
        urllib.parse.quote,
        urllib.parse.quote_plus,
        lambda key: (
            urllib.parse.quote(key, safe="").replace("%2B", "%2b").replace("%2F", "%2f").replace("%C3%A4", "%c3%a4").replace("%5C", "%5c").replace("%3D", "%3d")
        ),
        *(lambda key, before=before: base64.b64encode((before + key).encode()).decode() for before in ("", "u:", "user:", "admin:")),
        lambda key: base64.urlsafe_b64encode(("x" + key).encode()).decode(),
    ],
)
def test_a_secret_goes_however_it_is_written(form):
    values = redaction.values_of([f"DSN={shlex.quote(ODD)}\n"])
    hidden = redaction.redact(f"before {form(ODD)} after", values)
    assert redaction.HIDDEN in hidden and hidden.startswith("before ") and hidden.endswith(" after") and len(hidden) < 40
    assert redaction.redact("nothing of it: 0123456789", values) == "nothing of it: 0123456789"


def test_the_longest_value_goes_first_or_a_part_of_it_would_stay():
    assert redaction.redact("x abcdefgh y", ["bcde", "abcdefgh", "fgh1"]) == f"x {redaction.HIDDEN} y"


def test_values_go_from_everything_that_is_shown():
    shown = {"a": ["plain-words", ("plain-words",)], "b": {"c": "say plain-words"}, "plain-words": 1}
    hidden = {"a": [redaction.HIDDEN, [redaction.HIDDEN]], "b": {"c": f"say {redaction.HIDDEN}"}, "plain-words": 1}
    assert redaction.everywhere(shown, ["plain-words"]) == hidden


@pytest.mark.parametrize(("line", "secret"), [("A=12345678", True), ("A=1234567", False), ("A_KEY=1234", True), ("A_KEY=123", False)])
def test_what_is_too_short_to_be_a_secret_stays(line, secret):
    assert (line.partition("=")[2] in redaction.values_of([line])) is secret


def test_a_value_is_known_in_every_dress():
    value = "pa\"ss'w\u00f6rd\\x"
    known = redaction._forms(value)
    assert {
        "pa\\\"ss'w\\u00f6rd\\\\x",  # JSON
        "pa\\\"ss'w\u00f6rd\\\\x",  # JSON as people read it
        "pa\"ss\\'w\u00f6rd\\\\x",  # Python
        "pa\"ss\\'w\\xc3\\xb6rd\\\\x",  # bytes in Python
        "pa%22ss%27w%C3%B6rd%5Cx",
        "pa%22ss%27w%c3%b6rd%5cx",
        "pa&quot;ss&#x27;w\u00f6rd\\x",
        "pa\"ss'\"'\"'w\u00f6rd\\x",  # a shell
    } <= known
    assert "%FFabcdefgh" in redaction._forms("\udcffabcdefgh"), "a byte that is no text"
    assert {"a/b c", "a%2Fb%20c", "a/b%20c", "a%2Fb+c"} <= redaction._forms("a/b c")


def in_base64(data, before):
    """The letters that stand for ``data`` alone, whatever the bytes before and behind it are: six bits each."""
    letters = base64.b64encode(bytes(before) + data + bytes(3)).decode()
    return "".join(letters[at] for at in range(len(letters)) if 8 * before <= 6 * at and 6 * at + 6 <= 8 * (before + len(data)))


@pytest.mark.parametrize("size", [*range(12), 31, 32, 33])
def test_in_base64_a_value_is_known_at_every_place(size):
    data = bytes((251 - 7 * number) % 256 for number in range(size))
    plain = {one for before in range(3) if len(one := in_base64(data, before)) >= redaction.SHORTEST}
    assert redaction._base64_forms(data) == plain | {one.replace("+", "-").replace("/", "_") for one in plain}


def test_a_private_file_that_cannot_be_read_hides_no_other(tmp_path):
    (tmp_path / "hub.env").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a/key.env").write_bytes(b"A_KEY=abc\xff12345\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/key.env").write_text("A_KEY=another-one\n")
    assert {"abc\ufffd12345", "another-one"} <= set(redaction.values_in(tmp_path))
