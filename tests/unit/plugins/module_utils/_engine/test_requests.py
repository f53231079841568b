# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests are in a server, out of what vLLM writes."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.module_utils._engine.requests import count, open_requests

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 1.0
vllm:num_requests_running{engine="1",model_name="tiny"} 0.0
"""


def test_what_runs_and_what_waits_counts_once():
    assert count(METRICS) == 3
    assert count("") == 0


def test_a_server_that_does_not_answer_has_nothing_to_wait_for(tmp_path):
    assert open_requests("http://127.0.0.1:1", str(tmp_path / "key.env")) == 0
