# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock file as text.

Ansible reads every file of an inventory directory as inventory. The lock lies there, so it has the shape of a group without hosts: nothing
warns about it and no host gets a variable from it, whatever ansible.cfg says.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import lock as locks

GROUP = "gb10_lock"
HEADER = """\
# What runs on each box. Written by gb10.vllm at the end of site when it changed; keep it in version control.
# `-e gb10_locked=true` deploys exactly this or fails. It has the shape of an inventory group without hosts,
# because Ansible reads every file of an inventory directory.
---
"""


# libyaml where PyYAML has it: a fleet of fifty boxes is a few thousand lines.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(lock: Mapping[str, Any]) -> str:
    """The text of a lock; the same lock gives the same text."""
    # YAML does not know Ansible's own types of strings; JSON makes them plain.
    plain = json.loads(json.dumps(locks.pack(lock)))
    return HEADER + yaml.dump({GROUP: {"vars": plain}}, Dumper=_Dumper, sort_keys=True, default_flow_style=False, width=10_000, allow_unicode=True)


def load(text: str, path: str) -> dict[str, Any]:
    """The lock in a text; {} for no text. Raises GB10Error for what is not a lock file."""
    if not text.strip():
        return {}
    try:
        # As a stream: libyaml takes no subclass of str or bytes, and Ansible's strings are one (in 2.18 their encode() gives the other).
        document = yaml.load(io.StringIO(text), Loader=_Loader)
        packed = document[GROUP]["vars"]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise GB10Error(
            f"{path} is not a lock file of gb10.vllm; restore it from version control, or delete it and run site once to have it written anew."
        ) from None
    return locks.unpack(packed, path)
