# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image a recipe wants, in the words of ``gb10_image``: its container, build arguments and mods. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._image import mods as image_mods
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.rows import CHANGED, MAPPED, REFUSED, Row

# Names that spark-vllm-docker's own scripts give what they build or pull, and sparkrun's nightly builds of the same.
DEFAULT = re.compile(r"(?:vllm-node(?:-tf5)?|ghcr\.io/spark-arena/dgx-vllm-eugr-nightly(?:-tf5)?)(?::latest)?")
FLAVOURED = {
    "vllm-node-b12x": "b12x",
    "vllm-node-mxfp4": "mxfp4",
    "eugr/spark-vllm": "prebuilt",
    "eugr/spark-vllm-b12x": "b12x-prebuilt",
}
IMAGE = re.compile(r"[a-z0-9][\w.:/-]*(?:@sha256:[0-9a-f]{64})?", re.IGNORECASE)
PRESETS = {"--exp-b12x": "b12x", "--experimental-b12x": "b12x", "--exp-mxfp4": "mxfp4", "--experimental-mxfp4": "mxfp4"}
# What build_args may hold that is a setting of ours, with the number of words that follow.
OURS = {"--vllm-ref": "vllm_ref", "-j": "jobs", "--build-jobs": "jobs"}
REBUILDS = {
    "--rebuild-vllm": "compiled anew only where an input changed; `flavour: source` compiles",
    "--rebuild-flashinfer": "made anew only where an input changed; `rebuild: [flashinfer]` does it for one run",
    "--rebuild-deps": "made anew only where an input changed",
    "--force-download": "downloaded anew only where an input changed",
    "--force-vllm-download": "downloaded anew only where an input changed",
    "--force-flashinfer-download": "downloaded anew only where an input changed",
    "--tf5": "versions of Transformers are the image's own; 5 is the default since 2026-06-30",
    "--pre-tf": "versions of Transformers are the image's own; 5 is the default since 2026-06-30",
    "--use-wheels": "wheels are the default",
}
HANDED_ON = {"--flashinfer-ref": 1, "--torch-version": 1, "--torchvision-version": 1, "--torchaudio-version": 1, "--gpu-arch": 1, "--apply-flashinfer-pr": 1}
OF_PROJECT = "@eugr/"
"""What sparkrun calls the registry that is the project's own repository."""
REF = re.compile(r"[A-Za-z0-9][\w./+-]{0,100}")


class Wanted(NamedTuple):
    """Settings of ``gb10_image``, whether another image would not do, and what became of each field."""

    settings: dict[str, Any]
    special: bool
    rows: list[Row]


class Beside(NamedTuple):
    """The mods that lie beside a recipe, by name: what is ``against`` each ("" where nothing is), its whole path, its files; and the ref of gb10_image."""

    against: Mapping[str, str] = {}
    places: Mapping[str, str] = {}
    files: Mapping[str, Mapping[str, tuple[bytes, bool]]] = {}
    ref: str = ""


def image_of(document: Document, mods: Beside) -> Wanted:
    """The image that a recipe wants."""
    rows: list[Row] = []
    settings, special = _container(document, rows)
    built = _build_args(document, rows)
    if built.keys() - {"jobs"}:  # what is built is not pulled
        settings = {}
    settings.update(built)
    pulled = settings.get("source") == "prebuilt" or "prebuilt" in str(settings.get("flavour"))
    settings.update(_mods(document, mods, rows, pulled))
    return Wanted(settings, special or bool(settings.keys() - {"jobs"}), rows)


def _container(document: Document, rows: list[Row]) -> tuple[dict[str, Any], bool]:
    value = document.fields.get("container")
    if value in (None, ""):
        return {}, False
    name = str(value).strip()
    if not isinstance(value, str) or not IMAGE.fullmatch(name):
        rows.append(_row(document, "container", REFUSED, f"{name[:60]!r} is no name of an image"))
        return {}, False
    plain = name.removesuffix(":latest")
    if DEFAULT.fullmatch(name):
        why = f"{name} is what the project's script makes: the image of the fleet is used"
        rows.append(_row(document, "container", CHANGED, why, "gb10_image"))
        return {}, False
    if plain in FLAVOURED:
        rows.append(_row(document, "container", MAPPED, "", f"gb10_image.flavour: {FLAVOURED[plain]}"))
        return {"flavour": FLAVOURED[plain]}, True
    image, _at, digest = name.partition("@")
    if digest:
        rows.append(_row(document, "container", MAPPED, "", "gb10_image.source: prebuilt, with its digest"))
        return {"source": "prebuilt", "image": image, "digest": digest}, True
    why = "it is named without a digest: pulled once and kept, and the run says which digest to pin (gb10_image.digest)"
    rows.append(_row(document, "container", CHANGED, why, f"gb10_image.source: prebuilt, image: {name}"))
    return {"source": "prebuilt", "image": image}, True


