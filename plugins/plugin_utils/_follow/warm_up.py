# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller loads once, before Ansible forks a process for each task and box.

Without it every one of these processes loads the same plugins, and the first garbage collection in it copies what the processes share.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import action_loader, become_loader, connection_loader, filter_loader, lookup_loader, shell_loader, test_loader
from ansible.template import Templar

COLLECTION = "gb10.vllm"
ACTIONS = ("assert", "debug", "include_tasks", "normal", "set_fact", "validate_argument_spec", f"{COLLECTION}.run_lock", f"{COLLECTION}.server_ready", f"{COLLECTION}.image_build")
FILTERS = ("default", f"{COLLECTION}.servers", f"{COLLECTION}.distribution_settings", f"{COLLECTION}.fleet_status", f"{COLLECTION}.human_bytes")
LOOKUPS = ("file", "inventory_hostnames", "template", "varnames", "env")


def warm_up() -> None:
    """Load the plugins that a run uses, and keep what is loaded so far out of garbage collections."""
    for name in FILTERS:
        filter_loader.get(name)
    test_loader.get("defined")
    for name in ACTIONS:
        action_loader.get(name, class_only=True)
    for name in LOOKUPS:
        lookup_loader.get(name, class_only=True)
    for loader, name in ((connection_loader, "ssh"), (become_loader, "sudo"), (shell_loader, "sh")):
        loader.get(name, class_only=True)
    importlib.import_module("ansible.executor.module_common")
    expression = "{{ [1] | map('default', 2) | list if nothing is not defined else none }}"
    with contextlib.suppress(ImportError):
        from ansible.template import trust_as_template

        expression = trust_as_template(expression)
    Templar(DataLoader(), variables={}).template(expression)
    gc.collect()
    gc.freeze()
