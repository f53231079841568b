# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who already has what the monitoring of a host needs: ports, addresses, configuration files of the distribution's packages, room on the disk."""

from __future__ import annotations

import glob
import hashlib
import ipaddress
import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.facts import read_disk, read_text
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run

DROP_IN = "gb10-vllm.conf"
MARK = "Managed by the Ansible collection gb10.vllm"
"""In the first line of each file that we write beside those of the distribution."""


def parse_addresses(text: str) -> list[str]:
    """What ``ip -json address show`` prints: the addresses of a host, those of one link only left out."""
    try:
        links = json.loads(text)
        return [one["local"] for link in links for one in link.get("addr_info", []) if one.get("scope") != "link" and "local" in one]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def parse_sockets(text: str) -> list[dict]:
    """What ``ss -Hltnp`` prints: [{address, port, pid}], ``pid`` of the first program that holds it, 0 where that is not said."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 5:
            continue
        address, _colon, port = fields[3].rpartition(":")
        pid = re.search(r"pid=(\d+)", fields[-1])
        if port.isdigit():
            found.append({"address": address.partition("%")[0].strip("[]"), "port": int(port), "pid": int(pid[1]) if pid else 0})
    return found


def parse_conffiles(text: str) -> dict[str, str]:
    """What ``dpkg-query --showformat=${Conffiles}\\n`` prints: the MD5 of each configuration file as its package brought it."""
    lines = (line.split() for line in text.splitlines())
    return {fields[0]: fields[1] for fields in lines if len(fields) >= 2 and fields[0].startswith("/")}


def unit_of(cgroup: str) -> str:
    """The systemd service in the text of /proc/PID/cgroup; "" where there is none."""
    found = re.findall(r"/([^/\n]+\.service)(?:/|\s|$)", cgroup)
    return found[-1] if found else ""


def overlaps(held: str, wanted: str) -> bool:
    """Whether a program that listens on one address keeps another one from listening on the other."""
    if held in ("*", "0.0.0.0", "::"):
        return True
    try:
        one, other = ipaddress.ip_address(held), ipaddress.ip_address(wanted)
    except ValueError:
        return False
    return one == other or other.is_unspecified


def resolve(name: str, addresses: Sequence[str]) -> str:
    """The address of this host that a name or an address means; "" when it means none of them."""
    if name in addresses:
        return name
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)]
    except (OSError, UnicodeError):
        return ""
    return next((one for one in found if one in addresses), "")


def file_owner(path: str, packaged: Mapping[str, str]) -> str:
    """Whose a file is: ``nobody`` (there is none), ``ours``, ``package`` (as it was brought) or ``somebody``."""
    try:
        with open(path, "rb") as handle:
            content = handle.read()
    except (FileNotFoundError, NotADirectoryError):
        return "nobody"
    except OSError:
        return "somebody"
    if MARK.encode() in content.partition(b"\n")[0]:
        return "ours"
    return "package" if hashlib.md5(content, usedforsecurity=False).hexdigest() == packaged.get(path) else "somebody"


def listens(unit: str, port: int, text: str) -> bool:
    """Whether the drop-in of ours with this text has the unit, which runs, listen on the port."""
    if not re.search(rf"(?:--web\.listen-address=\S+:|GF_SERVER_HTTP_PORT=){port}(?!\d)", text):
        return False
    return run(["systemctl", "is-active", "--quiet", f"{unit}.service"]).returncode == 0


def holder(one: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """The same listener with its ``program`` and ``unit``. Where even root may not see whose it is, as in some containers, our drop-in says it."""
    held = unit_of(read_text(f"/proc/{one['pid']}/cgroup")) if one["pid"] else ""
    if not one["pid"] and listens(unit, one["port"], read_text(f"/etc/systemd/system/{unit}.service.d/{DROP_IN}")):
        held = f"{unit}.service"
    return {**one, "unit": held, "program": read_text(f"/proc/{one['pid']}/comm").strip()}


def read(*, address: str, ports: Mapping[str, int], files: Sequence[str], units: Sequence[str], directory: str) -> dict:
    """What M(gb10.vllm.monitoring_info) returns."""
    addresses = parse_addresses(run(["ip", "-json", "address", "show"]).stdout)
    management = resolve(address, addresses)
    sockets = parse_sockets(run(["ss", "-Hltnp"]).stdout) if ports else []
    packaged = parse_conffiles(run(["dpkg-query", "--show", "--showformat=${Conffiles}\n", *units]).stdout) if units else {}
    beside = [path for unit in units for path in sorted(glob.glob(f"/etc/systemd/system/{unit}.service.d/*.conf"))]
    whole = [path for unit in units for path in (f"/etc/systemd/system/{unit}.service",) if os.path.lexists(path) and not os.path.islink(path)]
    owners = {path: file_owner(path, packaged) for path in [*files, *beside, *whole]}
    return {
        "addresses": addresses,
        "management": management,
        "taken": {
            name: [holder(one, name) for one in sockets if one["port"] == port and management and overlaps(one["address"], management)]
            for name, port in ports.items()
        },
        "files": {path: owner for path, owner in owners.items() if owner != "nobody"},
        "disk": read_disk(directory),
    }
