# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs of the playbooks benchmark and tune over an imitated box (tests/support/imitation.py), whose servers are as fast as their settings say."""

from __future__ import annotations

import http.server
import json
import re
import sys
import threading
import time

import imitation
import pytest
import real_router
from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import MARK
from imitated_fleet import ONE, flat, needs_root

pytestmark = needs_root
MINI = {"mini": {"input_tokens": 32, "output_tokens": 8, "concurrency": [2], "repeats": 2}}
SPACE = {"max_num_seqs": [16, 64], "max_num_batched_tokens": [100_000_000]}
FAST = {"only": "--max-num-seqs 64", "itl": 0.01}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with imitation.boxes(tmp_path_factory.mktemp("imitated"), 1) as up:
        up.wish(gb10_benchmark_profiles=MINI, gb10_benchmark_profile="mini", gb10_benchmark_cool_c=0, gb10_tune_settings=SPACE)
        up.play("site")
        up.save()
        yield up


@pytest.fixture
def box(fleet):
    fleet.restore()
    for left in fleet.folder.glob("gb10-*"):
        left.unlink()
    fleet.rules(ONE, FAST)
    yield fleet
    assert fleet.held() == []


def kept(box, name):
    return next(path for path in sorted(box.folder.glob(name)) if "benchy" not in path.name)


def test_a_benchmark_of_a_server_and_what_status_says_of_it(box):
    text = box.play("benchmark")
    result = json.loads(kept(box, "gb10-benchmark-*.json").read_text())
    assert result["points"][0]["counted"] == 2 and result["points"][0]["judged"]["verdict"] == "slow"
    assert "usually comes from" in flat(text) and "<svg" in kept(box, "gb10-benchmark-*.html").read_text()
    assert "decodes 100" not in text
    assert re.search(r"tiny decodes [\d.]+ tokens/s for 2 streams \(benchmark mini, .*expected are", flat(box.play("status")))
    assert box.play("site").count("changed=0") == 1
    assert box.ask(ONE, "find /var/lib/gb10-vllm/benchmark -type f").split() == ["/var/lib/gb10-vllm/benchmark/progress.jsonl"]


class Prometheus(http.server.BaseHTTPRequestHandler):
    """Says of every question the same of the last half minute."""

    def do_GET(self):
        values = [[time.time() - seconds, "3"] for seconds in (30, 15, 0)]
        body = json.dumps({"data": {"result": [{"metric": {"box": ONE, "server": "tiny"}, "values": values}]}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


def test_status_shows_the_last_hours_of_whichever_prometheus_is_named(box):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        box.play("status", "-e", json.dumps({"gb10_prometheus_url": f"http://127.0.0.1:{server.server_port}", "gb10_status_hours": 1}))
        server.shutdown()
    page = (box.folder / "gb10-status.html").read_text()
    assert "The last hour" in page and page.count("<polyline") == 6 and "nothing was recorded" not in page


def test_a_server_that_dies_under_load_is_explained_and_started_again(box):
    box.rules(ONE, {"load": "dies"})
    text = flat(box.play("benchmark", code=2))
    assert "tiny died under the load of d0 c2; it was started again and answers" in text
    assert box.serves(ONE) == ("tiny", True)


def test_a_killed_search_goes_on_finds_the_planted_setting_starts_nothing_unfit_and_puts_back_what_ran(box):
    before, lock = box.record(ONE, "deployment"), (box.inventory / "gb10.lock.yml").read_text()
    hosts = (box.inventory / "hosts.yml").read_text()
    box.kill_at("tune", "Put load on tiny", after="Note what came of the candidate")
    assert box.record(ONE, "deployment")["spec"] != before["spec"], "a candidate runs"
    tried = [trial["key"] for trial in json.loads(kept(box, "gb10-tune-*.json").read_text())["trials"]]
    text = box.play("tune")
    state = json.loads(kept(box, "gb10-tune-*.json").read_text())
    assert [trial["key"] for trial in state["trials"]][: len(tried)] == tried and len(tried) == 1
    assert [(trial["set"], trial["verdict"]) for trial in state["trials"]] == [
        ({}, "first"),
        ({"max_num_seqs": 16}, "not better"),
        ({"max_num_seqs": 64}, "better"),
        ({"max_num_seqs": 64, "max_num_batched_tokens": 100_000_000}, "unfit"),
    ]
    assert "+    max_num_seqs: 64" in kept(box, "gb10-tune-*.diff").read_text() and "Nothing was changed in the inventory" in flat(text)
    assert 'class="best"' in kept(box, "gb10-tune-*.html").read_text()
    after = box.record(ONE, "deployment")
    assert (after["spec"], after["container"]["command"]) == (before["spec"], before["container"]["command"]) and box.serves(ONE) == ("tiny", True)
    assert json.loads(box.ask(ONE, f"cat {imitation.STATE}/servers/tiny/history.json")) == []
    assert "100000000" not in box.ask(ONE, "docker logs gb10-vllm-tiny; docker ps -a")
    assert ((box.inventory / "gb10.lock.yml").read_text(), (box.inventory / "hosts.yml").read_text()) == (lock, hosts)
    assert box.play("site").count("changed=0") == 1


def test_candidates_that_do_not_start_or_die_are_no_end_and_an_aim_that_nothing_reaches_is_said(box):
    box.rules(ONE, {"only": "--max-num-seqs 64", "load": "dies"}, {"only": "--max-num-seqs 16", "exit": 1})
    wish = {"gb10_tune_aim": "per_user >= 1000", "gb10_tune_settings": {"max_num_seqs": [16, 64]}}
    text = flat(box.play("tune", "-e", json.dumps(wish), code=2))
    state = json.loads(kept(box, "gb10-tune-*.json").read_text())
    assert [trial["outcome"] for trial in state["trials"]] == ["measured", "failed", "failed"]
    assert "died under the load" in state["trials"][2]["why"]
    assert "Nothing that was tried reaches per_user >= 1000" in text and re.search(r"misses it by \d+%", text) and "What ran before serves again" in text
    assert box.serves(ONE) == ("tiny", True)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"gb10_tune_aim": "fast"}, "'fast' is no aim"),
        ({"gb10_tune_settings": {"model": ["other"]}}, "model cannot be tuned"),
        ({"gb10_tune_server": "nobody"}, "say which server is tuned"),
        ({"gb10_benchmark_repeats": 1}, "raise gb10_benchmark_repeats"),
        ({"gb10_benchmark_profile": "no-such"}, "no benchmark profile 'no-such'"),
    ],
)
def test_refused_with_one_clear_sentence_before_anything_is_changed(box, extra, said):
    before = box.containers(ONE)
    assert said in flat(box.play("tune", "-e", json.dumps(extra), code=2))
    assert box.containers(ONE) == before and list(box.folder.glob("gb10-tune-*")) == []


