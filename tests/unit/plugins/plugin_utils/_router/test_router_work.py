# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a router is given out of an inventory and of what runs on the boxes, and what is refused."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import configuration, work

KEYS = {"gb10_router_key": "b" * 32, "gb10_router_keys": {"anna": "a" * 20, "ci": "c" * 20}}
GROUPS = {"all": ["spark-01", "spark-02", "r1"], "gb10": ["spark-01", "spark-02"]}


def deployment(address="10.0.0.1", **more):
    words = ["vllm", "serve", "/models/tiny", "--served-model-name", "tiny", "--max-num-seqs", "16"]
    given = {"name": "tiny", "address": address, "port": 8000, "served_model_name": "tiny", "key": "given", "probe_url": "http://x:8000", "planned": {}}
    return {**given, "container": {"command": words}, **more}


def box(address, deployed=None, **more):
    read = {"servers": {"tiny": {"deployment": deployed or deployment(address)}}}
    return {"ansible_host": address, "gb10_servers": [{"name": "tiny", "model": "tiny"}], "preflight_result": {"box": read}, **KEYS, **more}


def hosts(**more):
    return {"spark-01": box("10.0.0.1"), "spark-02": box("10.0.0.2"), "r1": {"ansible_host": "10.0.0.9"}} | more


def found(**more):
    config = {"present": True, "ours": True, "stock": False, "digest": ""}
    return {"version": "3.0.11", "config": config, "running": "", "files": {}, "record": {}, "drains": {}, "stale_certificate": False} | more


def worked(all_hosts, router="r1", **more):
    question = {"router": router, "routers": [router], "boxes": ["spark-01", "spark-02"], "proven": [], "found": found(**more)}
    return work.work(question, all_hosts)


def servers(done):
    return {one["box"]: one for one in done["record"]["servers"]}


def test_a_box_that_was_not_read_keeps_what_the_router_knows_of_it():
    before = worked(hosts())
    now = worked(hosts(**{"spark-02": {key: value for key, value in box("10.0.0.2").items() if key != "preflight_result"}}), record=before["record"])
    assert now["record"]["servers"] == before["record"]["servers"]
    read_again = {**box("10.0.0.2"), "fleet_box_now": {"servers": {"tiny": {"deployment": deployment("10.0.0.2", port=8009)}}}}
    assert servers(worked(hosts(**{"spark-01": {**read_again, "ansible_host": "10.0.0.1"}, "spark-02": read_again})))["spark-02"]["port"] == 8009


def test_nothing_is_done_where_all_is_as_it_should_be():
    done = worked(hosts())
    assert done["changed"]
    digests = {f"/etc/haproxy/{name}": {"sha256": hashlib.sha256(text.encode()).hexdigest()} for name, text in done["files"].items()}
    running = next(line.split()[-1] for line in done["files"]["haproxy.cfg"].splitlines() if "description" in line)
    assert not worked(hosts(), running=running, files=digests)["changed"]
    assert worked(hosts(), running=running, files=digests | {"/etc/haproxy/haproxy.cfg": {"sha256": "edited"}})["changed"]
    assert worked(hosts(), running="another", files=digests)["changed"]
    assert worked(hosts(), running=running, files=digests, stale_certificate=True)["changed"]


def test_the_variables_may_lie_with_the_boxes_or_with_the_router():
    own = worked(hosts(r1={"ansible_host": "10.0.0.9", "gb10_router_port": 443}))
    assert "bind 0.0.0.0:443 ssl" in own["files"]["haproxy.cfg"] and own["url"] == "https://10.0.0.9:443/v1"
    assert hashlib.sha256(b"a" * 20).hexdigest().upper() in own["files"][configuration.CLIENT_KEYS]


WATCHED = {"ansible_host": "10.0.0.9", "groups": {"gb10_monitoring": ["m"]}}


