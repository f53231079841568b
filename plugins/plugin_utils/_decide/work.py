# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The work order: all that has to be done for one server on one box, whether it is served, looked at or put back. Pure.

The role ``server`` carries orders out and decides nothing itself; the role ``fleet`` compares them with what runs and with the lock file.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ansible_collections.gb10.vllm.plugins.module_utils._names import unit_name, watch_name
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment as deployments
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import mounts, ranks
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.rehearsal import env_text
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Decision, Deployment, Fallback, File, Given, Image, Order, Record, Server
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis.repair import MOST_REPAIRS, flags_of

SIGHT = ("vision_config", "vision_encoder", "visual", "img_processor")
"""Keys of a configuration of a model that takes images."""
UNIT_DIR = "/etc/systemd/system"
PUT_BACK = "What served before was put back and answers."
NOTHING_BEFORE = "Nothing served here before, so nothing was put back."
LEFT = "Its configuration was left as it is."
LOST = "Nothing could be put back there."


def work_order(given: Given) -> Order:
    """What there is to do for one server on one box, see ``shapes.Given`` and ``shapes.Order``.

    Served: what runs is kept where nothing that was asked for changed, else (or with the option ``replan``) the plan becomes a new container.
    With ``back_to`` that deployment comes back, whatever is wanted now. Raises GB10Error when the model files of ``back_to`` are gone.
    """
    name = given["wanted"]["name"]
    if (_planned(given).get("rank") or {}).get("number"):
        given = cast(Given, {**given, "wanted": ranks.closed(given["wanted"])})
    record = cast(Record, (given["box"].get("servers") or {}).get(name) or {})
    back = bool(given.get("back_to"))
    image = _image(given, record)
    decision = _going_back(given) if back else _decision(given, record, image)
    deployment = decision["deployment"]
    before: Deployment = record.get("deployment") or {}
    measured = (record.get("measured") or {}).get("spec") or ""
    # Only what once proved itself is worth going back to, and what is left now by going back is not.
    proven = bool(before) and measured == before.get("spec") and not back
    held = record.get("history") or []
    # Each once: what a killed run left may be remembered and run at the same time.
    listed = {deployment["spec"]} | ({before["spec"]} if proven else set())
    history = ([before] if proven and before["spec"] != deployment["spec"] else []) + [one for one in held if one["spec"] not in listed]
    previous: Deployment = {} if back else before if proven else history[0] if history else {}
    order: Order = {
        "name": name,
        "unit": unit_name(name),
        "watch": watch_name(name),
        "unit_digest": _sha256(given["unit_text"]),
        "deployment": deployment,
        "create": decision["create"],
        "reason": decision["reason"],
        "lacking": decision.get("lacking") or [],
        "gain": decision.get("gain") or {},
        "new": not before,
        "history": history[: int(given["options"]["history"])],
        "previous": previous,
        "before_proven": proven,
        "proven": measured == deployment["spec"],
        "image_id": deployment["container"]["image"] if back else image["id"],
        # What an earlier run made and was killed over is as new as what this one makes.
        "fallback": _fallback(decision["create"] or measured != deployment["spec"], previous, proven and _stands(before, given["box"])),
        "lost": {"deployment": {}, "outcome": LOST},
        "group": deployment.get("group") or {},
        "image_identity": _identity(given, deployment),
    }
    order["load"] = _load(deployment, given["wanted"], (given.get("models") or {}).get(deployment["model_path"]) or {})
    # What ran before gives its memory back a while after it has ended.
    order["memory_bytes"] = deployment["requested_bytes"] + deployment["floor_bytes"] if before else 0
    order["files"] = _files(given, order, record)
    order.update(cast(Order, _repairing(given, order, record)))
    order.update(cast(Order, _secrets(given, order, before)))
    order.update(cast(Order, _systemd(given, order, record)))
    order["start"] = _anything_to_do(order)
    return order


