# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image that runs, in the words of a recipe: container, mods and build arguments, and what no recipe can say of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_inputs
from ansible_collections.gb10.vllm.plugins.module_utils._image.mods import PIN
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.flavours import image_settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.images import HANDED_ON, IMAGE, PRESETS

OURS = "vllm-node"
"""What the project's script calls the image that it builds."""
WHEELS = ("", "auto", "prebuilt")


def settings_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """``gb10_image`` as it was when this image was made. ``facts``: ``docker.images`` of box_info, one of them. {} where nobody knows what it was made from."""
    inputs = image_inputs.recorded(facts.get("labels")) or facts.get("inputs") or {}
    if not isinstance(inputs, Mapping) or not inputs.get("source"):
        return {}
    plain = ("source", "wheels", "vllm_ref", "jobs", "transformers", "arguments", "build_args", "image", "digest")
    made = {key: inputs[key] for key in plain if inputs.get(key) not in (None, "", [], {})}
    made |= {"ref": inputs["commit"]} if inputs.get("commit") else {}
    made |= {"mods": [str(one).partition(" ")[0] for one in inputs["mods"]]} if inputs.get("mods") else {}
    made |= {"vllm_prs": dict(str(one).split(" ", 1) for one in inputs["vllm_prs"])} if inputs.get("vllm_prs") else {}
    return made


def said(image: Mapping[str, Any], left: list[str], name: str = "") -> dict[str, Any]:
    """{container, mods, build_args} of an image by its settings; what a recipe has no place for is added to ``left``. ``name``: what it is called here."""
    image = image_settings(image)
    source = str(image.get("source") or "build")
    if source == "prebuilt":
        return _pulled(image, left)
    if source != "build":
        shown = str(image.get("name") or name or image.get("archive") or "it")
        how = "was there before" if source == "existing" else "came from an archive"
        left.append(f"image: {shown} {how} and is known to this box alone; name one that others can pull or build as `container`")
        return {"container": OURS}
    found: dict[str, Any] = {"container": OURS}
    arguments, preset = _build_args(image, left)
    if str(image.get("wheels") or "") not in WHEELS and not (preset and image["wheels"] == "none"):
        how = {"none": "compiled on the box"}.get(str(image["wheels"]), f"vLLM's own {image['wheels']} wheel")
        left.append(f"image: wheels: {image['wheels']} ({how})")
    for key, usual in (("ref", PIN), ("transformers", "default"), ("build_args", {}), ("repository", "")):
        if image.get(key) not in (None, "", usual):
            shown = ", ".join(f"{one}={value}" for one, value in image[key].items()) if isinstance(image[key], Mapping) else str(image[key])
            left.append(f"image: {key}: {shown}, which a recipe has no field for")
    left += [f"image: vLLM's pull request {one} with the SHA-256 {digest}: --apply-vllm-pr has no place for it" for one, digest in _requests(image).items()]
    return {**found, **_mods(image, left), **({"build_args": arguments} if arguments else {})}


def _pulled(image: Mapping[str, Any], left: list[str]) -> dict[str, Any]:
    name, digest = str(image.get("image") or "eugr/spark-vllm:latest"), str(image.get("digest") or "")
    bare = name.partition("@")[0]
    if not digest and "@" not in name:
        left.append(f"image: the digest of {name}, which nobody pinned: what others pull may be newer")
    if not IMAGE.fullmatch(bare):
        left.append(f"image: {name[:60]!r} is no name that a recipe may have")
        return {"container": OURS}
    return {"container": f"{bare}@{digest}" if digest else name, **_mods(image, left)}


def _mods(image: Mapping[str, Any], left: list[str]) -> dict[str, Any]:
    names = []
    for one in image.get("mods") or []:
        name = str(one)
        if name.startswith(("/", "~")):
            left.append(f"image: the directory {name}, which has to lie beside the recipe as mods/{name.rstrip('/').rpartition('/')[2]}")
            name = f"mods/{name.rstrip('/').rpartition('/')[2]}"
        names.append(name if name.startswith("mods/") else f"mods/{name}")
    return {"mods": names} if names else {}


def _requests(image: Mapping[str, Any]) -> Mapping[str, Any]:
    given = image.get("vllm_prs") or {}
    return given if isinstance(given, Mapping) else {str(given): ""}


def _build_args(image: Mapping[str, Any], left: list[str]) -> tuple[list[str], bool]:
    """(words of ``build_args``, whether one of them says what is compiled)."""
    given = [str(one) for one in image.get("arguments") or []]
    found: list[str] = []
    at = 0
    while at < len(given):
        count = 1 + HANDED_ON.get(given[at], 0)
        if given[at] in PRESETS or given[at] in HANDED_ON:
            found += given[at : at + count]
        else:
            left.append(f"image: the argument {given[at][:60]} of build-and-copy.sh, which nobody takes out of a recipe")
        at += count
    found += ["--vllm-ref", str(image["vllm_ref"])] if image.get("vllm_ref") else []
    found += ["-j", str(image["jobs"])] if image.get("jobs") else []
    return found, any(one in PRESETS for one in found)
