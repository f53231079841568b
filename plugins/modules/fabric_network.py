#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_network
short_description: Write the network of a fabric with a way back that the box takes by itself
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Writes C(90-gb10-vllm-fabric.yaml) beside netplan's other files and applies it. C(netplan generate) reads it first, in a copy of all files.
  - Whatever is applied is taken back by a timer on the box after O(confirm_s) seconds, unless this module was called with O(state=confirmed) before,
    over a connection that is made anew. A box that loses its power meanwhile comes up with what it had.
extends_documentation_fragment:
  - gb10.vllm.attributes
  - gb10.vllm.state_dir
options:
  state:
    description:
      - V(present) applies O(content), V(absent) takes the file away and puts MTU, addresses and state of its interfaces back.
      - V(confirmed) keeps what was applied, O(content) or, without it, nothing. It does nothing where that is kept already, and fails where the box has
        taken it back.
    type: str
    choices: [present, absent, confirmed]
    default: present
  content:
    description: The file, as the filter P(gb10.vllm.fabric_plan#filter) makes it.
    type: str
  confirm_s:
    description: Seconds after which the box takes back what was not confirmed.
    type: int
    default: 90
attributes:
  diff_mode:
    support: full
    description: Shows the file.
"""

EXAMPLES = r"""
- name: Apply the network of the fabric
  gb10.vllm.fabric_network:
    content: "{{ plan.boxes[inventory_hostname].netplan }}"

- name: Connect anew
  ansible.builtin.meta: reset_connection

- name: Keep it
  gb10.vllm.fabric_network:
    state: confirmed
    content: "{{ plan.boxes[inventory_hostname].netplan }}"
"""

RETURN = r"""
awaits:
  description: Whether what was applied waits to be confirmed.
  returned: success
  type: bool
  sample: true
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._fabric import netplan
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent", "confirmed"], "default": "present"},
            "content": {"type": "str"},
            "confirm_s": {"type": "int", "default": 90},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        required_if=[("state", "present", ["content"])],
        supports_check_mode=True,
    )
    wanted = module.params
    record = os.path.join(wanted["state_dir"], "fabric.json")
    try:
        content = wanted["content"] if wanted["state"] != "absent" else None
        if wanted["state"] == "confirmed":
            kept = netplan.pending() is not None if module.check_mode else netplan.confirm(content, record)
            module.exit_json(changed=kept, awaits=False)
        now, changed = netplan.read(netplan.STAYS), False
        if now != content or netplan.pending() is not None:
            changed = True
            if module.check_mode:
                netplan.examine(content)
            else:
                netplan.apply(content, record, wanted["confirm_s"])
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    result: dict = {"changed": changed, "awaits": changed and not module.check_mode}
    if module._diff:  # pylint: disable=protected-access
        result["diff"] = {"before_header": netplan.STAYS, "after_header": netplan.STAYS, "before": now or "", "after": content or ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
