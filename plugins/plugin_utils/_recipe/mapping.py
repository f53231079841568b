# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recipe as an entry of ``gb10_servers``, with what became of each of its fields. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import TRUTH
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import human_int
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import REMOVED, SECRET_ARGS, kind_of, normalise_args, truth
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.values import AGAIN
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import REPO_ID, is_secret, model_mistake, names_a_secret
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import fields, images, nodes, trust
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.arguments import Argument
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.command import Call, call, last_of_each
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document, FieldError
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.placeholders import in_value, line_of, used
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.rows import CHANGED, MAPPED, REFUSED, Row

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TEMPLATE = re.compile(r"\{\{|\{%|\{#")
SERVER_KEYS = ("max_model_len", "kv_cache_dtype", "load_format", "served_model_name", "revision")
MADE = ("nnodes", "node_rank", "master_addr", "master_port", "headless", "data_parallel_rank", "data_parallel_address")
COMPUTED = "the bytes of the KV cache are worked out from the model and what the box has"


class Imported(NamedTuple):
    """``server``: an entry without a name, {} where the recipe cannot be one; ``image``: settings of ``gb10_image`` it needs;
    ``special``: no other image would do; ``boxes``: least and most that its author allows; ``rows``: what became of each field."""

    server: dict[str, Any]
    image: dict[str, Any]
    special: bool
    boxes: tuple[int, int]
    rows: list[Row]

    def refused(self) -> list[Row]:
        """The fields that nothing here can do."""
        return [row for row in self.rows if row.state == REFUSED]


def imported(document: Document, mods: Mapping[str, str] | images.Beside | None = None, own: bool = False) -> Imported:
    """What a recipe comes to. ``mods``: what lies beside it, or only what is against each that does. Raises nothing over a field.

    ``own``: the user wrote it himself, so that it may name his box's files and load his code; a recipe that people share may not (see ``trust``).
    """
    rows: list[Row] = []
    image = images.Wanted({}, False, [])
    server: dict[str, Any] = {}
    boxes = (1, nodes.MOST)
    try:
        rows += fields.rows(document)
        image = images.image_of(document, mods if isinstance(mods, images.Beside) else images.Beside(mods or {}))
        rows += image.rows
        boxes = nodes.allowed(document)
        if not any(row.field == "runtime" and row.state == REFUSED for row in rows):
            server = _Mapping(document, boxes, bool(image.settings.get("mods")), own).server(rows)
    except FieldError as error:
        rows.append(Row(error.field, error.line, REFUSED, "", error.why))
        server = {}
    rows = _one_verdict(rows)
    said = {row.field.partition(".")[0] for row in rows}
    left = [name for name in document.fields if name not in said and not (name == "command" and server)]
    rows += [Row(name, document.line(name), CHANGED, "", "not looked at: nothing of it is served") for name in left if not server]
    unsafe = _template({**server, **image.settings})
    if unsafe:
        rows.append(Row("command", document.line("command"), REFUSED, "", f"{unsafe[:60]!r} is a template, which Ansible would run"))
        return Imported({}, {}, image.special, boxes, rows)
    return Imported(server, image.settings, image.special, boxes, rows)


def _one_verdict(rows: list[Row]) -> list[Row]:
    """The rows without what was said first of fields that say how many boxes there are, where more came of them."""
    last = {row.field: number for number, row in enumerate(rows) if row.field in nodes.FIELDS}
    return [row for number, row in enumerate(rows) if last.get(row.field, number) == number]


def _template(value: Any) -> str:
    """A text in a value that Ansible would take for a template; "" where there is none."""
    if isinstance(value, Mapping):
        return next((found for key, one in value.items() for found in (_template(str(key)), _template(one)) if found), "")
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_template, value)), "")
    return value if isinstance(value, str) and TEMPLATE.search(value) else ""


