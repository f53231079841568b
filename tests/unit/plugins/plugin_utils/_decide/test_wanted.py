# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users write, and the sentences they get for mistakes."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import without_secrets
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import (
    directory_mistakes,
    image_mistakes,
    key_mistakes,
    normalise,
    rollout_mistakes,
    unit_word,
    unknown_variables,
)

SERVER = {"name": "devstral", "model": "devstral-small-2-24b/safetensors"}


def test_defaults_are_filled_in():
    (server,) = normalise([SERVER], "/srv/models")
    assert server["port"] == 8000
    assert server["address"] == "127.0.0.1"
    assert server["model_path"] == "/srv/models/devstral-small-2-24b/safetensors"
    assert server["served_model_name"] == "safetensors"
    assert server["key_policy"] == "generate"


def test_an_absolute_model_stays_where_it_is():
    (server,) = normalise([dict(SERVER, model="/data/x/")], "/srv/models")
    assert (server["model_path"], server["repo_id"], server["served_model_name"]) == ("/data/x", None, "x")


@pytest.mark.parametrize(
    ("changes", "allow_open", "policy"),
    [
        ({"address": "0.0.0.0"}, False, "generate"),
        ({"address": "0.0.0.0"}, True, "none"),
        ({"address": "0.0.0.0", "api_key": "k"}, False, "given"),
        ({"address": "::1"}, False, "generate"),
        ({"address": "::1"}, True, "none"),
        ({"api_key": ""}, False, "generate"),
        ({"api_key": "k"}, True, "given"),
        ({"api_key": "k"}, False, "given"),
    ],
)
def test_every_server_gets_a_key_unless_it_is_allowed_to_be_open(changes, allow_open, policy):
    assert normalise([dict(SERVER, **changes)], "/m", allow_open)[0]["key_policy"] == policy


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([{"name": "Dev stral", "model": "m"}], "name: Dev stral"),
        ([{"name": "a"}], "`model` is missing"),
        ([dict(SERVER, port=70000)], "70000"),
        ([dict(SERVER, port="http")], "http"),
        ([dict(SERVER, address="everywhere")], "everywhere"),
        ([SERVER, dict(SERVER, port=8001)], "the name 'devstral'"),
        ([dict(SERVER, env={"VLLM_API_KEY": "k"})], "give the key as `api_key`"),
        ([dict(SERVER, tls={"certificate": "/c.pem"})], "`tls` must name `certificate` and `key`"),
        ([dict(SERVER, tls={"certificate": "/c.pem", "key": "k.pem"})], "absolute paths"),
        ([dict(SERVER, tls={"certificate": "/c.pem", "key": "/k:rw"})], "without a colon"),
        ([dict(SERVER, tls="yes")], "`tls` must name"),
        ([dict(SERVER, tls={"certificate": "/c.pem", "key": "/k.pem"}, args={"--ssl-certfile": "/x"})], "keep one of them"),
        ([SERVER, dict(SERVER, name="other")], "the port 8000"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_it(servers, words):
    with pytest.raises(GB10Error, match=words):
        normalise(servers, "/srv/models")


@pytest.mark.parametrize("name", ["a b", "a/../../x", "..", "a/b", "a\n", "a\nUser=root", "-a", "a-", "a.b", "A", "a" * 41])
def test_a_name_that_could_leave_its_directory_or_its_line_in_a_unit_is_refused(name):
    with pytest.raises(GB10Error, match="inner dashes"):
        normalise([dict(SERVER, name=name)], "/srv/models")


@pytest.mark.parametrize("name", ["a", "a1", "a-b", "0", "a" * 40])
def test_a_plain_name_is_taken(name):
    assert normalise([dict(SERVER, name=name)], "/srv/models")[0]["name"] == name


def test_secrets_are_left_out():
    assert without_secrets(dict(SERVER, api_key="k", env={"HF_TOKEN": "t"})) == SERVER


def test_a_typo_is_answered_with_the_nearest_name():
    (sentence,) = unknown_variables(["gb10_severs", "gb10_image"], ["gb10_servers", "gb10_image"])
    assert "did you mean gb10_servers?" in sentence


@pytest.mark.parametrize("batches", [[1, "25%", "100%"], 3, "50%", ["2", 5], [1]])
def test_batches_that_ansible_takes(batches):
    assert rollout_mistakes(batches) == []


@pytest.mark.parametrize("batch", [0, -1, "0%", "101%", "-5%", "12.5%", "half", "", "%", 1.5, True, None, {"first": 1}])
def test_what_is_no_batch_is_named(batch):
    (sentence,) = rollout_mistakes([1, batch])
    assert repr(batch) in sentence and "as in [1, '25%', '100%']" in sentence


def test_no_batches_at_all():
    (sentence,) = rollout_mistakes([])
    assert "gb10_rollout is empty" in sentence


STRONG = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, []),
        ({"gb10_router_key": "", "gb10_metrics_key": None}, []),
        ({"gb10_router_key": STRONG, "gb10_metrics_key": STRONG[::-1], "gb10_api_key": "short is yours"}, []),
        ({"gb10_router_key": STRONG[:31]}, ["gb10_router_key must have at least 32"]),
        ({"gb10_metrics_key": "a b" * 20}, ["gb10_metrics_key must have"]),
        ({"gb10_metrics_key": "schlüssel" * 9}, ["gb10_metrics_key must have"]),
        ({"gb10_router_key": STRONG, "gb10_metrics_key": STRONG}, ["gb10_metrics_key is the same"]),
        ({"gb10_metrics_key": STRONG, "gb10_api_key": STRONG}, ["gb10_metrics_key is the same"]),
        ({"gb10_router_key": STRONG, "gb10_servers": [{"api_key": STRONG}, {}, "x"]}, ["gb10_router_key is the same"]),
    ],
)
def test_a_key_of_the_fleet_is_strong_and_its_own(values, words):
    found = key_mistakes(values)
    assert len(found) == len(words) and all(word in one for word, one in zip(words, found, strict=True))
    assert STRONG not in " ".join(found)