def _image(given: Given, record: Record) -> Image:
    """The image the server would run with: the locked one, else the one that is there.

    An image that is gone says nothing about what is wanted; what runs is taken for it.
    """
    image, locked, runs = given.get("image") or {}, given.get("locked") or {}, record.get("deployment") or {}
    name = image.get("name") or given.get("image_name") or ""
    if locked:
        return {"id": locked["image_id"], "name": name, "vllm_version": locked.get("vllm_version")}
    if image.get("id"):
        return {"id": image["id"], "name": name, "vllm_version": image.get("vllm_version")}
    return {"id": (runs.get("container") or {}).get("image") or "", "name": name, "vllm_version": runs.get("vllm_version") or ""}


def _identity(given: Given, deployment: Deployment) -> str:
    """What is the same of one image on all boxes; its id is not, where their Docker engines keep images in different ways."""
    image, names = deployment["container"]["image"], (given["box"].get("docker") or {}).get("images") or {}
    known = [one for one in [given.get("image") or {}, *names.values()] if one.get("id") == image]
    return next((str(one["identity"]) for one in known if one.get("identity")), image)


def _decision(given: Given, record: Record, image: Image) -> Decision:
    server, locked = given["wanted"], given.get("locked") or {}
    model: Mapping[str, Any] = given["models"].get(server["model_path"]) or {}
    # What is locked mounts what it says; whether that is there and is the locked content, `_fleet/lock.py` judges.
    directory = deployments.mounted_directory(locked["deployment"]) if locked else model.get("directory")
    beside = mounts.reached(server, mounts.as_it_is(given["box"].get("named") or {}, given["models"]).get(server["name"]) or {})
    linked, _said = mounts.link_mounts(model.get("links") or [], f"/models/{server['name']}")
    return deployments.decision(
        {
            "planned": _planned(given),
            "places": given.get("places") or {},
            "server": server,
            "image": image,
            "manifest": model.get("manifest") or locked.get("manifest") or "",
            "model": {"directory": directory, "content": model.get("content"), "volumes": [*linked, *beside.volumes]},
            "files": beside.digests,
            "record": (locked or record).get("deployment") or None,
            "containers": given["box"]["docker"]["containers"],
            "settings": {
                **given["settings"],
                "repairs": (locked or record).get("repairs") or {},
                "read_only": bool(given["options"].get("read_only", True)),
                "key": deployments.key_of(server, given["options"].get("api_key") or ""),
            },
            "replan": bool(given["options"].get("replan")),
        }
    )


def _planned(given: Given) -> Mapping[str, Any]:
    """The server's part of the plan; empty where there is none, as for one that only goes back."""
    servers = (given.get("plan") or {}).get("servers") or []
    return next((one for one in servers if one["name"] == given["wanted"]["name"]), {})


def _going_back(given: Given) -> Decision:
    wish = given["back_to"]
    return {"deployment": deployments.with_its_model(wish["deployment"], wish["models"]), "create": not wish.get("untouched"), "reason": wish["reason"]}


def _fallback(new: bool, previous: Deployment, stands: bool) -> Fallback:
    if not previous:
        return {"deployment": {}, "outcome": NOTHING_BEFORE}
    if not new:
        return {"deployment": {}, "outcome": LEFT}
    return {"deployment": previous, "outcome": PUT_BACK, **({"stands": True} if stands else {})}


def _stands(deployment: Deployment, box: Mapping[str, Any]) -> bool:
    """Whether the container of a deployment is there as it was made."""
    labels = (one["labels"].get("gb10.vllm.spec") for one in box["docker"]["containers"] if one["name"] == deployment["container"]["name"])
    return deployment["spec"] in labels


def _files(given: Given, order: Order, record: Record) -> list[File]:
    """Records and unit of the server. First what can be gone back to, then what is wanted now: a run killed in between loses nothing.

    Where a server goes back, what the box held when it was read says nothing about what it holds now; repairs tried since then are not its own, and
    that it can be gone back to is forgotten only when it answers (the role's settle.yml): a run killed before that can be run again.
    """
    back = bool(given.get("back_to"))
    folder = f"{given['settings']['state_dir']}/servers/{order['name']}"
    unit = f"{UNIT_DIR}/{order['unit']}"
    held = ((given["box"].get("files") or {}).get(unit) or {}).get("sha256")
    repairs = order["deployment"].get("repairs") or {}
    history = _file(f"{folder}/history.json", nice_json(order["history"]), order["history"] != (record.get("history") or []))
    deployment = _file(f"{folder}/deployment.json", nice_json(order["deployment"]), back or order["deployment"] != record.get("deployment"))
    unit_file = _file(unit, given["unit_text"], back or order["unit_digest"] != held, "0644")
    made = _file(f"{folder}/repairs.json", nice_json(repairs), back and repairs != (record.get("repairs") or {}))
    return [made, unit_file, deployment] if back else [history, deployment, unit_file, made]


