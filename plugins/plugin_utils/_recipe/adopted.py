# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vLLM servers that somebody started in containers by hand, as entries of ``gb10_servers``, with what is other here. Pure; stops nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import full_name
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, PATH
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import SECRET_ARGS, canonical_name, plain_name, truth
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.mounts import IMAGE
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import REPO_ID
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.arguments import arguments
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import imported
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.report import WIDTH
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.rows import CHANGED, MAPPED, REFUSED, Row
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.words import Shell, Word, words
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.table import table
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import cut

PORT = 8000
"""Where vLLM listens that is told no port."""
OPTIONS = {
    "--privileged": "a container here has no privileges; the GPU comes by Docker's own request for it",
    "--ipc": "shared memory is gb10_shm_gib, and not that of the box",
    "--network": "it has a network of its own, and its one port is published",
    "--shm-size": "shared memory is gb10_shm_gib",
    "--cap-add": "a container here has no capabilities",
    "--device": "it gets the GPU, and RDMA where it is one of several ranks",
    "--ulimit": "set by the unit's container",
    "--user": "root without capabilities",
    "--memory": "the plan keeps it within the box",
    "--pid": "it sees its own processes",
    "--restart": "systemd restarts it, at most gb10_restarts times",
}
_OF_RECIPES = ((" beside the recipe", ""), ("is what the author's box had", "was a guess for this box"))
_IN_JSON = re.compile(r'"(/[^"\\]*)"')


class Adopted(NamedTuple):
    """``entry`` of ``gb10_servers`` ({} where it cannot be one), ``image`` of ``gb10_image``, ``rows`` of what becomes of each part, ``hints`` for secrets."""

    container: str
    entry: dict[str, Any]
    image: dict[str, Any]
    rows: list[Row]
    hints: list[str]

    def problem(self) -> str:
        """Why it cannot be taken over, "" where it can."""
        refused = next((row for row in self.rows if row.state == REFUSED), None)
        return f"{refused.field}: {refused.why}" if refused else ""


