# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Downloads from a hub over real HTTP, with everything going wrong that does."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._model.download import Download, choose, read_environment
from model_hub import COMMIT, ModelHub

REPO = "acme/tiny"
MODULE = Path(__file__).resolve().parents[2] / "plugins/modules/model_fetch.py"


def shard(path: Path, payload: int, seed: int) -> None:
    data = random.Random(seed).randbytes(payload)
    header = json.dumps({"w": {"dtype": "U8", "shape": [payload], "data_offsets": [0, payload]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "hub"
    (root / "1_Pooling").mkdir(parents=True)
    (root / "original").mkdir()
    for number in (1, 2, 3):
        shard(root / f"model-0000{number}-of-00003.safetensors", 3_000_000, number)
    for name, text in (("config.json", '{"architectures": ["X"]}'), ("tokenizer.json", "{}"), ("1_Pooling/config.json", "{}"), ("README.md", "x")):
        (root / name).write_text(text)
    (root / "original/params.json").write_text("{}")
    (root / "pytorch_model.bin").write_bytes(b"x" * 1000)
    return root


@pytest.fixture
def hub(repo: Path):
    server = ModelHub({REPO: repo, "acme/gated": repo}, token="hf_secret", gated=("acme/gated",))
    yield server
    server.close()


def download(hub: ModelHub, **more) -> Download:
    return Download({"HF_ENDPOINT": hub.url, **more.pop("env", {})}, pause_s=0.01, timeout_s=5, **more)


def same(one: Path, other: Path, names: list[str]) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


NEEDED = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)] + ["config.json", "tokenizer.json", "1_Pooling/config.json"]


def test_what_vllm_needs_arrives_verified_and_recorded(hub, repo, tmp_path):
    final = tmp_path / "models" / "acme" / "tiny"
    result = download(hub).fetch(REPO, "main", str(final))
    assert result["changed"] and result["revision"] == COMMIT
    assert same(repo, final, NEEDED) and not (final / "pytorch_model.bin").exists() and not (final / "original").exists()
    record = model_store.read_record(str(final))
    assert record["revision"] == COMMIT and record["repo_id"] == REPO
    assert record["files"]["config.json"]["sha256"] == hashlib.sha256((repo / "config.json").read_bytes()).hexdigest()
    assert not Path(f"{final}.partial").exists()


def test_a_second_fetch_of_a_commit_asks_nobody(hub, tmp_path):
    final = tmp_path / "m"
    download(hub).fetch(REPO, "main", str(final))
    hub.log.clear()
    assert download(hub).fetch(REPO, COMMIT, str(final))["changed"] is False
    assert hub.log == []
    assert download(hub).fetch(REPO, "main", str(final))["changed"] is False
    assert len(hub.log) == 1, "a branch is looked up once and no file is asked for"


def test_connections_that_break_are_continued_with_ranges(hub, repo, tmp_path):
    hub.cut_after = [1_000_000, 700_000, 100]
    result = download(hub).fetch(REPO, "main", str(tmp_path / "m"), connections=1)
    assert result["changed"] and same(repo, tmp_path / "m", NEEDED)
    assert sum(one["range"] is not None for one in hub.requests("/tiny/model")) == 3, "each break was continued where it was"


def test_a_server_without_ranges_is_read_again_from_the_start(hub, repo, tmp_path):
    hub.cut_after, hub.ranges = [1_000_000], False
    download(hub).fetch(REPO, "main", str(tmp_path / "m"), connections=1)
    assert same(repo, tmp_path / "m", NEEDED)


def test_a_busy_hub_is_asked_again(hub, repo, tmp_path):
    hub.fail_next = 3
    download(hub).fetch(REPO, "main", str(tmp_path / "m"))
    assert same(repo, tmp_path / "m", NEEDED)


def test_a_hub_that_stays_away_gives_one_sentence_and_the_next_run_goes_on(hub, repo, tmp_path):
    hub.fail_next, hub.cut_after = 0, [2_000_000]
    real = hub._file

    def once(request, path):
        if not hub.cut_after:
            hub.fail_next = 1000
        real(request, path)

    hub._file = once
    hub.content.shutdown()
    hub.content.server_close()
    hub.content = hub._serve(once)
    with pytest.raises(GB10Error, match=r"stopped at 2\.0 of 3\.0 MB.*503.*3 attempts in a row.*run again to go on"):
        download(hub, retries=3).fetch(REPO, "main", str(tmp_path / "m"), connections=1)
    assert not (tmp_path / "m").exists()
    hub.cut_after, hub.fail_next = [10**9], 0
    result = download(hub).fetch(REPO, "main", str(tmp_path / "m"), connections=1)
    assert same(repo, tmp_path / "m", NEEDED)
    total = sum((repo / name).stat().st_size for name in [*NEEDED, "README.md"])
    assert result["downloaded_bytes"] == total - 2_000_000


def test_a_wrong_checksum_is_told_and_nothing_becomes_visible(hub, tmp_path):
    hub.corrupt = {"model-00002-of-00003.safetensors"}
    with pytest.raises(GB10Error, match=r"model-00002-of-00003\.safetensors of acme/tiny arrived twice with checksum .* promises .*not visible"):
        download(hub).fetch(REPO, "main", str(tmp_path / "m"))
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "m.partial/model-00002-of-00003.safetensors").exists()


def test_a_small_file_is_verified_by_its_git_id(hub, tmp_path):
    hub.corrupt = {"config.json"}
    with pytest.raises(GB10Error, match=r"config\.json of acme/tiny arrived twice"):
        download(hub).fetch(REPO, "main", str(tmp_path / "m"))


