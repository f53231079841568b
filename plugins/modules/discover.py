#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: discover
short_description: Look for boxes on the networks of the machine it runs on
version_added: "1.0.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads who announces SSH by mDNS (C(avahi-browse), where it is installed) and whom the machine has spoken to of late (its neighbour table),
    and asks each of them, or each address of O(range), for the line with which an SSH server begins. Sends nothing and logs in nowhere.
  - Asks 1024 addresses at most, and none beyond O(range) where one is given.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
options:
  range:
    description: Ranges of private addresses with commas between them, such as V(192.168.1.0/24) or V(fd00::/120).
    type: str
    default: ""
  user:
    description: User for the inventory.
    type: str
    default: USER
  port:
    description: Port of SSH.
    type: int
    default: 22
  longest_s:
    description: Seconds after which no further address is asked.
    type: float
    default: 60
"""

EXAMPLES = r"""
- name: Look for boxes
  gb10.vllm.discover:
    range: 192.168.1.0/24
  delegate_to: localhost
  register: found
"""

RETURN = r"""
boxes:
  description: What answered with SSH - C(name), C(addresses), C(banner), C(likely) (whether it looks like a GB10) and C(why).
  returned: success
  type: list
  elements: dict
asked:
  description: How many addresses were asked.
  returned: success
  type: int
announced:
  description: How many names were announced by mDNS.
  returned: success
  type: int
in_time:
  description: Whether all were asked in time.
  returned: success
  type: bool
inventory:
  description: Lines for an inventory; what does not look like a GB10 is a comment.
  returned: success
  type: str
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._discovery.ask import found
from ansible_collections.gb10.vllm.plugins.module_utils._discovery.boxes import inventory
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "range": {"type": "str", "default": ""},
            "user": {"type": "str", "default": "USER"},
            "port": {"type": "int", "default": 22},
            "longest_s": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        if not 0 < wanted["port"] < 65536:
            raise GB10Error(f"port: {wanted['port']} is not a port; SSH has 22.")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", wanted["user"]):
            raise GB10Error(f"user: {wanted['user'][:40]!r} is no name of a user.")
        seen = found(wanted["range"], wanted["port"], wanted["longest_s"])
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    module.exit_json(changed=False, inventory=inventory(seen["boxes"], wanted["user"]), **seen)


if __name__ == "__main__":
    main()
