# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which version of vLLM may listen where."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.vulnerabilities import exposure_verdict, is_local, release, table


@pytest.mark.parametrize(
    ("version", "address", "verdict"),
    [
        ("0.17.1", "192.0.2.10", "refuse"),
        ("0.17.1", "0.0.0.0", "refuse"),
        ("0.17.1", "127.0.0.1", "allow"),
        ("0.17.1", "localhost", "allow"),
        ("0.17.1", "[::1]", "allow"),
        ("0.17.1", "::", "refuse"),
        ("0.18.0rc1", "192.0.2.10", "refuse"),
        ("0.18.0", "192.0.2.10", "warn"),
        ("0.31.9", "spark.local", "warn"),
        ("0.32.0", "192.0.2.10", "allow"),
        ("0.32.0+cpu", "192.0.2.10", "allow"),
        ("v0.33.0", "0.0.0.0", "allow"),
        ("0.1.dev12345", "0.0.0.0", "warn"),
        ("", "0.0.0.0", "warn"),
        ("0.1.dev12345", "127.0.0.1", "allow"),
    ],
)
def test_verdicts(version, address, verdict):
    found = exposure_verdict(version, address)
    assert found["verdict"] == verdict
    assert bool(found["reason"]) == (verdict != "allow")


def test_the_reason_names_what_is_open():
    found = exposure_verdict("0.17.1", "192.0.2.10")
    assert "CVE-2026-27893" in found["advisories"]
    assert "CVE-2026-22778" not in found["advisories"], "fixed in 0.14.1"
    assert "CVE-2026-9540" not in found["advisories"], "begins with 0.19.0"
    assert "0.17.1 is older than 0.18.0" in found["reason"]


def test_order_of_versions():
    assert release("0.32.0+cpu").release == (0, 32, 0)
    assert release("0.23.1rc1.dev12") < release("0.23.1")
    assert release("0.23.1.dev12") < release("0.23.1"), "what is built on the way to a release lacks its fixes"
    assert release("0.1.dev9") is None
    assert release("0.17.1-of_somebody") == release("v0.17.1")
    assert release("") is release("main") is release("1234567") is None


def test_addresses():
    assert is_local("127.0.0.5")
    assert not is_local("10.0.0.5")
    assert not is_local("localhost.example.com")


def test_the_table_is_complete():
    for entry in table()["advisories"]:
        assert entry["id"] and entry["risk"]
        assert "fixed_in" in entry or "affected_from" in entry
        assert all(release(entry[key]) for key in ("fixed_in", "affected_from") if key in entry)


def test_a_release_no_longer_has_what_it_fixed():
    before, fixed = (exposure_verdict(version, "192.0.2.10")["advisories"] for version in ("0.17.9", "0.18.0"))
    assert "CVE-2026-27893" in before and "CVE-2026-27893" not in fixed
    for entry in table()["advisories"]:
        if "fixed_in" in entry:
            assert entry["id"] not in exposure_verdict(entry["fixed_in"], "192.0.2.10")["advisories"]
