# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever shape a file, an answer or a fact has that somebody else wrote: it ends in a value or in a sentence, never in a traceback."""

from __future__ import annotations

import contextlib
import json

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.gb10.vllm.plugins.module_utils._box import records, run_lock
from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.module_utils._engine import readiness
from ansible_collections.gb10.vllm.plugins.module_utils._engine.api import json_object
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._model import store
from ansible_collections.gb10.vllm.plugins.module_utils._model.download import Download
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import client, directories, images, index, wire
from ansible_collections.gb10.vllm.plugins.plugin_utils import _bundle
from ansible_collections.gb10.vllm.plugins.plugin_utils._as_filter import as_filter
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import knowledge
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import lock_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(10**400) | st.just("a" * 64)


def shaped(*names: str) -> st.SearchStrategy:
    """JSON of any shape that often has the names which the reader looks for."""
    keys = st.sampled_from(names) | st.text(max_size=6)
    return st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=12)


@contextlib.contextmanager
def in_a_sentence():
    try:
        yield
    except GB10Error as error:
        assert str(error) and "Traceback" not in str(error)


DEEP = "[" * 100_000


@quick
@given(shaped("run", "refreshed_at", "ttl_s", "acquired_at"))
def test_the_lock_of_a_box(tmp_path_factory, value):
    place = tmp_path_factory.mktemp("lock")
    (place / "run.lock").write_text(json.dumps(value))
    with in_a_sentence():
        holder = run_lock.read(str(place))
        run_lock.standing(holder, "r", 1.0)
        run_lock.acquire(str(place), {"run": "r"}, 10.0, None, {})
        run_lock.release(str(place), "r")


@quick
@given(shaped("spec", "container", "applied", "facts"), st.sampled_from(records.RECORD_KINDS))
def test_records_of_servers(tmp_path_factory, value, kind):
    place = tmp_path_factory.mktemp("records")
    (place / "servers/a").mkdir(parents=True)
    (place / f"servers/a/{kind}.json").write_text(json.dumps(value))
    found = records.read_records(str(place))
    run_lock.moved_on({"a": "x"}, found)


@quick
@given(shaped("names", "metadata", "damaged", "image_id", "inputs"))
def test_the_record_of_images(tmp_path_factory, value):
    place = tmp_path_factory.mktemp("images")
    (place / "images.json").write_text(json.dumps(value))
    record = Record(place)
    with in_a_sentence():
        record.inputs("n", "i")
        record.versions("i")
        record.made("n", "i", {}, {}, ["i"])
        record.keep_damage("i", "why")
        record.forget_damage("i")


@quick
@given(shaped("files", "w", "size", "sha256", "mtime_ns", "repo_id", "revision", "arriving"))
def test_the_record_of_a_model(tmp_path_factory, value):
    place = tmp_path_factory.mktemp("model") / "m"
    place.mkdir()
    (place / "w").write_bytes(b"x")
    (place / store.RECORD).write_text(json.dumps(value))
    with in_a_sentence():
        store.identity(str(place))
        store.content_of(store.list_files(str(place)))
        store.prepare_partial(str(place), "i")
        store.reuse(str(place) + ".partial", str(place), [{"name": "w", "size": 1, "sha256": "f"}])
        store.adopt(str(place), {"w": {"size": 1, "sha256": "f"}})


@quick
@given(shaped("format", "files", "size", "sha256", "w", "../x"))
def test_the_manifest_of_a_bundle(tmp_path_factory, value):
    place = tmp_path_factory.mktemp("bundle")
    (place / "w").write_bytes(b"x")
    for one in (value, {"format": _bundle.FORMAT, "files": value}, {"format": _bundle.FORMAT, "files": {"w": value}}):
        (place / "manifest.json").write_text(json.dumps(one))
        with in_a_sentence():
            _bundle.read_manifest(str(place), contents=True)


@quick
@given(shaped("gb10_lock", "vars", "format", "boxes", "deployments", "servers", "deployment", "planned", "container", "image", "manifest", "spec"))
def test_a_lock_file(value):
    for one in (value, {"gb10_lock": {"vars": value}}, {"gb10_lock": {"vars": {"format": 1, "boxes": value, "deployments": value}}}):
        with contextlib.suppress(yaml.YAMLError, OverflowError):
            text = yaml.safe_dump(one)
            with in_a_sentence():
                lock_file.load(text, "gb10.lock.yml")


@quick
@given(st.text(max_size=80))
def test_a_lock_file_that_is_no_yaml(text):
    with in_a_sentence():
        lock_file.load(text, "gb10.lock.yml")


