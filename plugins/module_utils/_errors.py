# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one family of errors the collection raises on purpose."""

from __future__ import annotations


class GB10Error(Exception):
    """What went wrong, where, why and what to do, in one sentence for a user.

    Modules catch it once in ``main()`` and pass the text to ``fail_json``; ``details`` (a dict of
    plain values) travels with it as extra return values.
    """

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details
