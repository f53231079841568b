# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook monitoring on this machine, in a mount namespace that is gone afterwards: the distribution's packages and programs, a stand-in for systemd."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ENTER = ROOT / "tests" / "support" / "overlay" / "enter"
KEY, HOOK = "metrics-key-of-32-characters-or-more", "https://hooks.example.com/xyzzy"
INVENTORY = {
    "gb10": {
        "hosts": {"spark-01": {"ansible_connection": "local", "gb10_management_address": "127.0.0.1", "ansible_python_interpreter": "/usr/bin/python3"}},
        "vars": {
            "gb10_metrics_key": KEY,
            "gb10_alert_receivers": [{"name": "us", "webhook_configs": [{"url": HOOK}]}],
            "gb10_monitoring": {
                "port": 28090,
                "alertmanager_port": 28093,
                "node_exporter_port": 28094,
                "grafana_port": 28097,
                "scrape_interval_s": 5,
                "disk_gib": 1,
            },
            "gb10_servers": [{"name": "tiny", "model": "tiny-llama", "port": 28999}],
        },
    },
    "gb10_monitoring": {"hosts": {"spark-01": {}}},
}
# What a mirror of an owner may have: the file layout, users and variables of Grafana's own package, and a program that answers where it is told to.
PROGRAM = """#!/usr/bin/python3
import glob, json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
told = {name: value for name, value in os.environ.items() if name.startswith("GF_")}
read = {path: open(path).read() for path in glob.glob(told.get("GF_PATHS_PROVISIONING", "/none") + "/*/*.yml")}
json.dump({"told": told, "read": read, "uid": os.getuid()}, open("/var/lib/grafana/grafana.db", "w"))
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(b'{"database": "ok"}')
HTTPServer((told.get("GF_SERVER_HTTP_ADDR", ""), int(told.get("GF_SERVER_HTTP_PORT", 3000))), Handler).serve_forever()
"""
UNIT = "[Unit]\nDescription=Grafana\n[Service]\nUser=grafana\nGroup=grafana\nExecStart=/usr/sbin/grafana-server\n[Install]\nWantedBy=multi-user.target\n"
BEFORE = """#!/bin/sh
set -e
getent group grafana >/dev/null || groupadd --system grafana
getent passwd grafana >/dev/null || useradd --system --gid grafana --home-dir /usr/share/grafana --shell /bin/false grafana
mkdir -p /var/lib/grafana /etc/grafana && chown grafana:grafana /var/lib/grafana
"""
CONTROL = "Package: grafana\nVersion: 9.9.9\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a stand-in of a test\n"


def mirror(folder: Path) -> None:
    """A repository of apt with one package."""
    tree = folder / "tree"
    files = {
        "DEBIAN/control": (CONTROL, 0o644), "DEBIAN/preinst": (BEFORE, 0o755), "usr/sbin/grafana-server": (PROGRAM, 0o755),
        "usr/lib/systemd/system/grafana-server.service": (UNIT, 0o644), "etc/default/grafana-server": ("GRAFANA_USER=grafana\n", 0o644),
    }  # fmt: skip
    for name, (content, mode) in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
    deb = folder / "grafana_9.9.9_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, deb], check=True, capture_output=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    (folder / "Packages").write_text(f"{CONTROL}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")


