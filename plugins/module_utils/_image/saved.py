# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The archive that ``docker save`` writes and ``docker load`` reads: taken apart into blobs, put together again, judged."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK, disk_problem

# What another try gets past; after any other failure docker save fails again for the same image.
_PASSING = re.compile(
    r"no space left|cannot connect to the docker|failed to connect to the docker|error during connect|connection (?:refused|reset)|"
    r"^unexpected EOF|daemon is shutting down|context canceled|permission denied|too many open files|cannot allocate memory",
    re.IGNORECASE | re.MULTILINE,
)


def is_damage(text: str, status: int) -> bool:
    """Whether a failed ``docker save``, which wrote ``text`` as its error and ended with ``status``, cannot read the image at all. Pure.

    Damage has many texts ("file integrity checksum failed", "input/output error", a layer that does not exist), so it is what else cannot be. A
    status of 0 is one too: containerd's store writes its error into the archive.
    """
    return status >= 0 and not _PASSING.search(text)


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


def one_image(path: Path) -> tuple[str, list[str]]:
    """Id and names of the one image in an archive, from its manifest; GB10Error when it is damaged or holds several."""
    try:
        with tarfile.open(path) as archive:
            member = archive.extractfile("manifest.json")
            manifest = json.load(member) if member else []
            names = set(archive.getnames())
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError) as error:
        raise GB10Error(f"the image archive {path} is damaged or not written by docker save ({error}). Copy it again; nothing was changed") from error
    if len(manifest) != 1:
        raise GB10Error(f"the image archive {path} holds {len(manifest)} images; save exactly one: docker save -o FILE IMAGE")
    entry = manifest[0]
    missing = [layer for layer in [entry["Config"], *entry["Layers"]] if layer not in names]
    if missing:
        raise GB10Error(f"the image archive {path} is cut short: {missing[0]} is missing. Copy it again; nothing was changed")
    found = re.search(r"([0-9a-f]{64})", entry["Config"])
    return (f"sha256:{found.group(1)}" if found else ""), entry.get("RepoTags") or []


def take_apart(stream: Any, blobs: str, on_bytes: Callable[[int], None]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Blobs of an archive (in the directory ``blobs``, named by their SHA-256) by path -> SHA-256, and its small documents."""
    members: dict[str, str] = {}
    links: dict[str, str] = {}
    documents: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as archive:
        for member in archive:
            if member.issym() or member.islnk():
                target = member.linkname if member.islnk() else os.path.normpath(os.path.join(os.path.dirname(member.name), member.linkname))
                links[member.name] = target
            source = archive.extractfile(member) if member.isfile() else None
            if source is None:
                continue
            if member.name in ("manifest.json", "index.json", "oci-layout", "repositories"):
                documents[member.name] = source.read()
                continue
            if member.name.endswith(("/VERSION", "/json")):
                continue
            members[member.name] = _spool(source, blobs, on_bytes)
    members.update({path: members[target] for path, target in links.items() if target in members})
    return members, documents


def describe(members: Mapping[str, str], documents: Mapping[str, bytes], blobs: str, skip_layers: int) -> dict[str, Any]:
    """``{config, layers: [{blob, diff_id}], others: [blob], index: OCI index or None, sizes: {blob: bytes}}`` of what ``take_apart`` found.

    Blobs that nobody needs, and those of the first ``skip_layers`` layers, are removed from ``blobs``.
    """
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
    return {"config": config, "layers": layers, "others": others, "index": index, "sizes": sizes}


def put_together(stream: tarfile.TarFile, archive: Mapping[str, Any], blobs: str, name: str, on_bytes: Callable[[int], None]) -> None:
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
            stream.addfile(member, _Counted(source, on_bytes))
    layers = [f"blobs/sha256/{layer['blob']}" for layer in archive["layers"]]
    document("manifest.json", [{"Config": f"blobs/sha256/{archive['config']}", "RepoTags": [name], "Layers": layers}])
    if archive.get("index"):
        index = json.loads(json.dumps(archive["index"]))
        for one in index.get("manifests") or []:
            one["annotations"] = {"io.containerd.image.name": f"docker.io/library/{name}", "org.opencontainers.image.ref.name": name.partition(":")[2]}
        document("index.json", index)
        document("oci-layout", {"imageLayoutVersion": "1.0.0"})


def _spool(source: IO[bytes], blobs: str, on_bytes: Callable[[int], None]) -> str:
    hasher = hashlib.sha256()
    temporary = os.path.join(blobs, ".spooling")
    try:
        with open(temporary, "wb") as target:
            while chunk := source.read(CHUNK):
                hasher.update(chunk)
                target.write(chunk)
                on_bytes(len(chunk))
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


class _Counted:
    """A file that says how much was read of it."""

    def __init__(self, stream: IO[bytes], on_bytes: Callable[[int], None]) -> None:
        self._stream, self._on_bytes = stream, on_bytes

    def read(self, count: int = -1) -> bytes:
        data = self._stream.read(count)
        self._on_bytes(len(data))
        return data
