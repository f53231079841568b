#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: monitoring_info
short_description: Read who already has what the monitoring of a host needs
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads in one call which address of a host is meant, which programs hold the ports that are wanted there, whose the configuration files of the
    distribution's packages are, and how much room there is.
  - Needs root to see whose a port is.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
options:
  address:
    description: The management address of the host, or a name for it.
    type: str
    required: true
  ports:
    description: Ports that are wanted, by the name of the systemd unit that wants them, without C(.service).
    type: dict
    default: {}
  files:
    description: Configuration files whose owner is asked for.
    type: list
    elements: path
    default: []
  units:
    description: The units, which are named like their packages; their drop-ins and replacements are looked at as well.
    type: list
    elements: str
    default: []
  directory:
    description: Where data will be kept.
    type: path
    default: /var/lib/prometheus
"""

EXAMPLES = r"""
- name: Read who has the port of the node exporter
  gb10.vllm.monitoring_info:
    address: 192.168.1.11
    ports: {prometheus-node-exporter: 9100}
    units: [prometheus-node-exporter]
    files: [/etc/default/prometheus-node-exporter]
  register: result
"""

RETURN = r"""
addresses:
  description: The addresses of the host, without those that hold on one link only.
  returned: success
  type: list
  elements: str
  sample: ["127.0.0.1", "192.168.1.11"]
management:
  description: The address of the host that O(address) means; empty when it means none.
  returned: success
  type: str
  sample: 192.168.1.11
taken:
  description: By the name of the unit that wants a port, who listens there already - C(address), C(port), C(pid), C(program) and its C(unit).
  returned: success
  type: dict
  sample: {"prometheus-node-exporter": []}
files:
  description: The files that exist, each C(ours), of the C(package) as it was brought, or C(somebody)'s.
  returned: success
  type: dict
  sample: {"/etc/default/prometheus-node-exporter": "package"}
disk:
  description: C(path), C(free_bytes) and C(total_bytes) of the file system that holds O(directory).
  returned: success
  type: dict
  sample: {"path": "/var/lib/prometheus", "free_bytes": 64424509440, "total_bytes": 128849018880}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._box import tenants


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "ports": {"type": "dict", "default": {}},
            "files": {"type": "list", "elements": "path", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path", "default": "/var/lib/prometheus"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        ports = {name: int(port) for name, port in wanted["ports"].items()}
    except (TypeError, ValueError):
        module.fail_json(msg=f"ports has {wanted['ports']!r}, and a port is a number from 1 to 65535; correct it.")
    module.exit_json(
        changed=False,
        **tenants.read(address=wanted["address"], ports=ports, files=wanted["files"], units=wanted["units"], directory=wanted["directory"]),
    )


if __name__ == "__main__":
    main()
