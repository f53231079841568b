# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking for boxes: who is asked, what is made of the answers, and what an inventory gets of it."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._discovery import addresses, ask, boxes
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

UBUNTU = "SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5"
NEIGHBOURS = json.dumps(
    [
        {"dst": "192.168.1.20", "dev": "eth0", "lladdr": "48:B0:2D:00:00:01", "state": ["REACHABLE"]},
        {"dst": "fe80::4ab0:2dff:fe00:1", "dev": "eth0", "lladdr": "48:b0:2d:00:00:01", "state": ["STALE"]},
        {"dst": "192.168.1.1", "dev": "eth0", "lladdr": "00:11:22:33:44:55", "state": ["STALE"], "router": None},
        {"dst": "192.168.1.9", "dev": "eth0", "state": ["FAILED"]},
        {"dst": "224.0.0.251", "dev": "eth0", "lladdr": "01:00:5e:00:00:fb", "state": ["NOARP"]},
    ]
)
AVAHI = """\
+;eth0;IPv4;spark-1a2b;_ssh._tcp;local
=;eth0;IPv4;spark-1a2b;_ssh._tcp;local;spark-1a2b.local;192.168.1.21;22;
=;eth0;IPv6;spark-1a2b;_ssh._tcp;local;spark-1a2b.local;fe80::1;22;
=;eth0;IPv4;nas\\032box;_ssh._tcp;local;NAS.local;192.168.1.30;22;"a=b"
=;eth0;IPv4;x;_ssh._tcp;local;{{ evil }}.local;192.168.1.31;22;
=;eth0;IPv4;x;_ssh._tcp;local;fine.local;not-an-address;22;
"""


@pytest.mark.parametrize(
    ("text", "count"),
    [("192.168.1.0/24", 254),
     ("10.0.0.5", 1), ("192.168.1.7/24", 254), ("10.0.0.0/30, 10.0.0.0/30", 2), ("fd00::/126", 3), ("[fd00::7]", 1), ("100.64.0.0/29", 6),
     ("10.0.0.0/22", 1022), ("169.254.0.0/29", 6)],
)  # fmt: skip
def test_ranges(text, count):
    assert len(addresses.in_ranges(text)) == count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.168.1", "is no range of addresses; write it as 192.168.1.0/24"),
        ("192.168.1.1-20", "write its first address and the length of its prefix"),
        ("192.168.1.*", "is no range"),
        ("10.0.0.0/8", "has 16777216 addresses, and at most 1024 are asked"),
        ("10.0.0.0/23,10.1.0.0/23,10.2.0.0/23", "has more than 1024 addresses"),
        ("fd00::/64", "has 18446744073709551616 addresses"),
        ("8.8.8.0/24", "is not a private network"),
        ("224.0.0.0/30", "is no network with boxes in it"),
        ("127.0.0.0/30", "is no network with boxes in it"),
        (",", "gb10_range is empty"),
        ("spark-01", "is no range of addresses"),
    ],
)
def test_a_range_that_is_none_is_one_sentence(text, said):
    with pytest.raises(GB10Error, match="^gb10_range") as error:
        addresses.in_ranges(text)
    assert said in str(error.value)


def test_neighbours_and_announced():
    assert [one["address"] for one in addresses.neighbours(NEIGHBOURS)] == ["192.168.1.20", "fe80::4ab0:2dff:fe00:1%eth0", "192.168.1.1"]
    assert addresses.announced(AVAHI) == [
        {"address": "192.168.1.21", "name": "spark-1a2b"}, {"address": "fe80::1%eth0", "name": "spark-1a2b"}, {"address": "192.168.1.30", "name": "nas"}
    ]  # fmt: skip
    for broken in ("", "[", "{}", "null", '[{"dst": 7}]', "[{}]", "[1]"):
        assert addresses.neighbours(broken) == []


def test_addresses_of_one_box_are_one_and_likely_ones_come_first():
    known = [*addresses.announced(AVAHI), *addresses.neighbours(NEIGHBOURS)]
    answers = dict.fromkeys(["192.168.1.1", "192.168.1.20", "fe80::4ab0:2dff:fe00:1%eth0", "192.168.1.21", "fe80::1%eth0", "192.168.1.30"], UBUNTU)
    found = boxes.boxes(answers, known)
    assert [(one["name"], one["addresses"], one["likely"]) for one in found] == [
        ("box-192-168-1-20", ["192.168.1.20", "fe80::4ab0:2dff:fe00:1%eth0"], True),
        ("spark-1a2b", ["192.168.1.21", "fe80::1%eth0"], True),
        ("box-192-168-1-1", ["192.168.1.1"], False),
        ("nas", ["192.168.1.30"], False),
    ]
    text = boxes.inventory(found, "ben")
    read = yaml.safe_load(text)["gb10"]
    assert read == {
        "hosts": {"box-192-168-1-20": {"ansible_host": "192.168.1.20"}, "spark-1a2b": {"ansible_host": "192.168.1.21"}},
        "vars": {"ansible_user": "ben"},
    }
    assert "    # nas:" in text


