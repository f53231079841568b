#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait until no request is in the vLLM servers of a box."""

from __future__ import annotations

DOCUMENTATION = r"""
module: server_idle
short_description: Wait until no request is in the vLLM servers of a box
version_added: "1.0.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Asks each server for the requests that run and wait (C(/metrics)) until there are none. A router knows only those that came through it.
  - A server where nobody listens, that keeps no such numbers, or that gives no answer by the word of its watch, has nothing to wait for. One that only does
    not say how many there are may be busy.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
options:
  servers:
    description: The servers, each with C(name), C(base_url) and C(api_key_file).
    type: list
    elements: dict
    required: true
  timeout_s:
    description: Seconds to wait.
    type: float
    default: 600
  go_on:
    description: Go on when requests are left after O(timeout_s).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Let running requests end
  gb10.vllm.server_idle:
    servers:
      - {name: devstral, base_url: "http://127.0.0.1:8000", api_key_file: /etc/gb10-vllm/devstral/key.env}
"""

RETURN = r"""
busy:
  description: The servers with requests left, and how many; nothing where a server does not say.
  returned: success
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._engine.requests import open_requests

POLL_S = 1.0
WATCH_SAYS = "/run/gb10-vllm-agent"
"""Where the guard of the role server leaves `up` or `down` for each server."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True},
            "timeout_s": {"type": "float", "default": 600},
            "go_on": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    until = time.monotonic() + (0 if module.check_mode else wanted["timeout_s"])
    while True:
        asked = {one["name"]: open_requests(one["base_url"], one["api_key_file"], f"{WATCH_SAYS}/{one['name']}") for one in wanted["servers"]}
        left = {name: count for name, count in asked.items() if count != 0}
        if not left or time.monotonic() >= until:
            break
        time.sleep(POLL_S)
    if left and not wanted["go_on"] and not module.check_mode:
        said = ", ".join(f"{name} {'does not say how many' if count is None else count}" for name, count in sorted(left.items()))
        module.fail_json(
            msg=f"Requests run or wait at the end of gb10_drain_timeout_s ({said}), so nothing is touched. Wait for longer with it, or cut them off with "
            "-e gb10_drain_go_on=true.",
            busy=left,
        )
    module.exit_json(changed=False, busy=left)


if __name__ == "__main__":
    main()
