#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put a configuration of HAProxy in place and have it read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: router_config
short_description: Put a configuration of HAProxy in place and have it read
version_added: "1.0.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Writes HAProxy's configuration, its maps and its certificate, after HAProxy itself has looked at them beside the old ones, and reloads it.
    No request is lost, and servers that are drained stay drained.
  - When HAProxy refuses the new configuration, the old one stays.
  - A configuration that is neither of this collection nor the untouched one of the package is never overwritten; the task fails and names it.
extends_documentation_fragment:
  - gb10.vllm.attributes
options:
  files:
    description: Contents of C(haproxy.cfg) and of the files beside it by name, as the filter P(gb10.vllm.router_work#filter) makes them. Holds keys.
    type: dict
    required: true
  certificate:
    description: Paths of C(certificate) and C(key) on the host. Without them a certificate is made there with openssl and kept.
    type: dict
    default: {}
  names:
    description: Names and addresses that a certificate made there is for.
    type: list
    elements: str
    default: []
  record:
    description: What the configuration was made of; kept beside it and returned by M(gb10.vllm.router_info).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Configure the router
  gb10.vllm.router_config:
    files: "{{ router_work.files }}"
    names: [router.example, 10.0.0.5]
    record: "{{ router_work.record }}"
  no_log: true
"""

RETURN = r"""
made_certificate:
  description: The path of a certificate that was made now.
  returned: when one was made
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router import apply


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True, "no_log": True},
            "certificate": {"type": "dict", "default": {}},
            "names": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        apply.refuse_others()
        pem, made = apply.certificate(wanted["certificate"], wanted["names"], check=module.check_mode)
        if module.check_mode:
            module.exit_json(changed=apply.pending(wanted["files"], pem))
        done = apply.apply(wanted["files"], pem, wanted["record"])
    except GB10Error as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or apply.directory()} cannot be written: {error.strerror}. Run with become: true, and look at the disk.")
    module.exit_json(changed=done, **({"made_certificate": str(apply.directory() / f"{apply.MADE}.crt")} if made else {}))


if __name__ == "__main__":
    main()
