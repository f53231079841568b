#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_settings
short_description: Set what a host needs beside its servers, and put back what was
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Sets up a guard of memory (earlyoom), a cap on the GPU's clock, held kernel and driver packages and Wi-Fi that is off, each only where it is asked for.
  - Writes down once what was before in C(host.json) below O(state_dir); a part with C(state=absent) puts that back.
extends_documentation_fragment:
  - gb10.vllm.attributes
  - gb10.vllm.state_dir
options:
  settings:
    description:
      - The parts by name, each with C(state) (V(present) or V(absent)). A part that is not named is not touched.
      - C(earlyoom) - C(stop_gib) and C(kill_gib), below which the newest server's engine is asked to end and killed, and C(never), further expressions
        for names of processes that go last.
      - C(gpu_clocks) - C(least_mhz) and C(most_mhz).
      - C(held) - C(packages), further ones to be held beside those of kernel and driver.
      - C(wifi_off) - nothing more.
    type: dict
    required: true
attributes:
  diff_mode:
    support: full
    description: Shows the files and the commands.
"""

EXAMPLES = r"""
- name: Stop the newest engine before the box stands still, and keep its clock in bounds
  gb10.vllm.host_settings:
    settings:
      earlyoom:
        state: present
        stop_gib: 4
      gpu_clocks:
        state: present
        most_mhz: 2150

- name: Let the updates of kernel and driver come again
  gb10.vllm.host_settings:
    settings:
      held:
        state: absent
"""

RETURN = r"""
parts:
  description: What was done for each part, or would be in check mode, one line for each step; none where all is as it should be.
  returned: success
  type: dict
  sample: {"held": ["apt-mark hold linux-image-nvidia nvidia-driver-580-open"]}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._host.carry_out import carry_out
from ansible_collections.gb10.vllm.plugins.module_utils._host.facts import read_host
from ansible_collections.gb10.vllm.plugins.module_utils._host.settings import differences, outcomes, said
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR


def main() -> None:
    module = AnsibleModule(
        argument_spec={"settings": {"type": "dict", "required": True}, "state_dir": {"type": "path", "default": STATE_DIR}}, supports_check_mode=True
    )
    try:
        facts = read_host(module.params["state_dir"])
        found = outcomes(facts, module.params["settings"])
        if not module.check_mode:
            carry_out(found, facts["record"], module.params["state_dir"])
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    steps = [step for outcome in found for step in outcome["steps"]]
    result = {"changed": bool(steps), "parts": {outcome["part"]: said(outcome["steps"]) for outcome in found}}
    if module._diff:  # pylint: disable=protected-access
        result["diff"] = differences(facts, steps)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
