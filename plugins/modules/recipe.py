#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a recipe that people share into lines for an inventory, or write one of what runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: recipe
short_description: Read a recipe that people share, or write one of what runs
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads recipes of spark-vllm-docker (format 1) and sparkrun (format 2) and says of every field what becomes of it here.
  - Nothing of a recipe is ever run, and nothing in it is expanded on the controller. What needs a shell, privilege or a hook is refused with the line.
  - Nor does its author name code, files of a box, addresses or who gets in; such arguments and variables are left out and named.
  - With O(deployment) it writes what runs as a recipe instead, which read back is the same server but for what RV(left_out) names.
  - Runs on the controller only.
options:
  recipe:
    description:
      - A file or directory on the controller, relative to O(base), or C(GIT_URL#PATH), of which the newest commit is read without a checkout.
      - A directory is read as a whole and shown in one line for each recipe.
    type: str
  base:
    description: Where a relative path begins; the working directory by default.
    type: path
  name:
    description: Name of the server; that of the file by default.
    type: str
  without:
    description: Refused fields to go on without, such as V(pre_exec) or V(mods); everything of that name is left out.
    type: list
    elements: str
    default: []
  boxes:
    description: How many boxes there are. A recipe that needs more is refused; V(0) leaves it unchecked.
    type: int
    default: 0
  ref:
    description: Where of the image's repository its mods are looked for; the commit that is built where C(gb10_image.ref) says nothing by default.
    type: str
  deployment:
    description: What runs, as M(gb10.vllm.box_info) returns it of a server; it is written as a recipe.
    type: dict
  format:
    description: Format of the recipe that is written.
    type: str
    choices: [v1, v2]
    default: v2
  env:
    description: Environment of the server that is written, beside O(environment); what looks like a secret is left out.
    type: dict
    default: {}
  environment:
    description: The text of the C(server.env) that the server reads at its start; what looks like a secret is left out.
    type: str
  image:
    description: The image that runs, as M(gb10.vllm.box_info) returns it in C(docker.images). Without it the recipe names none, and that is said.
    type: dict
    default: {}
  models:
    description: The model directories that the server mounts, by path, as M(gb10.vllm.box_info) returns them; they tell the commit.
    type: dict
    default: {}
  dest:
    description:
      - Where the lines for the inventory, or the recipe, are written on the controller. Nothing is written in check mode.
      - The mods that lie beside a recipe in a repository are written beside it.
    type: path
attributes:
  check_mode:
    support: full
    description: Can run in check mode, where it writes nothing.
  diff_mode:
    support: none
    description: The file that is written is shown whole.
  action:
    support: full
    description: Runs on the controller.
seealso:
  - module: gb10.vllm.box_info
"""

EXAMPLES = r"""
- name: Read a recipe
  gb10.vllm.recipe:
    recipe: recipes/qwen3.6-35b-a3b-fp8.yaml
    dest: gb10-recipe.yml
  register: read

- name: Read all recipes of a repository
  gb10.vllm.recipe:
    recipe: https://github.com/eugr/spark-vllm-docker.git#recipes
"""

RETURN = r"""
recipes:
  description: What was read, each with C(recipe), C(format), C(verdict) (V(mapped) or V(refused)), C(server), C(image), C(fields) and C(reasons).
  returned: when O(recipe) is given
  type: list
  elements: dict
commit:
  description: The commit that was read of a repository.
  returned: when O(recipe) is in a repository
  type: str
text:
  description: The report as it was shown, or the recipe that was written.
  returned: success
  type: str
left_out:
  description: What of the deployment is in no recipe, and why.
  returned: when O(deployment) is given
  type: list
  elements: str
files:
  description: What was written.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

OPTIONS = {
    "recipe": {"type": "str"},
    "base": {"type": "path"},
    "name": {"type": "str"},
    "without": {"type": "list", "elements": "str", "default": []},
    "boxes": {"type": "int", "default": 0},
    "ref": {"type": "str"},
    "deployment": {"type": "dict"},
    "format": {"type": "str", "choices": ["v1", "v2"], "default": "v2"},
    "env": {"type": "dict", "default": {}},
    "environment": {"type": "str", "no_log": True},
    "image": {"type": "dict", "default": {}},
    "models": {"type": "dict", "default": {}},
    "dest": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    module.fail_json(msg="gb10.vllm.recipe runs on the controller, through its action plugin of the same name.")


if __name__ == "__main__":
    main()
