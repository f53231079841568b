# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server's arguments name on its box: mounted read-only under a stable name, or refused with the remedy. Pure.

Which arguments name something is a column of ``_sizing/arguments.py``; what is there was read by M(gb10.vllm.box_info) (``box.named``).
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, CONNECTORS, PATH, PLACES_WITHIN, REPOSITORY, SOCKET, WRITTEN
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import normalise_args, truth
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.speculation import WITHOUT_MODEL
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.brief import briefly
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Server
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import REPO_ID

HERE = "/run/gb10-files"
"""Where in a container lies what its arguments name on the box."""
IMAGE = "image:"
"""What a user writes before a path of the image, which nobody looks for on the box."""
MEDIA = "allowed_local_media_path"
"""Names a directory whose files are read when somebody asks for them: they may come and go."""
MOST_RANK = 16
"""``max_lora_rank`` where nobody says it."""
DRAFT = "speculative_config.model"
WRITABLE = ("/cache", "/tmp", "/dev/shm")
OWN = ("/cache", "/run/gb10", "/run/gb10-tls")
"""Directories of the container in which there is something before vLLM starts, beside its model."""
WORDS = {"generation_config": ("auto", "vllm", "")}
TLS = {"ssl_certfile": "certificate", "ssl_keyfile": "key"}
NO_MOUNT = ("bin", "boot", "cache", "dev", "etc", "lib", "lib64", "models", "opt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var")
"""First parts of paths that belong to the image: nothing of the box may take their place in the container."""

Facts = Mapping[str, Mapping[str, Any]]
Change = Callable[[str, str, str], str]
"""(argument, value, kind of place) to the value as the container has it."""


class Reached(NamedTuple):
    """A server's arguments as its container has them, what is mounted for them, what changes with their files, and what cannot be reached."""

    args: Mapping[str, Any]
    volumes: list[str]
    digests: dict[str, str]
    mistakes: list[str]


def files_named(servers: Sequence[Server], models_dir: str) -> dict[str, dict[str, list[str]]]:
    """What to look for on a box: by server and value the absolute paths that it may mean, the first that exists counts."""
    found = {server["name"]: {value: _candidates(value, server, models_dir, argument) for argument, value, _place in _looked_for(server)} for server in servers}
    return {name: values for name, values in found.items() if values}


def models_wanted(servers: Sequence[Server], models_dir: str) -> list[str]:
    """Directories to read: the models of the servers, and what may be their drafts and adapters (``parts_wanted``)."""
    return list(dict.fromkeys([*(server["model_path"] for server in servers), *parts_wanted(servers, models_dir)]))


def parts_wanted(servers: Sequence[Server], models_dir: str) -> list[str]:
    """Directories that may be drafts of the servers, and those of adapters that are repositories; no server's own model is among them."""
    paths: list[str] = []
    for server in servers:
        for argument, value, _place in _looked_for(server):
            if argument == DRAFT:
                paths += _candidates(value, server, models_dir)
            elif _is_repository(argument, value):
                paths.append(posixpath.join(models_dir, value))
    own = {server["model_path"] for server in servers}
    return [path for path in dict.fromkeys(paths) if path not in own]


def with_parts(servers: Sequence[Server], models_dir: str, named: Mapping[str, Facts] | None = None) -> list[dict[str, Any]]:
    """The servers, and a like entry for each draft and adapter that is a repository: fetched and passed on as models are, below ``models_dir``.

    ``named``: ``box.named``; what lies elsewhere on the box, in the model's own directory, say, is no repository.
    """
    found: list[dict[str, Any]] = [dict(server) for server in servers]
    for server in servers:
        facts = (named or {}).get(server["name"]) or {}
        for argument, value, _place in _looked_for(server):
            path, seen = posixpath.join(models_dir, value), facts.get(value) or {}
            if _is_repository(argument, value) and (seen.get("kind", "absent") == "absent" or seen.get("path") == path):
                revision = _revision(server) if argument == DRAFT else None
                found.append({"name": server["name"], "model": value, "model_path": path, "repo_id": value, "revision": revision, "load_format": None})
    paths = [one["model_path"] for one in found]
    return [one for number, one in enumerate(found) if one["model_path"] not in paths[:number] or number < len(servers)]


def _is_repository(argument: str, value: str) -> bool:
    return argument in (DRAFT, "lora_modules") and bool(REPO_ID.fullmatch(value))


def _revision(server: Server) -> str | None:
    config = normalise_args(server.get("args") or {}, server["name"]).get("speculative_config")
    return (str(config.get("revision") or "") or None) if isinstance(config, Mapping) else None


