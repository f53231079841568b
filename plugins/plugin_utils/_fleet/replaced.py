# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A box in two groups of the inventory that both name its servers: Ansible takes one list and drops the other without a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible.inventory.group import Group
from ansible.inventory.helpers import sort_groups
from ansible.vars.plugins import get_vars_from_inventory_sources

NAME = "gb10_servers"
REMEDY = "Name all of its servers in one place, such as its file in host_vars, or take it out of a group."


class Given(NamedTuple):
    """A list of servers as a group gives it; ``above``: the groups that this one is in, which a list of its own is meant to replace."""

    group: str
    servers: Any
    above: frozenset[str] = frozenset()


def replaced(given: Iterable[Given]) -> str:
    """Why the last of ``given`` (in Ansible's order) hides another's servers; "" where it is above none that says something else."""
    lists = list(given)
    won = lists[-1] if lists else Given("", None)
    lost = [one for one in lists[:-1] if one.group not in won.above and one.servers != won.servers]
    if not lost:
        return ""
    others = " and ".join(f"{one.group} ({_named(one.servers)})" for one in lost)
    return f"the groups {others} and {won.group} ({_named(won.servers)}) each set {NAME} for it, and Ansible takes only what {won.group} says"


def replaced_servers(task_vars: Mapping[str, Any]) -> str:
    """What `replaced` says of the box of a task, by its inventory; "" where that cannot be read."""
    hostvars, name = task_vars.get("hostvars"), task_vars.get("inventory_hostname")
    # What HostVars was made of: it has no public way to ask for the variables of one group.
    inventory, loader = getattr(hostvars, "_inventory", None), getattr(hostvars, "_loader", None)
    extra = getattr(getattr(hostvars, "_variable_manager", None), "extra_vars", {})
    if inventory is None or loader is None or NAME in extra:
        return ""
    host = inventory.get_host(name)
    if host is None:
        return ""
    beside = [str(task_vars["playbook_dir"])] if task_vars.get("playbook_dir") else []
    sources = [*(inventory._sources or []), *(f"{place}/." for place in beside)]

    def variables(entity: Any) -> Mapping[str, Any]:
        own = entity.get_vars() if isinstance(entity, Group) else entity.vars
        return {**own, **get_vars_from_inventory_sources(loader, sources, [entity], "task")}

    if NAME in variables(host):
        return ""
    given = []
    for group in sort_groups(host.get_groups()):
        found = variables(group)
        if NAME in found:
            given.append(Given(group.name, found[NAME], frozenset(one.name for one in group.get_ancestors())))
    return replaced(given)


def _named(servers: Any) -> str:
    """The names of a list's servers, as far as they are written out."""
    if not isinstance(servers, list):
        return "a template"
    return ", ".join(str(one.get("name") or "?") if isinstance(one, Mapping) else "?" for one in servers)[:120] or "none"
