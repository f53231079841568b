# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done on a router: its files out of the inventory and of what runs on the boxes, or one sentence on what stands in the way. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import endpoint, is_loopback
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.ranks import head_or_alone
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Deployment
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.expand import with_recipes
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import configuration, floating
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import metrics as telling
from ansible_collections.gb10.vllm.plugins.plugin_utils._router.configuration import Metrics, Settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._router.servers import Behind, behind, is_address, listen_address, merged, model_names, router_hosts

Hosts = Mapping[str, Mapping[str, Any]]
OTHERS = (
    "/etc/haproxy/haproxy.cfg is somebody's: this collection did not write it, and it is not the one of the package. It is left as it is; use another host "
    "as router, or move the file away. Nothing was changed there."
)
LEAST_BOX_KEY = 32
LEAST_KEY = 20
"""Characters of a client's key: its digest lies on the router, so it must not be guessed from that."""
PRINTABLE = re.compile(r"[!-~]+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
DEFAULTS: dict[str, Any] = {
    "gb10_router_address": "0.0.0.0",
    "gb10_router_port": 8443,
    "gb10_router_port_offset": 1000,
    "gb10_router_body_kib": 1024,
    "gb10_router_timeout_s": 1800,
    "gb10_router_queue_timeout_s": 600,
    "gb10_router_connections": 8000,
    "gb10_router_affinity": "none",
    "gb10_router_ca": "@system-ca",
    "gb10_router_metrics_address": None,  # see metrics.py
    "gb10_router_metrics_port": None,
    "gb10_monitoring": None,
    "gb10_agent_port": 8089,
    "gb10_allow_open": False,
    "gb10_router_keys": {},
    "gb10_router_key": "",
    "gb10_router_maxconn": None,
    "gb10_router_tls": {},
    "gb10_router_floating": {},
}


SECONDS, PORT = (1, 10**6), (1, 65535)
BOUNDS: dict[str, tuple[int, int]] = {
    "gb10_router_port": PORT,
    "gb10_router_port_offset": (-65535, 65535),
    "gb10_router_body_kib": (1, 2**18),
    "gb10_router_timeout_s": SECONDS,
    "gb10_router_queue_timeout_s": SECONDS,
    "gb10_router_connections": (1, 10**6),
    "gb10_router_maxconn": (1, 10**6),
    "gb10_router_metrics_port": (0, 65535),
    "gb10_agent_port": PORT,
}
"""What HAProxy can do with a number; it takes others without a word: with no KiB for a body each is too large, with a maxconn below 1 nobody waits."""
INTEGER = re.compile(r"-?[0-9]{1,9}")
ONE_WORD = re.compile(r"[!-~]+")
LISTEN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9.*:-]*|\[?[0-9A-Fa-f:.]+\]?")


def number(name: str, value: Any) -> int:
    """A whole number within its bounds. GB10Error, one sentence, for anything else."""
    least, most = BOUNDS[name]
    if isinstance(value, bool) or not INTEGER.fullmatch(str(value).strip()) or not least <= int(value) <= most:
        raise GB10Error(f"{name} is {value!r}; give it a whole number from {least} to {most}.")
    return int(value)


def word(name: str, value: Any, wanted: re.Pattern[str], what: str) -> str:
    """A text that can stand in a configuration as one word. GB10Error, one sentence, for anything else."""
    if not wanted.fullmatch(str(value)) or set(str(value)) & set("\"'\\#$"):
        raise GB10Error(f"{name} is {value!r}; it has to be {what}.")
    return str(value)


def mapping(name: str, value: Any, what: str) -> Mapping[str, Any]:
    """GB10Error, one sentence, for what is no mapping; nothing given is an empty one. The value may be a secret."""
    if not isinstance(value or {}, Mapping):
        raise GB10Error(f"{name} has to be a mapping: {what}.")
    return value or {}


