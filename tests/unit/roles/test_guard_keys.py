# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands before every route of a vLLM server: without a key nothing answers but /health, and a changed key holds at once."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import locale
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment, work

ROOT = Path(__file__).parents[3]
LOG = ROOT / "tests/unit/plugins/plugin_utils/_diagnosis/logs/healthy-0.32.0-cpu.log"
# Routes of vLLM 0.12 to 0.33 that a start does not always list: development mode, adapters, WebSockets, mounts.
HIDDEN = [
    ("POST", "/sleep"), ("POST", "/wake_up"), ("POST", "/collective_rpc"), ("GET", "/server_info"), ("POST", "/reset_prefix_cache"), ("POST", "/pause"),
    ("POST", "/update_weights"), ("POST", "/v1/load_lora_adapter"), ("GET", "/tokenizer_info"), ("POST", "/pooling"), ("POST", "/score"),
    ("GET", "/metrics/"), ("GET", "/metrics/x"), ("GET", "/"), ("GET", "/favicon.ico"), ("POST", "/start_profile"), ("GET", "/nowhere"),
]  # fmt: skip
ROUTES = [(method, path) for path, methods in re.findall(r"Route: (\S+), Methods: (.+)", LOG.read_text()) for method in methods.split(", ")] + HIDDEN
ODD = ["//health", "/health/", "/health/../v1/models", "/v1/../health", "/HEALTH", "/health\n", "/health;x", "", "/metrics/../v1/models", "/x/health"]
KEY, ROUTER, METRICS = 'the server\'s "own" $key', "r" * 40, "m" * 40


