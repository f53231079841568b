# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One sentence for each reason why a box cannot serve."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.preflight import access_notes, box_problem, models_refused
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import normalise

HERE = {"name": "spark-01", "user": "gb10", "address": "192.168.1.11", "interpreter": "/usr/bin/python3"}


def finding(level, text):
    return {"level": level, "text": text}


def test_a_box_that_can_serve_has_no_problem():
    assert box_problem({"box": {}, "findings": [finding("warning", "It swaps.")]}, HERE) == ""


def test_a_box_that_is_off():
    said = box_problem({"unreachable": True, "msg": "timed out"}, HERE)
    assert said == ("spark-01 cannot be reached: timed out. Check that the box is on and that `ssh gb10@192.168.1.11` works from here without a password.")


def test_all_errors_are_named_and_no_warning():
    found = [finding("error", "No GPU."), finding("error", "No Docker."), finding("warning", "It swaps.")]
    assert box_problem({"box": {}, "findings": found}, HERE) == "spark-01: No GPU. Also: No Docker."


def test_a_module_that_fails_is_quoted():
    assert box_problem({"failed": True, "msg": "least_free_gib must map paths to numbers."}, HERE) == "spark-01: least_free_gib must map paths to numbers."
    assert box_problem({"failed": True}, HERE) == "spark-01: it could not be read."


# What ansible-core 2.19 returned for interpreters of that kind, in short.
MISSING = {"rc": 127, "msg": "The module interpreter '/usr/bin/python3' was not found.", "module_stderr": "/bin/sh: 1: /usr/bin/python3: not found"}
UNREADABLE = "Module result deserialization failed: No start of json char found"
TOO_OLD = [
    {"rc": 1, "msg": UNREADABLE, "module_stderr": '  File "<stdin>", line 40\n    zip_data: str,\n            ^\nSyntaxError: invalid syntax\n'},  # 2.7
    {"rc": 1, "msg": UNREADABLE, "module_stderr": '  File "<stdin>", line 3\nSyntaxError: future feature annotations is not defined\n'},  # 3.6
    {"rc": 1, "msg": "ansible-core requires a minimum of Python version 3.8. Current version: 3.7.16"},
]


@pytest.mark.parametrize("result", TOO_OLD)
def test_a_python_that_is_too_old_is_named(result):
    said = box_problem(dict(result, failed=True), HERE)
    assert said.startswith("spark-01: its Python (/usr/bin/python3) is older than 3.10. Install Python 3.10 or newer") and "\n" not in said


def test_a_python_that_is_not_there_is_named():
    said = box_problem(dict(MISSING, failed=True), HERE)
    assert said.startswith("spark-01: there is no Python at /usr/bin/python3") and "ansible_python_interpreter" in said and "\n" not in said


SERVERS = [{"model_path": "/srv/models/tiny", "repo_id": None}, {"model_path": "/srv/models/big", "repo_id": "org/big"}]


def test_models_that_are_nowhere_and_models_that_are_damaged():
    assert models_refused(SERVERS, {"/srv/models/tiny": {}}, {}) == ""
    assert models_refused(SERVERS, {}, {}).startswith("/srv/models/tiny does not exist there, no other box of the run has it, and it is not a Hugging Face")
    assert models_refused(SERVERS, {}, {"/srv/models/tiny": "/srv/models/tiny lacks a shard"}) == "/srv/models/tiny lacks a shard."


TLS = {"certificate": "/c.pem", "key": "/k.pem"}
LOCAL, CLEAR = "a will ask for a key on loopback too", "a will be reached at"


@pytest.mark.parametrize(
    ("server", "allow_open", "deployment", "words"),
    [
        ({}, False, None, [LOCAL]),
        ({}, False, {"address": "127.0.0.1"}, [LOCAL]),
        ({}, False, {"address": "127.0.0.1", "key": "generated"}, []),
        ({}, False, {"address": "127.0.0.1", "key": "none"}, [LOCAL]),
        ({}, True, None, []),
        ({"address": "0.0.0.0"}, False, None, [CLEAR]),
        ({"address": "0.0.0.0"}, False, {"address": "0.0.0.0"}, []),
        ({"address": "0.0.0.0"}, False, {"address": "127.0.0.1", "key": "generated"}, [CLEAR]),
        ({"address": "0.0.0.0", "tls": TLS}, False, None, []),
        ({"address": "0.0.0.0"}, True, None, [CLEAR]),
    ],
)
def test_who_will_get_in_is_said_until_it_is_so(server, allow_open, deployment, words):
    wanted = normalise([{"name": "a", "model": "m", **server}], "/m", allow_open)
    notes = access_notes(wanted, {"a": {"deployment": deployment}} if deployment else {}, "/etc/x")
    assert len(notes) == len(words) and all(word in note for word, note in zip(words, notes, strict=True))
    assert all("/etc/x/a/key.env" in note for note in notes if LOCAL in note)
