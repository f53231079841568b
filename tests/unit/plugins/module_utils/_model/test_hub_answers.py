# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model looked at over the network, from answers made of memory: what is asked, what the facts say, what each refusal says; and where its cache is."""

from __future__ import annotations

import email.message
import io
import json
import os
import struct
import urllib.error

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import directory, hub, hub_cache
from checkpoints import TINY_LLAMA

COMMIT = "c" * 40
HEAD = json.dumps({"model.embed_tokens.weight": {"dtype": "BF16", "shape": [512, 64], "data_offsets": [0, 65536]}}).encode()
SHARD = struct.pack("<Q", len(HEAD)) + HEAD + bytes(65536)


def headers(**given):
    made = email.message.Message()
    for name, value in given.items():
        made[name.replace("_", "-")] = value
    return made


class Answer(io.BytesIO):
    def __init__(self, body, status=200, **given):
        super().__init__(body)
        self.status, self.headers = status, headers(**given)


@pytest.fixture
def served(monkeypatch):
    """A hub that has these files; ``served.asked``: (path, range); ``served.refuses``: HTTP errors first."""
    config = json.dumps(TINY_LLAMA).encode()
    files = {"config.json": config, "model.safetensors": SHARD, "README.md": b"read", "tokenizer.json": b"{}"}
    made = hub.Hub("http://hub/", "", 3.0, {}, 0.0)
    made.asked, made.refuses, made.files = [], [], files
    siblings = [{"rfilename": name, "size": len(body), **({"lfs": {"sha256": "a" * 64}} if name.startswith("model") else {})} for name, body in files.items()]
    made.listing = {"sha": COMMIT, "siblings": siblings, "gated": "auto"}

    def open_it(url, byte_range=""):
        path = url.removeprefix("http://hub")
        made.asked.append((path, byte_range))
        if made.refuses:
            raise made.refuses.pop(0)
        if path.startswith("/api"):
            return Answer(json.dumps(made.listing).encode())
        body = files[path.rpartition("/")[2]]
        if not byte_range:
            return Answer(body)
        first, last = map(int, byte_range.removeprefix("bytes=").split("-"))
        return Answer(body[first : last + 1], 206, Content_Range=f"bytes {first}-{last}/{len(body)}")

    monkeypatch.setattr(made, "open", open_it)
    return made


API = "/api/models/acme/tiny/revision/a%2Fb?blobs=true"


def test_what_is_asked_of_a_hub_and_what_is_told_of_the_model(served, monkeypatch):
    monkeypatch.setattr(hub, "FIRST_READ", 16)
    info = served.inspect("acme/tiny", "a/b")
    place = f"/acme/tiny/resolve/{COMMIT}"
    assert served.asked[0] == (API, "") and (f"{place}/config.json", "") in served.asked
    ranges = [byte_range for path, byte_range in served.asked if path == f"{place}/model.safetensors"]
    assert ranges == ["bytes=0-15", f"bytes=16-{8 + len(HEAD) - 1}"]
    told = {key: info[key] for key in ("present", "source", "repo_id", "revision", "gated", "download", "files")}
    wanted = len(served.files["config.json"]) + len(served.files["tokenizer.json"]) + len(SHARD)
    assert told == {
        "present": False, "source": "hub", "repo_id": "acme/tiny", "revision": COMMIT, "gated": True, "download": {"bytes": wanted, "files": 3,
        "seconds_at_1_gbit": 0},
        "files": [{**info["files"][0], "name": "model.safetensors", "sha256": "a" * 64}],
    }  # fmt: skip
    assert info["config"] == TINY_LLAMA and info["weights"]
    del served.listing["sha"]
    served.listing["gated"] = False
    again = served.inspect("acme/tiny")
    assert (again["revision"], again["gated"]) == ("main", False)


def test_a_listed_index_says_which_shards_count(served):
    served.files |= {
        "model-1.safetensors": SHARD,
        "model.safetensors.index.json": json.dumps({"weight_map": {"model.embed_tokens.weight": "model-1.safetensors"}}).encode(),
    }
    served.listing["siblings"] += [{"rfilename": name, "size": len(served.files[name])} for name in ("model-1.safetensors", "model.safetensors.index.json")]
    assert [one["name"] for one in served.inspect("acme/tiny")["files"]] == ["model-1.safetensors"]
    served.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"x": "../model-1.safetensors"}}).encode()
    with pytest.raises(GB10Error, match="http://hub/acme/tiny/model.safetensors.index.json"):
        served.inspect("acme/tiny")


def refused(code, reason="no", **given):
    return urllib.error.HTTPError("http://hub/x?y=1", code, reason, headers(**given), io.BytesIO())


@pytest.mark.parametrize(
    ("errors", "token", "asked", "said"),
    [
        ([refused(500, "sick") for _number in range(9)], "", hub.ATTEMPTS, f"answered 500 sick ({hub.ATTEMPTS} attempts): check the network"),
        ([TimeoutError()] * 9, "", hub.ATTEMPTS, "did not answer within 3 s"),
        ([urllib.error.URLError(OSError("no route"))] * 9, "", hub.ATTEMPTS, "cannot be reached (no route)"),
        ([refused(404)], "", 1, "acme/tiny or the file is not there on http://hub (404 for /api/models/acme/tiny/revision/a%2Fb)"),
        ([refused(404, X_Error_Code="RevisionNotFound")], "", 1, "acme/tiny has no such revision on http://hub"),
        ([refused(403)], "", 1, f"accept its terms on its page there and {hub.GIVE_A_TOKEN}"),
        (
            [refused(401, X_Error_Code="GatedRepo")],
            "t",
            1,
            "acme/tiny needs a token: it is gated or private on http://hub; accept its terms on its page there and use a token",
        ),
        ([refused(401)], "", 1, f"acme/tiny needs a token, or does not exist on http://hub: check the spelling; if it is right, {hub.GIVE_A_TOKEN}"),
        ([refused(401)], "t", 1, "the given token was not accepted, renew it"),
        ([refused(418, "teapot")], "", 1, f"http://hub{API} answered 418 teapot: check the repo id and HF_ENDPOINT"),
        ([refused(429), refused(408)], "", 3, ""),
    ],
)
def test_what_a_hub_refuses_is_said_and_only_what_may_pass_is_asked_again(served, errors, token, asked, said):
    served.refuses, served.token = list(errors), token
    if said:
        with pytest.raises(GB10Error) as caught:
            served.ask("acme/tiny", "a/b")
        assert said in str(caught.value)
    else:
        assert served.ask("acme/tiny", "a/b") == (f"http://hub{API}", served.listing)
    assert len(served.asked) == asked


