# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused before and after a host was asked, each in a sentence."""

from __future__ import annotations

import re

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import monitoring
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import alertmanager, prometheus, rules, settings
from hypothesis import given
from hypothesis import strategies as st

HERE = {**settings.settings({}), "address": "10.0.0.1", "key": True}
FOUND = {
    "addresses": ["127.0.0.1", "10.0.0.1"],
    "management": "10.0.0.1",
    "files": {},
    "taken": {},
    "disk": {"path": "/var/lib/prometheus", "free_bytes": 2**40},
}
KEY = "k" * 40


def test_defaults():
    found = settings.settings({})
    assert (found["retention_days"], found["disk_gib"], found["scrape_interval_s"], found["thresholds"]) == (30, 20, 15, {})
    assert settings.settings({"port": "9095", "ca_file": None})["port"] == 9095


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"port": 0}, "gb10_monitoring.port is 0; give it a whole number from 1 to 65535."),
        ({"scrape_interval_s": 1}, "scrape_interval_s is 1"),
        ({"scrape_interval_s": "²"}, "scrape_interval_s is '²'; give it a whole number"),
        ({"retention_days": "30d"}, "retention_days is '30d'"),
        ({"disk_gib": True}, "disk_gib is True"),
        ({"port": 9100}, "node_exporter_port and port are both 9100"),
        ({"retention": 30}, "gb10_monitoring.retention is no setting; there are state, port"),
        ({"state": "gone"}, "it is present or absent"),
        ({"thresholds": {"temperature": 80}}, "thresholds.temperature is no threshold; there are first_token_s"),
        ({"thresholds": {"first_token_s": "soon"}}, "thresholds.first_token_s is 'soon'; give it a number above 0 (by default 10)"),
        ({"thresholds": [1]}, "thresholds is [1]"),
        (["port"], "gb10_monitoring is ['port']; it takes settings"),
    ],
)
def test_settings_that_make_no_sense(given_settings, words):
    with pytest.raises(GB10Error) as said:
        settings.settings(given_settings)
    assert words in str(said.value)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
SHAPES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*settings.DEFAULTS, "name", "x"]), inner, max_size=4), max_leaves=8
)


@given(SHAPES, SHAPES)
def test_whatever_is_given_ends_in_settings_or_sentences(wanted, receivers):
    hostvars = {"a": {"gb10_servers": [{"name": "s"}]}}
    said = monitoring.monitoring_mistakes({"settings": wanted, "receivers": receivers, "monitors": ["m"]}, ["a"], hostvars)
    assert all(isinstance(one, str) for one in said)


def test_no_monitoring_host_and_no_key():
    said = monitoring.monitoring_mistakes(
        {"settings": {}, "receivers": [], "monitors": []}, ["a", "b"], {"a": {"gb10_servers": [{}]}, "b": {"gb10_servers": [{}], "gb10_allow_open": True}}
    )
    assert "there is no host in the group gb10_monitoring" in said[0]
    assert "gb10_metrics_key is not set for a, whose servers" in said[1] and len(said) == 2


def test_two_monitoring_hosts_and_two_keys():
    hostvars = {name: {"gb10_servers": [{}], "gb10_metrics_key": name * 40} for name in "ab"}
    said = monitoring.monitoring_mistakes({"settings": {}, "receivers": [], "monitors": ["m", "n"]}, ["a", "b"], hostvars)
    assert "has 2 hosts (m, n)" in said[0] and "not the same for all boxes" in said[1]
    assert "a" * 40 not in " ".join(said)


def test_nothing_is_refused_where_it_is_taken_away():
    assert monitoring.monitoring_mistakes({"settings": {"state": "absent"}, "receivers": [], "monitors": []}, ["a"], {"a": {"gb10_servers": [{}]}}) == []


def test_a_host_that_is_free_is_taken():
    assert settings.host_mistakes(FOUND, "10.0.0.1", 20 * 2**30) == []


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "[::]", "*"])
def test_an_address_for_everybody_is_refused(address):
    assert "everybody would read the metrics" in settings.host_mistakes(FOUND, address)[0]


