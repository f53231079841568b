# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alert rules in the hands of the distribution's promtool, and what is told of them in those of its Alertmanager."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import monitoring
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import rules
from monitoring_programs import MISSING, NEEDS, get, program, running, until
from monitoring_situations import BUSY, SITUATIONS, told

pytestmark = pytest.mark.skipif(MISSING, reason=NEEDS)
ALERTS = {one.name: one for one in rules.alerts({})}
SHOWN = re.compile(r"alertname:\s*(\w+), time")


@pytest.fixture(scope="module")
def rule_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rules") / "rules.yml"
    path.write_text(monitoring.as_yaml(rules.rules({})))
    return path


def test_every_alert_has_a_situation_in_which_it_is_told_alone():
    assert {name for one in SITUATIONS.values() for name in told(one) if len(told(one)) == 1} == set(ALERTS)


def test_promtool_takes_the_rules(rule_file):
    done = subprocess.run([program("promtool"), "check", "rules", rule_file], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{len(ALERTS)} rules found" in done.stdout, done.stdout + done.stderr


def case(name, situation, rule_file):
    """One case of `promtool test rules`: the series, and for every alert whether it fires in the end."""
    series = {**BUSY, **situation.changes}
    ends = []
    for alert in ALERTS.values():
        expected = [{"exp_labels": {}}] if alert.name in situation.fires else []
        ends.append({"eval_time": "29m", "alertname": alert.name, "exp_alerts": expected})
    return {
        "name": name,
        "interval": "15s",
        "input_series": [{"series": one, "values": values.strip()} for one, values in series.items() if values],
        "alert_rule_test": ends,
    }


def fired(output: str) -> set[str]:
    """The alerts that promtool says it got. It compares labels as well, which are not said here: so each that fires is reported, with what it has."""
    got = set()
    for block in output.split("FAILED:"):
        for name, _expected, seen in re.findall(r"alertname:\s*(\w+), time: \S+,\s*exp:(.*?),\s*got:(.*?)(?=alertname:|\Z)", block, re.DOTALL):
            if "Labels:" in seen:
                got.add(name)
    return got


@pytest.mark.parametrize("name", SITUATIONS)
def test_exactly_the_right_alerts_fire(name, rule_file, tmp_path):
    """A situation with nothing that fires must pass; of the others, promtool names what fires beside labels that no test states."""
    situation = SITUATIONS[name]
    nothing = {**case(name, situation, rule_file)}
    for end in nothing["alert_rule_test"]:
        end["exp_alerts"] = []
    path = tmp_path / "case.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(rule_file)], "evaluation_interval": "15s", "tests": [nothing]}, width=10000))
    done = subprocess.run([program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert "could not" not in output and "error" not in output.lower().replace("errors", ""), output
    assert fired(output) == set(situation.fires), output
    assert (done.returncode == 0) == (not situation.fires)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "alertmanager.yml").write_text(monitoring.alertmanager_file([]))
    url = "http://127.0.0.1:29093"
    arguments = [program("prometheus-alertmanager"), f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data", "--cluster.listen-address="]
    with running([*arguments, "--web.listen-address=127.0.0.1:29093"], folder / "log"):
        until(lambda: get(f"{url}/api/v2/status")["versionInfo"])
        yield url


def send(url: str, alerts: list[dict]) -> None:
    body = json.dumps(alerts).encode()
    urllib.request.urlopen(urllib.request.Request(f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"}), timeout=10).close()


def test_a_cause_keeps_its_consequences_silent(alertmanager):
    """All situations at once, each on a box of its own."""
    sent = []
    for number, situation in enumerate(SITUATIONS.values()):
        for name in situation.fires:
            about = {"box": f"box-{number}"} if ALERTS[name].scope != "fleet" else {"router": f"router-{number}"}
            labels = {"alertname": name, "severity": ALERTS[name].severity, "scope": ALERTS[name].scope, **about}
            # Each in a fleet of its own, so its server has a name of its own. A router that is gone is none of a server.
            named = ALERTS[name].scope != "box" and name != "Gb10RouterDown"
            sent.append({"labels": {**labels, **({"server": f"server-{number}"} if named else {})}})
    send(alertmanager, sent)

    def states():
        found = {
            (one["labels"].get("box") or one["labels"]["router"], one["labels"]["alertname"]): one["status"]["state"]
            for one in get(f"{alertmanager}/api/v2/alerts")
        }
        return found if len(found) == len(sent) and "unprocessed" not in found.values() else {}

    found = until(states)
    for number, (name, situation) in enumerate(SITUATIONS.items()):
        mine = {alert: state for (about, alert), state in found.items() if about in (f"box-{number}", f"router-{number}")}
        assert set(mine) == set(situation.fires), name
        assert {alert for alert, state in mine.items() if state == "active"} == told(situation), name


def test_a_silenced_box_tells_nothing(alertmanager):
    now = datetime.datetime.now(datetime.timezone.utc)
    silence = {
        "matchers": [{"name": "box", "value": "quiet", "isRegex": False, "isEqual": True}], "createdBy": "test", "comment": "maintenance",
        "startsAt": now.isoformat(), "endsAt": (now + datetime.timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    body = json.dumps(silence).encode()
    urllib.request.urlopen(urllib.request.Request(f"{alertmanager}/api/v2/silences", body, {"Content-Type": "application/json"}), timeout=10).close()
    labels = [{"alertname": one.name, "severity": one.severity, "scope": one.scope, "box": "quiet", "server": "s"} for one in ALERTS.values()]
    send(alertmanager, [{"labels": one} for one in labels])
    url = f"{alertmanager}/api/v2/alerts?filter=box%3Dquiet"
    found = until(lambda: get(url) if len(get(url)) == len(ALERTS) and all(one["status"]["state"] == "suppressed" for one in get(url)) else [])
    assert all(one["status"]["silencedBy"] for one in found)


SECRET = "https://hooks.example.com/services/T000/B000/xyzzy"


def test_amtool_takes_every_kind_of_receiver(tmp_path):
    receivers = [
        {"name": "page", "least": "critical", "webhook_configs": [{"url": SECRET}], "pagerduty_configs": [{"routing_key": "0123456789"}]},
        {"name": "mail", "email_configs": [{"to": "a@example.org", "from": "b@example.org", "smarthost": "mail.example.org:587", "auth_password": "x"}]},
        {"name": "chat", "slack_configs": [{"api_url": SECRET, "channel": "#boxes"}]},
    ]
    path = tmp_path / "alertmanager.yml"
    path.write_text(monitoring.alertmanager_file(receivers))
    done = subprocess.run([program("amtool"), "check-config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for labels, names in (({"severity": "warning"}, {"mail", "chat"}), ({"severity": "critical"}, {"page", "mail", "chat"})):
        words = [f"{key}={value}" for key, value in labels.items()]
        shown = subprocess.run([program("amtool"), "config", "routes", "test", f"--config.file={path}", *words], capture_output=True, text=True, check=True)
        assert set(shown.stdout.strip().split(",")) == names


def test_what_amtool_refuses_is_what_the_sentences_name(tmp_path):
    """A kind that nobody has is refused by both."""
    bad = [{"name": "x", "carrier_pigeon": [{"loft": "7"}]}]
    assert monitoring.alertmanager.receiver_mistakes(bad)
    path = tmp_path / "alertmanager.yml"
    path.write_text(monitoring.alertmanager_file(bad))
    assert subprocess.run([program("amtool"), "check-config", path], capture_output=True, check=False).returncode != 0


def test_each_alert_has_a_runbook_paragraph():
    page = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text()
    assert [name for name in ALERTS if f"### {name}\n" not in page] == []
    assert sorted(re.findall(r"^### (Gb10\w+)$", page, re.MULTILINE)) == sorted(ALERTS)
