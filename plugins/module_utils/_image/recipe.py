# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a version of spark-vllm-docker's build-and-copy.sh offers, and how our options are said in its words.

The script's flags changed several times, so they are read from its own ``--help``. Pure text in, lists out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import pull_requests

REBUILD = ("all", "vllm", "flashinfer", "deps")

# Where each ability is found; read from the project's history up to 358bf26 (2026-08-14).
VERSIONS = {
    "release": "commits from 2025-12-21 to 2026-02-08, for example 74c02c37c280c64d07119350a7d42225f1b154ba",
    "nightly": "commits from 2025-12-20 to 2026-02-08, for example 74c02c37c280c64d07119350a7d42225f1b154ba",
    "prebuilt": "commits from 2026-03-04 on, for example 358bf26e3d7d315450a6159ccdc0b38cbbd6b855",
    "vllm": "commits from 2025-12-05 on",
    "flashinfer": "commits from 2026-02-17 on",
    "deps": "commits from 2025-12-05 to 2026-02-16",
    "transformers": "commits from 2025-12-21 to 2026-06-29; later ones have Transformers 5 without asking",
    "--vllm-ref": "commits from 2025-12-14 on",
    "--build-jobs": "commits from 2025-12-18 on",
    pull_requests.FLAG: "commits that offer it, for example 358bf26e3d7d315450a6159ccdc0b38cbbd6b855",
}

# Builds of another vLLM than the project's wheels hold, which the script makes or pulls by itself; the second one knows no flag for wheels at all.
PRESETS = ("--exp-b12x", "--experimental-b12x", "--exp-mxfp4", "--experimental-mxfp4")
PINNED = PRESETS[2:]

# From 2026-02-09 to 02-16 the script asks on the terminal whether one really wants a build from wheels, known not to work.
_WARNS = re.compile(r"""read\s+-p\s+["'][^"']*wheels""", re.IGNORECASE)

# What the module decides itself; passing it twice would fight with it.
RESERVED = {"-t", "--tag", "-c", "--copy-to", "--copy-to-host", "--copy-to-hosts", "--copy-parallel", "-u", "--user",
            "--no-build", "--cleanup", "--setup", "--config", "-h", "--help", "--use-wheels", "-j", "--build-jobs", "--vllm-ref"}  # fmt: skip


@dataclass(frozen=True)
class Flag:
    """One flag of the script. ``takes``: none, optional or required value."""

    name: str
    takes: str
    text: str


@dataclass(frozen=True)
class Offer:
    """What one version of the script can do."""

    flags: dict[str, Flag]
    wheels: tuple[str, ...]
    downloads_wheels_unasked: bool


@dataclass(frozen=True)
class Wanted:
    """What the user asks of a build, in our words."""

    wheels: str = "auto"
    vllm_ref: str = ""
    jobs: int = 0
    transformers: str = "default"
    rebuild: tuple[str, ...] = ()
    arguments: tuple[str, ...] = field(default=())
    vllm_prs: tuple[str, ...] = field(default=())


def parse_help(text: str) -> dict[str, Flag]:
    """Flags by every spelling they have, from the text of ``build-and-copy.sh --help``."""
    flags: dict[str, Flag] = {}
    for line in text.splitlines():
        match = re.match(r"\s+(-[^:]*?)\s*:(?:\s+|$)(.*)", line)
        if not match:
            continue
        left, meaning = match.groups()
        names = re.findall(r"(?<![\w-])-{1,2}[A-Za-z][\w-]*", left)
        alias = re.search(r"\(alias(?:es)?:([^)]*)\)", meaning)
        if alias:
            names += re.findall(r"--[\w-]+", alias.group(1))
        takes = "required" if "<" in left else "optional" if "[" in left else "none"
        for name in names:
            flags.setdefault(name, Flag(name, takes, meaning.strip()))
    return flags


def read_offer(help_text: str, script: str = "", where: str = "build-and-copy.sh") -> Offer:
    """Judge a version by its help text and, for what the help does not say, its source.

    Raises GB10Error when the help text does not look like the script's.
    """
    flags = parse_help(help_text)
    if "--tag" not in flags and "-t" not in flags:
        raise GB10Error(f"{where} --help lists no --tag flag, so this is not spark-vllm-docker's build script as known; check the repository and the ref")
    wheels: list[str] = []
    unasked = False
    use = flags.get("--use-wheels")
    if use is not None and use.takes == "none":
        wheels.append("prebuilt")
    elif use is not None and not _WARNS.search(script):
        wheels += [mode for mode in ("release", "nightly") if mode in use.text] or ["nightly"]
    elif use is None and "prebuilt-vllm" in script:  # 2026-03-04 to 2026-07-01: downloads the project's wheels without being asked
        wheels.append("prebuilt")
        unasked = True
    wheels.append("none")
    return Offer(flags, tuple(wheels), unasked)


