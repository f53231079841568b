#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_all_gather
short_description: Measure an all-gather between boxes with the NCCL of the served image
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Runs one rank of an all-gather in a container of O(image), with less than 1 GB of buffers; the other ranks have to be started at the same time.
  - Runs nothing where a server of this collection runs, the image is missing or memory is short, and says so in RV(refused).
  - The container is gone afterwards; nothing else is changed.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
options:
  image:
    description: The image that is served.
    type: str
    required: true
  rank:
    description: Number of this box, from 0.
    type: int
    required: true
  ranks:
    description: How many boxes take part.
    type: int
    required: true
  environment:
    description: Environment of NCCL on this box and where the ranks meet, as the filter P(gb10.vllm.fabric_ranks#filter) makes it.
    type: dict
    required: true
  look:
    description: Run nothing, only say whether it may run.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Measure over all boxes of the play
  gb10.vllm.fabric_all_gather:
    image: vllm-node
    rank: "{{ ansible_play_hosts.index(inventory_hostname) }}"
    ranks: "{{ ansible_play_hosts | length }}"
    environment: "{{ boxes | gb10.vllm.fabric_ranks(plan, inventory_hostname) }}"
"""

RETURN = r"""
refused:
  description: Why it may not run on this box now; empty where it may.
  returned: success
  type: str
  sample: ""
gigabytes_per_s:
  description: Bus bandwidth as all_gather_perf of nccl-tests tells it, null where nothing was measured.
  returned: success
  type: float
  sample: 23.7
said:
  description: The last line that the rank wrote about itself.
  returned: success
  type: str
  sample: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.all_gather import measure, refusal


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            "rank": {"type": "int", "required": True},
            "ranks": {"type": "int", "required": True},
            "environment": {"type": "dict", "required": True},
            "look": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    result = {"changed": False, "refused": "", "gigabytes_per_s": None, "said": ""}
    try:
        result["refused"] = refusal(wanted["image"])
        if not result["refused"] and not wanted["look"] and not module.check_mode:
            result |= measure(wanted["image"], {str(key): str(value) for key, value in wanted["environment"].items()}, wanted["rank"], wanted["ranks"])
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
