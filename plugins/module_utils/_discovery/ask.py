# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks for boxes from this machine: who announces himself, whom it has spoken to, and who of them, or of a given range, answers with SSH."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._discovery import addresses, boxes
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run

AT_ONCE = 64
CONNECT_S = 1.5
BROWSE_S = 8.0


def found(ranges: str, port: int, longest_s: float) -> dict[str, Any]:
    """{boxes, asked, announced, in_time}: GB10Error for a range that is none. Nobody is asked beyond ``ranges`` where one is given."""
    until = time.monotonic() + longest_s
    named = addresses.announced(_browsed())
    met = addresses.neighbours(run(["ip", "-j", "neighbour", "show"]).stdout)
    ours = addresses.own(run(["ip", "-j", "address", "show"]).stdout)
    given = addresses.in_ranges(ranges) if ranges else []
    asked = given or list(dict.fromkeys(one["address"] for one in [*named, *met]))[: addresses.MOST]
    asked = [one for one in asked if one not in ours]
    answers = banners(asked, port, until)
    return {
        "boxes": boxes.boxes({address: said for address, said in answers.items() if said}, [*named, *met]),
        "asked": len(asked),
        "announced": len({one["name"] for one in named}),
        "in_time": len(answers) == len(asked),
    }


def _browsed() -> str:
    """What Avahi knows; nothing where it is not installed or does not run."""
    if not shutil.which("avahi-browse"):
        return ""
    return run(["avahi-browse", "--resolve", "--terminate", "--parsable", "_ssh._tcp"], BROWSE_S).stdout


def banners(asked: Iterable[str], port: int, until: float) -> dict[str, str]:
    """Banner of each address that was asked in time, "" of one that has no SSH there. Nothing is sent."""

    def one(address: str) -> tuple[str, str | None]:
        return address, None if time.monotonic() > until else _banner(address, port)

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return {address: said for address, said in pool.map(one, asked) if said is not None}


def _banner(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), CONNECT_S) as line:
            return boxes.banner(line.recv(255))
    except (OSError, UnicodeError):
        return ""