@pytest.mark.parametrize(
    ("own", "interfaces", "bound", "noted"),
    [
        (WATCHED, {"10.0.0.9": "eth0"}, ["    bind 10.0.0.9:9101"], False),
        (WATCHED, {"192.168.7.2": "eth0"}, [], True),
        ({**WATCHED, "gb10_management_address": "192.168.7.2"}, {"192.168.7.2": "eth0"}, ["    bind 192.168.7.2:9101"], False),
        ({**WATCHED, "gb10_router_metrics_address": "10.0.0.77"}, {"192.168.7.2": "eth0"}, ["    bind 10.0.0.77:9101"], False),
        ({**WATCHED, "gb10_router_metrics_port": 0}, {"192.168.7.2": "eth0"}, [], False),
        ({"ansible_host": "10.0.0.9"}, {"10.0.0.9": "eth0"}, [], False),
    ],
)
def test_a_router_tells_its_metrics_where_the_monitoring_host_comes_in(own, interfaces, bound, noted):
    """On an address of its own: one that a gateway forwards to it cannot be listened on, and HAProxy would not start."""
    done = worked(hosts(r1=own), interfaces=interfaces)
    config = done["files"]["haproxy.cfg"]
    assert [line for line in config.partition("frontend router_metrics\n")[2].splitlines()[:1] if line] == bound
    assert bool([note for note in done["notes"] if "is no address of its own; set gb10_router_metrics_address" in note]) is noted


def test_what_is_not_behind_it_yet_is_said():
    old = {key: value for key, value in deployment("10.0.0.1").items() if key != "key"}
    done = worked(hosts(**{"spark-01": box("10.0.0.1", old), "spark-02": box("10.0.0.2", deployment("127.0.0.1"))}))
    assert servers(done) == {} and "gb10_replan=true" in done["notes"][0] and "listens on 127.0.0.1" in done["notes"][1]


def test_a_router_on_its_only_box_comes_in_over_loopback():
    alone = {"spark-01": box("10.0.0.1", deployment("127.0.0.1"))}
    question = {"router": "spark-01", "routers": ["spark-01"], "boxes": ["spark-01"], "proven": [], "found": found()}
    one = servers(work.work(question, alone))["spark-01"]
    assert (one["address"], one["agent"]) == ("127.0.0.1", "127.0.0.1")


def test_somebodys_configuration_is_left():
    done = worked(hosts(), config={"present": True, "ours": False, "stock": False, "digest": ""})
    assert done == {"problem": f"Router r1: {work.OTHERS}"}
    assert worked(hosts(), config={"present": True, "ours": False, "stock": True, "digest": ""})["problem"] == ""


def mistakes(named="r1", **more):
    return work.mistakes({"groups": GROUPS, "named": named, "boxes": ["spark-01", "spark-02"]}, hosts(**more))


def test_an_inventory_without_a_mistake():
    assert mistakes() == [] and mistakes(named=None) == []


