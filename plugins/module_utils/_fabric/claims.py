# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files of a box's network configure an interface: those of netplan, networkd and NetworkManager. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.block_yaml import read_yaml

# Of netplan: what may name other interfaces, as a part of itself or as what it sits on (bonds, bridges, VLANs, VRFs, Open vSwitch).
_PARTS = ("interfaces", "link", "ports", "port", "peer")
_NETWORKD = {"Name": "name", "OriginalName": "name", "MACAddress": "mac", "PermanentMACAddress": "mac", "Driver": "driver", "Path": "path", "Type": "type"}


def claims(interface: str, mac: str, files: Mapping[str, str], driver: str = "", pci: str = "") -> list[str]:
    """Files that configure an interface, or make it a part of something: by its name, a pattern, its address, its driver or its place.

    ``files``: text by path; one that cannot be read does where it holds the name or the address at all.
    """
    port = {"name": interface, "mac": mac.lower(), "driver": driver, "path": f"pci-{pci}" if pci else "", "type": "ether"}
    return [path for path, content in files.items() if _reader(path, content)(content, port)]


def _reader(path: str, content: str) -> Callable[[str, Mapping[str, str]], bool]:
    if path.endswith(".nmconnection"):
        return _networkmanager
    return _networkd if re.search(r"^\s*\[\w+\]\s*$", content, re.MULTILINE) and not re.search(r"^\s*network\s*:", content, re.MULTILINE) else _netplan


def _netplan(content: str, port: Mapping[str, str]) -> bool:
    try:
        said = read_yaml(content)
        network = said.get("network") if isinstance(said, dict) else None
        return any(_defines(kind, name, one, port) for kind, name, one in _definitions(network))
    except (ValueError, RecursionError):
        # Netplan will refuse it too; until it is mended nobody knows what it is to be.
        bare = re.sub(r"(?m)(^|\s)#.*$", "", content).lower()
        return port["name"].lower() in bare or bool(port["mac"]) and port["mac"] in bare


def _definitions(network: Any) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(kind, name, what is said of it) of all interfaces of a file of netplan."""
    for kind, named in network.items() if isinstance(network, dict) else ():
        for name, one in named.items() if isinstance(named, dict) else ():
            yield kind, name, one if isinstance(one, dict) else {}


def _defines(kind: str, name: str, one: Mapping[str, Any], port: Mapping[str, str]) -> bool:
    if one.get("set-name") == port["name"] or any(port["name"] in _texts(one.get(key)) for key in _PARTS):
        return True
    kept = one.get("networkmanager")
    passed = kept.get("passthrough") if isinstance(kept, dict) else None
    own = {str(key): str(value) for key, value in passed.items()} if isinstance(passed, dict) else {}
    if _connects(own, port):
        return True
    if "match" not in one:
        return name == port["name"]
    match = one["match"] if isinstance(one["match"], dict) else {}
    conditions = {known: _texts(match[key]) for key, known in (("name", "name"), ("macaddress", "mac"), ("driver", "driver")) if match.get(key) is not None}
    # One that asks for nothing takes all of its kind; NetworkManager's takes what has no other.
    every = kind == "ethernets" and not kept
    return (bool(conditions) or every) and all(_fits(known, wanted, port) for known, wanted in conditions.items())


def _texts(value: Any) -> list[str]:
    """All texts in lists of lists; patterns of netplan and networkd have spaces between them."""
    if isinstance(value, (list, tuple)):
        return [text for one in value for text in _texts(one)]
    return str(value).split() if value is not None and not isinstance(value, dict) else []


def _fits(known: str, wanted: list[str], port: Mapping[str, str]) -> bool:
    """Whether one of the patterns fits what is known of a port; a first ``!`` turns all of them round. What is not known may fit."""
    has = port[known]
    if not has:
        return True
    if known == "mac":
        return has in (one.lower().replace("-", ":") for one in wanted)
    turned = bool(wanted) and wanted[0].startswith("!")
    patterns = [one.lstrip("!") for one in wanted]
    return any(fnmatch.fnmatchcase(has, one) for one in patterns) != turned


def _sections(content: str) -> dict[str, dict[str, list[str]]]:
    """The values of each key by section, of a file of systemd or of NetworkManager."""
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in content.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = found.setdefault(line[1:-1], {})
        elif "=" in line and not line.startswith(("#", ";")):
            key, _sign, value = line.partition("=")
            section.setdefault(key.strip(), []).append(value.strip())
    return found


def _networkd(content: str, port: Mapping[str, str]) -> bool:
    sections = _sections(content)
    match = sections.get("Match", {})  # systemd: one that says nothing of whom it is for is for all
    if any(not values[-1].startswith("!") for key, values in match.items() if key in ("Kind", "SSID", "WLANInterfaceType", "BSSID")):
        return False  # what is made by software, or Wi-Fi
    wanted: dict[str, list[str]] = {}
    for key, values in match.items():
        if key in _NETWORKD:
            wanted.setdefault(_NETWORKD[key], []).extend(_texts([value.strip("\"'") for value in values]))
    return all(_fits(known, values, port) for known, values in wanted.items())


def _networkmanager(content: str, port: Mapping[str, str]) -> bool:
    sections = _sections(content)
    own = {f"{section}.{key}": values[-1] for section, said in sections.items() for key, values in said.items()}
    return _connects(own, port)


def _connects(own: Mapping[str, str], port: Mapping[str, str]) -> bool:
    """Whether a connection of NetworkManager names a port, by its name or its address; one that names none is for whatever has no other."""
    name = own.get("connection.interface-name")
    mac = own.get("ethernet.mac-address") or own.get("802-3-ethernet.mac-address")
    return bool(name or mac) and (not name or name.strip("\"'") == port["name"]) and (not mac or mac.lower().strip("\"'") == port["mac"])
