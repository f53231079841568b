# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which servers a router has behind it, where it reaches each of them and what it may ask of it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import is_loopback
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Deployment

GROUP = "gb10_routers"
"""The group of the inventory whose hosts are routers where no variable of that name says otherwise."""


class Behind(TypedDict):
    """One server of one box as its router sees it; what is recorded beside the configuration, so never a secret."""

    box: str
    server: str
    address: str
    port: int
    models: list[str]
    maxconn: int
    max_model_len: int
    tls_name: str  # the name that its certificate has to be for; "" where it speaks no TLS
    agent: str  # the address at which its box says whether it answers
    key: str  # `none` where it asks for no key


def router_hosts(groups: Mapping[str, Sequence[str]], named: Any = None) -> list[str]:
    """The hosts that are routers: those that ``gb10_routers`` names (a host, a group, or a list of them), else those of the group of that name.

    GB10Error for a name that the inventory does not know.
    """
    if named is None or named == "":  # ansible-core 2.18 makes "" of nothing
        return list(groups.get(GROUP) or [])
    names = [one.strip() for text in (named if isinstance(named, (list, tuple)) else [named]) for one in str(text or "").split(",")]
    found: list[str] = []
    for name in filter(None, names):
        if name not in groups and name not in (groups.get("all") or []):
            raise GB10Error(
                f"gb10_routers names {name}, which is neither a host nor a group of this inventory; correct the name or add the host. Nothing was changed."
            )
        found += [host for host in groups.get(name, [name]) if host not in found]
    return found


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def listen_address(routers: Sequence[str], box: str, host: str, given: str = "") -> str:
    """Where the servers of a box listen that name no address: loopback, unless a router has to reach them from elsewhere.

    ``host``: what the inventory says the box is reached at (``ansible_host``); ``given``: its ``gb10_server_address``.
    GB10Error where that is a name, on which Docker cannot publish a port.
    """
    if given:
        is_loopback(given)
        return given
    if not [router for router in routers if router != box]:
        return "127.0.0.1"
    if not is_address(host):
        raise GB10Error(
            f"{box}: the router reaches its servers from another machine, and the inventory knows it as {host}, on which no port can be published; "
            "set gb10_server_address for this box to the address of its own that the router comes in on."
        )
    return host


def option(deployment: Deployment, flag: str) -> list[str]:
    """The words that follow a flag on a deployment's command line, up to the next flag; of two the last counts."""
    words = deployment["container"]["command"]
    found: list[str] = []
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == flag:
            found = [value] if equals else []
            for follower in words[position + 1 :] if not equals else []:
                if follower.startswith("--"):
                    break
                found.append(follower)
    return found


def behind(box: str, deployment: Deployment, reached_at: str, tls_name: str = "", maxconn: int | None = None) -> Behind:
    """A deployed server as a router sees it. ``reached_at``: the address of its box for the router, unless it listens on one of its own.

    ``maxconn``: ``gb10_router_maxconn``, else the requests that its engine takes at a time. GB10Error for one that no router can reach.
    """
    address = deployment["address"]
    if is_loopback(address) and not is_loopback(reached_at if is_address(reached_at) else "0.0.0.0"):
        raise GB10Error(
            f"{box}: {deployment['name']} listens on {address}, where no router on another machine reaches it; leave `address` out of its entry in "
            "gb10_servers, and the playbook site puts it where the router comes in."
        )
    if ipaddress.ip_address(address).is_unspecified:
        address = reached_at
    seats = option(deployment, "--max-num-seqs")
    planned = deployment.get("planned") or {}
    return {
        "box": box,
        "server": deployment["name"],
        "address": address,
        "port": deployment["port"],
        "models": option(deployment, "--served-model-name") or [deployment["served_model_name"]],
        "maxconn": int(maxconn or (seats[-1] if seats and seats[-1].isdigit() else 0) or max(1, int(float(planned.get("concurrency") or 1)))),
        "max_model_len": int(planned.get("max_model_len") or 0),
        "agent": reached_at,
        "tls_name": tls_name if deployment["probe_url"].startswith("https") else "",
        "key": deployment.get("key", "own"),
    }


def merged(before: Iterable[Behind], now: Iterable[Behind], read: Iterable[str], fleet: Iterable[str]) -> list[Behind]:
    """What a router has to have behind it: ``now`` of the boxes that were ``read``, ``before`` of the others that are still in the ``fleet``."""
    here, known = set(read), set(fleet)
    kept = [one for one in before if one["box"] not in here and one["box"] in known]
    return sorted([*kept, *now], key=lambda one: (one["server"], one["box"]))


def model_names(servers: Iterable[Behind], one_port: bool = False) -> dict[str, str]:
    """{name of a model: name of the server that serves it}. GB10Error for a name that two servers have.

    ``one_port``: also for one that is on two ports, and for a server that is called otherwise on another box, as no inventory should have it; while a
    rollout changes a port or a name, its boxes do.
    """
    found: dict[str, Behind] = {}
    first: dict[str, Behind] = {}
    for one in servers:
        twin = first.setdefault(one["server"], one)
        if one_port and set(twin["models"]) != set(one["models"]):
            raise GB10Error(
                f"The server {one['server']} serves {', '.join(twin['models'])} on {twin['box']} and {', '.join(one['models'])} on {one['box']}. A router asks "
                "any box that has a server of this name; give one of them another name, or both the same served_model_name."
            )
        for model in one["models"]:
            other = found.setdefault(model, one)
            if other["server"] != one["server"] or (one_port and other["port"] != one["port"]):
                raise GB10Error(
                    f"The model name {model} is served on two ports: by {other['server']} of {other['box']} on {other['port']} and by {one['server']} of "
                    f"{one['box']} on {one['port']}. A router finds the server by this name; give one of them another served_model_name, "
                    "or both the same name and port."
                )
            if not model or any(letter.isspace() for letter in model) or model.startswith("#"):
                raise GB10Error(f"{one['box']}: {one['server']} serves a model named {model!r}, which a router cannot look up; use a name without spaces.")
    return {model: one["server"] for model, one in found.items()}