def test_what_is_no_hub_and_what_is_too_large_is_refused(served, monkeypatch):
    with pytest.raises(GB10Error, match="'tiny' is not a Hugging Face repository: it has the form ORG/NAME"):
        served.ask("tiny", "main")
    served.listing = {"siblings": {}}
    with pytest.raises(GB10Error, match="answered without a list of files: is http://hub a Hugging Face hub\\?"):
        served.ask("acme/tiny", "main")
    monkeypatch.setattr(served, "open", lambda *_given: Answer(bytes(2**20 + 1)))
    assert len(served._get("u", "r", 2**20 + 1)[0]) == 2**20 + 1
    with pytest.raises(GB10Error, match="^u is larger than 1 MiB, which no real model needs"):
        served._get("u", "r", 2**20)


@pytest.mark.parametrize(("first", "status", "given", "found"), [
    (2, 200, {"Content_Length": "6"}, (b"cd", 6)), (0, 200, {"Content_Length": "x"}, (b"ab", None)), (2, 206, {"Content_Range": "bytes 2-3/9"}, (b"ab", 9)),
    (2, 206, {}, (b"ab", None)),
])  # fmt: skip
def test_a_hub_without_ranges_is_read_from_where_the_range_would_begin(served, monkeypatch, first, status, given, found):
    monkeypatch.setattr(served, "open", lambda *_given: Answer(b"abcdef", status, **given))
    assert served._get("u", "r", 2, first=first, partial=True) == found


# ---- the cache of huggingface_hub, and a directory that is not there


def cached(root, name, *commits, main=""):
    for number, commit in enumerate(commits):
        (root / name / "snapshots" / commit).mkdir(parents=True)
        os.utime(root / name / "snapshots" / commit, (number + 1, number + 1))
    if main:
        (root / name / "refs").mkdir()
        (root / name / "refs/main").write_text(f"{main}\n")


def test_the_snapshot_that_counts(tmp_path):
    cached(tmp_path, "models--acme--a", "old", "new")
    cached(tmp_path / "hub", "models--acme--b", "x", "y", main="x")
    cached(tmp_path, "models--acme--c", "x", main="gone")
    (tmp_path / "models--acme--a/snapshots/file").touch()
    home = f"{tmp_path}/models--acme--a"
    assert hub_cache.of_repository(f"{tmp_path}/acme/a") == hub_cache.snapshot(home) == f"{home}/snapshots/new"
    assert hub_cache.of_repository(f"{tmp_path}/acme/b") == f"{tmp_path}/hub/models--acme--b/snapshots/x"
    assert hub_cache.of_repository(f"{tmp_path}/acme/c") == f"{tmp_path}/models--acme--c/snapshots/x"
    assert hub_cache.of_repository(f"{tmp_path}/acme/d") == hub_cache.snapshot(f"{tmp_path}/nowhere") == ""
    said = []
    for path in (tmp_path, tmp_path / "hub", tmp_path / "models--acme--a", tmp_path / "models--acme--a/snapshots", tmp_path / "hub/models--acme--b/refs"):
        try:
            said.append(hub_cache.check_level(str(path), os.listdir(path)))
        except GB10Error as error:
            said.append(str(error))
    cache = "is the cache of huggingface_hub, which holds many models: name the snapshot directory of one as `model`, such as"
    repository = "is a repository in the cache of huggingface_hub and not the model itself: name its snapshot directory as `model`:"
    assert said == [
        f"{tmp_path} {cache} {home}/snapshots/new", f"{tmp_path}/hub {cache} {tmp_path}/hub/models--acme--b/snapshots/x",
        f"{home} {repository} {home}/snapshots/new",
        f"{home}/snapshots {repository} {home}/snapshots/new", None,
    ]  # fmt: skip
    hub_cache.check_level(home, ["snapshots", "config.json"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [("qwen3-8b", "Qwen3-8B-FP8"), ("Qwen3-8B-FP9", "Qwen3-8B-FP8"), ("my-Qwen3-8B-FP8-and-more-than-that-by-far", "Qwen3-8B-FP8"), ("llama", "")],
)
def test_a_directory_that_is_not_there_names_the_one_that_was_meant(tmp_path, name, meant):
    (tmp_path / "Qwen3-8B-FP8").mkdir()
    (tmp_path / "llama.txt").touch()
    said = directory._unknown(f"{tmp_path}/{name}")
    tail = f"; did you mean {tmp_path}/{meant}?" if meant else ": check the name or download the model there"
    assert said == f"the model directory {tmp_path}/{name} does not exist{tail}"
    assert directory._unknown("/nowhere/x") == "the model directory /nowhere/x does not exist (nor does /nowhere): check the path or download the model there"
