#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Follow a starting vLLM server until it answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: server_ready
short_description: Follow a starting vLLM server until a real request is answered
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Watches the container of a vLLM server from its start, shows on the controller what it is doing
    (loading shard n of m, compiling, capturing CUDA graphs), and ends when it is ready, has failed or shows no sign of life.
  - Ready means that the engine says so, that C(/v1/models) lists the expected name, and that a real request came back with text.
  - When the start fails, its log and the kernel's log are compared with the known failures of O(diagnoses) and the
    collection's own knowledge base, and the task fails with one message - what, where, why, what to do.
  - Returns what the start measured - weights, KV cache, CUDA graphs, times.
  - With O(measure) the box itself is asked what the server takes beside weights and KV cache, which vLLM does not measure when it is given the bytes
    of its KV cache. O(measure=begin) notes the memory before the container is made; the look that finds the server ready puts a first load on it
    and compares.
  - Reads only, but for a note of the memory before a start in C(/run/gb10-vllm), which goes when the start is decided.
  - It needs root or membership of the group docker, and the C(docker) command line.
extends_documentation_fragment:
  - gb10.vllm.attributes
options:
  container:
    description: Name of the container.
    type: str
    required: true
  base_url:
    description: Where the API answers on the box itself, for example C(http://127.0.0.1:8000). With C(https) its certificate is not checked.
    type: str
    required: true
  api_key_file:
    description:
      - File on the box that holds C(VLLM_API_KEY=...), with the value quoted as for a shell.
      - It is read on the box; the key never appears in arguments or results.
    type: path
  key_required:
    description: Whether every route must refuse a request without a key. A server that answers one all the same counts as failed.
    type: bool
    default: false
  served_model_name:
    description: Name that C(/v1/models) must list. Without it any name will do.
    type: str
  kind:
    description:
      - What the model offers. V(auto) asks for the first of these that the server's own C(/openapi.json) names; without that file, for one after the other.
      - V(rerank), V(score), V(classification) and V(pooling) ask C(/rerank), C(/score), C(/classify) and C(/pooling), V(transcription) sends a second of sound.
    type: str
    choices: [auto, chat, completion, transcription, embedding, rerank, score, classification, pooling]
    default: auto
  prompt:
    description: What is asked.
    type: str
    default: Say hello in one short sentence.
  model_bytes:
    description: Size of the model's weights in bytes; the timeouts follow from it. V(0) means not known.
    type: int
    default: 0
  timeout_s:
    description: Longest time from the start of the container until ready, in seconds. By default it follows from O(model_bytes).
    type: float
  stall_s:
    description: Longest time without a sign of life (log, disk reads, memory, processes), in seconds. By default it follows from O(model_bytes).
    type: float
  answer_timeout_s:
    description: How long one real request may take, in seconds. The first one after a start compiles kernels.
    type: float
    default: 180
  wait_s:
    description: How long one look at the box may last, in seconds. Progress is shown at least that often.
    type: float
    default: 15
  measure:
    description:
      - V(begin) does not follow a start. It waits until O(memory_bytes) are available, notes the memory of the box and has a process of its own watch for
        the lowest value of what is available, until the start is decided or no start takes that long.
      - V(prove) measures when the server answers, where its start was begun like that. V(no) measures nothing.
    type: str
    choices: ["no", begin, prove]
    default: "no"
  memory_bytes:
    description: How much has to be available (C(MemAvailable)) before a start is begun; waited for as in O(gb10.vllm.box_info#module:wait_for_memory_bytes).
    type: int
    default: 0
  load:
    description:
      - The first load of a server whose start is measured - C(batch_tokens), prefilled in one step, C(context), the longest a request may be, and
        C(requests), how many short ones are then asked at once, and C(images), V(1) where the model sees. Without it the server is only asked O(prompt).
    type: dict
  started_at:
    description: C(StartedAt) of the start to follow. Another start of the same container then counts as a crash.
    type: str
  activity:
    description: RV(activity) of an earlier look.
    type: dict
  rank:
    description:
      - What the deployment of one box of a server over several says of its group (C(number), C(boxes), C(addresses), C(guard_port)).
      - While a rank waits for the other boxes its start has not begun. The head is ready as any server, another rank when its head has answered; either fails
        by its own container and its own log.
    type: dict
  label:
    description: How the server is called in messages. Used on the controller.
    type: str
  wanted:
    description: The settings the server was started with, from which a repair is derived. Used on the controller.
    type: dict
    default: {}
  history:
    description: Repairs already applied to this start, oldest first, as returned in RV(repair). Used on the controller.
    type: list
    elements: dict
    default: []
  repair:
    description: Whether to return a repair when a safe one exists. Used on the controller.
    type: bool
    default: true
  diagnoses:
    description: Files with further known failures, in the format of the collection's C(diagnoses.yml). Used on the controller.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Looks once, changes nothing and does not fail when the server is not ready.
  diff_mode:
    description: Nothing is changed, so there is no difference to show.
seealso:
  - module: gb10.vllm.diagnose
"""

EXAMPLES = r"""
- name: Wait until the server answers
  gb10.vllm.server_ready:
    container: gb10-vllm-devstral
    base_url: http://127.0.0.1:8000
    api_key_file: /etc/gb10-vllm/devstral.env
    served_model_name: devstral
    model_bytes: 25792913920
  register: start
"""

RETURN = r"""
memory:
  description: The memory of the box before the start, in bytes - C(total_bytes), C(available_bytes), C(others_bytes), C(wander_bytes) and more.
  type: dict
  returned: with O(measure=begin)
phase:
  description: Where the start stands - created, loading, profiling, compiling, capturing, serving, ready, failed or stalled.
  type: str
  returned: always
  sample: ready
progress:
  description: The same in words.
  type: str
  returned: always
  sample: loading weights 3 of 10 shards
reason:
  description: Why it failed or stalled, empty otherwise.
  type: str
  returned: always
left:
  description: Why the start was ended because of another rank (O(rank)).
  type: str
  returned: when it was
elapsed_s:
  description: Seconds since the container was started.
  type: float
  returned: always
memory_available_bytes:
  description: MemAvailable of the box.
  type: int
  returned: always
facts:
  description:
    - What the engine measured, as far as it has said so. C(*_bytes) are bytes, C(*_s) seconds.
    - RV(facts.num_blocks), RV(facts.block_size) and RV(facts.kv_tokens) come unrounded from C(/metrics) once the server is ready.
  type: dict
  returned: always
  contains:
    weights_bytes: {description: Weights as loaded., type: int}
    available_kv_bytes: {description: KV cache memory., type: int}
    kv_tokens: {description: Tokens that fit into the KV cache., type: int}
    concurrency: {description: Requests of full length that fit at once., type: float}
    num_blocks: {description: KV cache blocks., type: int}
    block_size: {description: Tokens of a block., type: int}
    graph_bytes: {description: Memory of CUDA graphs., type: int}
    load_s: {description: Seconds to load the weights., type: float}
    ready_s: {description: Seconds from the start of the container until the engine said it is up., type: float}
    beside_bytes: {description: What the server takes beside weights and KV cache as its box saw it (O(measure))., type: int}
    beside_uncertainty_bytes: {description: How far that may be off., type: int}
    host_bytes: {description: The part of it that its processes hold as anonymous and shared memory., type: int}
    memory:
      description: >-
        The readings behind it - C(before_bytes), C(lowest_start_bytes), C(ready_bytes), C(lowest_bytes) since it was ready, C(others_bytes) that other
        programs took meanwhile, C(shared_pool) (false on a device with memory of its own), C(missing_bytes) of the floor, C(idle_bytes) beside floor and
        margin, and C(problem) where there is no such figure.
      type: dict
    doubts:
      description: After a start that was measured, what the answers to a request with a tool and to one with reasoning say against the parsers it has.
      type: list
      elements: str
    load: {description: "The first load - C(prefill_tokens), C(requests), C(seconds), and C(problem) where it was refused.", type: dict}
    vllm_version: {description: Version of vLLM., type: str}
answer:
  description: The request that proved the server.
  type: dict
  returned: when ready
  contains:
    text: {description: What came back., type: str}
    model: {description: Who answered., type: str}
    latency_s: {description: How long it took., type: float}
    kind: {description: "What was asked, see O(kind).", type: str}
    tokens: {description: Tokens generated., type: int}
container:
  description: State of the container - name, exists, status, started_at, exit_code, oom_killed, restart_count, image.
  type: dict
  returned: always
activity:
  description: Signs of life; pass them to the next look.
  type: dict
  returned: always
log_tail:
  description: Last lines of the log, without secrets.
  type: list
  elements: str
  returned: always
diagnosis:
  description: What was found when the start failed - id, what, why, todo, source, lines, auto, notes.
  type: dict
  returned: when failed or stalled
repair:
  description:
    - A safe change that may be applied to this start - C(id), C(set), C(reason) and C(wait_for_memory), which says that the memory of this try
      has to come back first (see O(gb10.vllm.box_info#module:wait_for_memory_bytes)); none when there is none.
  type: dict
  returned: when failed or stalled
gone:
  description: The box stopped answering while the server was starting, so nothing is known of it.
  type: bool
  returned: when the box is gone
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._box.memory import wait_for_memory
from ansible_collections.gb10.vllm.plugins.module_utils._engine import sampling
from ansible_collections.gb10.vllm.plugins.module_utils._engine.probe import Follower
from ansible_collections.gb10.vllm.plugins.module_utils._engine.proof import Proof
from ansible_collections.gb10.vllm.plugins.module_utils._engine.readiness import ROUTES, timeouts
from ansible_collections.gb10.vllm.plugins.module_utils._engine.warm import Load
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

ARGUMENTS = {
    "container": {"type": "str", "required": True},
    "base_url": {"type": "str", "required": True},
    "api_key_file": {"type": "path", "no_log": False},
    "key_required": {"type": "bool", "default": False, "no_log": False},
    "served_model_name": {"type": "str"},
    "kind": {"type": "str", "choices": ["auto", *ROUTES], "default": "auto"},
    "prompt": {"type": "str", "default": "Say hello in one short sentence."},
    "model_bytes": {"type": "int", "default": 0},
    "timeout_s": {"type": "float"},
    "stall_s": {"type": "float"},
    "answer_timeout_s": {"type": "float", "default": 180},
    "wait_s": {"type": "float", "default": 15},
    "measure": {"type": "str", "choices": ["no", "begin", "prove"], "default": "no"},
    "memory_bytes": {"type": "int", "default": 0},
    "load": {"type": "dict"},
    "started_at": {"type": "str"},
    "activity": {"type": "dict"},
    "rank": {"type": "dict"},
    "label": {"type": "str"},
    "wanted": {"type": "dict", "default": {}},
    "history": {"type": "list", "elements": "dict", "default": []},
    "repair": {"type": "bool", "default": True},
    "diagnoses": {"type": "list", "elements": "path", "default": []},
}


def begin(given):
    """Wait for the memory of what ran before, note what is available, and watch it for as long as a start may take."""
    wait_for_memory(given["memory_bytes"])
    longest_s = given["timeout_s"] or timeouts(given["model_bytes"])[0]
    return {"memory": sampling.begin(given["container"], longest_s + 2 * given["answer_timeout_s"])}


def proof_of(given):
    """What is measured once the server answers."""
    load = {key: int(value) for key, value in (given["load"] or {}).items() if str(value).isdigit()}
    needed = ("batch_tokens", "context", "requests")
    asked = Load(**{key: load.get(key, 0) for key in Load._fields}) if all(load.get(key) for key in needed) else None
    return Proof(given["container"], given["model_bytes"], asked)


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    if given["measure"] == "begin":
        module.exit_json(changed=False, **({} if module.check_mode else begin(given)))
    stall_s = given["stall_s"] if given["stall_s"] is not None else timeouts(given["model_bytes"])[1]
    try:
        follower = Follower(
            container=given["container"],
            base_url=given["base_url"],
            key_file=given["api_key_file"],
            served_model_name=given["served_model_name"],
            kind=given["kind"],
            prompt=given["prompt"],
            stall_s=stall_s,
            answer_timeout_s=given["answer_timeout_s"],
            start=given["started_at"],
            last=given["activity"],
            key_required=given["key_required"],
            rank=given["rank"],
            proof=proof_of(given) if given["measure"] == "prove" and not module.check_mode else None,
        )
        seen = follower.observe() if module.check_mode else follower.follow(given["wait_s"])
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
