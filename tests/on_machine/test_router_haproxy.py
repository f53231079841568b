# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of a router as the real HAProxy takes it: keys, models, bodies, streams, drains, reloads, dead engines."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time

import pytest
import real_router
from ansible_collections.gb10.vllm.plugins.module_utils._router import drain, haproxy
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import configuration
from real_router import CLIENT_KEYS, Router, StubAgent, StubEngine, behind

pytestmark = pytest.mark.skipif(not real_router.installed(), reason="there is no haproxy on this machine (tests/setup brings it)")


class Fleet:
    """Two boxes, each with the model `tiny` (also called `small`), the first one with `other` as well."""

    def __init__(self, place, **more):
        given = real_router.settings(**more)
        self.addresses = {"spark-01": "127.0.0.2", "spark-02": "127.0.0.3"}
        port = real_router.free_port()
        self.engines = {box: StubEngine(box, "tiny", address, port) for box, address in self.addresses.items()}
        self.other = StubEngine("other-on-spark-01", "other", "127.0.0.2")
        self.agents = {box: StubAgent(address, given["agent_port"]) for box, address in self.addresses.items()}
        self.servers = [behind(box, "tiny", address, port, ["tiny", "small"]) for box, address in self.addresses.items()]
        self.servers.append(behind("spark-01", "other", "127.0.0.2", self.other.port, ["org/other"]))
        self.router = Router(place, self.servers, given)

    def close(self):
        self.router.close()
        for one in [*self.engines.values(), self.other, *self.agents.values()]:
            one.close()


@pytest.fixture
def fleet(tmp_path):
    fleets = []

    def make(**more):
        fleets.append(Fleet(tmp_path, **more))
        return fleets[-1]

    yield make
    for one in fleets:
        one.close()


def completion(model="tiny", **more):
    return {"model": model, "prompt": "a", "max_tokens": 1, **more}


def who(answer):
    assert answer[0] == 200, answer
    return json.loads(answer[1])["by"]


def refusal(answer):
    return answer[0], json.loads(answer[1])["error"]


@pytest.mark.parametrize("affinity", ["none", "key", "X-Session-Id"])
@pytest.mark.parametrize(("open_to_all", "metrics"), [(False, "127.0.0.1"), (True, "::1")])
def test_haproxy_takes_what_is_written_without_a_warning(tmp_path, affinity, open_to_all, metrics):
    told = {"metrics_port": 8405, "metrics_address": metrics}
    given = real_router.settings(affinity=affinity, open=open_to_all, port_offset=1000, client_keys={} if open_to_all else CLIENT_KEYS, **told)
    servers = [behind("spark-01", "a", "10.0.0.1", 8000, ["a", "b"]), behind("spark-02", "a", "box.invalid", 8000, ["a"], tls_name="box.invalid")]
    for name, text in configuration.files(servers, given, real_router.version()).items():
        (tmp_path / name).write_text(text)
    real_router.make_certificate(tmp_path)
    router = Router.__new__(Router)
    router.config, router.socket, router.state, router.place = tmp_path / "haproxy.cfg", str(tmp_path / "s"), tmp_path / "state", tmp_path
    router.config.write_text(router.here(router.config.read_text()))
    router.state.write_text("1\n")
    done = router.check()
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "WARNING" in line and "could not resolve" not in line]
    assert not warned


