# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Get the vLLM image of one box to the wanted state: build, pull, load or check it, exactly once.

The order is always: read what is there, compare identities, stop if they are equal, take the lock, check the disk, work under a temporary
name, give the final name at the very end. The previous image keeps its name until then and is kept after it.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils import _names
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_inputs
from ansible_collections.gb10.vllm.plugins.module_utils._image.archive import Archive
from ansible_collections.gb10.vllm.plugins.module_utils._image.build import Build, temporary_name
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import full_name, slug
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._image.pull import Pull
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import Image, ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._image.versions import Versions
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work
from ansible_collections.gb10.vllm.plugins.module_utils._image.worktree import Checkout


def reason(options: Options, there: bool, known: Mapping[str, Any] | None, changed: list[dict[str, Any]]) -> str:
    """Why something has to be done. ``known``: the inputs of the image that is there; ``changed``: how the wanted ones differ. Pure."""
    if not there:
        return f"image {options.name} is not there"
    if known is None:
        return f"image {options.name} is there, but was not made by gb10.vllm from source={options.source}"
    if changed:
        return f"inputs changed: {image_inputs.describe(changed)}"
    return f"a rebuild was asked for ({', '.join(options.rebuild)})"


def similar(names: Sequence[str]) -> str:
    """Which images with vLLM in their name could have been meant. Pure."""
    found = [name for name in names if "vllm" in name and "<none>" not in name]
    return f" Images that are there: {', '.join(found[:8])}." if found else ""


