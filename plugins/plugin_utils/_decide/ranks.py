# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes a container one rank of a server over several boxes, by which network they meet, and whether they are equal. Pure.

vLLM compares nothing of its ranks: a flag or a file that differs on one box hangs all of them, or makes them answer nonsense.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Container, Deployment, Order

Place = Mapping[str, Any]
"""How a box is reached by the other ranks: address, interface, hcas (RDMA devices), circle (boxes that are not all cabled to each other), infiniband."""

FIRST_PORT, PORTS = 20_000, 6_000
"""Two ports for each server, below those that the kernel gives to outgoing connections: the master's, where ranks meet, and that of our own program."""
TIMEOUT_S, READY_S = 120, 3600
"""How long the head waits for a step of the others (vLLM: 300), and its API server for the engine (vLLM: 600)."""
HEAD_ONLY = ("--host", "--middleware", "--ssl-certfile", "--ssl-keyfile")
OF_A_RANK = ("--node-rank", "--headless", *HEAD_ONLY)
WORKED_OUT = ("--gpu-memory-utilization", "--kv-cache-memory-bytes")  # they follow from the others, which are named first
OF_A_BOX = ("VLLM_HOST_IP", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "NCCL_IB_HCA", "GB10_KEY")
# Boxes that are not all connected to each other (eugr/spark-vllm-docker, get_env_flags).
CIRCLE = {"NCCL_NET_PLUGIN": "none", "NCCL_IB_SUBNET_AWARE_ROUTING": "1", "NCCL_IB_MERGE_NICS": "0"}


def ports_of(port: int) -> tuple[int, int]:
    """(master's port, port of our own program) of the server that listens on ``port``."""
    first = FIRST_PORT + 2 * (port % PORTS)
    return first, first + 1


def places(server: str, boxes: Mapping[str, Mapping[str, Any]]) -> dict[str, Place]:
    """Where the boxes of a server meet, by box in their order; {} where the facts of one do not say.

    ``boxes``: ``network`` of box_info by box. A network that all of them are in, each with an address of its own: rather one of RDMA devices, then the one
    Ansible comes in on. GB10Error where there is none.
    """
    if not all(boxes.values()):
        return {}
    common = _common(boxes)
    if not common:
        held = "; ".join(f"{box} has {_shown(facts)}" for box, facts in boxes.items())
        raise GB10Error(
            f"server {server}: there is no network that all of its boxes are in ({held}); give them addresses of one subnet, over their fabric with the "
            "playbook fabric."
        )
    chosen = _best(common, boxes)
    by_rdma = _worth(common[chosen], boxes)[0]
    found: dict[str, Place] = {}
    for box in boxes:
        interface, address = common[chosen][box]
        hcas = sorted(device for device, over in boxes[box]["hcas"].items() if over in boxes[box]["addresses"])
        circle = 0 if by_rdma or not hcas else len(boxes)
        found[box] = {"address": address, "interface": interface, "hcas": hcas, "circle": circle, "infiniband": bool(boxes[box]["infiniband"] and hcas)}
    return found


def by_fabric(boxes: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, tuple[str, str]]]:
    """(network, {box: (interface, address)}) of a network over RDMA devices that all boxes are in, the one in which ranks would meet; ("", {}) without one.

    ``boxes``: ``network`` of box_info by box, empty where it is not known.
    """
    common = _common(boxes) if len(boxes) > 1 and all(boxes.values()) else {}
    fast = {network: ends for network, ends in common.items() if _worth(ends, boxes)[0]}
    chosen = _best(fast, boxes) if fast else ""
    return chosen, fast.get(chosen, {})


def _common(boxes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, tuple[str, str]]]:
    """Networks of IPv4 that all boxes are in, each with an address of its own: (interface, address) of each box."""
    networks: dict[str, dict[str, tuple[str, str]]] = {}
    for box, facts in boxes.items():
        for interface, held in facts["addresses"].items():
            for one in held:
                end = ipaddress.ip_interface(one)
                if end.version == 4 and not end.ip.is_loopback and not end.ip.is_link_local:
                    networks.setdefault(str(end.network), {}).setdefault(box, (interface, str(end.ip)))
    return {network: ends for network, ends in networks.items() if len({address for _interface, address in ends.values()}) == len(boxes) == len(ends)}