def test_what_stands_before_the_servers_is_asked_with_its_own_key_which_does_not_stay(box):
    key = box.key(ONE)
    asked = {"gb10_benchmark_url": "http://127.0.0.1:8000", "gb10_benchmark_key": key, "gb10_benchmark_page": False, "gb10_benchmark_timeout_s": 60}
    box.play("benchmark", "-e", json.dumps({**asked, "gb10_benchmark_dir": str(box.folder)}))
    assert json.loads(kept(box, "gb10-benchmark-*.json").read_text())["target"] == "http://127.0.0.1:8000"
    assert list(box.folder.glob("gb10-benchmark-*.html")) == [] and "benchmark" not in box.ask(ONE, "ls /etc/gb10-vllm/tiny /var/lib/gb10-vllm/servers/tiny")


HAPROXY = f"""{MARK}
global
    stats socket /run/haproxy/admin.sock level admin
defaults
    mode http
    timeout connect 1s
    timeout client 1m
    timeout server 1m
backend gb10_tiny
    server spark-01 127.0.0.1:8000
    server spark-02 127.0.0.2:8000
"""


@pytest.mark.skipif(not real_router.installed(), reason="needs HAProxy (tests/setup --router)")
def test_candidates_of_a_parameter_file_are_tried_in_their_order_while_the_router_spares_the_box(box):
    params = box.folder / "params.json"
    params.write_text(json.dumps({"many": {"max-num-seqs": 64}}))
    box.ask(ONE, f"mkdir -p /run/haproxy /etc/haproxy && cat > /etc/haproxy/haproxy.cfg <<'EOF'\n{HAPROXY}EOF\nhaproxy -D -f /etc/haproxy/haproxy.cfg")
    wish = {"gb10_tune_parameters": str(params), "gb10_tune_box": ONE, "gb10_tune_most": 1, "gb10_tune_dir": str(box.folder), "gb10_benchmark_page": False}
    text = box.play("tune", "-e", json.dumps({**wish, "gb10_routers": ONE}))
    trials = json.loads(kept(box, "gb10-tune-*.json").read_text())["trials"]
    assert [(trial["set"].get("max_num_seqs"), trial["verdict"]) for trial in trials] == [(None, "first"), (64, "better")]
    steps = ["Drain them at each router", "Wait until its engines have no request left", "Put load on tiny", "Bring back what ran", "Use what answers again"]
    places = [text.index(f": {step}") for step in steps]
    assert places == sorted(places) and text.count("Drain them at each router") == 1
    drained = json.loads(box.ask(ONE, "cat /var/lib/gb10-vllm-router/drains.json"))
    assert drained == {} and "tiny,spark-01" not in [line for line in text.splitlines() if "stays drained" in line]
    asked = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock'); s.sendall(b'show stat\\n'); print(s.recv(65536).decode())"
    (row,) = [line.split(",") for line in box.ask(ONE, f'{sys.executable} -c "{asked}"').splitlines() if line.startswith("gb10_tiny,spark-01,")]
    assert row[17] in ("UP", "no check")