@pytest.mark.parametrize(
    ("named", "changes", "said"),
    [
        ("r9", {}, "gb10_routers names r9"),
        ("r1", {"gb10_router_keys": {"a": "x" * 20, "b": "x" * 20}}, "b has the same key as a"),
        ("r1", {"gb10_router_keys": {"a": "b" * 32}}, "a has the same key as gb10_router_key"),
        ("r1", {"gb10_router_keys": {"a": "short"}}, "the key of a must have at least 20"),
        ("r1", {"gb10_router_keys": {"a b": "x" * 20}}, "'a b' is no name of a client"),
        ("r1", {"gb10_router_keys": {}}, "gb10_router_keys names no key"),
        ("r1", {"gb10_router_key": ""}, "gb10_router_key is missing"),
        ("r1", {"gb10_router_affinity": "no header"}, "gb10_router_affinity"),
        ("r1", {"gb10_router_metrics_address": "a name"}, "gb10_router_metrics_address: 'a name' is no address"),
        ("r1", {"gb10_servers": [{"name": "a", "model": "m"}, {"name": "b", "model": "x/m", "port": 8001}]}, "The model name m is served on two ports"),
        ("r1", {"gb10_servers": [{"name": "a", "model": "m", "address": "127.0.0.1"}]}, "where the router cannot reach it"),
        ("r1", {"ansible_host": "spark.example"}, "set gb10_server_address"),
        ("r1", {"gb10_router_key": "short"}, "gb10_router_key must have at least 32"),
        ("r1", {"gb10_router_key": "b" * 32 + " b"}, "gb10_router_key must have at least 32"),
        ("r1", {"gb10_router_key": "b" * 32 + "\nmore"}, "gb10_router_key must have at least 32"),
        ("r1", {"gb10_router_keys": ["x" * 20]}, "gb10_router_keys has to be a mapping"),
        ("r1", {"gb10_router_tls": ["a", "b"]}, "gb10_router_tls has to be a mapping"),
        ("r1", {"gb10_router_tls": {"certificate": "/a"}}, "gb10_router_tls has certificate; it takes the paths"),
        ("r1", {"gb10_router_tls": {"certificate": "/a", "key": "/b", "ca": "/c"}}, "gb10_router_tls has ca, certificate, key;"),
        ("r1", {"gb10_router_floating": "10.0.0.100/24"}, "gb10_router_floating has to be a mapping"),
        ("r1", {"gb10_router_address": "0.0.0.0:1\n    user root"}, "gb10_router_address is"),
        ("r1", {"gb10_router_ca": "/a b"}, "gb10_router_ca is '/a b'"),
        ("r1", {"gb10_servers": "tiny"}, "spark-01: gb10_servers has to be a list of servers"),
        ("r1", {"gb10_servers": ["tiny"]}, "spark-01: gb10_servers has to be a list of servers"),
        ("r1", {"gb10_servers": {"name": "tiny"}}, "spark-01: gb10_servers has to be a list of servers"),
        ("r1", {"gb10_servers": [{"name": "a", "model": "m", "port": "abc"}]}, "the server a has the port 'abc'"),
        ("r1", {"gb10_servers": [{"name": "a", "model": "m", "port": 70000}]}, "the server a has the port 70000"),
        ("r1", {"gb10_servers": [{"name": "a", "model": "m", "port": 65000}]}, "Port 66000 of the router, for a, is none"),
        ("r1", {"gb10_router_port": 9000}, "Port 9000 of the router would be of gb10_router_port and of tiny"),
        ("r1", {"gb10_router_metrics_port": 9000}, "Port 9000 of the router would be of gb10_router_metrics_port and of tiny"),
        ("r1", {"gb10_router_metrics_port": 8443}, "Port 8443 of the router would be of gb10_router_port and of gb10_router_metrics_port"),
        ("spark-01", {"gb10_router_port": 8000}, "Port 8000 of the router would be of gb10_router_port and of the server tiny itself"),
        ("spark-01", {"gb10_router_port": 8089}, "Port 8089 of the router would be of gb10_router_port and of gb10_agent_port"),
    ],
)
def test_a_mistake_is_one_sentence_without_a_key(named, changes, said):
    (sentence,) = mistakes(named, **{"spark-01": {**box("10.0.0.1"), **changes}, "spark-02": {**box("10.0.0.2"), **changes}})
    assert said in sentence and "x" * 20 not in sentence and "b" * 32 not in sentence


NUMBERS = {
    "gb10_router_port": [0, 65536], "gb10_router_port_offset": [70000], "gb10_router_body_kib": [0, -5, 10**9], "gb10_router_timeout_s": [0, 10**7],
    "gb10_router_queue_timeout_s": [0, -1], "gb10_router_connections": [0], "gb10_router_maxconn": [0, -3], "gb10_router_metrics_port": [-1, 65536],
    "gb10_agent_port": [0],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, bad in NUMBERS.items() for value in [*bad, "abc", True, 1.5, [1], {}]])
