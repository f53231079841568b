#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: share
short_description: Send images and model directories from box to box
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - One box's part in a distribution. With O(state=opened) every box says what it has and starts a server; with O(state=transferred) each
    offers what it has and fetches what it lacks; with O(state=closed) server, key and leftovers go.
  - Boxes pass on what they receive while it still arrives, so a fleet takes about as long as one box. Only the image layers that a box
    lacks travel. Everything is verified by SHA-256, goes on where an earlier run stopped, and moves to the next source when one goes away.
  - What arrives has to be what the controller knows - an image its identity, a model the digest of its files - or what the box whose copy counts
    says of it over the certificate the controller named; a box in between is not believed.
  - Boxes talk TLS and prove themselves with certificates made for this run; nothing of it stays behind. A server that nobody closes ends
    by itself after O(idle_s).
  - The role C(gb10.vllm.distribution) puts the three steps together; the filters P(gb10.vllm.distribution_shares#filter) and
    P(gb10.vllm.distribution_plan#filter) compute the arguments.
extends_documentation_fragment:
  - gb10.vllm.attributes
  - gb10.vllm.state_dir
options:
  state:
    description: The step.
    type: str
    required: true
    choices: [opened, transferred, closed]
  shares:
    description: What this box opens, or what it gives and takes.
    type: list
    elements: dict
    default: []
    suboptions:
      key:
        description: Name of the share, the same on all boxes.
        type: str
        required: true
      kind:
        description: An image of the Docker engine or a directory.
        type: str
        choices: [image, directory]
        required: true
      place:
        description: Name of the image, or path of the directory, on this box.
        type: str
        required: true
      identity:
        description: What the content has to be known by, whoever sends it.
        type: str
      content:
        description: Digest over names, sizes and SHA-256 of all files of a directory, where the box whose copy counts knows them.
        type: str
      give:
        description: Whether this box has it.
        type: bool
        default: false
      skip_layers:
        description: How many of the lowest layers nobody lacks.
        type: int
        default: 0
      sources:
        description: >-
          Boxes to fetch from, best first - dicts of C(name), C(addresses), C(port), C(certificate), and C(reference) for the one whose copy counts.
        type: list
        elements: dict
        default: []
  trusted:
    description: Certificates (PEM) of the boxes that may fetch from this one.
    type: list
    elements: str
    default: []
  name:
    description: Name of this box in its certificate.
    type: str
    default: box
  port:
    description: TCP port the server listens on while a run lasts; 0 takes any free one. Boxes must reach each other on it.
    type: int
    default: 8417
  link_address:
    description: Address of this box on the link between the boxes. The server listens there and nowhere else.
    type: str
    default: ""
  addresses:
    description:
      - Without O(link_address), addresses by which the others know this box. The server listens on those that are its own and on those it uses
        towards its default route.
    type: list
    elements: str
    default: []
  connections:
    description: How many files are fetched at the same time; the server takes as many connections per box of the run.
    type: int
    default: 4
  rate_limit_mib_s:
    description: MiB per second this box fetches at most; 0 for no limit.
    type: float
    default: 0
  keep:
    description: How many earlier images and models are kept when a new one takes the name.
    type: int
    default: 1
  patience_s:
    description: Seconds without any source answering after which the transfer fails.
    type: float
    default: 120
  idle_s:
    description: Seconds without use after which the server ends by itself.
    type: float
    default: 900
  timeout_s:
    description: Seconds a transfer may take.
    type: int
    default: 14400
  complete:
    description: With O(state=closed), also remove what was kept for going on after a failure.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in check mode, where it does nothing and says so.
  action:
    support: full
    description: An action plugin shows the progress of a transfer.
"""

EXAMPLES = r"""
- name: Open
  gb10.vllm.share:
    state: opened
    name: "{{ inventory_hostname }}"
    shares:
      - key: image
        kind: image
        place: vllm-node
  register: opened

- name: Close
  gb10.vllm.share:
    state: closed
"""

RETURN = r"""
port:
  description: Port the server listens on.
  returned: O(state=opened)
  type: int
  sample: 8417
certificate:
  description: This box's certificate for the run.
  returned: O(state=opened)
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
addresses:
  description: Addresses of this box on which its server listens.
  returned: O(state=opened)
  type: list
  elements: str
  sample: [192.168.1.11]
shares:
  description:
    - By key, what this box has (O(state=opened)) or what was fetched, from whom, how long it took and where it is (O(state=transferred)).
    - RV(ignore:replaced) names files that came with another content than the box has whose copy counts, and RV(ignore:sent_by) who may have sent them.
    - An image that Docker cannot read here has RV(ignore:damaged), the reason, and is not offered.
  returned: success
  type: dict
  sample: {"image": {"received_bytes": 1048576, "sources": {"spark-01": 1048576}, "transfer_s": 1.2, "image_id": "sha256:0123"}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._names import LONGEST_S, STATE_DIR
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.share import Shares

SHARE = {
    "key": {"type": "str", "required": True, "no_log": False},
    "kind": {"type": "str", "required": True, "choices": ["image", "directory"]},
    "place": {"type": "str", "required": True},
    "identity": {"type": "str"},
    "content": {"type": "str"},
    "give": {"type": "bool", "default": False},
    "skip_layers": {"type": "int", "default": 0},
    "sources": {"type": "list", "elements": "dict", "default": []},
}
OPTIONS = {
    "state": {"type": "str", "required": True, "choices": ["opened", "transferred", "closed"]},
    "shares": {"type": "list", "elements": "dict", "default": [], "options": SHARE},
    "trusted": {"type": "list", "elements": "str", "default": []},
    "name": {"type": "str", "default": "box"},
    "port": {"type": "int", "default": 8417},
    "link_address": {"type": "str", "default": ""},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "connections": {"type": "int", "default": 4},
    "rate_limit_mib_s": {"type": "float", "default": 0},
    "keep": {"type": "int", "default": 1},
    "patience_s": {"type": "float", "default": 120},
    "idle_s": {"type": "float", "default": 900},
    "timeout_s": {"type": "int", "default": LONGEST_S},
    "complete": {"type": "bool", "default": True},
    "state_dir": {"type": "path", "default": STATE_DIR},
}

DISTRUST = (
    "{key}: {files} reached this box with another content than the box has whose copy counts, so it was fetched again from there. "
    "Whoever sent it, {boxes}, has a failing disk or memory, or is not to be trusted: look at it"
)


def act(shares: Shares, wanted: dict) -> dict:
    """Do what ``state`` says. What is opened is closed again within the run, so neither has changed anything."""
    if wanted["state"] == "opened":
        place = {"connections": wanted["connections"], "link": wanted["link_address"], "addresses": wanted["addresses"]}
        return {"changed": False, **shares.open(wanted["shares"], wanted["name"], wanted["port"], wanted["idle_s"], **place)}
    if wanted["state"] == "closed":
        shares.close(wanted["complete"])
        return {"changed": False}
    limits = {name: wanted[name] for name in ("connections", "keep", "patience_s")}
    return shares.transfer(wanted["shares"], wanted["trusted"], rate_bytes_s=wanted["rate_limit_mib_s"] * 2**20, **limits)


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    wanted = module.params
    if module.check_mode:
        takes = wanted["state"] == "transferred" and any(not share["give"] for share in wanted["shares"])
        module.exit_json(changed=takes, shares={})
    try:
        result = act(Shares(wanted["state_dir"]), wanted)
        for key, share in (result.get("shares") or {}).items():
            if share.get("replaced"):
                module.warn(DISTRUST.format(key=key, files=", ".join(share["replaced"][:5]), boxes=" or ".join(share["sent_by"])))
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
