#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_info
short_description: Read what a model directory holds, without reading its weights
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Reads config.json or params.json, the index and the header of every safetensors file, and verifies that the model is complete -
    every shard is there, no shard is truncated, every tensor the index names is found.
  - Returns what planning needs - the configuration, sizes and parameters by group, a manifest hash that changes when the model does.
  - Says where the model really is - the directory that a container mounts, its version where this collection brought it - and what is in its files.
    Configuration, code, templates and tokenizers are read whole; the sums of weights are known from where they were brought, or from O(verify).
  - Some 20 MiB are read for a typical model, whatever its size. Changes nothing.
extends_documentation_fragment:
  - gb10.vllm.attributes.reads
  - gb10.vllm.state_dir
options:
  path:
    description: One model directory.
    type: path
  models:
    description: Several model directories, read in one call.
    type: list
    elements: path
  parts:
    description: Those of O(models) that are no models of their own but drafts or adapters of others; of such only what a draft keeps, or the files, is told.
    type: list
    elements: path
    default: []
  allow_missing:
    description: Return C(present=false) for a directory that does not exist instead of failing.
    type: bool
    default: false
  kept:
    description: Read the earlier versions of O(models) too that were kept beside them as C(PATH@REVISION).
    type: bool
    default: false
  verify:
    description:
      - Have the weights that nobody has read yet read once, in the background. They are models that their owner put there, and files that were changed.
      - It is waited for 10 seconds at most. What is longer goes on after the task has ended, one file after the other and only when nothing else wants the
        box; later calls return what it found.
    type: bool
    default: false
  load_format:
    description:
      - The C(--load-format) vLLM will get. With V(auto) it prefers C(consolidated*.safetensors) where a directory holds both layouts;
        any other format but V(mistral) reads the Hugging Face files.
    type: str
    default: auto
  assume_full_attention:
    description: Accept an architecture this collection does not know; its memory is then planned as if every layer had full attention.
    type: bool
    default: false
  check_architecture:
    description: Fail for an architecture that the sizing does not know.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Read one model
  gb10.vllm.model_info:
    path: /srv/models/devstral-small-2-24b
  register: result

- name: Show what it weighs
  ansible.builtin.debug:
    msg: "{{ result.model.architecture }}: {{ result.model.weights.loaded_bytes | gb10.vllm.human_bytes }} once loaded"

- name: Read the models of all servers of a box, some of which are still to be downloaded
  gb10.vllm.model_info:
    models: "{{ gb10_servers | map(attribute='model_path') | unique }}"
    allow_missing: true
  register: result
"""

RETURN = r"""
model:
  description: >-
    The facts of O(path): C(present), C(path), C(config), C(config_file), C(layout) (V(hf) or V(mistral)), C(architecture), C(weights)
    (C(params), C(bytes) in the files, C(loaded_bytes) after loading, C(groups)), C(manifest) (SHA-256), C(size_bytes), C(tokenizer),
    C(chat_template), C(kind) (chat, completion, embedding, classification or transcription), C(auto_map), C(files), C(names); C(directory)
    (what a container mounts), C(ours) (brought by this collection), C(version), C(revision), C(outside) (the first file that is a link to
    somewhere else, as in the cache of C(huggingface_hub)), C(links) (where such links lead), C(unreadable) (the first file that a container's root,
    which has no capabilities, may not open), C(code_elsewhere) (repositories whose code its C(auto_map) names),
    C(content) (C(small) and C(weights), SHA-256; C(weights) is null until they were read),
    C(beside) (what other files say - lengths of sentence-transformers and of the tokenizer, kinds of pooling),
    and C(hf) (C(config) and C(weights) under the usual names) where the directory holds the model under Mistral's names too.
  returned: when O(path) was given
  type: dict
  sample:
    present: true
    path: /srv/models/devstral-small-2-24b
    architecture: Mistral3ForConditionalGeneration
    kind: chat
    size_bytes: 25792913920
    manifest: 4b0c2f7c6d9f53d9e5c9a4f2f0a7b7e0c3a1c1de4f4f6f3d9a0f5f8a1b2c3d4e
models:
  description: The same facts for each of O(models) (and O(path)), by the path as it was given.
  returned: success
  type: dict
  sample: {"/srv/models/tiny": {"present": true, "architecture": "LlamaForCausalLM"}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._model import verify, versions
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import read_models
from ansible_collections.gb10.vllm.plugins.module_utils._names import STATE_DIR
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.engine import Engine
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.layout import kv_layout

PATIENCE_S = 10.0
"""How long the sums of a small model are waited for."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "models": {"type": "list", "elements": "path"},
            "parts": {"type": "list", "elements": "path", "default": []},
            "allow_missing": {"type": "bool", "default": False},
            "kept": {"type": "bool", "default": False},
            "load_format": {"type": "str", "default": "auto"},
            "assume_full_attention": {"type": "bool", "default": False},
            "check_architecture": {"type": "bool", "default": True},
            "verify": {"type": "bool", "default": False},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        required_one_of=[("path", "models")],
        supports_check_mode=True,
    )
    wanted = module.params
    paths = [*([wanted["path"]] if wanted["path"] else []), *(wanted["models"] or [])]

    def check(facts: dict) -> None:
        if wanted["check_architecture"]:
            kv_layout(facts["config"], Engine(), assume_full_attention=wanted["assume_full_attention"])

    options = {name: wanted[name] for name in ("allow_missing", "kept", "load_format", "state_dir", "parts")}
    if wanted["verify"] and not module.check_mode:
        directories = [versions.directory_of(path) for path in paths]
        try:
            if verify.start(wanted["state_dir"], directories):
                verify.wait(wanted["state_dir"], directories, PATIENCE_S)
        except OSError as problem:
            module.warn(f"the weights cannot be verified in the background ({problem.strerror or problem}); check the disk of {wanted['state_dir']}")
    models, problems = read_models(paths, check=check, **options)
    for error in problems.values():
        module.fail_json(msg=str(error), **error.details)
    result = {"models": models}
    if wanted["path"]:
        result["model"] = models[wanted["path"]]
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
