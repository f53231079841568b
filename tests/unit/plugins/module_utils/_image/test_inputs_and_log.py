# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Identity of images and what their build logs tell."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_identity
from ansible_collections.gb10.vllm.plugins.module_utils._image import log as image_log

INPUTS = {"source": "build", "commit": "a" * 40, "wheels": "auto", "uv_http_timeout_s": 300, "base_images": {"deb": "sha256:1"}}


def test_labels_bring_the_inputs_back():
    labels = image_identity.labels(INPUTS, {"vllm_version": "0.32.0", "cuda_version": None})
    assert image_identity.recorded(labels) == INPUTS
    assert labels["gb10.vllm.commit"] == "a" * 40
    assert labels["gb10.vllm.vllm_version"] == "0.32.0"
    assert "gb10.vllm.cuda_version" not in labels


def test_labels_that_do_not_belong_together_count_as_none():
    labels = image_identity.labels(INPUTS, {})
    assert image_identity.recorded({**labels, "gb10.vllm.inputs": "0"}) is None
    assert image_identity.recorded({**labels, "gb10.vllm.inputs.json": "not json"}) is None
    assert image_identity.recorded(None) is None


def test_the_changed_input_is_named():
    found = image_identity.changes(INPUTS, {**INPUTS, "uv_http_timeout_s": 600, "commit": "b" * 40})
    assert image_identity.describe(found) == "commit (aaaaaaaaaaaa -> bbbbbbbbbbbb), uv_http_timeout_s (300 -> 600)"


def test_an_option_that_came_or_went_is_a_change():
    assert [c["input"] for c in image_identity.changes(INPUTS, {**INPUTS, "jobs": 4})] == ["jobs"]
    assert [c["input"] for c in image_identity.changes({**INPUTS, "jobs": 4}, INPUTS)] == ["jobs"]


def test_a_base_image_this_box_does_not_hold_is_no_change():
    without = {k: v for k, v in INPUTS.items() if k != "base_images"}
    assert image_identity.changes(INPUTS, without) == []
    assert image_identity.changes(without, INPUTS) == []
    assert [c["input"] for c in image_identity.changes(INPUTS, {**INPUTS, "base_images": {"deb": "sha256:2"}})] == ["base_images deb"]


def test_digest_does_not_depend_on_order():
    assert image_identity.digest(INPUTS) == image_identity.digest(dict(reversed(INPUTS.items())))


SEED = """\
#14 30.5   × Failed to download `nvidia-cusparse==12.6.2.49`
#14 30.5   ├─▶ Failed to extract archive
#14 30.5   ├─▶ I/O operation failed during extraction
#14 30.5   ╰─▶ Failed to download distribution due to network timeout. Try increasing
#14 30.5       UV_HTTP_TIMEOUT (current value: 30s).
#14 ERROR: process "/bin/sh -c uv pip install" did not complete successfully: exit code: 1
------
 > [5/7] RUN uv pip install:
------
ERROR: failed to solve: process "/bin/sh -c uv pip install" did not complete successfully: exit code: 1
"""


def test_the_failure_this_collection_was_born_from_is_one_of_the_network():
    assert image_log.is_network_failure(SEED)


def test_only_what_another_try_may_get_past_is_one_of_the_network():
    for once in ("fatal: unable to access 'https://github.com/x/': Could not resolve host: github.com", "net/http: TLS handshake timeout", "early EOF"):
        assert image_log.is_network_failure(once), once
    for again in (
        "error: patch failed: a/b.py:1",
        "no space left on device",
        "error sending request for url (https://x/): client error (Connect): invalid peer certificate: UnknownIssuer",
        "Failed to connect to x: SSL certificate problem: unable to get local issuer certificate",
        "x509: certificate signed by unknown authority; i/o timeout",
        "error: Failed to fetch: `https://x/y.whl`\n  Caused by: HTTP status client error (404 Not Found)",
        "toomanyrequests: You have reached your pull rate limit; Client.Timeout exceeded",
    ):
        assert not image_log.is_network_failure(again), again


def test_a_long_log_keeps_its_beginning_its_errors_and_its_end():
    log = "\n".join([f"begin {n}" for n in range(50)] + ["#9 error: the cause"] + [f"compiling {n}" for n in range(5000)] + ["end"])
    kept = image_log.excerpt(log)
    assert len(kept) <= 600 and kept[0] == "begin 0" and kept[-1] == "end" and "#9 error: the cause" in kept
    assert image_log.excerpt("a\n\nb\n") == ["a", "b"]


