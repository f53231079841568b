# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ports of the fabric on a box, and what else is said about its network: nothing here changes anything.

Each QSFP port of a GB10's ConnectX-7 is two PCIe functions, each with four lanes, and so two interfaces and two RDMA devices: its halves.
"""

from __future__ import annotations

import contextlib
import glob
import ipaddress
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.network import addresses, ip_json, ssh_connection, ways
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.claims import claims
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.netplan import PLACES
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.text import OUR_FILE
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run

DRIVER = "mlx5_core"
NETWORKD = ("/etc/systemd/network", "/run/systemd/network")
CONNECTIONS = "/etc/NetworkManager/system-connections/*.nmconnection"
# As systemd names them: enp1s0f0np0 is port 0 in PCI domain 0, enP2p1s0f0np0 the same port in domain 2.
NAME = re.compile(r"^en(?:P(?P<domain>\d+))?p\d+s\d+(?:f\d+)?np(?P<port>\d+)$")


def text(path: str) -> str:
    """What a file of sysfs says, "" where it says nothing (an interface that is down refuses to tell its carrier)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def number(path: str) -> int | None:
    """The whole number in a file of sysfs."""
    said = text(path)
    return int(said) if re.fullmatch(r"-?\d+", said) else None


def place(interface: str, pci: str, port_name: str) -> tuple[int, int]:
    """(port, PCI domain) of an interface: from its device (``0002:01:00.1``, ``p1``), or from its name where it has none."""
    device = re.fullmatch(r"([0-9a-f]+):[0-9a-f]+:[0-9a-f]+\.([0-9])", pci)
    named = NAME.match(interface)
    physical = re.fullmatch(r"p(\d+)", port_name)
    port = int(physical[1]) if physical else int(device[2]) if device else int(named["port"]) if named else 0
    domain = int(device[1], 16) if device else int(named["domain"] or 0) if named else 0
    return port, domain


def read_gids(folder: str) -> list[dict[str, Any]]:
    """[{index, type, address}] of a port of an RDMA device; ``address`` is IPv4 where the GID is one (``::ffff:``)."""
    found = []
    for path in glob.glob(f"{folder}/gids/*"):
        words = text(path).split(":")
        if any(int(word or "0", 16) for word in words):
            mapped = words[:5] == ["0000"] * 5 and words[5] == "ffff"
            octets = bytes.fromhex("".join(words[6:8])) if mapped else b""
            kind = text(f"{folder}/gid_attrs/types/{os.path.basename(path)}")
            found.append({"index": int(os.path.basename(path)), "type": kind, "address": ".".join(map(str, octets)) if mapped else ":".join(words)})
    return sorted(found, key=lambda gid: gid["index"])


def read_port(root: str, interface: str) -> dict[str, Any]:
    """One half of a port as sysfs shows it."""
    net = f"{root}/class/net/{interface}"
    device = os.path.realpath(f"{net}/device") if os.path.exists(f"{net}/device") else ""
    pci = os.path.basename(device)
    hca = next((os.path.basename(path) for path in sorted(glob.glob(f"{device}/infiniband/*"))), None) if device else None
    port, domain = place(interface, pci, text(f"{net}/phys_port_name"))
    carrier = number(f"{net}/carrier")
    return {
        "interface": interface, "port": port, "domain": domain, "pci": pci, "mac": text(f"{net}/address").lower(), "hca": hca,
        "up": bool(int(text(f"{net}/flags") or "0", 16) & 1), "carrier": None if carrier is None else carrier == 1,
        "mtu": number(f"{net}/mtu"), "speed_mbps": number(f"{net}/speed"),
        "lanes": number(f"{device}/current_link_width") if device else None, "most_lanes": number(f"{device}/max_link_width") if device else None,
        "hca_state": text(f"{device}/infiniband/{hca}/ports/1/state").rpartition(" ")[2] if hca else None,
        "gids": read_gids(f"{device}/infiniband/{hca}/ports/1") if hca else [],
    }  # fmt: skip


def driver_of(interface: str, root: str = "/sys") -> str:
    """The driver of an interface, "" where it has none."""
    path = f"{root}/class/net/{interface}/device/driver"
    return os.path.basename(os.path.realpath(path)) if os.path.exists(path) else ""


def read_ports(interfaces: Sequence[str] = (), root: str = "/sys") -> list[dict[str, Any]]:
    """The halves of all ports, by port and domain: those that are named, or those of a ConnectX."""
    every = [os.path.basename(path) for path in sorted(glob.glob(f"{root}/class/net/*"))]
    names = sorted(interfaces) or [name for name in every if driver_of(name, root) == DRIVER]
    there = [name for name in names if os.path.isdir(f"{root}/class/net/{name}")]
    return sorted((read_port(root, name) for name in there), key=lambda one: (one["port"], one["domain"]))