@quick
@given(shaped("data", "id", "max_model_len", "choices", "message", "text", "content", "usage", "completion_tokens", "embedding"))
def test_what_the_api_answers(value):
    body = json_object(json.dumps(value))
    readiness.listed_model(body, "m")
    readiness.tokens_of(body)
    for kind in ("chat", "completion", "embedding"):
        text = readiness.answer_text(kind, body)
        assert text is None or isinstance(text, str)
    readiness.error_text(json.dumps(value))


@quick
@given(
    st.dictionaries(st.sampled_from(["num_gpu_blocks", "block_size", "kv_cache_max_concurrency", "cache_dtype"]), st.text(max_size=30)), st.text(max_size=40)
)
def test_what_metrics_say(labels, more):
    inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
    engine_log.parse_cache_config(f"vllm:cache_config_info{{{inner}{more}}} 1.0\n{more}")


@quick
@given(shaped("sha", "siblings", "rfilename", "size", "lfs", "sha256", "blobId", "gated"))
def test_what_the_hub_answers(value):
    hub = Download({})
    for one in (value, {"sha": "0" * 40, "siblings": value}, {"sha": "0" * 40, "siblings": [value]}):
        hub._get = lambda *_words, one=one, **_more: (json.dumps(one).encode(), None)  # type: ignore[method-assign]
        with in_a_sentence():
            hub.listing("a/b", "main")
        with in_a_sentence():
            hub.inspect("a/b")


@quick
@given(shaped("items", "meta", "name", "size", "sha256", "mtime_ns", "record", "identity", "layers", "sizes", "others", "index", "config", "blob", "diff_id"))
def test_what_another_box_says(value):
    share = {"identity": "i", "content": "c"}
    for one in (
        value,
        {"items": value, "meta": value},
        {"items": [value], "meta": value},
        {"items": [], "meta": {"identity": "i", "layers": value, "sizes": value}},
    ):
        try:
            found = client.checked_list(one)
        except (ValueError, GB10Error):
            continue
        for room in (directories.Directories, images.Images):
            with contextlib.suppress(wire.Gone):
                room.judge(share)(found)
    with contextlib.suppress(ValueError):
        wire.Request.parse(json.dumps(value).encode())
    with contextlib.suppress(wire.Gone):
        wire.parse_header((json.dumps(value) + "     ").encode()[: wire.FRAME_BYTES])


@quick
@given(shaped("state", "pid", "reason", "items", "roots"))
def test_descriptions_of_shares(tmp_path_factory, value):
    place = tmp_path_factory.mktemp("shares")
    (place / "shares/x").mkdir(parents=True)
    (place / "shares/x/index.json").write_text(json.dumps(value))
    list(index.workers(str(place)))


@quick
@given(shaped("id", "stage", "signature", "example", "cause", "fix", "source", "auto", "level", "unless", "phases", "priority"))
def test_a_users_file_of_diagnoses(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("own") / "own.yml"
    with contextlib.suppress(yaml.YAMLError, OverflowError):
        path.write_text(yaml.safe_dump(value))
        with in_a_sentence():
            knowledge.load([str(path)])


@quick
@given(shaped("a", "port", "certificate", "addresses", "shares", "m", "identity", "content", "layers", "problem"))
def test_what_boxes_answer_when_they_open(value):
    share = {"key": "m", "kind": "directory", "reference": "a", "holders": ["a"], "targets": ["b"], "places": {"a": "/m", "b": "/m"}}
    plan = as_filter(distribution.instructions, "distribution_plan")
    for one in (value, {"a": value, "b": value}, {"a": {"shares": value}, "b": {"shares": value}}):
        with contextlib.suppress(AnsibleFilterError):
            plan([share], one, {})


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 50_000, "\x00", "\ufeff{}", "NaN", "1e999", '{"run": 1e999}'])
def test_what_is_nested_without_end(tmp_path, text):
    (tmp_path / "servers/a").mkdir(parents=True)
    for name in ("run.lock", "servers/a/deployment.json", "images.json", "manifest.json", store.RECORD):
        (tmp_path / name).write_text(text)
    assert run_lock.read(str(tmp_path)) is None
    assert records.read_records(str(tmp_path))["a"].get("deployment", {}) in ({}, float("inf")) or text.startswith('{"run"') or text == "NaN"
    assert Record(tmp_path).read() == {} or text.startswith("{")
    assert store.recorded_files(str(tmp_path)) == {}
    assert json_object(text) == {} or text.startswith("{")
    for load in (lambda: _bundle.read_manifest(str(tmp_path)), lambda: lock_file.load(text, "l")):
        with pytest.raises(GB10Error):
            load()
