#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: prune
short_description: Remove earlier images and models that nothing uses
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Removes what earlier runs kept beside the current image and models - names such as C(vllm-node:previous-20261123101500) and directories
    such as C(NAME@COMMIT) - beyond the newest O(keep) of each. Never removes what a container uses, running or stopped, nor what this
    collection did not bring.
  - Puts the names of models in order as well - what an earlier release brought under the name C(NAME) itself becomes C(NAME@COMMIT) with C(NAME) as a link to
    it, and where C(NAME) was held back because a container mounted it by that name, it follows to the current version once none does. Neither
    changes what a container reads, now or after a restart.
  - Also removes directories C(NAME.partial) that an interrupted transfer left more than O(partial_days) days ago.
extends_documentation_fragment:
  - gb10.vllm.attributes
  - gb10.vllm.state_dir
options:
  image:
    description: Name of the current image, where there is one.
    type: str
    default: vllm-node
  images:
    description:
      - Names of the current images, in place of O(image). Where it is given, an image that this collection brought under another name goes too, unless a
        container uses it or the records name it of what a server runs or ran with.
    type: list
    elements: str
    default: []
  models:
    description: Names of the models' directories, without a version.
    type: list
    elements: path
    default: []
  keep:
    description: How many earlier ones are kept of each.
    type: int
    default: 1
  partial_days:
    description: Days after which an interrupted transfer is not expected to go on.
    type: float
    default: 14
  names_only:
    description: Remove nothing, only put the names of O(models) in order.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode, where it returns what would go.
"""

EXAMPLES = r"""
- name: Keep one earlier image and model
  gb10.vllm.prune:
    image: vllm-node
    models: [/srv/models/mistralai/Devstral-Small-2-24B-Instruct-2512]
    keep: 1
"""

RETURN = r"""
images:
  description: Names that were removed.
  returned: success
  type: list
  elements: str
  sample: ["vllm-node:previous-20261101090000"]
models:
  description: Directories that were removed.
  returned: success
  type: list
  elements: str
  sample: ["/srv/models/acme/tiny@0123456789abcd"]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._box.records import images_of, read_records
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import unwanted
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._model import versions
from ansible_collections.gb10.vllm.plugins.module_utils._names import IMAGE, STATE_DIR


def prune(wanted: dict, check: bool) -> tuple[list[str], list[str]]:
    """Remove what is not to be kept; names of images and directories."""
    store = ImageStore()
    images = [one for name in wanted["images"] or [wanted["image"]] for one in store.prune_previous(name, wanted["keep"], check=check)]
    if wanted["images"]:
        ours = Record(Path(wanted["state_dir"]) / "build").brought()
        images += store.prune_names(unwanted(ours, wanted["images"]), images_of(read_records(wanted["state_dir"])), check=check)
    models = model_store.prune(wanted["models"], wanted["keep"], check=check)
    return images, models + model_store.prune_partial(wanted["models"], wanted["partial_days"] * 86400, check=check)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "default": IMAGE},
            "images": {"type": "list", "elements": "str", "default": []},
            "state_dir": {"type": "path", "default": STATE_DIR},
            "models": {"type": "list", "elements": "path", "default": []},
            "keep": {"type": "int", "default": 1},
            "partial_days": {"type": "float", "default": 14},
            "names_only": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        settled = [name for name in wanted["models"] if versions.settle(name, check=module.check_mode)]
        images, models = ([], []) if wanted["names_only"] else prune(wanted, module.check_mode)
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be removed ({error.strerror}); look at that disk and its permissions")
    module.exit_json(changed=bool(images or models or settled), images=images, models=models)


if __name__ == "__main__":
    main()