def translate(wanted: Wanted, offer: Offer, tag: str, where: str = "this version of spark-vllm-docker") -> list[str]:
    """The script's arguments for what is wanted; GB10Error names what ``where`` lacks and which versions have it."""
    arguments = ["--tag", tag]
    wheels = _wheels(wanted, offer, where)
    if wheels in ("release", "nightly"):
        arguments += ["--use-wheels", wheels]
    elif wheels == "prebuilt" and not offer.downloads_wheels_unasked:
        arguments.append("--use-wheels")
    rebuild = _rebuild(wanted.rebuild, offer, wheels, where)
    pinned = any(word in PINNED for word in wanted.arguments)
    if wheels == "none" and "prebuilt" in offer.wheels and "--rebuild-vllm" in offer.flags and not wanted.vllm_ref and not pinned:
        rebuild.setdefault("vllm", "--rebuild-vllm")  # without a flag these versions pull or download instead
    arguments += list(dict.fromkeys(rebuild.values()))
    if wanted.vllm_ref:
        arguments += [_need(offer, "--vllm-ref", f"vllm_ref={wanted.vllm_ref}", where), wanted.vllm_ref]
    for reference in wanted.vllm_prs:
        arguments += [_need(offer, pull_requests.FLAG, "vllm_prs", where), reference]
    if wanted.jobs:
        arguments += [_need(offer, "--build-jobs", f"jobs={wanted.jobs}", where), str(wanted.jobs)]
    if wanted.transformers == "pre":
        flag = next((offer.flags[n] for n in ("--tf5", "--pre-tf", "--pre-transformers") if n in offer.flags), None)
        if flag is None or "deprecated" in flag.text.lower():
            why = "it has Transformers 5 already" if flag else "it has no such flag"
            raise GB10Error(f"{where} cannot choose transformers=pre: {why}. Leave it at default, or use {VERSIONS['transformers']}")
        arguments.append(flag.name)
    if "--full-log" in offer.flags:
        arguments.append("--full-log")  # BuildKit's plain output is what progress is read from
    return arguments + _checked(wanted.arguments, offer, where)


def _wheels(wanted: Wanted, offer: Offer, where: str) -> str:
    """Which vLLM is installed, once auto is decided."""
    wheels = wanted.wheels
    if wheels == "auto":
        wheels = next(w for w in ("prebuilt", "release", "nightly", "none") if w in offer.wheels)
        if wanted.vllm_ref or wanted.vllm_prs or any(word in PRESETS for word in wanted.arguments):
            wheels = "none"
    if wheels not in offer.wheels:
        raise GB10Error(
            f"{where} cannot build with wheels={wheels}: it offers {_list(offer.wheels)}. Choose one of these, or a ref that has it: {VERSIONS[wheels]}"
        )
    if wanted.vllm_ref and wheels != "none":
        raise GB10Error(
            f"vllm_ref={wanted.vllm_ref} needs vLLM compiled from source, but wheels={wheels} installs one that is already built; "
            "set wheels to none (about 30 minutes on a GB10) or drop vllm_ref"
        )
    if wanted.vllm_prs and wheels != "none":
        raise GB10Error(f"vllm_prs change vLLM's source, but wheels={wheels} installs one that is already built; set wheels to none or drop vllm_prs")
    return wheels


def _rebuild(parts: Sequence[str], offer: Offer, wheels: str, where: str) -> dict[str, str]:
    flags = {part: f"--rebuild-{part}" for part in REBUILD if part != "all"}
    if wheels == "prebuilt":  # anew means downloaded anew there; --rebuild-* would compile
        flags.update({part: f"--force-{part}-download" for part in flags if f"--force-{part}-download" in offer.flags})
    if "all" in parts:
        return {part: flag for part, flag in flags.items() if flag in offer.flags}
    for part in parts:
        if flags[part] not in offer.flags:
            raise GB10Error(
                f"{where} cannot rebuild {part}: it has no {flags[part]} flag. Take {part} out of rebuild, or use a ref that has it: {VERSIONS[part]}"
            )
    return {part: flags[part] for part in parts}


def _need(offer: Offer, flag: str, option: str, where: str) -> str:
    if flag not in offer.flags:
        raise GB10Error(f"{where} has no {flag} flag, which {option} needs. Drop it, or use a ref that has it: {VERSIONS[flag]}")
    return flag


def _checked(arguments: Sequence[str], offer: Offer, where: str) -> list[str]:
    for position, word in enumerate(arguments):
        if not word.startswith("-"):
            if position == 0:
                raise GB10Error(f"arguments must begin with a flag, not with {word!r}")
            continue
        if word == pull_requests.FLAG:
            raise GB10Error(f"arguments may not hold {word}: name the pull request with the checksum of its diff in vllm_prs")
        if word in RESERVED:
            raise GB10Error(f"arguments may not hold {word}: the collection decides that itself")
        if word not in offer.flags:
            known = _list(sorted(n for n in offer.flags if n.startswith("--") and n not in RESERVED))
            raise GB10Error(f"{where} has no {word} flag. It has {known}")
    return list(arguments)


def _list(words: Sequence[str]) -> str:
    return ", ".join(words) if words else "nothing"
