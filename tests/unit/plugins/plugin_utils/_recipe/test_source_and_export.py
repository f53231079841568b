# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where recipes come from, and that nothing of it is run; what runs written as a recipe, and read again."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import report, source
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.export import exported
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import imported

RECIPE = "recipe_version: 1\nname: a\nmodel: a/b\ncontainer: vllm-node\nmods: [mods/gpu-mem-util-gb]\ncommand: vllm serve a/b\n"


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    for name, text in {
        "recipes/one.yaml": RECIPE,
        "recipes/4x/two.yml": RECIPE.replace("a/b", "c/d"),
        "recipes/README.md": "read me",
        "recipes/benchmarking/profile.yaml": "a: 1",
        ".sparkrun/registry.yaml": "registries: []",
        "mods/gpu-mem-util-gb/run.sh": "#!/bin/bash\nnohup x &\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def repository(tree):
    run = {"cwd": tree, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "-q", "-b", "main"], **run)
    subprocess.run(["git", "add", "-A"], **run)
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"], **run)
    return f"file://{tree}"


def test_a_file_with_or_without_its_ending(tree):
    for given in ("one.yaml", "one"):
        (found,) = source.find(given, str(tree / "recipes")).recipes
        assert found.name == "one.yaml" and found.text == RECIPE
        assert "goes on beside the server" in found.mods["mods/gpu-mem-util-gb"], "the mod two directories up was looked at"


def test_a_directory_is_all_recipes_in_it(tree):
    assert [one.name for one in source.find(str(tree)).recipes] == ["recipes/4x/two.yml", "recipes/one.yaml"]


def test_a_repository_is_read_and_not_checked_out(repository):
    for path in ("#recipes/one", "#recipes/one.yaml", "#/recipes/one.yaml/"):
        found = source.find(repository + path)
        assert [one.name for one in found.recipes] == ["recipes/one.yaml"] and len(found.commit) == 40
        assert found.recipes[0].mods["mods/gpu-mem-util-gb"]
    assert len(source.find(repository + "#recipes").recipes) == len(source.find(repository).recipes) == 2


def test_hooks_and_filters_of_a_repository_are_not_run(repository, tree, tmp_path):
    (tree / ".gitattributes").write_text("*.yaml filter=evil\n")
    (tree / ".git/hooks/post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    os.chmod(tree / ".git/hooks/post-checkout", 0o755)
    subprocess.run(["git", "add", "-A"], cwd=tree, check=True, capture_output=True)
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "y"], cwd=tree, check=True, capture_output=True)
    assert source.find(repository + "#recipes/one").recipes and not (tmp_path / "hooked").exists()


def test_a_link_in_a_repository_leads_nowhere(repository, tree):
    (tree / "recipes/link.yaml").symlink_to("/etc/passwd")
    subprocess.run(["git", "add", "-A"], cwd=tree, check=True, capture_output=True)
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "y"], cwd=tree, check=True, capture_output=True)
    (found,) = source.find(repository + "#recipes/link.yaml").recipes
    assert found.text == "/etc/passwd"


@pytest.mark.parametrize(
    "given, said",
    [
        ("nothing", "neither a file nor a directory"),
        ("file:///nothing/here#x", "cannot be read"),
        ("https://nowhere.invalid/a.git#x", "cannot be read"),
        ("ext::sh -c id#x", "no address git reads"),
        ("https://a:b@nowhere.invalid/a.git#x", "holds a password"),
        ("file:///x#../../etc", "leaves the repository"),
        ("ftp://x/y#z", "no address git reads"),
        ("@official/glm-4.7-flash", "is a name in a registry of sparkrun"),
        ("https://github.com/a/b/blob/main/recipes/c.yaml", r"as https://github.com/a/b.git#recipes/c.yaml, or fetch it"),
        ("https://example.invalid/c.yaml", "is the address of a page or file"),
    ],
)
def test_what_cannot_be_reached_is_one_sentence(given, said, tmp_path):
    with pytest.raises(GB10Error, match=said) as caught:
        source.find(given, str(tmp_path))
    assert str(caught.value).startswith("recipe: ") and "\n" not in str(caught.value) and "a:b" not in str(caught.value)


def test_an_empty_place_is_said(tree, repository, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(GB10Error, match="holds no recipe"):
        source.find(str(tmp_path / "empty"))
    with pytest.raises(GB10Error, match="has no recipe at nothing; it has .*recipes"):
        source.find(repository + "#nothing")
    (tmp_path / "binary.yaml").write_bytes(b"a\0b")
    with pytest.raises(GB10Error, match="is no text"):
        source.find(str(tmp_path / "binary.yaml"))


DEPLOYED = {
    "name": "qwen",
    "model": "Qwen/Qwen3-8B",
    "served_model_name": "qwen",
    "port": 8001,
    "container": {
        "command": [
            "bash", "-c", "guard", "vllm", "serve", "/models/qwen", "--host", "0.0.0.0", "--port", "8001", "--served-model-name", "qwen",
            "--max-model-len", "32768", "--gpu-memory-utilization", "0.71", "--kv-cache-memory-bytes", "123", "--max-num-seqs", "8", "--kv-cache-dtype", "fp8",
            "--speculative-config", '{"method":"ngram","num_speculative_tokens":3}', "--no-enable-prefix-caching", "--enable-auto-tool-choice",
            "--tool-call-parser", "hermes", "--middleware", "guard_keys.Guard", "--chat-template", "/opt/gb10-here/a/at/x.jinja",
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("form", ["v1", "v2"])
def test_what_runs_is_a_recipe_that_comes_back_the_same(form):
    text, left = exported(DEPLOYED, form, {"VLLM_A": 1, "HF_TOKEN": "hf_x"}, {"mods": ["mods/gpu-mem-util-gb"]})
    document = read(text, "out.yaml")
    found = imported(document)
    assert document.version == form[1] and not found.refused(), report.text(found, document)
    assert found.server == {
        "model": "Qwen/Qwen3-8B",
        "port": 8001,
        "max_model_len": 32768,
        "gpu_memory_ceiling": 0.71,
        "served_model_name": "qwen",
        "kv_cache_dtype": "fp8",
        "args": {
            "max_num_seqs": 8,
            "speculative_config": {"method": "ngram", "num_speculative_tokens": 3},
            "enable_prefix_caching": False,
            "enable_auto_tool_choice": True,
            "tool_call_parser": "hermes",
        },
        "env": {"VLLM_A": "1"},
    }
    assert found.image == {"mods": ["mods/gpu-mem-util-gb"]} and found.boxes[1] == 1
    assert sorted(left) == ["--chat-template: /opt/gb10-here/a/at/x.jinja is a file of this box", "env.HF_TOKEN: a secret"]
    assert "hf_x" not in text and "guard" not in text and "123" not in text


def test_what_cannot_be_exported_is_said():
    with pytest.raises(GB10Error, match="format 'v3' is not known"):
        exported(DEPLOYED, "v3")
    with pytest.raises(GB10Error, match="no `vllm serve`"):
        exported({"name": "x", "container": {"command": ["sleep"]}}, "v2")
    assert "directory of this box" in exported({**DEPLOYED, "model": "/srv/x"}, "v2")[1][-1]


@pytest.mark.parametrize("path, name", [("recipes/Qwen3.6-35B_A3B.yaml", "qwen3-6-35b-a3b"), ("_.yml", "model"), ("a" * 60 + ".yaml", "a" * 40), ("x", "x")])
def test_a_server_is_called_after_its_file(path, name):
    assert report.server_name(path) == name
