# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is pasted into an issue says what decides and nothing that its owner would not show."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, issue, knowledge


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer abcd1234efgh",
        "--api-key zq7xwvkey",
        "VLLM_API_KEY=zq7xwvkey",
        "'api_key': ['zq7xwvkey']",
        "token: hf_abcdefghijklmnopqrstuvwxyz012345",
        "sk-proj-abcdefghijklmnop",
        "https://anna:zq7xwvkey@git.example.org/x",
        '"password": "zq7xwvkey"',
    ],
)
def test_secrets_are_taken_out(secret):
    left = issue.without_secrets(f"ValueError: cannot use {secret} here")
    assert "********" in left
    assert not any(part in left for part in ("zq7xwvkey", "abcd1234efgh", "abcdefghijklmnop"))


def test_homes_and_private_addresses_are_taken_out_and_public_text_stays():
    assert issue.without_secrets("/home/anna/models on 192.168.7.20:8000 and 10.0.0.4") == "/home/USER/models on ADDRESS:8000 and ADDRESS"
    text = "vLLM 0.10.2 on 192.0.2.7: undefined symbol: _ZN3c104cuda in /usr/lib/x.so, 172.40.1.1"
    assert issue.without_secrets(text) == text


def test_a_block_holds_what_decides():
    log = "vLLM API server version 0.26.0\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.18 GiB at /home/anna/x\n"
    found = diagnosis.diagnose({"box1": log}, knowledge.load())
    block = issue.block(found, {"vllm_version": "0.26.0", "max_model_len": 8192}, "loading the model", {"gb10.vllm": "0.1.0"})
    assert block.startswith("```text\nvLLM 0.26.0, gb10.vllm 0.1.0\nreached: loading the model; verdict: known KB-109\nmax_model_len=8192\n")
    assert "CUDA out of memory" in block and "anna" not in block and block.endswith("\n```")