def _load(deployment: Deployment, wanted: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, int]:
    """What a server is asked once after its start: a batch as large as it takes, as many requests as it was planned for, an image where it sees."""
    flags = {one["flag"]: one["value"] for one in flags_of(deployment["container"]["command"])}
    context = int((deployment.get("planned") or {}).get("max_model_len") or 0)
    numbers = [flags.get(flag) for flag in ("--max-num-batched-tokens", "--max-num-seqs")]
    batch, most = (value if isinstance(value, int) and not isinstance(value, bool) else 0 for value in numbers)
    at_once = int(wanted.get("concurrency") or 1)
    sees = any(key in (model.get("config") or {}) for key in SIGHT) and "--language-model-only" not in flags and "--limit-mm-per-prompt" not in flags
    return {"batch_tokens": batch or context, "context": context, "requests": min(at_once, most) if most else at_once, "images": int(sees)}


def _file(dest: str, content: str, needed: bool, mode: str = "0600") -> File:
    return {"dest": dest, "content": content, "needed": needed, "mode": mode}


def _repairing(given: Given, order: Order, record: Record) -> dict[str, Any]:
    """Repairs hold for the image they were made with, at most two for a server; what goes back gets none."""
    made = record.get("repairs") or {}
    back = bool(given.get("back_to"))
    repairs = list(made.get("applied") or []) if made.get("image_id") == order["image_id"] and not back else []
    deployment, server = order["deployment"], given["wanted"]
    return {
        "repairs": repairs,
        # Of a server over several boxes all get the same change, see ``ranks.repair_for_all``.
        "may_repair": bool(given["options"]["repair"]) and not back and len(repairs) < MOST_REPAIRS,
        # What the server was started with, so that a repair changes that and nothing guessed.
        "wanted_for_repair": {
            **(deployment.get("planned") or {}),
            "command": deployment["container"]["command"],
            "cuda_graphs": server.get("cuda_graphs") or "auto",
            "os_floor_bytes": given["settings"]["floor_bytes"],
            "margin_bytes": _planned(given).get("margin_bytes") or 0,
            "reserve_gib": _kept_back(server, repairs),
            "utilization_stated": server.get("gpu_memory_utilization") not in (None, "auto"),
            "model_files": ((given.get("models") or {}).get(server["model_path"]) or {}).get("names") or [],
        },
    }


def _kept_back(server: Mapping[str, Any], repairs: list[dict[str, Any]]) -> float:
    """GiB that the user, or a repair after that, keeps back for a server."""
    return max(float(one.get("reserve_gib") or 0) for one in [server, *((repair.get("set") or {}) for repair in repairs)])