def maxconn(router: str, boxes: Sequence[str], hosts: Hosts) -> int | None:
    """``gb10_router_maxconn``; None where each server gets what its engine takes."""
    given = option("gb10_router_maxconn", router, boxes, hosts)
    return None if given is None or given == "" else number("gb10_router_maxconn", given)


def tls_paths(router: str, boxes: Sequence[str], hosts: Hosts) -> dict[str, str]:
    """``gb10_router_tls``: paths of ``certificate`` and ``key``, or nothing."""
    what = "the paths of `certificate` and `key` on the router's host"
    given = mapping("gb10_router_tls", option("gb10_router_tls", router, boxes, hosts), what)
    if given and {name for name, path in given.items() if path} != {"certificate", "key"}:
        raise GB10Error(f"gb10_router_tls has {', '.join(sorted(map(str, given)))}; it takes {what}, both of them.")
    return {str(name): str(path) for name, path in given.items()}


def floating_wanted(router: str, boxes: Sequence[str], hosts: Hosts) -> Mapping[str, Any]:
    """``gb10_router_floating``, or nothing."""
    return mapping(
        "gb10_router_floating", option("gb10_router_floating", router, boxes, hosts), "`address` with the length of its network, such as 10.0.0.100/24"
    )


def option(name: str, router: str, boxes: Sequence[str], hosts: Hosts) -> Any:
    """A variable as the router's host has it, else as the first box has it: many inventories name them in the group of the boxes only."""
    for host in (router, *boxes[:1]):
        found = hosts[host].get(name) if host in hosts else None
        if found is not None:
            return found
    return DEFAULTS[name]


def metrics(router: str, boxes: Sequence[str], hosts: Hosts) -> Metrics:
    """Where a router tells its metrics. GB10Error for what is no address of a host."""

    def given(name: str) -> Any:
        value = option(name, router, boxes, hosts)
        return number(name, value) if name in BOUNDS and value is not None else value

    return telling.metrics(given, router, boxes, hosts)


def settings(router: str, boxes: Sequence[str], hosts: Hosts) -> Settings:
    """What the user decides of a router. GB10Error for keys that cannot be used, without the key."""

    def given(name: str) -> Any:
        return option(f"gb10_{name}", router, boxes, hosts)

    def count(name: str) -> int:
        return number(f"gb10_{name}", given(name))

    keys = {str(name): str(key) for name, key in mapping("gb10_router_keys", given("router_keys"), "the key of each client by its name").items()}
    affinity = str(given("router_affinity"))
    if not HEADER.fullmatch(affinity):
        raise GB10Error(f"gb10_router_affinity: {affinity!r} is neither `none`, `key` nor the name of a header.")
    found: Settings = {
        "address": word("gb10_router_address", given("router_address"), LISTEN, "an address of the router, or 0.0.0.0 for all").strip("[]"),
        "port": count("router_port"),
        "port_offset": count("router_port_offset"),
        "body_bytes": count("router_body_kib") * 1024,
        "timeout_s": count("router_timeout_s"),
        "queue_timeout_s": count("router_queue_timeout_s"),
        "connections": count("router_connections"),
        "affinity": affinity,
        "ca": word("gb10_router_ca", given("router_ca"), ONE_WORD, "a path without spaces, or @system-ca"),
        **metrics(router, boxes, hosts),
        "agent_port": count("agent_port"),
        "open": not keys,
        "client_keys": keys,
        "box_key": str(given("router_key") or ""),
    }
    _check_keys(found, bool(given("allow_open")))
    return found


