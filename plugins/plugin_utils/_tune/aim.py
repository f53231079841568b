# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tuning aims at, and what a benchmark is worth by it. Pure.

An aim is ``tokens_per_s``, bounds such as ``first_token_p95 <= 500 ms`` and ``per_user >= 20``, or both joined by "and". With bounds the point of the
benchmark with most tokens/s counts among those that keep them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

NAMES = {
    "first_token_p50": "ttft_p50", "first_token_p95": "ttft_p95", "first_token_p99": "ttft_p99",
    "between_tokens_p50": "itl_p50", "between_tokens_p95": "itl_p95", "between_tokens_p99": "itl_p99", "per_user": "decode_user",
}  # fmt: skip
TOTAL = "tokens_per_s"
FORM = "write it as tokens_per_s, first_token_p95 <= 500 ms, per_user >= 20, or several joined by `and`"
_BOUND = re.compile(r"([a-z_0-9]+)\s*(<=|>=)\s*(\d+(?:\.\d+)?)\s*([a-z/]*)")
TIMES, RATES = {"ms": 1.0, "s": 1000.0}, {"": 1.0, "tokens/s": 1.0}
"""What a unit is in that of the figure; a time without one could be either."""


class Bound(NamedTuple):
    """A figure of the benchmark, which way it is bounded, and the bound in the figure's unit."""

    figure: str
    at_most: bool
    number: float

    def missed(self, value: float) -> float:
        """By which share of the bound a value misses it; 0 where it keeps it."""
        return max(0.0, (value - self.number if self.at_most else self.number - value) / self.number)


def read(text: Any) -> tuple[Bound, ...]:
    """The bounds of an aim; () for most tokens/s alone. GB10Error in one sentence for anything else."""
    bounds = []
    for part in re.split(r"\s+and\s+|\s*,\s*", str(text).strip().lower().replace("per user", "per_user")):
        if part == TOTAL:
            continue
        found = _BOUND.fullmatch(part)
        if not found or found[1] not in NAMES:
            raise GB10Error(f"gb10_tune_aim: {part!r:.80} is no aim; {FORM}. Figures are {', '.join(NAMES)}.")
        figure, at_most, number = NAMES[found[1]], found[2] == "<=", float(found[3])
        rate = figure == "decode_user"
        if at_most == rate:
            raise GB10Error(f"gb10_tune_aim: {part!r:.80} bounds it from the wrong side; {FORM}.")
        units = RATES if rate else TIMES
        if found[4] not in units:
            says = f"has the unit {found[4]!r:.20}" if found[4] else "has no unit"
            raise GB10Error(f"gb10_tune_aim: {part!r:.80} {says}, and {found[1]} is in {' or '.join(filter(None, units))}; {FORM}.")
        if not number:
            raise GB10Error(f"gb10_tune_aim: {part!r:.80} bounds it by nothing; {FORM}.")
        bounds.append(Bound(figure, at_most, number * units[found[4]]))
    return tuple(bounds)


def worth(document: Mapping[str, Any], bounds: tuple[Bound, ...]) -> dict[str, Any]:
    """{reached, point, value, missed} of a benchmark: ``value`` are the tokens/s of its best point, ``missed`` the share by which the nearest point fails.

    {} where no point has the figures that the aim needs.
    """
    needed = {"total", *(bound.figure for bound in bounds)}
    known = [point for point in document["points"] if needed <= set(point["figures"])]
    if not known:
        return {}
    rated = [(max([bound.missed(point["figures"][bound.figure]["mean"]) for bound in bounds] or [0.0]), point) for point in known]
    keeping = [point for missed, point in rated if missed == 0]
    if keeping:
        best = max(keeping, key=lambda point: point["figures"]["total"]["mean"])
        return {"reached": True, "point": best["name"], "value": best["figures"]["total"], "missed": 0.0}
    missed, nearest = min(rated, key=lambda one: one[0])
    return {"reached": False, "point": nearest["name"], "value": nearest["figures"]["total"], "missed": missed}
