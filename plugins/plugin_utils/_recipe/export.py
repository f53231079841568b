# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs, as a recipe that others can use: the arguments of a deployment without what belongs to this box. Pure.

Whoever reads it here gets the same server, but for what is named as left out; ``tests/unit/.../test_export.py`` reads back what is written.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import SECRET_ARGS, flag_name, words
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import ranks
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import CACHE_ENV, GUARD
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import REPO_ID, is_secret, names_a_secret
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import image_said, trust
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.arguments import Argument, arguments
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import MADE, TEMPLATE
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.placeholders import meant
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.words import Shell, Word

FORMATS = ("v1", "v2")
PARTS = {"tensor_parallel_size": "tensor_parallel", "pipeline_parallel_size": "pipeline_parallel"}
OWN = (
    "kv_cache_memory_bytes", "host", "port", "max_model_len", "gpu_memory_utilization", "served_model_name", "ssl_certfile", "ssl_keyfile", "revision",
    *MADE, *PARTS,
)  # fmt: skip
HERE = re.compile(r"/(?:run|cache|models|opt/gb10[\w-]*)(?:/|$)")
"""Places in a container that hold what its box has, whatever its volumes are."""
PLACES = {
    "host": ("--host", "host"),
    "port": ("--port", "port"),
    "max_model_len": ("--max-model-len", "max_model_len"),
    "gpu_memory_utilization": ("--gpu-memory-utilization", "gpu_memory_utilization"),
    "tensor_parallel": ("--tensor-parallel-size", "tensor_parallel"),
    "pipeline_parallel": ("--pipeline-parallel-size", "pipeline_parallel"),
    "served_model_name": ("--served-model-name", "served_model_name"),
}
_SIMPLE = re.compile(r"[\w./:@+-]+")
_OURS = ("GB10_KEY", "PYTHONPYCACHEPREFIX")