def test_an_address_of_another_host_is_refused_with_those_that_it_has():
    (said,) = settings.host_mistakes({**FOUND, "management": ""}, "spark.example.org")
    assert "spark.example.org is no address of this host, which has 127.0.0.1, 10.0.0.1; set gb10_management_address" in said


def test_somebodys_configuration_is_refused_by_name():
    files = {
        "/etc/prometheus/prometheus.yml": "somebody",
        "/etc/default/prometheus": "package",
        "/etc/systemd/system/prometheus.service.d/gb10-vllm.conf": "ours",
    }
    (said,) = settings.host_mistakes({**FOUND, "files": files}, "10.0.0.1")
    assert said.startswith("/etc/prometheus/prometheus.yml is somebody's")


def test_a_port_that_is_taken_is_refused_with_its_holder_and_the_option():
    listener = {"address": "0.0.0.0", "port": 9090, "pid": 7, "program": "cockpit-ws", "unit": "cockpit.service"}
    own = {**listener, "unit": "prometheus-node-exporter.service"}
    said = settings.host_mistakes({**FOUND, "taken": {"prometheus": [listener], "prometheus-node-exporter": [own]}}, "10.0.0.1")
    assert said == ["port 9090 is held by cockpit-ws (cockpit.service) on 0.0.0.0; set gb10_monitoring.port to a free one, or stop what holds it."]


def test_a_disk_without_room_is_refused_with_the_numbers():
    (said,) = settings.host_mistakes({**FOUND, "disk": {"path": "/var/lib/prometheus", "free_bytes": 5 * 2**30}}, "10.0.0.1", 20 * 2**30)
    assert "20 GiB below /var/lib/prometheus, and 5.0 GiB are free" in said


SECRET = "https://hooks.example.com/xyzzy"


@pytest.mark.parametrize(
    ("receivers", "words"),
    [
        ("mail me", "is no list"),
        ([{"webhook_configs": [{"url": SECRET}]}], "entry 1 has no usable `name`"),
        ([{"name": "nobody", "webhook_configs": [{}]}], "other than nobody"),
        ([{"name": "x"}], "says nobody whom to tell"),
        ([{"name": "x", "webhook": [{"url": SECRET}]}], "has webhook, which Alertmanager does not know; it takes webhook_configs"),
        ([{"name": "x", "webhook_configs": {"url": SECRET}}], "webhook_configs must be a list"),
        ([{"name": "x", "least": "info", "webhook_configs": [{"url": SECRET}]}], "`least` is neither warning nor critical"),
        ([{"name": "x", "webhook_configs": [{}]}, {"name": "x", "webhook_configs": [{}]}], "entry 2 has the name x of an earlier one"),
    ],
)
def test_receivers_that_alertmanager_would_not_take_are_named_without_their_secrets(receivers, words):
    said = " ".join(alertmanager.receiver_mistakes(receivers))
    assert words in said and SECRET not in said


