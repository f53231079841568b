# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a box remembers of the last benchmark of a server (``_speed.results.summary``), for status and report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def speed(record: Mapping[str, Any], spec: str | None) -> dict[str, Any]:
    """The summary of the last benchmark, where it is of what is deployed; {} where there is none, or it cannot be read."""
    kept = record.get("benchmark")
    if not isinstance(kept, Mapping) or not spec or kept.get("spec") != spec or not isinstance(kept.get("decode"), (int, float)):
        return {}
    return dict(kept)


def _part(kept: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = kept.get(name)
    return value if isinstance(value, Mapping) else {}


def words(kept: Mapping[str, Any]) -> str:
    """The measured speed and the expected one, without a full stop; "" without a benchmark."""
    if not kept:
        return ""
    expected, judged = _part(kept, "expected"), _part(kept, "judged")
    streams = kept.get("concurrency")
    alone = "one stream" if streams == 1 else f"{streams} streams"
    said = f"decodes {kept['decode']:.1f} tokens/s for {alone} (benchmark {kept.get('profile')}, {kept.get('made_at')})"
    if not expected or not all(isinstance(expected.get(key), (int, float)) for key in ("low", "high")):
        return f"{said}; what to expect is not known here"
    said = f"{said}; expected are {expected['low']:.1f} to {expected['high']:.1f}"
    return f"{said}: {judged['text']}" if judged and judged.get("verdict") == "slow" else said
