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
  - Where C(NAME) was held back because a container mounted it by that name, it follows to the current version once none does.
  - Also removes directories C(NAME.partial) that an interrupted transfer left more than O(partial_days) days ago.
extends_documentation_fragment:
  - gb10.vllm.attributes
options:
  image:
    description: Name of the current image.
    type: str
    default: vllm-node
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._model import versions
from ansible_collections.gb10.vllm.plugins.module_utils._names import IMAGE


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "default": IMAGE},
            "models": {"type": "list", "elements": "path", "default": []},
            "keep": {"type": "int", "default": 1},
            "partial_days": {"type": "float", "default": 14},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        images = ImageStore().prune_previous(wanted["image"], wanted["keep"], check=module.check_mode)
        models = model_store.prune(wanted["models"], wanted["keep"], check=module.check_mode)
        models += model_store.prune_partial(wanted["models"], wanted["partial_days"] * 86400, check=module.check_mode)
        settled = [name for name in wanted["models"] if not module.check_mode and versions.settle(name)]
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be removed ({error.strerror}); look at that disk and its permissions")
    module.exit_json(changed=bool(images or models or settled), images=images, models=models)


if __name__ == "__main__":
    main()
