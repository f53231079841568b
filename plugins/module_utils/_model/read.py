# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several model directories read at once, each with its own fault where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.store import previous
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout


def read_models(
    paths: Sequence[str],
    *,
    allow_missing: bool = False,
    kept: bool = False,
    load_format: str = "auto",
    check_architecture: bool = True,
    assume_full_attention: bool = False,
) -> tuple[dict[str, dict[str, Any]], dict[str, GB10Error]]:
    """Facts by path as ``inspect_model`` gives them, and by path what is wrong with the others. A path that is named twice is read once.

    ``kept``: also the earlier versions that lie beside them. ``check_architecture``: one that the sizing does not know is a fault too.
    """
    wanted = list(dict.fromkeys(paths))
    if kept:
        wanted = list(dict.fromkeys([*wanted, *(one for path in wanted for one in previous(path))]))
    models: dict[str, dict[str, Any]] = {}
    problems: dict[str, GB10Error] = {}
    for path in wanted:
        try:
            facts = inspect_model(path, load_format=load_format, allow_missing=allow_missing)
            if check_architecture and facts["present"]:
                kv_layout(facts["config"], Engine(), assume_full_attention=assume_full_attention)
            models[path] = facts
        except GB10Error as error:
            text = str(error)
            problems[path] = GB10Error(text if path in text else f"the model in {path}: {text}", path=path, **error.details)
    return models, problems
