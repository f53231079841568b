# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a recipe comes from: a file, a directory, or a path in a git repository. All is read, nothing is checked out and nothing is run."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import mods as image_mods
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import mod_files as mods
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import LONGEST

SUFFIXES = (".yaml", ".yml")
MOST = 500
"""Recipes of one directory."""
_URL = re.compile(r"(?:(?:https|http|ssh|git|file)://|[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:)\S+")
_PAGE = re.compile(r"(https?://[^/]+/[^/]+/[^/]+)/(?:-/)?(?:blob|raw|tree|edit)/[^/]+/(.+)")
_OF_A_REGISTRY = re.compile(r"@[A-Za-z0-9._-]+/[A-Za-z0-9][A-Za-z0-9._-]*")
_CLONE_S = 120.0
_SKIPPED = ("benchmarking", "benchmarks", "tuning", "mods", "node_modules")


class Source(NamedTuple):
    """One recipe: its text, what messages call it, and what lies beside it of the mods that it names.

    ``mods``: what is against each, "" where nothing is; ``beside``: its whole path on the controller, "" in a repository; ``files``: what it holds there.
    """

    name: str
    text: str
    mods: dict[str, str]
    beside: dict[str, str] = {}
    files: dict[str, dict[str, tuple[bytes, bool]]] = {}


class Found(NamedTuple):
    """``recipes``: all that were found; ``commit``: of a repository."""

    recipes: list[Source]
    commit: str = ""


def find(given: str, base: str = "") -> Found:
    """The recipes that ``given`` names: FILE, DIR or GIT_URL#PATH. ``base``: where relative paths begin. GB10Error in one sentence."""
    given = given.strip()
    address, sign, path = given.partition("#")
    if given.startswith("@"):
        raise GB10Error(f"recipe: {given[:80]} is a name in a registry of sparkrun; name the registry's repository and the path in it, as GIT_URL#PATH.")
    page = _PAGE.fullmatch(address)
    if page or (not sign and address.startswith(("https://", "http://")) and address.endswith(SUFFIXES)):
        instead = f"{page[1]}.git#{page[2]}" if page else "GIT_URL#PATH"
        raise GB10Error(f"recipe: {given[:200]} is the address of a page or file; name it in its repository, as {instead}, or fetch it and name the file.")
    if _URL.fullmatch(address):
        return _in_repository(address, path)
    if "::" in address or (sign and "://" in address):
        raise GB10Error(f"recipe: {address[:80]} is no address git reads over https or ssh; write https://HOST/OWNER/NAME.git#PATH.")
    return Found(_in_directory(Path(base or os.getcwd()) / Path(given).expanduser(), given))


def _in_directory(path: Path, given: str) -> list[Source]:
    if path.is_file():
        return [_local(path, path.name)]
    for suffix in SUFFIXES:
        if path.with_name(path.name + suffix).is_file():
            return [_local(path.with_name(path.name + suffix), path.name + suffix)]
    if not path.is_dir():
        raise GB10Error(f"recipe: {given} is neither a file nor a directory on the controller ({path.parent} was looked at); name one, or GIT_URL#PATH.")
    files = [one for one in sorted(path.rglob("*")) if one.suffix in SUFFIXES and _wanted(one.relative_to(path).as_posix()) and one.is_file()]
    if not files:
        raise GB10Error(f"recipe: the directory {given} holds no recipe (files that end in {' or '.join(SUFFIXES)}).")
    _bound(len(files), given)
    return [_local(one, one.relative_to(path).as_posix()) for one in files]


def _bound(count: int, given: str) -> None:
    if count > MOST:
        raise GB10Error(f"recipe: {given} holds {count} recipes, more than the {MOST} that are read at once; name a directory in it.")


def _wanted(path: str) -> bool:
    """Whether a path in a directory of recipes may be one: hidden files, profiles and mods are none."""
    parts = PurePosixPath(path).parts
    return not any(part.startswith(".") or part in _SKIPPED or part.endswith("-mods") for part in parts)


def _local(path: Path, name: str) -> Source:
    try:
        with path.open("rb") as stream:
            raw = stream.read(LONGEST + 1)
    except OSError as error:
        raise GB10Error(f"recipe: {path} cannot be read ({error.strerror}).") from None
    text = _decoded(raw, name)
    places = mods.beside(path, _mods_named(text))
    return Source(name, text, *_looked_at({mod: partial(mods.files_of, place) for mod, place in places.items()}, places))


def _decoded(raw: bytes, name: str) -> str:
    if b"\0" in raw[:4096]:
        raise GB10Error(f"recipe: {name} is no text, so it is no recipe.")
    return raw.decode("utf-8-sig", errors="replace")


def _mods_named(text: str) -> list[str]:
    """The mods that a recipe names, as paths from a place where mods lie; of one without a folder that in ``mods`` counts."""
    try:
        loaded = yaml.safe_load(text) if len(text) <= LONGEST else None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return []  # `document.read` says what is wrong with it
    found = loaded.get("mods") if isinstance(loaded, dict) else None
    inner = loaded.get("runtime_config") if isinstance(loaded, dict) else None
    found = found or (inner.get("mods") if isinstance(inner, dict) else None)
    names = [image_mods.called(str(one)) for one in (found if isinstance(found, list) else [found]) if isinstance(one, str)]
    return list(dict.fromkeys(name for name in names if image_mods.NAME.fullmatch(name) or _OF_A_REGISTRY.fullmatch(name)))