def _check_keys(found: Settings, may_be_open: bool) -> None:
    keys = found["client_keys"]
    if not keys and not may_be_open:
        raise GB10Error(
            "gb10_router_keys names no key, so nobody could ask the router; name one for each client (NAME: KEY, in a vault), or let everybody in with "
            "gb10_allow_open: true."
        )
    if not found["box_key"] and not may_be_open:
        raise GB10Error("gb10_router_key is missing: it is what the router opens the boxes with; `openssl rand -hex 32` makes one, keep it in a vault.")
    if found["box_key"] and (len(found["box_key"]) < LEAST_BOX_KEY or not PRINTABLE.fullmatch(found["box_key"])):
        raise GB10Error(
            f"gb10_router_key must have at least {LEAST_BOX_KEY} printable ASCII characters without spaces; `openssl rand -hex 32` makes one, keep it in a "
            "vault."
        )
    taken: dict[str, str] = {found["box_key"]: "gb10_router_key"} if found["box_key"] else {}
    for name, key in keys.items():
        if not NAME.fullmatch(name):
            raise GB10Error(f"gb10_router_keys: {name!r} is no name of a client; use letters, digits and ._@- (it is written to the router's log).")
        if len(key) < LEAST_KEY or not PRINTABLE.fullmatch(key):
            raise GB10Error(f"gb10_router_keys: the key of {name} must have at least {LEAST_KEY} printable ASCII characters without spaces.")
        if key in taken:
            raise GB10Error(f"gb10_router_keys: {name} has the same key as {taken[key]}, so nobody could tell who asks; give each its own.")
        taken[key] = name


def host_address(name: str, known: Mapping[str, Any]) -> str:
    """Where others reach a host, by the inventory."""
    return str(known.get("gb10_server_address") or known.get("ansible_host") or name)