def test_gated_unknown_and_misspelt_are_told_apart(hub, tmp_path):
    path = str(tmp_path / "m")
    with pytest.raises(GB10Error, match="acme/gated needs a token.*accept its terms.*give a token"):
        download(hub, env={"HOME": str(tmp_path)}).fetch("acme/gated", "main", path)
    with pytest.raises(GB10Error, match="acme/nothing needs a token, or does not exist"):
        download(hub, env={"HOME": str(tmp_path)}).fetch("acme/nothing", "main", path)
    with pytest.raises(GB10Error, match="acme/tiny has no such revision"):
        download(hub).fetch(REPO, "v9", path)
    with pytest.raises(GB10Error, match="has the form ORG/NAME"):
        download(hub).fetch("../etc", "main", path)
    assert not os.path.exists(path)


def test_the_token_opens_the_gate_and_stays_with_the_hub(hub, repo, tmp_path):
    download(hub, env={"HF_TOKEN": "hf_secret"}).fetch("acme/gated", "main", str(tmp_path / "m"))
    assert same(repo, tmp_path / "m", NEEDED)
    at_content = [one for one in hub.log if one["path"].startswith("/acme/gated/") and "resolve" not in one["path"]]
    assert at_content and all(one["authorization"] is None for one in at_content)


def test_a_new_revision_fetches_only_what_changed_and_keeps_the_old_one(hub, repo, tmp_path):
    final = tmp_path / "m"
    download(hub).fetch(REPO, "main", str(final))
    shard(repo / "model-00003-of-00003.safetensors", 3_000_000, 99)
    hub.commit = "beef" + "0" * 36
    hub.log.clear()
    result = download(hub).fetch(REPO, "main", str(final))
    assert result["revision"] == hub.commit and result["previous"] == f"{final}@{COMMIT[:14]}"
    assert same(repo, final, NEEDED)
    fetched = {one["path"].rpartition("/")[2] for one in hub.log if "resolve" not in one["path"] and "api" not in one["path"]}
    assert "model-00003-of-00003.safetensors" in fetched and "model-00001-of-00003.safetensors" not in fetched
    assert (Path(result["previous"]) / "model-00001-of-00003.safetensors").samefile(final / "model-00001-of-00003.safetensors")


def test_a_revision_that_is_still_there_is_not_downloaded_again(hub, repo, tmp_path):
    final, first = tmp_path / "m", COMMIT
    download(hub).fetch(REPO, "main", str(final))
    old = final.resolve()
    shard(repo / "model-00003-of-00003.safetensors", 3_000_000, 99)
    hub.commit = "beef" + "0" * 36
    new = download(hub).fetch(REPO, "main", str(final))["directory"]
    assert str(final.resolve()) == new == f"{final}@{hub.commit[:14]}" and (old / "config.json").exists()
    hub.commit = first
    hub.log.clear()
    planned = download(hub).fetch(REPO, first, str(final), check=True)
    assert (planned["changed"], planned["directory"], str(final.resolve())) == (True, str(old), new), "check mode moves nothing"
    back = download(hub).fetch(REPO, first, str(final))
    assert (back["changed"], back["downloaded_bytes"], back["directory"], back["previous"]) == (True, 0, str(old), new)
    assert final.resolve() == old and all("api" in one["path"] for one in hub.log)


def test_a_directory_of_the_users_own_is_left_alone(hub, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/mine").write_text("x")
    assert download(hub).fetch(REPO, "main", str(tmp_path / "m"))["changed"] is False
    assert hub.log == [] and (tmp_path / "m/mine").exists()


def test_a_disk_that_fills_up_is_told_and_the_rest_is_kept(hub, repo, tmp_path):
    """A real file system of 5 MB in place of the disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(GB10Error, match=r"GiB free and .* needs"):
            download(hub).fetch(REPO, "main", str(disk / "m"))
        real, model_store.check_space = model_store.check_space, lambda *_args: None
        try:
            with pytest.raises(GB10Error, match=r"became full while model-.*what has arrived is kept"):
                download(hub).fetch(REPO, "main", str(disk / "m"), connections=1)
        finally:
            model_store.check_space = real
        assert not (disk / "m").exists() and (disk / "m.partial").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_module_reads_the_token_from_a_private_file_only(hub, repo, tmp_path):
    env_file = tmp_path / "hub.env"
    env_file.write_text(f"HF_TOKEN=hf_secret\nHF_ENDPOINT={hub.url}\nPATH=/evil\n")
    env_file.chmod(0o644)
    with pytest.raises(GB10Error, match="chmod 600"):
        read_environment(str(env_file))
    env_file.chmod(0o600)
    assert read_environment(str(env_file)) == {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": hub.url}
    arguments = {"repo_id": "acme/gated", "path": str(tmp_path / "m"), "env_file": str(env_file), "state_dir": str(tmp_path / "state")}
    collections = MODULE.parents[2] / ".ansible/collections"
    done = subprocess.run(
        [sys.executable, str(MODULE)], input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(collections)}, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["changed"] and result["revision"] == COMMIT, done.stderr
    assert "hf_secret" not in done.stdout + done.stderr
    progress = [json.loads(line) for line in (tmp_path / "state/transfer/download.jsonl").read_text().splitlines()]
    assert progress[0]["phase"] == "list" and progress[-1]["phase"] == "finished"


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["model.safetensors", "config.json", "onnx/model.onnx", "tf_model.h5", "logo.png"], {"model.safetensors", "config.json"}),
        (
            ["consolidated.safetensors", "params.json", "model-1.safetensors", "model.safetensors.index.json", "config.json"],
            {"consolidated.safetensors", "params.json", "config.json"},
        ),
    ],
)
def test_one_layout_is_chosen(names, wanted):
    assert set(choose(dict.fromkeys(names, 1), "x")) == wanted
