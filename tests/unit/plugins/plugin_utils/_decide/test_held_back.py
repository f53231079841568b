# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A box whose turn never came: supply has brought a new version of its model, the canary failed elsewhere, and then its container starts again.

Played with the files and decisions of a run; with real boxes it is in extensions/molecule/fleet and tests/e2e/test_server.py.
"""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._model import store, versions
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import read_models
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.work import work_order
from checkpoints import dense, write_model

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 512, "max_position_embeddings": 4096,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
OLD, NEW = "a" * 40, "b" * 40
IMAGE = {"id": "sha256:" + "1" * 64, "name": "vllm-node", "vllm_version": "0.32.0"}
PLANNED = {"name": "a", "arguments": ["--max-model-len", "4096"], "requested_bytes": 1, "served_model_name": "m"}
SETTINGS = {"state_dir": "/var/lib/gb10-vllm", "config_dir": "/etc/gb10-vllm", "shm_gib": 8.0, "floor_bytes": 1, "stop_timeout_s": 60}


class Box:
    """A box's models directory and one server, as records and Docker have it."""

    def __init__(self, root):
        self.root, self.final = root, str(root / "models" / "m")
        self.docker = str(root / "docker")
        self.record, self.container = None, None

    def files(self, place, answer):
        write_model(place, {**CONFIG, "answer": answer}, list(dense(CONFIG)))

    def supply(self, revision, answer):
        """What the role model or distribution does on each box."""
        partial = store.prepare_partial(self.final, f"o/m@{revision}")
        self.files(self.root / "models" / "m.partial", answer)
        entries = {}
        for one in store.list_files(partial):
            with open(os.path.join(partial, one["name"]), "rb") as stream:
                entries[one["name"]] = {"size": one["size"], "mtime_ns": one["mtime_ns"], "sha256": hashlib.sha256(stream.read()).hexdigest()}
        store.put_in_place(partial, self.final, {"repo_id": "o/m", "revision": revision, "files": entries}, self.docker)
        store.prune([self.final], 0, self.docker)

    def models(self, kept=False):
        return read_models([self.final], kept=kept, state_dir=str(self.root / "state"))[0]

    def given(self):
        server = {"name": "a", "model": "o/m", "model_path": self.final, "repo_id": "o/m", "port": 8000, "address": "127.0.0.1", "key_policy": "none"}
        box = {"docker": {"containers": [self.container] if self.container else []}, "servers": {"a": self.record or {}}}
        return {"wanted": server, "plan": {"servers": [PLANNED]}, "image": IMAGE, "models": self.models(), "box": box, "unit_text": "", "settings": SETTINGS,
                "options": {"history": 5, "repair": True}}  # fmt: skip

    def activate(self, order):
        """What the role server does: the container is made, answers, and is recorded."""
        one = order["deployment"]
        self.container = {"name": "gb10-vllm-a", "labels": {"gb10.vllm.spec": one["spec"]}}
        self.record = {"deployment": one, "measured": {"spec": one["spec"]}, "history": order["history"]}
        self.runs(deployment.mounted_directory(one))

    def runs(self, source):
        """Docker knows the container by the path it was made with, and looks that up at each start."""
        self.source = source
        shown = json.dumps([{"State": {"Pid": 0}, "Mounts": [{"Source": source, "Destination": "/models/a"}]}])
        with open(self.docker, "w") as stream:
            stream.write(f"#!/bin/sh\n[ \"$1\" = ps ] && echo one || echo '{shown}'\n")
        os.chmod(self.docker, 0o755)

    def restart(self):
        """What the engine finds after a reboot, a crash or an update of Docker."""
        with open(os.path.join(self.source, "config.json")) as stream:
            return json.load(stream)["answer"]


@pytest.fixture
def box(tmp_path):
    (tmp_path / "models").mkdir()
    return Box(tmp_path)


def test_a_held_back_box_gives_the_old_answer_after_a_restart_and_the_old_manifest_is_true(box):
    box.supply(OLD, "old")
    box.activate(work_order(box.given()))
    ran = box.record["deployment"]
    box.supply(NEW, "new, and never proven")
    assert box.restart() == "old"
    facts = box.models(kept=True)
    assert facts[box.source]["manifest"] == ran["manifest"] and facts[box.source]["content"] == ran["content"]
    assert facts[box.final]["manifest"] != ran["manifest"], "what is wanted is the new version"
    order = work_order(box.given())
    assert order["create"] and order["reason"] == f"the files in {box.final} changed from version {OLD[:14]} to {NEW[:14]}"
    assert order["previous"] == ran


def test_what_failed_goes_back_to_the_old_files_and_forward_again(box):
    box.supply(OLD, "old")
    box.activate(work_order(box.given()))
    ran = box.record["deployment"]
    box.supply(NEW, "new")
    box.activate(work_order(box.given()))
    assert box.restart() == "new"
    back = work_order({**box.given(), "back_to": {"deployment": ran, "models": box.models(kept=True), "reason": "a rollback was asked for"}})
    assert back["deployment"] == ran, "its version never moved, so it is the same deployment"
    box.activate(back)
    assert box.restart() == "old"


def test_a_box_of_an_earlier_release_keeps_its_files_and_its_record_until_it_is_replaced(box):
    """The current version had the plain name, and the container mounts that."""
    box.files(box.root / "models" / "m", "old")
    entries = {one["name"]: {key: one[key] for key in ("size", "mtime_ns")} for one in store.list_files(box.final)}
    store.write_record(box.final, {"repo_id": "o/m", "revision": OLD, "files": entries})
    order = work_order(box.given())
    earlier = {key: value for key, value in order["deployment"].items() if key != "content"}
    earlier["spec"] = deployment.spec_of(earlier["container"], earlier["manifest"])
    box.activate({**order, "deployment": earlier})
    assert box.source == box.final
    again = work_order(box.given())
    assert not again["create"] and again["deployment"] == earlier and not any(file["needed"] for file in again["files"] if "deployment" in file["dest"])

    box.supply(NEW, "new, and never proven")
    assert box.restart() == "old" and os.path.islink(box.final)
    assert work_order(box.given())["create"], "the box has yet to have its turn"
    facts = box.models(kept=True)
    back = deployment.with_its_model(earlier, facts)
    assert deployment.mounted_directory(back) == f"{box.final}@{OLD[:14]}", "it can come back"

    box.activate(work_order(box.given()))
    assert box.restart() == "new, and never proven" and versions.settle(box.final, box.docker)
    assert os.path.realpath(box.final) == f"{box.final}@{NEW[:14]}"
