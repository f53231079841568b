# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content of model files: what is other content under the same names and sizes is seen, and what nobody read is said to be unknown."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import file_sha256
from ansible_collections.gb10.vllm.plugins.module_utils._model import content, store, verify
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from checkpoints import TINY_LLAMA, dense, write_model

ROOT = Path(__file__).resolve().parents[5]
CONFIG = {**TINY_LLAMA, "num_hidden_layers": 1}


@pytest.fixture
def state(tmp_path):
    return str(tmp_path / "state")


@pytest.fixture
def model(tmp_path):
    place = write_model(tmp_path / "m", CONFIG, list(dense(CONFIG)))
    for name in ("chat_template.jinja", "modeling_x.py", "tokenizer.json", "README.md", "LICENSE.txt"):
        (place / name).write_text("{ }")
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling/config.json").write_text("{ }")
    return place


def other_bytes(path, keep_time=True):
    """The same size, and by its times the same file."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def verified(model, state):
    verify.os.makedirs(os.path.join(state, "models"), exist_ok=True)
    verify.read_all(state, [str(model)])
    return content.read(str(model), state)


@pytest.mark.parametrize("name", ["chat_template.jinja", "modeling_x.py", "tokenizer.json", "1_Pooling/config.json"])
def test_another_small_file_of_the_same_size_is_another_content(model, state, name):
    before, manifest = content.read(str(model), state), inspect_model(str(model))["manifest"]
    other_bytes(model / name)
    after = content.read(str(model), state)
    assert inspect_model(str(model))["manifest"] == manifest, "what the manifest cannot see"
    assert before["small"] != after["small"] and content.contradict(before, after)


@pytest.mark.parametrize("name", ["README.md", "LICENSE.txt"])
def test_what_says_nothing_about_the_model_is_no_content(model, state, name):
    before = content.read(str(model), state)
    other_bytes(model / name)
    assert content.read(str(model), state) == before


def test_weights_are_unknown_until_they_were_read_once(model, state):
    before = content.read(str(model), state)
    assert before["weights"] is None and "not verified yet" in content.not_verified(str(model))
    known = verified(model, state)
    assert known["weights"] and not content.contradict(before, known) and content.unread(str(model), state) == []
    read = []
    original, content_open = content.sha256_gently, lambda file: read.append(file) or original(file)
    verify.sha256_gently = content_open
    try:
        assert verified(model, state) == known and read == [], "once"
    finally:
        verify.sha256_gently = original


def test_other_weights_of_the_same_size_and_time_are_unknown_and_then_another_content(model, state):
    known = verified(model, state)
    shard = next(model.glob("*.safetensors"))
    other_bytes(shard)
    assert content.read(str(model), state)["weights"] is None, "a file's change time cannot be set back"
    assert content.contradict(known, verified(model, state))


def test_weights_that_were_brought_are_known_by_their_record(model, state):
    files = {one["name"]: one for one in store.list_files(str(model))}
    entries = {name: {"size": one["size"], "mtime_ns": one["mtime_ns"], "sha256": file_sha256(model / name)} for name, one in files.items()}
    store.write_record(str(model), {"repo_id": "o/m", "files": entries})
    brought = content.read(str(model), state)
    assert brought["weights"] == verified(model, state + "2")["weights"] and brought == content.read(str(model), state + "3")
    other_bytes(next(model.glob("*.safetensors")), keep_time=False)
    assert content.read(str(model), state)["weights"] is None
    assert content.contradict(brought, verified(model, state))


def test_a_record_of_any_shape_is_no_traceback(model, state):
    for record in ({"files": ["x"]}, {"files": {"model.safetensors": 1}}, {"files": {"model.safetensors": {"size": "x"}}}):
        store.write_record(str(model), record)
        assert content.read(str(model), state)["weights"] is None
    sums = content.Sums(str(model), state)
    os.makedirs(os.path.dirname(sums.path))
    for text in ("[]", "{", '{"files": []}', '{"files": {"model.safetensors": 1}}'):
        Path(sums.path).write_text(text)
        assert content.read(str(model), state)["weights"] is None


def test_what_cannot_be_read_is_said(model, state, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(content, "file_sha256", refuse)
    with pytest.raises(GB10Error, match=r"cannot be read \(Permission denied\)"):
        content.read(str(model), state)


def test_what_is_no_file_is_not_waited_for(model, state):
    os.mkfifo(model / "pipe.json")
    os.mkfifo(model / "pipe.safetensors")
    assert content.read(str(model), state)["small"] and {file.name for file in content.unread(str(model), state)} == {"model.safetensors"}


def test_the_reading_goes_on_by_itself_last_in_every_queue(model, state):
    """As the module starts it: a process that has ended leaves one behind that works, and a second start leaves it alone."""
    text = f"from ansible_collections.gb10.vllm.plugins.module_utils._model import verify; print(verify.start({state!r}, [{str(model)!r}]))"
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".ansible/collections")}
    done = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "True\n"
    verify.wait(state, [str(model)], 20)
    assert content.read(str(model), state)["weights"] and verify.start(state, [str(model)]) is False


def test_a_second_start_waits_for_nobody(model, state):
    os.makedirs(os.path.join(state, "models"))
    lock = os.open(os.path.join(state, "models", "lock"), os.O_RDWR | os.O_CREAT)
    verify.fcntl.flock(lock, verify.fcntl.LOCK_EX)
    begun = time.monotonic()
    assert verify.start(state, [str(model)]) is False and time.monotonic() - begun < 2
    os.close(lock)


def test_what_is_known_of_a_directory_that_is_gone_goes(model, state, tmp_path):
    verified(model, state)
    model.rename(tmp_path / "elsewhere")
    verify.read_all(state, [])
    assert os.listdir(os.path.join(state, "models")) == []
