# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only we know of the images on a box, in ``build/images.json``: where a pulled or loaded one came from, what is in it, whether it is damaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json, write_json


class Record:
    """``{names: {NAME: {image_id, inputs, base_images}}, metadata: {ID: versions}, damaged: {ID: reason}}``."""

    def __init__(self, build_dir: Path) -> None:
        self.path = build_dir / "images.json"

    def read(self) -> dict[str, Any]:
        """The whole record, empty when there is none; a table of another shape is as good as none."""
        state = read_json(self.path)
        if not isinstance(state, dict):
            return {}
        tables = {key: value for key, value in state.items() if key not in ("names", "metadata", "damaged", "received") or isinstance(value, dict)}
        if "names" in tables:
            tables["names"] = {name: entry for name, entry in tables["names"].items() if isinstance(entry, dict)}
        return tables

    def inputs(self, name: str, image_id: str) -> dict[str, Any] | None:
        """What the image was made from that had ``name`` when we last gave it; None when another one has it now."""
        entry = self.read().get("names", {}).get(name, {})
        return entry.get("inputs") if entry.get("image_id") == image_id else None

    def brought(self) -> dict[str, set[str]]:
        """Ids by name of the images that are on this box because of us: made, pulled, loaded or sent by another box, and not found here."""
        state = self.read()
        found: dict[str, set[str]] = {}
        for image, name in state.get("received", {}).items():
            found.setdefault(str(name), set()).add(str(image))
        for name, one in state.get("names", {}).items():
            if not one.get("found"):
                found.setdefault(str(name), set()).add(str(one.get("image_id") or ""))
        return found

    def versions(self, image_id: str) -> dict[str, Any] | None:
        """What was found in an image."""
        return self.read().get("metadata", {}).get(image_id)

    def keep_versions(self, image_id: str, versions: Mapping[str, Any]) -> None:
        """Note what was found in an image."""
        self._change("metadata", image_id, versions)

    def made(self, name: str, image_id: str, inputs: Mapping[str, Any], base_images: Mapping[str, str], present: Iterable[str], *, found: bool = False) -> None:
        """Note what ``name`` was made from; what is known of images that are gone (not ``present``) is forgotten. ``found``: it was there before us."""
        state, there = self.read(), set(present)
        state["metadata"] = {key: value for key, value in state.get("metadata", {}).items() if key in there}
        damaged = {key: value for key, value in state.pop("damaged", {}).items() if key in there}
        entry: dict[str, Any] = {"image_id": image_id, "inputs": inputs}
        if base_images:
            entry["base_images"] = base_images
        before = state.setdefault("names", {}).get(name) or {}
        # Said once: what we brought and bring again was not found.
        if before.get("found") if before.get("image_id") == image_id else found:
            entry["found"] = True
        state["names"][name] = entry
        self._write(state | ({"damaged": damaged} if damaged else {}))

    def keep_damage(self, image_id: str, reason: str) -> None:
        """Note that Docker cannot read this image any more, so that another box sends it in future."""
        self._change("damaged", image_id, reason)

    def keep_received(self, image_id: str, name: str) -> None:
        """Note that another box sent this image, and under which name."""
        self._change("received", image_id, name)

    def forget_damage(self, image_id: str) -> None:
        """The image was read or written whole."""
        state = self.read()
        damaged = state.pop("damaged", {})
        if damaged.pop(image_id, None) is not None:
            self._write(state | ({"damaged": damaged} if damaged else {}))

    def _change(self, table: str, image_id: str, value: Any) -> None:
        state = self.read()
        state.setdefault(table, {})[image_id] = value
        self._write(state)

    def _write(self, state: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self.path, state, mode=0o600, indent=1, sort_keys=True)
