# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory from which a fleet is installed without any network: what is in it, and whether it is still what was written.

manifest.json   what it holds and for what; names, sizes, SHA-256
SHA256SUMS      the same sums for ``sha256sum -c``
settings.yml    variables for ``ansible-playbook -e @settings.yml``
image.tar, models/NAME/, collections/*.tar.gz
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import file_sha256, inside, safe_name
from ansible_collections.gb10.vllm.plugins.module_utils._model.store import RECORD, read_record

FORMAT = 1
OWN_FILES = ("manifest.json", "SHA256SUMS", "settings.yml")


def safe_directory(model: str) -> str:
    """Directory of a model inside the bundle; one level, whatever the model is called."""
    return "models/" + model.strip("/").replace("/", "--")


def models(wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The models of a fleet as the manifest lists them, each once: ``[{model, repo_id, revision, directory}]``, and ``version`` where it has one.

    Of a model that several boxes have, the version of the first: that is the one that is copied.
    """
    found: dict[str, dict[str, Any]] = {}
    for one in wanted:
        version = {"version": one["version"]} if one.get("version") else {}
        found.setdefault(str(one["model"]), {**{key: one.get(key) for key in ("model", "repo_id", "revision")}, **version})
    return [dict(one, directory=safe_directory(model)) for model, one in found.items()]


def pack_collection(path: str, directory: str) -> str:
    """An installed collection as the archive ``ansible-galaxy collection install`` takes; its path. GB10Error for a bare checkout.

    Packages leave out some files of a collection (its CI, say); the archive's own list leaves them out too, or it would be refused.
    """
    try:
        with open(os.path.join(path, "MANIFEST.json"), encoding="utf-8") as stream:
            manifest = json.load(stream)
        with open(os.path.join(path, "FILES.json"), encoding="utf-8") as stream:
            listed = json.load(stream)
        info, sums = manifest["collection_info"], manifest["file_manifest_file"]
    except (OSError, ValueError, KeyError):
        raise GB10Error(f"{path} is not an installed collection (it has no MANIFEST.json); build it with ansible-galaxy collection build") from None
    listed["files"] = [one for one in listed["files"] if os.path.exists(os.path.join(path, one["name"]))]
    documents = {"FILES.json": json.dumps(listed, indent=1).encode()}
    sums["chksum_sha256"] = hashlib.sha256(documents["FILES.json"]).hexdigest()
    documents["MANIFEST.json"] = json.dumps(manifest, indent=1).encode()
    target = os.path.join(directory, f"{info['namespace']}-{info['name']}-{info['version']}.tar.gz")
    with tarfile.open(target + ".new", "w:gz") as archive:
        for name in ("MANIFEST.json", "FILES.json"):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(documents[name]), 0o644
            archive.addfile(member, io.BytesIO(documents[name]))
        for one in listed["files"]:
            if one["name"] != ".":
                archive.add(os.path.join(path, one["name"]), arcname=one["name"], recursive=False)
    os.replace(target + ".new", target)
    return target


def write_manifest(
    directory: str, facts: Mapping[str, Any], known: Mapping[str, str] | None = None, told: Callable[[int], None] = lambda count: None
) -> dict[str, Any]:
    """Describe everything that lies in ``directory``; ``known`` holds sums that were verified a moment ago, by relative name."""
    files = {}
    for place, directories, names in os.walk(directory):
        directories.sort()
        record = read_record(place).get("files") or {}
        for name in sorted(names):
            path = os.path.join(place, name)
            relative = os.path.relpath(path, directory)
            if relative in OWN_FILES:
                continue
            size = os.path.getsize(path)
            entry = record.get(name) or {}
            digest = (known or {}).get(relative) or (entry.get("sha256") if entry.get("size") == size else None)
            # A sum from the record is of the model as it was verified: a copy that went wrong since then is found when it is read.
            files[relative] = {"size": size, "sha256": digest if digest and name != RECORD else file_sha256(path, told)}
    manifest = {"format": FORMAT, **facts, "files": files}
    _write(os.path.join(directory, "SHA256SUMS"), "".join(f"{entry['sha256']}  {name}\n" for name, entry in files.items()))
    _write(os.path.join(directory, "manifest.json"), json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def read_manifest(directory: str, contents: bool = False, told: Callable[[int], None] = lambda count: None) -> dict[str, Any]:
    """The manifest of a bundle whose files are all there in their sizes; with ``contents`` every file is read and compared as well."""
    path = os.path.join(directory, "manifest.json")
    try:
        with open(path, encoding="utf-8") as stream:
            manifest = json.load(stream)
    except FileNotFoundError:
        raise GB10Error(f"{directory} is not a bundle (it has no manifest.json); write one with: ansible-playbook gb10.vllm.bundle") from None
    except (OSError, ValueError, RecursionError) as error:
        raise GB10Error(f"{path} cannot be read ({error}); copy the bundle again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise GB10Error(f"{path} has format {manifest.get('format') if isinstance(manifest, dict) else '?'}; this version of gb10.vllm reads format {FORMAT}")
    _check_files(manifest.get("files"), path)
    for name, entry in manifest["files"].items():
        full = os.path.join(directory, name)
        size = os.path.getsize(full) if os.path.isfile(full) else None
        if size is None:
            raise GB10Error(f"the bundle {directory} lacks {name}; copy it again")
        if inside(directory, name) is None:  # it would be sent to the boxes, whatever of the controller's it is
            raise GB10Error(f"{full} is or lies behind a link that leads out of the bundle, which is not followed; copy the bundle again, with its own files")
        if size != entry["size"]:
            raise GB10Error(f"{full} has {size} bytes instead of {entry['size']}; copy the bundle again")
        if contents and file_sha256(full, told) != entry["sha256"]:
            raise GB10Error(f"{full} is damaged: its SHA-256 is not the one in manifest.json; copy the bundle again")
    return manifest


def _check_files(files: Any, path: str) -> None:
    """The list of files of a manifest is one, and stays in the bundle."""
    for name, found in files.items() if isinstance(files, dict) else [("files", None)]:
        entry: dict[str, Any] = found if isinstance(found, dict) else {}
        size = entry.get("size")
        if not safe_name(name) or isinstance(size, bool) or not isinstance(size, int) or not isinstance(entry.get("sha256"), str):
            raise GB10Error(f"{path} names {name[:200]!r} without a proper place, size or SHA-256; copy the bundle again")


def model_sums(manifest: Mapping[str, Any], directory: str) -> dict[str, dict[str, Any]]:
    """``{name: {size, sha256}}`` of one model of a bundle."""
    prefix = directory + "/"
    return {name.removeprefix(prefix): entry for name, entry in manifest["files"].items() if name.startswith(prefix) and not name.endswith("/" + RECORD)}


def write_settings(directory: str, image: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> None:
    """Write ``settings.yml`` beside the manifest."""
    _write(os.path.join(directory, "settings.yml"), settings_text(image, models))


def settings_text(image: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> str:
    """Variables with which ``site`` installs from the bundle (``gb10_bundle`` says where that is)."""
    # Ansible's own kind of text, which remembers where it came from, is nothing that YAML can write.
    variables = {"name": "".join(image["name"]), "source": "archive", "archive_on": "controller", "archive": "{{ gb10_bundle }}/image.tar"}
    variables["checksum"] = f"sha256:{image['sha256']}"
    head = ["---", "# Written by gb10.vllm.bundle. Use: ansible-playbook gb10.vllm.site -e gb10_bundle=DIRECTORY -e @DIRECTORY/settings.yml"]
    held = [f"# {one['model']}: {one.get('version') or one.get('revision') or 'no revision recorded'}" for one in models]
    return "\n".join([*head, yaml.safe_dump({"gb10_image": variables}, sort_keys=False, width=160).rstrip("\n"), *held]) + "\n"


def _write(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(path + ".new", path)