def adopted(servers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{servers, image, problems, text, inventory, replace}: of all that M(gb10.vllm.container_info) found on a box.

    ``image`` is that of the first; a server of another one has it in its entry.
    """
    found = [_one(server) for server in servers]
    taken: set[str] = set()
    for one in found:
        if one.entry:
            one.entry["name"] = _free(str(one.entry["name"]), taken)
    images = [one.image for one in found if one.entry]
    for one in found:
        if one.entry and one.image != images[0]:
            one.entry["image"] = one.image
    problems = [f"{one.container}: {one.problem()}" for one in found if one.problem()]
    return {
        "servers": [one.entry for one in found if one.entry],
        "image": images[0] if images else {},
        "problems": problems,
        "text": "\n\n".join(map(_text, found)),
        "inventory": _inventory(found, images[0] if images else {}),
        "replace": "\n".join(line for one, facts in zip(found, servers, strict=True) if one.entry for line in _replace(facts)),
    }


def _one(server: Mapping[str, Any]) -> Adopted:
    name, rows = str(server["name"]), [Row(option, 0, CHANGED, "", OPTIONS[option]) for option in server["options"] if option in OPTIONS]
    try:
        given = list(server["command"]) or [one.text for one in words(str(server["script"]))]
    except Shell as error:
        why = f"{error.why}, which nothing here does; start it, so that its arguments can be read, or write the entry by hand"
        return Adopted(name, {}, {}, [*rows, Row("command", 0, REFUSED, "", why)], [])
    given, private = _without_secrets(given)
    rank = _rank(given)
    if rank:
        why = f"it is {rank} of a server over several boxes and answers nobody: adopt the server where its head runs, and it comes here with it"
        return Adopted(name, {}, {}, [*rows, Row("command", 0, REFUSED, "", why)], [])
    model = _model(given)
    placed = [_placed(word, given[at - 1] if at else "", server["mounts"]) for at, word in enumerate(given)]
    text = " ".join(map(shlex.quote, placed)).replace("{", "{{").replace("}", "}}")
    document = Document(name, "1", {"command": text, "env": dict(server["env"])}, {})
    made = imported(document, own=True)
    rows = [*(_plainly(row) for row in made.rows), *rows]
    entry = dict(made.server)
    image, image_row = _image(server)
    rows.append(image_row)
    if entry:
        rows += _finish(entry, server, model)
    secrets = list(dict.fromkeys([*private, *server["secrets"]]))
    if entry and not any("API_KEY" in one.upper().replace("-", "_") for one in secrets):
        rows.append(Row("key", 0, CHANGED, "", "it asked nobody for a key; here a server does (docs/access.md), unless gb10_allow_open says otherwise"))
    broken = any(row.state == REFUSED for row in rows)
    first: dict[str, Any] = {"name": _slug(name), **{key: entry[key] for key in ("model", "served_model_name", "port") if key in entry}}
    return Adopted(name, {} if broken or not entry else {**first, **entry, "name": first["name"]}, image, rows, [_hint(one, first["name"]) for one in secrets])


def _without_secrets(given: Sequence[str]) -> tuple[list[str], list[str]]:
    left: list[str] = []
    private: list[str] = []
    at = 0
    while at < len(given):
        word = given[at]
        flag, equals, _value = word.partition("=")
        if word.startswith("-") and canonical_name(plain_name(flag)) in SECRET_ARGS:
            private.append(flag)
            at += 1
            while not equals and at < len(given) and not given[at].startswith("--"):
                at += 1
            continue
        left.append(word)
        at += 1
    return left, private


def _rank(given: Sequence[str]) -> str:
    """What a container is that is no server but a part of one: a rank beside the head, or one that has no API; "" for all others."""
    try:
        found = {one.name: one.value for one in arguments([Word(word, 0) for word in given])[1]}
    except Shell:
        return ""  # `imported` says what is wrong with it
    rank = str(found.get("node_rank", 0))
    if rank.isdecimal() and int(rank):
        return f"rank {rank}"
    return "a part" if truth(found.get("headless")) or any(found.get(name) for name in ("data_parallel_start_rank", "data_parallel_rank")) else ""


def _model(given: Sequence[str]) -> str:
    """The model as the command names it, which is also what clients call it where it has no other name."""
    after = list(given[given.index("serve") + 1 :]) if "serve" in given else list(given)
    for at, word in enumerate(after):
        flag, equals, value = word.partition("=")
        if word.startswith("--") and canonical_name(plain_name(flag)) == "model":
            return value if equals else (after[at + 1] if at + 1 < len(after) else "")
    return after[0] if after and not after[0].startswith("-") else ""


def _placed(word: str, before: str, mounts: Sequence[Mapping[str, Any]]) -> str:
    """A word with the paths of the container as those of the box; a file of the image is named so."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    name = canonical_name(plain_name(flag if flag else before)) if (flag or before.startswith("--")) else ""
    if value.lstrip().startswith("{"):
        return flag + equals + _IN_JSON.sub(lambda found: f'"{_outside(found[1], mounts) or found[1]}"', value)
    label, named, path = value.partition("=")
    if named and path.startswith("/") and re.fullmatch(r"[\w.-]+", label):  # --lora-modules name=path
        return f"{flag}{equals}{label}={_outside(path, mounts) or f'{IMAGE}{path}'}"
    if not value.startswith("/"):
        return word
    there = _outside(value, mounts)
    inside = f"{IMAGE}{value}" if name in ARGUMENTS and ARGUMENTS[name].place == PATH else value
    return flag + equals + (there or inside)


def _outside(path: str, mounts: Sequence[Mapping[str, Any]]) -> str:
    """Where on the box a path of the container lies, "" for one of its image. The innermost mount counts."""
    fitting = [one for one in mounts if path == one["target"] or path.startswith(one["target"].rstrip("/") + "/")]
    if not fitting:
        return ""
    one = max(fitting, key=lambda mount: len(mount["target"]))
    return str(one["source"]).rstrip("/") + path[len(one["target"].rstrip("/")) :]


def _plainly(row: Row) -> Row:
    """A recipe's row without what is said of recipes only."""
    why = row.why
    for old, new in _OF_RECIPES:
        why = why.replace(old, new)
    return row._replace(why=why, field=row.field.removeprefix("command "))


def _image(server: Mapping[str, Any]) -> tuple[dict[str, Any], Row]:
    image, names = str(server["image"]), [str(one) for one in server["image_names"]]
    if full_name(image) in names or any(full_name(image) == full_name(one) for one in names):
        return {"source": "existing", "name": image}, Row("image", 0, MAPPED, f"gb10_image: {image}", "")
    if names:
        why = f"the container names it {image[:60]}, which means another image by now"
        return {"source": "existing", "name": names[0]}, Row("image", 0, CHANGED, f"gb10_image: {names[0]}", why)
    name = "vllm-node:adopted"
    why = f"its image has no name any more: give it one with `docker tag {str(server['image_id'])[:19]} {name}`"
    return {"source": "existing", "name": name}, Row("image", 0, CHANGED, f"gb10_image: {name}", why)


def _finish(entry: dict[str, Any], server: Mapping[str, Any], model: str) -> list[Row]:
    """What the container says and its command does not: the model's place, its name for clients, the port."""
    rows = []
    named = str(entry["model"])
    if named.startswith("/") and named == model:
        why = f"{model} lies in the container's own file system: copy it out with `docker cp {server['name']}:{model} /srv/models/` and name it in the entry"
        return [Row("model", 0, REFUSED, "", why)]
    if REPO_ID.fullmatch(named) and named in server["snapshots"]:
        entry["model"] = server["snapshots"][named]
        rows.append(Row("model", 0, CHANGED, f"model: {entry['model']}", "where it lies in the hub's cache already, so nothing is downloaded"))
    else:
        rows.append(Row("model", 0, MAPPED, f"model: {named}", "" if named.startswith("/") else "downloaded into gb10_models_dir"))
    if "served_model_name" not in entry and "served_model_name" not in entry.get("args", {}):
        entry["served_model_name"] = model
        rows.append(Row("served model name", 0, MAPPED, f"served_model_name: {model}", "what clients call it now"))
    inner = int(entry.get("port", PORT))
    bound = next((one for one in server["ports"] if one["container"] == inner), None)
    if server["network"] == "host" or bound:
        entry["port"] = bound["port"] if bound and server["network"] != "host" and bound["port"] else inner
        if bound and bound["address"] in ("", "0.0.0.0", "::") and server["network"] != "host":
            why = "it was open to everybody: it listens on loopback, or where a router reaches it; say `address` for another"
            rows.append(Row("--publish", 0, CHANGED, f"port: {entry['port']}", why))
    else:
        entry["port"] = inner
        rows.append(Row("--publish", 0, CHANGED, f"port: {inner}", "no port was published, so only other containers reached it; now the box does"))
    used = [model, *(text for one in _texts(entry) for text in (one, one.partition("=")[2], *_IN_JSON.findall(one)))]
    for mount in server["mounts"]:
        source = str(mount["source"]).rstrip("/")
        if not any(source and (one == source or one.startswith(f"{source}/")) for one in used):
            rows.append(Row(f"--volume {mount['target']}", 0, CHANGED, "", "not mounted: no argument names a file in it; caches lie in the state directory"))
    return rows


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, (list, tuple)):
        return [text for one in value for text in _texts(one)]
    return [str(value)]