@pytest.mark.parametrize("name", ["spark-1a2b", "gx10-77", "promaxgb10-5f", "dgx-spark", "zgx-nano", "edgexpert-1"])
def test_boxes_as_their_makers_name_them(name):
    assert boxes.boxes({"10.0.0.1": UBUNTU}, [{"address": "10.0.0.1", "name": name}])[0]["likely"]


@pytest.mark.parametrize("name", ["sparkling", "nas", "printer", "web-spa"])
def test_others_are_not(name):
    assert not boxes.boxes({"10.0.0.1": UBUNTU}, [{"address": "10.0.0.1", "name": name}])[0]["likely"]


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-\x1b[31m\r\n", b"SSH-2.0-{{ lookup('pipe','id') }}\n", b"SSH-2.0-x\n  evil: true\n", b"SSH-" + b"A" * 500, b"SSH-\xff\xfe#\n"]
)
def test_what_a_stranger_says_spoils_no_inventory(said):
    text = boxes.banner(said)
    assert text.startswith("SSH-") and len(text) <= 80 and text.isprintable() and "{{" not in text
    found = boxes.boxes({"10.0.0.1": text}, [{"address": "10.0.0.1", "name": "spark"}])
    assert yaml.safe_load(boxes.inventory(found, "ben"))["gb10"]["hosts"] == {"spark": {"ansible_host": "10.0.0.1"}}


@pytest.mark.parametrize("name", ["null", "True", "no", "0x10", "007", "1e5", "all", "ungrouped", "localhost", "gb10", "vars"])
def test_a_stranger_who_calls_himself_a_word_of_the_inventory_is_called_by_his_address(name):
    """His card may be said to be NVIDIA's, so that he is no comment."""
    said = f"=;eth0;IPv4;x;_ssh._tcp;local;{name}.local;10.0.0.9;22;"
    known = [*addresses.announced(said), {"address": "10.0.0.9", "mac": "48:b0:2d:00:00:01"}]
    assert known[0]["name"] == name.lower()
    found = boxes.boxes({"10.0.0.9": "SSH-2.0-x"}, known)
    assert yaml.safe_load(boxes.inventory(found, "ben"))["gb10"]["hosts"] == {"box-10-0-0-9": {"ansible_host": "10.0.0.9"}}


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400\r\n", b"220 ftp\r\n", b"\x00\x01"])
def test_what_is_no_ssh_is_none(said):
    assert boxes.banner(said) == ""


def serve(said, close=True):
    """A socket on loopback that says something to whoever comes."""
    server = socket.create_server(("127.0.0.1", 0))

    def work():
        while True:
            try:
                line, _address = server.accept()
            except OSError:
                return
            line.sendall(said)
            if close:
                line.close()

    threading.Thread(target=work, daemon=True).start()
    return server


def test_who_has_ssh_is_asked_over_the_wire_and_the_time_is_bounded(monkeypatch):
    with serve(UBUNTU.encode() + b"\r\n") as server:
        port = server.getsockname()[1]
        assert ask.banners(["127.0.0.1"], port, time.monotonic() + 5) == {"127.0.0.1": UBUNTU}
        assert ask.banners(["127.0.0.1"], port, time.monotonic() - 1) == {}
    monkeypatch.setattr(ask, "CONNECT_S", 0.3)
    with serve(b"", close=False) as silent:
        begun = time.monotonic()
        assert ask.banners(["127.0.0.1"] * 40, silent.getsockname()[1], time.monotonic() + 1) == {"127.0.0.1": ""}
        assert time.monotonic() - begun < 20


def test_nobody_is_asked_beyond_the_range(monkeypatch):
    asked = []
    monkeypatch.setattr(ask, "run", lambda argv, *_rest: subprocess.CompletedProcess(argv, 0, NEIGHBOURS if "neighbour" in argv else "[]", ""))
    monkeypatch.setattr(ask, "_browsed", lambda: AVAHI)
    monkeypatch.setattr(ask, "banners", lambda given, *_rest: asked.append(list(given)) or dict.fromkeys(given, UBUNTU))
    seen = ask.found("10.1.2.0/30", 22, 5)
    assert asked.pop() == ["10.1.2.1", "10.1.2.2"] and seen["asked"] == 2 and seen["in_time"]
    ask.found("", 22, 5)
    assert asked.pop() == ["192.168.1.21", "fe80::1%eth0", "192.168.1.30", "192.168.1.20", "fe80::4ab0:2dff:fe00:1%eth0", "192.168.1.1"]