def test_a_number_that_haproxy_could_do_nothing_with_is_one_sentence(name, value):
    """HAProxy itself takes a maxconn of -3, and 0 KiB, with which every body is too large."""
    changes = {name: value}
    (sentence,) = mistakes("r1", **{"spark-01": box("10.0.0.1", **changes), "spark-02": box("10.0.0.2", **changes)})
    assert sentence.startswith(f"{name} is {value!r}; give it a whole number from ")
    assert worked(hosts(**{"spark-01": box("10.0.0.1", **changes)}))["problem"].endswith(sentence)


def test_a_number_may_be_a_text():
    assert "bind 0.0.0.0:443 ssl" in worked(hosts(**{"spark-01": box("10.0.0.1", gb10_router_port="443")}))["files"]["haproxy.cfg"]


def of(name, port=8000, **more):
    return {"gb10_servers": [{"name": name, "model": f"x/{name}", "port": port, **more}]}


def test_two_models_never_share_a_port_of_the_router():
    """Port 9000 was of both, and the kernel chose which of them answered."""
    (sentence,) = mistakes(**{"spark-01": box("10.0.0.1", **of("a")), "spark-02": box("10.0.0.2", **of("b"))})
    assert sentence.startswith("Port 9000 of the router would be of a and of b") and "gb10_router_port_offset" in sentence
    assert mistakes(**{"spark-01": box("10.0.0.1", **of("a")), "spark-02": box("10.0.0.2", **of("b", 8001))}) == []
    none = {"gb10_router_port_offset": 0}
    assert mistakes(**{"spark-01": box("10.0.0.1", **of("a"), **none), "spark-02": box("10.0.0.2", **of("b"), **none)}) == []


def test_one_name_of_a_server_stands_for_the_same_models_everywhere():
    """Its backend has both boxes, and half of the requests would come to a box that does not know the model."""
    (sentence,) = mistakes(**{"spark-01": box("10.0.0.1", **of("main")), "spark-02": box("10.0.0.2", **of("main", served_model_name="other"))})
    assert sentence.startswith("The server main serves main on spark-01 and other on spark-02.")


@pytest.mark.parametrize(
    ("tls", "more", "changed"),
    [
        ({}, {"certificate_names": ["r1", "10.0.0.9", "localhost", "127.0.0.1", "more"]}, False),
        ({}, {"certificate_names": ["R1", "10.0.0.9", "localhost", "127.0.0.1"]}, False),
        ({}, {"certificate_names": ["r1", "10.0.0.8", "localhost", "127.0.0.1"]}, True),
        ({}, {"certificate_names": None}, False),
        ({}, {}, False),
        ({"certificate": "/a.crt", "key": "/a.key"}, {"certificate_names": ["a.example"]}, True),
    ],
)
def test_a_certificate_that_is_wanted_otherwise_is_taken_up(tls, more, changed):
    """Given later, moved, or made for names that are not the router's any more."""
    done = worked(hosts())
    digests = {f"/etc/haproxy/{name}": {"sha256": hashlib.sha256(text.encode()).hexdigest()} for name, text in done["files"].items()}
    running = next(line.split()[-1] for line in done["files"]["haproxy.cfg"].splitlines() if "description" in line)
    now = hosts(r1={"ansible_host": "10.0.0.9", "gb10_router_tls": tls})
    again = worked(now, running=running, files=digests, record=done["record"], **more)
    assert (again["problem"], again["changed"], again["certificate"]) == ("", changed, tls)
    settled = worked(now, running=running, files=digests, record=again["record"], **more)
    assert settled["changed"] == (changed and not tls), "what was given is taken up once"


def order(**more):
    return {"start": True, "create": False, "keys_live": True} | more


