# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a fleet and the report of a run."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import certificates
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import status as statuses
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import status_page
from certificate_files import END, pair
from fleet_boxes import OTHER_IMAGE, UNIT_DIGEST, box, deployed, server


def order(fresh, one):
    decision = deployment.decide(fresh, (one["servers"].get(fresh["name"]) or {}).get("deployment"), one["docker"]["containers"])
    return {**decision, "unit_digest": UNIT_DIGEST}


def seen(one, **more):
    answer = {"phase": "ready", "answer": {"latency_s": 0.31}}
    return {
        "box": one, "wanted": [server()], "decisions": {"devstral": order(deployed(), one)} if one else {},
        "answers": {"devstral": answer}, "locked": None, "prune": False, "problem": None,
    } | more  # fmt: skip


class TestStatus:
    def test_nothing_is_text_to_ansible_core_2_18(self):
        assert statuses.status({"a": seen(box(deployed()), locked="", problem="")}, "now") == statuses.status({"a": seen(box(deployed()))}, "now")

    def test_a_box_that_is_well(self):
        status = statuses.status({"spark-1": seen(box(deployed()))}, "now")
        row = status["boxes"]["spark-1"]["servers"][0]
        assert row["health"] == "answers in 0.3 s" and row["drift"] == [] and row["kv_tokens"] == 393000 and row["figures"] == "measured"
        lines = statuses.status_table(status).splitlines()
        assert " ".join(lines[1].split()) == "spark-1 devstral devstral-24b on aaaaaaaaaaaa 0.32.0 answers in 0.3 s 393,000 5.99x 20.0 GiB - none"
        assert lines[2:] == ["", "A server's key lies on its box in /etc/gb10-vllm/SERVER/key.env, readable for root."]

    def test_a_box_that_cannot_be_reached(self):
        status = statuses.status({"spark-1": seen(None, problem="spark-1 cannot be reached: no route.", answers={})}, "now")
        text = statuses.status_table(status)
        assert "spark-1  devstral  -" in text and "unreachable" in text and text.endswith("spark-1: spark-1 cannot be reached: no route.")

    def test_a_server_that_does_not_answer_and_differs(self):
        one = box(deployed(), deployed(server("old")))
        answers = {"devstral": {"phase": "failed", "reason": "it ended with code 1"}}
        status = statuses.status({"spark-1": seen(one, answers=answers, decisions={"devstral": order(deployed(image=OTHER_IMAGE), one)})}, "now")
        text = statuses.status_table(status)
        assert "spark-1 devstral failed: it ended with code 1" in text
        assert "spark-1 devstral: the image changed" in text
        assert "spark-1 old: no longer in the inventory; site leaves it until gb10_prune is true." in text
        assert [row["server"] for row in status["boxes"]["spark-1"]["servers"]] == ["devstral", "old"]

    def test_a_box_without_servers_and_a_record_that_cannot_be_read(self):
        one = box()
        one["servers"]["devstral"] = {"unreadable": ["deployment"]}
        text = statuses.status_table(statuses.status({"a": seen(one), "b": seen(box(), wanted=[])}, "now"))
        assert "a devstral: its record deployment.json cannot be read; site writes it anew." in text
        assert "not deployed" in text and "\nb    -" in text

    def test_holds_no_secret(self):
        secret = server(api_key="sk-secret", env={"HF_TOKEN": "hf_secret"})
        text = json.dumps(statuses.status({"a": seen(box(deployed(secret)), wanted=[secret])}, "now"))
        assert "secret" not in text


def test_the_report_sets_what_was_measured_against_what_was_predicted():
    fresh = box(deployed())
    del fresh["servers"]["devstral"]["measured"]
    lines = statuses.report_table({"a": {"box": box(deployed())}, "b": {"box": fresh}, "c": {"box": box()}}).splitlines()
    assert lines[1].split()[:10] == ["a", "devstral", "devstral-24b", "on", "aaaaaaaaaaaa", "0.32.0", "127.0.0.1:8000", "393,000", "393,216", "-0.1%"]
    assert "not measured" in lines[2] and len(lines) == 3
    assert statuses.report_table({"c": {"box": box()}}) == "No server runs on these boxes."


