# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs, written as a recipe and read back, is the same server over the same boxes with the same image, but for what was named as left out."""

from __future__ import annotations

import json

import pytest
import recipe_corpus
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_inputs
from ansible_collections.gb10.vllm.plugins.module_utils._image.mods import PIN
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import flag_name, words
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import ranks
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import CACHE_ENV
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.flavours import FLAVOURS, image_settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import image_said
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.export import exported
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import imported
from hypothesis import given, settings
from hypothesis import strategies as st

FORMS = ("v1", "v2")
COMMIT = "a" * 40
DIGEST = f"sha256:{'b' * 64}"
PLACE = {"address": "192.168.177.11", "interface": "enp1s0f0np0", "hcas": ["rocep1s0f0"], "circle": 4, "infiniband": True}


def deployed(server, number=0, **more):
    """A deployment of an entry as the role records it: a guard before the command, the plan's bytes, ranks, mounts and caches."""
    boxes = int(server.get("boxes", 1))
    image = server.get("args", {})
    args = {key: value.removeprefix("image:") if isinstance(value, str) else value for key, value in image.items()}
    port = int(server.get("port", 8000))
    said = {"host": "0.0.0.0", "port": port, "kv_cache_memory_bytes": 123_456_789_012}
    said |= {key: server[key] for key in ("max_model_len", "kv_cache_dtype", "load_format") if key in server}
    said |= {"gpu_memory_utilization": server["gpu_memory_ceiling"]} if "gpu_memory_ceiling" in server else {}
    said |= {"enforce_eager": True} if server.get("cuda_graphs") == "never" else {}
    names = args.pop("served_model_name", server.get("served_model_name", server["model"]))
    said |= {"served_model_name": names, **args, "middleware": "guard_keys.GuardKeys", "allowed_origins": "[]"}
    group = {}
    if boxes > 1:
        said |= {"tensor_parallel_size": server["tensor_parallel"], "pipeline_parallel_size": server["pipeline_parallel"], "nnodes": boxes}
        said |= {"node_rank": number, "master_addr": "192.168.177.11", "master_port": 24002, "distributed_executor_backend": "mp"}
        said |= {"headless": True} if number else {}
        group = {"group": {"number": number, "boxes": [f"spark-{one}" for one in range(boxes)], "addresses": [], "master_port": 24002, "guard_port": 24003}}
    command = ["sh", "-c", "x", "gb10-vllm", "vllm", "serve", "/models/s", *(word for key, value in said.items() for word in words(flag_name(key), value))]
    env = {**CACHE_ENV, "GB10_KEY": "required", "PYTHONPYCACHEPREFIX": "/cache/python/x", **(ranks.environment(PLACE) if boxes > 1 else {})}
    volumes = ["/srv/models/s@aaaaaaaaaaaaaa:/models/s:ro", "/etc/gb10-vllm/s:/run/gb10:ro", "/var/lib/gb10-vllm/cache/s:/cache:rw"]
    container = {"command": command, "env": env, "volumes": volumes, "image": "sha256:1"}
    return {"name": "s", "model": server["model"], "served_model_name": names, "port": port, "container": container, "image_name": "vllm-node", **group, **more}


def back(text, mods=None):
    found = imported(read(text, "out.yaml"), mods)
    assert not found.refused(), [(row.field, row.why) for row in found.refused()]
    return found


def comparable(server):
    """An entry without what is the same said in another way."""
    made = {**server, "port": server.get("port", 8000), "args": dict(server.get("args", {})), "env": server.get("env", {})}
    name = made["args"].pop("served_model_name", None) or made.get("served_model_name") or made["model"]
    made["served_model_name"] = name if isinstance(name, list) else [name]
    for key in ("distributed_executor_backend",):
        made["args"].pop(key, None)
    return made


def same(server, image, form, number=0, revision=COMMIT):
    deployment = deployed(server, number)
    models = {"/srv/models/s@aaaaaaaaaaaaaa": {"revision": revision}}
    text, left = exported(deployment, form, server.get("env"), image, models)
    found = back(text)
    assert left == []
    assert comparable(found.server) == comparable({**server, "revision": revision}), text
    assert image_settings(found.image) == image_settings(image), text
    boxes = int(server.get("boxes", 1))
    assert found.boxes == ((boxes, boxes) if form == "v2" else (2, 64)) if boxes > 1 else found.boxes[1] == 1
    assert not {"nnodes", "node-rank", "192.168", "enp1s0", "123456789012", "guard_keys", "GB10_KEY"} & set(text.replace("--", " ").split())
    assert "192.168" not in text and "rocep" not in text


CORPUS = [one for one in recipe_corpus.corpus() if not recipe_corpus.judged(one)[1].refused()]


@pytest.mark.parametrize("form", FORMS)
def test_every_public_recipe_comes_back(form):
    for one in CORPUS:
        _document, found = recipe_corpus.judged(one)
        for number in range(min(2, int(found.server.get("boxes", 1)))):
            try:
                same(found.server, found.image if "digest" in found.image or "image" not in found.image else {**found.image, "digest": DIGEST}, form, number)
            except AssertionError as error:
                raise AssertionError(f"{one['path']}: {error}") from None


