# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a status says of routers, and where router and box disagree."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import view

NOW = 1_790_000_000.0


def seen(status, drains=None, certificate=None, **more):
    one = {"server": "tiny", "box": "spark-01", "status": status, "why": "L7OK", "sessions": 2, "queue": 1}
    found = {"version": "3.0.11", "problem": "", "config": {"ours": True}, "servers": [one], "drains": drains or {}, "certificate": certificate}
    return found | more


def boxes(health):
    return {"spark-01": {"servers": [{"server": "tiny", "health": health}]}}


def said(found, health):
    return "\n".join(view.lines(view.routers({"r1": found}, boxes(health), NOW)))


@pytest.mark.parametrize(
    ("status", "health", "disagree"),
    [
        ("UP", "answers in 0.1 s", ""),
        ("DOWN (agent)", "answers in 0.1 s", "the box answers, but the router does not use it (DOWN (agent) L7OK) (router r1)"),
        ("UP", "failed: it is gone", "the router sends requests there, but the box gives no answer (router r1)"),
        ("DOWN", "failed: it is gone", ""),
        ("DRAIN", "answers in 0.1 s", ""),
        ("UP", "not asked", ""),
    ],
)
def test_where_they_disagree(status, health, disagree):
    text = said(seen(status), health)
    assert ("spark-01 tiny: " in text) == bool(disagree) and disagree in text
    assert text.splitlines()[1].split()[:4] == ["r1", "spark-01", "tiny", status.split()[0]]


def test_who_drained_it_and_why():
    drain = {"tiny/spark-01": {"owner": "anna@laptop", "run": "3f9c01aa", "at": NOW, "why": "a rollout"}}
    assert "taken out of router r1 by anna@laptop since " in said(seen("DRAIN", drain), "answers")
    assert "(run 3f9c01aa, a rollout)" in said(seen("DRAIN", drain), "answers")
    assert "taken out of router r1 by somebody else" in said(seen("MAINT"), "answers")


def test_a_certificate_that_ends_within_30_days_is_named():
    ends = {"problem": None, "expires": "Dec  1 00:00:00 2026 GMT", "expires_at": NOW + 29 * 86400}
    assert "Router r1: its certificate ends on Dec  1" in said(seen("UP", certificate=ends), "answers")
    assert "certificate" not in said(seen("UP", certificate={**ends, "expires_at": NOW + 31 * 86400}), "answers")
    assert "Router r1: /x is no key." in said(seen("UP", certificate={**ends, "problem": "/x is no key"}), "answers")


def test_what_is_no_router_yet_and_what_cannot_be_reached():
    assert "Router r1: it cannot be reached." in said(None, "answers")
    assert "Router r1: it has no HAProxy yet" in said(seen("UP", version="", servers=[]), "answers")
    assert "no configuration of this collection" in said(seen("UP", config={"ours": False}, servers=[]), "answers")
    assert "spark-01 tiny: the router does not know it" in said(seen("UP", servers=[]), "answers")
    assert view.lines({}) == []
