#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: box_info
short_description: Read what a GB10 box is, holds and runs
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads in one call all that planning needs to know of a box - operating system, GPU, memory as the kernel and as CUDA
    see it, Docker, disks, listening ports, what holds memory, and what earlier runs of this collection left there.
  - Judges it against what is wanted, so that each finding comes with its cause and remedy.
  - Changes nothing.
options:
  state_dir:
    description: Directory on the box in which the collection keeps its records.
    type: path
    default: /var/lib/gb10-vllm
  servers:
    description: Servers wanted on the box; a port that something else holds becomes a finding.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the server.
        type: str
        required: true
      port:
        description: Port on the box it will be published on.
        type: int
        required: true
  images:
    description: Image names or ids whose id, size and labels to return.
    type: list
    elements: str
    default: []
  least_free_gib:
    description:
      - GiB that must be free, by path. V(docker) stands for the directory in which Docker keeps its data; it counts only
        while one of O(images) is missing.
    type: dict
    default: {}
  architectures:
    description: Machine names (C(uname -m)) that are accepted.
    type: list
    elements: str
    default: [aarch64]
  compute_capability:
    description: CUDA compute capability that is expected.
    type: str
    default: "12.1"
  builds:
    description: Whether an image will be built on the box, which needs BuildKit.
    type: bool
    default: false
  wait_for_memory_bytes:
    description:
      - Before the box is read, wait until this many bytes are available (C(MemAvailable)), or no more have come back for 10 seconds; 60 seconds at most.
      - What a program on a GPU held comes back only a while after it ended.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
    description: Can run in check mode, where it does the same.
  diff_mode:
    support: N/A
    description: Nothing is changed.
"""

EXAMPLES = r"""
- name: Read the box
  gb10.vllm.box_info:
    servers:
      - name: devstral
        port: 8000
    least_free_gib:
      docker: 60
  register: result

- name: Show what stands in the way
  ansible.builtin.debug:
    msg: "{{ result.findings | map(attribute='text') }}"
"""

RETURN = r"""
box:
  description: >-
    Facts of the box: C(hostname), C(architecture), C(os), C(python), C(gpu), C(memory) (bytes; C(cuda_total_bytes) is null where
    libcuda did not answer), C(docker) (with our C(containers), the names of C(others), and C(images)), C(disks), C(listeners), C(holders)
    (processes that hold at least 1 GiB), C(units), C(files) (digest, mode and owner of the files this collection put there), C(servers)
    (records of earlier runs by server).
  returned: success
  type: dict
  sample: {"architecture": "aarch64", "gpu": {"name": "NVIDIA GB10", "compute_capability": "12.1", "present": true}}
findings:
  description: What stands in the way (level C(error)) or should be known (level C(warning)), errors first.
  returned: success
  type: list
  elements: dict
  sample:
    - level: error
      what: port 8000 is in use
      why: server devstral wants it and another program listens on 0.0.0.0:8000
      fix: Stop that program or give the server another port.
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._box.facts import read_box
from ansible_collections.gb10.vllm.plugins.module_utils._box.findings import GIB, findings
from ansible_collections.gb10.vllm.plugins.module_utils._box.memory import wait_for_memory


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "default": "/var/lib/gb10-vllm"},
            "servers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": {"type": "str", "required": True}, "port": {"type": "int", "required": True}},
            },
            "images": {"type": "list", "elements": "str", "default": []},
            "least_free_gib": {"type": "dict", "default": {}},
            "architectures": {"type": "list", "elements": "str", "default": ["aarch64"]},
            "compute_capability": {"type": "str", "default": "12.1"},
            "builds": {"type": "bool", "default": False},
            "wait_for_memory_bytes": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        free_bytes = {path: int(float(gib) * GIB) for path, gib in wanted["least_free_gib"].items()}
    except (TypeError, ValueError):
        module.fail_json(msg=f"least_free_gib must map paths to numbers of GiB, not {wanted['least_free_gib']!r}.")
    wait_for_memory(wanted["wait_for_memory_bytes"])
    box = read_box(
        state_dir=wanted["state_dir"],
        disks=[wanted["state_dir"], *(path for path in free_bytes if path != "docker")],
        images=wanted["images"],
    )
    module.exit_json(changed=False, box=box, findings=findings(box, dict(wanted, free_bytes=free_bytes)))


if __name__ == "__main__":
    main()
