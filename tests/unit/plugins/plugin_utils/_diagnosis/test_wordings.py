# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The entries catch kinds of failures: the same in other words, nothing in the warnings of healthy starts, and no line keeps a signature busy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge

LINES = (Path(__file__).parent / "wordings.txt").read_text(encoding="utf-8").splitlines()
WORDINGS = [tuple(line.replace("\\n", "\n").split(" ", 2)) for line in LINES if not line.startswith("#")]
START = "(APIServer pid=1) INFO 11-25 18:17:19 [api_server.py:1] vLLM API server version 0.33.0\n"
UP = "(APIServer pid=1) INFO:     Application startup complete.\n"
BEFORE = {"build": "#1 [internal] load build definition from Dockerfile\n#5 [2/4] RUN x\n", "host": "", "runtime": START + UP}
AFTER = {"build": '#5 ERROR: process "/bin/sh -c x" did not complete successfully: exit code: 1\n'}
FAILURES = [row for row in WORDINGS if row[0] != "healthy"]
HEALTHY = [text for stage, _none, text in WORDINGS if stage == "healthy"]


@pytest.fixture(scope="module")
def entries():
    return knowledge.load()


def test_the_same_failure_in_other_words(entries):
    wrong = {}
    for stage, wanted, text in FAILURES:
        found = diagnosis.diagnose({"box1": f"{BEFORE.get(stage, START)}{text}\n{AFTER.get(stage, '')}"}, entries)
        if found["id"] != wanted:
            wrong[text] = (wanted, found["id"])
    assert wrong == {}
    assert len(FAILURES) > 250


@pytest.mark.parametrize("line", HEALTHY)
def test_what_healthy_starts_say_is_no_failure(entries, line):
    for log in (f"{START}{line}\n{UP}", f"{START}{UP}{line}\n"):
        result = diagnosis.diagnose({"box1": log}, entries)
        assert (result["found"], result["what"]) == (False, "")


def test_causes_and_fixes_keep_their_captured_values(entries):
    """A captured text may hold brackets and braces; it reaches the sentence as it is and hides none of it."""
    log = "Value error, odd {thing} [[here]] is greater than {max} [type=value_error, input_value=1]"
    result = diagnosis.diagnose({"box1": START + log}, entries)
    assert (result["id"], "odd {thing} [[here]]" in result["why"]) == ("GB-318", True)


def test_certificates_are_not_the_network(entries):
    network = "error: Request failed after 3 retries\n  Caused by: error sending request for url (https://x)\n  Caused by: "
    for text in ("invalid peer certificate: UnknownIssuer", "curl: (60) SSL certificate problem: self-signed certificate in certificate chain"):
        log = f"{BEFORE['build']}{network}{text}\n{AFTER['build']}"
        result = diagnosis.diagnose({"box1": log}, entries)
        assert result["id"] == "GB-101"
        assert "gb10_ca_bundle" in result["todo"]


HOSTILE = (
    "a", "1", " ", "/usr/lib/x.so: ", "ERROR: RuntimeError: failed to ", "the model is not supported on ", "'a' \"b\" (c) [d] ", "a.b.c.", "No such file ",
    "NVRM: Xid GPU nccl NCCL WARN cutlass triton ", '{"a": "b", "c": 1}, ', "ValueError: speculative ", "x" * 63 + " ", "Error: ", "not found: ", "_ZN3c10",
    "failed to solve: ", "gloo ", "http://a/b?c=d&", "(((", "[[[", "```", "-" * 8, "CUDA error: ", "KeyError: '", "/.cache/",
    "Avg prompt throughput: 0.0 tokens/s, ",
)  # fmt: skip
WIDE = 4096


def test_no_line_keeps_a_signature_busy(entries):
    """Half a megabyte of wide lines (and of empty ones) that begin to match and never end: each signature is through in time."""
    lines = [(piece * (WIDE // len(piece) + 1))[: WIDE - 1] for piece in HOSTILE]
    text = "\n".join(lines * 4) + "\n" * 60_000
    took = {}
    for entry in entries:
        least = float("inf")
        for _attempt in range(3):  # another process may have had the processor
            before = time.process_time()
            for _match in entry.signature.compiled.finditer(text):
                pass
            least = min(least, time.process_time() - before)
            if least < 0.04:
                break
        took[entry.id] = least
    # A processor that others use too is slower for all of them alike; one that goes back over a wide line takes seconds.
    usual = sorted(took.values())[len(took) * 3 // 4]
    slow = {one: f"{least * 1000:.0f} ms for {len(text)} characters" for one, least in took.items() if least > max(0.1, 20 * usual)}
    assert slow == {}
