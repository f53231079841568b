# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of a box's Docker engine: what is there, its names, earlier ones, and the way out of one engine into another.

``docker save`` is taken apart into blobs named by their SHA-256; a box that lacks only some of them gets only those. Docker accepts an
archive without the layers it already has (seen with 20.10 and 26.1, both kinds of image store); where it does not, all are fetched.

Two kinds of store exist: the classic one names an image by its configuration, a layer by its uncompressed content; containerd's names an
image by its manifest and a layer by its (perhaps compressed) file. ``identity.identity`` is the same in both.
"""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import saved
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import full_name, identity, previous_mark
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import docker_text
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK

TEMPORARY = "gb10-vllm-incoming"
_CONTENT = ("/var/lib/containerd", "{root}/containerd/daemon")
_NAMES = ("images", "--format", "{{.Repository}}:{{.Tag}}")


@dataclass
class Image:
    """One image as ``docker image inspect`` shows it."""

    id: str
    labels: dict[str, str]
    environment: dict[str, str]
    size_bytes: int
    repo_digests: list[str]
    architecture: str


class ImageStore:
    """The Docker engine of this box."""

    def __init__(self, docker: str = "docker") -> None:
        self.docker = docker

    def run(self, *arguments: str, check: bool = True, missing_ok: bool = False) -> str:
        """What a docker command prints; GB10Error when it fails. ``missing_ok``: "" for an image that is not there; without ``check`` for any failure."""
        return docker_text(*arguments, command=self.docker, check=check, missing_ok=missing_ok)

    # What is there.

    def inspect(self, name: str) -> dict[str, Any] | None:
        """``docker image inspect`` of one image, None when there is none."""
        text = self.run("image", "inspect", name, missing_ok=True) if name else ""
        return json.loads(text)[0] if text else None

    def image(self, reference: str) -> Image | None:
        """The image a name, digest or id leads to, None when there is none."""
        raw = self.inspect(reference)
        if raw is None:
            return None
        config = raw.get("Config") or {}
        return Image(
            id=raw["Id"],
            labels=config.get("Labels") or {},
            environment=dict(entry.split("=", 1) for entry in config.get("Env") or [] if "=" in entry),
            size_bytes=raw.get("Size", 0),
            repo_digests=raw.get("RepoDigests") or [],
            architecture=raw.get("Architecture", ""),
        )

    def names(self, repository: str = "") -> list[str]:
        """Every name with its tag, of one repository or of all."""
        return self.run(*_NAMES, *([repository] if repository else [])).split()

    def ids(self) -> list[str]:
        """The id of every image, also of those that only carry others."""
        return sorted(set(self.run("images", "-aq", "--no-trunc").split()))

    def labelled(self, label: str, value: str) -> list[str]:
        """Ids of the images with a label, newest first."""
        return self.run("images", "--no-trunc", "-q", "--filter", f"label={label}={value}").split()

    def kind(self) -> str:
        """``containerd`` or ``classic``."""
        status = json.loads(self.run("info", "--format", "{{json .DriverStatus}}") or "null") or []
        return "containerd" if any("io.containerd.snapshotter" in str(pair[-1]) for pair in status) else "classic"

    def root_dir(self) -> str:
        return self.run("info", "--format", "{{.DockerRootDir}}") or "/var/lib/docker"

    def layers_held(self) -> list[list[str]]:
        """The layer lists (diff ids) of every image on this box."""
        names = self.ids()
        if not names:
            return []
        lists = self.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", *names).splitlines()
        return [json.loads(one) for one in lists if one and one != "null"]

    def content(self) -> set[str]:
        """SHA-256 of the blobs in containerd's content store; empty where it lies elsewhere (then everything travels)."""
        found: set[str] = set()
        for place in _CONTENT:
            path = os.path.join(place.format(root=self.root_dir()), "io.containerd.content.v1.content", "blobs", "sha256")
            if os.path.isdir(path):
                found.update(os.listdir(path))
        return found

    def used(self) -> set[str]:
        """Ids of the images that containers use, running or not."""
        containers = self.run("ps", "-aq", "--no-trunc").split()
        return set(self.run("inspect", "--format", "{{.Image}}", *containers).split()) if containers else set()

    def room_to_free(self) -> str:
        """Which commands free how much of Docker's disk, for a message."""
        rows = [row.split("|") for row in self.run("system", "df", "--format", "{{.Type}}|{{.Reclaimable}}", check=False).splitlines()]
        room = {row[0]: row[1] for row in rows if len(row) == 2}
        return (
            f"docker builder prune --filter until=72h (build cache, up to {room.get('Build Cache', 'some')}), "
            f"docker image prune (unused images, up to {room.get('Images', 'some')})."
        )

    # Names.

    def give_name(self, image: str, name: str, keep: int) -> None:
        """Give ``name`` to an image; the one that had it is kept under an earlier image's name, those beyond the newest ``keep`` lose theirs.

        They lose them last, as one of them may be the very image that gets ``name``. One that cannot be removed is left for the next time.
        """
        before = self.inspect(full_name(name))
        if before and keep > 0:
            self.run("tag", before["Id"], previous_mark(name) + time.strftime("%Y%m%d%H%M%S", time.gmtime()))
        self.run("tag", image, full_name(name))
        with contextlib.suppress(GB10Error):
            self.prune_previous(name, keep)

    def previous(self, name: str) -> list[str]:
        """Names of the earlier images of ``name``, newest first."""
        mark = previous_mark(name)
        return sorted((one for one in self.names(mark.rpartition(":")[0]) if one.startswith(mark)), reverse=True)

    def prune_previous(self, name: str, keep: int, check: bool = False) -> list[str]:
        """Remove earlier images of ``name`` beyond the newest ``keep``, but none that a container uses; returns the names."""
        excess = self.previous(name)[max(0, keep) :]
        used = self.used() if excess else set()
        removed = [one for one in excess if (self.inspect(one) or {}).get("Id") not in used]
        for one in removed if not check else []:
            self.run("rmi", one)
        return removed

    def prune_names(self, brought: Mapping[str, set[str]], kept: Set[str], check: bool = False) -> list[str]:
        """Take the names of these images away; returns those that went.

        ``brought``: ids by name; a name that means another image by now is somebody else's. What a container uses stays, and so do the ids ``kept``.
        """
        removed = []
        used = self.used() if brought else set()
        for name, ids in sorted(brought.items()):
            image = (self.inspect(name) or {}).get("Id")
            if image in ids - used - kept:
                removed.append(name)
                if not check:
                    self.run("rmi", name)
        return removed

    # Out of this engine and into it.

    def export(self, name: str, blobs: str, *, skip_layers: int = 0, told: Callable[[int], None] = lambda count: None) -> dict[str, Any]:
        """Write the blobs of image ``name`` into the directory ``blobs`` and describe them.

        Returns ``{image_id, identity, config, layers: [{blob, diff_id}], others: [blob], index: OCI index or None, sizes: {blob: bytes}}``.
        The first ``skip_layers`` layers are described without being kept, as nobody lacks them. GB10Error has ``damaged`` (the reason) and
        ``image_id`` in its details when Docker will never be able to read this image.
        """
        inspected = self.inspect(name)
        if inspected is None:
            raise GB10Error(f"image {name} is no longer on this box; run again so that it is made anew")
        os.makedirs(blobs, mode=0o700, exist_ok=True)
        broken = ""
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen([self.docker, "save", full_name(name)], stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL) as process:
                try:
                    members, documents = saved.take_apart(process.stdout, blobs, told)
                except tarfile.TarError as error:
                    broken = str(error)
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
        if broken or process.returncode or "manifest.json" not in documents:
            raise _save_failed(inspected["Id"], name, text, broken, process.returncode)
        return {"image_id": inspected["Id"], "identity": identity(inspected), **saved.describe(members, documents, blobs, skip_layers)}

    def load(self, archive: Mapping[str, Any], blobs: str, name: str, told: Callable[[int], None] = lambda count: None, keep: int = 1) -> str:
        """Load the described image from the blobs that lie there, leaving out the others, and give it ``name``; returns its id.

        It gets a temporary name first and is compared. GB10Error leaves ``name`` as it was. ``keep``: as in ``give_name``.
        """
        temporary = f"{TEMPORARY}:{archive['identity'][:12]}"
        self._feed(archive, blobs, name, temporary, told)
        try:
            found = self.inspect(temporary)
            if found is None or identity(found) != archive["identity"]:
                raise GB10Error(f"Docker made another image than the one that was sent as {name}; the previous image keeps its name")
            self.give_name(temporary, name, keep)
            return found["Id"]
        finally:
            if self.inspect(temporary):
                self.run("rmi", temporary)

    def _feed(self, archive: Mapping[str, Any], blobs: str, name: str, temporary: str, told: Callable[[int], None]) -> None:
        broken = "it stopped reading"
        with tempfile.TemporaryFile() as errors:
            load = [self.docker, "load", "--quiet"]
            streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": errors}
            with contextlib.suppress(BrokenPipeError), subprocess.Popen(load, **streams) as process:
                with tarfile.open(fileobj=process.stdin, mode="w|", bufsize=CHUNK) as stream:
                    saved.put_together(stream, archive, blobs, temporary, told)
                broken = ""
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
        if not process.returncode and not broken:
            return
        if "no space left" in text:
            raise GB10Error(
                f"the disk of {self.root_dir()} became full while Docker loaded {name}; free space there (docker image prune, docker builder "
                "prune) and run again, what has arrived is kept and the previous image is untouched",
                full=True,
            )
        raise GB10Error(f"Docker did not accept the image {name} that was sent to this box: {_last(text, broken or 'no message')}")


def _save_failed(image_id: str, name: str, text: str, broken: str, status: int) -> GB10Error:
    reason = _last(text, broken or f"status {status}")
    said = f"docker save of {name} failed on this box: {reason}"
    if not saved.is_damage(text, status):
        return GB10Error(said)
    return GB10Error(f"{said}. Docker cannot read its copy of the image, so this box does not send it again", damaged=reason, image_id=image_id)


def _last(text: str, otherwise: str) -> str:
    lines = text.splitlines()
    return lines[-1] if lines else otherwise
