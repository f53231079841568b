# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several model directories read at once, each with its own fault where it has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.store import previous


def read_models(
    paths: Sequence[str],
    *,
    allow_missing: bool = False,
    kept: bool = False,
    load_format: str = "auto",
    check: Callable[[dict[str, Any]], object] = lambda facts: None,
) -> tuple[dict[str, dict[str, Any]], dict[str, GB10Error]]:
    """Facts by path as ``inspect_model`` gives them, and by path what is wrong with the others. A path that is named twice is read once.

    ``kept``: also the earlier versions that lie beside them. ``check``: raises GB10Error for facts of a model that is there and still of no use.
    """
    wanted = list(dict.fromkeys(paths))
    if kept:
        wanted = list(dict.fromkeys([*wanted, *(one for path in wanted for one in previous(path))]))
    models: dict[str, dict[str, Any]] = {}
    problems: dict[str, GB10Error] = {}
    for path in wanted:
        try:
            facts = inspect_model(path, load_format=load_format, allow_missing=allow_missing)
            if facts["present"]:
                check(facts)
            models[path] = facts
        except GB10Error as error:
            text = str(error)
            problems[path] = GB10Error(text if path in text else f"the model in {path}: {text}", path=path, **error.details)
    return models, problems
