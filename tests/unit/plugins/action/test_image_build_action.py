# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of an image when it is ready, and when it could not be made."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.action.image_build import _explain, _summary


def test_a_known_failure_is_explained_with_variables_that_exist():
    final = {"msg": "docker build ended with code 1", "exception": "x", "last_lines": ["UV_HTTP_TIMEOUT (current value: 30s)."]}
    text = _explain(final, "spark-1")
    assert text.startswith("spark-1: docker build ended with code 1.\nWhat: UV_HTTP_TIMEOUT (current value: 30s).\n") and "exception" not in final
    assert "gb10_uv_http_timeout_s" in text and text.endswith("Last lines:\n  | UV_HTTP_TIMEOUT (current value: 30s).")


def test_an_unknown_failure_shows_its_last_lines():
    assert _explain({"msg": "no.", "last_lines": ["odd"]}, "b") == "b: no.\nLast lines:\n  | odd"
    assert _explain({}, "b") == "b: the image could not be made."


def test_the_last_line_names_the_image():
    image = {"name": "vllm-node:latest", "id": "sha256:" + "a" * 64, "size_bytes": 17_300_000_000}
    assert _summary({"image": image, "duration_s": 95.0}) == "vllm-node:latest ready in 1 min 35 s (aaaaaaaaaaaa, 17.3 GB)"
