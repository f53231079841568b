# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from a registry: ``docker pull``, followed on a terminal of our own."""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import layer, mods
from ansible_collections.gb10.vllm.plugins.module_utils._image import log as image_log
from ansible_collections.gb10.vllm.plugins.module_utils._image.build import environment as build_environment
from ansible_collections.gb10.vllm.plugins.module_utils._image.build import temporary_name
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import Image, ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work


def reference(image: str, digest: str) -> str:
    """What is pulled: the image under its digest, without its tag, where there is a digest. Pure."""
    if not digest:
        return image
    head, slash, last = image.split("@")[0].rpartition("/")
    return f"{head}{slash}{last.split(':')[0]}@{digest}"


def is_worth_another_try(log: str) -> bool:
    """A registry that counts our pulls says no for hours. Pure."""
    return image_log.is_network_failure(log)


class Pull:
    """The source ``prebuilt``."""

    needs_gib = 60.0

    def __init__(self, options: Options, store: ImageStore, work: Work, warn: Callable[[str], None]) -> None:
        self.o = options
        self.store = store
        self.work = work
        self.warn = warn

    def inputs(self) -> dict[str, Any]:
        """What identifies the image: its name and, where it is pinned, its digest; the mods that are laid over it."""
        found = {"source": "prebuilt", "image": self.o.image, "digest": self.o.digest or None}
        digests = layer.own_digests(self.o)
        missing = next((name for name in mods.names(self.o.mods) if name not in digests), "")
        if missing:
            raise GB10Error(f"{missing} is a mod of the project, which is laid over an image that is built here; name one of your own by its path")
        return {**found, "mods": [f"{name} {digests[name]}" for name in digests]} if digests else found

    def make(self) -> Image:
        """Pull; a moving tag is warned about with the digest that it has today."""
        wanted = reference(self.o.image, self.o.digest)
        status, log, _attempts = self.work.tried(lambda: self._pull(wanted), self.o.retries, self.o.retry_delay_s, is_worth_another_try)
        if status:
            cause = image_log.last_error(log) or f"docker pull ended with status {status}"
            raise GB10Error(
                f"pulling {wanted} failed: {cause}. Check image and digest, and that the registry can be reached from this box; "
                f"nothing was changed. Full log on the box: {self.work.log_path}",
                last_lines=image_log.tail(log),
                rc=status,
            )
        image = self.store.image(wanted)
        if image is None:
            raise GB10Error(f"docker pulled {wanted} but does not show it; see the log {self.work.log_path}")
        if not self.o.digest and image.repo_digests:
            self.warn(f"{self.o.image} is a moving tag; it is {image.repo_digests[0].split('@')[-1]} today. Set digest to keep all boxes on it")
        return self._with_mods(wanted) if self.o.mods else image

    def _with_mods(self, pulled: str) -> Image:
        """The pulled image with one more layer for each mod. GB10Error says which cannot be one, or what the build said."""
        temporary = temporary_name(self.work.folder)
        tree = self.work.folder / "mods"
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(mode=0o700)
        try:
            names = layer.lay(tree, self.o, pulled)
            self.store.run("tag", pulled, f"{temporary}:pulled")  # by this name it is looked for nowhere else
            environment = build_environment(self.o, self.store.docker, os.environ)
            status, log = layer.build(tree, f"{temporary}:pulled", f"{temporary}:mods", names, self.store, self.work, environment)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        image = self.store.image(f"{temporary}:mods")
        if status or image is None:
            cause = image_log.last_error(log) or f"docker build ended with status {status}"
            raise GB10Error(
                f"the mods {', '.join(names)} could not be laid over {pulled}: {cause.rstrip('.')}. Nothing was changed. "
                f"Full log on the box: {self.work.log_path}",
                last_lines=image_log.tail(log),
                rc=status,
            )
        return image

    def _pull(self, wanted: str) -> tuple[int, str]:
        """Docker tells bytes only to a terminal."""
        follower = image_log.PullLog()
        said: list[str] = []
        with _terminal() as (ours, theirs):
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": theirs, "stderr": theirs, "env": {**os.environ, "TERM": "xterm"}}
            with self.work.child([self.store.docker, "pull", wanted], **streams) as child:
                rest = ""
                ended, ready = False, True
                while ready or not ended:
                    ended = child.poll() is not None  # asked first: what it wrote before it ended is there by now
                    ready = bool(select.select([ours], [], [], 0.5)[0])
                    data = os.read(ours, 65536).decode(errors="replace") if ready else ""
                    *lines, rest = re.split(r"[\r\n]+", rest + data)
                    for line in lines:
                        follower.feed(line)
                    if follower.keep:
                        said += follower.keep
                        self.work.write("".join(f"{line}\n" for line in follower.keep))
                        follower.keep.clear()
                    self.work.progress("pull", follower.text, follower.bytes, follower.total_bytes, follower.step, follower.steps)
                    self.work.check_time()
        self.work.steps = max(self.work.steps, follower.steps)
        return child.returncode, "\n".join(said)


@contextlib.contextmanager
def _terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal that is wide enough for Docker's bars."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)
