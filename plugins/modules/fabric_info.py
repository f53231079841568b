#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_info
short_description: Read the ports by which GB10 boxes are connected to each other
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads the halves of all ConnectX ports from sysfs with their RDMA devices, carriers, lanes, addresses and neighbours (LLDP, where lldpd runs), which
    interfaces must not be touched because they carry the default route or this connection, and which files configure the ports already.
  - Asks O(peers), where they are named, with pings of the whole MTU.
  - Changes nothing.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
options:
  interfaces:
    description: Names of the interfaces that make the fabric; those of a ConnectX (driver mlx5_core) by default.
    type: list
    elements: str
    default: []
  peers:
    description: The other ends that are asked.
    type: list
    elements: dict
    default: []
    suboptions:
      interface:
        description: The interface by which they are asked.
        type: str
        required: true
      address:
        description: Their address.
        type: str
        required: true
      mtu:
        description: Bytes of the frame that has to get there in one piece.
        type: int
        default: 9000
      box:
        description: Whose address it is; returned as it is.
        type: str
        default: ""
      by:
        description: By which of its interfaces that box should answer; returned as it is.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: Read the ports
  gb10.vllm.fabric_info:
  register: seen

- name: Ask the other end of one half
  gb10.vllm.fabric_info:
    peers:
      - interface: enp1s0f0np0
        address: 192.168.177.12
  register: asked
"""

RETURN = r"""
fabric:
  description: >-
    C(ports) (each half with C(interface), C(port), C(domain), C(pci), C(mac), C(hca), C(hca_state), C(up), C(carrier) (null where it cannot be seen), C(mtu),
    C(speed_mbps), C(lanes), C(most_lanes), C(gids), C(addresses), C(neighbour), C(claimed_by)), C(missing) (of O(interfaces)), C(kept) (interfaces that must
    not be touched), C(addresses), C(routes), C(hostname), C(controller), C(macs), C(ours) (our file of netplan), and whether there are C(netplan),
    C(driver) and C(perftest).
  returned: success
  type: dict
  sample: {"ports": [{"interface": "enp1s0f0np0", "port": 0, "carrier": true, "mtu": 9000}], "kept": ["enP7s7"]}
answers:
  description: For each of O(peers) whether small and whole frames are answered (C(plain), C(whole)), C(route), C(mac) and C(mac_by).
  returned: success
  type: list
  elements: dict
  sample: [{"interface": "enp1s0f0np0", "address": "192.168.177.12", "plain": true, "whole": true, "route": "enp1s0f0np0"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.ports import ask_peers, read_fabric

PEER = {
    "interface": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "mtu": {"type": "int", "default": 9000},
    "box": {"type": "str", "default": ""},
    "by": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "interfaces": {"type": "list", "elements": "str", "default": []},
            "peers": {"type": "list", "elements": "dict", "default": [], "options": PEER},
        },
        supports_check_mode=True,
    )
    peers = module.params["peers"]
    answers = [{**answer, "box": peer["box"], "by": peer["by"]} for peer, answer in zip(peers, ask_peers(peers), strict=True)]
    module.exit_json(changed=False, fabric=read_fabric(module.params["interfaces"]), answers=answers)


if __name__ == "__main__":
    main()
