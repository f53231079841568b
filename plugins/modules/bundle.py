#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle
short_description: Describe or check a directory that installs without a network
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - With O(state=written) adds to a directory on the controller the archives of the collections, checksums, a manifest and the settings to
    install from it. The role C(gb10.vllm.bundle) puts the image and the models there before.
  - With O(state=read) returns the manifest of such a directory, after comparing every file's size (with O(contents) also its checksum).
options:
  state:
    description: Whether to describe or to check.
    type: str
    required: true
    choices: [written, read]
  directory:
    description: The bundle, on the controller.
    type: path
    required: true
  image:
    description: What is known of the image; C(name) is needed.
    type: dict
    default: {}
  models:
    description: What is known of the models - C(model), C(repo_id), C(revision), C(directory) in the bundle.
    type: list
    elements: dict
    default: []
  collections:
    description: Collections to put into the bundle.
    type: list
    elements: str
    default: [gb10.vllm, ansible.posix, community.docker, community.library_inventory_filtering_v1]
  contents:
    description: Compare every file's checksum, which reads all of it.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Can run in check mode, where nothing is written.
  diff_mode:
    support: none
    description: Shows no differences.
  action:
    support: full
    description: Runs on the controller.
"""

EXAMPLES = r"""
- name: Is this stick still good?
  gb10.vllm.bundle:
    state: read
    directory: /media/usb/bundle
    contents: true
"""

RETURN = r"""
manifest:
  description: What the bundle holds - C(image), C(models), and C(files) with C(size) and C(sha256) by name.
  returned: success
  type: dict
  sample: {"format": 1, "files": {"image.tar": {"size": 1048576, "sha256": "0123"}}}
"""

from ansible.module_utils.basic import AnsibleModule

OPTIONS = {
    "state": {"type": "str", "required": True, "choices": ["written", "read"]},
    "directory": {"type": "path", "required": True},
    "image": {"type": "dict", "default": {}},
    "models": {"type": "list", "elements": "dict", "default": []},
    "collections": {
        "type": "list",
        "elements": "str",
        "default": ["gb10.vllm", "ansible.posix", "community.docker", "community.library_inventory_filtering_v1"],
    },
    "contents": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    module.fail_json(msg="gb10.vllm.bundle runs on the controller, through its action plugin of the same name.")


if __name__ == "__main__":
    main()
