#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain a log file, or the servers of a box."""

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnose
short_description: Explain what went wrong, from a log file or from the servers of a box
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Compares logs with the known failures of the collection and of your own files and says what happened, why and what to do,
    with the source and the decisive lines.
  - With O(log) it explains files on the controller and needs no box. Otherwise it reads the containers of the collection's servers
    on each host (or O(container)) and the kernel's log.
  - Changes nothing and never fails because something was found.
options:
  log:
    description:
      - Log files on the controller, relative to the working directory.
      - Several files are taken as the logs of several boxes that form one server; a directory stands for the logs in it, C(.gz) is unpacked.
      - Builds, starts, groups and the kernel are told apart by what the log says, in whatever dress it was kept or pasted.
      - Of a file of more than 1 MiB the beginning, the end and the lines around errors are read.
    type: list
    elements: path
    default: []
  json:
    description: File on the controller to which RV(findings) are written as JSON, readable by its owner alone.
    type: path
  container:
    description: Name of one container. By default every container of this collection's servers.
    type: str
  lines:
    description: How many of the last lines are read.
    type: int
    default: 2000
  config_dir:
    description: Directory on the box with the servers' private files; what they keep secret is not shown.
    type: path
    default: /etc/gb10-vllm
  diagnoses:
    description: Files with further known failures, in the format of the collection's C(diagnoses.yml).
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: Nothing is changed, so there is no difference to show.
    support: none
seealso:
  - module: gb10.vllm.server_ready
"""

EXAMPLES = r"""
- name: Explain a log file
  gb10.vllm.diagnose:
    log: vllm.log

- name: Explain the logs of a directory, and keep the result as data
  gb10.vllm.diagnose:
    log: ~/logs
    json: findings.json

- name: Explain all servers of the box
  gb10.vllm.diagnose:
"""

RETURN = r"""
findings:
  description: One entry per server or set of files.
  type: list
  elements: dict
  returned: always
  contains:
    name: {description: Container or files., type: str}
    healthy: {description: Whether it came up and nothing fatal was found., type: bool}
    phase: {description: How far the start came., type: str}
    diagnosis:
      description:
        - C(verdict) is C(known), C(unknown) (it failed, or did not come up, for something that is not known), C(healthy) or C(nothing)
          (an empty file, or not a log). Further found, id, stage, node, what, why, todo, source, lines, auto, values, also, notes.
      type: dict
    facts: {description: What the engine measured., type: dict}
    text: {description: The explanation for a person., type: str}
    issue: {description: 'A block for an issue - versions, facts, decisive lines, secrets removed.', type: str}
msg:
  description: All explanations.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._engine.container import collect
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

ARGUMENTS = {
    "log": {"type": "list", "elements": "path", "default": []},
    "json": {"type": "path"},
    "container": {"type": "str"},
    "lines": {"type": "int", "default": 2000},
    "config_dir": {"type": "path", "default": "/etc/gb10-vllm"},
    "diagnoses": {"type": "list", "elements": "path", "default": []},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        containers = collect(module.params["container"], module.params["lines"], module.params["config_dir"])
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    module.exit_json(changed=False, containers=containers)


if __name__ == "__main__":
    main()
