# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image each server of a box runs with, which images a box wants for them, and what is wrong with them. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import full_name, slug
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import short
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.flavours import image_settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import image_mistakes

NAME = "vllm-node"
"""What a box's image is called where nothing else is said."""
KEPT = ("repository", "ref", "jobs", "timeout_s", "keep_previous")
"""What is said of the box's image that holds for one of another source or flavour too: where builds come from, and how they go on."""
PINS = {"image": "digest", "archive": "checksum"}
"""What is pinned by what: the pin of one is none of another."""
DEFAULTS = {"source": "build", "wheels": "auto", "transformers": "default", "archive_on": "box"}
APART = ("name", "vllm_version", "timeout_s", "keep_previous", "jobs", "rebuild", "repository", "archive_on", "checkout")
"""Settings in which two images may differ that have the same in them."""
OF_A_BUILD = ("ref", "wheels", "vllm_ref", "transformers", "rebuild", "arguments", "build_args", "jobs")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def of_box(image: Mapping[str, Any] | None) -> dict[str, Any]:
    """The image of the servers that name none: ``gb10_image`` with what its flavour stands for, and its name."""
    settings = image_settings(image or {})
    return {**settings, "name": str(settings.get("name") or NAME)}


def laid_over(own: Mapping[str, Any], image: Mapping[str, Any] | None) -> dict[str, Any]:
    """A server's ``image`` over ``gb10_image``, key by key; in place of it where it says another ``source`` or ``flavour``. A name is never taken over."""
    held, said = image_settings(image or {}), image_settings(own)
    source, flavour = own.get("source"), own.get("flavour")
    other = bool(source and source != held.get("source", DEFAULTS["source"]) or flavour and flavour != (image or {}).get("flavour"))
    kept = {key: value for key, value in held.items() if key not in ("name", "vllm_version")}
    if other:  # as it is said: what another flavour stands for is none of this one's
        kept = {key: value for key, value in (image or {}).items() if key in KEPT and value is not None}
    for thing, pin in PINS.items():
        if said.get(thing, kept.get(thing)) != kept.get(thing):
            kept.pop(pin, None)
    return {**kept, **said}


