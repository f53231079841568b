#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kv_cache_budget
short_description: Say before a start whether models fit a GB10, with which vLLM flags, for how many tokens and requests
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Computes the memory plan of one box from its facts, the wanted servers and the models' headers - weights, overheads, KV cache in
    vLLM's own arithmetic, the flags to pass with a reason for each, and a verdict with ranked changes where something does not fit.
  - With O(model) it is a calculator that needs no box - given memory it says how many tokens and requests fit, given context and
    concurrency how much memory they need.
  - A model is a directory on the machine the module runs on, a Hugging Face repo id (only headers are fetched), or facts that
    M(gb10.vllm.model_info) gathered before.
  - Changes nothing.
options:
  box:
    description: Facts of the box as M(gb10.vllm.box_info) returns them; without them a typical GB10 is planned for, and labelled as an assumption.
    type: dict
  servers:
    description:
      - Servers wanted on the box; their budgets are added up. What is not stated is chosen by the plan.
      - A box with one server gives it what the operating system's floor leaves, up to C(max_num_seqs) full-length requests. Of several servers
        each gets what its context and concurrency need, and those with C(max_model_len=auto) share the rest.
      - Keys - C(name), C(model) (repo id or directory, as the user wrote it), C(model_path) (directory on the box, the key into O(models)), C(port),
        C(max_model_len) (tokens, C(64K) style numbers included, or C(auto) for the longest that leaves C(concurrency) full-length requests),
        C(concurrency), C(gpu_memory_utilization) (share or C(auto)), C(kv_cache_memory_gib), C(reserve_gib), C(kv_cache_dtype), C(served_model_name),
        C(cuda_graphs) (C(auto), C(always) or C(never); only C(never) adds C(--enforce-eager)), C(load_format), C(trust_remote_code) (passed on only
        where config.json names code of its own) and C(args).
      - C(args) is any other flag of C(vllm serve) with its value; true is a bare flag, false is C(--no-flag), a list repeats values. Never a secret.
      - Other keys are ignored, so that servers of the inventory can be passed as they are.
    type: list
    elements: dict
  models:
    description: What M(gb10.vllm.model_info) returned as C(models), by path. A model that is not in it is read here.
    type: dict
    default: {}
  engine:
    description:
      - C(vllm_version) (V(+cpu) at its end means vLLM's CPU build), and optionally C(cuda_runtime), C(platform), C(source) of the version and
        C(image_id), with which repairs recorded for another image are left out.
      - Without a version the newest known rules are used and labelled as an assumption.
    type: dict
    default: {}
  os_floor_gib:
    description: GiB of available memory that a plan always leaves to the operating system.
    type: float
    default: 12
  margin_gib:
    description: GiB each server keeps in reserve, because what the engine measures moves from boot to boot.
    type: float
    default: 1.5
  reserve_gib:
    description: GiB kept back for each server besides, unless it states C(reserve_gib) itself, for memory that no plan can know.
    type: float
    default: 0
  assume_full_attention:
    description: Plan an architecture that is not known as if every layer had full attention, with a warning, instead of refusing it.
    type: bool
    default: false
  records:
    description: What earlier runs left on the box, by server; by default C(box.servers).
    type: dict
  elsewhere:
    description:
      - Starts that other boxes measured, as the filter P(gb10.vllm.learned_starts#filter) returns them - C(where), C(deployment) and C(measured).
      - One of the same image, model and flags takes the place of the assumption where this box measured none.
    type: list
    elements: dict
    default: []
  model:
    description: A single model for the calculator, a directory or a Hugging Face repo id.
    type: str
  available_gib:
    description: GiB available for the KV cache (calculator).
    type: float
  max_model_len:
    description: Tokens of context (calculator); by default what the model was made for.
    type: int
  concurrency:
    description: Full-length requests at a time (calculator).
    type: int
  kv_cache_dtype:
    description: Data type of the KV cache (calculator).
    type: str
    default: auto
  revision:
    description: Branch, tag or commit of models read from a hub.
    type: str
    default: main
  hf_endpoint:
    description: The hub; by default the environment's C(HF_ENDPOINT) or V(https://huggingface.co).
    type: str
  hf_token:
    description: Token for the hub; by default the environment's C(HF_TOKEN), or the file that C(HF_TOKEN_PATH) names or that lies in C(HF_HOME).
    type: str
  hf_timeout_s:
    description: Seconds to wait for each answer of the hub.
    type: float
    default: 10
attributes:
  action:
    support: full
    description: Where all facts are given the answer is worked out on the controller and the host is not asked.
  check_mode:
    support: full
    description: Can run in check mode, where it does the same.
  diff_mode:
    support: N/A
    description: Nothing is changed.
seealso:
  - module: gb10.vllm.model_info
  - module: gb10.vllm.box_info
"""

EXAMPLES = r"""
- name: Plan a box
  gb10.vllm.kv_cache_budget:
    box: "{{ box_result.box }}"
    servers:
      - name: devstral
        model_path: /srv/models/devstral-small-2-24b
        max_model_len: 65536
        concurrency: 4
    models: "{{ model_result.models }}"
    engine:
      vllm_version: 0.33.0
  register: result

- name: How many tokens do 56.13 GiB hold?
  gb10.vllm.kv_cache_budget:
    model: mistralai/Devstral-Small-2-24B-Instruct-2512
    available_gib: 56.13
    max_model_len: 393216
  delegate_to: localhost
  register: result

- name: How much memory do four requests of 65,536 tokens need?
  gb10.vllm.kv_cache_budget:
    model: /srv/models/devstral-small-2-24b
    max_model_len: 65536
    concurrency: 4
  register: result
"""

RETURN = r"""
plan:
  description: >-
    The plan of the box: C(verdict) (fits, fits_with_change or cannot_fit), C(box) (total, available, floor, who else holds memory, headroom),
    C(engine), and for each of C(servers) the sizes with their source, KV figures, C(gpu_memory_utilization), C(flags) with reasons,
    C(arguments) for C(vllm serve), C(changes) ranked from the cheapest, C(reason) and C(warnings).
  returned: when O(servers) were given
  type: dict
  sample:
    verdict: fits
    servers:
      - name: devstral
        kv_cache_bytes: 79911976960
        kv_tokens: 487744
        max_model_len: 65536
        gpu_memory_utilization: 0.85
kv:
  description: >-
    The calculator's answer: C(kv_bytes_per_token), C(bytes_per_block), C(needed_bytes) for C(requests) of C(max_model_len) tokens and, with
    O(available_gib), C(num_blocks), C(kv_tokens), C(concurrency), C(fits), C(estimated_max_model_len) and C(vllm_says), the engine's own words.
  returned: when O(model) was given
  type: dict
  sample: {"kv_bytes_per_token": 163840, "needed_bytes": 64424509440, "max_model_len": 393216}
models:
  description: Facts of the models that were read here, by the path or repo id.
  returned: when models were read
  type: dict
  sample: {}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.inputs import OPTIONS, REQUIRED_ONE_OF, answer


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, required_one_of=REQUIRED_ONE_OF, supports_check_mode=True)
    try:
        result = answer(module.params)
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