def _best(common: Mapping[str, Mapping[str, tuple[str, str]]], boxes: Mapping[str, Mapping[str, Any]]) -> str:
    return min(common, key=lambda network: (*(not one for one in _worth(common[network], boxes)), network))


def _shown(facts: Mapping[str, Any]) -> str:
    return ", ".join(address for held in facts["addresses"].values() for address in held) or "no address"


def _worth(ends: Mapping[str, tuple[str, str]], boxes: Mapping[str, Mapping[str, Any]]) -> tuple[bool, bool]:
    """(all over RDMA devices, all by which Ansible comes in)."""
    rdma = all(interface in boxes[box]["hcas"].values() for box, (interface, _address) in ends.items())
    return rdma, all(interface == boxes[box]["came"] for box, (interface, _address) in ends.items())


def group_of(server: Mapping[str, Any], rank: Mapping[str, Any], where: Mapping[str, Place]) -> dict[str, Any]:
    """What a rank's deployment says of its group. GB10Error where it is not known by which network the boxes meet."""
    boxes = list(rank["boxes"])
    if not all(where.get(box) for box in boxes):
        raise GB10Error(
            f"server {server['name']}: it is not known by which network {', '.join(boxes)} reach each other; run the playbook site over all of them."
        )
    master, guard = ports_of(int(server["port"]))
    addresses = [where[box]["address"] for box in boxes]
    return {"number": rank["number"], "boxes": boxes, "addresses": addresses, "master_port": master, "guard_port": guard}


def closed(server: Mapping[str, Any]) -> dict[str, Any]:
    """A server as a rank that is not the head has it: nobody is answered there, so there is no key, no certificate and no address."""
    return {**{key: value for key, value in server.items() if key != "tls"}, "key_policy": "none", "api_key": "", "address": "127.0.0.1"}


def as_rank(container: Container, group: Mapping[str, Any], place: Place, address: str, own: Mapping[str, str]) -> Container:
    """The container of a server as one rank of it. ``address``: where the head listens; ``own``: variables that a repair set, which win."""
    words = _with_host(container["command"], address if group["number"] == 0 else "127.0.0.1")
    command = [*words, "--master-addr", group["addresses"][0], "--master-port", str(group["master_port"])]
    found: Container = {
        **container,
        "command": command,
        "env": {**container["env"], **environment(place), **own},
        "published_ports": [],
        "network_mode": "host",
    }
    # Limits that a Docker without all of root's rights (a container, rootless) may not raise.
    if place["infiniband"]:
        found["ulimits"] = [*container["ulimits"], "nofile:1048576:1048576", "memlock:-1:-1"]
        found["devices"] = ["/dev/infiniband:/dev/infiniband"]
    return found


def _with_host(command: Sequence[str], address: str) -> list[str]:
    """The network is the box's, so the API server itself listens where the server does."""
    words = list(command)
    if "--host" in words:
        words[words.index("--host") + 1] = address
    return words


def environment(place: Place) -> dict[str, str]:
    """What the libraries between the ranks have to know on one box. Never a fixed GID index: it differs by box, and NCCL finds it."""
    way = place["interface"]
    found = {"VLLM_HOST_IP": place["address"], "GLOO_SOCKET_IFNAME": way, "TP_SOCKET_IFNAME": way, "NCCL_SOCKET_IFNAME": f"={way}"}
    found |= {"VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": str(TIMEOUT_S), "VLLM_ENGINE_READY_TIMEOUT_S": str(READY_S)}
    found |= {"NCCL_CUMEM_ENABLE": "0", "NCCL_IGNORE_CPU_AFFINITY": "1"}
    if place["hcas"]:
        found |= {"NCCL_IB_HCA": f"={','.join(place['hcas'])}", "NCCL_IB_DISABLE": "0", "NCCL_CROSS_NIC": "1"}
    return {**found, **(CIRCLE if place["circle"] else {}), **({"NCCL_ALGO": "Ring"} if place["circle"] > 3 else {})}


def head_or_alone(deployment: Deployment) -> bool:
    """Whether a deployment answers requests: it is no rank, or the head."""
    return not (deployment.get("group") or {}).get("number")


def share(deployment: Mapping[str, Any]) -> str:
    """What stands behind the name of a server in tables where the deployment is one of several ranks: " 1/2"; "" where it is none."""
    group = deployment.get("group") or {}
    return f" {group['number'] + 1}/{len(group['boxes'])}" if group else ""


