# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from a file that ``docker save`` wrote."""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils import _names
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import log as image_log
from ansible_collections.gb10.vllm.plugins.module_utils._image import saved
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import Image, ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import file_sha256

_PIECE = 2**22


class Archive:
    """The source ``archive``."""

    def __init__(self, options: Options, store: ImageStore, work: Work) -> None:
        self.o = options
        self.store = store
        self.work = work
        self.path = Path(options.archive)

    @property
    def needs_gib(self) -> float:
        """The file unpacked, and room to work."""
        try:
            return 2.2 * self.path.stat().st_size / _names.GIB
        except OSError:
            return 0.0

    def inputs(self) -> dict[str, Any]:
        """What identifies the file: what the action says of one on the controller, its checksum, else name, size and time."""
        return {"source": "archive", "archive": self.o.archive_identity or self._identity()}

    def _identity(self) -> str:
        try:
            status = self.path.stat()
        except OSError as error:
            raise GB10Error(
                f"the image archive {self.path} cannot be read on this box ({error.strerror}). Write one with: docker save -o FILE IMAGE"
            ) from error
        return self.o.checksum or f"{self.path} {status.st_size} {int(status.st_mtime)}"

    def make(self) -> Image:
        """Load; names inside the archive that other images have here go back to those."""
        self._verify()
        image_id, tags = saved.one_image(self.path)
        before = {tag: found.id for tag in tags if (found := self.store.image(tag))}
        text = self._load()
        loaded = re.findall(r"Loaded image(?: ID)?: (\S+)", text)
        image = next((found for reference in [image_id, *loaded, *tags] if (found := self.store.image(reference))), None)
        if image is None:
            raise GB10Error(f"docker loaded {self.path} but shows no image of it; see the log {self.work.log_path}")
        for tag, old in before.items():  # load moves the tags inside the archive; only our own name may move
            if old != image.id:
                self.store.run("tag", old, tag)
        return image

    def _verify(self) -> None:
        if not self.o.checksum:
            return
        self.work.progress("verify", f"checking {self.path}", total=self.path.stat().st_size)
        try:
            found = "sha256:" + file_sha256(self.path)
        except OSError as error:
            raise GB10Error(f"archive: {self.path} cannot be read on this box ({error.strerror})") from error
        if found != self.o.checksum:
            raise GB10Error(
                f"the image archive {self.path} is not the one wanted: its SHA-256 is {found[7:]}, not {self.o.checksum[7:]}. "
                "Copy it again, or correct the checksum; nothing was changed"
            )

    def _load(self) -> str:
        """Feed the file to ``docker load``; returns what it said."""
        size, sent = self.path.stat().st_size, 0
        with open(self.work.log(), "ab") as log, self.work.child([self.store.docker, "load"], stdin=subprocess.PIPE, stdout=log, stderr=log) as child:
            pipe: Any = child.stdin
            with contextlib.suppress(BrokenPipeError), open(self.path, "rb") as stream:
                while chunk := stream.read(_PIECE):
                    pipe.write(chunk)
                    sent += len(chunk)
                    self.work.progress("load", f"loading {self.path.name}", done=sent, total=size)
                pipe.close()
            status = child.wait()
        text = self.work.log().read_text(errors="replace")
        if status:
            raise GB10Error(
                f"docker could not load the image archive {self.path}: {image_log.last_error(text) or f'status {status}'}. "
                f"The file is damaged or not written by docker save; copy it again. Nothing was changed. Full log on the box: {self.work.log_path}",
                last_lines=image_log.tail(text),
                rc=status,
            )
        return text
