# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``_host.settings`` decides by, read from a box: nothing here changes anything."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.findings import ERROR, finding
from ansible_collections.gb10.vllm.plugins.module_utils._box.network import ways
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._host.settings import OUR_FILES, OUR_UNITS, outcomes, said
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json

RFKILL, NET = "/sys/class/rfkill", "/sys/class/net"


def record_path(state_dir: str) -> str:
    """Where it is written down what was before."""
    return os.path.join(state_dir, "host.json")


def read(path: str) -> str | None:
    """The text of a file, None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return None


def parse_packages(text: str) -> dict[str, bool]:
    """Whether each installed package is held, from lines of ``WANTED STATUS NAME`` (``dpkg-query``)."""
    rows = [line.split() for line in text.splitlines()]
    return {row[2]: row[0] == "hold" for row in rows if len(row) == 3 and row[1] == "installed"}


def parse_units(text: str) -> dict[str, dict[str, bool]]:
    """Whether each unit is active and enabled, from blocks of ``systemctl show``; those that are not there are left out."""
    units = {}
    for block in text.split("\n\n"):
        fields = dict(line.partition("=")[::2] for line in block.splitlines())
        if fields.get("LoadState") == "loaded":
            units[fields["Id"]] = {"active": fields.get("ActiveState") == "active", "enabled": fields.get("UnitFileState", "").startswith("enabled")}
    return units


def read_host(state_dir: str) -> dict[str, Any]:
    """All that ``settings.outcomes`` looks at."""
    radios = [os.path.dirname(path) for path in sorted(glob.glob(f"{RFKILL}/*/type")) if (read(path) or "").strip() == "wlan"]
    manager = run(["nmcli", "-t", "radio", "wifi"]) if shutil.which("nmcli") else None
    packages = run(["dpkg-query", "--show", "--showformat=${db:Status-Want} ${db:Status-Status} ${Package}\n"])
    record = read_json(record_path(state_dir))
    return {
        "files": {path: read(path) for path in OUR_FILES},
        "units": parse_units(run(["systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState", *OUR_UNITS]).stdout),
        "packages": parse_packages(packages.stdout),
        "radios": {os.path.basename(path): (read(f"{path}/soft") or "").strip() == "1" for path in radios},
        "network_manager": manager.stdout.strip() if manager and manager.returncode == 0 else None,
        "wireless_way": next((one for one in ways() if os.path.exists(f"{NET}/{one}/wireless") or os.path.exists(f"{NET}/{one}/phy80211")), ""),
        "nvidia_smi": bool(shutil.which("nvidia-smi")),
        "record": record if isinstance(record, dict) else {},
    }


def pending(state_dir: str, wanted: Mapping[str, Any]) -> tuple[list[str], list[dict[str, str]]]:
    """What would be done for ``wanted`` (``gb10_host``), one line for each step, and findings of what cannot be done on this box."""
    if not wanted:
        return [], []
    try:
        found = outcomes(read_host(state_dir), wanted)
    except GB10Error as error:
        return [], [finding(ERROR, "the host cannot be set up", str(error).rstrip("."), "Or take that part out of gb10_host.")]
    return [line for outcome in found for line in said(outcome["steps"])], []