def test_the_key_stands_in_a_file_of_its_own():
    text = monitoring.as_yaml(prometheus.configuration(HERE))
    (job,) = [one for one in yaml.safe_load(text)["scrape_configs"] if one["job_name"] == "gb10-vllm"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/etc/gb10-vllm-monitoring/metrics.key"}
    assert job["tls_config"] == {"insecure_skip_verify": True}
    (job,) = [one for one in prometheus.configuration({**HERE, "key": False, "ca_file": "/ca.pem"})["scrape_configs"] if one["job_name"] == "gb10-vllm"]
    assert "authorization" not in job and job["tls_config"] == {"ca_file": "/ca.pem"}


@pytest.mark.parametrize("unit", ["prometheus", "prometheus-alertmanager", "prometheus-node-exporter"])
@pytest.mark.parametrize(("address", "shown"), [("10.0.0.1", "10.0.0.1"), ("fd00::1", "[fd00::1]")])
def test_a_drop_in_listens_on_the_management_address_only(unit, address, shown):
    text = prometheus.drop_in(unit, {**HERE, "address": address})
    assert text.startswith("# Managed by the Ansible collection gb10.vllm")
    assert text.count("ExecStart=") == 2 and f"--web.listen-address={shown}:" in text
    assert [line for line in text.splitlines() if ":90" in line and shown not in line] == []
    assert ("ConditionPathExists=" in text) == (unit != "prometheus-node-exporter")


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_grafana_listens_on_the_management_address_only_has_no_accounts_and_asks_nobody(address):
    text = monitoring.drop_in({**HERE, "address": address, "grafana_port": 3001}, "grafana-server")
    assert text.startswith("# Managed by the Ansible collection gb10.vllm") and "ExecStart" not in text
    told = dict(line.removeprefix("Environment=GF_").split("=", 1) for line in text.splitlines() if line.startswith("Environment=GF_"))
    assert (told["SERVER_HTTP_ADDR"], told["SERVER_HTTP_PORT"]) == (address, "3001")
    # Without these it has an account named admin with the password admin.
    assert told["SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == told["AUTH_DISABLE_LOGIN_FORM"] == "true" and told["AUTH_BASIC_ENABLED"] == "false"
    assert told["AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert {told[name] for name in told if name.startswith(("ANALYTICS_", "NEWS_")) or name == "SNAPSHOTS_EXTERNAL_ENABLED"} == {"false"}


def test_grafanas_port_is_in_nobodys_way_until_somebody_names_it():
    assert settings.settings({"port": 3000})["port"] == settings.settings({"router_port": 3000})["router_port"] == 3000
    with pytest.raises(GB10Error, match="grafana_port and port are both 3000"):
        settings.settings({"port": 3000, "grafana_port": 3000})


@pytest.mark.parametrize(("drop_in", "refused"), [(False, True), (True, False)])
def test_a_grafana_that_somebody_set_up_is_refused_and_ours_is_not(drop_in, refused):
    ours = {"/etc/systemd/system/grafana-server.service.d/gb10-vllm.conf": "ours"} if drop_in else {}
    files = {"/var/lib/grafana/grafana.db": "somebody", **ours}
    said = settings.host_mistakes({**FOUND, "files": files}, "10.0.0.1")
    assert [one for one in said if "a Grafana that somebody set up" in one] == said and bool(said) is refused


def test_a_port_of_grafana_that_is_taken_is_refused_with_its_option():
    listener = {"address": "0.0.0.0", "port": 3000, "pid": 7, "program": "node", "unit": ""}
    (said,) = settings.host_mistakes({**FOUND, "taken": {"grafana-server": [listener]}}, "10.0.0.1")
    assert "set gb10_monitoring.grafana_port to a free one" in said


def test_thresholds_reach_the_rules():
    exprs = {one.name: one.expr for one in rules.alerts({"first_token_s": 2.5, "temperature_celsius": 80})}
    assert exprs["Gb10FirstTokenSlow"].endswith("> 2.5") and "> 80 or" in exprs["Gb10Hot"]


def test_no_alert_is_hidden_by_one_that_it_hides():
    """Two that hid each other would both be told, or neither."""
    hides = {}
    for one in rules.inhibitions():
        for source in one["source_matchers"][0].partition('"')[2].rstrip('"').split("|"):
            matchers = dict(re.split("=~|!~|!=|=", matcher, maxsplit=1) for matcher in one["target_matchers"])
            for alert in rules.alerts({}):
                scopes = matchers.get("scope", alert.scope).strip('"').split("|")
                words = [matcher for matcher in one["target_matchers"] if matcher.startswith("alertname")]
                names = [word.partition('"')[2].rstrip('"').split("|") for word in words]
                named = all((alert.name in found) != ("!" in word) for word, found in zip(words, names, strict=True))
                if alert.scope in scopes and named:
                    hides.setdefault(source, set()).add(alert.name)
    assert [(one, other) for one, many in hides.items() for other in many if one in hides.get(other, ())] == []