def test_who_may_ask_what_and_which_server_gets_it(fleet):
    fleet = fleet(port_offset=0)
    ask = fleet.router.ask
    status, error = refusal(ask("/v1/completions", completion(), key=None))
    assert (status, error["code"]) == (401, "invalid_api_key")
    assert refusal(ask("/v1/completions", completion(), key=real_router.BOX_KEY))[0] == 401, "the router's own key opens the boxes, not the router"
    assert ask("/v1/completions", completion(), key=None, headers={"X-Api-Key": CLIENT_KEYS["ci"]})[0] == 200
    assert ask("/health", key=None)[0] == 200
    assert who(ask("/v1/completions", completion("org/other"))) == "other-on-spark-01"
    assert who(ask("/v1/chat/completions", completion("small"))) in fleet.engines
    status, error = refusal(ask("/v1/completions", completion('no"such\nmodel')))
    assert (status, error["code"]) == (404, "model_not_found") and 'no"such\nmodel' in error["message"]
    assert refusal(ask("/v1/completions", {"prompt": "a"}))[0] == 400
    assert refusal(ask("/metrics"))[0] == 404
    assert refusal(ask("/v1/responses/resp_1"))[0] == 404
    status, text = ask("/v1/models")
    assert status == 200 and [one["id"] for one in json.loads(text)["data"]] == ["org/other", "small", "tiny"]
    asked = [one["headers"] for engine in [*fleet.engines.values(), fleet.other] for one in engine.asked]
    assert asked and all(one["authorization"] == f"Bearer {real_router.BOX_KEY}" for one in asked)
    assert not any(key in str(asked) for key in CLIENT_KEYS.values())


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    """A router whose models have names that encoders write in several ways."""
    given = real_router.settings(body_bytes=2**18)
    engines = [StubEngine(server, server, "127.0.0.2") for server in ("slash", "umlaut", "beyond")]
    agent = StubAgent("127.0.0.2", given["agent_port"])
    names = {"slash": "org/a", "umlaut": "mödel", "beyond": "模型-\U0001f600"}
    servers = [behind("spark-01", one.name, "127.0.0.2", one.port, [names[one.name]]) for one in engines]
    router = Router(tmp_path_factory.mktemp("spelled"), servers, given)
    router.wait(lambda: all(one["status"].startswith("UP") for one in router.seen().values()))
    yield router, engines
    router.close()
    for one in [*engines, agent]:
        one.close()


def nested(levels):
    found = {}
    for _ in range(levels):
        found = {"properties": found}
    return json.dumps(found)


@pytest.mark.parametrize(
    ("body", "server"),
    [
        ('{"model":"org/a"}', "slash"),
        (r'{"model":"org\/a"}', "slash"),  # PHP
        (r'{"prompt":"a\/b \u00e9 \\u0041 \\\\/ \\\" \ud83d\ude00","model":"org\/a"}', "slash"),
        (r'{"prompt":"ends with a backslash \\","model":"org\/a"}', "slash"),
        (r'{"prompt":"\\u","model":"org\u002fa"}', "slash"),
        ('{"model":"mödel"}', "umlaut"),
        (r'{"model":"m\u00f6del"}', "umlaut"),  # Python's json
        (r'{"model":"m\u00F6del"}', "umlaut"),
        (r'{"prompt":"\/","model":"\u6a21\u578b-\ud83d\ude00"}', "beyond"),
        (r'{"model":"\u6A21\u578B-\uD83D\uDE00"}', "beyond"),
        ('{"model":"模型-\U0001f600"}', "beyond"),
        (f'{{"tools":{nested(15)},"model":"org/a"}}', "slash"),
        (f'{{"model":"org/a","tools":{nested(60)}}}', "slash"),
        (json.dumps({"prompt": "字" * 40000, "model": "模型-\U0001f600"}), "beyond"),
    ],
)
def test_a_model_is_found_however_its_name_is_written(spelled, body, server):
    router, engines = spelled
    assert json.loads(body)["model"], "it is JSON"
    assert who(router.ask("/v1/completions", body.encode())) == server
    (engine,) = [one for one in engines if one.name == server]
    assert engine.asked[-1]["bytes"] == len(body.encode()), "what the engine gets is what was sent"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (r'{"model":"org\/none"}', 404, "org/none"),
        (r'{"model":"m\u00f6del-2"}', 404, "does not exist"),
        (f'{{"tools":{nested(40)},"model":"org/a"}}', 400, "put `model` before it, or ask at the port of the model: slash on port "),
        ("{}", 400, "No `model` is found"),
        ("[]", 400, "No `model` is found"),
        ('{"model":', 400, "No `model` is found"),
    ],
)
def test_what_is_not_found_is_said_with_the_way(spelled, body, status, said):
    router, engines = spelled
    if "ask at the port" in said:
        router.write(
            [behind("spark-01", one.name, "127.0.0.2", one.port, ["org/a"]) for one in engines[:1]], port_offset=real_router.free_port() - engines[0].port
        )
        router.reload()
    found, error = refusal(router.ask("/v1/completions", body.encode()))
    assert found == status and said in error["message"]