def test_a_server_over_two_boxes_is_one_server_in_two_rows():
    ranks = [{**deployed(), "group": {"number": number, "boxes": ["a", "b"]}} for number in (0, 1)]
    unmeasured = [box(rank) for rank in ranks]
    del unmeasured[1]["servers"]["devstral"]["measured"]
    lines = statuses.report_table({name: {"box": one} for name, one in zip("ab", unmeasured, strict=True)}).splitlines()
    assert lines[1].split()[:8] == ["a", "devstral", "1/2", "devstral-24b", "on", "aaaaaaaaaaaa", "0.32.0", "127.0.0.1:8000"]
    assert lines[2].split()[:11] == ["b", "devstral", "2/2", "devstral-24b", "on", "aaaaaaaaaaaa", "0.32.0", "-", "-", "393,216", "-"]
    status = statuses.status({name: seen(one) for name, one in zip("ab", unmeasured, strict=True)}, "now")
    assert [status["boxes"][name]["servers"][0]["endpoint"] for name in "ab"] == ["127.0.0.1:8000", None], "only the head answers"
    assert "b    devstral 2/2" in statuses.status_table(status)


def test_boxes_of_a_server_that_were_not_deployed_alike_are_named_in_one_line():
    """One that was lost while the others got something new; what differs of each rank anyway is no difference."""

    def rank(number, *words, manifest="m"):
        made = deployed()
        command = [*made["container"]["command"], "--node-rank", str(number), *words]
        return {**made, "manifest": manifest, "container": {**made["container"], "command": command}, "group": {"number": number, "boxes": ["b", "a"]}}

    def drifts(**ranks):
        made = statuses.status({name: seen(box(one)) for name, one in ranks.items()}, "now")
        return [one for name in ranks for one in made["boxes"][name]["servers"][0]["drift"] if "same deployment" in one], statuses.status_table(made)

    assert drifts(a=rank(1, "--headless"), b=rank(0))[0] == [] == drifts(a=rank(1, "--seed", "7"))[0]
    said, table = drifts(a=rank(1, "--headless"), b=rank(0, "--seed", "7"))
    assert said == [
        "its boxes do not have the same deployment (the argument --seed is not the same: a has none, b has 7), so they wait for each other; "
        "site over all of them mends it"
    ]
    assert table.count("same deployment") == 1 and "a devstral: its boxes do not" in table
    made = rank(0, "--kv-cache-memory-bytes", "7", "--max-model-len", "9")
    assert "(the argument --max-model-len is" in drifts(a=rank(1), b=made)[0][0], "what was said, not what was worked out from it"
    assert "the files of the model are not the same" in drifts(a=rank(1, manifest="n"), b=rank(0))[0][0]


def test_what_stood_in_the_way_is_told_in_one_text():
    assert statuses.problem({}) is statuses.problem({"failures": {}, "problem": ""}) is None
    assert statuses.problem({"failures": {"look": "a cannot be reached."}}) == "a cannot be reached."
    untold = {"failures": {"look": "", "plan": ""}, "problem": "x is not complete."}
    assert statuses.problem(untold) == "The box could not be read. The plan could not be computed. x is not complete."
    row = statuses.status({"a": seen(None, failures={"look": "a: no route."}, answers={})}, "now")["boxes"]["a"]
    assert row["problem"] == "a: no route." and row["servers"][0]["health"] == "unreachable"


def test_a_plan_that_failed_leaves_what_is_wanted_open():
    rows = statuses.status({"a": seen(box(deployed()), decisions={}), "b": seen(box(), decisions={})}, "now")["boxes"]
    assert rows["a"]["servers"][0]["drift"] == ["what is wanted could not be worked out"]
    assert rows["b"]["servers"][0]["drift"] == ["not deployed yet"]


def test_what_a_server_lacks_is_told_below_the_table_and_is_no_drift():
    order = {"create": False, "reason": "unchanged", "deployment": deployed(), "lacking": ["a bound on its processes"]}
    status = statuses.status({"a": seen(box(deployed()), decisions={"devstral": order}), "b": seen(box(), decisions={"devstral": order})}, "now")
    row, other = (status["boxes"][name]["servers"][0] for name in ("a", "b"))
    assert (row["lacking"], other["lacking"]) == (["a bound on its processes"], []), "what does not run lacks nothing"
    told = "a devstral still lacks: a bound on its processes; applied at its next replacement, or now with -e gb10_replan=true."
    assert told in statuses.status_table(status).splitlines()


