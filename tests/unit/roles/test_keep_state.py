# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is kept of HAProxy's servers over a reload; with the real one in tests/on_machine/test_router_haproxy.py."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import rows

FILE = Path(__file__).parents[3] / "roles/router/files/keep_state.py"
SPEC = importlib.util.spec_from_file_location("keep_state", FILE)
keep_state = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(keep_state)

STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
3 gb10_a 1 spark-01 127.0.0.1 2 8 1 1 0 1 0 2 0 0 0 0 - 18001 - 0 0 - - 0
3 gb10_a 2 spark-02 127.0.0.1 2 0 1 1 1 1 0 2 0 0 0 0 - 18002 - 0 0 - - 0
"""  # noqa: E501
CONFIG = "backend gb10_a\n    server spark-01 10.0.0.1:9000 check\n    server spark-02 [fd00::2]:9001 check\n"


def kept(config, state=STATE):
    return {row["srv_name"]: row for row in rows(keep_state.as_configured(state, config))}


def test_a_state_gets_the_ports_of_the_configuration():
    found = kept(CONFIG)
    assert {box: row["srv_port"] for box, row in found.items()} == {"spark-01": "9000", "spark-02": "9001"}
    assert {box: row["srv_admin_state"] for box, row in found.items()} == {"spark-01": "8", "spark-02": "0"}
    assert keep_state.as_configured(STATE, "") == STATE
    assert keep_state.as_configured("", CONFIG) == "1\n"


def test_whether_a_server_speaks_tls_says_the_configuration():
    config = "backend gb10_a\n    server spark-01 10.0.0.1:9000 check ssl verify required\n    server spark-02 10.0.0.2:9001 check\n"
    state = STATE.replace("18002 - 0 ", "18002 - 1 ")
    assert {box: row["srv_use_ssl"] for box, row in kept(config, state).items()} == {"spark-01": "1", "spark-02": "0"}


def test_who_is_asked_for_health_says_the_configuration():
    state = STATE.replace("18001 - 0 0 - - 0", "18001 - 0 81 127.0.0.9 127.0.0.8 8089")
    asked = ("srv_check_port", "srv_check_addr", "srv_agent_addr", "srv_agent_port")
    assert [kept(CONFIG, state)["spark-01"][name] for name in asked] == ["0", "-", "-", "0"]


def test_a_name_that_is_another_one_has_no_last_address():
    state = STATE.replace(" - 18001", " spark-01.example 18001").replace(" - 18002", " spark-02.example 18002")
    config = CONFIG.replace("10.0.0.1:", "spark-01.example:").replace("[fd00::2]:", "other.example:")
    assert {box: row["srv_addr"] for box, row in kept(config, state).items()} == {"spark-01": "127.0.0.1", "spark-02": "-"}


def test_every_column_is_either_of_an_operator_or_of_the_configuration():
    """What HAProxy takes from the state instead of its configuration: a column that a later version adds has to be thought about."""
    head = STATE.splitlines()[1][2:].split()
    changed = STATE.splitlines()[2].split()
    other = {"srv_addr": "127.0.0.7", "srv_port": "1", "srv_use_ssl": "1", **dict.fromkeys(("srv_check_port", "srv_agent_port"), "81")}
    other |= {"srv_check_addr": "127.0.0.6", "srv_agent_addr": "127.0.0.5"}
    line = " ".join(other.get(name, word) for name, word in zip(head, changed, strict=True))
    before = "\n".join(["1", "# " + " ".join(head), line, ""])
    row = kept(CONFIG, before)["spark-01"]
    assert {name: row[name] for name in head if row[name] == other.get(name)} == {}
    assert {name: row[name] for name in head if name not in other} == {name: word for name, word in zip(head, changed, strict=True) if name not in other}


def test_what_was_kept_is_fitted_to_the_configuration_before_a_start(tmp_path):
    """After a crash the state is from the last drain, and the configuration may be newer."""
    (tmp_path / "haproxy.cfg").write_text(CONFIG)
    command = [sys.executable, str(FILE), str(tmp_path / "haproxy.cfg"), str(tmp_path / "state")]
    assert subprocess.run(command, check=True).returncode == 0 and (tmp_path / "state").read_text() == "1\n"
    (tmp_path / "state").write_text(STATE)
    subprocess.run(command, check=True)
    assert (tmp_path / "state").read_text() == keep_state.as_configured(STATE, CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["haproxy.cfg", "state"]