def _looked_at(
    there: Mapping[str, Callable[[], dict[str, tuple[bytes, bool]]]], places: dict[str, str]
) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, tuple[bytes, bool]]]]:
    """(what is against each mod that lies beside a recipe, its place, its files), by name; a directory that cannot be taken over is against it."""
    against, files = {}, {}
    for name, look in there.items():
        try:
            files[name] = look()
            against[name] = image_mods.against(files[name][image_mods.SCRIPT][0].decode(errors="replace"))
        except GB10Error as error:
            against[name] = str(error).removeprefix("gb10_image.mods: ").removeprefix("recipe: ").rstrip(".")
    return against, places, files


def _in_repository(address: str, path: str) -> Found:
    """The recipes below a path of a repository's newest commit, read out of its objects."""
    shown = re.sub(r"//[^@/\s]*@", "//", address)
    if re.search(r"//[^/@\s]*:[^/@\s]*@", address):
        raise GB10Error(f"recipe: the address of {shown} holds a password; leave it out and let git's credential helper or an SSH key open the repository.")
    wanted = PurePosixPath(path.strip("/"))
    if ".." in wanted.parts:
        raise GB10Error(f"recipe: {path} leaves the repository; name a path in it.")
    with tempfile.TemporaryDirectory(prefix="gb10-recipe-") as folder:
        _git(shown, "clone", "--quiet", "--depth", "1", "--no-checkout", "--no-tags", "--", address, folder)
        commit = _git(shown, "-C", folder, "rev-parse", "HEAD").strip()
        paths = _git(shown, "-C", folder, "-c", "core.quotePath=false", "ls-tree", "-r", "--name-only", "HEAD").splitlines()
        names = _named(paths, str(wanted), shown)

        def show(name: str) -> str:
            return _git(shown, "-C", folder, "cat-file", "blob", f"HEAD:{name}")

        listed = _git(shown, "-C", folder, "-c", "core.quotePath=false", "ls-tree", "-r", "HEAD").splitlines()
        modes = {path: words.split()[0] for words, _tab, path in (line.partition("\t") for line in listed)}
        found = []
        for name in names:
            text = _decoded(show(name).encode("utf-8", "surrogateescape")[: LONGEST + 1], name)
            parents = [str(one) for one in PurePosixPath(name).parents]
            registry = show(mods.REGISTRY) if mods.REGISTRY in modes else ""
            paths_of = {mod: mods.in_registry(registry, mod) if mod.startswith("@") else mod for mod in _mods_named(text)}
            there = {mod: place for mod, called in paths_of.items() if called and (place := _place_in(modes, parents, called))}
            looks = {mod: partial(_mod_in, modes, place, show) for mod, place in there.items()}
            found.append(Source(name, text, *_looked_at(looks, dict.fromkeys(there, ""))))
        return Found(found, commit)


def _place_in(modes: Mapping[str, str], parents: Sequence[str], mod: str) -> str:
    """Where in a repository a mod of a recipe lies, "" for nowhere beside it."""
    places = (str(PurePosixPath(parent) / mod) for parent in parents)
    return next((place for place in places if f"{place}/{image_mods.SCRIPT}" in modes), "")


def _mod_in(modes: Mapping[str, str], place: str, show: Callable[[str], str]) -> dict[str, tuple[bytes, bool]]:
    """The files of a mod in a repository. GB10Error for one that holds links or too much."""
    inside = [path for path in modes if path.startswith(f"{place}/")]
    link = next((path for path in inside if not modes[path].startswith("100")), "")
    if link or len(inside) > image_mods.MOST_FILES:
        what = f"holds {link}, a link or no plain file" if link else f"has more than {image_mods.MOST_FILES} files"
        raise GB10Error(f"recipe: {place} of its repository {what}, which is not taken over.")
    files = {path.removeprefix(f"{place}/"): (show(path).encode("utf-8", "surrogateescape"), modes[path] == "100755") for path in inside}
    if sum(len(text) for text, _executable in files.values()) > image_mods.MOST_BYTES:
        raise GB10Error(f"recipe: {place} of its repository has more than {image_mods.MOST_BYTES // 1024} KiB, which is more than a mod is.")
    return files


def _named(paths: list[str], wanted: str, shown: str) -> list[str]:
    """The paths of a repository that are meant by ``wanted``: a file, with or without its ending, or all recipes below it."""
    whole = [one for one in (wanted, *(wanted + suffix for suffix in SUFFIXES)) if one in paths]
    if whole:
        return whole[:1]
    below = "" if wanted == "." else f"{wanted}/"
    found = sorted(one for one in paths if one.startswith(below) and one.endswith(SUFFIXES) and _wanted(one.removeprefix(below)))
    if not found:
        top = ", ".join(sorted({one.split("/")[0] for one in paths})[:8])
        raise GB10Error(f"recipe: {shown} has no recipe at {'its top' if wanted == '.' else wanted}; it has {top}.")
    _bound(len(found), shown)
    return found


def _git(shown: str, *arguments: str) -> str:
    """Git's answer; it asks nobody, runs no hook and no program that the address might name."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C", "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file"}
    environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=15")
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", env=environment, timeout=_CLONE_S, check=False)
    except FileNotFoundError:
        raise GB10Error("recipe: there is no git command on the controller, which a repository needs; install it, or name a file.") from None
    except subprocess.TimeoutExpired:
        raise GB10Error(f"recipe: {shown} did not answer within {_CLONE_S:.0f} s; is the controller on the network?") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        why = next((line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))), lines[-1] if lines else "no reason given")
        why = re.sub(r"//[^@/\s]*@", "//", why).removeprefix("fatal: ").rstrip(".")
        raise GB10Error(f"recipe: {shown} cannot be read ({why}); check the address, and that the controller reaches it.")
    return done.stdout
