# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images from box to box: layer by layer, only what the other box lacks, loaded into its Docker when all is there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import identity
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._image.saved import absent_layers
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import has_size, read_json, safe_name, write_json
from ansible_collections.gb10.vllm.plugins.module_utils._model.store import check_space
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.client import Receiver
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import DONE, FAILED
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.wire import Gone
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.work import End, Item, Share, Work

_SUM = re.compile(r"[0-9a-f]{64}")


class Images:
    """This box's part in sharing images.

    In ``STATE/transfer`` the blobs on their way lie in ``blobs``, the descriptions of what ``docker save`` gave in ``archives``.
    """

    def __init__(self, state_dir: str, docker: str = "docker") -> None:
        self.blobs = os.path.join(state_dir, "transfer", "blobs")
        self.archives = os.path.join(state_dir, "transfer", "archives")
        self.store = ImageStore(docker)
        self.record = Record(Path(state_dir) / "build")

    def state(self, name: str) -> dict[str, Any]:
        """``{identity, layers, store, image_id, layers_held}`` of the image that has this name here."""
        found = self.store.inspect(name)
        layers = (found.get("RootFS") or {}).get("Layers") or [] if found else []
        kind = self.store.kind()
        return {
            "identity": identity(found) if found else None, "layers": layers, "store": kind, "image_id": found["Id"] if found else None,
            "layers_held": self.store.layers_held() if kind == "classic" else [],
        }  # fmt: skip

    @staticmethod
    def judge(share: Share) -> Callable[[dict[str, Any]], None]:
        """What a box says of this share has to be the image the controller asked for, in blobs that are called by their SHA-256."""

        def compare(index: dict[str, Any]) -> None:
            _same_image(index.get("meta"), share)
            for item in index["items"]:
                if not _SUM.fullmatch(item["name"]) or item.get("sha256") != item["name"]:
                    raise Gone("it offers blobs that are not called by their SHA-256")

        return compare

    def offer(self, share: Share, work: Work) -> End | None:
        """Take the image out of Docker, unless that was done before, and describe its blobs; nothing is left to do then.

        One that Docker cannot read fails nobody here: those who want it ask the next box. What is left is to tell why.
        """
        try:
            archive = self._saved(share, work)
        except GB10Error as error:
            damaged = error.details.get("damaged")
            if not damaged:
                raise
            shutil.rmtree(self.blobs, ignore_errors=True)  # half an image, which nobody goes on with
            self.record.keep_damage(str(error.details["image_id"]), str(damaged))
            work.shares.say(FAILED, share["key"], reason=str(error))
            return lambda: {"damaged": damaged}
        items = [
            {"name": blob, "size": size, "sha256": blob, **({} if self._has(blob, size) else {"absent": True})}
            for blob, size in sorted(archive["sizes"].items(), key=lambda pair: (-pair[1], pair[0]))
        ]
        work.shares.offer(share["key"], items, [self.blobs], {key: archive[key] for key in ("identity", "config", "layers", "others", "index", "sizes")})
        work.shares.say(DONE, share["key"])
        return None

    def _saved(self, share: Share, work: Work) -> dict[str, Any]:
        known = os.path.join(self.archives, f"{share['identity']}.json")
        archive = read_json(known)
        skip = int(share.get("skip_layers") or 0)
        if archive:
            wanted = {*archive["sizes"]} - {layer["blob"] for layer in archive["layers"][:skip]}
            if all(self._has(blob, archive["sizes"][blob]) for blob in wanted):
                return archive
        size = int((self.store.inspect(share["place"]) or {}).get("Size") or 0)
        check_space(self.blobs, size)
        count = work.counter("save", f"{share['place']} out of Docker", size)
        archive = self.store.export(share["place"], self.blobs, skip_layers=skip, told=count)
        if archive["identity"] != share["identity"]:
            raise GB10Error("the image was replaced while the run began; run again")
        write_json(known, archive)
        return archive

    def take(self, share: Share, receiver: Receiver, work: Work) -> End:
        """Fetch the blobs this box lacks and pass them on meanwhile; what is left is to load them into Docker."""
        work.said("wait", f"for {share['sources'][0]['name']} to offer {share['place']}")
        index = receiver.index()
        try:
            _same_image(index.get("meta"), share)
        except Gone as error:
            raise GB10Error(f"{error}; nothing of it was taken") from None
        archive = index["meta"]
        os.makedirs(self.blobs, mode=0o700, exist_ok=True)
        unneeded = {layer["blob"] for layer in archive["layers"]} - self._lacking(archive)
        items = [{**{k: item[k] for k in ("name", "size", "sha256")}, **({"absent": True} if item["name"] in unneeded else {})} for item in index["items"]]
        work.shares.offer(share["key"], items, [self.blobs], archive)
        needed = [(number, item) for number, item in enumerate(items) if item["name"] not in unneeded]
        to_come = sum(item["size"] for _number, item in needed if not self._has(item["name"], item["size"]))
        check_space(self.blobs, to_come)
        check_space(self.store.root_dir(), 2 * to_come)
        work.fetch(share["place"], needed, self.blobs, receiver)
        work.shares.say(DONE, share["key"])

        def load() -> dict[str, Any]:
            count = work.counter("load", f"{share['place']} into Docker", sum(item["size"] for _number, item in needed))
            try:
                image_id = self._load(archive, share["place"], count, work.keep)
            except GB10Error as error:
                if not unneeded or error.details.get("full"):
                    raise
                # This engine wants every layer, even those it has.
                with contextlib.closing(receiver):
                    rest: list[tuple[int, Item]] = [(number, item) for number, item in enumerate(items) if item["name"] in unneeded]
                    work.fetch(share["place"], rest, self.blobs, receiver)
                image_id = self._load(archive, share["place"], count, work.keep)
            return {"image_id": image_id, "received_bytes": receiver.received_bytes}

        return load

    def _lacking(self, archive: Mapping[str, Any]) -> set[str]:
        kind = self.store.kind()
        content = self.store.content() if kind == "containerd" else set()
        return absent_layers(archive["layers"], kind, self.store.layers_held() if kind == "classic" else [], content)

    def _load(self, archive: Mapping[str, Any], name: str, on_progress: Callable[[int], None], keep: int) -> str:
        image_id = self.store.load(archive, self.blobs, name, on_progress, keep)
        self.record.forget_damage(image_id)
        self.record.keep_received(image_id, name)
        return image_id

    def _has(self, blob: str, size: int) -> bool:
        return has_size(os.path.join(self.blobs, blob), size)


def _same_image(archive: Any, share: Share) -> None:
    """Gone when what another box describes is not the image that the controller asked for, or no image at all."""
    if not isinstance(archive, dict) or archive.get("identity") != share["identity"]:
        raise Gone("it offers another image than the one this run brings")
    layers, sizes, others = archive.get("layers"), archive.get("sizes"), archive.get("others")
    if not isinstance(layers, list) or not isinstance(sizes, dict) or not isinstance(others, list) or not isinstance(archive.get("index"), (dict, type(None))):
        raise Gone("its description of the image cannot be read")
    for layer in layers:
        if not isinstance(layer, dict) or not isinstance(layer.get("diff_id"), str) or str(layer.get("blob")) not in sizes:
            raise Gone("its description of the image names layers that it does not have")
    if str(archive.get("config")) not in sizes or not all(isinstance(blob, str) and isinstance(size, int) for blob, size in sizes.items()):
        raise Gone("its description of the image cannot be read")
    if not all(safe_name(blob) and "/" not in blob for blob in sizes):
        raise Gone("its description of the image names blobs outside their directory")
