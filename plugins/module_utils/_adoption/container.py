# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What there is to know of a vLLM server that somebody started in a container by hand, without its secrets. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.env_file import secrets
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import HIDDEN, redact
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import SECRET_ARGS, canonical_name, plain_name

SHELLS = ("sh", "bash", "dash", "zsh")
MODULES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main")
_PYTHON = re.compile(r"python[0-9.]*")
_SERVES = re.compile(r"\bvllm\s+serve\b|vllm\.entrypoints\.(?:openai\.api_server|cli\.main)")
# Of the container and not of its server: an image sets most of them, a runtime the others.
RUNTIME = ("PATH", "HOSTNAME", "HOME", "TERM", "PWD", "SHLVL", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "LD_LIBRARY_PATH")


def serve_words(argv: Sequence[str]) -> list[str]:
    """The words after ``vllm serve`` in a program's arguments, whatever stands before it; [] where it is no such program."""
    for at, word in enumerate(argv):
        program = posixpath.basename(word)
        after = argv[at + 1 :]
        if program == "vllm" and after[:1] == ["serve"]:
            return ["vllm", "serve", *after[1:]]
        if _PYTHON.fullmatch(program) and after[:1] == ["-m"] and after[1:2] and after[1] in MODULES:
            rest = list(after[2:])
            return ["vllm", "serve", *(rest[1:] if rest[:1] == ["serve"] else rest)]
    return []


def shell_text(argv: Sequence[str]) -> str:
    """The script of ``bash -c SCRIPT`` that calls vLLM; "" for anything else."""
    for at, word in enumerate(argv):
        if posixpath.basename(word) in SHELLS:
            options = [one for one in argv[at + 1 :] if one.startswith("-")]
            script = next((one for one in argv[at + 1 :] if not one.startswith("-")), "")
            return script if any("c" in one for one in options) and _SERVES.search(script) else ""
    return ""


def without_secrets(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """(words with their secrets hidden, the flags that had one)."""
    shown: list[str] = []
    hidden: list[str] = []
    after = ""
    for word in words:
        if word.startswith("-") and not after:
            written, equals, _value = word.partition("=")
            secret = canonical_name(plain_name(written)) in SECRET_ARGS
            hidden += [written] if secret else []
            after = written if secret and not equals else ""
            shown.append(f"{written}={HIDDEN}" if secret and equals else redact(word, ()))
        elif after and not word.startswith("--"):
            shown.append(HIDDEN)
        else:
            after = ""
            shown.append(redact(word, ()))
            if word.startswith("-") and canonical_name(plain_name(word.partition("=")[0])) in SECRET_ARGS:
                hidden, after = [*hidden, word.partition("=")[0]], "" if "=" in word else word
    return shown, hidden


def own_environment(container: Sequence[str], image: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """({name: value}, names of secrets) of what a container's environment (``NAME=value``) has beside its image's."""
    known = set(image)
    named = dict(one.partition("=")[::2] for one in container if one not in known)
    given = {name: value for name, value in named.items() if name not in RUNTIME}
    private = set(secrets(given)) | {name for name, value in given.items() if redact(value, ()) != value or redact(f"{name}={value}", ()) != f"{name}={value}"}
    return {name: value for name, value in given.items() if name not in private}, sorted(private)


def described(container: Mapping[str, Any], image: Mapping[str, Any], processes: Iterable[Sequence[str]]) -> dict[str, Any] | None:
    """One server as a module returns it, None where the container serves no vLLM.

    ``container`` and ``image`` as ``docker inspect`` shows them; ``processes``: the arguments of each that runs in it, which count before its command: a
    shell has expanded them, and a server may have been started later, with docker exec.
    """
    config, host = container.get("Config") or {}, container.get("HostConfig") or {}
    argv = [container.get("Path") or "", *(container.get("Args") or [])]
    words = next((found for one in [*processes, argv] if (found := serve_words(list(one)))), [])
    script = "" if words else shell_text(argv)
    if not words and not script:
        return None
    shown, hidden = without_secrets(words)
    env, private = own_environment(config.get("Env") or [], (image.get("Config") or {}).get("Env") or [])
    labels = config.get("Labels") or {}
    return {
        "name": str(container.get("Name", "")).lstrip("/"),
        "status": (container.get("State") or {}).get("Status", ""),
        "command": shown,
        "script": redact(script, ()),
        "secrets": [*hidden, *private],
        "env": env,
        "mounts": [_mount(one) for one in container.get("Mounts") or []],
        "ports": [
            {"container": int(inner.partition("/")[0]), "address": one.get("HostIp") or "", "port": int(one.get("HostPort") or 0)}
            for inner, bound in (host.get("PortBindings") or {}).items()
            for one in bound or []
        ],
        "network": host.get("NetworkMode") or "",
        "image": config.get("Image") or "",
        "image_id": container.get("Image") or "",
        "image_names": image.get("RepoTags") or [],
        "restart": (host.get("RestartPolicy") or {}).get("Name") or "no",
        "compose": labels.get("com.docker.compose.project", ""),
        "options": sorted(_options(config, host)),
    }


def _mount(one: Mapping[str, Any]) -> dict[str, Any]:
    named = one.get("Type") == "volume"
    return {"source": one.get("Source") or "", "target": one.get("Destination") or "", "volume": (one.get("Name") or "") if named else ""}


def _options(config: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    """Options of ``docker run`` that a container here has otherwise, by their names."""
    default_shm = 64 * 2**20
    found = {
        "--privileged": host.get("Privileged"),
        "--ipc": host.get("IpcMode") not in (None, "", "private", "shareable"),
        "--network": host.get("NetworkMode") == "host",
        "--shm-size": (host.get("ShmSize") or default_shm) != default_shm,
        "--cap-add": host.get("CapAdd"),
        "--device": host.get("Devices"),
        "--ulimit": host.get("Ulimits"),
        "--user": config.get("User"),
        "--memory": host.get("Memory"),
        "--pid": host.get("PidMode"),
        "--restart": (host.get("RestartPolicy") or {}).get("Name") not in (None, "", "no"),
    }
    return [name for name, value in found.items() if value]
