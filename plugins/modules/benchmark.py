#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark
short_description: Put load on a server with vllm bench serve and return what it measured
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Runs C(vllm bench serve) again and again, each time in a container of its own from the image that is served, without a GPU and without privileges.
  - Nothing is installed on the box. The key is read from a file and stands in no argument.
  - Ends early when the server dies under the load; RV(died) says so.
  - Used by the role P(gb10.vllm.benchmark#role), whose filters say what to run and what comes of it.
extends_documentation_fragment:
  - gb10.vllm.attributes
  - gb10.vllm.state_dir
options:
  server:
    description: Name of the server.
    type: str
    required: true
  container:
    description: Name of its container, watched for its death; empty where something else is asked, such as a router.
    type: str
    default: ""
  image:
    description: Id of the image with the tool, which is on the box.
    type: str
    required: true
  image_name:
    description: How that image is called in messages.
    type: str
    default: ""
  volumes:
    description: What is mounted, read-only, so that the tool finds the tokenizer.
    type: list
    elements: str
    default: []
  tokenizer:
    description: Arguments that name the tokenizer.
    type: list
    elements: str
    default: []
  base_url:
    description: What is asked, without a path. With C(https) the certificate is not checked.
    type: str
    required: true
  served_model_name:
    description: The model as it is asked for.
    type: str
    required: true
  key_file:
    description: File on the box with C(VLLM_API_KEY=...), readable by root; empty for a server without a key.
    type: path
  runs:
    description: The runs in their order, of the filter P(gb10.vllm.benchmark_work#filter).
    type: list
    elements: dict
    required: true
    suboptions:
      point:
        description: Of which point of the profile this is a run.
        type: str
        required: true
      repeat:
        description: Which of its runs.
        type: int
        required: true
      warm:
        description: Arguments of a run before it that is not measured.
        type: list
        elements: str
        default: []
      args:
        description: Arguments of the run.
        type: list
        elements: str
        required: true
  cool_c:
    description: Temperature of the GPU to wait for before each run, in degrees Celsius; V(0) waits for none.
    type: int
    default: 0
  cool_wait_s:
    description: How long that may take, in seconds.
    type: int
    default: 300
  run_timeout_s:
    description: How long one run may take, in seconds.
    type: int
    default: 1800
attributes:
  check_mode:
    description: In check mode nothing is asked.
  action:
    support: full
    description: An action plugin shows the progress.
"""

EXAMPLES = r"""
- name: Ask a server once
  gb10.vllm.benchmark:
    server: devstral
    container: gb10-vllm-devstral
    image: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    volumes: ["/srv/models/devstral:/models/devstral:ro"]
    tokenizer: [--tokenizer, /models/devstral]
    base_url: http://127.0.0.1:8000
    served_model_name: devstral
    key_file: /etc/gb10-vllm/devstral/key.env
    runs:
      - point: c1
        repeat: 0
        args: [--dataset-name, random, --random-input-len, "128", --random-output-len, "128", --num-prompts, "4", --max-concurrency, "1"]
"""

RETURN = r"""
runs:
  description: Of each run C(point), C(repeat), C(result) (vLLM's own, without the answers; null where it left none), C(error) and C(box) (the lowest
    clock, the highest power and temperature under the load, where the box tells them).
  returned: success
  type: list
  elements: dict
died:
  description: Whether the server died under the load; RV(runs) are those before.
  returned: success
  type: bool
box:
  description: What nvidia-smi said of the box before the first run.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._engine.bench import Bench
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.progress_log import ProgressLog
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR

OPTIONS = {
    "server": {"type": "str", "required": True},
    "container": {"type": "str", "default": ""},
    "image": {"type": "str", "required": True},
    "image_name": {"type": "str", "default": ""},
    "volumes": {"type": "list", "elements": "str", "default": []},
    "tokenizer": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "base_url": {"type": "str", "required": True},
    "served_model_name": {"type": "str", "required": True},
    "key_file": {"type": "path", "no_log": False},
    "runs": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "point": {"type": "str", "required": True},
            "repeat": {"type": "int", "required": True},
            "warm": {"type": "list", "elements": "str", "default": []},
            "args": {"type": "list", "elements": "str", "required": True},
        },
    },
    "cool_c": {"type": "int", "default": 0},
    "cool_wait_s": {"type": "int", "default": 300},
    "run_timeout_s": {"type": "int", "default": 1800},
    "state_dir": {"type": "path", "default": STATE_DIR},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, runs=[], died=False, box={})
    wanted = module.params
    try:
        result = Bench(wanted, ProgressLog(f"{wanted['state_dir']}/benchmark/progress.jsonl")).measure()
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or wanted['state_dir']} cannot be used ({error.strerror or error}); check the disk and permissions there")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