def test_versions_and_what_nobody_verified_are_shown():
    one = deployed()
    one["container"] = {**one["container"], "volumes": [f"{one['model_path']}@0123456789abcd:/models/devstral:ro", *one["container"]["volumes"][1:]]}
    directory = f"{one['model_path']}@0123456789abcd"
    facts = {one["model_path"]: {"directory": directory, "content": {"small": "s", "weights": None}}}
    status = statuses.status({"spark-1": seen(box(one), models=facts)}, "now")
    row = status["boxes"]["spark-1"]["servers"][0]
    assert (row["model"], row["model_version"], row["unverified"]) == ("devstral-24b", "0123456789abcd", directory)
    text = statuses.status_table(status)
    assert "devstral-24b@0123456789abcd on" in text
    assert f"spark-1 devstral: the weights in {directory} are not verified yet: site has them read once, in the background." in text
    facts[one["model_path"]]["content"]["weights"] = "w"
    assert "not verified" not in statuses.status_table(statuses.status({"spark-1": seen(box(one), models=facts)}, "now"))


def idle_box(gib, **planned):
    one = box(deployed(**planned))
    one["servers"]["devstral"]["measured"]["facts"]["memory"] = {"idle_bytes": int(gib * 2**30)}
    return one


def test_memory_that_lay_idle_is_told_in_tokens():
    lines = statuses.report_table({"a": {"box": idle_box(5)}, "b": {"box": idle_box(2)}}).splitlines()
    # 60 GiB hold 393,216 tokens.
    told = "5.0 GiB were idle beside floor and margin when it was proven, 32,768 tokens; a new plan uses what was measured (-e gb10_replan=true)."
    assert lines[-1] == f"a devstral: {told}" and len(lines) == 5, "2 GiB are not worth telling"
    assert statuses.idle({}, {"facts": {"memory": {"idle_bytes": 9 * 2**30}}}) == statuses.idle({"kv_cache_bytes": 1, "kv_tokens": 1}, None) == {}


def test_what_a_new_plan_would_give_stands_below_the_status():
    one = box(deployed())
    more = {**order(deployed(kv_cache_bytes=65 * 2**30, kv_tokens=425984), one)}
    status = statuses.status({"spark-1": seen(one, decisions={"devstral": more})}, "now")
    row = status["boxes"]["spark-1"]["servers"][0]
    assert row["drift"] == [] and row["gain"] == {"bytes": 5 * 2**30, "tokens": 32768} and row["kv_tokens"] == 393000, "what is shown is what runs"
    assert "spark-1 devstral could have +5.0 GiB, 32,768 tokens more with -e gb10_replan=true." in statuses.status_table(status)


def test_an_ipv6_endpoint_can_be_told_from_its_port():
    one = deployed(server(address="fd00::5"))
    assert statuses.status({"a": seen(box(one))}, "now")["boxes"]["a"]["servers"][0]["endpoint"] == "[fd00::5]:8000"
    assert "[fd00::5]:8000" in statuses.report_table({"a": {"box": box(one)}})


def of_root(path):
    """A file as it lies on a box, where it is root's; the tests may run as anybody."""
    found = os.stat(path)
    return os.stat_result((*found[:4], 0, *found[5:10]))


@pytest.mark.parametrize(
    ("made", "now_s", "words"),
    [
        (lambda folder, _patch: pair(folder), END.timestamp() - 1, "its certificate {0} is valid until Feb  3 04:05:06 2031 GMT"),
        (lambda folder, _patch: pair(folder), END.timestamp(), "its certificate {0} ended on Feb  3 04:05:06 2031 GMT"),
        (lambda folder, _patch: (pair(folder)[0], str(folder / "none")), 0.0, "{1} cannot be read (No such file or directory)"),
        (
            lambda folder, patch: patch.setenv("PATH", "/none") or pair(folder),
            0.0,
            "its certificate {0} could not be read for its end (there is no openssl on the box)",
        ),
    ],
)  # fmt: skip
def test_the_end_of_a_certificate_is_shown_in_the_table_and_on_the_page(tmp_path, monkeypatch, made, now_s, words):
    monkeypatch.setattr(certificates, "_status", of_root)
    files = made(tmp_path, monkeypatch)
    one = {**box(deployed()), "certificates": {"devstral": certificates.read_certificate(*files)}}
    status = json.loads(json.dumps(statuses.status({"spark-1": seen(one), "spark-2": seen(box(deployed()))}, "now", now_s=now_s)))
    assert f"spark-1 devstral: {words.format(*files)}." in statuses.status_table(status).splitlines()
    assert "spark-2 devstral: " not in statuses.status_table(status)
    assert words.format(*files) in status_page.page(status, {})
