# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment that is kept lacks beside a fresh one: named, never a reason to replace it."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment, lacking

OLD = {
    "command": ["/bin/sh", "-c", 'exec "$@"', "gb10-vllm", "vllm", "serve"],
    "volumes": ["/srv/models/acme/m:/models/a:ro"],
    "name": "gb10-vllm-a",
    "image": "i",
}
NEW = {
    "a key that is asked for on every route": {"command": [*OLD["command"], "--middleware", "guard_keys.GuardKeys"]},
    "an end to requests from web pages of any origin": {"command": [*OLD["command"], "--allowed-origins", "[]"]},
    "a model that is mounted by its version": {"volumes": ["/srv/models/acme/m@0123abc:/models/a:ro"]},
    "private files in its caches": {"command": ["/bin/sh", "-c", 'umask 077; exec "$@"', "gb10-vllm"]},
    "a bound on its processes": {"pids_limit": 4096},
    "an end before the system's own programs when memory is short": {"oom_score_adj": 800},
    "a root file system that it cannot write": {"read_only": True},
}


def deployed(**container):
    return {"name": "a", "inputs": "i", "spec": "s", "container": {**OLD, **container}}


def test_each_check_of_the_table_is_tried_here():
    assert list(NEW) == [what for what, _has in lacking.CHECKS]


@pytest.mark.parametrize("what", NEW)
def test_what_a_fresh_one_has_and_the_kept_one_has_not_is_named(what):
    old, new = deployed(), deployed(**NEW[what])
    assert lacking.lacking(old, new) == [what]
    assert lacking.lacking(new, new) == lacking.lacking(new, old) == lacking.lacking(old, old) == lacking.lacking({}, new) == []


def test_an_at_sign_in_a_directory_above_the_model_is_no_version():
    assert lacking.lacking(deployed(volumes=["/srv/models@home/m:/models/a:ro"]), deployed(volumes=["/srv/models@home/m@1:/models/a:ro"])) != []


def test_it_restarts_nothing_and_is_told_until_it_is_replaced():
    old, new = deployed(), {**deployed(pids_limit=9, read_only=True), "spec": "t"}
    running = [{"name": "gb10-vllm-a", "labels": {"gb10.vllm.spec": "s"}}]
    decision = deployment.decide(new, old, running)
    assert decision == {
        "deployment": old, "create": False, "reason": "unchanged", "lacking": ["a bound on its processes", "a root file system that it cannot write"],
    }  # fmt: skip
    assert deployment.decide(new, old, running, replan=True) == {
        "deployment": new, "create": True, "reason": "its pids_limit, read_only changed", "lacking": [],
    }  # fmt: skip


def test_in_words():
    orders = {"spark-1": {"a": {"lacking": ["x", "y"]}, "b": {"lacking": []}}, "spark-2": {"a": {}}}
    assert lacking.fleet_text(orders) == "spark-1 a still lacks: x, y; applied at its next replacement, or now with -e gb10_replan=true."
    assert lacking.fleet_text({}) == lacking.sentence([]) == ""


def test_what_a_new_plan_would_give_is_told_with_its_numbers():
    gain = {"bytes": int(4.6 * 2**30), "tokens": 31000}
    orders = {"spark-1": {"a": {"gain": gain, "lacking": ["x"]}, "b": {"gain": {}}}}
    assert lacking.fleet_text(orders).splitlines()[1] == "spark-1 a could have +4.6 GiB, 31,000 tokens more with -e gb10_replan=true."
    assert lacking.more({}) == ""