def as_it_is(named: Mapping[str, Facts], models: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """``box.named`` with what was read of models since, by path: drafts and adapters that were brought, or will be from another box.

    Those that are ours are known by their manifest and lie in a version of theirs.
    """
    return {server: {value: _as_it_is(one, models.get(str(one.get("path"))) or {}) for value, one in values.items()} for server, values in named.items()}


def _as_it_is(facts: Mapping[str, Any], model: Mapping[str, Any]) -> Mapping[str, Any]:
    if not model.get("present") or not (facts["kind"] == "absent" or model.get("ours")):
        return facts
    told = {key: model.get(key) for key in ("links", "unreadable")}
    return {"path": facts["path"], "kind": "directory", "real": model.get("directory") or facts["path"], "digest": model["manifest"], **told}


def as_mounted(servers: Sequence[Server], named: Mapping[str, Facts], models: Mapping[str, Any] | None = None) -> list[Server]:
    """The servers with the arguments that their containers get. ``named``: ``box.named``; ``models``: facts by path, of this box and of others."""
    now = as_it_is(named, models or {})
    return [cast(Server, {**server, "args": reached(server, now.get(server["name"]) or {}).args}) if server.get("args") else server for server in servers]


def with_drafts(models: Mapping[str, Any], servers: Sequence[Server], named: Mapping[str, Facts]) -> dict[str, Any]:
    """Facts of models by path, those of drafts also under the names that containers have for them."""
    found, named = dict(models), as_it_is(named, models)
    for server in servers:
        args = reached(server, named.get(server["name"]) or {}).args
        draft, asked = _draft(args), _draft(server.get("args"))
        path = str(((named.get(server["name"]) or {}).get(asked) or {}).get("path") or "")
        if draft and path in models:
            found[draft] = models[path]
    return found


def _draft(args: Any) -> str:
    try:
        found = normalise_args(args, "")
    except GB10Error:
        return ""
    config = found.get("speculative_config")
    return str(config.get("model") or "") if isinstance(config, Mapping) else ""


def reached(server: Server, named: Facts) -> Reached:
    """What becomes of a server's arguments; ``named``: facts by value, as M(gb10.vllm.box_info) read them for this server."""
    volumes: dict[str, None] = {}
    digests: dict[str, str] = {}
    mistakes: list[str] = []

    def change(argument: str, value: str, place: str) -> str:
        said, made, mounts = _one(server, argument, value, place, named.get(value) or {})
        mistakes.extend(said)
        volumes.update(dict.fromkeys(mounts))
        if mounts:
            digests[value] = str(named[value].get("digest") or "")
        return made

    args = _changed(server, change)
    return Reached(args, list(volumes), digests, list(dict.fromkeys(mistakes)))


def files_refused(servers: Sequence[Server], models: Mapping[str, Any], box: Mapping[str, Any]) -> str:
    """Why files cannot be opened in the containers of these servers, the first faults and how many more there are; "" where all can.

    ``models``: facts of the models on this box by path; ``box``: as M(gb10.vllm.box_info) returns it, with ``named``.
    """
    said: list[str] = []
    named = as_it_is(box.get("named") or {}, models)
    for server in servers:
        held = (box.get("servers") or {}).get(server["name"]) or {}
        record, model = held.get("deployment") or {}, models.get(server["model_path"]) or {}
        proven = (record.get("container") or {}).get("command") or []
        facts = named.get(server["name"]) or {}
        # What runs with a path that is not on the box has it from its image.
        known = {value: {**one, "proven": any(value in word for word in proven)} for value, one in facts.items()}
        said += reached(server, known).mistakes
        # A server that runs unchanged is asked nothing new.
        said += [] if proven else adapter_mistakes(server, facts)
        # A server that answered with these files could open what it needs of them.
        answered = bool(record) and (held.get("measured") or {}).get("spec") == record.get("spec") and record.get("manifest") == model.get("manifest")
        said += [] if answered else model_mistakes(server, model)
    return briefly(said)


def adapter_mistakes(server: Server, named: Facts) -> list[str]:
    """One sentence for each reason why vLLM would end its start over the adapters of a server. ``named``: facts by value.

    vLLM: ``lora/peft_helper.py validate_legal``, ``entrypoints/openai/models/serving.py``.
    """
    try:
        args = normalise_args(server.get("args") or {}, server["name"])
    except GB10Error:
        return []
    if not args.get("lora_modules"):
        return []
    if not args.get("enable_lora"):
        return [f"server {server['name']}: args.lora_modules names adapters, which vLLM refuses without `enable_lora: true` beside it."]
    most, said = args.get("max_lora_rank", MOST_RANK), []
    for argument, value, _place in _looked_for(server):
        rank = (named.get(value) or {}).get("rank")
        if argument == "lora_modules" and isinstance(rank, int) and str(most).isdigit() and rank > int(most):
            said.append(f"server {server['name']}: the adapter {value} has rank {rank}, and vLLM takes at most {most}: set `max_lora_rank: {rank}` in args.")
    return said


def model_mistakes(server: Server, model: Mapping[str, Any]) -> list[str]:
    """One sentence for each reason why a container could not open its model. ``model``: its facts."""
    said = []
    directory = str(model.get("directory") or server["model_path"])
    closed = model.get("unreadable")
    if closed:
        said.append(_closed(f"server {server['name']}", str(closed), directory))
    _mounts, taken = link_mounts(model.get("links") or [], f"/models/{server['name']}")
    if taken:
        said.append(f"server {server['name']}: {taken[0]}")
    code = model.get("code_elsewhere") or []
    args = server.get("args")
    trusted = server.get("trust_remote_code") or (args.get("trust_remote_code") if isinstance(args, Mapping) else None)
    if code and (trusted == "always" or truth(trusted)):
        said.append(
            f"server {server['name']}: auto_map of {directory} names code of {', '.join(code)}, which a container without the hub cannot fetch. Copy those .py"
            f" files beside config.json and take `{code[0]}--` out of auto_map, or leave trust_remote_code out where vLLM knows the architecture itself."
        )
    return said


def link_mounts(links: Sequence[Mapping[str, str]], target: str) -> tuple[list[str], list[str]]:
    """(volumes, sentences) that make links which leave a directory lead to the same files where it is mounted at ``target``."""
    volumes, said = [], []
    for link in links:
        if link.get("astray"):
            said.append(_astray(link))
            continue
        at = posixpath.normpath(posixpath.join(target, link["at"]))
        first = at.strip("/").partition("/")[0]
        if not first or (first in NO_MOUNT and not at.startswith(f"{HERE}/")) or ":" in at + link["real"]:
            said.append(f"a link of it leads to {link['real']}, which cannot be mounted at {at}: put the real files into the directory (cp -L) and name that.")
        else:
            volumes.append(f"{link['real']}:{at}:ro")
    return volumes, said


def _astray(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['astray']} is a link to {facts['real']}, which is not of the user who made it, so the container does not get it: put the file itself there"
        " (cp -L), or have root make the link."
    )