def test_bodies_up_to_the_bound_are_routed_and_larger_ones_are_told_the_way(fleet):
    fleet = fleet(port_offset=0, body_bytes=2**18)
    large = completion("org/other")
    large = {"prompt": "x" * (2**18 - 200), **{key: large[key] for key in ("max_tokens", "model")}}
    assert who(fleet.router.ask("/v1/completions", large)) == "other-on-spark-01"
    status, error = refusal(fleet.router.ask("/v1/completions", {"prompt": "x" * 2**18, "model": "tiny"}))
    assert status == 413 and "256 KiB" in error["message"] and "gb10_router_port_offset" in error["message"]
    # In pieces, so that nobody says how long it is.
    connection = http.client.HTTPSConnection("127.0.0.1", fleet.router.given["port"], context=ssl._create_unverified_context(), timeout=30)
    pieces = iter([b'{"model": "org/other", "prompt": "', b"x" * 1000, b'", "max_tokens": 1}'])
    connection.request("POST", "/v1/completions", pieces, {"Authorization": f"Bearer {CLIENT_KEYS['anna']}"}, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["by"] == "other-on-spark-01"


def test_a_large_body_passes_at_the_port_of_its_model(fleet):
    fleet = fleet()
    base = fleet.servers[0]["port"]
    offset = real_router.free_port() - base
    fleet.router.write(fleet.servers, port_offset=offset)
    fleet.router.reload()
    status, error = refusal(fleet.router.ask("/v1/completions", {"prompt": "x" * 2**20, "model": "tiny"}))
    assert status == 413 and f"tiny on port {base + offset}" in error["message"]
    body = {"model": "tiny", "prompt": "x" * 3 * 2**20, "max_tokens": 1}
    assert fleet.router.ask("/v1/completions", body, port=base + offset)[0] == 200
    assert fleet.router.ask("/v1/completions", body, port=base + offset, key=None)[0] == 401


def test_a_form_names_its_model_too(fleet):
    fleet = fleet()
    # As OpenAI's clients write it: fields before files.
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\norg/other\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\x00\x01\r\n\xff\r\n--b--\r\n'
    answer = fleet.router.ask("/v1/audio/transcriptions", form, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert who(answer) == "other-on-spark-01"
    answer = fleet.router.ask("/v1/audio/transcriptions", form.replace(b'"model"', b'"nothing"'), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert refusal(answer)[0] == 400


def test_the_queue_stands_in_the_router(fleet):
    fleet = fleet()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(fleet.router.ask("/v1/completions", completion(max_tokens=10)))) for _ in range(24)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [status for status, _body in answers] == [200] * 24
    assert max(engine.most for engine in fleet.engines.values()) <= 4


def test_a_session_stays_on_its_box(fleet):
    fleet = fleet(affinity="X-Session-Id")
    by = {session: {who(fleet.router.ask("/v1/completions", completion(), headers={"X-Session-Id": session})) for _ in range(4)} for session in "abcdefgh"}
    assert all(len(one) == 1 for one in by.values()) and len(set.union(*by.values())) == 2


def test_a_session_leaves_a_box_that_is_drained_or_dead_and_comes_back(fleet):
    fleet = fleet(affinity="X-Session-Id")

    def where():
        return {who(fleet.router.ask("/v1/completions", completion(), headers={"X-Session-Id": "one"})) for _ in range(4)}

    (home,) = where()
    (other,) = set(fleet.engines) - {home}
    haproxy.told(fleet.router.asks(), "tiny", home, "drain")
    assert where() == {other}
    fleet.router.reload()
    assert where() == {other}
    haproxy.told(fleet.router.asks(), "tiny", home, "ready")
    assert where() == {home}
    fleet.engines[home].close()
    assert where() == {other}


def test_all_models_of_one_port_are_told_apart(fleet):
    """Two boxes, a model each, the same port: what was asked at the port of one was answered by the other."""
    fleet = fleet()
    port = fleet.servers[0]["port"]
    two = [behind("spark-01", "tiny", "127.0.0.2", port, ["tiny"]), behind("spark-02", "second", "127.0.0.3", port, ["second"])]
    fleet.router.write(two, port_offset=real_router.free_port() - port)
    fleet.router.reload()
    assert who(fleet.router.ask("/v1/completions", completion("second"))) == "spark-02"
    with pytest.raises(ConnectionRefusedError):
        fleet.router.ask("/v1/completions", completion(), port=port + fleet.router.given["port_offset"])


def stream(router, tokens, done):
    status, text = router.ask("/v1/completions", completion(stream=True, max_tokens=tokens))
    done.append((status, text.count(b"data: "), text.endswith(b"data: [DONE]\n\n"), json.loads(text.split(b"\n")[0][6:])["by"]))


def test_a_drained_box_finishes_and_gets_nothing_new_over_reloads(fleet):
    fleet = fleet()
    done = []
    running = [threading.Thread(target=stream, args=(fleet.router, 250, done)) for _ in range(2)]
    # One after the other: two that come in the same moment are looked at by two threads of HAProxy, which may choose the same box for both.
    for count, one in enumerate(running, 1):
        one.start()
        fleet.router.wait(lambda count=count: sum(engine.running for engine in fleet.engines.values()) == count)
    assert {engine.running for engine in fleet.engines.values()} == {1}
    assert fleet.router.seen()["tiny", "spark-01"]["sessions"] == 1
    # The streams end in the process that was there before this reload; it is drained and counted, too.
    fleet.router.reload()
    haproxy.told(fleet.router.asks(), "tiny", "spark-01", "drain")
    fleet.router.reload()
    seen = fleet.router.seen()["tiny", "spark-01"]
    assert seen["status"].startswith("DRAIN") and seen["sessions"] == 1
    assert {who(fleet.router.ask("/v1/completions", completion())) for _ in range(6)} == {"spark-02"}
    for one in running:
        one.join()
    assert sorted((status, lines, whole) for status, lines, whole, _by in done) == [(200, 251, True)] * 2
    fleet.router.wait(lambda: fleet.router.seen()["tiny", "spark-01"]["sessions"] == 0)
    haproxy.told(fleet.router.asks(), "tiny", "spark-01", "ready")
    assert {who(fleet.router.ask("/v1/completions", completion())) for _ in range(8)} == set(fleet.engines)


def test_a_reload_takes_the_port_of_the_configuration_and_not_of_the_state(fleet):
    fleet = fleet()
    moved = StubEngine("moved", "tiny", "127.0.0.2")
    haproxy.told(fleet.router.asks(), "tiny", "spark-02", "drain")
    fleet.router.write(
        [
            {**one, "port": moved.port} if one["box"] == "spark-01" and one["server"] == "tiny" else {**one, "models": [one["models"][0]]}
            for one in fleet.servers
            if one["box"] == "spark-01"
        ]
        + [{**fleet.servers[1], "port": moved.port}]
    )
    fleet.router.reload()
    assert who(fleet.router.ask("/v1/completions", completion())) == "moved"
    assert fleet.router.seen()["tiny", "spark-02"]["status"].startswith("DRAIN")
    moved.close()


def tls_engine(place, address):
    """An engine that speaks TLS and remembers what it is sent by who does not."""
    engine = StubEngine("over-tls", "tiny", address)
    context, engine.in_clear = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(place / "certificate.pem", place / "key.pem")
    accept = engine.server.get_request

    def get_request():
        connection, whence = accept()
        first = connection.recv(1, 2)  # MSG_PEEK
        if first and first != b"\x16":
            engine.in_clear.append(connection.recv(65536))
            connection.close()
            raise OSError("no TLS")
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), whence

    engine.server.get_request = get_request
    return engine


def test_a_server_that_speaks_tls_from_now_on_is_never_asked_in_clear(fleet):
    """The fleet's key and a prompt went over the wire in clear, over every reload: HAProxy takes from its state whether a server speaks TLS."""
    fleet = fleet()
    secure = tls_engine(fleet.router.place, "127.0.0.2")
    one = {**fleet.servers[0], "port": secure.port, "tls_name": "router"}
    fleet.router.write([one, fleet.servers[2]], ca=str(fleet.router.place / "certificate.pem"))
    fleet.router.reload()
    fleet.router.wait(lambda: fleet.router.ask("/v1/completions", completion())[0] == 200)
    assert who(fleet.router.ask("/v1/completions", completion())) == "over-tls" and secure.in_clear == []
    # And back.
    fleet.router.write(fleet.servers[1:])
    fleet.router.reload()
    assert who(fleet.router.ask("/v1/completions", completion())) == "spark-02"
    secure.close()


def test_a_changed_port_of_the_agents_is_asked_after_a_reload(fleet):
    fleet = fleet()
    moved = {address: StubAgent(address, port) for port in [real_router.free_port()] for address in ("127.0.0.2", "127.0.0.3")}
    moved["127.0.0.2"].says["tiny"] = "down"
    fleet.router.write(fleet.servers, agent_port=moved["127.0.0.2"].server.server_address[1])
    fleet.router.reload()
    fleet.router.wait(lambda: fleet.router.seen()["tiny", "spark-01"]["status"] == "DOWN (agent)", 15)
    for one in moved.values():
        one.close()


def test_a_crash_keeps_what_was_drained_and_what_was_made_ready(fleet, tmp_path):
    """HAProxy is killed as by a power cut: nothing is said at its end."""
    fleet, owner = fleet(), {"run": "r", "owner": "anna@laptop"}
    told = {"records": str(tmp_path / "records"), "keep": lambda: fleet.router.keep() or ""}
    assert drain.drain(fleet.router.asks, [("tiny", "spark-01")], owner, "a rollout", **told)["drained"]
    fleet.router.crash()
    assert fleet.router.seen()["tiny", "spark-01"]["status"].startswith("DRAIN")
    assert {who(fleet.router.ask("/v1/completions", completion())) for _ in range(4)} == {"spark-02"}
    fleet.router.reload()
    assert drain.ready(fleet.router.asks, [("tiny", "spark-01")], 20, **told)["away"] == {}
    fleet.router.crash()
    assert fleet.router.seen()["tiny", "spark-01"]["held"] == "" and drain.Drains(told["records"]).known == {}


def test_a_drain_of_somebody_else_is_not_cancelled_because_the_server_is_down(fleet, tmp_path):
    fleet, owner = fleet(), {"run": "r", "owner": "anna@laptop"}
    told = {"records": str(tmp_path / "records"), "keep": lambda: fleet.router.keep() or ""}
    for state, held in (("drain", "drain"), ("maint", "maint")):
        haproxy.told(fleet.router.asks(), "tiny", "spark-01", state)
        fleet.agents["spark-01"].says["tiny"] = "down"
        fleet.router.wait(lambda: fleet.router.seen()["tiny", "spark-01"]["status"].startswith(("DOWN", "MAINT")))
        assert drain.drain(fleet.router.asks, [("tiny", "spark-01")], owner, "a rollout", **told)["others"] == ["tiny/spark-01"]
        fleet.agents["spark-01"].says["tiny"] = "up"
        assert drain.ready(fleet.router.asks, [("tiny", "spark-01")], 0, **told)["ready"] == []
        fleet.router.reload()
        assert fleet.router.seen()["tiny", "spark-01"]["held"] == held
        haproxy.told(fleet.router.asks(), "tiny", "spark-01", "ready")
        fleet.router.wait(lambda: fleet.router.seen()["tiny", "spark-01"]["status"].startswith("UP"))


def test_reloads_under_load_lose_no_request(fleet):
    fleet = fleet()
    stop, done = threading.Event(), []

    def load():
        while not stop.is_set():
            stream(fleet.router, 10, done)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for one in threads:
        one.start()
    for _ in range(4):
        time.sleep(0.3)
        fleet.router.reload()
    stop.set()
    for one in threads:
        one.join()
    assert len(done) > 16 and {(status, lines, whole) for status, lines, whole, _by in done} == {(200, 11, True)}


def test_an_engine_that_is_dead_is_out_and_none_fails(fleet):
    fleet = fleet()
    fleet.agents["spark-01"].says["tiny"] = "down"
    began = time.monotonic()
    fleet.router.wait(lambda: fleet.router.seen()["tiny", "spark-01"]["status"].startswith("DOWN (agent)"))
    assert time.monotonic() - began < 15
    assert {who(fleet.router.ask("/v1/completions", completion())) for _ in range(6)} == {"spark-02"}
    assert fleet.router.seen()["other", "spark-01"]["status"].startswith("UP"), "the agent speaks for one server"
    fleet.agents["spark-01"].says["tiny"] = "up"
    fleet.router.wait(lambda: fleet.router.seen()["tiny", "spark-01"]["status"].startswith("UP"))
    # A process that is gone refuses connections: the request goes to the other box before any check has seen it.
    fleet.engines["spark-02"].close()
    assert [fleet.router.ask("/v1/completions", completion())[0] for _ in range(6)] == [200] * 6


def test_what_was_sent_is_not_sent_again(fleet):
    fleet = fleet()
    for engine in fleet.engines.values():
        engine.server.RequestHandlerClass.complete = lambda handler: (real_router.body(handler), fleet.other.asked.append({}), handler.connection.close())
    answer = fleet.router.ask("/v1/completions", completion())
    assert refusal(answer)[0] == 502
    assert len(fleet.other.asked) == 1


def test_all_drained_waits_and_then_says_so(fleet):
    fleet = fleet(queue_timeout_s=1)
    for box in fleet.engines:
        haproxy.told(fleet.router.asks(), "tiny", box, "drain")
    status, error = refusal(fleet.router.ask("/v1/completions", completion()))
    assert status == 503 and error["type"] == "server_error"