def has_all_of(image: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether the box's image has all that a server's ``image`` says, so that it is that one; of a list every word."""
    if own.get("name") and full_name(str(own["name"])) != full_name(str(image.get("name") or NAME)):
        return False
    for key, value in image_settings(own).items():
        held = image.get(key, DEFAULTS.get(key))
        if isinstance(value, (list, tuple)) and value:
            if any(one not in (held or ()) for one in value):
                return False
        elif key != "name" and value != held and (value or held):
            return False
    return True


def of_servers(servers: Sequence[Mapping[str, Any]], image: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The settings of each server's image, by the server's name, each with its ``name``.

    One without a name of its own is called after the box's image and the first of the servers that want the same.
    """
    box = of_box(image)
    found: dict[str, dict[str, Any]] = {}
    called: dict[str, str] = {}
    for server in servers:
        own, name = server.get("image"), str(server.get("name"))
        if not isinstance(own, Mapping) or not own or has_all_of(box, own):
            found[name] = box
            continue
        settings = laid_over(own, image)
        if not settings.get("name"):
            settings["name"] = called.setdefault(content(settings), f"{_repository(box['name'])}-{name}")
        found[name] = {**settings, "name": str(settings["name"])}
    return found


def of_a_box(servers: Sequence[Mapping[str, Any]], image: Mapping[str, Any] | None) -> dict[str, Any]:
    """``{wanted: [settings], servers: {server: name of its image}, own, builds}``: the images a box needs for its servers, each once, ``gb10_image`` first.

    ``gb10_image`` is among them where a server names no image, or there is no server. ``checkout``: the directory below ``build`` in which the recipe of
    each is looked up; two that ask for branches or repositories of their own would take one from each other again and again. ``own``: the servers that have
    another than ``gb10_image``; ``builds``: whether one is built.
    """
    by_server = of_servers(servers, image)
    box = of_box(image)
    listed = sorted(by_server.values(), key=lambda one: one != box) or [box]
    once = list({full_name(one["name"]): one for one in reversed(listed)}.values())[::-1]
    first: Mapping[str, Any] = next((one for one in once if _builds(one)), {})
    wanted = [{**one, "checkout": "checkout" if _same_place(one, first) else f"checkout-{slug(one['name'])}"} for one in once]
    names = {name: one["name"] for name, one in by_server.items()}
    own = [name for name, one in by_server.items() if one != box]
    return {"wanted": wanted, "servers": names, "own": own, "builds": any(_builds(one) for one in wanted)}


def content(settings: Mapping[str, Any]) -> str:
    """Digest of what makes two images one before they are there: their settings, and of one that is only looked for its name."""
    said = {key: value for key, value in settings.items() if key not in APART and value not in (None, "", [], {}) and value != DEFAULTS.get(key)}
    if not _builds(settings):
        said = {key: value for key, value in said.items() if key not in OF_A_BUILD}
    if settings.get("source") == "existing":
        said["name"] = full_name(str(settings.get("name") or NAME))
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def mistakes(servers: Any, image: Mapping[str, Any] | None, recipes: Collection[str] = ()) -> list[str]:
    """One sentence for each ``image`` of a server that is none or cannot be had, and for two of one name that differ.

    ``recipes``: the servers whose recipe may be what wants it.
    """
    said: list[str] = []
    entries = [one for one in servers if isinstance(one, Mapping)] if isinstance(servers, (list, tuple)) else []
    for server in entries:
        if server.get("image") is not None:
            hint = " Or put `container` into recipe_without to serve it with the image of the box." if server.get("name") in recipes else ""
            said += [f"{text}{hint}" for text in _one(server, image)]
    return said or _alike(entries, image)


def not_a_mapping(server: Mapping[str, Any]) -> str:
    """A sentence for an ``image`` that is no mapping; "" for any other."""
    own = server.get("image")
    if own is None or isinstance(own, Mapping):
        return ""
    example = "{source: existing, name: my-vllm:1}"
    return f"gb10_servers ({server.get('name')}): `image` is {short(own)}: write a mapping with keys of gb10_image, as in {example} (docs/image.md)."


def _one(server: Mapping[str, Any], image: Mapping[str, Any] | None) -> list[str]:
    own, where = server["image"], f"gb10_servers ({server.get('name')}): `image`"
    if not_a_mapping(server):
        return [not_a_mapping(server)]
    try:
        settings, same = laid_over(own, image), has_all_of(of_box(image), own)
    except GB10Error as error:
        return [str(error).replace("gb10_image.", f"gb10_servers ({server.get('name')}): image.")]
    source = settings.get("source") or "build"
    built = [key for key in OF_A_BUILD if own.get(key)] if source != "build" else []
    if built and not same:
        return [f"{where} says {', '.join(built)}, which an image has that is built here, and its source is {source}; leave one of the two out."]
    if source == "existing" and not own.get("name") and not same and not (own.get("mods") or own.get("vllm_prs")):
        return [f"{where} has the source existing and no name: say which image of the box it is, as `name`."]
    pulled = [key for key in ("image", "digest") if own.get(key)] if source != "prebuilt" else []
    if pulled:
        return [f"{where} says {', '.join(pulled)}, which is of an image that is pulled, and its source is {source}; say `source: prebuilt`, or leave it out."]
    return [text.replace("gb10_image.", f"gb10_servers ({server.get('name')}): image.") for text in image_mistakes(settings)]


def _alike(servers: Sequence[Mapping[str, Any]], image: Mapping[str, Any] | None) -> list[str]:
    """A sentence for the first two servers that may share a box whose images have one name and are two."""
    try:
        found = of_servers(servers, image)
    except GB10Error:  # in gb10_image, of which others say so
        return []
    listed = [(str(server.get("name")), found[str(server.get("name"))]) for server in servers]
    for at, (name, one) in enumerate(listed):
        for other, before in listed[:at]:
            if full_name(before["name"]) == full_name(one["name"]) and content(before) != content(one):
                differing = sorted(key for key in {*before, *one} - set(APART) if before.get(key) != one.get(key))
                return [
                    f"gb10_servers: the images of {other} and {name} are both called {one['name']} and differ in {', '.join(differing)}; "
                    "give one of them another `name`, or both the same settings."
                ]
    return []


def _builds(settings: Mapping[str, Any]) -> bool:
    return (settings.get("source") or "build") == "build"


def _same_place(one: Mapping[str, Any], first: Mapping[str, Any]) -> bool:
    """Whether the checkout of the first image that is built serves another one: the same repository, and nothing has to be checked out for it."""
    if not _builds(one) or one.get("repository") != first.get("repository"):
        return not _builds(one)
    return one.get("ref") == first.get("ref") or all(_COMMIT.fullmatch(str(ref)) or ref is None for ref in (one.get("ref"), first.get("ref")))


def _repository(name: str) -> str:
    """A name without tag and digest."""
    plain = name.partition("@")[0]
    head, _slash, last = plain.rpartition("/")
    last = last.partition(":")[0]
    return f"{head}/{last}" if head else last


def engine_of(settings: Mapping[str, Any], held: Mapping[str, Any] | None) -> dict[str, str]:
    """The engine in an image: as the user says it is, else as the image on the box calls itself (``held``), else by the newest rules.

    The plan labels the last as an assumption.
    """
    there = held or {}
    return {
        "vllm_version": str(settings.get("vllm_version") or ""),
        "image_version": str(there.get("vllm_version") or ""),
        "cuda_runtime": str(there.get("cuda_version") or ""),
        "image_id": str(there.get("id") or ""),
    }


def with_engines(servers: Sequence[Mapping[str, Any]], images: Mapping[str, Any], held: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Servers as the plan reads them: those of another image than the first of ``wanted`` with its ``engine``.

    ``images``: as ``of_a_box`` returns them; ``held``: by name what is known of the images on the box.
    """
    first, *others = images["wanted"]
    engines = {one["name"]: engine_of(one, held.get(one["name"])) for one in others}
    named = {str(server["name"]): str(images["servers"].get(server["name"], first["name"])) for server in servers}
    return [{**server, **({"engine": engines[name]} if (name := named[str(server["name"])]) in engines else {})} for server in servers]


def other_engine(plan: Mapping[str, Any], names: Mapping[str, str], held: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the image of a server turned out to hold another vLLM than its plan was made for.

    ``names``: by server the name of its image; ``held``: by name what the images are that were brought.
    """
    for server in plan.get("servers") or []:
        engine = server.get("engine") or plan.get("engine") or {}
        built = (held.get(names.get(server["name"], "")) or {}).get("vllm_version") or ""
        if built not in ("", engine.get("vllm_version"), engine.get("image_version")):
            return True
    return False


def others_now(now: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a name means another image than before."""
    return any((one.get("id") or "") != ((before.get(name) or {}).get("id") or "") for name, one in now.items())
