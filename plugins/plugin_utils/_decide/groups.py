# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers over several boxes: what a user states of them, which boxes they get, how the model is shared out, and equal bytes of KV cache. Pure.

What one box gets of a server is a server of that box with a ``rank``; `plan_box` reckons it beside the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import GIB, short, shown
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import engine_identity, engine_of
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import canonical_name, plain_name
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layers_registry import MLA_FAMILIES
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.parallel import MOST_BOXES, candidates
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.shapes import EngineFacts, ModelInfo
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import ranks

Inputs = Mapping[str, Any]
"""What a box's plan is made from: box, servers, models, engine, elsewhere, options; the arguments of `plan_box`."""

# Written by the collection for each rank.
MADE = ("nnodes", "node_rank", "master_addr", "master_port", "headless", "distributed_executor_backend")
STATED = {"tensor_parallel": "tensor_parallel_size", "pipeline_parallel": "pipeline_parallel_size"}


def stated(server: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``boxes``, ``tensor_parallel`` and ``pipeline_parallel`` of a server, checked; {} for one of one box. GB10Error in one sentence."""
    boxes = server.get("boxes")
    found = {key: _count(server[key], f"{where}: `{key}`") for key in STATED if server.get(key) is not None}
    if boxes is None:
        if found:
            raise GB10Error(f"{where}: `{next(iter(found))}` is for a server over several boxes; say which with `boxes`, or leave it out.")
        return {}
    named = {canonical_name(plain_name(key)): value for key, value in (server.get("args") or {}).items()}
    made = next((key for key in MADE if key in named), None)
    if made == "distributed_executor_backend" and str(named[made]).strip().lower() == "ray":
        raise GB10Error(f"{where}: args.{made} ray is not started here: since 0.11.1 vLLM spreads a server over `boxes` by its own engine; leave it out.")
    if made:
        raise GB10Error(f"{where}: args.{made} is made from `boxes` for each of them; leave it out.")
    for key, flag in STATED.items():
        if flag in named:
            value = _count(named[flag], f"{where}: args.{flag}")
            if found.setdefault(key, value) != value:
                raise GB10Error(f"{where}: `{key}: {found[key]}` and args.{flag} {value} say two things; keep `{key}`.")
    number = _number(boxes, where)
    tensor, pipeline = found.get("tensor_parallel"), found.get("pipeline_parallel")
    product = (tensor or 1) * (pipeline or 1)
    if product != number and (number % product or (tensor and pipeline)):
        asked = " and ".join(f"`{key}: {value}`" for key, value in found.items())
        raise GB10Error(f"{where}: {asked} do{'es' if len(found) == 1 else ''} not go with {number} boxes of one GPU each: the product must be {number}.")
    return {"boxes": [" ".join(box.split()) for box in boxes] if isinstance(boxes, (list, tuple)) else number, **found}


def _count(value: Any, what: str) -> int:
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 5 else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST_BOXES:
        raise GB10Error(f"{what} is {str(value)[:40]}; use a whole number from 1 to {MOST_BOXES}.")
    return number


def _number(boxes: Any, where: str) -> int:
    """How many boxes are asked for; GB10Error for what is no list of different names and no number from 2 on."""
    remedy = f"name the boxes in a list, the head first, or give a number from 2 to {MOST_BOXES}"
    if isinstance(boxes, (list, tuple)):
        names = [" ".join(str(box).split()) for box in boxes]
        wrong = [box for box in boxes if not isinstance(box, str) or not box.strip()]
        if wrong:
            raise GB10Error(f"{where}: `boxes` holds {shown(wrong[0])}, which is no name of a box; {remedy}.")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise GB10Error(f"{where}: `boxes` names {short(twice)} twice; a box has one GPU and is one rank of a server.")
        if not 2 <= len(names) <= MOST_BOXES:
            raise GB10Error(f"{where}: `boxes` names {len(names)} box{'es' if len(names) != 1 else ''}; a server of one box needs none, else {remedy}.")
        return len(names)
    number = int(boxes) if isinstance(boxes, str) and boxes.isascii() and boxes.isdecimal() and len(boxes) < 5 else boxes
    if isinstance(number, bool) or not isinstance(number, int) or not 2 <= number <= MOST_BOXES:
        raise GB10Error(f"{where}: `boxes: {str(boxes)[:40]}` is no group of boxes; {remedy}.")
    return number


def servers_of_boxes(boxes: Mapping[str, Inputs], chosen: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[dict[str, Any]]]:
    """The servers of each box as its plan gets them, by box: of a server over several, each of its boxes a rank, all with equal bytes of KV cache.

    ``boxes``: what the boxes of the run have, in their order; ``chosen``: what the run chose already, by server its boxes in the order of ranks.
    GB10Error in one sentence for a group that cannot be.
    """
    boxes = {name: {**inputs, "engine": _engine(inputs)} for name, inputs in boxes.items()}
    found = {name: [dict(server) for server in inputs["servers"] if "boxes" not in server] for name, inputs in boxes.items()}
    for name in dict.fromkeys(server["name"] for inputs in boxes.values() for server in inputs["servers"] if "boxes" in server):
        wishes = {box: one for box, inputs in boxes.items() for one in inputs["servers"] if one["name"] == name and "boxes" in one}
        _Group(name, wishes, boxes, found, (chosen or {}).get(name) or ()).place()
    return found


def _engine(inputs: Inputs) -> EngineFacts:
    """The engine of a box; of vLLM's CPU build with what decides its blocks."""
    engine: EngineFacts = inputs.get("engine") or {}
    processor: EngineFacts | None = (inputs.get("box") or {}).get("cpu_features") if engine_identity(engine)["platform"] == "cpu" else None
    return {**(processor or {}), **engine}


def placed(names: Sequence[str], variables: Mapping[str, Any]) -> dict[str, Any]:
    """{problem, servers, places} for the boxes of a run: `servers_of_boxes`, and by group where its boxes meet, see `ranks.places`.

    ``variables``: hostvars, in which each box that has something to say has plan_inputs, and plan_shared where the run planned before.
    """
    boxes = {name: dict(variables[name].get("plan_inputs") or {"servers": []}) for name in names}
    before: Mapping[str, Any] = next((variables[name]["plan_shared"]["places"] for name in names if variables[name].get("plan_shared")), {})
    try:
        found = servers_of_boxes(boxes, {name: list(places) for name, places in before.items()})
        members = {server["name"]: server["rank"]["boxes"] for servers in found.values() for server in servers if "rank" in server}
        meet = {name: ranks.places(name, {box: (boxes[box].get("box") or {}).get("network") or {} for box in of}) for name, of in members.items()}
        return {"problem": "", "servers": found, "places": meet}
    except GB10Error as error:
        return {"problem": str(error), "servers": {}, "places": {}}


class _Group:
    """One server over several boxes while it is placed; ``placed``: the servers of each box so far, to which it adds its own; ``chosen`` earlier in the run."""

    def __init__(
        self,
        name: str,
        wishes: Mapping[str, Mapping[str, Any]],
        boxes: Mapping[str, Inputs],
        placed: dict[str, list[dict[str, Any]]],
        chosen: Sequence[str],
    ) -> None:
        self.name, self.wishes, self.boxes, self.placed, self.chosen = name, wishes, boxes, placed, chosen
        self.wish = next(iter(wishes.values()))
        asked = self.wish["boxes"]
        self.named: list[str] | None = None if isinstance(asked, int) else list(asked)
        self.size = asked if isinstance(asked, int) else len(asked)

    def place(self) -> None:
        """Choose boxes, sizes and bytes, and give each box its rank."""
        self._check()
        tensor, pipeline, why = self._shares(next(iter(self.named or self.wishes)))
        members = self.named or self._kept() or self._roomiest(tensor, pipeline, why)
        ranks = [{"number": number, "boxes": members, "tensor": tensor, "pipeline": pipeline, "why": why} for number in range(len(members))]
        plans = {box: self._planned(box, rank) for box, rank in zip(members, ranks, strict=True)}
        notes = [*self._differences(members), *self._copies(members, plans)]
        fits = all(entry["verdict"] == "fits" for entry in plans.values())
        least = min(members, key=lambda box: plans[box]["kv_cache_bytes"])
        size = plans[least]["kv_cache_bytes"] if fits else 0
        if size:
            kv_why = f"equal on all {self.size} boxes: the most that {least} can give"
            alike = [self._planned(box, rank, fixed=(plans[least]["max_model_len"], size)) for box, rank in zip(members, ranks, strict=True)]
            ranks = [rank | {"kv_why": kv_why, "utilization": min(one["gpu_memory_utilization"] for one in alike)} for rank in ranks]
        for box, rank in zip(members, ranks, strict=True):
            server = self._server(box, rank | ({"notes": notes} if rank["number"] == 0 else {}))
            self.placed[box].append(server | ({"kv_cache_memory_bytes": size} if size else {}))

    def _kept(self) -> list[str]:
        """The boxes that were chosen before, by this run or by what is deployed on them; none where that was another number, or one is not in this run."""
        records = [((self.boxes[box]["box"].get("servers") or {}).get(self.name) or {}).get("deployment") or {} for box in self.wishes]
        known = [list(self.chosen), *(list((record.get("group") or {}).get("boxes") or []) for record in records)]
        return next((found for found in known if len(found) == self.size and all(one in self.wishes for one in found)), [])

    def _check(self) -> None:
        """GB10Error for boxes that are not in the run, are too few, or are told different things."""
        if any(wish["boxes"] != self.wish["boxes"] for wish in self.wishes.values()):
            raise GB10Error(f"server {self.name}: `boxes` is not the same for all boxes; say it once, in the variables of the group.")
        unknown = [box for box in self.named or () if box not in self.boxes]
        if unknown:
            raise GB10Error(f"server {self.name}: `boxes` names {unknown[0]}, which is no box of this run ({', '.join(self.boxes)}).")
        absent = [box for box in self.named or () if box not in self.wishes]
        if absent:
            why = "it could not be read, or its gb10_servers do not have the server"
            raise GB10Error(f"server {self.name}: {absent[0]} is one of its `boxes`, but nothing is known of it: {why}.")
        if len(self.wishes) < self.size:
            raise GB10Error(f"server {self.name}: `boxes: {self.size}`, but the run has {len(self.wishes)} box{'es' if len(self.wishes) > 1 else ''} for it.")

    def _server(self, box: str, rank: Mapping[str, Any]) -> dict[str, Any]:
        own = {key: value for key, value in self.wishes[box].items() if key not in ("boxes", *STATED)}
        args = {key: value for key, value in (own.get("args") or {}).items() if canonical_name(plain_name(key)) not in STATED.values()}
        return {**own, "args": args, "rank": dict(rank)}

    def _entry(self, box: str, rank: Mapping[str, Any] | None, alone: bool = False, fixed: tuple[int, int] | None = None) -> dict[str, Any]:
        """The plan's part for this server on a box, as a rank or (None) whole.

        ``alone``: without the box's other servers; ``fixed``: with this context in tokens and these bytes of KV cache.
        """
        inputs = self.boxes[box]
        server = self._server(box, rank or {})
        if fixed:
            server |= {"max_model_len": fixed[0], "kv_cache_memory_bytes": fixed[1]}
        if rank is None:
            del server["rank"]
        servers: Sequence[Any] = [*([] if alone else self.placed[box]), server]
        plan = plan_box(inputs["box"], servers, inputs["models"], inputs["engine"], inputs["options"], inputs.get("records"), inputs.get("elsewhere") or ())
        return dict(plan["servers"][-1])

    def _planned(self, box: str, rank: Mapping[str, Any], fixed: tuple[int, int] | None = None) -> dict[str, Any]:
        """The plan's part for a rank on its own box, which is named where it cannot be planned there."""
        try:
            return self._entry(box, rank, fixed=fixed)
        except GB10Error as error:
            raise GB10Error(f"server {self.name} on {box}: {str(error).removeprefix(f'server {self.name}: ')}") from None

    def _shares(self, box: str) -> tuple[int, int, str]:
        """(tensor, pipeline, why): as stated, else the best that vLLM can do with this model."""
        tensor, pipeline = self.wish.get("tensor_parallel"), self.wish.get("pipeline_parallel")
        pairs = [pair for pair in candidates(self.size) if pair[0] == (tensor or pair[0]) and pair[1] == (pipeline or pair[1])]
        latent, heads, key_values = self._attention(box)
        pairs.sort(key=lambda pair: pair[0] if latent else (pair[0] > key_values, -pair[0]))
        refused: dict[tuple[int, int], str] = {}
        pair = next((pair for pair in pairs if not refused.setdefault(pair, self._refusal(box, pair))), None)
        if pair is None:
            reasons = _reasons(list(refused.values()))
            said = f"{'; '.join(reasons)}. Choose another number of boxes." if len(reasons) > 1 else refused[pairs[0]]
            raise GB10Error(said if said.startswith(f"server {self.name}") else f"server {self.name} over {self.size} boxes: {said}")
        if tensor or pipeline:
            return (*pair, "stated for this server" if tensor and pipeline else f"stated for this server, whose other size follows from its {self.size} boxes")
        # What was liked better and is refused, and where key-value heads decided, why no more boxes share each layer.
        at = pairs.index(pair)
        larger = [] if latent else [other for other in pairs[at + 1 :] if other[0] > pair[0]]
        against = [refused[other] for other in pairs[:at]] + [self._refusal(box, other) or _copied(other[0], key_values) for other in larger]
        return (*pair, "; ".join([_how(*pair, latent, heads, key_values), *_reasons(against)]))

    def _refusal(self, box: str, pair: tuple[int, int]) -> str:
        """Why vLLM would not share the model out like this; "" where it would."""
        try:
            self._entry(box, {"number": 0, "boxes": [str(number) for number in range(self.size)], "tensor": pair[0], "pipeline": pair[1]}, alone=True)
        except GB10Error as error:
            return str(error)
        return ""

    def _attention(self, box: str) -> tuple[bool, int, int]:
        """(latent attention?, heads, key-value heads) of the model."""
        info, inputs = self._info(box), self.boxes[box]
        held: EngineFacts | None = self.wishes[box].get("engine") or inputs["engine"]
        engine = engine_of(engine_identity(held or {}), {})
        whole = bool((inputs["options"] or {}).get("assume_full_attention"))
        facts = kv_layout(info["config"], engine, assume_full_attention=whole, beside=info.get("beside")).facts
        latent = facts.family in MLA_FAMILIES
        return latent, facts.num_attention_heads, 1 if latent else facts.num_key_value_heads

    def _info(self, box: str) -> ModelInfo:
        models = self.boxes[box]["models"]
        found = next((models[key] for key in (self.wishes[box].get("model_path"), self.wishes[box].get("model")) if key and key in models), None)
        if not found or not isinstance(found.get("config"), Mapping):
            raise GB10Error(f"no facts are given for the model of server {self.name} on {box}: run gb10.vllm.model_info on it")
        return found

    def _roomiest(self, tensor: int, pipeline: int, why: str) -> list[str]:
        """The boxes with the most room for a rank, the first of them the head; of equals those that come first in the inventory."""
        names = [str(number) for number in range(self.size)]
        room = {}
        for box in self.wishes:
            entry = self._planned(box, {"number": 0, "boxes": names, "tensor": tensor, "pipeline": pipeline, "why": why})
            room[box] = entry["kv_cache_bytes"] if entry["verdict"] == "fits" else -1
        return sorted(room, key=lambda box: -room[box])[: self.size]

    def _differences(self, members: Sequence[str]) -> list[str]:
        """What is not the same on all boxes and should be."""
        notes = []
        for what, of in (("processor", _processor), ("NVIDIA driver", _driver), ("image", _image)):
            seen = {box: of({**self.boxes[box], "own": self.wishes[box].get("engine")}) for box in members}
            if len({value for value in seen.values() if value}) > 1:
                said = ", ".join(f"{box} {value or 'unknown'}" for box, value in seen.items())
                notes.append(f"the boxes of server {self.name} do not have the same {what}: {said}; ranks must be equal")
        return notes

    def _copies(self, members: Sequence[str], plans: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Whether as many copies behind a router would serve as well, where the whole model fits each of the boxes."""
        try:
            copies = [self._entry(box, None) for box in members]
        except GB10Error:
            return []
        every = [*copies, *plans.values()]
        length = min(entry["max_model_len"] for entry in every)
        if not length or not all(entry["verdict"] == "fits" and entry["kv_cache_bytes"] for entry in every):
            return []
        held = [self._entry(box, None, fixed=(length, copy["kv_cache_bytes"]))["concurrency"] for box, copy in zip(members, copies, strict=True)]
        rank = {key: plans[members[0]]["rank"][key] for key in ("number", "boxes", "tensor", "pipeline")}
        group = self._entry(members[0], rank, fixed=(length, min(entry["kv_cache_bytes"] for entry in plans.values())))["concurrency"]
        each, together = " + ".join(f"{requests:.2f}" for requests in held), sum(held)
        more = "the copies hold more" if together >= group else f"the group holds more, since the weights lie there once ({_saved(copies, plans)} GiB less)"
        return [
            f"the model fits one box, and {self.size} copies behind a router hold {each} = {together:.2f} requests of {length:,} tokens, the group {group:.2f}:"
            f" {more}. Copies wait for no network at each token: with gpt-oss-120b on two boxes 568 against 472 tokens/s at 64 requests were reported, a group"
            " being faster for a single one (69 against 57.5). Take the group for longer contexts or a single fast answer, else copies"
        ]


def _how(tensor: int, pipeline: int, latent: bool, heads: int, key_values: int) -> str:
    """How the sizes that were chosen share a model out, and what that is good for."""
    stages = f"{pipeline} stages share out the layers"
    if latent and tensor == 1:
        return f"latent attention keeps one row per token, which tensor parallelism would copy to every box; {stages} and so the cache"
    if tensor == 1:
        return f"{stages}, each box reading its own whole"
    told = f"its {heads} heads{'' if latent else f' ({key_values} key-value)'} divide" if heads else "it has no heads to divide"
    copied = ", though its one row per token is copied to each of them" if latent else ""
    if 0 < key_values < tensor and not latent:
        copied = f", though {_copied(tensor, key_values)}"
    if pipeline == 1:
        return f"{told}, so every box reads its share of each layer{copied}"
    return f"{told} by {tensor}, so {tensor} boxes read their share of each layer{copied}, and {stages}"


def _reasons(refusals: Sequence[str]) -> list[str]:
    """Refusals of sizes that nobody stated: each kind once, without what its reader should do about it."""
    kinds: dict[str, str] = {}
    for one in refusals:
        kinds.setdefault(re.sub(r"\d+", "", one), re.sub(r"[:;] (?:choose|use) [^:;]*$", "", one.rstrip(".")))
    return list(kinds.values())


def _copied(tensor: int, key_values: int) -> str:
    """What speaks against more ranks than key-value heads."""
    return f"{tensor} boxes would hold copies of its {key_values} key-value head{'s' if key_values > 1 else ''}, so the cache would not shrink further"


def _saved(copies: Sequence[Mapping[str, Any]], plans: Mapping[str, Mapping[str, Any]]) -> str:
    whole, parts = (sum(one["weights_bytes"]["value"] for one in found) for found in (copies, plans.values()))
    return f"{(whole - parts) / GIB:.1f}"


def _processor(inputs: Inputs) -> str:
    return str((inputs.get("box") or {}).get("architecture") or "")


def _driver(inputs: Inputs) -> str:
    """The driver's branch, such as 580."""
    return str(((inputs.get("box") or {}).get("gpu") or {}).get("driver_version") or "").partition(".")[0]


def _image(inputs: Inputs) -> str:
    return str((inputs.get("own") or inputs.get("engine") or {}).get("image_id") or "")[:19]


def split_by_batches(boxes: Sequence[str], batches: Any, servers: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on the first server whose boxes a batch of the rollout would separate; "" where none is. ``batches`` as Ansible's ``serial``, or none."""
    sizes, left, place = list(batches) if isinstance(batches, (list, tuple)) else [batches], list(boxes), {}
    number = 0
    while left and sizes:
        size = sizes[min(number, len(sizes) - 1)]
        count = int(str(size).rstrip("%")) * len(boxes) // 100 if str(size).endswith("%") else int(size)
        for box in left[: max(1, count)]:
            place[box] = number
        left, number = left[max(1, count) :], number + 1
    for server in servers:
        named = server.get("boxes")
        members = [box for box in named if box in place] if isinstance(named, (list, tuple)) else []
        apart = next((box for box in members if place[box] != place[members[0]]), None)
        if apart:
            return (
                f"gb10_rollout would put {members[0]} and {apart}, boxes of server {server['name']}, into different batches; a group is changed as one: "
                "choose other sizes, or another order of the boxes."
            )
    return ""