STORY = """
play() {
    step=$1; shift
    timeout 1800 ansible-playbook gb10.vllm.monitoring -i "$OUT/hosts.json" --diff -vv "$@" >"$OUT/$step" 2>&1; echo $? >"$OUT/$step.code"
}
rm -rf /var/lib/apt/lists/*      # as on a box whose image was made small: young and empty
play check --check
ls -d /etc/gb10-vllm-monitoring /usr/local/lib/gb10-vllm /etc/systemd/system/*/gb10-vllm.conf /usr/bin/prometheus >"$OUT/bare" 2>/dev/null
play first
play again
ss -Hltnp >"$OUT/listening"
stat --format '%a %U %G %n' /etc/gb10-vllm-monitoring/* >"$OUT/files"
grep --recursive --files-with-matches "$KEY" /etc /var/lib/prometheus /usr/local/lib/gb10-vllm >"$OUT/holds" 2>/dev/null
cp /var/lib/prometheus/node-exporter/gb10.prom "$OUT/told"
play receivers --extra-vars '{"gb10_alert_receivers": [{"name": "us", "webhook_configs": [{"url": "nowhere/xyzzy"}]}]}'
play keyless --extra-vars '{"gb10_metrics_key": ""}'
echo 'ARGS="--web.enable-admin-api"' >>/etc/default/prometheus
play refused
ls -d /var/lib/gb10-vllm/run.lock >"$OUT/locked" 2>/dev/null
sed -i '/enable-admin-api/d' /etc/default/prometheus
play nowhere --extra-vars '{"gb10_grafana": true}'
cp -r "$OUT/mirror" /var/local/mirror && chmod -R a+rX /var/local/mirror      # which apt reads as a user of its own
echo "deb [trusted=yes] file:/var/local/mirror ./" >/etc/apt/sources.list.d/mirror.list
play shown --extra-vars '{"gb10_grafana": true}'
play shown.again --extra-vars '{"gb10_grafana": true}'
ss -Hltnp >"$OUT/listening.shown"
cp /var/lib/grafana/grafana.db "$OUT/grafana"
mv /etc/systemd/system/grafana-server.service.d/gb10-vllm.conf "$OUT/drop-in"
systemctl stop grafana-server
play another --extra-vars '{"gb10_grafana": true}'
mv "$OUT/drop-in" /etc/systemd/system/grafana-server.service.d/gb10-vllm.conf
systemctl start grafana-server
play absent --extra-vars '{"gb10_monitoring": {"state": "absent"}}'
places="/etc/gb10-vllm-monitoring /usr/local/lib/gb10-vllm/collector /etc/systemd/system/*/gb10-vllm.conf /etc/systemd/system/gb10-vllm-*"
ls -d $places /etc/grafana/provisioning/*/gb10.yml >"$OUT/left" 2>/dev/null
ss -Hltnp >"$OUT/listening.after"
true
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """What each step of the story said and left, by its name."""
    if os.geteuid() or subprocess.run([ENTER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root and mount namespaces")
    out = tmp_path_factory.mktemp("story")
    (out / "hosts.json").write_text(json.dumps(INVENTORY))
    mirror(out / "mirror")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    ours = {"OUT": str(out), "KEY": KEY, "ANSIBLE_NOCOLOR": "1", "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    subprocess.run([ENTER, "bash", "-c", STORY], cwd=ROOT, env={**clean, **ours}, check=True, timeout=7200)
    return {path.name: path.read_text() for path in out.iterdir() if path.is_file()}


def changed(text: str) -> list[str]:
    return re.findall(r"changed=(\d+)", text)


def test_a_check_says_what_would_change_and_changes_nothing(story):
    assert story["check.code"] == "0\n", story["check"][-3000:]
    assert int(changed(story["check"])[0]) >= 3 and "Make the directories of the drop-ins" in story["check"]
    assert story["bare"] == ""


def test_the_first_run_ends_with_who_answers_and_the_second_changes_nothing(story):
    assert story["first.code"] == "0\n", story["first"][-3000:]
    told = " ".join(story["first"].split())
    # Itself, Alertmanager and the node exporter; nobody serves at the port of the one server.
    assert "3 of 4 targets answer Prometheus. spark-01 tiny (gb10-vllm) does not: " in told, told[-3000:]
    assert (story["again.code"], changed(story["again"])) == ("0\n", ["0"]), story["again"][-3000:]


def test_nothing_listens_but_on_the_management_address(story):
    lines = [line.split()[3] for line in story["listening"].splitlines() if re.search(r":(2809\d|909\d|9100)$", line.split()[3])]
    assert sorted(lines) == ["127.0.0.1:28090", "127.0.0.1:28093", "127.0.0.1:28094"]


def test_the_secrets_are_where_prometheus_alone_reads_them_and_in_no_output(story):
    modes = {line.rpartition("/")[2]: line.split()[:3] for line in story["files"].splitlines()}
    assert modes["metrics.key"] == modes["alertmanager.yml"] == ["640", "root", "prometheus"]
    assert story["holds"] == "/etc/gb10-vllm-monitoring/metrics.key\n"
    for step in ("check", "first", "again", "receivers", "refused", "nowhere", "shown", "absent"):
        assert KEY not in story[step] and HOOK not in story[step] and "xyzzy" not in story[step]


def test_the_collector_has_told(story):
    assert "gb10_collector_problems" in story["told"]


def test_a_configuration_by_hand_is_refused_by_name(story):
    assert story["refused.code"] != "0\n" and "/etc/default/prometheus is somebody's" in " ".join(story["refused"].split())


def test_receivers_that_alertmanager_does_not_take_are_said_without_what_they_hold(story):
    assert story["receivers.code"] != "0\n"
    assert "Alertmanager does not accept gb10_alert_receivers, so it goes on with those that it has." in " ".join(story["receivers"].split())


def test_a_key_that_nobody_gave_is_said_before_anything_is_changed(story):
    assert story["keyless.code"] != "0\n" and set(changed(story["keyless"])) == {"0"}
    assert "gb10_metrics_key is not set for spark-01" in " ".join(story["keyless"].split())


def test_a_grafana_that_there_is_nowhere_is_said_before_anything_is_changed(story):
    assert story["nowhere.code"] != "0\n" and set(changed(story["nowhere"])) == {"0"}
    assert "gb10_grafana is set, and apt knows no package grafana here: no Debian and no Ubuntu has one." in " ".join(story["nowhere"].split())


def test_a_grafana_of_a_mirror_is_installed_and_shows_the_dashboards_on_one_address(story):
    assert story["shown.code"] == "0\n", story["shown"][-3000:]
    assert "Grafana: http://127.0.0.1:28097/dashboards" in story["shown"]
    assert (story["shown.again.code"], changed(story["shown.again"])) == ("0\n", ["0"]), story["shown.again"][-3000:]
    held = [line.split()[3] for line in story["listening.shown"].splitlines() if line.split()[3].endswith((":28097", ":3000"))]
    assert held == ["127.0.0.1:28097"]
    found = json.loads(story["grafana"])
    assert found["uid"] != 0 and found["told"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer" and found["told"]["GF_ANALYTICS_REPORTING_ENABLED"] == "false"
    read = {path.rpartition("/provisioning/")[2]: yaml.safe_load(text) for path, text in found["read"].items()}
    assert read["datasources/gb10.yml"]["datasources"][0]["url"] == "http://127.0.0.1:28090"
    assert read["dashboards/gb10.yml"]["providers"][0]["options"]["path"] == "/etc/gb10-vllm-monitoring/dashboards"


def test_a_grafana_that_somebody_set_up_is_left(story):
    assert story["another.code"] != "0\n" and set(changed(story["another"])) == {"0"}
    assert "a Grafana that somebody set up has its data in /var/lib/grafana and would be replaced" in " ".join(story["another"].split())


def test_runs_that_fail_on_a_box_and_on_the_monitoring_host_give_them_back(story):
    assert story["locked"] == ""


def test_all_of_it_is_taken_away_again(story):
    assert story["absent.code"] == "0\n", story["absent"][-3000:]
    assert story["left"] == "" and not re.search(r":2809\d ", story["listening.after"])