@pytest.mark.parametrize(
    ("orders", "interrupted"),
    [
        ({}, []),
        ({"tiny": order(start=False)}, []),
        ({"tiny": order(write_key=True)}, []),
        ({"tiny": order(write_key=True, keys_live=False)}, ["tiny"]),
        ({"tiny": order(create=True)}, ["tiny"]),
        ({"tiny": order(env_removed=True)}, ["tiny"]),
    ],
)
def test_only_what_is_interrupted_is_drained(orders, interrupted):
    known = {"spark-01": box("10.0.0.1", server_orders=orders)}
    assert [one["server"] for one in work.targets({"boxes": ["spark-01"]}, known)] == interrupted


def test_a_rollback_and_a_stop_mean_all_or_the_one_named():
    known = {"spark-01": box("10.0.0.1")}
    assert work.targets({"boxes": ["spark-01"], "all": True}, known) == [{"box": "spark-01", "server": "tiny"}]
    assert work.targets({"boxes": ["spark-01"], "all": True, "server": "other"}, known) == []


def test_what_a_run_left_drained_on_boxes_that_have_proven_themselves_comes_back():
    question = {"router": "r1", "routers": ["r1"], "boxes": ["spark-01", "spark-02"], "proven": ["spark-01"]}
    drains = {"tiny/spark-01": {}, "tiny/spark-02": {}}
    assert work.work({**question, "found": found(drains=drains)}, hosts())["left"] == [{"server": "tiny", "box": "spark-01"}]


def test_engines_that_have_to_be_idle():
    known = box("10.0.0.1")
    asked = work.idle([{"box": "spark-01", "server": "tiny"}, {"box": "spark-01", "server": "new"}], known, "/etc/gb10-vllm")
    assert asked == [{"name": "tiny", "base_url": "http://x:8000", "api_key_file": "/etc/gb10-vllm/tiny/key.env"}]


def test_why_a_batch_must_not_be_touched():
    spared = {"router_host": "r1", "drained": ["tiny/spark-01"], "busy": {}}
    refused = {"router_host": "r2", "msg": "tiny of spark-01 is the last one.", "failed": False}
    silent = {"router_host": "r3", "unreachable": True, "msg": "Failed to connect to the host via ssh"}
    assert work.refusals([spared], True) == []
    assert work.refusals([spared, refused, {**refused, "router_host": "r4"}], True) == ["tiny of spark-01 is the last one."]
    assert work.refusals([spared, refused], True, True) == ["r2: tiny of spark-01 is the last one."]
    (said,) = work.refusals([spared, silent], True)
    assert said.startswith("r3 cannot be reached") and said.endswith("Nothing was changed.")
    assert work.refusals([spared, silent], False) == []
    (said,) = work.refusals([silent], True, True)
    assert "tell it to use this batch again" in said and "Nothing was changed" not in said


def seen(status, sessions=0, **more):
    server = {"server": "tiny", "box": "spark-01", "status": status, "sessions": sessions, "queue": 0}
    return {"router": {"version": "3.0", "config": {"ours": True}, "problem": "", "servers": [server]} | more}


@pytest.mark.parametrize("answer", [seen("DRAIN"), seen("MAINT"), seen("DOWN"), seen("UP", servers=[]), seen("UP", version="", servers=[], problem="no")])
def test_a_router_that_sends_no_requests_lets_a_box_go(answer):
    assert work.sends({"router-1": answer}, "spark-01") == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (seen("UP"), "router-1 still sends requests to spark-01: tiny (UP, 0 at work)."),
        (seen("UP 1/3"), "still sends requests"),
        (seen("no check"), "still sends requests"),
        (seen("DRAIN", 2), "tiny (DRAIN, 2 at work)"),
        ({"unreachable": True}, "router-1 cannot be reached, so nobody knows whether it sends requests to spark-01."),
        (seen("UP", problem="HAProxy does not answer"), "does not say what it does (HAProxy does not answer)"),
    ],
)
def test_a_box_that_a_router_uses_stays(answer, said):
    (found,) = work.sends({"router-1": answer}, "spark-01")
    assert said in found and "gb10_remove_routed=true" in found
    assert work.sends({"router-1": answer}, "spark-02") == [] or "servers" not in answer.get("router", {}) or "does not say" in said