@pytest.mark.parametrize(
    ("given", "address"),
    [(None, "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("FD00::0005", "fd00::5"), ("::", "::"), ("::ffff:192.168.1.5", "192.168.1.5"), (" ::1 ", "::1")],
)
def test_an_address_is_written_in_one_way(given, address):
    assert normalise([dict(SERVER, address=given)], "/m")[0]["address"] == address


@pytest.mark.parametrize(
    ("given", "why"), [("fe80::1%eth0", "zone"), ("fe80::1", "zone"), ("fd00::1%2", "zone"), ("ff02::1", "multicast"), ("224.0.0.1", "multicast")]
)
def test_an_address_that_docker_cannot_publish_on_is_refused_before_anything_is_stopped(given, why):
    with pytest.raises(GB10Error, match=why):
        normalise([dict(SERVER, address=given)], "/m")


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ({"repository": "https://ada:pw@example.org/r.git"}, "repository"),
        ({"repository": "https://ghp_0123456789abcdefghij@github.com/a/b"}, "repository"),
        ({"repository": "ssh://git:pw@example.org/r.git"}, "repository"),
        ({"build_args": {"HF_TOKEN": "x"}}, "build_args.HF_TOKEN"),
        ({"build_args": {"MY_API_KEY": "x"}}, "build_args.MY_API_KEY"),
        ({"build_args": {"http_proxy": "http://ada:pw@proxy:3128"}}, "build_args.http_proxy"),
        ({"build_args": {"INNOCENT": "hf_abcdefghijklmnopqrstuv"}}, "build_args.INNOCENT"),
        ({"arguments": ["--index", "https://ada:pw@index.example.org/simple"]}, "arguments"),
    ],
)
def test_a_secret_that_would_stay_readable_is_refused_and_not_repeated(image, named):
    (said,) = image_mistakes(image)
    assert f"gb10_image.{named} " in said
    assert "pw" not in said and "hf_abc" not in said and "ghp_" not in said


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"repository": "git@github.com:a/b.git", "build_args": {"TOKENIZERS_VERSION": "1", "KEYRING": "a", "FLASHINFER_REF": "main@0123"}},
        {"repository": "ssh://git@example.org/r.git", "build_args": {"EMPTY_TOKEN": "", "PROXY": "http://proxy:3128/a@b"}, "arguments": ["--ref", "a@b"]},
        {"repository": "file:///srv/r", "build_args": "wrong type", "arguments": "wrong"},
    ],
)
def test_what_is_no_secret_passes(image):
    assert image_mistakes(image) == []


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/srv/models/acme/m@1.0+x", "/srv/models/acme/m@1.0+x"),
        ("/srv/my models/m", '"/srv/my models/m"'),
        ("/srv/100%o", '"/srv/100%%o"'),
        ('/srv/a"b\\c', '"/srv/a\\"b\\\\c"'),
    ],
)
def test_a_path_is_one_word_of_a_unit(path, word):
    assert unit_word(path) == word


@pytest.mark.parametrize(("model", "why"), [("/srv/a\nExecStart=x", "line break"), ("/srv/a:b", "colon"), ("a\tb", "cannot be printed")])
def test_a_model_that_no_container_could_mount_is_refused(model, why):
    with pytest.raises(GB10Error, match=why):
        normalise([dict(SERVER, model=model)], "/srv/models")
    assert directory_mistakes({"gb10_models_dir": "/srv/models", "gb10_state_dir": "/var lib/x%"}) == []
    (said,) = directory_mistakes({"gb10_models_dir": f"/srv/{model}"})
    assert why in said and "gb10_models_dir" in said
    assert directory_mistakes({"gb10_state_dir": "state"}) == ["gb10_state_dir is not absolute; name another directory."]
