#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take servers out of a router before a box is touched, and back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: router_drain
short_description: Take servers out of a router before a box is touched, and back
version_added: "1.0.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - A drained server finishes the requests it has and gets no new ones. The module waits until it has none, also in processes of HAProxy that only finish
    after a reload.
  - Who drained what is written down on the router before it is done, so that a later run finds out.
  - A server that somebody else drained or took out stays so.
extends_documentation_fragment:
  - gb10.vllm.attributes
options:
  state:
    description: Whether the servers are to be out or in use.
    type: str
    choices: [drained, ready]
    required: true
  servers:
    description: The servers, each with C(box) and C(server). Those that the router does not have are left out.
    type: list
    elements: dict
    required: true
  last:
    description: Drain also the last server that takes requests for its model.
    type: bool
    default: false
  why:
    description: What for, in a word or two.
    type: str
    default: a rollout
  timeout_s:
    description: Seconds to wait until no request is in the servers; with O(state=ready), until the router uses them.
    type: float
    default: 600
  go_on:
    description: Go on when requests are left after O(timeout_s); with O(state=ready), when the router does not use a server by then.
    type: bool
    default: false
  owner:
    description: C(run) and C(owner) of this run. Filled in by the action plugin.
    type: dict
attributes:
  action:
    support: full
    description: The controller tells who is asking.
"""

EXAMPLES = r"""
- name: Let the requests of spark-01 end
  gb10.vllm.router_drain:
    state: drained
    servers: [{box: spark-01, server: devstral}]

- name: Use it again
  gb10.vllm.router_drain:
    state: ready
    servers: [{box: spark-01, server: devstral}]
    timeout_s: 60
"""

RETURN = r"""
drained:
  description: The servers, as C(SERVER/BOX), that this run holds drained now.
  returned: O(state=drained)
  type: list
  elements: str
ready:
  description: The servers that were put back.
  returned: O(state=ready)
  type: list
  elements: str
others:
  description: The servers that somebody else holds; nothing was done to them.
  returned: success
  type: list
  elements: str
taken_over:
  description: What another run had drained and left so, with its C(owner), C(run), C(at) and C(why).
  returned: O(state=drained)
  type: dict
busy:
  description: The servers with requests left, and how many.
  returned: O(state=drained)
  type: dict
away:
  description: The servers that the router does not use although nobody holds them, with their status. The task fails for them, unless O(go_on).
  returned: O(state=ready)
  type: dict
unkept:
  description: Why a crash of HAProxy would undo what was done; empty where it would not.
  returned: success
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router import drain, haproxy, look


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["drained", "ready"], "required": True},
            "servers": {"type": "list", "elements": "dict", "required": True},
            "last": {"type": "bool", "default": False},
            "why": {"type": "str", "default": "a rollout"},
            "timeout_s": {"type": "float", "default": 600},
            "go_on": {"type": "bool", "default": False},
            "owner": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if not (wanted["owner"] or {}).get("run"):
        module.fail_json(msg="gb10.vllm.router_drain is called through its action plugin of the same name, which fills in `owner`.")
    names = [(str(one["server"]), str(one["box"])) for one in wanted["servers"]]
    if module.check_mode or not names:
        module.exit_json(changed=False, drained=[], ready=[], others=[], busy={}, away={})
    if not look.configuration()["ours"]:  # it is not a router yet
        module.exit_json(changed=False, drained=[], ready=[], others=[], busy={}, away={})
    try:
        if wanted["state"] == "ready":
            _end_ready(module, drain.ready(haproxy.everybody, names, wanted["timeout_s"]))
        found = drain.drain(haproxy.everybody, names, wanted["owner"], wanted["why"], last=wanted["last"])
        left = drain.wait_empty(haproxy.everybody, names, wanted["timeout_s"])
    except GB10Error as error:
        module.fail_json(msg=str(error))
    if left and not wanted["go_on"]:
        said = ", ".join(f"{name} {count}" for name, count in sorted(left.items()))
        module.fail_json(
            msg=f"Requests are left in the router at the end of gb10_drain_timeout_s ({said}), so nothing is touched. Wait for longer with it, or cut them "
            "off with -e gb10_drain_go_on=true.",
            busy=left,
            **found,
        )
    module.exit_json(changed=bool(found["drained"]), busy=left, **found)


def _end_ready(module: AnsibleModule, found: dict[str, Any]) -> None:
    if found["away"] and not module.params["go_on"]:
        said = ", ".join(f"{name}: {status}" for name, status in sorted(found["away"].items()))
        module.fail_json(
            msg=f"The router does not use what is ready ({said}), {module.params['timeout_s']:.0f} s after it was told to. See what the box answers there "
            "(the playbook status shows both), then run again.",
            **found,
        )
    module.exit_json(**found, changed=bool(found["ready"]))


if __name__ == "__main__":
    main()