def _closed(who: str, closed: str, place: str) -> str:
    return (
        f"{who}: {closed} is closed to the container, whose root has no capabilities and opens what group root or everybody may. "
        f"Run there: chmod -R a+rX {place}."
    )


def _one(server: Server, argument: str, value: str, place: str, facts: Mapping[str, Any]) -> tuple[list[str], str, list[str]]:
    """(sentences, the value in the container, volumes) of one value."""
    who, own = f"server {server['name']}: args.{argument}", f"/models/{server['name']}"
    if place == SOCKET:
        return [f"{who} would have it listen on a socket in its container, where nobody asks: leave it out, and say `address` and `port`."], value, []
    if value.startswith(IMAGE):
        return [], value.removeprefix(IMAGE), []
    if place == WRITTEN:
        fine = _below(value, WRITABLE) or argument == "download_dir" or not value
        why = f"{who} is {value}, which the container may not write: name a directory below /cache, which lies in the state directory of the box."
        return [] if fine else [why], value, []
    if argument in TLS and not _below(value, (own, *OWN)):
        return [f"{who}: say it as `tls: {{certificate: ..., key: ...}}` of the server, which mounts both files."], value, []
    if unclear := _unclear(value):
        return [f"{who} is {value}, {unclear}"], value, []
    if _below(value, OWN) or not facts:
        return [], value, []
    if facts["kind"] == "absent":
        # A draft or an adapter of a hub is brought as a model is, and named by its place then.
        fine = facts.get("proven") or _is_repository(argument, value)
        return [] if fine else [_absent(who, value, place, facts)], value, []
    path = str(facts["path"])
    if facts.get("astray"):
        return [f"{who}: {_astray(facts)}"], value, []
    inside = next((path.removeprefix(base) for base in (server["model_path"], own) if path == base or path.startswith(f"{base}/")), None)
    if inside is not None:
        return [], own + inside, []
    if facts.get("unreadable"):
        return [_closed(who, str(facts["unreadable"]), path)], value, []
    target = f"{HERE}/{hashlib.sha256(path.encode()).hexdigest()[:8]}/at/{posixpath.basename(path)}"
    mounts, said = link_mounts(facts.get("links") or [], target)
    if ":" in str(facts["real"]) + path:
        said = [f"{path} holds a colon, which ends a path where Docker mounts it: give it another name."]
    return [f"{who}: {one}" for one in said], target, [f"{facts['real']}:{target}:ro", *mounts]


def _unclear(value: str) -> str:
    """Why a value names no place of the box; "" where it may."""
    if not value.strip("/."):
        return f"which would be all that there is: name the directory that is meant, or {IMAGE}/ for what the image holds."
    return "and on the box `~` may be anybody's home: write the whole path." if value.startswith("~") else ""


