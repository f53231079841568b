# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the user wrote, with every default filled in, or one sentence on what is wrong with it. Pure."""

from __future__ import annotations

import difflib
import ipaddress
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import mods as image_mods
from ansible_collections.gb10.vllm.plugins.module_utils._image import pull_requests
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import short
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import environment, groups
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import is_loopback
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.flavours import image_settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.inside import check_api, named, own_port
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Server

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
FLEET_KEYS = ("gb10_router_key", "gb10_metrics_key")
LEAST_KEY = 32
"""Characters of a key of the whole fleet: its digest is compared, so it must not be guessed from that."""
FLEET_KEY = re.compile(r"[!-~]+")
BIND_PATH = re.compile(r"/[^:\0\n]+")
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


# Settings of a server that count as absent where nothing follows their name.
EMPTY = (
    "api_key",
    "args",
    "boxes",
    "tensor_parallel",
    "pipeline_parallel",
    "concurrency",
    "env",
    "gpu_memory_utilization",
    "image",
    "kv_cache_memory_gib",
    "port",
    "reserve_gib",
    "tls",
)
HUB_URL = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/(?:tree|resolve|blob)/([^/?#]+))?")
# ORG/NAME:Q4_K_M, as llama.cpp, Ollama and vLLM's GGUF plugin name one file of a repository.
QUANTISED_FILE = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*:(?:UD-)?(?:I?Q\d\w*|TQ\d\w*|[BF]F?16|F32|MXFP4\w*|NVFP4)", re.IGNORECASE)
PINNED = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)[:@]([\w./-]+)")


def without_empty(server: Mapping[str, Any]) -> dict[str, Any]:
    """The same server without the settings that nothing follows."""
    return {key: value for key, value in server.items() if value is not None or key not in EMPTY}


def model_mistake(model: str) -> str:
    """What is wrong with the way a model is named, and how it is named, without a full stop; "" where nothing is."""
    url = HUB_URL.match(model)
    if url:
        revision = f" and `revision: {url[2]}`" if url[2] and url[2] != "main" else ""
        return f"`model: {short(model)}` is an address of a web page: write `model: {url[1]}`{revision}"
    if "://" in model:
        return f"`model: {short(model)}` is an address: write a directory of the box, or ORG/NAME for a repository of the hub"
    if QUANTISED_FILE.fullmatch(model):
        return f"`model: {short(model)}` names one GGUF file of a repository, and GGUF is not supported: use the model's safetensors version"
    pinned = PINNED.fullmatch(model)
    if pinned and ":" in model:
        return f"`model: {short(model)}` holds a revision: write `model: {pinned[1]}` and `revision: {pinned[2]}`"
    if model.startswith("~"):
        return f"`model: {short(model)}` begins with ~, which may be anybody's home on the box: write the whole path"
    if model.startswith(("./", "../")):
        return f"`model: {short(model)}` is below where you stand, but models lie on the box: write its whole path there, or its path below gb10_models_dir"
    return ""


def server_mistakes(servers: Any, models_dir: str, allow_open: bool = False, listen: str = "") -> list[str]:
    """What ``normalise`` has against the servers, as a list of at most one sentence."""
    try:
        normalise(servers, models_dir, allow_open, listen)
    except GB10Error as error:
        return [str(error)]
    return []


def _unique(servers: Sequence[Mapping[str, Any]], key: str) -> None:
    """No two servers have a name in common, nor a port where they may share a box."""
    for number, server in enumerate(servers):
        for other in servers[:number]:
            apart = key == "port" and not _may_share_a_box(server, other)
            if other[key] == server[key] and not apart:
                said = f"two servers have the {key} {server[key]!r} ({other['name']} and {server['name']})"
                raise GB10Error(f"gb10_servers: {said}; give one of them another {key}.")


def _may_share_a_box(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    first, second = one.get("boxes"), other.get("boxes")
    return not (isinstance(first, list) and isinstance(second, list)) or bool(set(first) & set(second))


def listening(given: object) -> str:
    """The address a server is published on, as it is written everywhere; nothing means loopback.

    Raises GB10Error for what is no address, or none on which Docker can listen.
    """
    text = str(given or "127.0.0.1").strip()
    text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    is_loopback(text)  # says what is wrong with what is no address
    address = ipaddress.ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    if getattr(address, "scope_id", None) or (address.version == 6 and address.is_link_local):
        raise GB10Error(
            f"`address: {short(text)}` holds on one link only (its zone, as link-local IPv6 addresses do), and Docker cannot publish a port on a zone. "
            "Use a global or unique local address of the box, or :: for all of them."
        )
    if address.is_multicast:
        raise GB10Error(f"`address: {short(text)}` is a multicast address; name an address of the box, 0.0.0.0 for all of them or 127.0.0.1 for none.")
    return str(address)


def normalise(servers: list[dict], models_dir: str, allow_open: bool = False, listen: str = "") -> list[Server]:
    """Servers as the rest of the collection reads them: each with name, model, port, address, model_path, repo_id, key_policy.

    ``model_path``: an absolute ``model`` as it is, anything else under ``models_dir``. ``repo_id``: set when the model can be a Hugging Face
    repository (ORG/NAME). ``listen``: the address of those that name none, loopback by default.
    ``key_policy``: ``given``, ``generate`` (no key named, on loopback too) or ``none`` (``allow_open``).
    Raises GB10Error for a missing or bad name, model, port, address, key or certificate and for names or ports used twice.
    """
    done: list[Server] = []
    for position, server in enumerate(servers, 1):
        server = without_empty(server)
        name, model = str(server.get("name") or ""), str(server.get("model") or "").strip()
        if not NAME.fullmatch(name):
            raise GB10Error(f"gb10_servers entry {position}: `name: {short(name)}` must be lower-case letters, digits and inner dashes (at most 40).")
        if not model:
            raise GB10Error(f"gb10_servers entry {position} ({name}): `model` is missing; name a directory under gb10_models_dir, a path or ORG/NAME.")
        where = f"gb10_servers entry {position} ({name})"
        mistake = model_mistake(model)
        if mistake:
            raise GB10Error(f"{where}: {mistake}.")
        given = own_port(server, where)
        try:
            port = 0 if isinstance(given, bool) else int(given)
        except (TypeError, ValueError):
            port = 0
        if not 0 < port < 65536:
            raise GB10Error(f"gb10_servers entry {position} ({name}): `port: {short(given)}` is not a port; use a number from 1 to 65535.")
        try:
            address = listening(server.get("address") or listen)
        except GB10Error as error:
            raise GB10Error(f"{where}: {error}") from None
        path = posixpath.normpath(model if model.startswith("/") else posixpath.join(models_dir, model))
        mistake = path_mistake(path)
        if mistake:
            raise GB10Error(f"gb10_servers entry {position} ({name}): the model's path {short(path)!r} {mistake}; give the directory another name.")
        is_loopback(address)
        if server.get("env"):
            server["env"] = environment.readable(server["env"], where)
        _check_access(server, f"gb10_servers entry {position} ({name})")
        policy = "given" if server.get("api_key") else "none" if allow_open else "generate"
        check_api(server, policy == "none", where)
        known: Server = {
            "name": name,
            "model": model,
            "port": port,
            "address": address,
            "model_path": path,
            "repo_id": model if REPO_ID.fullmatch(model) else None,
            "served_model_name": server.get("served_model_name") or posixpath.basename(model.rstrip("/")),
            "key_policy": policy,
        }
        done.append(cast(Server, {**server, **known, **groups.stated(server, where)}))
    for key in ("name", "port"):
        _unique(done, key)
    return done


def of_one_box(
    servers: list[dict],
    models_dir: str,
    allow_open: bool = False,
    listen: str = "",
    box: str = "",
    places: Mapping[str, Collection[str]] | None = None,
) -> list[Server]:
    """The servers of ``normalise`` that run on one box. Of those over several boxes those of which ``box`` is one, where it is named.

    ``places``: by server the boxes that were chosen for it, where the plan did; else what its user says counts.
    """
    found = normalise(servers, models_dir, allow_open, listen)
    return [server for server in found if "boxes" not in server or (box and box in _members(server, places or {}))]


def _members(server: Server, places: Mapping[str, Collection[str]]) -> Collection[str]:
    boxes = server["boxes"]
    return places.get(server["name"]) or (boxes if isinstance(boxes, list) else [])


def of_several_boxes(servers: list[dict], models_dir: str, box: str, allow_open: bool = False, listen: str = "") -> list[Server]:
    """The servers of ``normalise`` over several boxes of which ``box`` is or may be one."""
    found = [server for server in normalise(servers, models_dir, allow_open, listen) if "boxes" in server]
    return [server for server in found if isinstance(server["boxes"], int) or box in server["boxes"]]


def _check_access(server: Mapping[str, Any], where: str) -> None:
    """GB10Error for a key in the wrong place and for a ``tls`` that does not name both files."""
    if isinstance(server.get("api_key"), (list, tuple, Mapping)):
        raise GB10Error(f"{where}: `api_key` must be one key as text; a server asks for one, and gb10_router_key opens all of a fleet beside it.")
    if "VLLM_API_KEY" in (server.get("env") or {}):
        raise GB10Error(f"{where}: VLLM_API_KEY in `env` would not reach the server; give the key as `api_key`.")
    tls = server.get("tls")
    if not tls:
        return
    parts = tls if isinstance(tls, Mapping) else {}
    if set(parts) != {"certificate", "key"} or not all(BIND_PATH.fullmatch(str(path)) for path in parts.values()):
        raise GB10Error(f"{where}: `tls` must name `certificate` and `key`, absolute paths on the box without a colon (PEM files).")
    if any(name.startswith("ssl_") for name in named(server.get("args"))):
        raise GB10Error(f"{where}: `tls` and ssl_* in `args` both say how TLS is spoken; keep one of them.")


def key_mistakes(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each key of the whole fleet that is too weak, cannot be sent, or is the same as another. ``values``: the user's variables."""
    sentences = []
    keys = {name: str(values[name]) for name in FLEET_KEYS if values.get(name)}
    for name, key in keys.items():
        if len(key) < LEAST_KEY or not FLEET_KEY.fullmatch(key):
            sentences.append(f"{name} must have at least {LEAST_KEY} printable ASCII characters without spaces; `openssl rand -hex 32` makes one.")
    others = [values.get("gb10_api_key"), *(server.get("api_key") for server in values.get("gb10_servers") or [] if isinstance(server, Mapping))]
    taken = {str(key) for key in others if key}
    for name, key in keys.items():
        if key in taken:
            sentences.append(f"{name} is the same key as another one, so both would open the same; give each its own.")
        taken.add(key)
    return sentences


SECRET_WORDS = {"token", "secret", "password", "passwd", "passphrase", "credential", "credentials", "apikey"}
SECRET_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("auth", "key")}
# user:password@ or token@ in an address, and what the keys of well-known services look like.
USERINFO = re.compile(r"(?i)\b(?!ssh://)[a-z][a-z0-9+.-]*://[^/?#\s@]*@|\bssh://[^/?#\s@:]*:[^/?#\s@]*@")
KEYS = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|sk-[\w-]{20,}|AKIA[A-Z0-9]{16})")


PLAIN = re.compile(r"[A-Za-z0-9/_.,:@+=~-]+")


def unit_word(path: str) -> str:
    """A path as one word of a systemd unit, as it is where nothing in it means anything to systemd."""
    if PLAIN.fullmatch(path):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def path_mistake(path: str) -> str:
    """Why a directory of the user's can be no mount of a container, without a full stop; "" when it can."""
    if path.startswith("~"):
        return "begins with ~, which may be anybody's home on the box"
    if not path.startswith("/"):
        return "is not absolute"
    if not path.isprintable():
        return "holds a line break or another character that cannot be printed"
    return "holds a colon, which ends a path where Docker mounts it" if ":" in path else ""


def directory_mistakes(directories: Mapping[str, Any]) -> list[str]:
    """One sentence for each of the user's directories, by variable, that cannot be used."""
    found = {name: path_mistake(str(path)) for name, path in directories.items()}
    return [f"{name} {mistake}; name another directory." for name, mistake in found.items() if mistake]


def image_mistakes(image: Mapping[str, Any]) -> list[str]:
    """One sentence for each secret in ``gb10_image``: git keeps a repository's address on the box, and build arguments stay in the image and its labels."""
    said = []
    if USERINFO.search(str(image.get("repository") or "")):
        said.append(
            "gb10_image.repository holds a user name or a password, which git would keep on the box; name the address without it and give root there "
            "an SSH key or a credential helper."
        )
    arguments = image.get("build_args")
    for name, value in arguments.items() if isinstance(arguments, Mapping) else ():
        if value not in (None, "") and (names_a_secret(str(name)) or is_secret(str(value))):
            said.append(f"gb10_image.build_args.{name} looks like a secret, and build arguments stay readable in the image; leave it out (see docs/image.md).")
    words = image.get("arguments")
    if any(is_secret(str(word)) for word in (words if isinstance(words, (list, tuple)) else ())):
        said.append("gb10_image.arguments holds what looks like a secret, and arguments stay readable in the image's labels; leave it out.")
    return said or _build_mistakes(image)


def _build_mistakes(image: Mapping[str, Any]) -> list[str]:
    """At most one sentence on what would only be found out when the image is built: a flavour, a mod or a pull request that cannot be."""
    try:
        settings = image_settings(image)
        mods, requests = settings.get("mods") or [], settings.get("vllm_prs") or {}
        image_mods.names(mods if isinstance(mods, (list, tuple)) else [mods])
        pull_requests.checked(requests if isinstance(requests, Mapping) else {str(requests): ""})
    except GB10Error as error:
        text = str(error)
        return [text if text.startswith("gb10_image") else f"gb10_image.{text}."]
    if pull_requests.FLAG in (settings.get("arguments") or []):
        return [f"gb10_image.arguments holds {pull_requests.FLAG}: name the pull request with the checksum of its diff in gb10_image.vllm_prs."]
    own = settings.get("source") == "prebuilt" and not requests and all(image_mods.is_path(str(one)) for one in mods)
    if (mods or requests) and settings.get("source", "build") != "build" and not own:
        which = "mods" if mods else "vllm_prs"
        return [f"gb10_image.{which} needs an image that is built here, and its source is {settings['source']}; leave one of the two out."]
    return []


def names_a_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    return bool(SECRET_WORDS & set(words)) or bool(SECRET_PAIRS & set(zip(words, words[1:], strict=False)))


def is_secret(text: str) -> bool:
    """Whether a text looks like a secret: credentials in an address, the key of a known service."""
    return bool(USERINFO.search(text) or KEYS.search(text))


def unknown_variables(names: list[str], known: list[str]) -> list[str]:
    """One sentence for each ``gb10_*`` name that nothing reads, with the nearest known one."""
    sentences = []
    for name in sorted(set(names) - set(known)):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        sentences.append(f"{name} is not a variable of gb10.vllm" + (f"; did you mean {near[0]}?" if near else "; remove it or see the README's table."))
    return sentences


def rollout_mistakes(batches: object) -> list[str]:
    """One sentence for each size of a batch that is not valid: Ansible would take 0 for all boxes at once, and end in a traceback over other things.

    ``batches``: one size or a list of them, each a whole number from 1 or a whole percentage from 1% to 100%.
    """
    sizes = batches if isinstance(batches, (list, tuple)) else [batches]
    remedy = "use whole numbers from 1 and whole percentages from 1% to 100%, as in [1, '25%', '100%']."
    if not sizes:
        return [f"gb10_rollout is empty, so no box would ever be in a batch; {remedy}"]
    return [f"gb10_rollout contains {size!r}, which is not a valid batch size; {remedy}" for size in sizes if not _is_batch(size)]


def _is_batch(size: object) -> bool:
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        return False
    digits, percent, rest = str(size).partition("%")
    return digits.isascii() and digits.isdigit() and not rest and 1 <= int(digits) <= (100 if percent else 10**6)