def _secrets(given: Given, order: Order, before: Deployment) -> dict[str, Any]:
    """Which private files have to be written and which are nobody's any more.

    What the inventory gives is compared on the box (``private_texts``): no digest of a key or of an environment is read. The keys of the whole fleet are
    long enough to be told apart by theirs. A server that goes back keeps the files it has: what is wanted now may name another key.
    """
    server, deployment, folder = given["wanted"], order["deployment"], f"{given['settings']['config_dir']}/{given['wanted']['name']}"
    there: Mapping[str, Any] = given["box"].get("files") or {}
    live = deployments.guarded(deployment)
    found: dict[str, Any] = {"keys_live": live, "write_key": False, "new_key": False, "ensure_key": False, "write_env": False, "write_fleet": False}
    found |= {"remove_secrets": [], "env_removed": False}
    if given.get("back_to"):
        return {**found, "ensure_key": live}
    key = deployments.key_of(server, given["options"].get("api_key") or "") if ranks.head_or_alone(deployment) else "none"
    found["new_key"] = live and key == "generated" and before.get("key") == "given"
    # What an earlier release left without a key on loopback goes on without one until it is replaced.
    due = live or not deployments.is_loopback(server["address"])
    missing = f"{folder}/key.env" not in there

    def as_given(file: str) -> bool:
        about = there.get(f"{folder}/{file}") or {}
        return bool(about.get("same")) and (about.get("mode"), about.get("uid")) == ("0600", 0)

    found["write_key"] = (key == "given" and not as_given("key.env")) or (key == "generated" and due and (missing or found["new_key"]))
    found["write_env"] = bool(server.get("env")) and not as_given("server.env")
    fleet = fleet_keys(given["options"]) if live else ""
    found["write_fleet"] = bool(fleet) and (there.get(f"{folder}/fleet.env") or {}).get("sha256") != _sha256(fleet)
    unwanted = [("key.env", key == "none" and "key" in deployment), ("fleet.env", not fleet), ("server.env", not server.get("env"))]
    found["remove_secrets"] = [f"{folder}/{file}" for file, gone in unwanted if gone and f"{folder}/{file}" in there]
    # The container read it at its start.
    found["env_removed"] = f"{folder}/server.env" in found["remove_secrets"] and not order["create"]
    return found


def private_texts(servers: Sequence[Server], config_dir: str, api_key: str = "") -> dict[str, str]:
    """What the inventory gives to private files of its servers, by path: the key of a server that is given one, and its environment.

    ``api_key``: of all servers that name none.
    """
    found = {}
    for server in servers:
        folder = f"{config_dir}/{server['name']}"
        if key := server.get("api_key", api_key):
            found[f"{folder}/key.env"] = f"VLLM_API_KEY={shlex.quote(str(key))}\n"
        if server.get("env"):
            found[f"{folder}/server.env"] = env_text(server)
    return found


def fleet_keys(options: Mapping[str, Any]) -> str:
    """The text of ``fleet.env``, the keys that open every server of the fleet; "" without any."""
    keys = (("GB10_ROUTER_KEY", options.get("router_key")), ("GB10_METRICS_KEY", options.get("metrics_key")))
    return "".join(f"{name}={shlex.quote(str(key))}\n" for name, key in keys if key)


def _systemd(given: Given, order: Order, record: Record) -> dict[str, Any]:
    """What there is to say to systemd; ``down``: the units that do not run now or would not at boot."""
    units: Mapping[str, Any] = given["box"].get("units") or {}
    state = {name: units.get(name) or {} for name in (order["unit"], order["watch"])}
    starting = record.get("starting") or {}
    boot_id = given["box"].get("boot_id")
    active = state[order["unit"]].get("active")
    given_up = order["create"] or active == "failed"
    died_starting = starting.get("boot_id", boot_id) != boot_id
    return {
        "down": [name for name, one in state.items() if not one.get("enabled") or one.get("active") != "active"],
        "starting": "starting" in record,
        # The guard counts starts too; one that somebody asks for, where nothing runs or the box went down, is a first one.
        "forget_starts": order["create"] or died_starting or active not in ("active", "activating", "reloading"),
        # systemd counts starts to bound restarts; it knows only units that are there.
        "reset_failed": given_up and (bool(given.get("back_to")) or order["unit"] in units),
    }


def _anything_to_do(order: Order) -> bool:
    """Whether there is anything to do before and after the proof; in a steady state there is not."""
    files = any(file["needed"] for file in order["files"])
    secrets = order["write_key"] or order["ensure_key"] or order["write_env"] or order["write_fleet"] or bool(order["remove_secrets"])
    return order["create"] or files or secrets or bool(order["down"]) or order["starting"] or not order["proven"]


def nice_json(value: object) -> str:
    """JSON as Ansible's filter ``to_nice_json`` writes it, which earlier releases wrote these files with, and a line's end."""
    return json.dumps(value, indent=4, sort_keys=True) + "\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