@pytest.fixture(scope="module")
def guard_keys():
    specification = importlib.util.spec_from_file_location("guard_keys", ROOT / "roles/server/files/guard_keys.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def keys(tmp_path):
    """A directory of keys; ``keys(file, text)`` replaces a file as Ansible does, under another inode."""

    def write(file, text):
        new = tmp_path / ".new"
        new.write_text(text)
        new.rename(tmp_path / file)

    write("key.env", f"VLLM_API_KEY={shlex.quote(KEY)}\n")
    write("fleet.env", work.fleet_keys({"router_key": ROUTER, "metrics_key": METRICS}))
    write.folder = str(tmp_path)
    return write


async def engine(scope, receive, send):
    """What lies behind: it answers everything."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    elif scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"secret"})


@pytest.fixture
def ask(guard_keys, keys):
    """The status of one request, or of a WebSocket 101 or what it was refused with; ``ask.sent`` has all that came back."""
    guard = guard_keys.GuardKeys(engine, keys.folder)

    def asked(method, path, key=None, headers=(), kind="http", **more):
        given = [(b"authorization", b"Bearer " + key.encode())] if key is not None else []
        scope = {"type": kind, "path": path, "headers": [*given, *headers], **({"method": method} if kind == "http" else {}), **more}
        asked.sent = []

        async def send(message):
            asked.sent.append(message)

        asyncio.run(guard(scope, None, send))
        first = asked.sent[0]
        return {"websocket.accept": 101, "websocket.close": first.get("code")}.get(first["type"], first.get("status"))

    return asked


def test_the_recorded_routes_are_there():
    assert len(ROUTES) > 50 and ("POST", "/invocations") in ROUTES and ("GET", "/metrics") in ROUTES


@pytest.mark.parametrize("key", [None, "", "wrong", KEY[:-1], KEY + "x", METRICS + "x"])
def test_without_a_key_no_route_answers_but_health(ask, key):
    answered = [(method, path) for method, path in ROUTES if ask(method, path, key) != 401]
    assert answered == [("GET", "/health")]


def test_the_servers_key_opens_every_route(ask):
    assert [route for route in ROUTES if ask(*route, KEY) != 200] == []


def test_the_metrics_key_opens_the_metrics_and_nothing_else(ask):
    answered = [(method, path) for method, path in ROUTES if ask(method, path, METRICS) != 401]
    assert set(answered) == {("GET", "/health"), ("GET", "/metrics"), ("GET", "/metrics/")}


def test_the_router_key_opens_what_a_client_may_ask_and_nothing_that_changes_the_engine(ask):
    refused = {path for method, path in ROUTES if ask(method, path, ROUTER) == 401}
    assert refused == {
        "/sleep", "/wake_up", "/collective_rpc", "/server_info", "/reset_prefix_cache", "/pause", "/update_weights", "/v1/load_lora_adapter",
        "/scale_elastic_ep", "/is_scaling_elastic_ep", "/kv_event_sources", "/inference/v1/abort_requests", "/start_profile", "/", "/favicon.ico", "/nowhere",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/inference/v1/abort_requests", "/sleep"])
def test_a_line_break_behind_an_owners_route_opens_nothing(ask, path):
    """Starlette's expressions end in ``$``, which matches before a last line break: %0A behind a path is the same route."""
    assert [ask("POST", path + end, ROUTER) for end in ("", "\n", "/", "/\n")] == [401] * 4
    assert ask("POST", "/v1/completions\n", ROUTER) == 200


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("key", [None, METRICS])
def test_an_odd_path_is_no_way_around(ask, path, key):
    assert ask("GET", path, key) == 401


def test_health_is_asked_for_and_not_told(ask):
    assert [ask(method, "/health") for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT")] == [200, 200, 401, 401, 401, 401]


def test_a_root_path_is_left_out_as_the_router_of_the_engine_does(ask):
    assert ask("GET", "/api/health", root_path="/api") == 200
    assert ask("GET", "/api/v1/models", root_path="/api") == ask("GET", "/apihealth", root_path="/api") == ask("GET", "/health/v1", root_path="/health") == 401
    assert ask("GET", "/api/metrics", METRICS, root_path="/api/") == 200
    assert ask("POST", "/v1/pause", ROUTER, root_path="/v1") == 401, "the engine reads /pause"


@pytest.mark.parametrize(
    ("root", "path", "read"),
    [
        ("", "/health", "/health"), (None, "/health", "/health"), ("/", "//health", "//health"), ("/api", "/api/health", "/health"),
        ("/api/", "/api/health", "/health"), ("/api", "/api", "/api"), ("/api", "/apihealth", "/apihealth"), ("/abc", "/xyz/health", "/xyz/health"),
    ],
)  # fmt: skip
def test_only_a_root_path_that_stands_before_is_left_out(guard_keys, root, path, read):
    assert guard_keys.route({"path": path, "root_path": root}) == read


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_a_key_comes_as_a_bearer_or_as_anthropics_clients_send_it(ask, scheme):
    assert ask("GET", "/v1/models", headers=[(b"Authorization", scheme.encode() + KEY.encode())]) == 200
    assert ask("GET", "/v1/models", headers=[(b"X-Api-Key", KEY.encode())]) == ask("GET", "/v1/models", "none", [(b"x-api-key", KEY.encode())]) == 200
    assert ask("GET", "/v1/models", headers=[(b"authorization", b"Basic " + KEY.encode())]) == 401
    assert ask("GET", "/v1/models", headers=[(b"authorization", KEY.encode())]) == ask("GET", "/v1/models", headers=[(b"x-api-key", b"")]) == 401
    assert ask("GET", "/v1/models", headers=[(b"x-api-key", b"\xff\xfe")]) == 401


def test_a_refusal_is_one_of_openais_errors(ask):
    ask("POST", "/v1/chat/completions")
    start, body = ask.sent
    headers = dict(start["headers"])
    error = json.loads(body["body"])["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["code"] == "invalid_api_key" and "Bearer" in error["message"]
    assert headers[b"www-authenticate"] == b"Bearer" and headers[b"content-length"] == str(len(body["body"])).encode()
    ask("POST", "/v1/chat/completions", "hunter2")
    assert b"hunter2" not in ask.sent[1]["body"] and b"does not open" in ask.sent[1]["body"]


def test_a_browsers_preflight_passes_and_no_other_request_without_a_key(ask):
    preflight = [(b"origin", b"https://a"), (b"access-control-request-method", b"POST")]
    assert ask("OPTIONS", "/v1/completions", headers=preflight) == 200
    assert ask("OPTIONS", "/v1/completions", headers=preflight[:1]) == ask("POST", "/v1/completions", headers=preflight) == 401


def test_a_websocket_needs_the_key_too(ask):
    assert ask("", "/v1/realtime", kind="websocket") == ask("", "/health", kind="websocket") == 1008
    assert ask("", "/v1/realtime", KEY, kind="websocket") == ask("", "/v1/realtime", ROUTER, kind="websocket") == 101
    assert ask("", "/v1/realtime", METRICS, kind="websocket", extensions={"websocket.http.response": {}}) == 401
    assert [one["type"] for one in ask.sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert ask("", "", kind="lifespan") is None and ask.sent == [{"type": "lifespan.startup.complete"}]


def test_another_key_holds_at_once_and_the_old_one_no_longer(ask, keys):
    keys("key.env", "# VLLM_API_KEY=commented\nexport VLLM_API_KEY='new key'\n")
    assert [ask("GET", "/v1/models", key) for key in (KEY, "new key", "commented", ROUTER)] == [401, 200, 401, 200]
    Path(keys.folder, "fleet.env").unlink()
    assert [ask("GET", "/metrics", key) for key in ("new key", ROUTER, METRICS)] == [200, 401, 401]
    keys("fleet.env", f"GB10_METRICS_KEY={METRICS}\n")
    assert ask("GET", "/metrics", METRICS) == 200


def test_a_request_that_runs_when_its_key_goes_is_answered_to_its_end(guard_keys, keys):
    async def slow(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        keys("key.env", "VLLM_API_KEY='new key'\n")
        assert await status_of_another() == 401, "from now on it opens nothing"
        await send({"type": "http.response.body", "body": b"whole"})

    scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": [(b"authorization", b"Bearer " + KEY.encode())]}
    guard, seen, other = guard_keys.GuardKeys(slow, keys.folder), [], []

    async def status_of_another():
        await guard(scope, None, lambda message: noted(other, message))
        return other[0]["status"]

    async def noted(into, message):
        into.append(message)

    asyncio.run(guard(scope, None, lambda message: noted(seen, message)))
    assert [one.get("body", one.get("status")) for one in seen] == [200, b"whole"]


@pytest.mark.parametrize("text", [None, "", "VLLM_API_KEY=\n", "VLLM_API_KEY=''\n", "VLLM_API_KEY='cut of", "#VLLM_API_KEY=x\n", "OTHER=x\n"])
def test_what_holds_no_key_opens_nothing_and_does_not_start(guard_keys, ask, keys, text):
    if text is None:
        Path(keys.folder, "key.env").unlink()
    else:
        keys("key.env", text)
    assert [ask("GET", "/v1/models", key) for key in (None, "", KEY, "x")] == [401, 401, 401, 401] and ask("GET", "/health") == 200
    with pytest.raises(RuntimeError, match="must not answer without one"):
        guard_keys.GuardKeys(engine, keys.folder)


def test_without_a_key_the_engine_cannot_even_load_it():
    environment = {**os.environ, "GB10_KEY": "required", "PYTHONPATH": str(ROOT / "roles/server/files")}
    done = subprocess.run([sys.executable, "-c", "import guard_keys"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode and "RuntimeError: gb10.vllm: /run/gb10/key.env holds no key" in done.stderr


def test_files_are_read_when_they_change_and_not_for_each_request(guard_keys, keys, monkeypatch):
    read = []
    monkeypatch.setattr(guard_keys.Keys, "_read", staticmethod(lambda path: read.append(path) or {"VLLM_API_KEY": "k"}))
    one = guard_keys.Keys(keys.folder)
    for _round in range(3):
        one.refresh()
    assert len(read) == 2
    os.utime(Path(keys.folder, "key.env"), ns=(1, 1))
    one.refresh()
    assert len(read) == 4


def started(tmp_path, key_env, due="required", **server_env):
    """What the container's first command makes of its private files: (status, what vLLM would see, what was said)."""
    script = deployment.START.replace("/run/gb10", str(tmp_path))
    if key_env is not None:
        (tmp_path / "key.env").write_text(key_env)
    (tmp_path / "server.env").write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in server_env.items()))
    command = ["/bin/sh", "-c", script, "gb10-vllm", "sh", "-c", 'env; umask; echo "arguments: $*"', "vllm", "a b", "$(id)"]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"], "GB10_KEY": due}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_a_server_starts_with_its_environment_and_never_sees_its_key(tmp_path):
    status, seen, said = started(tmp_path, "VLLM_API_KEY='k'\n", HF_TOKEN="it's", PYTHONPATH="/mine")
    assert (status, said) == (0, "") and {"HF_TOKEN=it's", "PYTHONPATH=/opt/gb10-vllm:/mine", "0077", "arguments: a b $(id)"} <= set(seen)
    assert not [line for line in seen if "VLLM_API_KEY" in line]


@pytest.mark.parametrize("key_env", [None, "", "VLLM_API_KEY=''\n", "OTHER=1\n", "VLLM_API_KEY='cut of"])
def test_a_server_for_which_a_key_is_due_ends_without_one(tmp_path, key_env):
    status, seen, said = started(tmp_path, key_env, VLLM_API_KEY="from the environment", GB10_KEY="no")
    assert status != 0 and seen == [] and said.count("\n") == 1 and "must not answer without a key" in said


def test_an_open_server_needs_none(tmp_path):
    status, seen, _said = started(tmp_path, None, due="", A="b")
    assert status == 0 and "A=b" in seen and not [line for line in seen if line.startswith("PYTHONPATH")]


# Its parts, to the word


def digest(text):
    return hashlib.sha256(text.encode()).digest()


def sent_by(call):
    """What one ASGI call sends."""
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(call(send))
    return sent


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("# A=1\n  # B=2\nexport C=x\nD='a b' E=1=2\nF\n=3\nC=y\n", {"C": "y", "D": "a b", "E": "1=2", "": "3"}),
        ("A='one\ntwo'\n", {"A": "one\ntwo"}),
        ("A=x#y\n", {"A": "x#y"}),
        ("", {}),
    ],
)
def test_words_of_a_private_file_are_a_shells(guard_keys, text, known):
    assert guard_keys.values(text) == known


def test_before_anything_was_read_nothing_opens_and_then_each_key_is_a_digest(guard_keys, keys, tmp_path):
    one = guard_keys.Keys(keys.folder)
    assert (one.server, one.router, one.metrics) == ([], [], [])
    one.refresh()
    assert (one.server, one.router, one.metrics) == ([digest(KEY)], [digest(ROUTER)], [digest(METRICS)])
    status = os.stat(tmp_path / "key.env")
    assert one._stamp(str(tmp_path / "key.env")) == (status.st_mtime_ns, status.st_ino, status.st_size) and one._stamp(str(tmp_path / "none")) is None
    assert one._digests(None) == one._digests("") == []


@pytest.mark.parametrize("change", ["time", "size", "file"])
def test_any_trace_of_a_change_is_one(guard_keys, keys, tmp_path, change):
    """With one of them alone: another size in the same instant, another file of the same size and time."""
    (tmp_path / "key.env").write_text("VLLM_API_KEY=a\n")
    os.utime(tmp_path / "key.env", ns=(5, 5))
    one = guard_keys.Keys(keys.folder)
    one.refresh()
    if change == "file":
        keys("key.env", "VLLM_API_KEY=b\n")
    else:
        (tmp_path / "key.env").write_text("VLLM_API_KEY=b\n" + "\n" * (change == "size"))
    os.utime(tmp_path / "key.env", ns=(6, 6) if change == "time" else (5, 5))
    one.refresh()
    assert one.server == [digest("b")]


def test_a_key_is_read_as_it_was_written_whatever_the_locale(guard_keys, keys):
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        Path(keys.folder, "key.env").write_bytes("VLLM_API_KEY=schlüssel\n".encode())
        assert guard_keys.required_keys(keys.folder).server == [digest("schlüssel")]
        Path(keys.folder, "key.env").write_bytes(b"VLLM_API_KEY=\xff\n")
        assert guard_keys.Keys._read(f"{keys.folder}/key.env") == guard_keys.Keys._read(f"{keys.folder}/none") == {}
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def test_a_server_without_its_key_says_which_file_and_what_to_do(guard_keys, tmp_path):
    with pytest.raises(RuntimeError) as told:
        guard_keys.required_keys(str(tmp_path))
    said = f"gb10.vllm: {tmp_path}/key.env holds no key, and this server must not answer without one; run the playbook site again."
    assert str(told.value) == said and guard_keys.GuardKeys.__init__.__defaults__ == ("/run/gb10",)


@pytest.mark.parametrize(
    ("headers", "brought"),
    [
        ([(b"X-Api-Key", b" a "), (b"AUTHORIZATION", b" Bearer  b "), (b"other", b"c"), (b"x-api-key", b"d")], [b"a", b"b", b"d"]),
        ([(b"authorization", b"Basic a"), (b"authorization", b"bearer"), (b"x-api-key", b" "), (b"authorization", b"Bearer a b")], [b"a b"]),
        ([], []),
        (None, []),
    ],
)
def test_the_keys_of_a_request_are_all_it_brings(guard_keys, headers, brought):
    assert guard_keys.offered({"headers": headers}) == brought and guard_keys.offered({}) == []


@pytest.mark.parametrize("many", [(KEY, "wrong"), ("wrong", KEY), ("wrong", KEY, "wrong")])
def test_one_right_key_among_wrong_ones_opens(ask, many):
    assert ask("GET", "/v1/models", headers=[(b"x-api-key", one.encode()) for one in many]) == 200


@pytest.mark.parametrize(
    ("path", "client"),
    [("/v1", True), ("/v1/", True), ("/v10", False), ("/v1\n", True), ("/v1\n\n", False), ("/x/v1", False), ("/v1/load_lora_adapter", False),
     ("/v1/load_lora_adapter/x", False), ("/v1/load_lora_adapters", True), ("/metrics/x", True), ("/", False), ("", False)],
)  # fmt: skip
def test_what_a_client_may_ask(guard_keys, path, client):
    assert guard_keys._is_for_clients(path) is client


@pytest.mark.parametrize(
    ("scope", "passes"),
    [
        ({"method": "OPTIONS", "headers": [(b"Origin", b""), (b"Access-Control-Request-Method", b""), (b"x", b"")]}, True),
        ({"method": "GET", "headers": [(b"origin", b""), (b"access-control-request-method", b"")]}, False),
        ({"headers": [(b"origin", b""), (b"access-control-request-method", b"")]}, False),
        ({"method": "OPTIONS", "headers": [(b"access-control-request-method", b"")]}, False),
        ({"method": "OPTIONS", "headers": None}, False),
        ({"method": "OPTIONS"}, False),
    ],
)
def test_a_preflight_is_an_options_with_both_headers(guard_keys, scope, passes):
    assert guard_keys._is_preflight(scope) is passes


def test_what_may_pass_goes_on_as_it_came(guard_keys, keys):
    passed = []

    async def engine(*arguments):
        passed.append(arguments)

    guard = guard_keys.GuardKeys(engine, keys.folder)
    scope, receive = {"type": "http", "path": "/health", "method": "GET"}, object()

    async def call(send):
        passed.append(send)
        await guard(scope, receive, send)

    assert sent_by(call) == [] and passed[1] == (scope, receive, passed[0])


@pytest.mark.parametrize(("kind", "opens"), [("http", True), ("websocket", False)])
def test_what_is_open_without_a_key_is_so_over_http_alone(guard_keys, keys, kind, opens):
    guard, preflight = guard_keys.GuardKeys(engine, keys.folder), [(b"origin", b"a"), (b"access-control-request-method", b"POST")]
    assert guard._may({"type": kind, "path": "/health", "method": "GET"}) is opens
    assert guard._may({"type": kind, "path": "/v1", "method": "OPTIONS", "headers": preflight}) is opens


@pytest.mark.parametrize(("key", "why"), [(None, "This server asks for a key on every route but /health: send `Authorization: Bearer KEY`."),
                                          ("x", "This key does not open this route of this server.")])  # fmt: skip
@pytest.mark.parametrize(("kind", "begins"), [("http", "http.response"), ("websocket", "websocket.http.response")])
def test_a_refusal_to_the_byte(ask, key, why, kind, begins):
    ask("GET", "/v1/models", key, kind=kind, extensions={"websocket.http.response": {}})
    body = json.dumps({"error": {"message": why, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"www-authenticate", b"Bearer")]
    assert ask.sent == [{"type": f"{begins}.start", "status": 401, "headers": headers}, {"type": f"{begins}.body", "body": body}]


@pytest.mark.parametrize("extensions", [None, {}, {"other": {}}])
def test_a_websocket_that_takes_no_answer_is_closed_with_as_much_as_fits(guard_keys, extensions):
    scope = {"type": "websocket", "extensions": extensions}
    assert sent_by(lambda send: guard_keys.refuse(scope, send, "y" * 130)) == [{"type": "websocket.close", "code": 1008, "reason": "y" * 120}]
    assert sent_by(lambda send: guard_keys.refuse({"type": "websocket"}, send, "no")) == [{"type": "websocket.close", "code": 1008, "reason": "no"}]
