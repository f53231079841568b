# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever tells a user to set something names a variable, and a key of it, that a role's argument specs know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NOT_VARIABLES = {
    "gb10_lock": "the group inside a lock file",
    "gb10_routers": "the group of the routers",
    "gb10_option": "any option, in CONTRIBUTING.md",
    "gb10_severs": "the example of a name that nothing reads",
}
NAME = re.compile(r"(?<![\w.])gb10_[a-z]\w*")
# What the collector of the role monitoring writes are names of metrics.
COLLECTOR = (ROOT / "roles/monitoring/files/collector.py").read_text()
METRICS = {
    *re.findall(r'"(gb10_[a-z]\w*)"', COLLECTOR),
    *(f"gb10_{kind}_{figure}" for kind in ("planned", "measured") for figure in re.findall(r'\("(\w+)", "', COLLECTOR)),
}
KEY = re.compile(r"(?<![\w.])(gb10_[a-z]\w*)(?:\[\d*\])?\.([a-z_]\w*)")
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
PLACES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "roles/*/README.md", "plugins/**/*.py", "plugins/**/*.yml", "roles/**/*.yml", "playbooks/**/*.yml")
FILES = [path for pattern in PLACES for path in sorted(ROOT.glob(pattern))]


def known_variables() -> dict[str, set[str]]:
    """Each variable that a role knows, with the keys of a dictionary: those that are specified, and those that a role reads where none are."""
    found: dict[str, set[str]] = {}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, option in (entry.get("options") or {}).items():
                found.setdefault(name, set()).update(option.get("options") or ())
    free = {name for name, keys in found.items() if not keys}
    for path in ROOT.glob("roles/*/defaults/main.yml"):
        for name, key in re.findall(r"\b(gb10_\w+)(?: \| default\([^()]*\)\))?\.(\w+)", path.read_text()):
            if name in free:
                found[name].add(key)
    return found


KNOWN = known_variables()


def unknown(text: str) -> list[str]:
    """The names in a text that no role knows, and the keys of known variables that do not exist."""
    wrong = [name for name in NAME.findall(text) if name not in KNOWN and name not in NOT_VARIABLES and name not in METRICS]
    wrong += [f"{name}.{key}" for name, key in KEY.findall(text) if key not in (KNOWN.get(name) or {key}) and key not in ("yml", "md")]
    for block in BLOCK.findall(text):
        content = yaml.safe_load(block)
        for name, value in content.items() if isinstance(content, dict) else ():
            for one in value if isinstance(value, list) else [value]:
                keys = set(one) if isinstance(one, dict) and KNOWN.get(name) else set()
                wrong += [f"{name}.{key}" for key in sorted(keys - KNOWN[name])]
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_that_is_told_exists(path):
    assert unknown(path.read_text(encoding="utf-8")) == []


def test_the_test_sees_what_it_should():
    assert unknown("set gb10_image.uv_http_timeout") == ["gb10_image.uv_http_timeout"]
    assert unknown("gb10_uv_timeout, gb10_servers[].revison, gb10_servers[0].prot") == ["gb10_uv_timeout", "gb10_servers.revison", "gb10_servers.prot"]
    assert unknown("```yaml\ngb10_hub:\n  tokn: x\n```\n") == ["gb10_hub.tokn"]
    assert unknown("`gb10_*`, gb10_image.ref and gb10_least_free_gib.docker are well") == []
    assert KNOWN["gb10_image"] and KNOWN["gb10_servers"] and KNOWN["gb10_distribution"]
