# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``gb10_servers: - recipe: FILE``: entries with what their recipes say, and what the user says beside it on top."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import canonical_name, normalise_args, plain_name
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import images, source
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import Imported, imported
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import visible

OURS = ("recipe", "recipe_without")
SHARED = ("boxes", "tensor_parallel", "pipeline_parallel")


def with_recipes(servers: Any, image: Mapping[str, Any] | None = None) -> Any:
    """``gb10_servers`` with each ``recipe`` read and taken over; entries without one as they are. GB10Error names the recipe, the field and the line.

    ``image``: gb10_image, whose ``ref`` says where the project's mods are looked for; a mod that its default lacks is left to ``mistakes`` without it.
    """
    if not isinstance(servers, (list, tuple)) or not any(isinstance(one, Mapping) and one.get("recipe") for one in servers):
        return servers
    return [with_recipe(one, image) if isinstance(one, Mapping) and one.get("recipe") else one for one in servers]


def with_recipe(server: Mapping[str, Any], image: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One entry with its recipe taken over. GB10Error for a field that nothing here can do, unless ``recipe_without`` names it."""
    found = taken(server, image)
    refused = [row for row in left_over(found, server) if image is not None or not images.is_missing(row)]
    if refused:
        raise GB10Error(_sentence(server, refused[0]))
    entry = {key: value for key, value in server.items() if key not in OURS and key not in ("args", "env")}
    made = dict(found.server)
    if "boxes" in entry and str(entry["boxes"]) in ("None", "", "1"):
        made = {key: value for key, value in made.items() if key not in SHARED}
        entry = {key: value for key, value in entry.items() if key not in SHARED}
    wants, own = image_of(found, server.get("recipe_without")), entry.get("image")
    made.update({key: value for key, value in entry.items() if value is not None})
    if wants and (own is None or isinstance(own, Mapping)):  # anything else is refused as it is
        made["image"] = own if own and (own.get("source") or own.get("flavour")) else {**wants, **(own or {})}
    args = _with_arguments(made.get("args", {}), server.get("args"), str(server.get("name")))
    env = {**made.get("env", {}), **(server.get("env") or {})}
    made.update({"args": args} if args else {})
    made.update({"env": {key: value for key, value in env.items() if value is not None}} if env else {})
    return made


def mistakes(servers: Any, image: Mapping[str, Any]) -> list[str]:
    """A sentence for each recipe that cannot be taken over. ``image``: gb10_image."""
    said = []
    for server in servers if isinstance(servers, (list, tuple)) else ():
        if not isinstance(server, Mapping) or not server.get("recipe"):
            continue
        try:
            found = taken(server, image)
            said += [_sentence(server, row) for row in left_over(found, server)]
        except GB10Error as error:
            said.append(str(error))
    return said


def taken(server: Mapping[str, Any], image: Mapping[str, Any] | None = None) -> Imported:
    """The recipe that an entry names, as it is now. ``image``: gb10_image; the entry's own counts more. GB10Error for one that cannot be read."""
    name = server.get("recipe")
    if not isinstance(name, str) or not name.strip():
        raise GB10Error(f"gb10_servers ({server.get('name')}): `recipe` must be the path of a file on the controller.")
    path = os.path.abspath(os.path.expanduser(name.strip()))
    if "#" in name or "://" in name:
        raise GB10Error(
            f"gb10_servers ({server.get('name')}): `recipe: {name[:80]}` is an address; fetch it once with `ansible-playbook gb10.vllm.recipe -e recipe=...` "
            "and name the file, so that what is served changes only when you change it."
        )
    if os.path.isdir(path):
        raise GB10Error(f"gb10_servers ({server.get('name')}): `recipe: {name[:80]}` is a directory; name one file in it.")
    try:
        seen = os.stat(path)
    except OSError as error:
        place = "write its whole path, which may begin with inventory_dir" if not os.path.isabs(name) else "correct the path"
        raise GB10Error(f"gb10_servers ({server.get('name')}): the recipe {path} cannot be read on the controller ({error.strerror}); {place}.") from None
    own = server.get("image")
    ref = (own.get("ref") if isinstance(own, Mapping) else "") or (image or {}).get("ref") or ""
    return _imported(path, seen.st_mtime_ns, seen.st_size, str(ref))


@lru_cache(maxsize=64)
def _imported(path: str, changed: int, size: int, ref: str) -> Imported:
    found = source.find(path).recipes[0]
    return imported(read(found.text, found.name), images.Beside(found.mods, found.beside, found.files, ref))


def left_over(found: Imported, server: Mapping[str, Any]) -> list[Any]:
    """The refused fields that the entry does not say it goes without."""
    without = server.get("recipe_without") or []
    names = [str(one) for one in (without if isinstance(without, Sequence) and not isinstance(without, str) else [without])]
    if not found.server:  # nothing would be left to serve
        return found.refused()
    return [row for row in found.refused() if not any(row.field == name or row.field.startswith((f"{name}.", f"{name} ")) for name in names)]


def _sentence(server: Mapping[str, Any], row: Any) -> str:
    where = f"gb10_servers ({server.get('name')}): recipe {server.get('recipe')}, line {row.line}, `{row.field}`"
    return visible(f"{where}: {row.why}. Name it in recipe_without to go on without it.")


def image_of(found: Imported, without: Any) -> dict[str, Any]:
    """The image that a recipe needs beside the one that everybody's project makes; {} where none is needed, or ``container`` is gone without."""
    names = without if isinstance(without, (list, tuple)) else [without]
    return dict(found.image) if found.special and "container" not in names else {}


def _with_arguments(held: Mapping[str, Any], given: Any, name: str) -> dict[str, Any]:
    """A recipe's arguments with the user's over them: nothing (null) takes one away, ``a.b`` changes a part of ``a``."""
    if not isinstance(given, Mapping):
        return dict(held)
    made = dict(held)
    for key, value in given.items():
        head = canonical_name(plain_name(key).partition(".")[0])
        if value is None:
            made.pop(head, None)
            continue
        for one, said in normalise_args({key: value}, name).items():
            part = "." in plain_name(key) and isinstance(made.get(one), Mapping) and isinstance(said, Mapping)
            made[one] = {**made[one], **said} if part else said
    return made
