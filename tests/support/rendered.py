# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an expression that stands in a role says, rendered by Ansible's own templates with the role's own defaults and variables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core 2.18 trusts what it is given

    def trust_as_template(text: str) -> str:
        return text


ROLES = Path(__file__).resolve().parents[2] / "roles"


def trusted(value: Any) -> Any:
    """The same value, whose texts Ansible takes for templates."""
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [trusted(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) else value


def variables_of(role: str) -> dict[str, Any]:
    """Defaults and variables of a role, as templates."""
    found: dict[str, Any] = {}
    for folder in ("defaults", "vars"):
        path = ROLES / role / folder / "main.yml"
        found |= yaml.safe_load(path.read_text()) if path.exists() else {}
    return trusted(found)


def task(role: str, file: str, module: str) -> dict[str, Any]:
    """The arguments of the first task of a file that uses a module, as templates."""
    tasks = yaml.safe_load((ROLES / role / "tasks" / file).read_text())
    return trusted(next(one[module] for one in tasks if module in one))


@contextmanager
def collections() -> Iterator[None]:
    """Ansible's way to import collections, as long as it is needed; what the tests themselves have imported is theirs again afterwards.

    It takes a moment: who renders often enters it once around all of it.
    """
    if any(isinstance(finder, _AnsibleCollectionFinder) for finder in sys.meta_path):
        yield
        return
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "ansible_collections"}
    finder = _AnsibleCollectionFinder([], scan_sys_paths=True)
    finder._install()
    try:
        yield
    finally:
        finder._remove()
        for name in [name for name in sys.modules if name.partition(".")[0] == "ansible_collections"]:
            del sys.modules[name]
        sys.modules.update(ours)


def render(template: Any, variables: dict[str, Any]) -> Any:
    """What Ansible makes of a template."""
    with collections():
        loader = DataLoader()
        loader.set_basedir(str(ROLES / "server"))
        return Templar(loader=loader, variables=variables).template(template)