def unequal(orders: Mapping[str, Order], environments: Mapping[str, Any]) -> str:
    """One sentence on the first thing that the ranks of a server do not have in common and must, with the boxes; "" where all of it is equal.

    ``orders``: of this server by box; ``environments``: its ``env`` by box, which is compared and never shown.
    """
    made = {box: order["deployment"] for box, order in orders.items()}
    said = _differing({box: one["container"]["image"] for box, one in made.items()}, "the image")
    if said and _differing({box: order["image_identity"] for box, order in orders.items()}, "the image"):
        return said
    said = differ(made)
    if said:
        return said
    hidden = {box: hashlib.sha256(json.dumps(env or {}, sort_keys=True, default=str).encode()).hexdigest() for box, env in environments.items()}
    if len(set(hidden.values())) > 1:
        names = sorted({name for env in environments.values() for name in env or {} if len({str((one or {}).get(name)) for one in environments.values()}) > 1})
        return f"the variables {', '.join(names)} of `env` are not the same on {', '.join(made)}"
    return ""


def differ(deployments: Mapping[str, Deployment]) -> str:
    """One sentence on the first thing of the deployments of a server's boxes that must be equal and is not, but for the image; "" where all is."""
    said = (_differing({box: of(one) for box, one in deployments.items()}, what) for what, of in CHECKS)
    return next(filter(None, said), "")


def _differing(values: Mapping[str, Any], what: str) -> str:
    if len({json.dumps(value, sort_keys=True, default=str) for value in values.values()}) <= 1:
        return ""
    first, *others = values
    other = next(box for box in others if values[box] != values[first])
    verb = "are" if what.startswith("the files") else "is"
    if isinstance(values[first], Mapping):
        unlike = (key for key in {*values[first], *values[other]} if values[first].get(key) != values[other].get(key))
        keys = sorted(unlike, key=lambda key: (key in WORKED_OUT, key))
        what, values = f"{what} {keys[0]}", {box: value.get(keys[0]) for box, value in values.items()}
    return f"{what} {verb} not the same: " + ", ".join(f"{box} has {_short(value)}" for box, value in values.items())


def _short(value: Any) -> str:
    text = str(value if value is not None else "none")
    return text[:19] if text.startswith("sha256:") or len(text) == 64 else text[:120]


def _arguments(deployment: Deployment) -> dict[str, str]:
    """The arguments that must be equal, by flag."""
    command, found, flag = deployment["container"]["command"], {}, ""
    for word in command[command.index("serve") + 1 if "serve" in command else 0 :]:
        if word.startswith("--"):
            flag = word.partition("=")[0]
            found[flag] = word.partition("=")[2]
        else:
            found[flag] = f"{found.get(flag, '')} {word}".strip()
    return {name: value for name, value in found.items() if name not in OF_A_RANK}


def _environment(deployment: Deployment) -> dict[str, str]:
    return {name: value for name, value in deployment["container"]["env"].items() if name not in OF_A_BOX}


CHECKS = (
    ("the files of the model", lambda one: one["manifest"]),
    ("the group", lambda one: {key: value for key, value in (one.get("group") or {}).items() if key != "number"}),
    ("the argument", _arguments),
    ("the variable", _environment),
)


def orders_of(name: str, hostvars: Mapping[str, Any], boxes: Sequence[str]) -> dict[str, Order]:
    """The work orders of one server by box, of those that have one."""
    found = {box: (hostvars[box].get("server_orders") or {}).get(name) for box in boxes}
    return {box: order for box, order in found.items() if order}