def box_as_read(known: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts of a box as they were read last in this run; {} when they were not."""
    found = known["fleet_box_now"] if "fleet_box_now" in known else (known.get("preflight_result") or {}).get("box")
    return found or {}


def names_wanted(known: Mapping[str, Any]) -> list[str]:
    """The servers that a box is to have."""
    return [str(one["name"]) for one in known.get("gb10_servers") or [] if isinstance(one, Mapping) and one.get("name")]


def _entries(router: str, box: str, known: Mapping[str, Any], most: int | None, alone: bool) -> tuple[list[Behind], list[str]]:
    """The servers of one box, and a sentence for each that cannot be behind a router yet. ``alone``: no other host is a router."""
    found, notes = [], []
    address = host_address(box, known)
    named = known.get("gb10_router_tls_name") or (box if is_address(address) else address)
    name = word(f"{box}: gb10_router_tls_name", named, ONE_WORD, "the name that the certificates of its servers are for")
    for server in names_wanted(known):
        deployed = ((box_as_read(known).get("servers") or {}).get(server) or {}).get("deployment")
        if not deployed or not head_or_alone(deployed):
            continue
        if "key" not in deployed:
            notes.append(f"{box}: {server} was deployed by a release that knew no key of a router, so it gets no requests; -e gb10_replan=true replaces it.")
            continue
        local = router == box and is_loopback(deployed["address"])
        try:
            one = behind(box, deployed, "127.0.0.1" if local else address, name, most)
            one["agent"] = "127.0.0.1" if alone and router == box else address
            found.append(one)
        except GB10Error as error:
            notes.append(str(error))
    return found, notes


def routers_addresses(routers: Sequence[str], hosts: Hosts) -> dict[str, str]:
    """{router: where the others reach it}."""
    return {router: host_address(router, hosts[router]) for router in routers}


def _floating(question: Mapping[str, Any], given: Mapping[str, Any], its: Settings, hosts: Hosts) -> dict[str, Any]:
    """{wanted: keepalived's configuration or "", stale: whether the router has another one}. GB10Error where there can be none, or there is somebody's."""
    found, routers = question["found"], question["routers"]
    there = found.get("floating") or {"present": False, "ours": False}
    if not given:
        return {"wanted": "", "stale": there["ours"]}
    addresses = routers_addresses(routers, hosts)
    floating.check(given, its["address"], addresses)
    if there["present"] and not there["ours"]:
        raise GB10Error(f"{floating.CONFIG} is somebody's and is left as it is; move it away, or leave gb10_router_floating out. Nothing was changed there.")
    text = floating.configuration(question["router"], given, addresses, found.get("interfaces") or {}, its["port"])
    return {"wanted": text, "stale": not _as_written(floating.CONFIG, text, found["files"])}


def work(question: Mapping[str, Any], hosts: Hosts) -> dict[str, Any]:
    """{problem, notes, changed, files, record, certificate, names, left, url, floating}: what a router has to be given.

    ``question``: ``router`` (one of ``routers``), ``boxes`` (the fleet), ``proven`` (boxes of this run) and ``found`` (of the module
    router_info). ``files`` holds keys.
    ``problem``: "" or one sentence; then there is nothing else. ``left``: what an earlier run drained on boxes of this one, as [{box, server}].
    """
    router, boxes, found = question["router"], list(question["boxes"]), question["found"]
    if found["config"]["present"] and not found["config"]["ours"] and not found["config"]["stock"]:
        return {"problem": f"Router {router}: {OTHERS}"}
    hosts = {name: hosts[name] for name in dict.fromkeys([router, *question["routers"], *boxes])}
    try:
        shared, tls, most = floating_wanted(router, boxes, hosts), tls_paths(router, boxes, hosts), maxconn(router, boxes, hosts)
        given = settings(router, boxes, hosts)
        now: list[Behind] = []
        notes: list[str] = []
        if why := telling.not_here(given, option("gb10_router_metrics_address", router, boxes, hosts), found.get("interfaces") or {}):
            given["metrics_port"], notes = 0, [f"{router}: {why}"]
        read = [box for box in boxes if box_as_read(hosts[box])]
        for box in read:
            entries, said = _entries(router, box, hosts[box], most, question["routers"] == [router])
            now, notes = [*now, *entries], [*notes, *said]
        servers = merged(found["record"].get("servers") or [], now, read, boxes)
        files = configuration.files(servers, given, [int(part) for part in found["version"].split(".")[:2]])
        moving = _floating(question, shared, given, hosts)
    except GB10Error as error:
        return {"problem": f"Router {router}: {error}"}
    digest = next(line.split()[-1] for line in files["haproxy.cfg"].splitlines() if "description gb10" in line)
    own = host_address(router, hosts[router])
    address = str(floating.address(shared).ip) if shared else own
    names = list(dict.fromkeys([router, own, address, "localhost", "127.0.0.1"]))
    return {
        "problem": "",
        "notes": notes,
        "changed": found["running"] != digest or _stale_certificate(tls, names, found) or moving["stale"] or _differs(files, found["files"]),
        "files": files,
        "record": {"servers": servers, "certificate": tls},
        "certificate": tls,
        "names": names,
        "left": [{"server": server, "box": box} for server, _slash, box in (name.partition("/") for name in found["drains"]) if box in question["proven"]],
        "url": f"https://{endpoint(address, given['port'])}/v1",
        "floating": moving,
    }


def _stale_certificate(tls: Mapping[str, str], names: Sequence[str], found: Mapping[str, Any]) -> bool:
    """Whether a router has another certificate than it should: it was renewed, others are named now, or the one made there lacks a name of the router."""
    if found["stale_certificate"] or dict(tls) != dict(found["record"].get("certificate") or {}):
        return True
    has = found.get("certificate_names")
    return not tls and has is not None and not {name.lower() for name in names} <= {name.lower() for name in has}


def _as_written(path: str, text: str, digests: Mapping[str, Mapping[str, Any]]) -> bool:
    return (digests.get(path) or {}).get("sha256") == hashlib.sha256(text.encode()).hexdigest()


def _differs(files: Mapping[str, str], digests: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a file on the router is not what it should be, also by hand."""
    return not all(_as_written(f"/etc/haproxy/{name}", text, digests) for name, text in files.items())


def mistakes(question: Mapping[str, Any], hosts: Hosts) -> list[str]:
    """What no router could do of what the inventory asks for, one sentence; nothing where no router is named.

    ``question``: ``groups`` of the inventory, ``named`` (``gb10_routers``) and ``boxes``.
    """
    boxes = list(question["boxes"])
    try:
        routers = router_hosts(question["groups"], question.get("named"))
        if not routers:
            return []
        known = {name: hosts[name] for name in dict.fromkeys([*routers, *boxes])}
        for box in boxes:
            _check_servers(box, known[box])
        wanted = _as_wanted(boxes, known)
        for router in routers:
            _check_router(router, routers, boxes, known, wanted)
        _check_reach(routers, boxes, known)
        model_names(wanted, one_port=True)
    except GB10Error as error:
        return [str(error)]
    return []


def _check_router(router: str, routers: Sequence[str], boxes: Sequence[str], hosts: Hosts, wanted: Sequence[Behind]) -> None:
    """GB10Error for what is wrong with the variables of one router."""
    given = settings(router, boxes, hosts)
    maxconn(router, boxes, hosts)
    tls_paths(router, boxes, hosts)
    if shared := floating_wanted(router, boxes, hosts):
        floating.check(shared, given["address"], routers_addresses(routers, hosts))
    others = {}
    if router in boxes:
        others = {given["agent_port"]: "gb10_agent_port", **{one["port"]: f"the server {one['server']} itself" for one in wanted if one["box"] == router}}
    configuration.check_ports(wanted, given, others)


def _check_servers(box: str, known: Mapping[str, Any]) -> None:
    """GB10Error for servers of which a router cannot even read name and port; all else is the phase plan's to say."""
    given = known.get("gb10_servers") or []
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable) or any(not isinstance(one, Mapping) for one in given):
        raise GB10Error(f"{box}: gb10_servers has to be a list of servers, each with its `name` and `model` (or `recipe`).")
    for one in given:
        port = one.get("port") or 8000
        if isinstance(port, bool) or not INTEGER.fullmatch(str(port).strip()) or not 0 < int(port) < 65536:
            raise GB10Error(f"{box}: the server {one.get('name')} has the port {port!r}; give it a whole number from 1 to 65535.")


def _as_wanted(boxes: Iterable[str], hosts: Hosts) -> list[Behind]:
    """The servers as the inventory wants them, as far as their names and ports go."""
    found: list[Behind] = []
    for box in boxes:
        for one in with_recipes(hosts[box].get("gb10_servers") or []):
            if not isinstance(one, Mapping):
                continue
            names = one.get("served_model_name") or str(one.get("model") or "").rstrip("/").rpartition("/")[2]
            found.append(
                {
                    "box": box, "server": str(one.get("name")), "address": "", "port": int(one.get("port") or 8000), "maxconn": 0, "max_model_len": 0,
                    "models": [str(name) for name in (names if isinstance(names, (list, tuple)) else [names])], "agent": "", "tls_name": "", "key": "",
                }
            )  # fmt: skip
    return found


def _check_reach(routers: Sequence[str], boxes: Iterable[str], hosts: Hosts) -> None:
    for box in boxes:
        named = [one for one in hosts[box].get("gb10_servers") or [] if not one.get("address")]
        if named:
            listen_address(routers, box, str(hosts[box].get("ansible_host") or box), str(hosts[box].get("gb10_server_address") or ""))
        for one in hosts[box].get("gb10_servers") or []:
            address = one.get("address")
            if address and is_address(str(address)) and is_loopback(str(address)) and [router for router in routers if router != box]:
                raise GB10Error(
                    f"{box}: {one.get('name')} is to listen on {address}, where the router cannot reach it from another machine; leave `address` out, and it "
                    "listens where the router comes in."
                )


def _interrupts(order: Mapping[str, Any]) -> bool:
    """Whether a work order ends what its server does: another container, or a restart for an environment or a key that is read at the start."""
    restarts = order.get("write_env") or order.get("env_removed") or (order.get("write_key") and not order.get("keys_live"))
    return bool(order.get("start") and (order.get("create") or restarts))


def targets(question: Mapping[str, Any], hosts: Hosts) -> list[dict[str, str]]:
    """The servers that a batch is going to interrupt, each {box, server}.

    ``question``: ``boxes`` of the batch, whose work orders lie with them (``server_orders``); ``all``: whether every server there is meant, as for a
    rollback, a stop or a reboot, or only those of the ``server`` that is named.
    """
    found: list[dict[str, str]] = []
    for box in question["boxes"]:
        known = hosts[box]
        wanted, there = names_wanted(known), list(box_as_read(known).get("servers") or {})
        if question.get("all"):
            names = [name for name in dict.fromkeys([*wanted, *there]) if question.get("server") in (None, "", name)]
        else:
            orders = known.get("server_orders") or {}
            names = [name for name in wanted if _interrupts(orders.get(name) or {})]
            names += [name for name in there if name not in wanted] if known.get("gb10_prune") else []
        # Behind a router is the head of a server over several boxes alone.
        found += [{"box": box, "server": name} for name in names if not _is_rank(known, name)]
    return found


def _is_rank(known: Mapping[str, Any], name: str) -> bool:
    """Whether a box has a rank of a server that is not its head: as it is to be, else as it was read."""
    order = (known.get("server_orders") or {}).get(name) or (box_as_read(known).get("servers") or {}).get(name) or {}
    return not head_or_alone(cast(Deployment, order.get("deployment") or {}))


def idle(names: Sequence[Mapping[str, str]], known: Mapping[str, Any], config_dir: str) -> list[dict[str, str]]:
    """What the module server_idle has to ask of a box: {name, base_url, api_key_file} for each of ``names`` ({box, server}) that is deployed there."""
    records = box_as_read(known).get("servers") or {}
    deployed = {one["server"]: (records.get(one["server"]) or {}).get("deployment") for one in names}
    return [{"name": name, "base_url": found["probe_url"], "api_key_file": f"{config_dir}/{name}/key.env"} for name, found in deployed.items() if found]


def refusals(told: Iterable[Mapping[str, Any]], required: bool, ready: bool = False) -> list[str]:
    """Why a batch must not be touched, or not left behind, by what each router answered to the module router_drain; nothing where all of them did it.

    ``told``: the results of a loop over routers, each with its ``router_host``; ``required``: whether one that cannot be reached counts; ``ready``: whether
    they were told to use the batch again, not to spare it.
    """
    answers = list(told)
    silent = [str(one["router_host"]) for one in answers if one.get("unreachable")]
    found = [f"{one['router_host']}: {one['msg']}" if ready else str(one["msg"]) for one in answers if one.get("msg") and not one.get("unreachable")]
    if silent and required:
        what = "use this batch again" if ready else "spare this batch"
        end = "The batch serves, but not everybody reaches it." if ready else "Nothing was changed."
        found.insert(
            0,
            f"{', '.join(silent)} cannot be reached, so nobody can tell it to {what}. Bring it up, or go on without it with "
            f"-e gb10_router_required=false. {end}",
        )
    return list(dict.fromkeys(found))


def sends(told: Mapping[str, Mapping[str, Any]], box: str) -> list[str]:
    """Why a box must not be taken away, a sentence for each router that still sends requests there, or does not say; ``told``: what each answered.

    A result of router_info by router. One that is DOWN, drained or in maintenance gets none; its requests of before may be at work still.
    """
    found = []
    for router, result in told.items():
        facts = result.get("router") or {}
        problem = "cannot be reached" if not facts else f"does not say what it does ({facts['problem']})" if facts.get("problem") else ""
        # Where it is no router of ours there is nothing to ask.
        if problem and (not facts or (facts.get("version") and (facts.get("config") or {}).get("ours"))):
            found.append(f"{router} {problem}, so nobody knows whether it sends requests to {box}. Bring it up, or go on with -e gb10_remove_routed=true.")
            continue
        used = [one for one in facts.get("servers") or [] if one["box"] == box and (one["status"].startswith(("UP", "no check")) or one["sessions"])]
        if used:
            names = ", ".join(f"{one['server']} ({one['status']}, {one['sessions']} at work)" for one in used)
            found.append(
                f"{router} still sends requests to {box}: {names}. Run the playbook stop for it first, which drains it, or go on with "
                "-e gb10_remove_routed=true."
            )
    return found