class _Mapping:
    """One recipe on its way to an entry."""

    def __init__(self, document: Document, boxes: tuple[int, int], modded: bool, own: bool) -> None:
        self.document, self.boxes, self.modded, self.own = document, boxes, modded, own
        self.defaults: dict[str, Any] = {}
        self.made: dict[str, Any] = {}
        self.args: dict[str, Any] = {}
        self.env: dict[str, str] = {}
        self.shared = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1, "data_parallel_size": 1}
        self.rows: list[Row] = []

    def server(self, rows: list[Row]) -> dict[str, Any]:
        """The entry; what became of the fields is added to ``rows``."""
        document = self.document
        self.rows = rows
        self.defaults = defaults = self._defaults()
        model = self._model(document.fields.get("model"), "model")
        made = call(document, defaults, model)
        self._name_model(model, made)
        self._revision()
        self._rows_of_defaults(defaults, made)
        last = last_of_each(made.arguments)
        for number, argument in enumerate(made.arguments):
            self._argument(argument, made, number in last)
        self._environment(document.fields.get("env"), made.env)
        self._over_boxes()
        self._check_args()
        return {**self.made, **({"args": self.args} if self.args else {}), **({"env": self.env} if self.env else {})}

    def values(self) -> dict[str, Any]:
        """What a placeholder may stand for in format 2: a default, the model, and its revision."""
        return {**{name: self.document.fields.get(name) for name in ("model", "model_revision")}, **self.defaults}

    def _defaults(self) -> dict[str, Any]:
        defaults = self.document.fields.get("defaults")
        if defaults in (None, ""):
            return {}
        if not isinstance(defaults, Mapping):
            raise self.document.error("defaults", "it must be a mapping of names to values")
        return {str(key): value for key, value in defaults.items()}

    def _model(self, value: Any, field: str) -> str:
        if value in (None, ""):
            return ""
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise self.document.error(field, f"{str(value)[:60]!r} is no name of a model")
        return value.strip()

    def _name_model(self, model: str, made: Call) -> None:
        """The model that the command serves is the one that counts; format 1 names another only for its download."""
        option = next((one for one in made.arguments if one.name == "model"), None)
        served = made.model or (str(option.value) if option else "") or model
        inside = served.startswith("/") and bool(REPO_ID.fullmatch(model))
        served = model if inside else served
        if not served:
            raise self.document.error("model", "no model is named, here or in the command")
        if "model" in self.document.fields:
            same = served == model
            why = "" if same else f"the command serves {served}, and that is what counts"
            why = "the command names a place in the author's container, where the model is mounted" if inside else why
            if served.startswith("/") and not self.own:
                why = "a directory of the author's: your boxes need the model there, or name a repository or directory of yours beside the recipe"
            self.rows.append(Row("model", self.document.line("model"), CHANGED if why else MAPPED, f"model: {served}", why))
        mistake = model_mistake(served)
        if mistake:
            raise self.document.error("model", mistake, self.document.line("model" if "model" in self.document.fields else "command"))
        self.made["model"] = served

    def _revision(self) -> None:
        field, value = "model_revision", self.document.fields.get("model_revision")
        if value not in (None, ""):
            self.made["revision"] = str(value)
            self.rows.append(Row(field, self.document.line(field), MAPPED, f"revision: {value}"))

    def _rows_of_defaults(self, defaults: Mapping[str, Any], made: Call) -> None:
        command = str(self.document.fields.get("command") or "")
        named = used(command) | {one.written.removeprefix("defaults.") for one in made.arguments if one.written.startswith("defaults.")}
        nested = {name for key in named if key in defaults for name in used(str(defaults[key]))}
        for key, value in defaults.items():
            line, label = self.document.line(f"defaults.{key}"), f"defaults.{key}"
            if key in named | nested:
                self.rows.append(Row(label, line, MAPPED, "see the argument that it goes into"))
            elif value is None or (not command and value is False):
                self.rows.append(Row(label, line, MAPPED, "", "off"))
            elif not command:
                self.rows.append(Row(label, line, REFUSED, "", "no argument of vLLM has this name, and there is no command that says what it is for"))
            else:
                self.rows.append(Row(label, line, CHANGED, "", "the command has no place for it, so it never did anything"))

    def _argument(self, argument: Argument, made: Call, counts: bool) -> None:
        """One argument of the command: a setting of the server, one of ``args``, or left out with the reason."""
        field, line = f"command {argument.written}", line_of(self.document, made.text, argument.at) if made.text else self.document.line(argument.written)
        if argument.written.startswith("defaults."):
            field = argument.written
        if not counts:
            self.rows.append(Row(field, line, CHANGED, "", "it is there twice; the last one counts, as in vLLM"))
            return
        if kind_of(argument.name) == TRUTH and truth(argument.value) is None:
            raise self.document.error("command", f"{argument.written} is a switch and takes no {str(argument.value)[:40]!r}", line)
        state, ours, why = self._placed(argument)
        if argument.bare and state == MAPPED:
            state, why = CHANGED, "its JSON is not quoted, so a shell would have taken it apart; it is taken as it was meant"
        self.rows.append(Row(field, line, state, ours, why))

    def _placed(self, argument: Argument) -> tuple[str, str, str]:
        """(state, ours, why) of one argument, which is put where it belongs."""
        name, value = argument.name, argument.value
        if name in SECRET_ARGS:
            return REFUSED, "", "a secret in a recipe is known to everybody who has it; say it as `api_key` of the server or in gb10_hub, from a vault"
        special: dict[str, Callable[[Any], tuple[str, str, str]]] = {
            "host": self._host,
            "port": self._port,
            "gpu_memory_utilization": self._utilization,
            "trust_remote_code": self._trust,
            "enforce_eager": self._eager,
            "distributed_executor_backend": self._backend,
        }
        if name in special:
            return special[name](value)
        if name in self.shared:
            return self._share(name, value)
        if name in MADE:
            return CHANGED, "", "made from `boxes` for each of them"
        if name in ("kv_cache_memory_bytes", "gpu_memory_utilization_gb"):
            return CHANGED, "", f"{COMPUTED}; {value} is what the author's box had"
        if name == "model":
            return MAPPED, f"model: {value}", ""
        if name in SERVER_KEYS and not isinstance(value, list):
            self.made[name] = _length(value) if name == "max_model_len" else str(value)
            return MAPPED, f"{name}: {self.made[name]}", ""
        return self._further(name, value)

    def _further(self, name: str, value: Any) -> tuple[str, str, str]:
        """An argument that goes into ``args``."""
        if name in AGAIN and name in self.args:
            value = [*_several(self.args[name]), *_several(value)]
        if self.modded and trust.of_mod(name, value):
            self.args[name] = f"image:{value}"
            return CHANGED, f"args.{name}: image:{value}", "a file that a mod puts into the image"
        if not self.own and trust.of_image(name, value):
            self.args[name] = f"image:{value}"
            return CHANGED, f"args.{name}: image:{value}", "a file of the image, as in the author's container; nothing of the box is mounted for it"
        against = "" if self.own or (isinstance(value, str) and value.startswith("image:")) else trust.of_argument(name, value)
        if against:
            return CHANGED, "", against
        self.args[name] = value
        shown = json.dumps(value, default=str) if isinstance(value, (dict, list)) else value
        why = REMOVED.get(name, "")
        return (CHANGED if why else MAPPED), f"args.{name}" + ("" if value is True else f": {shown}"), f"newer vLLM: {why}" if why else ""

    def _host(self, value: Any) -> tuple[str, str, str]:
        if str(value) in ("127.0.0.1", "localhost", "::1"):
            return MAPPED, "address: loopback, as by default", ""
        why = f"{value} would open it to everybody: it listens on loopback, or where a router reaches it; say `address` for another"
        return CHANGED, "", why

    def _port(self, value: Any) -> tuple[str, str, str]:
        if isinstance(value, bool) or not str(value).isdecimal() or not 0 < int(value) < 65536:
            return REFUSED, "", f"{str(value)[:20]!r} is not a port"
        self.made["port"] = int(value)
        return MAPPED, f"port: {int(value)}", ""

    def _utilization(self, value: Any) -> tuple[str, str, str]:
        try:
            share = 0.0 if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            share = 0.0
        if not 0 < share <= 1:
            return REFUSED, "", f"{str(value)[:20]!r} is no share of the memory (above 0, at most 1)"
        self.made["gpu_memory_ceiling"] = share
        return CHANGED, f"gpu_memory_ceiling: {share:g}", f"a ceiling and no demand: {COMPUTED}"

    def _trust(self, value: Any) -> tuple[str, str, str]:
        return CHANGED, "", "code out of a model's directory runs only where you say `trust_remote_code: true` beside the recipe; most models need none"

    def _eager(self, value: Any) -> tuple[str, str, str]:
        eager = truth(value) is not False
        self.made.update({"cuda_graphs": "never"} if eager else {})
        return MAPPED, "cuda_graphs: never" if eager else "cuda_graphs: auto", ""

    def _backend(self, value: Any) -> tuple[str, str, str]:
        return CHANGED, "", f"{value}: ranks of a server are started by their boxes' units, one of one box needs none"

    def _share(self, name: str, value: Any) -> tuple[str, str, str]:
        if isinstance(value, bool) or not str(value).isdecimal() or not 1 <= int(value) <= nodes.MOST:
            return REFUSED, "", f"{str(value)[:20]!r} is no number of boxes"
        self.shared[name] = int(value)
        if name == "data_parallel_size" and int(value) > 1:
            return REFUSED, "", f"{value} copies of a model are {value} servers behind a router here (docs/router.md): give each box the entry without it"
        if int(value) == 1:
            return MAPPED, "", "one"
        if self.boxes[1] == 1:
            return CHANGED, "one box", "the recipe is for one box only, which has one GPU"
        return MAPPED, f"boxes, {name.removesuffix('_size')}: {value}", ""

    def _over_boxes(self) -> None:
        """``boxes`` from how the model is shared out, against what the author allows."""
        tensor, pipeline = self.shared["tensor_parallel_size"], self.shared["pipeline_parallel_size"]
        settings, rows = nodes.placed(self.document, tensor, pipeline, self.boxes)
        self.made.update(settings)
        self.rows += rows

    def _environment(self, given: Any, before: Mapping[str, str]) -> None:
        if given in (None, "", {}, []):
            given = {}
        if not isinstance(given, Mapping):
            raise self.document.error("env", "it must be a mapping of names to values")
        for key, value in [*((f"env.{key}", value) for key, value in given.items()), *((f"command {key}", value) for key, value in before.items())]:
            name = key.partition("." if key.startswith("env.") else " ")[2]
            state, why = self._variable(name, in_value(value, self.values()) if isinstance(value, str) and self.document.version == "2" else value)
            line = self.document.line(key if key.startswith("env.") else "command")
            self.rows.append(Row(key, line, state, f"env.{name}" if state == MAPPED else "", why))

    def _variable(self, name: str, value: Any) -> tuple[str, str]:
        if not ENV_NAME.fullmatch(name) or isinstance(value, (dict, list)):
            return REFUSED, "no name and value of a variable"
        text = "" if value is None else str(value)
        if names_a_secret(name) or is_secret(text):
            return REFUSED, "a secret in a recipe is known to everybody who has it; give it as `api_key` of the server or in gb10_hub, from a vault"
        if "$" in text or "`" in text:
            return REFUSED, "its value stands for something that only the shell of the author's machine knows; write what it is"
        if not text.isprintable():
            return REFUSED, "its value holds a line break or another character that cannot be printed"
        against = "" if self.own else trust.of_variable(name, text)
        if against:
            return CHANGED, against
        self.env[name] = text
        return MAPPED, ""

    def _check_args(self) -> None:
        try:
            self.args = normalise_args(self.args, "of this recipe")
        except GB10Error as error:
            raise self.document.error("command", str(error).removeprefix("server of this recipe: ")) from None


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _length(value: Any) -> Any:
    if str(value) in ("auto", "-1"):
        return "auto"
    try:
        return human_int(str(value), "")
    except GB10Error:
        return str(value)
