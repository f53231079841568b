# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images out of and into a box's Docker engine, layer by layer.

``docker save`` is taken apart into blobs named by their SHA-256; a box that lacks only some of them gets only those. Docker accepts an
archive without the layers it already has (seen with 20.10 and 26.1, both kinds of image store); where it does not, all are fetched.

Two kinds of store exist: the classic one names an image by its configuration, a layer by its uncompressed content; containerd's names an
image by its manifest and a layer by its (perhaps compressed) file. ``identity`` is the same in both.
"""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK, disk_problem

TEMPORARY = "gb10-vllm-incoming"
_CONTENT = ("/var/lib/containerd", "{root}/containerd/daemon")


def identity(inspected: Mapping[str, Any]) -> str:
    """SHA-256 over what makes an image what it is, from ``docker image inspect``: layers, when made, and how it runs. Pure."""
    config = inspected.get("Config") or {}
    parts = {key: config.get(key) or None for key in ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes")}
    parts["layers"] = (inspected.get("RootFS") or {}).get("Layers") or []
    parts.update({key: inspected.get(key) or None for key in ("Created", "Architecture", "Os")})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def full_name(name: str) -> str:
    """The name with its tag."""
    return name if "@" in name or ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def absent_layers(layers: Sequence[Mapping[str, Any]], store: str, held: Iterable[Sequence[str]], content: set[str]) -> set[str]:
    """Blobs of ``layers`` ([{blob, diff_id}], lowest first) that must travel. Pure.

    ``held``: layer lists of the images that are there; the classic store keeps a layer only together with those under it, so
    what counts is the longest common beginning. ``content``: blobs in containerd's content store.
    """
    if store == "containerd":
        return {layer["blob"] for layer in layers} - content
    same = 0
    for images in held:
        count = 0
        while count < min(len(images), len(layers)) and images[count] == layers[count]["diff_id"]:
            count += 1
        same = max(same, count)
    kept = {layer["blob"] for layer in layers[:same]}
    return {layer["blob"] for layer in layers[same:]} - kept


class ImageStore:
    """The Docker engine of this box."""

    def __init__(self, docker: str = "docker") -> None:
        self.docker = docker

    def _run(self, *arguments: str, missing_ok: bool = False) -> str:
        try:
            done = subprocess.run(
                [self.docker, *arguments], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=300, check=False
            )
        except FileNotFoundError:
            raise GB10Error("there is no docker command on this box; install Docker") from None
        except subprocess.TimeoutExpired:
            raise GB10Error("Docker did not answer within 300 s on this box; look at: systemctl status docker") from None
        if done.returncode == 0:
            return done.stdout.strip()
        text = (done.stderr or done.stdout).strip()
        if missing_ok and "no such image" in text.lower():
            return ""
        raise GB10Error(f"docker {' '.join(arguments[:2])} failed on this box: {text.splitlines()[-1] if text else done.returncode}")

    def inspect(self, name: str) -> dict[str, Any] | None:
        """``docker image inspect`` of one image, None when there is none."""
        text = self._run("image", "inspect", name, missing_ok=True)
        return json.loads(text)[0] if text else None

    def kind(self) -> str:
        """``containerd`` or ``classic``."""
        status = json.loads(self._run("info", "--format", "{{json .DriverStatus}}") or "null") or []
        return "containerd" if any("io.containerd.snapshotter" in str(pair[-1]) for pair in status) else "classic"

    def root_dir(self) -> str:
        return self._run("info", "--format", "{{.DockerRootDir}}") or "/var/lib/docker"

    def layers_held(self) -> list[list[str]]:
        """The layer lists (diff ids) of every image on this box."""
        names = sorted(set(self._run("images", "-aq", "--no-trunc").split()))
        if not names:
            return []
        lists = self._run("image", "inspect", "--format", "{{json .RootFS.Layers}}", *names).splitlines()
        return [json.loads(one) for one in lists if one and one != "null"]

    def content(self) -> set[str]:
        """SHA-256 of the blobs in containerd's content store; empty where it lies elsewhere (then everything travels)."""
        found: set[str] = set()
        for place in _CONTENT:
            path = os.path.join(place.format(root=self.root_dir()), "io.containerd.content.v1.content", "blobs", "sha256")
            if os.path.isdir(path):
                found.update(os.listdir(path))
        return found

    def export(self, name: str, blobs: str, *, skip_layers: int = 0, told: Callable[[int], None] = lambda count: None) -> dict[str, Any]:
        """Write the blobs of image ``name`` into the directory ``blobs`` and describe them.

        Returns ``{image_id, identity, config, layers: [{blob, diff_id}], others: [blob], index: OCI index or None, sizes: {blob: bytes}}``.
        The first ``skip_layers`` layers are described without being kept, as nobody lacks them.
        """
        inspected = self.inspect(name)
        if inspected is None:
            raise GB10Error(f"image {name} is no longer on this box; run again so that it is made anew")
        os.makedirs(blobs, mode=0o700, exist_ok=True)
        process = subprocess.Popen([self.docker, "save", full_name(name)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            members, documents = _take_apart(process.stdout, blobs, told)
        except tarfile.TarError as error:
            process.kill()
            text = process.stderr.read().decode(errors="replace").strip()
            raise GB10Error(f"docker save of {name} failed on this box: {(text.splitlines() or [str(error)])[-1]}") from None
        finally:
            process.stdout.close()
            text = process.stderr.read().decode(errors="replace").strip()
            process.stderr.close()
            status = process.wait()
        if status or "manifest.json" not in documents:
            raise GB10Error(f"docker save of {name} failed on this box: {(text.splitlines() or [f'status {status}'])[-1]}")
        manifest = json.loads(documents["manifest.json"])[0]
        config = members[manifest["Config"]]
        with open(os.path.join(blobs, config), encoding="utf-8") as stream:
            diff_ids = json.load(stream)["rootfs"]["diff_ids"]
        layers = [{"blob": members[path], "diff_id": diff_id} for path, diff_id in zip(manifest["Layers"], diff_ids, strict=True)]
        index = json.loads(documents["index.json"]) if "index.json" in documents else None
        blob_of = {layer["blob"] for layer in layers}
        others = sorted(_reachable(index, blobs) - blob_of - {config}) if index else []
        sizes = {blob: os.path.getsize(os.path.join(blobs, blob)) for blob in {*others, *blob_of, config}}
        kept = {*others, config, *(layer["blob"] for layer in layers[skip_layers:])}
        for blob in set(members.values()) - kept:
            os.unlink(os.path.join(blobs, blob))
        return {
            "image_id": inspected["Id"], "identity": identity(inspected), "config": config, "layers": layers, "others": others,
            "index": index, "sizes": sizes, "unkept": sorted(set(sizes) - kept),
        }  # fmt: skip

    def load(
        self,
        archive: Mapping[str, Any],
        blobs: str,
        name: str,
        told: Callable[[int], None] = lambda count: None,
        before_naming: Callable[[], None] = lambda: None,
    ) -> str:
        """Load the described image from the blobs that lie there, leaving out the others, and give it ``name``; returns its id.

        It gets a temporary name first and is compared; then ``before_naming`` is called. GB10Error leaves ``name`` as it was.
        """
        temporary = f"{TEMPORARY}:{archive['identity'][:12]}"
        process = subprocess.Popen([self.docker, "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        broken = ""
        try:
            with tarfile.open(fileobj=process.stdin, mode="w|", bufsize=CHUNK) as stream:
                _put_together(stream, archive, blobs, temporary, told)
            process.stdin.close()
        except BrokenPipeError:
            broken = "it stopped reading"
        text = process.stderr.read().decode(errors="replace").strip()
        process.stderr.close()
        try:
            if process.wait() or broken:
                reason = (text.splitlines() or [broken or "no message"])[-1]
                if "no space left" in text:
                    raise GB10Error(
                        f"the disk of {self.root_dir()} became full while Docker loaded {name}; free space there (docker image prune, docker builder "
                        "prune) and run again, what has arrived is kept and the previous image is untouched",
                        full=True,
                    )
                raise GB10Error(f"Docker did not accept the image {name} that was sent to this box: {reason}")
            found = self.inspect(temporary)
            if found is None or identity(found) != archive["identity"]:
                raise GB10Error(f"Docker made another image than the one that was sent as {name}; the previous image keeps its name")
            before_naming()
            self._run("tag", temporary, full_name(name))
            return found["Id"]
        finally:
            if self.inspect(temporary):
                self._run("rmi", temporary)

    def keep_previous(self, name: str, keep: int, stamp: str) -> None:
        """Give the image that now has ``name`` a name under which it survives its successor; older ones beyond ``keep`` lose theirs.

        Docker removes an image with its last name only when no container uses it; what is in use is left.
        """
        before = self.inspect(full_name(name))
        repository, _colon, tag = full_name(name).rpartition(":")
        mark = "previous" if tag == "latest" else f"{tag}-previous"
        if before and keep > 0:
            self._run("tag", before["Id"], f"{repository}:{mark}-{stamp}")
        self.prune_previous(name, keep)

    def previous(self, name: str) -> list[str]:
        """Names of the earlier images of ``name``, newest first."""
        repository, _colon, tag = full_name(name).rpartition(":")
        mark = f"{repository}:{'previous' if tag == 'latest' else f'{tag}-previous'}-"
        names = self._run("images", "--format", "{{.Repository}}:{{.Tag}}", repository).split()
        return sorted((one for one in names if one.startswith(mark)), reverse=True)

    def used(self) -> set[str]:
        """Ids of the images that containers use, running or not."""
        containers = self._run("ps", "-aq", "--no-trunc").split()
        return set(self._run("inspect", "--format", "{{.Image}}", *containers).split()) if containers else set()

    def prune_previous(self, name: str, keep: int, check: bool = False) -> list[str]:
        """Remove earlier images of ``name`` beyond the newest ``keep``, but none that a container uses; returns the names."""
        excess = self.previous(name)[max(0, keep) :]
        used = self.used() if excess else set()
        removed = [one for one in excess if (self.inspect(one) or {}).get("Id") not in used]
        for one in removed if not check else []:
            self._run("rmi", one)
        return removed


def _take_apart(stream: Any, blobs: str, told: Callable[[int], None]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Blobs of an image archive by path -> SHA-256, and its small documents."""
    members: dict[str, str] = {}
    links: dict[str, str] = {}
    documents: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as archive:
        for member in archive:
            if member.issym() or member.islnk():
                target = member.linkname if member.islnk() else os.path.normpath(os.path.join(os.path.dirname(member.name), member.linkname))
                links[member.name] = target
            if not member.isfile():
                continue
            source = archive.extractfile(member)
            if member.name in ("manifest.json", "index.json", "oci-layout", "repositories"):
                documents[member.name] = source.read()
                continue
            if member.name.endswith(("/VERSION", "/json")):
                continue
            members[member.name] = _spool(source, blobs, told)
    members.update({path: members[target] for path, target in links.items() if target in members})
    return members, documents


def _spool(source: Any, blobs: str, told: Callable[[int], None]) -> str:
    hasher = hashlib.sha256()
    temporary = os.path.join(blobs, ".spooling")
    try:
        with open(temporary, "wb") as target:
            while chunk := source.read(CHUNK):
                hasher.update(chunk)
                target.write(chunk)
                told(len(chunk))
    except OSError as error:
        raise disk_problem(temporary, error) from None
    os.replace(temporary, os.path.join(blobs, hasher.hexdigest()))
    return hasher.hexdigest()


def _reachable(index: Mapping[str, Any], blobs: str) -> set[str]:
    """Every blob an OCI index leads to that is there."""
    found: set[str] = set()
    todo = list(index.get("manifests") or [])
    while todo:
        one = todo.pop()
        blob = str(one.get("digest", "")).partition(":")[2]
        path = os.path.join(blobs, blob)
        if not blob or blob in found or not os.path.exists(path):
            continue
        found.add(blob)
        if "manifest" in str(one.get("mediaType")) or "index" in str(one.get("mediaType")):
            with open(path, encoding="utf-8") as stream:
                document = json.load(stream)
            todo += [*(document.get("manifests") or []), *(document.get("layers") or []), *([document["config"]] if document.get("config") else [])]
    return found


def _put_together(stream: tarfile.TarFile, archive: Mapping[str, Any], blobs: str, name: str, told: Callable[[int], None]) -> None:
    """Write the archive Docker understands: the blobs that lie there, then the documents that name all of them."""

    def document(path: str, value: Any) -> None:
        text = json.dumps(value).encode()
        member = tarfile.TarInfo(path)
        member.size = len(text)
        stream.addfile(member, io.BytesIO(text))

    for blob in sorted(archive["sizes"]):
        path = os.path.join(blobs, blob)
        if not os.path.exists(path):
            continue
        member = tarfile.TarInfo(f"blobs/sha256/{blob}")
        member.size = os.path.getsize(path)
        with open(path, "rb") as source:
            stream.addfile(member, _Told(source, told))  # type: ignore[arg-type]
    layers = [f"blobs/sha256/{layer['blob']}" for layer in archive["layers"]]
    document("manifest.json", [{"Config": f"blobs/sha256/{archive['config']}", "RepoTags": [name], "Layers": layers}])
    if archive.get("index"):
        index = json.loads(json.dumps(archive["index"]))
        for one in index.get("manifests") or []:
            one["annotations"] = {"io.containerd.image.name": f"docker.io/library/{name}", "org.opencontainers.image.ref.name": name.partition(":")[2]}
        document("index.json", index)
        document("oci-layout", {"imageLayoutVersion": "1.0.0"})


class _Told:
    """A file that says how much was read of it."""

    def __init__(self, stream: Any, told: Callable[[int], None]) -> None:
        self._stream, self._told = stream, told

    def read(self, count: int = -1) -> bytes:
        data = self._stream.read(count)
        self._told(len(data))
        return data
