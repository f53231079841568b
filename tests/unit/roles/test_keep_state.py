# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is kept of HAProxy's servers over a reload; with the real one in tests/on_machine/test_router_haproxy.py."""

from __future__ import annotations

import importlib.util
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


def test_a_state_gets_the_ports_of_the_configuration():
    found = {row["srv_name"]: row for row in rows(keep_state.state_with_ports(STATE, CONFIG))}
    assert {box: row["srv_port"] for box, row in found.items()} == {"spark-01": "9000", "spark-02": "9001"}
    assert {box: row["srv_admin_state"] for box, row in found.items()} == {"spark-01": "8", "spark-02": "0"}
    assert keep_state.state_with_ports(STATE, "") == STATE
    assert keep_state.state_with_ports("", CONFIG) == "1\n"
