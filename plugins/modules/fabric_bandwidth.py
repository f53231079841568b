#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_bandwidth
short_description: Measure what both halves of a cable between two boxes carry at once
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Runs C(ib_write_bw) of the package perftest over all O(halves) at the same time, on one box as the end that waits and on the other as the one that sends.
  - What waits ends by itself. Nothing is installed or changed.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
options:
  end:
    description: V(waits) has to be started first; V(sends) measures.
    type: str
    choices: [waits, sends]
    required: true
  halves:
    description: The halves of the cable, in the same order at both ends.
    type: list
    elements: dict
    required: true
    suboptions:
      interface:
        description: The interface on this box.
        type: str
        required: true
      hca:
        description: The RDMA device on this box.
        type: str
        required: true
      address:
        description: The address on this box.
        type: str
        required: true
      peer:
        description: The address at the other end.
        type: str
        required: true
  seconds:
    description: How long it is measured.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Measure one half
  gb10.vllm.fabric_bandwidth:
    end: sends
    halves:
      - {interface: enp1s0f0np0, hca: rocep1s0f0, address: 192.168.177.12, peer: 192.168.177.11}
"""

RETURN = r"""
rates:
  description: Gb/s of each half, null where nothing was measured, and what was said then.
  returned: O(end=sends)
  type: list
  elements: dict
  sample: [{"interface": "enp1s0f0np0", "gbits": 97.3, "said": ""}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.bandwidth import measure, serve

HALF = {name: {"type": "str", "required": True} for name in ("interface", "hca", "address", "peer")}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "end": {"type": "str", "choices": ["waits", "sends"], "required": True},
            "halves": {"type": "list", "elements": "dict", "required": True, "options": HALF},
            "seconds": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        if wanted["end"] == "waits":
            serve(wanted["halves"], wanted["seconds"])
            module.exit_json(changed=False)
        module.exit_json(changed=False, rates=measure(wanted["halves"], wanted["seconds"]))
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)


if __name__ == "__main__":
    main()
