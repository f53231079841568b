# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller loads once, before Ansible forks a process for each task and box.

Without it every one of these processes loads the same plugins again, and its first garbage collection copies the memory it shares with the others.
"""

from __future__ import annotations

import gc
import importlib

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import action_loader, become_loader, connection_loader, filter_loader, lookup_loader, shell_loader, test_loader
from ansible.template import Templar
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import options

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core 2.18 trusts what it is given

    def trust_as_template(value):
        return value


OURS = ("box_info", "image_build", "kv_cache_budget", "run_lock", "server_ready", "show")
PLUGINS = (
    # Loading one filter of a collection loads all of them, and with them what they import: the sizing, too.
    (filter_loader, ("default", "gb10.vllm.servers")),
    (test_loader, ("defined",)),
    (action_loader, ("assert", "copy", "fail", "include_tasks", "normal", "set_fact", "validate_argument_spec", *(f"gb10.vllm.{name}" for name in OURS))),
    (lookup_loader, ("env", "file", "inventory_hostnames", "template", "varnames")),
    (connection_loader, ("ssh",)),
    (become_loader, ("sudo",)),
    (shell_loader, ("sh",)),
)
EXPRESSION = "{{ [1] | map('default', 2) | list if nothing is not defined else none }}"


def warm_up() -> None:
    """Load the plugins that a run uses, and keep them out of garbage collections from here on.

    Not the knowledge of failures: it takes a second and 17 MiB, which each of these processes would carry, and only what fails asks for it.
    """
    for loader, names in PLUGINS:
        for name in names:
            loader.get(name) if loader in (filter_loader, test_loader) else loader.get(name, class_only=True)
    importlib.import_module("ansible.executor.module_common")
    Templar(DataLoader(), variables={}).template(trust_as_template(EXPRESSION))
    options.specs()
    gc.collect()
    gc.freeze()