def _build_args(document: Document, rows: list[Row]) -> dict[str, Any]:
    """What ``build_args`` asks of build-and-copy.sh."""
    given, name = listed(document, "build_args")
    words = [word for one in given for word in str(one).split()]
    made: dict[str, Any] = {}
    at = 0
    while at < len(words):
        word, _equals, _value = words[at].partition("=")
        follows = words[at + 1] if at + 1 < len(words) else ""
        if word in PRESETS:
            made["flavour"] = PRESETS[word]
            rows.append(Row(name, document.line(name), MAPPED, f"gb10_image.flavour: {PRESETS[word]}", word))
        elif word == "--vllm-ref" and "pull/" in follows:
            why = f"--vllm-ref {follows}: a pull request is whatever its author pushed last; name the commit that you looked at (gb10_image.vllm_ref)"
            rows.append(Row(name, document.line(name), REFUSED, "", why))
            at += 1
        elif word in OURS and REF.fullmatch(follows):
            made[OURS[word]] = int(follows) if OURS[word] == "jobs" and follows.isdecimal() else follows
            rows.append(Row(name, document.line(name), MAPPED, f"gb10_image.{OURS[word]}: {follows}", word))
            at += 1
        elif word in REBUILDS:
            rows.append(Row(name, document.line(name), CHANGED, "", f"{word}: {REBUILDS[word]}"))
        elif word in HANDED_ON and REF.fullmatch(follows):
            made.setdefault("arguments", []).extend([word, follows])
            rows.append(Row(name, document.line(name), MAPPED, "gb10_image.arguments", word))
            at += 1
        elif word == "--apply-vllm-pr":
            why = (
                f"--apply-vllm-pr {follows}: a pull request is whatever its author pushed last, and the recipe gives no checksum of it; look at its changes "
                f"and say gb10_image.vllm_prs: {{{follows or 'NUMBER'}: sha256 of the diff}} yourself (docs/image.md)"
            )
            rows.append(Row(name, document.line(name), REFUSED, "", why))
            at += 1
        else:
            rows.append(Row(name, document.line(name), REFUSED, "", f"{words[at][:60]}: no argument of build-and-copy.sh that is taken over"))
        at += 1
    return made


def listed(document: Document, name: str) -> tuple[list[Any], str]:
    """(items, field) of a list that stands at the top or in ``runtime_config``, where format 2 sweeps what it does not know; one word is a list of it."""
    inner = document.fields.get("runtime_config")
    label = name if name in document.fields or not isinstance(inner, Mapping) or name not in inner else f"runtime_config.{name}"
    value = document.fields.get(name) if label == name else inner[name]  # type: ignore[index]
    if value in (None, "", []):
        return [], label
    if isinstance(value, str):
        return [value], label
    if not isinstance(value, Sequence) or not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in value):
        raise document.error(label, "it must be a list of words")
    return list(value), label


def _mods(document: Document, mods: Beside, rows: list[Row], pulled: bool) -> dict[str, Any]:
    """Each mod, from beside the recipe where it lies there and else from the image's repository; never one in the place of another."""
    given, label = listed(document, "mods")
    taken: list[str] = []
    for number, one in enumerate(given):
        name, line = image_mods.called(str(one)), document.line(f"{label}.{number}")
        own = name in mods.against
        name = name if own or not name.startswith(OF_PROJECT) else f"mods/{name.removeprefix(OF_PROJECT)}"
        why = mods.against.get(name, "") if own else _not_there(name, mods.ref)
        why = why or ("it is one of the project, which is a layer of an image that is built here, and the recipe's is pulled" if pulled and not own else "")
        if why:
            by_hand = "put its change into an image of your own (gb10_image.source: existing), or go without it (recipe_without)"
            rows.append(Row(f"{label}.{number}", line, REFUSED, "", f"{name[:60]}: {why}; {by_hand}"))
            continue
        place = mods.places.get(name) or name
        taken.append(place)
        how = "run once, as a layer of the image, and not at each start"
        if own:
            files = mods.files.get(name) or {}
            how += f"; from the recipe's own directory (digest {image_mods.digest(files)[:12]})" if files else "; from the recipe's own directory"
            fetches = image_mods.fetches((files.get(image_mods.SCRIPT) or (b"", False))[0].decode(errors="replace"))
        else:
            fetches = name in image_mods.FETCHING
            how += "" if not mods.ref or mods.ref == image_mods.PIN else f"; looked for in the image's repository at {mods.ref[:40]} when it is built"
        how += "; it fetches from the network then, so it cannot be built without" if fetches else ""
        rows.append(Row(f"{label}.{number}", line, CHANGED, "gb10_image.mods" + (f": {place}" if place != name else ""), f"{name}: {how}"))
    return {"mods": taken} if taken else {}


def is_missing(row: Row) -> bool:
    """Whether a row refuses a mod that is nowhere to be found."""
    return row.state == REFUSED and ": missing: " in row.why


def _not_there(name: str, ref: str) -> str:
    """Why the image's repository has no such mod, or none that can be a layer; "" where it may have one."""
    if name in image_mods.AT_PIN:
        return image_mods.AT_PIN[name]
    if ref and ref != image_mods.PIN and image_mods.NAME.fullmatch(name):
        return ""  # the box that builds looks at that commit, and says which mods it has
    where = f"the image's repository has no such mod at {image_mods.PIN[:7]}, which is built where gb10_image.ref says nothing"
    if name.startswith("@"):
        return "missing: it is a mod of another registry of sparkrun; put its directory beside the recipe, as mods/NAME, and name it so"
    return f"missing: it lies not beside the recipe, and {where}"


def _row(document: Document, name: str, state: str, why: str, ours: str = "") -> Row:
    return Row(name, document.line(name), state, ours, why)
