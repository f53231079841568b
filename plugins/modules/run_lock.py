#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_lock
short_description: Let one run at a time change a box
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Takes or gives back a lock on the box that names the run which is changing it, so that two controllers cannot interleave.
  - A run that finds the lock of another one fails before it changes anything, and says whose it is and since when.
  - The lock of a run that has ended on this very controller without giving it back is taken over at once, with a warning.
    That of another controller is taken over when it is older than its O(ttl_s).
  - The lock is no lasting change, so the task never reports one. In check mode nothing is sent to the box.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
  - gb10.vllm.state_dir
options:
  state:
    description: Whether this run is to hold the lock. Taking a lock again that this run holds already only renews it.
    type: str
    choices: [present, absent]
    default: present
  state_dir:
    description: Directory on the box in which the collection keeps its records. The lock is the file C(run.lock) there.
  ttl_s:
    description:
      - Seconds after which the lock of a run that was never seen again may be taken by another controller, by the time since the box was started.
      - A run is seen whenever it takes the lock again, and every two seconds while it follows a build, a download or a transfer on the box.
    type: float
    default: 14400
  planned:
    description:
      - C(box.servers) of M(gb10.vllm.box_info), as this run read it when it planned.
      - When another run has changed the servers since then, the lock is not taken and the task fails.
    type: dict
  owner:
    description: C(run), C(owner) and C(controller) of this run. Filled in by the action plugin.
    type: dict
  held:
    description:
      - This run has taken the lock before and goes on to change the box. Renews it, and fails when it is no longer this run's, whoever has it now.
    type: bool
    default: false
  take_over:
    description: Id of a run that is known to have ended. Filled in by the action plugin.
    type: str
attributes:
  check_mode:
    description: Can run in check mode, where it does nothing.
  diff_mode:
    description: The lock is no lasting change.
  action:
    support: full
    description: The controller tells who is asking and whether the run that holds the lock is still alive there.
"""

EXAMPLES = r"""
- name: Let nobody else change this box meanwhile
  gb10.vllm.run_lock:
    planned: "{{ preflight_result.box.servers }}"

- name: See before more is changed that nobody took this box meanwhile
  gb10.vllm.run_lock:
    held: true

- name: Let others change this box again
  gb10.vllm.run_lock:
    state: absent
"""

RETURN = r"""
acquired:
  description: Whether this run holds the lock now.
  returned: O(state=present)
  type: bool
holder:
  description: The run that holds the lock instead - C(run), C(owner), C(controller), C(acquired_at).
  returned: O(state=present)
  type: dict
taken_from:
  description: The run whose lock was taken over.
  returned: O(state=present)
  type: dict
why:
  description: V(ended) when that run is known to have ended, V(expired) when its lock was too old.
  returned: O(state=present)
  type: str
released:
  description: Whether there was a lock of this run to give back.
  returned: O(state=absent)
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._box import run_lock
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._names import LONGEST_S, STATE_DIR


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "state_dir": {"type": "path", "default": STATE_DIR},
            "ttl_s": {"type": "float", "default": LONGEST_S},
            "planned": {"type": "dict"},
            "held": {"type": "bool", "default": False},
            "owner": {"type": "dict"},
            "take_over": {"type": "str"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    owner = wanted["owner"] or {}
    if not owner.get("run"):
        module.fail_json(msg="gb10.vllm.run_lock is called through its action plugin of the same name, which fills in `owner`.")
    if module.check_mode:
        module.exit_json(changed=False)
    try:
        if wanted["state"] == "absent":
            seen = {"released": run_lock.release(wanted["state_dir"], owner["run"])}
        else:
            seen = run_lock.acquire(wanted["state_dir"], owner, wanted["ttl_s"], wanted["take_over"], wanted["planned"], wanted["held"])
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
