# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A box whose groups name its servers twice, in inventories as people have them."""

from __future__ import annotations

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.replaced import replaced_servers

CHAT, EMBED = [{"name": "chat", "model": "a"}], [{"name": "embed", "model": "b"}]
TWO = {"gb10": {"children": {"chat": {"hosts": {"spark-01": {}}}, "embed": {"hosts": {"spark-01": {}}}}}}


def said(tmp_path, inventory, extra=None, **files):
    """What is said of spark-01; ``files``: group_vars or host_vars, by the name of the file."""
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    for name, servers in files.items():
        folder = tmp_path / ("host_vars" if name.startswith("spark") else "group_vars")
        folder.mkdir(exist_ok=True)
        (folder / f"{name.replace('_', '-')}.yml").write_text(yaml.safe_dump({"gb10_servers": servers}))
    loader = DataLoader()
    manager = InventoryManager(loader, sources=[str(tmp_path / "hosts.yml")])
    variables = VariableManager(loader, manager)
    variables._extra_vars = extra or {}
    task_vars = {"hostvars": HostVars(manager, variables, loader), "inventory_hostname": "spark-01"}
    taken = variables.get_vars(host=manager.get_host("spark-01")).get("gb10_servers")
    return replaced_servers(task_vars), taken


def test_two_groups_beside_one_another_are_named_with_what_each_says(tmp_path):
    text, taken = said(tmp_path, TWO, chat=CHAT, embed=EMBED)
    assert text == "the groups chat (chat) and embed (embed) each set gb10_servers for it, and Ansible takes only what embed says" and taken == EMBED


def test_so_are_those_in_the_inventory_file_itself_with_a_priority(tmp_path):
    inventory = {"gb10": {"children": {"chat": {"hosts": {"spark-01": {}}, "vars": {"gb10_servers": CHAT, "ansible_group_priority": 9}},
                                       "embed": {"hosts": {"spark-01": {}}, "vars": {"gb10_servers": EMBED}}}}}  # fmt: skip
    text, taken = said(tmp_path, inventory)
    assert text.endswith("takes only what chat says") and taken == CHAT


@pytest.mark.parametrize(
    "files",
    [
        {"gb10": CHAT, "embed": EMBED},  # a group of its own replaces what all have, as it is meant
        {"chat": CHAT, "embed": EMBED, "spark_01": CHAT},  # the box itself says what holds
        {"chat": CHAT, "embed": CHAT},
        {"chat": CHAT},
        {},
    ],
)
def test_what_is_meant_is_not_mentioned(tmp_path, files):
    assert said(tmp_path, TWO, **files)[0] == ""


def test_neither_is_one_that_a_command_replaces_nor_an_inventory_that_cannot_be_read(tmp_path):
    assert said(tmp_path, TWO, {"gb10_servers": CHAT}, chat=CHAT, embed=EMBED)[0] == ""
    assert replaced_servers({}) == replaced_servers({"hostvars": {}, "inventory_hostname": "x"}) == ""


def test_a_list_that_is_a_template_is_told_as_one(tmp_path):
    text, _taken = said(tmp_path, TWO, chat="{{ theirs }}", embed=EMBED)
    assert "chat (a template) and embed (embed)" in text