def read_files() -> dict[str, str]:
    """Netplan's files and those of networkd and NetworkManager that netplan did not write, by path; they may hold passwords and are not handed on."""
    patterns = [*(f"{folder}/*.yaml" for folder in PLACES), *(f"{folder}/*.network" for folder in NETWORKD), CONNECTIONS]
    paths = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
    return {path: text(path) for path in paths if os.path.basename(path) != OUR_FILE and "-netplan-" not in os.path.basename(path)}


def parse_lldp(said: str) -> dict[str, dict[str, str]]:
    """{chassis, port, name} of the neighbour by interface, from ``lldpctl -f json``; one neighbour is an object, several are a list."""
    try:
        shown = json.loads(said or "{}")["lldp"]["interface"]
    except (ValueError, KeyError, TypeError):
        return {}
    found = {}
    for one in shown if isinstance(shown, list) else [shown]:
        for interface, seen in one.items() if isinstance(one, dict) else ():
            with contextlib.suppress(AttributeError, KeyError, TypeError, StopIteration):
                chassis = seen["chassis"]
                # Either {"NAME": {"id": ...}} or {"id": ...} where the other side says no name.
                name, inner = ("", chassis) if "id" in chassis else next(iter(chassis.items()))
                found[interface] = {"name": name, "chassis": str(inner["id"]["value"]).lower(), "port": str(seen["port"]["id"]["value"]).lower()}
    return found


def read_fabric(interfaces: Sequence[str] = ()) -> dict[str, Any]:
    """All that the controller decides by: ports with their neighbours, what must not be touched, who else configures them, addresses and routes."""
    links = ip_json("address")
    held = addresses(links)
    lldp = parse_lldp(run(["lldpctl", "-f", "json"]).stdout) if shutil.which("lldpctl") else {}
    files, ports = read_files(), read_ports(interfaces)
    routes = [*ip_json("-4", "route"), *ip_json("-6", "route")]
    for port in ports:
        port |= {
            "addresses": held.get(port["interface"], []),
            "neighbour": lldp.get(port["interface"]),
            "claimed_by": claims(port["interface"], port["mac"], files, driver_of(port["interface"]), port["pci"]),
        }
    return {
        "ports": ports,
        "missing": sorted(set(interfaces) - {port["interface"] for port in ports}),
        "kept": ways(),
        "addresses": held,
        "hostname": platform.node(),
        "controller": _came_from(ssh_connection()),
        "macs": sorted({str(link["address"]).lower() for link in links if link.get("address") and link.get("link_type") == "ether"}),
        "routes": [{"to": str(one["dst"]), "by": str(one["dev"])} for one in routes if one.get("dst") not in (None, "default") and one.get("dev")],
        "ours": _ours(),
        "netplan": bool(shutil.which("netplan")),
        "driver": os.path.isdir(f"/sys/module/{DRIVER}"),
        "perftest": bool(shutil.which("ib_write_bw")),
    }


def _came_from(connection: str) -> str:
    """The address of the other side of SSH_CONNECTION; "" where sshd does not know it ("UNKNOWN", as behind a proxy that hands its socket on)."""
    try:
        address = ipaddress.ip_address(next(iter(connection.split()), "").split("%")[0])
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _ours() -> str | None:
    path = os.path.join(PLACES[-1], OUR_FILE)
    return text(path) + "\n" if os.path.exists(path) else None


def ask_peers(peers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What comes back from the other ends: {interface, address, plain, whole, route, mac}.

    ``peers``: [{interface, address, mtu}]; ``plain``: a small ping is answered, ``whole``: one of the whole MTU is, unfragmented; ``route``: the
    interface by which the kernel would go there; ``mac``: who answered for that address, and on which interface.
    """
    found = []
    for peer in peers:
        to, interface = str(peer["address"]), str(peer["interface"])
        small = run(["ping", "-n", "-c", "1", "-W", "2", "-I", interface, to])
        # 28 bytes are the headers of IPv4 and ICMP.
        big = run(["ping", "-n", "-M", "do", "-c", "3", "-i", "0.2", "-W", "2", "-s", str(int(peer["mtu"]) - 28), "-I", interface, to])
        route = next((str(one.get("dev")) for one in ip_json("route", "get", to)), "")
        seen = next((one for one in ip_json("neighbor", "show", to) if one.get("lladdr")), {})
        found.append(
            {
                "interface": interface, "address": to, "plain": small.returncode == 0, "whole": big.returncode == 0, "route": route,
                "mac": str(seen.get("lladdr") or "").lower(), "mac_by": str(seen.get("dev") or ""), "said": (big.stderr or big.stdout).strip()[-200:],
            }
        )  # fmt: skip
    return found
