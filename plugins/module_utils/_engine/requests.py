# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests are in a server, by its own word."""

from __future__ import annotations

import errno
import re

from ansible_collections.gb10.vllm.plugins.module_utils._engine.api import Api
from ansible_collections.gb10.vllm.plugins.module_utils._io.env_file import read_private

OPEN = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^\n]*\})? ([0-9.eE+-]+)$", re.MULTILINE)

NOBODY = (f"[Errno {errno.ECONNREFUSED}]", f"[Errno {errno.ECONNRESET}]", "Remote end closed connection without response")
"""In what the API's caller says where no engine listens: refused, or taken by Docker's proxy, which finds nobody behind it."""


def count(metrics: str) -> int:
    """Requests that run or wait, from ``/metrics`` (vLLM: v1/metrics/loggers.py, PrometheusStatLogger); those of all engines."""
    return int(sum(float(value) for value in OPEN.findall(metrics)))


def open_requests(base_url: str, api_key_file: str, watched: str = "") -> int | None:
    """Requests that run or wait in a server; 0 for one where nobody listens or that keeps no such numbers, None where it does not say.

    ``watched``: the file in which the watch of a box says whether the server answers; of one that gives no token nobody waits for an answer.
    """
    status, text = Api(base_url, read_private(api_key_file, "a key").get("VLLM_API_KEY")).call("/metrics")
    if status == 200:
        return count(text)
    if status == 0 and any(word in text for word in NOBODY):
        return 0
    return 0 if _says(watched).strip() == "down" else None


def _says(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as handle:
            return handle.read(8)
    except OSError:
        return ""
