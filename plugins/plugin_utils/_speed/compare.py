# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two results side by side: what differs between their boxes and servers, and which figures differ by more than noise. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._speed.results import FIGURES

DEVIATIONS = 2.0
FLOOR = 0.01
"""Less than this share is noise however even the repeats were."""
UNKNOWN = "not known (one run)"
SHOWN = ("total", "decode_user", "prefill", "ttft_p95", "itl_p95")
STATE = {
    "box": "box",
    "server": "server",
    "vllm_version": "vLLM",
    "image_id": "image",
    "model": "model",
    "model_version": "version of the model",
    "target": "asked at",
}
CLOCK_SHARE = 0.1


def change(before: Mapping[str, Any], after: Mapping[str, Any], more_is_better: bool) -> dict[str, Any]:
    """{before, after, share, noise, verdict}: ``verdict`` is ``better``, ``worse``, ``noise`` or, where a side was run once, ``unknown``.

    More than noise: the means differ by more than two standard deviations of their difference, and by more than 1 %.
    """
    difference = after["mean"] - before["mean"]
    share = difference / before["mean"] if before["mean"] else 0.0
    if min(len(before["values"]), len(after["values"])) < 2:
        verdict, noise = "unknown", None
    else:
        noise = max(DEVIATIONS * sqrt(before["std"] ** 2 + after["std"] ** 2), FLOOR * before["mean"])
        verdict = "noise" if abs(difference) <= noise else "better" if (difference > 0) == more_is_better else "worse"
    return {"before": before["mean"], "after": after["mean"], "share": share, "noise": noise, "verdict": verdict}


def compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """{differs, rows, missing} of two results: ``differs`` in words, ``rows`` by point and figure, ``missing`` the points that only one of them has."""
    held = {one["name"]: one for one in before["points"]}
    rows = []
    for point in after["points"]:
        earlier = held.get(point["name"])
        shared = [name for name in SHOWN if earlier and name in point["figures"] and name in earlier["figures"]]
        if earlier and _shape(earlier) != _shape(point):
            shared = []
        for name in shared:
            title, unit, better = FIGURES[name]
            found = change(earlier["figures"][name], point["figures"][name], better) if earlier else {}
            rows.append({"point": point["name"], "figure": title, "unit": unit, **found})
    names = {row["point"] for row in rows}
    missing = sorted({one["name"] for one in [*before["points"], *after["points"]]} - names)
    return {"differs": differences(before, after), "rows": rows, "missing": missing}


def _shape(point: Mapping[str, Any]) -> tuple:
    return tuple(point.get(key) for key in ("input_tokens", "output_tokens", "depth", "concurrency", "prefix_tokens", "dataset", "requests_per_stream"))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two results beside their figures, one sentence each."""
    found = []
    for key, name in STATE.items():
        was, now = ({**one["state"], **one}.get(key) for one in (before, after))
        if was != now:
            found.append(f"{name}: {_short(was)}, then {_short(now)}")
    was_flags, now_flags = flags(before["state"].get("arguments") or []), flags(after["state"].get("arguments") or [])
    for flag in sorted({*was_flags, *now_flags}):
        if was_flags.get(flag) != now_flags.get(flag):
            found.append(f"{flag}: {was_flags.get(flag, 'not given')}, then {now_flags.get(flag, 'not given')}")
    clocks = [[one["load"]["sm_clock_mhz"] for one in side["points"] if (one.get("load") or {}).get("sm_clock_mhz")] for side in (before, after)]
    if all(clocks) and abs(min(clocks[1]) - min(clocks[0])) > CLOCK_SHARE * min(clocks[0]):
        found.append(f"lowest clock under load: {min(clocks[0]):.0f} MHz, then {min(clocks[1]):.0f} MHz")
    return found


def flags(arguments: list[str]) -> dict[str, str]:
    """The arguments of a command line by flag; ``given`` for one without a value."""
    found: dict[str, str] = {}
    for position, text in enumerate(arguments):
        if text.startswith("--"):
            name, equals, value = text.partition("=")
            following = arguments[position + 1] if position + 1 < len(arguments) else "--"
            found[name] = value if equals else "given" if following.startswith("--") else following
    return found


def _short(value: Any) -> str:
    text = str(value if value is not None else "none").removeprefix("sha256:")
    return text[:12] if len(text) == 64 else text[:80]


def words(row: Mapping[str, Any]) -> str:
    """One row of a comparison as people read it."""
    sign = f"{row['share']:+.1%}"
    meaning = {"better": "better", "worse": "worse", "noise": "within the noise", "unknown": f"noise {UNKNOWN}"}[row["verdict"]]
    return f"{row['point']} {row['figure']}: {row['before']:.1f}, then {row['after']:.1f} {row['unit']} ({sign}, {meaning})"
