#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: box_info
short_description: Read what a GB10 box is, holds and runs
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads in one call all that planning needs to know of a box - operating system, GPU, memory as the kernel and as CUDA
    see it, Docker, disks, listening ports, what holds memory, and what earlier runs of this collection left there.
  - Judges it against what is wanted, so that each finding comes with its cause and remedy.
  - Reads O(models) on it too and takes the lock of M(gb10.vllm.run_lock) before, where that is asked for - one call instead of three.
  - Changes nothing but this lock.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
  - gb10.vllm.state_dir
options:
  servers:
    description: Servers wanted on the box; a port that something else holds becomes a finding.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the server.
        type: str
        required: true
      port:
        description: Port on the box it will be published on.
        type: int
        required: true
      tls:
        description: C(certificate) and C(key), the files with which it will speak TLS; what is wrong with them becomes a finding.
        type: dict
  config_dir:
    description: Directory with the private files of the servers.
    type: path
    default: /etc/gb10-vllm
  router:
    description: The box is a router as well; C(box.router) is then what M(gb10.vllm.router_info) returns.
    type: bool
    default: false
  prune:
    description: Whether servers of this collection that are not among O(servers) are removed before anything is started; their ports are free then.
    type: bool
    default: false
  images:
    description: Image names or ids whose id, size and labels to return.
    type: list
    elements: str
    default: []
  least_free_gib:
    description:
      - GiB that must be free, by path. V(docker) stands for the directory in which Docker keeps its data; it counts only
        while one of O(images) is missing.
    type: dict
    default: {}
  architectures:
    description: Machine names (C(uname -m)) that are accepted.
    type: list
    elements: str
    default: [aarch64]
  compute_capability:
    description: CUDA compute capability that is expected.
    type: str
    default: "12.1"
  builds:
    description: Whether an image will be built on the box, which needs BuildKit.
    type: bool
    default: false
  models:
    description:
      - Model directories to read as M(gb10.vllm.model_info) does. What is wrong with one of them is returned in RV(model_problems); the task does not fail.
      - Whether the sizing knows their architecture is not looked at; M(gb10.vllm.kv_cache_budget) says it when it plans.
    type: list
    elements: path
    default: []
  parts:
    description: Those of O(models) that are no models of their own but drafts or adapters of others; of such only what a draft keeps, or the files, is told.
    type: list
    elements: path
    default: []
  named:
    description:
      - What the arguments of servers name on the box - by server and value, the paths it may mean, of which the first that exists counts.
      - What is found is returned in C(box.named).
    type: dict
    default: {}
  private:
    description:
      - The texts that private files of servers should hold, by path.
      - C(same) of a file in C(box.files) says whether it does. Neither a text nor a digest of one is returned.
    type: dict
    default: {}
  allow_missing:
    description: Return C(present=false) for one of O(models) that does not exist, instead of a problem.
    type: bool
    default: false
  kept:
    description: Read the earlier versions of O(models) too that were kept beside them as C(PATH@REVISION).
    type: bool
    default: false
  load_format:
    description: The C(--load-format) vLLM will get, as in M(gb10.vllm.model_info).
    type: str
    default: auto
  lock:
    description:
      - Take the lock of M(gb10.vllm.run_lock) before anything is read, so that what is read stays true until this run changes it.
      - When another run holds it the task fails and nothing is read. In check mode nothing is locked.
    type: bool
    default: false
  ttl_s:
    description: Seconds after which the lock of a run that was never seen again may be taken by another controller.
    type: float
    default: 14400
  planned:
    description:
      - C(box.servers) as this run read it when it planned. When another run has changed the servers since then, the lock is not taken and the task fails.
      - Not needed where the plan is made from what is read here.
    type: dict
  owner:
    description: C(run), C(owner) and C(controller) of this run. Filled in by the action plugin when O(lock=true).
    type: dict
  take_over:
    description: Id of a run that is known to have ended. Filled in by the action plugin.
    type: str
  host:
    description:
      - C(gb10_host), the parts of M(gb10.vllm.host_settings) that are wanted; what would be done for them is returned in RV(host).
      - One that cannot be set up on this box becomes a finding.
    type: dict
    default: {}
  wait_for_memory_bytes:
    description:
      - Before the box is read, wait until this many bytes are available (C(MemAvailable)), or no more have come back for 10 seconds; 60 seconds at most.
      - What a program on a GPU held comes back only a while after it ended.
    type: int
    default: 0