def _slug(name: str) -> str:
    """A name for a server: lower-case letters, digits and inner dashes, at most 40."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "model"


def _free(name: str, taken: set[str]) -> str:
    free = next(one for number in range(1, len(taken) + 2) if (one := name if number == 1 else f"{name[:37]}-{number}") not in taken)
    taken.add(free)
    return free


def _hint(secret: str, server: str) -> str:
    known = secret.upper().lstrip("-").replace("-", "_")
    vault = f"{{{{ vault_{server.replace('-', '_')}_{secret.lower().lstrip('-').replace('-', '_')} }}}}"
    if known in ("API_KEY", "VLLM_API_KEY"):
        return f'{secret}: put it in a vault and name it in the entry: api_key: "{vault}"'
    if known in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"):
        return f'{secret}: put it in a vault and name it: gb10_hub: {{token: "{vault}"}}'
    return f'{secret}: put it in a vault and name it in the entry: env: {{{known}: "{vault}"}}'


def _text(one: Adopted) -> str:
    """What becomes of each part of a container."""
    rows = [("what it has", "", "here", "why"), *((cut(row.field, 40), row.state, cut(row.ours, WIDTH), row.why) for row in one.rows)]
    secrets = [f"Secret, not read: {hint}" for hint in one.hints]
    return "\n".join([f"Container {one.container}, which goes on as it is:", *table(rows, rule=True), *secrets])


def _inventory(found: Sequence[Adopted], image: Mapping[str, Any]) -> str:
    """Lines for an inventory, what is to be known of them as comments."""
    good = [one for one in found if one.entry]
    if not good:
        return ""
    lines = []
    for one in good:
        lines.append(f"# From the container {one.container}.")
        lines += [f"# {row.field}: {row.why}" for row in one.rows if row.state == CHANGED and row.why]
        lines += [f"# {hint}" for hint in one.hints]
    body = yaml.safe_dump({"gb10_image": dict(image), "gb10_servers": [one.entry for one in good]}, sort_keys=False, width=150, allow_unicode=True)
    return "\n".join(" ".join(line.split()) for line in lines) + "\n" + body


def _replace(server: Mapping[str, Any]) -> list[str]:
    """The commands with which its owner makes room; nothing here does that for him."""
    name = shlex.quote(str(server["name"]))
    again = [f"docker update --restart=no {name}"] if server["restart"] not in ("", "no") else []
    # A label may hold anything, and this line is there to be pasted.
    project = re.sub(r"[^\w.-]+", " ", str(server["compose"]))[:60].strip()
    compose = f"   # of the compose project {project}" if project else f"   # docker start {name} brings it back"
    return [*again, f"docker stop {name}{compose}"]
