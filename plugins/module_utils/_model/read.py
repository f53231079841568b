# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several model directories read at once, each with its own fault where it has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import content, reach, versions
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.record import read_record
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR


def read_models(
    paths: Sequence[str],
    *,
    allow_missing: bool = False,
    kept: bool = False,
    load_format: str = "auto",
    check: Callable[[dict[str, Any]], object] = lambda facts: None,
    state_dir: str = STATE_DIR,
    parts: Sequence[str] = (),
) -> tuple[dict[str, dict[str, Any]], dict[str, GB10Error]]:
    """Facts by path as ``inspect_model`` and ``placed`` give them, and by path what is wrong with the others. A path that is named twice is read once.

    ``kept``: also the earlier versions that lie beside them. ``check``: raises GB10Error for facts of a model that is there and still of no use.
    ``parts``: those of the paths that are drafts or adapters of other models.
    """
    wanted = list(dict.fromkeys(paths))
    if kept:
        wanted = list(dict.fromkeys([*wanted, *(one for path in wanted for one in versions.previous(path))]))
    models: dict[str, dict[str, Any]] = {}
    problems: dict[str, GB10Error] = {}
    for path in wanted:
        try:
            facts = inspect_model(versions.current(path), load_format=load_format, allow_missing=allow_missing, part=path in parts)
            facts["path"] = path
            if facts["present"]:
                facts |= placed(path, state_dir)
                if path not in parts:
                    check(facts)
            models[path] = facts
        except GB10Error as error:
            text = str(error)
            problems[path] = GB10Error(text if path in text else f"the model in {path}: {text}", path=path, **error.details)
    return models, problems


def placed(path: str, state_dir: str = STATE_DIR) -> dict[str, Any]:
    """Where a model really is and what is in it: ``{directory, ours, version, revision, outside, links, unreadable, content: {small, weights}}``."""
    directory = versions.directory_of(path)
    return {
        "directory": directory,
        "ours": versions.is_ours(path),
        "version": versions.version_of(directory),
        "revision": read_record(directory).get("revision"),
        "outside": content.first_outside(directory),
        "links": reach.links(directory),
        "unreadable": reach.unreadable(directory),
        "content": content.read(directory, state_dir),
    }