def _below(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _absent(who: str, value: str, place: str, facts: Mapping[str, Any]) -> str:
    if value.startswith(("https://huggingface.co/", "http://")) or (place == REPOSITORY and value.count("/") == 1 and not value.startswith((".", "/"))):
        where = facts.get("path") or "a directory there"
        return f"{who} names {value}, which is not on the box, and the container cannot download: run there `hf download {value} --local-dir {where}`."
    return (
        f"{who} names {value}, which is not on the box: correct it or copy it there (a relative path is looked for in the model's directory and in"
        f" gb10_models_dir); write {IMAGE}{value} for a file of the image."
    )


def _candidates(value: str, server: Server, models_dir: str, argument: str = "") -> list[str]:
    if argument == MEDIA:
        return [posixpath.join(models_dir, value).rstrip("/") + "/"]
    own = f"/models/{server['name']}"
    if value == own or value.startswith(f"{own}/"):
        return [server["model_path"] + value.removeprefix(own), value]
    return [posixpath.normpath(posixpath.join(base, value)) for base in (server["model_path"], models_dir)] if not value.startswith("/") else [value]


def _looked_for(server: Server) -> list[tuple[str, str, str]]:
    """(argument, value, place) of what has to be looked for on the box."""
    found: list[tuple[str, str, str]] = []

    def note(argument: str, value: str, place: str) -> str:
        if place in (PATH, REPOSITORY) and not value.startswith((IMAGE, "~")) and not _below(value, OWN) and value.strip("/."):
            found.append((argument, value, place))
        return value

    _changed(server, note)
    return found


def _changed(server: Server, change: Change) -> Mapping[str, Any]:
    """The server's arguments with each value that names a place changed; as they were written where nothing changes or they make no sense."""
    given = server.get("args") or {}
    try:
        args = normalise_args(given, server["name"])
    except GB10Error:
        return given  # the plan says what is wrong
    made = {name: _value(name, value, change) for name, value in args.items()}
    return given if made == args else made


def _value(name: str, value: Any, change: Change) -> Any:
    if name == "lora_modules":
        items = value if isinstance(value, (list, tuple)) else [value]
        return [_adapter(item, change) for item in items]
    if name == "default_mm_loras" and isinstance(value, Mapping):
        return {key: change(name, one, PATH) if isinstance(one, str) else one for key, one in value.items()}
    if name in PLACES_WITHIN and isinstance(value, Mapping):
        return {key: _within(name, key, one, value, change) for key, one in value.items()}
    if name in CONNECTORS and isinstance(value, Mapping):
        return {key: _setting(f"{name}.{key}", str(key), one, change) if key == CONNECTORS[name] else one for key, one in value.items()}
    place = ARGUMENTS[name].place if name in ARGUMENTS else ""
    if not place or name == "model" or not isinstance(value, str) or not value or value in WORDS.get(name, ()):
        return value
    if name == "chat_template" and any(sign in value for sign in "{}\n"):
        return value  # the template itself
    return change(name, value, place)


def _within(name: str, key: str, one: Any, whole: Mapping[str, Any], change: Change) -> Any:
    place = PLACES_WITHIN[name].get(str(key).replace("-", "_"))
    if not place or not isinstance(one, str) or not one:
        return one
    if name == "speculative_config" and not _names_a_draft(one, whole):
        return one
    return change(f"{name}.{key}", one, place)


def _setting(argument: str, key: str, value: Any, change: Change) -> Any:
    """Settings of a connector, at any depth; whole paths among them are places that it writes, or files of settings that it reads."""
    if isinstance(value, Mapping):
        return {name: _setting(argument, str(name), one, change) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_setting(argument, key, one, change) for one in value]
    if not isinstance(value, str) or not value.startswith("/"):
        return value
    return change(f"{argument}.{key}", value, PATH if key.endswith(("config_file", "config_path")) else WRITTEN)


def _names_a_draft(model: str, config: Mapping[str, Any]) -> bool:
    method = str(config.get("method") or "")
    return method not in (*WITHOUT_MODEL[1:], "custom_class", "extract_hidden_states") and model not in ("ngram", "[ngram]")


def _adapter(item: Any, change: Change) -> Any:
    """One entry of ``lora_modules``: ``name=path``, a dictionary, or its JSON (vLLM: ``entrypoints/openai/cli_args.py`` LoRAParserAction)."""
    if isinstance(item, Mapping):
        return {key: change("lora_modules", one, PATH) if key == "path" and isinstance(one, str) else one for key, one in item.items()}
    text = str(item)
    if text.lstrip().startswith("{"):
        return json.dumps(_adapter(_object(text), change)) if _object(text) else item
    name, equals, path = text.partition("=")
    return f"{name}={change('lora_modules', path, PATH)}" if equals and path else item


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}
