#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rehearse
short_description: Ask the vLLM of an image whether it takes a server's arguments, before what runs is stopped
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Runs vLLM's own command line in a container that is thrown away, up to the configuration that its engine would get - its parser, its checks of the
    arguments of a server, and C(EngineArgs.create_engine_config). No engine is begun, no weight is read, no cache is made.
  - The container is the server's own (image, command, mounts, limits), without a network and without its keys, takes at most 1.25 GiB and ends after
    O(timeout_s).
  - What vLLM refuses fails the task with one message - what, where, why, what to do. Where nothing can be said (not enough memory, an image whose vLLM
    cannot be asked, time that is up) the task says so in a warning and goes on.
  - What passed is remembered on the box by a digest of image, arguments, environment, mounts and model, and not asked again.
  - It needs root or membership of the group docker, and the C(docker) command line.
extends_documentation_fragment:
  - gb10.vllm.attributes
  - gb10.vllm.state_dir
options:
  servers:
    description: What is to be rehearsed, one server after the other, as the filter P(gb10.vllm.rehearsals#filter) returns it.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The server.
        type: str
        required: true
      container:
        description: The C(container) of its deployment.
        type: dict
        required: true
      manifest:
        description: Digest of the files of its model.
        type: str
        default: ''
      environment:
        description: What its C(server.env) would hold. Lies on the box as long as the container runs, in memory and for root alone.
        type: str
        default: ''
  floor_bytes:
    description: What has to be left of the memory of the box meanwhile; where less would be left nothing is rehearsed.
    type: int
    default: 0
  timeout_s:
    description: Seconds after which the container of a server ends.
    type: int
    default: 300
  diagnoses:
    description: Files with further known failures, in the format of the collection's C(diagnoses.yml). Used on the controller.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Can run in check mode, where it asks nothing.
  diff_mode:
    support: N/A
    description: Nothing is changed.
  action:
    support: full
    description: The controller explains what was refused.
seealso:
  - module: gb10.vllm.server_ready
"""

EXAMPLES = r"""
- name: Rehearse what will be deployed
  gb10.vllm.rehearse:
    servers: "{{ server_orders | gb10.vllm.rehearsals(gb10_servers) }}"
    floor_bytes: "{{ 12 * 1024**3 }}"
"""

RETURN = r"""
rehearsals:
  description:
    - For each server C(name), C(verdict) (V(passed), V(refused) or V(unable)), C(why), C(seconds), C(remembered) (it passed in an earlier run) and
      C(log), the last lines that vLLM printed, without secrets.
  type: list
  elements: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._engine.rehearsal import rehearse
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "container": {"type": "dict", "required": True},
                    "manifest": {"type": "str", "default": ""},
                    "environment": {"type": "str", "default": "", "no_log": True},
                },
            },
            "floor_bytes": {"type": "int", "default": 0},
            "timeout_s": {"type": "int", "default": 300},
            "state_dir": {"type": "path", "default": STATE_DIR},
            "diagnoses": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    servers = [] if module.check_mode else wanted["servers"]
    try:
        found = [rehearse(one, wanted["floor_bytes"], wanted["state_dir"], wanted["timeout_s"]) for one in servers]
    except OSError as error:
        where = error.filename or wanted["state_dir"]
        told = f"what vLLM takes cannot be asked on this box: {error.strerror} ({where}). Look at that disk, then run this again."
        module.fail_json(msg=f"{told} What served before was not touched.")
    module.exit_json(changed=False, rehearsals=found)


if __name__ == "__main__":
    main()
