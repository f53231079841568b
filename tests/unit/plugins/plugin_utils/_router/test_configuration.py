# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written for HAProxy; that HAProxy takes it and does it is seen in tests/on_machine/test_router_haproxy.py."""

from __future__ import annotations

import json

import pytest
import real_router
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import configuration
from real_router import behind

SERVERS = [behind(box, "tiny", "10.0.0.1", 8000, ["tiny", "small"]) for box in ("spark-01", "spark-02")]


def files(servers=SERVERS, version=(2, 6), **more):
    return configuration.files(servers, real_router.settings(port=8443, agent_port=8089, **more), version)


def test_no_key_is_in_the_configuration_and_no_key_of_a_client_anywhere():
    found = files()
    assert real_router.BOX_KEY not in found["haproxy.cfg"] and real_router.BOX_KEY in found[configuration.BOX_KEYS]
    assert not any(key in text for key in real_router.CLIENT_KEYS.values() for text in found.values())
    assert [line.split()[1] for line in found[configuration.CLIENT_KEYS].splitlines()] == ["anna", "ci"]


def test_names_lead_to_the_server_and_are_listed():
    found = files()
    assert found[configuration.MODELS] == "small gb10_tiny\ntiny gb10_tiny\n"
    assert json.loads(found[configuration.LIST])["data"][0] == {"id": "small", "object": "model", "created": 0, "owned_by": "vllm", "max_model_len": 4096}


def test_whatever_changes_is_another_configuration():
    def digest(**more):
        return next(line for line in files(**more)["haproxy.cfg"].splitlines() if "description" in line)

    assert digest() == digest()
    assert len({digest(), digest(box_key="another" * 8), digest(client_keys={}), digest(servers=SERVERS[:1]), digest(timeout_s=60)}) == 5


@pytest.mark.parametrize("version", [(2, 4), (1, 8), (2, 5, 3)])
def test_an_old_haproxy_is_refused(version):
    with pytest.raises(GB10Error, match="is too old for a router"):
        files(version=version)


def test_tls_is_verified_against_the_name():
    text = files([behind("spark-01", "tiny", "10.0.0.1", 8000, ["tiny"], tls_name="spark-01.example")], ca="/etc/ssl/fleet.pem")["haproxy.cfg"]
    assert "ssl verify required ca-file /etc/ssl/fleet.pem verifyhost spark-01.example" in text and "verify none" not in text


def test_only_what_was_never_sent_is_tried_again():
    assert "retry-on conn-failure\n" in files()["haproxy.cfg"]


def test_ports_per_model():
    assert "frontend router_only_tiny" not in files()["haproxy.cfg"]
    text = files(port_offset=1000)["haproxy.cfg"]
    assert "bind 127.0.0.1:9000 ssl" in text and "tiny on port 9000" in text


def only(text):
    """{port: server} of the fronts of single models."""
    found, server = {}, ""
    for line in text.splitlines():
        if line.startswith("frontend "):
            server = line.split()[1].removeprefix("router_only_") if "router_only_" in line else ""
        if server and line.startswith("    bind "):
            found[int(line.split()[1].rpartition(":")[2])] = server
    return found


def test_a_port_leads_to_one_model_or_to_none():
    """Between two batches of a rollout a port may be of two: then it is of nobody, while a server that moves has both of its own."""
    moving = [
        behind("spark-01", "a", "10.0.0.1", 8001, ["a"]),
        behind("spark-02", "a", "10.0.0.2", 8000, ["a"]),
        behind("spark-02", "b", "10.0.0.2", 8002, ["b"]),
    ]
    assert only(files(moving, port_offset=1000)["haproxy.cfg"]) == {9001: "a", 9000: "a", 9002: "b"}
    swapping = [*moving[:2], behind("spark-02", "b", "10.0.0.2", 8001, ["b"])]
    assert only(files(swapping, port_offset=1000)["haproxy.cfg"]) == {9000: "a"}
    assert only(files(moving, port_offset=1000, metrics_port=9002)["haproxy.cfg"]) == {9001: "a", 9000: "a"}
    assert only(files(moving, port_offset=443)["haproxy.cfg"]) == {8444: "a", 8445: "b"}, "8443 is the router's own"
    assert only(files(moving, port_offset=57534)["haproxy.cfg"]) == {65534: "a", 65535: "a"}


def test_a_name_is_found_as_json_may_write_it():
    assert configuration.spellings("org/a") == ["org/a"]
    assert configuration.spellings("möd-字") == ["möd-字", "m%u00f6d-%u5b57", "m%u00F6d-%u5B57"]
