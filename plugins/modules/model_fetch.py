#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_fetch
short_description: Download a model from a Hugging Face hub, pinned and verified
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Downloads what vLLM needs of a repository - the safetensors of one layout, configuration, tokenizer, templates, code - at one commit.
  - Goes on where an interrupted download stopped, tries again after network failures, compares each file's size and checksum with the
    hub's, and puts the directory in its place, C(NAME@COMMIT), only when all of it is there. C(NAME) is a link to it for people; containers mount
    C(NAME@COMMIT). The version before stays where it is, so what a running or restarting server reads is never touched.
  - Where a container of an earlier release mounts C(NAME) itself, that name keeps its meaning until the container is replaced.
  - A directory that exists and was not brought by this collection is left alone.
  - Needs nothing but Python on the box.
extends_documentation_fragment:
  - gb10.vllm.attributes
  - gb10.vllm.state_dir
options:
  repo_id:
    description: Repository on the hub, as ORG/NAME.
    type: str
  sums:
    description:
      - Instead of O(repo_id), when the files were copied to O(path) + C(.partial) by other means - their C(size) and C(sha256) by name. They are
        verified and the directory gets its name.
    type: dict
  revision:
    description: Branch, tag or commit. A branch is looked up and recorded as a commit; a full commit that is there already needs no network.
    type: str
    default: main
  path:
    description: Name of the model's directory, without a version.
    type: path
    required: true
  endpoint:
    description: The hub; C(HF_ENDPOINT) of O(env_file) or V(https://huggingface.co) by default.
    type: str
    default: ""
  env_file:
    description:
      - File on the box, readable by its owner alone, with lines such as C(HF_TOKEN=...), C(HF_ENDPOINT=...), C(HTTPS_PROXY=...). It may be missing.
    type: path
    default: /etc/gb10-vllm/hub.env
  ca_bundle:
    description: File on the box with the certificates of an organisation's own authority.
    type: str
    default: ""
  load_format:
    description: The C(--load-format) vLLM will get; decides between the two layouts where a repository has both.
    type: str
    default: auto
  connections:
    description: How many files are downloaded at the same time.
    type: int
    default: 4
  retries:
    description: Attempts in a row that bring nothing before a file is given up.
    type: int
    default: 8
  keep:
    description: How many earlier versions of this model are kept.
    type: int
    default: 1
  timeout_s:
    description: Seconds the whole download may take.
    type: int
    default: 86400
attributes:
  check_mode:
    description: Can run in check mode, where it asks the hub but downloads nothing.
  action:
    support: full
    description: An action plugin shows the progress.
"""

EXAMPLES = r"""
- name: Download a model at a commit
  gb10.vllm.model_fetch:
    repo_id: mistralai/Devstral-Small-2-24B-Instruct-2512
    revision: 0123456789abcdef0123456789abcdef01234567
    path: /srv/models/mistralai/Devstral-Small-2-24B-Instruct-2512
"""

RETURN = r"""
revision:
  description: The commit that is there; null for a directory this module did not make.
  returned: success
  type: str
  sample: 0123456789abcdef0123456789abcdef01234567
directory:
  description: The directory of the version that is there, which a container mounts.
  returned: success
  type: str
  sample: /srv/models/mistralai/Devstral-Small-2-24B-Instruct-2512@0123456789abcd
path:
  description: Where the model is, for people.
  returned: success
  type: str
  sample: /srv/models/mistralai/Devstral-Small-2-24B-Instruct-2512
downloaded_bytes:
  description: Bytes that came from the hub in this run (in check mode, that would come).
  returned: success
  type: int
  sample: 25792913920
previous:
  description: Where the version before is, if there was one.
  returned: success
  type: str
  sample: /srv/models/mistralai/Devstral-Small-2-24B-Instruct-2512@89abcdef01234
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.progress_log import ProgressLog
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._model import versions
from ansible_collections.gb10.vllm.plugins.module_utils._model.download import Download, set_environment
from ansible_collections.gb10.vllm.plugins.module_utils._names import CONFIG_DIR, STATE_DIR

OPTIONS = {
    "repo_id": {"type": "str"},
    "sums": {"type": "dict"},
    "revision": {"type": "str", "default": "main"},
    "path": {"type": "path", "required": True},
    "endpoint": {"type": "str", "default": ""},
    "env_file": {"type": "path", "default": f"{CONFIG_DIR}/hub.env"},
    "ca_bundle": {"type": "str", "default": ""},
    "load_format": {"type": "str", "default": "auto"},
    "connections": {"type": "int", "default": 4},
    "retries": {"type": "int", "default": 8},
    "keep": {"type": "int", "default": 1},
    "timeout_s": {"type": "int", "default": 86400},
    "state_dir": {"type": "path", "default": STATE_DIR},
}


def adopt(final: str, sums: dict, check: bool) -> dict:
    """Verify what was copied there and give it its name."""
    model_store.refuse_foreign(final)
    previous = None if check else model_store.adopt(final, sums)
    directory = versions.directory_of(final)
    revision = model_store.read_record(directory).get("revision")
    return {"changed": True, "path": final, "directory": directory, "revision": revision, "downloaded_bytes": 0, "previous": previous}


def fetch(final: str, wanted: dict, check: bool) -> dict:
    """Have the model at the wanted revision there."""
    environment = set_environment(wanted["env_file"], wanted["ca_bundle"], wanted["endpoint"])
    said = (lambda *_words: None) if check else ProgressLog(f"{wanted['state_dir']}/transfer/download.jsonl")
    result = Download(environment, retries=wanted["retries"]).fetch(
        wanted["repo_id"], wanted["revision"] or "main", final,
        load_format=wanted["load_format"], connections=wanted["connections"], check=check, said=said,
    )  # fmt: skip
    if result["changed"] and not check:
        model_store.prune([final], wanted["keep"])
    return result


def main() -> None:
    one_of = [("repo_id", "sums")]
    module = AnsibleModule(argument_spec=OPTIONS, required_one_of=one_of, mutually_exclusive=one_of, supports_check_mode=True)
    wanted = module.params
    final = wanted["path"].rstrip("/")
    try:
        result = adopt(final, wanted["sums"], module.check_mode) if wanted["sums"] else fetch(final, wanted, module.check_mode)
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or final} cannot be used ({error.strerror or error}); check the disk and permissions there")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
