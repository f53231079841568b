# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""May this version of vLLM listen on this address? Answers from the table vulnerabilities.yml."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from packaging.version import Version

TABLE = Path(__file__).parent / "vulnerabilities.yml"


@lru_cache(maxsize=1)
def table() -> dict:
    """``refuse_below``, ``warn_below``, ``recommend`` and the list ``advisories``."""
    return yaml.load(TABLE.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def release(version: str) -> Version | None:
    """``0.32.0+cpu`` and ``0.18.0rc1`` in their order; None for a nightly such as ``0.1.dev12345``, whose number says nothing about its age."""
    try:
        number = _version(version)
    except ValueError:
        begins = re.match(r"\s*v?\d+(?:\.\d+)+", version)
        if not begins:
            return None
        number = _version(begins.group())
    dated = number.is_devrelease and len(number.release) == 2
    return None if dated or len(number.release) < 2 else number


def _version(text: str) -> Version:
    """ValueError for what is not a version."""
    # It comes with ansible-core, but not with the environment in which ansible-test only imports plugins.
    from packaging.version import Version

    return Version(text)


def is_local(address: str) -> bool:
    """Whether only processes on the box itself reach ``address``; a name other than localhost counts as not."""
    host = address.strip().strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def exposure_verdict(vllm_version: str, address: str) -> dict:
    """What to do about a server of this version on this address.

    Returns ``verdict`` (``allow``, ``warn`` or ``refuse``), ``reason`` (one sentence, empty when all is well),
    ``advisories`` (ids not fixed in this version) and ``recommend`` (a version). On loopback old versions are
    allowed; beyond it below 0.18.0 is refused, below 0.32.0 or a version that cannot be ordered is warned about.
    """
    rules = table()
    number = release(vllm_version)
    if is_local(address):
        return {"verdict": "allow", "reason": "", "advisories": [], "recommend": rules["recommend"]}
    if number is None:
        reason = (
            f"The version {vllm_version or '(unknown)'} is a development build whose number does not tell its age; compare its commit date with "
            f"the release of {rules['warn_below']} before it listens on {address}."
        )
        return {"verdict": "warn", "reason": reason, "advisories": [], "recommend": rules["recommend"]}
    open_ones = [entry["id"] for entry in rules["advisories"] if _affects(entry, number)]
    if number < _version(rules["refuse_below"]):
        verdict, limit = "refuse", rules["refuse_below"]
    elif number < _version(rules["warn_below"]):
        verdict, limit = "warn", rules["warn_below"]
    else:
        return {"verdict": "allow", "reason": "", "advisories": open_ones, "recommend": rules["recommend"]}
    names = ", ".join(open_ones[:4]) + (f" and {len(open_ones) - 4} more" if len(open_ones) > 4 else "")
    reason = (
        f"vLLM {vllm_version} is older than {limit} and has known vulnerabilities ({names}); "
        f"on {address} others can reach them. Use {rules['recommend']} or bind the server to 127.0.0.1."
    )
    return {"verdict": verdict, "reason": reason, "advisories": open_ones, "recommend": rules["recommend"]}


def _affects(advisory: dict, number: Version) -> bool:
    """Whether a release has the flaw; one without a known fix counts from where it was seen on."""
    if "affected_from" in advisory and number < _version(advisory["affected_from"]):
        return False
    return "fixed_in" not in advisory or number < _version(advisory["fixed_in"])
