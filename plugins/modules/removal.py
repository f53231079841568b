#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: removal
short_description: Take away everything this collection put on a host, and nothing else
version_added: "1.0.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Stops and removes the units, containers, images, records, caches, keys and files of this collection, of a box, a router or a monitoring host.
  - An image goes only where it was built here or brought by this collection, and no other container uses it; a name that somebody gave it stays.
  - Models stay unless O(models) is set; then those go that this collection brought and no other container mounts.
  - In directories that may be chosen (O(state_dir), O(config_dir)) only what this collection wrote there goes, and they themselves where they are empty then.
  - Does not put back what the roles host and fabric changed; the playbook C(remove) has them do that first.
extends_documentation_fragment:
  - gb10.vllm.attributes
  - gb10.vllm.state_dir
options:
  config_dir:
    description: Directory of private files on the host.
    type: path
    default: /etc/gb10-vllm
  models_dir:
    description: Where models lie.
    type: path
    default: /srv/models
  models:
    description: Whether the models that this collection brought go too.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode, where it returns what would go.
"""

EXAMPLES = r"""
- name: Look what would go
  gb10.vllm.removal:
  check_mode: true
  register: found

- name: Show it
  ansible.builtin.debug:
    msg: "{{ found.text.splitlines() }}"
"""

RETURN = r"""
goes:
  description: What was removed, or would be, in its order - C(kind) (unit, container, rules, image, model, setting or file), C(name) and C(part).
  returned: success
  type: list
  elements: dict
  sample: [{"kind": "unit", "name": "gb10-vllm-devstral.service", "part": "server"}]
stays:
  description: What stays, and why.
  returned: success
  type: list
  elements: str
  sample: ["1 model directory below /srv/models (-e gb10_remove_models=true takes those too)"]
parts:
  description: The parts of the collection that something is removed of, among C(server), C(host), C(fabric), C(router), C(monitoring), C(model).
  returned: success
  type: list
  elements: str
  sample: ["server"]
text:
  description: All of that for people, one line each.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._names import CONFIG_DIR, STATE_DIR
from ansible_collections.gb10.vllm.plugins.module_utils._removal.carry_out import carry_out, close
from ansible_collections.gb10.vllm.plugins.module_utils._removal.found import found
from ansible_collections.gb10.vllm.plugins.module_utils._removal.items import parts, removal, text


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "default": STATE_DIR},
            "config_dir": {"type": "path", "default": CONFIG_DIR},
            "models_dir": {"type": "path", "default": "/srv/models"},
            "models": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        seen = removal(found(wanted["state_dir"], wanted["config_dir"], wanted["models_dir"]), wanted["models"])
        if not module.check_mode:
            carry_out(seen.goes)
            close(wanted["state_dir"], wanted["config_dir"])
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    goes = [{"kind": one.kind, "name": one.name, "part": one.part} for one in seen.goes]
    module.exit_json(changed=bool(goes), goes=goes, stays=seen.stays, parts=parts(seen.goes), text=text(seen, not module.check_mode))


if __name__ == "__main__":
    main()