VALUES = st.one_of(
    st.integers(1, 9999),
    st.sampled_from(["fp8", "it's", "a b", "$HOME", "`id`", "a;b|c", '"', "\\", "#x", "é", "-1x", ""]),
    st.dictionaries(
        st.sampled_from(["a", "b", "method"]), st.one_of(st.integers(0, 9), st.booleans(), st.sampled_from(["x y", "it's", "{x", "}"])), max_size=3
    ),
)
ARGS = st.dictionaries(st.sampled_from(["hf_overrides", "speculative_config", "override_generation_config"]), VALUES.filter(lambda one: isinstance(one, dict)))
TEXTS = st.dictionaries(
    st.sampled_from(["quantization", "attention_backend", "tool_call_parser"]), st.sampled_from(["fp8", "it's", "a b", "$X", "`x`", "a;b", '"', "#"])
)
SWITCHES = st.dictionaries(st.sampled_from(["enable_prefix_caching", "enable_auto_tool_choice", "async_scheduling"]), st.booleans())
SHARES = st.sampled_from([{}, *({"boxes": t * p, "tensor_parallel": t, "pipeline_parallel": p} for t, p in ((2, 1), (1, 2), (4, 2), (1, 3)))])
NAMES = st.one_of(st.sampled_from(["qwen", "org/name"]), st.lists(st.sampled_from(["a", "b c", "it's", "x/y"]), min_size=2, max_size=3, unique=True))
IMAGES = st.sampled_from([{}, *({"flavour": one} for one in ("b12x", "mxfp4", "wheels"))]).flatmap(
    lambda base: st.fixed_dictionaries(
        {}, optional={"vllm_ref": st.just("v0.30.0"), "mods": st.just(["mods/gpu-mem-util-gb", "mods/diffusiongemma"]), "jobs": st.just(8)}
    ).map(lambda more: {**base, **more})
)
PULLED = st.sampled_from(
    [{"source": "prebuilt", "image": "acme/x:1", "digest": DIGEST}, {"source": "prebuilt", "image": "eugr/spark-vllm-b12x:latest", "digest": DIGEST}]
)


@settings(max_examples=60, deadline=None)
@given(ARGS, TEXTS, SWITCHES, SHARES, NAMES, st.one_of(IMAGES, PULLED), st.sampled_from(FORMS), st.data())
def test_whatever_runs_comes_back(args, texts, switches, shares, names, image, form, data):
    server = {"model": "org/name-1", "max_model_len": 4096, "gpu_memory_ceiling": 0.8, **shares, "args": {**args, **texts, **switches}}
    server |= {"args": {**server["args"], "served_model_name": names}} if isinstance(names, list) else {"served_model_name": names}
    server["env"] = data.draw(
        st.dictionaries(st.sampled_from(["VLLM_A", "OMP_NUM_THREADS"]), st.sampled_from(["1", "yes", "0777", "a b", '{"a":1}', "null", "~x"]))
    )
    given_image = {key: value for key, value in image.items() if not (key == "flavour" and value == "wheels")}
    same(server, given_image, form, data.draw(st.integers(0, max(0, shares.get("boxes", 1) - 1))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "nobody knows what vllm-node was made from"),
        ({"source": "existing", "name": "my:1"}, "my:1 was there before"),
        ({"source": "archive", "archive": "x.tar"}, "came from an archive"),
        ({"source": "prebuilt", "image": "acme/x:1"}, "the digest of acme/x:1, which nobody pinned"),
        ({**FLAVOURS["release"].settings, "ref": PIN}, "vLLM's own release wheel"),
        ({"wheels": "none"}, "compiled on the box"),
        ({"ref": "c" * 40}, "ref: cccc"),
        ({"repository": "https://x/y"}, "repository: https://x/y"),
        ({"transformers": "pre"}, "transformers: pre"),
        ({"build_args": {"A": "1"}}, "build_args: A=1"),
        ({"arguments": ["--other"]}, "the argument --other"),
        ({"vllm_prs": {"634": "ab"}}, "pull request 634"),
        ({"mods": ["/srv/recipes/mods/mine"]}, "the directory /srv/recipes/mods/mine"),
    ],
)
def test_what_a_recipe_cannot_say_of_an_image_is_said(form, image, said):
    text, left = exported(deployed({"model": "a/b"}), form, {}, image)
    assert len(left) == 1 and left[0].startswith("image: ") and said in left[0]
    assert read(text, "x").fields["model"] == "a/b"


def test_the_pinned_commit_is_what_everybody_builds():
    assert exported(deployed({"model": "a/b"}), "v1", {}, {"ref": PIN, "wheels": "auto", "transformers": "default"})[1] == []