def test_last_error_is_the_cause_not_the_wrapper():
    assert image_log.last_error("#9 1.0 error: patch does not apply\n#9 ERROR: exit code: 1\nERROR: failed to solve: exit code: 1\n") == (
        "error: patch does not apply"
    )
    assert image_log.last_error("one\ntwo\n") == "two"
    assert image_log.last_error("") == ""


def follow(text):
    log = image_log.BuildLog()
    for line in text.splitlines():
        log.feed(line)
    return log


def test_steps_of_one_stage():
    log = follow("#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n#5 [1/4] FROM docker.io/x\n#5 DONE 0.1s\n#6 [2/4] RUN a\n#6 CACHED\n")
    assert (log.step, log.steps) == (3, 4)
    log.feed("#7 [3/4] RUN uv pip install torch")
    log.feed("#7 1.234 Downloading torch (800.0MiB)")
    assert log.text == "RUN uv pip install torch: Downloading torch (800.0MiB)"


def test_steps_of_several_stages_and_builds_add_up():
    log = follow(
        "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n#2 [base 1/2] FROM a\n#2 DONE 1s\n#3 [runner 1/3] FROM b\n#3 DONE 1s\n"
        "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n#2 [base 1/2] FROM a\n#2 CACHED\n"
    )
    assert (log.step, log.steps) == (4, 7)


def test_a_header_that_is_repeated_is_no_new_build():
    log = follow("#1 [internal] load build definition from Dockerfile\n#2 [1/2] FROM a\n#1 [internal] load build definition from Dockerfile\n#1 DONE 0s\n")
    assert log.steps == 2


def test_bytes_of_a_transfer():
    log = follow("#5 [1/4] FROM docker.io/x@sha256:" + "0" * 64 + "\n#5 sha256:1234 12.58MB / 100MB 1.2s\n")
    assert (log.bytes, log.total_bytes) == (12_580_000, 100_000_000)
    assert log.base_images == {"docker.io/x": "sha256:" + "0" * 64}


def test_a_failed_step_is_not_done():
    log = follow("#6 [1/2] RUN a\n#6 ERROR: exit code: 1\n")
    assert log.step == 1


def test_a_pull_on_a_terminal():
    log = image_log.PullLog()
    for line in [
        "latest: Pulling from eugr/spark-vllm",
        "\x1b[1A\x1b[2K",
        "aaaaaaaaaaaa: Already exists ",
        "bbbbbbbbbbbb: Pulling fs layer ",
        "\x1b[2Kbbbbbbbbbbbb: Downloading [==>      ]  10.5MB/100MB\x1b[1B",
        "cccccccccccc: Downloading [==>      ]  1GB/2GB",
    ]:
        log.feed(line)
    assert (log.step, log.steps, log.bytes, log.total_bytes) == (1, 3, 1_010_500_000, 2_100_000_000)
    assert log.text == "downloading layers"
    log.feed("bbbbbbbbbbbb: Download complete ")
    log.feed("bbbbbbbbbbbb: Extracting [==>      ]  10.5MB/100MB")
    assert log.bytes == 1_100_000_000
    assert "bbbbbbbbbbbb: Downloading" in log.keep and not any("[" in line for line in log.keep)


def test_the_last_lines_are_those_that_say_something():
    assert image_log.tail("#1 [internal] load .dockerignore\n#1 sha256:" + "a" * 64 + "\n#1 DONE 0.0s\n#4 CACHED\n#5 1.0 error: no\n------\n") == [
        "#5 1.0 error: no"
    ]


def test_a_network_message_long_before_the_end_is_not_the_cause():
    rest = "".join(f"#9 {number}.0 compiling\n" for number in range(100))
    assert not image_log.is_network_failure("curl: Could not resolve host: x, trying the next\n" + rest + "error: patch failed: a/b.py:1")
    assert image_log.is_network_failure(rest + "error sending request for url\n------\n")


def test_a_build_that_is_done_is_at_its_last_step():
    log = follow("#5 [1/2] FROM docker.io/x\n#5 DONE 0.1s\n#6 [2/2] RUN a\n#6 DONE 0.1s\n")
    assert (log.step, log.steps) == (2, 2)


@pytest.mark.parametrize(("text", "sizes"), [("12.5kB / 100kB", (12_500, 100_000)), ("1KiB / 2KiB", (1024, 2048)), ("3MiB / 1.5GB", (3 << 20, 1_500_000_000))])
def test_units_of_a_transfer(text, sizes):
    log = follow(f"#5 [1/4] FROM docker.io/x\n#5 sha256:1234 {text} 1.2s\n")
    assert (log.bytes, log.total_bytes) == sizes
