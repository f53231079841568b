# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's own known failures with their examples, which lie with the tests because nothing needs them where the collection runs."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import knowledge

EXAMPLES = Path(__file__).resolve().parents[1] / "unit" / "plugins" / "plugin_utils" / "_diagnosis" / "examples.yml"


def raw() -> list[dict]:
    """The entries of diagnoses.yml with the examples of examples.yml, as they are written."""
    entries, examples = (yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader) for path in (knowledge.BUILTIN, EXAMPLES))
    assert [entry["id"] for entry in entries if "example" not in examples.get(entry["id"], {})] == [], "entries without an example in examples.yml"
    return [{**entry, **examples[entry["id"]]} for entry in entries]


@lru_cache(maxsize=1)
def known() -> tuple[knowledge.Entry, ...]:
    """The same as entries: an error where a signature misses its own example or matches its counter-example."""
    return tuple(knowledge.parse_entry(entry, entry["id"]) for entry in raw())
