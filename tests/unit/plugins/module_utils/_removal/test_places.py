# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every path that docs/ARCHITECTURE.md says a run leaves is one that the playbook remove takes away; what others own is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._removal.places import JUDGED, PARTS, covers, every, in_config, in_state

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs/ARCHITECTURE.md").read_text()
# netplan's own directory is named as the place where a file of ours waits.
LISTED = [one for one in re.findall(r"`(/[^`]+)`", PAGE[PAGE.index("<!-- on a box -->") : PAGE.index("<!-- end of on a box -->")]) if one != "/run/netplan"]
MONITORING = re.search(r"The playbook `monitoring` leaves besides:(.*?)\n\n", PAGE, re.S)[1]
# Written there without their directory.
UNITS = "/etc/systemd/system/"
BESIDES = [path if path.startswith("/") else UNITS + path for path in re.findall(r"`([^`]+)`", MONITORING) if "." in path or path.startswith("/")]
BESIDES = [path for path in BESIDES if not path.endswith((".timer", "metrics.key", "alertmanager.yml")) or path.count("/") > 4]


def example(path: str) -> str:
    return path.replace("SERVER", "tiny").replace("*", "one")


@pytest.mark.parametrize("path", [*LISTED, *BESIDES])
def test_what_the_page_lists_is_taken_away(path):
    assert covers(example(path), every()), f"{path} would stay on a box: name it in _removal/places.py"


def test_the_page_lists_enough():
    assert len(LISTED) > 40 and len(BESIDES) >= 5


@pytest.mark.parametrize("file", ["server", "router", "monitoring"])
def test_what_a_role_copies_is_taken_away(file):
    """Paths in the roles themselves, whatever the page says."""
    text = (ROOT / f"roles/{file}/vars/main.yml").read_text()
    values = yaml.safe_load(text)
    lists = [many for name, many in values.items() if name.endswith("_files") and isinstance(many, list)]
    paths = [one.get("dest") or one.get("path") for many in lists for one in many]
    library, units = "/usr/local/lib/gb10-vllm", "/etc/systemd/system"
    known = {
        "{{ server_guard }}": f"{library}/guard", "{{ server_guard | dirname }}": library, "{{ server_agent }}": "gb10-vllm-agent.socket",
        "{{ server_rank }}": f"{library}/rank", "{{ monitoring_library }}": library, "{{ monitoring_etc }}": units,
    }  # fmt: skip
    for name, value in known.items():
        paths = [path.replace(name, value) for path in paths]
    assert paths and [path for path in paths if not covers(path, every())] == []


@pytest.mark.parametrize(
    "path",
    ["/etc/haproxy/errors/503.http", "/etc/systemd/system/docker.service", "/etc/systemd/system/multi-user.target.wants/ssh.service", "/var/lib/docker",
     "/etc/netplan/50-cloud-init.yaml", "/srv/models/tiny", "/usr/local/lib/python3", "/etc/gb10-vllm/tiny/mine.pem", "/var/lib/gb10-vllm/notes",
     "/run/haproxy", "/etc/prometheus/prometheus.yml", "/etc", "/var/lib", "/"],
)  # fmt: skip
def test_what_others_own_is_not(path):
    assert not covers(path, every())


def test_directories_of_the_users_choice():
    patterns = every("/data/state", "/data/keys")
    assert covers("/data/state/servers/tiny/deployment.json", patterns) and covers("/data/keys/tiny/key.env", patterns)
    assert not covers("/data/state/photos", patterns) and not covers("/data", patterns) and not covers("/var/lib/gb10-vllm/servers/tiny", patterns)


def test_the_patterns_of_a_state_and_a_configuration_directory():
    names = ("servers", "cache", "build", "transfer", "bundle", "benchmark", "models", "host.json", "fabric.json")
    state, config = [f"/s/{name}" for name in names], [f"/c/{name}" for name in ("hub.env", "*/key.env", "*/server.env", "*/fleet.env", "*/benchmark.env")]
    assert (in_state("/s"), in_config("/c")) == (state, config)
    assert every("/s", "/c") == [*(one for part in PARTS.values() for one in part), *JUDGED, *state, *config, "/s/run.lock", "/s/run.lock.*"]
    assert (in_state()[0], in_config()[0], every()[-1]) == ("/var/lib/gb10-vllm/servers", "/etc/gb10-vllm/hub.env", "/var/lib/gb10-vllm/run.lock.*")


@pytest.mark.parametrize(
    ("path", "covered"), [("/a/b", True), ("/a/b/c/d", True), ("/a", False), ("/", False), ("/a/x/c", False), ("/e/f", True), ("/e/f/g", True), ("/e", False)]
)
def test_a_star_stands_for_one_name(path, covered):
    assert covers(path, ["/a/b", "/e/*"]) is covered
