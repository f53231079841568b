# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes when this collection leaves a host, and what stays and why. Pure: facts of ``_removal.found`` in, items in the order of their removal out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import full_name, previous_mark
from ansible_collections.gb10.vllm.plugins.module_utils._image.inputs import INPUTS
from ansible_collections.gb10.vllm.plugins.module_utils._names import SERVER_LABEL

BENCHMARK_LABEL = "gb10.vllm.benchmark"
PASSING = ("gb10-rehearsal-", "gb10-benchmark-", "gb10-fabric-all-gather")
"""How the names of containers begin that live as long as one task."""


class Item(NamedTuple):
    """One thing that goes. ``kind``: unit, container, rules (a chain of the firewall), image (a name or an id), model, file or setting."""

    kind: str
    name: str
    part: str = "server"
    why: str = ""


class Removal(NamedTuple):
    """``goes`` in its order, ``stays`` as sentences."""

    goes: list[Item]
    stays: list[str]


def removal(found: Mapping[str, Any], models: bool) -> Removal:
    """What goes and what stays. ``models``: those that this collection brought go too."""
    units, stays = _units(found["units"]), []
    containers = [Item("container", _name(one)) for one in found["containers"] if is_ours(one)]
    rules = [Item("rules", chain) for chain in found["chains"]]
    images, kept = _images(found)
    stays += kept
    brought, kept = _models(found, models)
    stays += kept
    settings = [Item("setting", name, "host") for name in found["settings"]]
    files = [Item("file", path, part) for part, paths in found["files"].items() for path in paths]
    router = [Item("unit", f"{name}.service", "router") for name in found["router"]]
    goes = [*router, *units, *containers, *rules, *images, *brought, *settings, *files]
    return Removal(goes, [*stays, *_foreign(found), *_packages(found)])


def is_ours(container: Mapping[str, Any]) -> bool:
    """Whether this collection made a container (as ``docker inspect`` shows it): by its label, or of one task by the beginning of its name."""
    labels = (container.get("Config") or {}).get("Labels") or {}
    return SERVER_LABEL in labels or BENCHMARK_LABEL in labels or _name(container).startswith(PASSING)


def _name(container: Mapping[str, Any]) -> str:
    return str(container.get("Name", "")).lstrip("/")


def _units(units: Sequence[str]) -> list[Item]:
    """Watches before what they watch, or they would start it again."""
    order = (".timer", ".socket", ".service")
    return [Item("unit", name) for name in sorted(units, key=lambda one: (order.index("." + one.rpartition(".")[2]), one))]


def _images(found: Mapping[str, Any]) -> tuple[list[Item], list[str]]:
    """Those that were built here or that we brought, by our names for them; none that another container uses or that has a name of somebody's."""
    others = {one.get("Image") for one in found["containers"] if not is_ours(one)}
    known, goes, stays = found["image_names"], [], []
    for image in found["images"]:
        tags = [one for one in image.get("RepoTags") or [] if one != "<none>:<none>"]
        built = INPUTS in ((image.get("Config") or {}).get("Labels") or {})
        sent = found["image_received"].get(image["Id"])
        brought = {full_name(sent)} if sent else set()
        brought |= {full_name(name) for name, entry in known.items() if entry.get("image_id") == image["Id"] and not entry.get("found")}
        if not built and not brought:
            continue
        mine = [tag for tag in tags if built or tag in brought or any(tag.startswith(previous_mark(name)) for name in known)]
        users = sorted(_name(one) for one in found["containers"] if one.get("Image") == image["Id"] and not is_ours(one))
        if image["Id"] in others:
            stays.append(f"image {(tags or [image['Id']])[0]}: the container {', '.join(users)} uses it")
            continue
        goes += [Item("image", name) for name in mine or ([image["Id"]] if not tags else [])]
        stays += [f"image {tag}: it was given this name by somebody else" for tag in tags if tag not in mine]
    return goes, stays


def _models(found: Mapping[str, Any], models: bool) -> tuple[list[Item], list[str]]:
    brought = [one for one in found["models"] if not one["used_by"]]
    used = [f"model {one['path']}: the container {one['used_by']} uses it" for one in found["models"] if one["used_by"]]
    if models:
        return [Item("model", one["path"], "model") for one in brought], used
    count = sum(not one["link"] for one in found["models"])
    said = f"{count} model director{'y' if count == 1 else 'ies'} below {found['models_dir']} (-e gb10_remove_models=true takes those too)"
    return [], [said] if count else []


def _foreign(found: Mapping[str, Any]) -> list[str]:
    return [f"{path}: this collection did not write it" for path in found["foreign"]]


def _packages(found: Mapping[str, Any]) -> list[str]:
    """Packages may have had other users since; what is known of them is said."""
    named = ", ".join(found["packages"])
    return [f"packages that this collection may have installed: {named} (apt-get purge takes them)"] if named else []


def parts(goes: Sequence[Item]) -> list[str]:
    """The parts of the collection that something is removed of."""
    return sorted({one.part for one in goes})


def text(found: Removal, done: bool) -> str:
    """What goes, or went, and what stays, for people: one line each."""
    units = {item.name.rpartition("/")[2] for item in found.goes if item.kind == "file" and ".wants/" not in item.name}
    # A link of what is enabled goes with its unit; one whose unit is gone already is shown.
    shown = [item for item in found.goes if ".wants/" not in item.name or re.sub("@[^.]*", "@", item.name.rpartition("/")[2]) not in units]
    head = ("removed:" if done else "to be removed:") if shown else "there is nothing of gb10.vllm here"
    return "\n".join([head, *(f"  {item.kind:<10} {item.name}" for item in shown), *(f"  stays      {one}" for one in found.stays)])
