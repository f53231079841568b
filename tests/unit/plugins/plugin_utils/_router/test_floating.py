# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The floating address of two routers: what is refused, and who is told what."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import floating

TWO = {"r1": "10.0.0.1", "r2": "10.0.0.2"}
GIVEN = {"address": "10.0.0.100/24"}


@pytest.mark.parametrize(
    ("given", "listen", "addresses", "said"),
    [
        ({}, "0.0.0.0", TWO, "has to be an address with the length"),
        ({"address": "10.0.0.100"}, "0.0.0.0", TWO, "has to be an address with the length"),
        ({"address": "router.example/24"}, "0.0.0.0", TWO, "has to be an address with the length"),
        (GIVEN, "0.0.0.0", {"r1": "10.0.0.1"}, "is for two routers or more"),
        (GIVEN, "10.0.0.1", TWO, "where the floating address 10.0.0.100 is not heard"),
        (GIVEN, "0.0.0.0", {**TWO, "r2": "r2.example"}, "router r2 is reached at r2.example, which is no IPv4 address"),
        ({"address": "fd00::100/64"}, "::", TWO, "router r1 is reached at 10.0.0.1, which is no IPv6 address"),
        ({"address": "10.0.0.2/24"}, "0.0.0.0", TWO, "10.0.0.2 is the own address of router r2"),
        ({**GIVEN, "id": 256}, "0.0.0.0", TWO, "has to be a number from 1 to 255"),
        ({**GIVEN, "interface": "a b"}, "0.0.0.0", TWO, "is no name of one"),
        ({**GIVEN, "id": "x"}, "0.0.0.0", TWO, "has to be a number from 1 to 255"),
    ],
)
def test_what_no_two_routers_could_do_is_refused(given, listen, addresses, said):
    with pytest.raises(GB10Error, match=said):
        floating.check(given, listen, addresses)


def test_each_router_knows_the_others_and_one_is_first():
    floating.check(GIVEN, "0.0.0.0", TWO)
    first, second = (floating.configuration(router, GIVEN, TWO, {TWO[router]: "enP7s7"}) for router in TWO)
    assert "unicast_src_ip 10.0.0.1\n    unicast_peer {\n        10.0.0.2\n    }" in first and "interface enP7s7" in first
    assert "priority 150" in first and "priority 149" in second and "10.0.0.100/24" in second
    assert "interface bond0" in floating.configuration("r1", {**GIVEN, "interface": "bond0"}, TWO, {})
    with pytest.raises(GB10Error, match="no interface of router r1 has the address 10.0.0.1"):
        floating.configuration("r1", GIVEN, TWO, {})
    assert f'script "/usr/bin/python3 {floating.ANSWERS} 127.0.0.1 443"' in floating.configuration("r1", GIVEN, TWO, {"10.0.0.1": "box"}, 443)
    later = floating.configuration("r1", {"address": "fd00::9/64"}, {"r1": "fd00::1"}, {"fd00::1": "box"})
    assert f'script "/usr/bin/python3 {floating.ANSWERS} ::1 8443"' in later