def compared(name: str, hostvars: Mapping[str, Any], boxes: Sequence[str]) -> dict[str, Any]:
    """{boxes, problem, start, failed, fell, repair, lost}: the boxes of a server and why they must not start as they are, "" where nothing is against it.

    ``boxes``: those of this batch. ``start``: whether one of them has something to do; ``failed``: those that failed in this run, ``fell``: over this
    server, by themselves: those that were ended because of another one only where all of them were. ``repair``: see ``repair_for_all``. Where one of its
    boxes is ``lost`` the others neither go back nor are repaired: it has what they have now, and would meet them with it when it is there again.
    """
    orders = orders_of(name, hostvars, boxes)
    members = next((order["deployment"]["group"]["boxes"] for order in orders.values() if order["deployment"].get("group")), list(orders))
    absent = [box for box in members if box not in orders]
    if absent:
        problem = f"{absent[0]}, which is one of its boxes, is not part of this batch or could not be reached"
        return {"boxes": members, "problem": problem, "start": False, "failed": absent, "fell": [], "repair": {}, "lost": absent}
    given = {box: _env_of(name, hostvars[box]) for box in members}
    orders = {box: orders[box] for box in members}
    fell = [box for box in members if hostvars[box].get("server_rank_failed") == name]
    fell = [box for box in fell if not hostvars[box].get("server_rank_left")] or fell
    return {
        "boxes": members,
        "problem": unequal(orders, given),
        "start": any(order["start"] for order in orders.values()),
        "failed": [box for box in members if hostvars[box].get("server_failures")],
        "fell": fell,
        "repair": repair_for_all(orders, {box: hostvars[box] for box in fell}),
        "lost": [],
    }


def repair_for_all(orders: Mapping[str, Order], fallen: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The one repair that all ranks of a server get after some of them failed; {} where there is none.

    ``orders``: by box, in the order of the ranks; ``fallen``: the variables of those that failed, with ``server_offer`` and ``server_lost``. The first that
    offers one decides, as what came later may be what it did to others; where several ask for the same, the most careful figure of each.
    """
    if any(one.get("server_lost") for one in fallen.values()) or not all(order["may_repair"] for order in orders.values()):
        return {}
    offers = [one["server_offer"] for one in fallen.values() if one.get("server_offer")]
    if not offers:
        return {}
    alike = [one["set"] for one in offers if one["id"] == offers[0]["id"] and one["set"].keys() == offers[0]["set"].keys()]
    return {**offers[0], "set": {key: _careful(key, [one[key] for one in alike]) for key in offers[0]["set"]}}


def _careful(key: str, values: Sequence[Any]) -> Any:
    """Of several figures the one that asks for least memory."""
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        return values[0]
    return max(values) if key == "reserve_gib" else min(values)


def _env_of(name: str, known: Mapping[str, Any]) -> Any:
    """``env`` of a server as the inventory gives it to one box."""
    wanted: Sequence[Mapping[str, Any]] = known.get("gb10_servers") or []
    return next((one.get("env") for one in wanted if one.get("name") == name), None)


def unstarted(name: str, hostvars: Mapping[str, Any], boxes: Sequence[str]) -> list[str]:
    """The boxes of a server whose rank was not started in this run although it was to be."""
    return [box for box in boxes if name not in (hostvars[box].get("server_ranks_up") or [])]


def going_back(changed: Sequence[str], hostvars: Mapping[str, Any], box: str) -> list[str]:
    """Which of the servers that were changed on a box go back because their batch failed: all of a box on which none failed, none of the others.

    But one over several boxes goes back on all of them where it does on one, and nowhere where it is not new on all.
    """
    held = {name: (order["deployment"].get("group") or {}).get("boxes") or [box] for name, order in (hostvars[box].get("server_orders") or {}).items()}

    def goes(name: str) -> bool:
        members = held.get(name, [box])
        new = all(name in (hostvars[one].get("server_changed") or []) for one in members)
        return new and not all(hostvars[one].get("server_failures") for one in members)

    return [name for name in changed if goes(name)]


def batches(boxes: Sequence[str], where: Mapping[str, Mapping[str, Place]]) -> list[Any]:
    """The sizes of a rollout's batches where the user names none: one box, a quarter of them, all; larger where a server over several would be split.

    ``where``: by server the places of its boxes.
    """
    usual = [1, "25%", "100%"] if boxes else [1]
    members = [sorted(boxes.index(box) for box in group if box in boxes) for group in where.values()]
    members = [places for places in members if len(places) > 1]
    if not members:
        return usual
    sizes: list[Any] = []
    at = 0
    for step in (1, max(1, len(boxes) // 4), len(boxes)):
        if at >= len(boxes):
            break
        end = min(at + step, len(boxes))
        while any(places[0] < end <= places[-1] for places in members):
            end = next(places[-1] + 1 for places in members if places[0] < end <= places[-1])
        sizes.append(end - at)
        at = end
    return sizes
