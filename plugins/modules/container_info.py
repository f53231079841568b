#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_info
short_description: Read vLLM servers in containers that somebody started by hand
version_added: "1.0.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads from C(docker inspect) and from the arguments of running processes what each container that this collection did not make serves with vLLM.
  - A secret in a command or an environment never leaves the box; the name of its flag or variable does.
  - Changes nothing, stops nothing.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
options:
  container:
    description: Name of one container; by default all are looked at.
    type: str
"""

EXAMPLES = r"""
- name: Look what serves here that was started by hand
  gb10.vllm.container_info:
  register: found
"""

RETURN = r"""
servers:
  description:
    - C(name), C(status), C(command) (words of one vllm serve) or C(script) (what a shell was given), C(secrets) (flags and variables that hold one).
    - C(env), beside what the image sets.
    - C(mounts), C(ports), C(network), C(options) (of C(docker run)), C(restart), C(compose).
    - C(image), C(image_id), C(image_names), C(snapshots) (models in a hub's cache that it mounts, with their directories).
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._adoption.read import servers
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


def main() -> None:
    module = AnsibleModule(argument_spec={"container": {"type": "str"}}, supports_check_mode=True)
    try:
        module.exit_json(changed=False, servers=servers(module.params["container"] or ""))
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)


if __name__ == "__main__":
    main()