attributes:
  check_mode:
    description: Can run in check mode, where it does the same but locks nothing.
  action:
    support: full
    description: For a lock, the controller tells who is asking and whether the run that holds it is still alive there.
"""

EXAMPLES = r"""
- name: Read the box
  gb10.vllm.box_info:
    servers:
      - name: devstral
        port: 8000
    least_free_gib:
      docker: 60
  register: result

- name: Read the box and its models, and let nobody else change them meanwhile
  gb10.vllm.box_info:
    models: [/srv/models/devstral-small-2-24b]
    allow_missing: true
    lock: true
  register: result

- name: Show what stands in the way
  ansible.builtin.debug:
    msg: "{{ result.findings | map(attribute='text') }}"
"""

RETURN = r"""
box:
  description: >-
    Facts of the box: C(hostname), C(architecture), C(os), C(python), C(gpu), C(memory) (bytes; C(cuda_total_bytes) is null where
    libcuda did not answer), C(docker) (with our C(containers), the names of C(others), of those that a restart C(would_stop) where
    Docker has to be set up for the GPU, and C(images), those that were pulled or loaded with their C(inputs)), C(disks), C(listeners), C(holders)
    (processes that hold at least 1 GiB), C(ipc_users) (whose engines lose their shared memory with their last session),
    C(network) (C(addresses) by interface, C(came), the interface this connection came in on, C(hcas) and C(infiniband)), C(units),
    C(files) (digest, mode and owner of the files this collection put there), C(servers)
    (records of earlier runs by server), C(open) (private files and directories that others may read or enter),
    C(named) (by server and value of O(named) C(path), C(kind) - file, directory or absent -, C(real), C(digest), C(links) and C(unreadable)),
    C(cpu_features) (C(cpu_amx) and C(cpu_avx512_bf16), by which vLLM's build for CPUs decides).
  returned: when the box was read
  type: dict
  sample: {"architecture": "aarch64", "gpu": {"name": "NVIDIA GB10", "compute_capability": "12.1", "present": true}}
findings:
  description: What stands in the way (level C(error)) or should be known (level C(warning)), errors first.
  returned: when the box was read
  type: list
  elements: dict
  sample:
    - level: error
      what: port 8000 is in use
      why: server devstral wants it and another program listens on 0.0.0.0:8000
      fix: Stop that program or give the server another port.
models:
  description: Facts of O(models) by path, as M(gb10.vllm.model_info) returns them, without those that have a problem.
  returned: when the box was read
  type: dict
  sample: {"/srv/models/tiny": {"present": true, "architecture": "LlamaForCausalLM"}}
model_problems:
  description: What is wrong with one of O(models), by path, in one sentence.
  returned: when the box was read
  type: dict
  sample: {"/srv/models/big": "/srv/models/big lacks 1 of the 10 shards its index names, the first is model-00003-of-00010.safetensors: finish the download"}
host:
  description: What M(gb10.vllm.host_settings) would do for the parts of O(host) that are not as wanted, one line for each step.
  returned: when the box was read
  type: list
  elements: str
  sample: ["apt-mark hold nvidia-driver-580-open"]
lock:
  description: >-
    What became of the lock: C(acquired), C(holder) (the run that holds it instead), C(taken_from) (the run whose lock was taken over) and C(why)
    (V(ended) or V(expired)).
  returned: O(lock=true), not in check mode
  type: dict
  sample: {"acquired": true, "holder": null, "taken_from": null, "why": null}
"""

import platform
import sys
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._box import run_lock
from ansible_collections.gb10.vllm.plugins.module_utils._box.certificates import read_certificate
from ansible_collections.gb10.vllm.plugins.module_utils._box.facts import read_box, say_which_are_as_wanted
from ansible_collections.gb10.vllm.plugins.module_utils._box.findings import findings
from ansible_collections.gb10.vllm.plugins.module_utils._box.memory import wait_for_memory
from ansible_collections.gb10.vllm.plugins.module_utils._box.records import refuse_newer
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._host.facts import pending
from ansible_collections.gb10.vllm.plugins.module_utils._model.reach import named
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import read_models
from ansible_collections.gb10.vllm.plugins.module_utils._names import CONFIG_DIR, GIB, LONGEST_S, STATE_DIR
from ansible_collections.gb10.vllm.plugins.module_utils._router.look import router

OPTIONS = {
    "state_dir": {"type": "path", "default": STATE_DIR},
    "servers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}, "port": {"type": "int", "required": True}, "tls": {"type": "dict", "no_log": False}},
    },
    "config_dir": {"type": "path", "default": CONFIG_DIR},
    "prune": {"type": "bool", "default": False},
    "router": {"type": "bool", "default": False},
    "images": {"type": "list", "elements": "str", "default": []},
    "least_free_gib": {"type": "dict", "default": {}},
    "architectures": {"type": "list", "elements": "str", "default": ["aarch64"]},
    "compute_capability": {"type": "str", "default": "12.1"},
    "builds": {"type": "bool", "default": False},
    "wait_for_memory_bytes": {"type": "int", "default": 0},
    "models": {"type": "list", "elements": "path", "default": []},
    "parts": {"type": "list", "elements": "path", "default": []},
    "named": {"type": "dict", "default": {}},
    "private": {"type": "dict", "default": {}, "no_log": True},
    "host": {"type": "dict", "default": {}},
    "allow_missing": {"type": "bool", "default": False},
    "kept": {"type": "bool", "default": False},
    "load_format": {"type": "str", "default": "auto"},
    "lock": {"type": "bool", "default": False},
    "ttl_s": {"type": "float", "default": LONGEST_S},
    "planned": {"type": "dict"},
    "owner": {"type": "dict"},
    "take_over": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    # It runs on whatever Python a box has.
    if sys.version_info < (3, 10):  # noqa: UP036
        said = f"this collection needs Python 3.10 or newer, and {sys.executable} is {platform.python_version()}."
        module.fail_json(msg=f"{said} Install a newer one there and name it with ansible_python_interpreter.")
    wanted = module.params
    result: dict = {"changed": False}
    try:
        free_bytes = {path: int(float(gib) * GIB) for path, gib in wanted["least_free_gib"].items()}
    except (TypeError, ValueError):
        module.fail_json(msg=f"least_free_gib must map paths to numbers of GiB, not {wanted['least_free_gib']!r}.")
    try:
        refuse_newer()
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    if wanted["lock"] and not module.check_mode:
        try:
            result["lock"] = run_lock.acquire(wanted["state_dir"], wanted["owner"] or {}, wanted["ttl_s"], wanted["take_over"], wanted["planned"])
        except GB10Error as error:
            module.fail_json(msg=str(error), **error.details)
        if not result["lock"]["acquired"]:
            module.exit_json(**result)
    wait_for_memory(wanted["wait_for_memory_bytes"])
    box = read_box(
        state_dir=wanted["state_dir"],
        disks=[wanted["state_dir"], *(path for path in free_bytes if path != "docker")],
        images=wanted["images"],
        config_dir=wanted["config_dir"],
    )
    say_which_are_as_wanted(box["files"], wanted["private"])
    spoken = {server["name"]: server["tls"] for server in wanted["servers"] if server.get("tls")}
    box["certificates"] = {name: read_certificate(str(tls.get("certificate")), str(tls.get("key"))) for name, tls in spoken.items()}
    box["named"] = named(wanted["named"])
    if wanted["router"]:
        box["router"] = router()
    options = {name: wanted[name] for name in ("allow_missing", "kept", "load_format", "state_dir", "parts")}
    models, problems = read_models(wanted["models"], **options)
    result.update(box=box, findings=findings(box, dict(wanted, free_bytes=free_bytes, now=time.time())), models=models)
    result["host"], cannot = pending(wanted["state_dir"], wanted["host"])
    result["findings"] = cannot + result["findings"]
    result["model_problems"] = {path: str(error) for path, error in problems.items()}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
