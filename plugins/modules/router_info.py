#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read what a router is and how it sees its servers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: router_info
short_description: Read what a router is and how it sees its servers
version_added: "1.0.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads which HAProxy a host has, whose its configuration is, how it judges each server behind it and what runs of this collection have drained.
  - Needs root, as the socket of HAProxy does.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
options: {}
"""

EXAMPLES = r"""
- name: Look at the router
  gb10.vllm.router_info:
  register: router_found
"""

RETURN = r"""
router:
  description:
    - C(version) of HAProxy, empty where there is none.
    - C(config), C(running) and C(files) - whose configuration lies there, the digest of the one that is read, SHA-256 of the files by path.
    - C(servers) - for each server of each box its status, sessions and queue.
    - C(drains) - what runs of this collection drained, by whom and why.
    - C(record) - the servers that the configuration was made of.
    - C(certificate) - of the router, and its end.
    - C(problem) - why HAProxy could not be asked.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._router.look import router


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, router=router())


if __name__ == "__main__":
    main()
