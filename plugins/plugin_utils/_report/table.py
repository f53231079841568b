# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of text as the lines of a table for the terminal. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import cut

LEAST_WIDTH = 10
"""Characters below which a column never gives way."""


def table(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), rule: bool = False, columns: int | None = None, shrink: Sequence[int] = ()
) -> list[str]:
    """One line per row, columns two blanks apart, without blanks at the end; a column in which nothing stands is left out.

    :param right: numbers of the columns that are aligned to the right.
    :param rule: whether a line of dashes stands below the first row.
    :param columns: characters a line may have; the columns of ``shrink`` give way, in this order, and their long cells end in an ellipsis.
    """
    if not rows:
        return []
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    if columns is not None:
        over = sum(widths) + 2 * (sum(map(bool, widths)) - 1) - columns
        for number in shrink:
            less = min(max(0, over), max(0, widths[number] - LEAST_WIDTH))
            widths[number] -= less
            over -= less
    lines = [[cut(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    if rule:
        lines.insert(1, ["-" * width for width in widths])
    shown = [number for number, width in enumerate(widths) if width]
    return ["  ".join(line[n].rjust(widths[n]) if n in right else line[n].ljust(widths[n]) for n in shown).rstrip() for line in lines]
