# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories as they lie on people's disks: caches of huggingface_hub, files for their owner only, code of other repositories."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import reach
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.module_utils._model.read import read_models

TENSOR = json.dumps({"w": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
WEIGHTS = len(TENSOR).to_bytes(8, "little") + TENSOR + b"\0" * 8


@pytest.fixture
def snapshot(tmp_path):
    home = tmp_path / "hub" / "models--org--name"
    place = home / "snapshots" / "c0ffee"
    place.mkdir(parents=True)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("c0ffee")
    for name, blob, content in (("config.json", "aaa", b'{"architectures": ["LlamaForCausalLM"]}'), ("model.safetensors", "bbb", WEIGHTS)):
        (home / "blobs" / blob).write_bytes(content)
        os.chmod(home / "blobs" / blob, 0o644)
        (place / name).symlink_to(f"../../blobs/{blob}")
    os.chmod(place, 0o755)
    return place


def test_a_snapshot_says_where_its_files_are(snapshot, tmp_path):
    models, problems = read_models([str(snapshot)], state_dir=str(tmp_path / "state"))
    facts = models[str(snapshot)]
    assert not problems and facts["links"] == [{"at": "../../blobs", "real": f"{snapshot.parents[1]}/blobs"}] and facts["unreadable"] is None


@pytest.mark.parametrize("level", ["repository", "snapshots", "hub", "home", "missing below the hub", "missing below home"])
def test_the_other_levels_of_the_cache_name_the_snapshot(snapshot, level):
    home, hub = snapshot.parents[1], snapshot.parents[2]
    place = {"repository": home, "snapshots": home / "snapshots", "hub": hub, "home": hub.parent, "missing below the hub": hub / "org" / "name"}
    with pytest.raises(GB10Error, match="huggingface_hub") as error:
        inspect_model(str(place.get(level, hub.parent / "org" / "name")), allow_missing=True)
    assert str(snapshot) in str(error.value) and len(str(error.value)) <= 600


def test_an_unfinished_repository_says_so(snapshot):
    home = snapshot.parents[1]
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).unlink()
    snapshot.rmdir()
    with pytest.raises(GB10Error, match="finish the download"):
        inspect_model(str(home))


def test_a_model_that_only_its_owner_may_read(snapshot):
    os.chmod(snapshot.parents[1] / "blobs" / "bbb", 0o000)
    assert reach.unreadable(str(snapshot)) == str(snapshot / "model.safetensors")
    os.chmod(snapshot.parents[1] / "blobs" / "bbb", 0o644)
    os.chmod(snapshot, 0o600)
    assert reach.unreadable(str(snapshot)) == str(snapshot)


@pytest.mark.parametrize(
    "config,tokenizer,wanted",
    [
        ({"AutoConfig": "nomic-ai/bert--configuration.Config", "AutoModel": "nomic-ai/bert--modeling.Model"}, {}, ["nomic-ai/bert"]),
        ({"AutoConfig": "configuration.Config"}, {}, []),
        ({}, {"AutoTokenizer": ["org/other--tokenization.Slow", None]}, ["org/other"]),
    ],
)
def test_code_of_other_repositories_is_named(tmp_path, config, tokenizer, wanted):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "auto_map": config}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": tokenizer}))
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    assert inspect_model(str(tmp_path))["code_elsewhere"] == wanted


@pytest.fixture
def somebodys(tmp_path, monkeypatch):
    """Links that an unprivileged user made in a model's directory, to files that are not his; ``somebodys.add(name, target)`` makes one."""
    model, private = tmp_path / "m", tmp_path / "private"
    model.mkdir()
    private.mkdir()
    (private / "key.env").write_text("VLLM_API_KEY=k\n")
    os.chmod(private / "key.env", 0o600)
    his: set[str] = set()
    real = reach._owner
    monkeypatch.setattr(reach, "_owner", lambda path: 1000 if path in his else 0 if path.startswith(str(private)) else real(path))

    class Made:
        """What a test has at hand."""

        place, secret = model, private / "key.env"

        @staticmethod
        def add(name, target, of_root=False):
            (model / name).symlink_to(target)
            if not of_root:
                his.add(str(model / name))

    return Made


def test_a_link_is_not_followed_to_what_its_maker_could_not_hand_out(somebodys):
    somebodys.add("chat_template.jinja", somebodys.secret)
    somebodys.add("all", somebodys.secret.parent)
    assert sorted(one["astray"] for one in reach.links(str(somebodys.place))) == [str(somebodys.place / "all"), str(somebodys.place / "chat_template.jinja")]


def test_roots_own_link_leads_anywhere_but_not_by_way_of_anothers(somebodys):
    somebodys.add("a.json", somebodys.secret, of_root=True)
    assert "astray" not in reach.links(str(somebodys.place))[0]
    somebodys.add("around", somebodys.secret.parent)
    somebodys.add("b.json", somebodys.place / "around" / "key.env", of_root=True)
    assert reach.astray(str(somebodys.place / "b.json")) == str(somebodys.place / "around")
    facts = reach.named({"a": {"b.json": [str(somebodys.place / "b.json")]}})["a"]["b.json"]
    assert facts["astray"] == str(somebodys.place / "around") and "digest" not in facts


def test_a_file_that_everybody_reads_comes_without_the_directory_around_it(somebodys, monkeypatch):
    monkeypatch.setattr(reach, "_everybody_reads", lambda _path: True)
    somebodys.add("key.env", somebodys.secret)
    assert reach.links(str(somebodys.place)) == [{"at": str(somebodys.secret), "real": str(somebodys.secret)}]


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert reach.named({"a": {"a": [str(tmp_path / "a")]}})["a"]["a"]["kind"] == "absent"


PIPES = ["config.json", "tokenizer_config.json", "model.safetensors", "model.safetensors.index.json", "hf_quant_config.json", "modules.json"]
MODULE = "ansible_collections.gb10.vllm.plugins.module_utils._model.read"
READ = f"import sys; from {MODULE} import read_models; print(read_models(sys.argv[1:2], state_dir=sys.argv[2]))"


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_under_a_files_name_keeps_nobody_waiting(tmp_path, name):
    """Whoever may write into a model's directory could have root wait for ever, holding the lock of the box."""
    model = tmp_path / "m"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (model / "model.safetensors").write_bytes(WEIGHTS)
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(model), str(tmp_path / "state")], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert f"{model / name}" in done.stdout and "no plain file" in done.stdout