class ImageBuild:
    """One run over one image. ``check_mode`` decides only; ``defer`` stops before anything that takes long."""

    def __init__(
        self,
        options: Options,
        *,
        check_mode: bool = False,
        defer: bool = False,
        docker: str = "docker",
        git: str = "git",
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.o = options = dataclasses.replace(options, name=full_name(options.name))
        self.check_mode = check_mode
        self.defer = defer
        folder = Path(options.state_dir) / "build"
        self.temporary = temporary_name(folder)
        self.store = ImageStore(docker)
        self.record = Record(folder)
        self.work = Work(folder, slug(options.name), options.timeout_s)
        self.versions = Versions(options.name, self.record, docker, warn, look=check_mode)
        self.checkout = Checkout(Path(options.checkout) if options.checkout else folder / "checkout", folder, git)
        self.source: Build | Pull | Archive
        if options.source == "prebuilt":
            self.source = Pull(options, self.store, self.work, warn)
        elif options.source == "archive":
            self.source = Archive(options, self.store, self.work)
        else:
            self.source = Build(options, self.store, self.work, self.checkout, self.versions, check_mode=check_mode, later=defer)

    def inputs(self) -> dict[str, Any]:
        """What the wanted image is made from; values that only the work itself can tell are None."""
        return self.source.inputs()

    def run(self) -> dict[str, Any]:
        """Do what is needed and return the module's result. Raises GB10Error with one clear sentence."""
        before = self.store.image(self.o.name)
        if self.o.source == "existing":
            return self._existing(before)
        inputs = {key: value for key, value in self.inputs().items() if value is not None}
        known = self._recorded(before)
        changed_inputs = image_inputs.changes(known, inputs)
        if before is not None and not changed_inputs and not self.o.rebuild:
            return self._result(before, changed=False, inputs=known or inputs, changed_inputs=[])
        said = {"reason": reason(self.o, before is not None, known, changed_inputs), "before": known}
        if self.check_mode or self.defer:
            result = self._result(before, changed=True, inputs=inputs, changed_inputs=changed_inputs, metadata=not self.defer)
            return result | said | {"deferred": self.defer}
        with self.work.alone():
            after = self._bring(inputs)
            changed = before is None or before.id != after.id
            if changed:
                self.store.give_name(after.id, self.o.name, self.o.keep_previous)
            self._sweep()
            self.record.made(self.o.name, after.id, inputs, self.work.base_images, self.store.ids(), found=not changed)
            result = self._result(after, changed=changed, inputs=inputs, changed_inputs=changed_inputs)
            self.work.progress("finished", f"{self.o.name} is {after.id[7:19]}")
            return result | said

    def _existing(self, image: Image | None) -> dict[str, Any]:
        if image is None:
            raise GB10Error(
                f"image {self.o.name} is not on this box, and source=existing neither builds nor pulls one. "
                f"Load it (docker load, docker pull) or choose source build, prebuilt or archive.{similar(self.store.names())}"
            )
        return self._result(image, changed=False, inputs={"source": "existing", "image": image.id}, changed_inputs=[])

    def _recorded(self, image: Image | None) -> dict[str, Any] | None:
        """Inputs of the image that now has our name: from its labels, else from our own record of a pull or a load."""
        if image is None:
            return None
        return image_inputs.recorded(image.labels) if self.o.source == "build" else self.record.inputs(self.o.name, image.id)

    def _bring(self, inputs: Mapping[str, Any]) -> Image:
        """The wanted image, under whatever name."""
        self._sweep()
        again = self.store.image(self.o.name)  # somebody may have finished the same work while we waited
        if again is not None and not self.o.rebuild and not image_inputs.changes(self._recorded(again), inputs):
            return again
        if self.o.source == "build" and not self.o.rebuild:
            found = self._made_before(inputs)
            if found is not None:
                return found
        self._check_disk()
        log = self.work.log()
        try:
            return self.source.make(inputs) if isinstance(self.source, Build) else self.source.make()
        except GB10Error as error:
            error.details.setdefault("log", str(log))
            raise

    def _made_before(self, inputs: Mapping[str, Any]) -> Image | None:
        """An image made from these inputs before, for example before a rollback; not one that Docker cannot read any more."""
        damaged = self.record.read().get("damaged", {})
        same = self.store.labelled(image_inputs.INPUTS, image_inputs.digest(inputs))
        return next((found for one in same if one not in damaged and (found := self.store.image(one))), None)

    def _sweep(self) -> None:
        """Remove what a killed run left: our temporary names and the worktree (we hold the lock, so nobody uses them)."""
        for name in self.store.names(self.temporary):
            self.store.run("rmi", name, check=False)
        if self.o.source == "build" and self.checkout.tree.exists():
            self.checkout.drop_worktree()

    def _check_disk(self) -> None:
        wanted = self.source.needs_gib if self.o.min_free_gib is None else self.o.min_free_gib
        root = self.store.root_dir()
        place = Path(root)
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if free < wanted * _names.GIB:
            raise GB10Error(
                f"{root} has {free / _names.GIB:.1f} GiB free, but source={self.o.source} needs {wanted:.0f} GiB (min_free_gib). "
                f"Free space: {self.store.room_to_free()} Nothing was started"
            )

    def _result(
        self, image: Image | None, *, changed: bool, inputs: Mapping[str, Any], changed_inputs: list[dict[str, Any]], metadata: bool = True
    ) -> dict[str, Any]:
        return {
            "changed": changed,
            "image": None if image is None else self._shown(image, self.versions.of(image) if metadata else {}),
            "inputs": inputs,
            "changed_inputs": changed_inputs,
            "log": str(self.work.log_path or ""),
            "progress_file": str(self.work.progress_path),
            "steps": self.work.steps,
            "duration_s": round(time.monotonic() - self.work.started, 1),
            "deferred": False,
            "reason": "",
        }

    def _shown(self, image: Image, versions: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": image.id,
            "name": self.o.name,
            "labels": {k: v for k, v in image.labels.items() if k.startswith("gb10.vllm.") and k != image_inputs.INPUTS_JSON},
            "size_bytes": image.size_bytes,
            "architecture": image.architecture,
            "repo_digests": image.repo_digests,
            "vllm_version": versions.get("vllm_version"),
            "torch_version": versions.get("torch_version"),
            "cuda_version": versions.get("cuda_version"),
            "metadata": versions,
        }