def exported(
    deployment: Mapping[str, Any],
    form: str,
    env: Mapping[str, Any] | None = None,
    image: Mapping[str, Any] | None = None,
    models: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[str, list[str]]:
    """(the recipe as YAML, what was left out and why). ``env``: the server's own; ``image``: ``gb10_image`` when its image was made, None where unknown;
    ``models``: facts of the directories that it mounts, by path. GB10Error for a format that is none, and for what runs no ``vllm serve``."""
    if form not in FORMATS:
        raise GB10Error(f"export: the format {form[:20]!r} is not known; use {' or '.join(FORMATS)}.")
    command = [str(word) for word in (deployment.get("container") or {}).get("command") or []]
    if "serve" not in command:
        raise GB10Error("export: what runs has no `vllm serve` in its command, so it is no server of this collection.")
    try:
        _loose, found = arguments([Word(word, 0) for word in command[command.index("serve") + 1 :]])
    except Shell as error:
        raise GB10Error(f"export: the arguments that run cannot be read: {error.why}.") from None
    return _Export(deployment, form, image or {}, models or {}).written(found, env or {}, image is not None)


class _Export:
    """One deployment on its way to a recipe; ``left`` grows by what does not come along."""

    def __init__(self, deployment: Mapping[str, Any], form: str, image: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
        self.deployment, self.form, self.image, self.models = deployment, form, image, models
        self.container: Mapping[str, Any] = deployment.get("container") or {}
        self.volumes = [str(one).split(":")[:2] for one in self.container.get("volumes") or [] if str(one).count(":")]
        self.left: list[str] = []

    def written(self, found: list[Argument], env: Mapping[str, Any], image_known: bool) -> tuple[str, list[str]]:
        """See ``exported``."""
        held = {one.name: one.value for one in found}
        defaults = self._defaults(held)
        args = {_flag(one): self._shared_value(one) for one in found if one.name not in OWN and self._kept(one)}
        args |= {flag_name(name): value for name, value in self._names(defaults).items()}
        variables = self._environment(env)
        name = str(self.deployment.get("image_name") or "")
        if not image_known:
            self.left.append(f"image: nobody knows what {name or 'it'} was made from; say which one others need as `container`")
        image = image_said.said(self.image, self.left, name)
        head = self._head(held, len((self.deployment.get("group") or {}).get("boxes") or [])) | image
        return self._text(head, defaults, args, variables), self.left

    # The command.

    def _defaults(self, held: Mapping[str, Any]) -> dict[str, Any]:
        parts = {short: held[name] for name, short in PARTS.items() if str(held.get(name, 1)) != "1"}
        return {
            "port": self.deployment.get("port", 8000),
            "host": "0.0.0.0",
            **{key: held[key] for key in ("max_model_len", "gpu_memory_utilization") if key in held},
            **parts,
            "served_model_name": self.deployment.get("served_model_name") or held.get("served_model_name") or "model",
        }

    def _names(self, defaults: dict[str, Any]) -> dict[str, Any]:
        """Names for clients that a shell would take apart stand in the command, quoted; all others are a default."""
        given = defaults["served_model_name"]
        names = [str(one) for one in (given if isinstance(given, (list, tuple)) else [given])]
        if all(_SIMPLE.fullmatch(one) for one in names) and not (len(names) > 1 and self.form == "v2" and " " in names[0]):
            defaults["served_model_name"] = " ".join(names)
            return {}
        del defaults["served_model_name"]
        return {"served_model_name": names}

    def _kept(self, one: Argument) -> bool:
        """Whether an argument comes along; why not is added to ``left``."""
        flag, value = flag_name(one.name), one.value
        if one.name == "middleware" and str(value).partition(".")[0] == GUARD.partition(".")[0]:
            return False
        if one.name == "allowed_origins" and value in ([], "[]"):
            return False  # ours: no web page of another origin
        if one.name == "distributed_executor_backend" and self.deployment.get("group"):
            return False
        if one.name in SECRET_ARGS or any(is_secret(text) for text in _texts(value)):
            self.left.append(f"{flag}: a secret")
            return False
        places = [_path(text) for text in _texts(self._from_hub(value)) if self._of_this_box(_path(text))]
        self.left += [f"{flag}: {place} is a file of this box" for place in places]
        if places and any(self._of_this_box(_path(text)) for text in _texts(self._shared_value(one))):
            return False
        text = next((text for text in _texts(value) if self._filled(text)), "")
        if text:
            self.left.append(f"{flag}: {text[:40]!r} holds braces that whoever reads a recipe would fill in")
            return False
        from_mod = bool(self.image.get("mods")) and trust.of_mod(one.name, value)
        shared = self._shared_value(one)
        against = "" if from_mod or trust.of_image(one.name, shared) else trust.of_argument(one.name, shared)
        if against:
            self.left.append(f"{flag}: nobody takes it from a recipe unasked ({against.partition(';')[0]})")
        return not against

    def _of_this_box(self, path: str) -> bool:
        mounted = any(path == target or path.startswith(f"{target.rstrip('/')}/") for _source, target in self.volumes)
        return path.startswith("/") and (mounted or bool(HERE.match(path)))

    def _filled(self, text: str) -> bool:
        return bool(TEMPLATE.search(text)) or (self.form == "v2" and meant(text))

    def _shared_value(self, one: Argument) -> Any:
        """An argument's value with the repositories that directories of this box were brought from; adapters of this box alone go."""
        value = self._from_hub(one.value)
        if one.name != "lora_modules" or not isinstance(value, list):
            return value
        kept = [text for text in value if not self._of_this_box(_path(str(text)))]
        return kept or value

    def _from_hub(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._from_hub(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._from_hub(one) for one in value]
        if not isinstance(value, str):
            return value
        source = next((source for source, target in self.volumes if target == _path(value)), "")
        repository = "/".join(source.partition("@")[0].split("/")[-2:])
        brought = bool(source and (self.models.get(source) or {}).get("revision")) and bool(REPO_ID.fullmatch(repository))
        return value.replace(_path(value), repository) if brought else value

    # The rest.

    def _environment(self, given: Mapping[str, Any]) -> dict[str, str]:
        """The server's own variables, and what repairs made of them; what is secret or nobody takes from a recipe goes."""
        rank = {*ranks.OF_A_BOX, *ranks.environment({"interface": "x", "address": "x", "hcas": ["x"], "circle": 4})} if self.deployment.get("group") else set()
        repaired = {
            name: value
            for name, value in (self.container.get("env") or {}).items()
            if CACHE_ENV.get(name) != value and name not in (*_OURS, *rank)
        }  # fmt: skip
        found = {}
        for name, value in {**repaired, **given}.items():
            text = "" if value is None else str(value)
            if names_a_secret(str(name)) or is_secret(text):
                self.left.append(f"env.{name}: a secret")
            elif "$" in text or "`" in text or not text.isprintable() or self._filled(text):
                self.left.append(f"env.{name}: its value has signs that a recipe cannot keep")
            elif trust.of_variable(str(name), text):
                self.left.append(f"env.{name}: {trust.of_variable(str(name), text).partition(';')[0]}, so nobody takes it from a recipe unasked")
            else:
                found[str(name)] = text
        return found

    def _head(self, held: Mapping[str, Any], group: int) -> dict[str, Any]:
        """Model, revision and on how many boxes."""
        model = str(self.deployment.get("model") or self.deployment.get("model_path") or "")
        boxes = group or int(held.get("nnodes") or 0) or int(held.get("tensor_parallel_size") or 1) * int(held.get("pipeline_parallel_size") or 1)
        if not REPO_ID.fullmatch(model):
            self.left.append(f"model: {model} is a directory of this box; name the repository it came from")
        directory = self.volumes[0][0] if self.volumes else ""
        revision = (self.models.get(directory) or {}).get("revision") or self.deployment.get("revision") or held.get("revision") or ""
        if REPO_ID.fullmatch(model) and directory in self.models and not revision:
            self.left.append(f"revision: nobody knows of which commit of {model} these files are, so others get its newest")
        told = f"vLLM serving {model}"
        if self.form == "v1":
            return {"name": str(self.deployment["name"]), "description": told, "model": model, "_revision": revision, **_of_v1(boxes)}
        more = {"model_revision": str(revision)} if revision else {}
        nodes = {"min_nodes": boxes, "max_nodes": boxes} if boxes > 1 else {"max_nodes": 1}
        return {"model": model, **more, "runtime": "vllm", "metadata": {"description": told}, **nodes}

    def _text(self, head: dict[str, Any], defaults: Mapping[str, Any], args: Mapping[str, Any], env: Mapping[str, str]) -> str:
        doubled, revision = self.form == "v1", head.pop("_revision", "")
        lines = ["vllm serve " + (_quoted(head["model"], doubled) if doubled else "{model}")]
        lines += [f"{flag} {{{key}}}" for key, (flag, _name) in PLACES.items() if key in defaults]
        lines += [f"--revision {_quoted(str(revision), doubled)}"] if revision else []
        lines += [" ".join(_quoted(word, doubled) for word in words(flag, value)) for flag, value in args.items()]
        made = {"recipe_version": self.form.removeprefix("v"), **head, "defaults": dict(defaults), **({"env": dict(env)} if env else {})}
        text = yaml.safe_dump(made, sort_keys=False, width=150)
        body = "".join(f"  {line}\n" for line in " \\\n  ".join(lines).split("\n"))
        return f"{text}command: |\n{body}"


def _flag(one: Argument) -> str:
    """An argument's flag; the one letter that vLLM has no long form of stays as it is."""
    return one.written if one.name[:1] == "O" else flag_name(one.name)


def _of_v1(boxes: int) -> dict[str, Any]:
    return {"cluster_only": True} if boxes > 1 else {"solo_only": True}


def _path(text: str) -> str:
    """The path in a text that may be NAME=PATH."""
    name, equals, path = text.partition("=")
    return path if equals and re.fullmatch(r"[\w.-]+", name) else text


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, (list, tuple)):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


def _quoted(word: str, doubled: bool) -> str:
    text = shlex.quote(word)
    return text.replace("{", "{{").replace("}", "}}") if doubled else text


def plain(value: Any) -> Any:
    """The same value in containers of Python's own: Ansible's kinds of texts are none that YAML can write."""
    return json.loads(json.dumps(value, default=str))
