# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests are in a server, by its own word."""

from __future__ import annotations

import re

from ansible_collections.gb10.vllm.plugins.module_utils._engine.api import Api
from ansible_collections.gb10.vllm.plugins.module_utils._io.env_file import read_private

OPEN = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^\n]*\})? ([0-9.eE+-]+)$", re.MULTILINE)


def count(metrics: str) -> int:
    """Requests that run or wait, from ``/metrics`` (vLLM: v1/metrics/loggers.py, PrometheusStatLogger); those of all engines."""
    return int(sum(float(value) for value in OPEN.findall(metrics)))


def open_requests(base_url: str, api_key_file: str) -> int:
    """Requests that run or wait in a server; 0 for one that does not answer or keeps no such numbers."""
    status, text = Api(base_url, read_private(api_key_file, "a key").get("VLLM_API_KEY")).call("/metrics")
    return count(text) if status == 200 else 0