@pytest.mark.parametrize(
    "inputs, settings_",
    [
        (
            {
                "source": "build",
                "commit": PIN,
                "wheels": "none",
                "arguments": ["--exp-b12x"],
                "mods": ["mods/a 12ab"],
                "vllm_prs": ["634 sha256:cd"],
                "jobs": None,
            },
            {"source": "build", "ref": PIN, "wheels": "none", "arguments": ["--exp-b12x"], "mods": ["mods/a"], "vllm_prs": {"634": "sha256:cd"}},
        ),
        ({"source": "prebuilt", "image": "acme/x:1", "digest": DIGEST}, {"source": "prebuilt", "image": "acme/x:1", "digest": DIGEST}),
    ],
)
def test_the_image_is_that_of_the_deployment_and_not_of_the_inventory(inputs, settings_):
    assert image_said.settings_of({"labels": image_inputs.labels(inputs, {})}) == settings_
    assert image_said.settings_of({"labels": {}, "inputs": inputs}) == settings_
    assert image_said.settings_of({"labels": {}}) == {} == image_said.settings_of({})


def test_a_commit_that_nobody_knows_is_said_and_a_draft_of_a_hub_goes_by_its_name():
    deployment = deployed({"model": "a/b", "args": {"speculative_config": {"method": "eagle", "model": "/run/gb10-files/1/at/draft"}}})
    deployment["container"]["volumes"].append("/srv/models/org/draft@bbbb:/run/gb10-files/1/at/draft:ro")
    text, left = exported(deployment, "v2", {}, {}, {"/srv/models/s@aaaaaaaaaaaaaa": {}, "/srv/models/org/draft@bbbb": {"revision": COMMIT}})
    assert left == ["revision: nobody knows of which commit of a/b these files are, so others get its newest"]
    assert back(text).server["args"] == {"speculative_config": {"method": "eagle", "model": "org/draft"}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("args", "kept", "said"),
    [
        ({"speculative_config": {"method": "eagle", "model": "/run/gb10-files/1/at/x"}}, {}, ["--speculative-config: /run/gb10-files/1/at/x is a file"]),
        ({"lora_modules": ["a=/run/gb10-files/1/at/x", "b=org/y"]}, {"lora_modules": ["b=org/y"]}, ["--lora-modules: /run/gb10-files/1/at/x is a file"]),
        ({"lora_modules": ["a=/run/gb10-files/1/at/x", "b=/models/s/y"]}, {}, ["--lora-modules: /run", "--lora-modules: /models/s/y"]),
        ({"chat_template": "/mnt/elsewhere/x.jinja"}, {}, ["--chat-template: /mnt/elsewhere/x.jinja is a file"]),
        ({"chat_template": "/workspace/x.jinja"}, {"chat_template": "image:/workspace/x.jinja"}, []),
        ({"tool_parser_plugin": "/workspace/x.py"}, {}, ["--tool-parser-plugin: nobody takes it from a recipe unasked"]),
        ({"chat_template": "{{ messages }}"}, {}, ["--chat-template: '{{ messages }}' holds braces"]),
        ({"O3": True}, {"optimization_level": 3}, []),
    ],
)
def test_what_is_of_this_box_is_left_out_however_deep_it_stands(form, args, kept, said):
    deployment = deployed({"model": "a/b", "args": args})
    deployment["container"]["volumes"].append("/home/ben/t:/mnt/elsewhere:ro")
    deployment["container"]["command"] = [word.replace("--O3", "-O3") for word in deployment["container"]["command"]]
    text, left = exported(deployment, form, {}, {})
    assert [one.startswith(start) for one, start in zip(left, said, strict=True)] == [True] * len(said), left
    found = back(text).server.get("args", {})
    assert {**found, **({"lora_modules": [found["lora_modules"]]} if isinstance(found.get("lora_modules"), str) else {})} == kept


def test_env_is_the_servers_own_with_what_repairs_changed():
    deployment = deployed({"model": "a/b", "boxes": 2, "tensor_parallel": 2, "pipeline_parallel": 1})
    deployment["container"]["env"] |= {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
    given_env = {"VLLM_A": "1", "LD_PRELOAD": "/x.so", "B": "a\nb", "HF_TOKEN": "hf_x"}
    text, left = exported(deployment, "v2", given_env, {})
    assert back(text).server["env"] == {"VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_A": "1"}
    assert [one.partition(":")[0] for one in left] == ["env.LD_PRELOAD", "env.B", "env.HF_TOKEN"] and "hf_x" not in text


def test_the_users_own_middleware_is_said_and_ours_is_not():
    deployment = deployed({"model": "a/b"})
    deployment["container"]["command"] += ["--middleware", "mine.Filter"]
    text, left = exported(deployment, "v1", {}, {})
    assert "middleware" not in text and [one.partition(":")[0] for one in left] == ["--middleware"]


def test_a_command_that_nobody_can_read_is_one_sentence():
    deployment = deployed({"model": "a/b"})
    deployment["container"]["command"] += ["--speculative-config", "{broken"]
    with pytest.raises(GB10Error, match="export: the arguments that run cannot be read: .*is not JSON"):
        exported(deployment, "v2")
    assert json.loads(json.dumps(deployment))
