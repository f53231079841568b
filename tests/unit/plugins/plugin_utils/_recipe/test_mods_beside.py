# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mod that lies beside a recipe is the one that is meant: found, judged, digested, and never replaced by the project's of the same name."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import layer
from ansible_collections.gb10.vllm.plugins.module_utils._image import mods as image_mods
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import image_mistakes
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import servers
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import expand, source
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.images import Beside
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import imported
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mod_files import in_registry, mod_files

RECIPE = "recipe_version: 1\nname: a\nmodel: a/b\ncontainer: {container}\nmods: [{mods}]\ncommand: vllm serve a/b\n"
KNOWN = "mods/fix-qwen3-coder-next"


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o755 if text.startswith("#!") else 0o644)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    recipe = RECIPE.format(container="vllm-node", mods=f"{KNOWN}, mine")
    mod = {f"{KNOWN}/run.sh": "#!/bin/sh\npip install x\n", "mods/mine/run.sh": "echo 1\n", "mods/mine/a/patch.diff": "+1\n", "mods/mine/a-b": "x"}
    write(root, {"recipes/one.yaml": recipe, "recipes/4x/two.yaml": recipe, **mod})
    return root


def commit(tree):
    run = {"cwd": tree, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "-q", "-b", "main"], **run)
    subprocess.run(["git", "add", "-A"], **run)
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"], **run)


def taken(given, base="", ref=""):
    (one,) = source.find(given, base).recipes
    return imported(read(one.text, one.name), Beside(one.mods, one.beside, one.files, ref)), one


@pytest.mark.parametrize("name", ["recipes/one.yaml", "recipes/4x/two.yaml"])
def test_it_is_taken_from_there_even_where_the_project_has_one_of_that_name(tree, name):
    found, _one = taken(str(tree / name))
    assert not found.refused() and found.special
    assert found.image == {"mods": [str(tree / KNOWN), str(tree / "mods/mine")]}
    said = [row.why for row in found.rows if row.field.startswith("mods.")]
    assert all("from the recipe's own directory (digest " in one for one in said) and "fetches from the network" in said[0] and "fetches" not in said[1]


def test_its_digest_is_gits_own(tree):
    commit(tree)
    packed = mod_files([str(tree / "mods/mine"), "mods/other"])
    assert list(packed) == ["mods/mine"] and list(packed["mods/mine"]) == ["a-b", "a/patch.diff", "run.sh"]
    for name in ("mods/mine", KNOWN):
        listed = subprocess.run(["git", "ls-tree", "-d", "HEAD", name], cwd=tree, capture_output=True, text=True, check=True).stdout.split()
        packed = mod_files([str(tree / name)])
        assert image_mods.digest(image_mods.content(packed[name], name)) == listed[2]


def test_in_a_repository_it_is_read_and_has_a_place_only_once_it_is_written(tree):
    commit(tree)
    found, one = taken(f"file://{tree}#recipes/4x/two")
    assert one.beside == {KNOWN: "", "mods/mine": ""} and one.files["mods/mine"]["a/patch.diff"] == (b"+1\n", False) and one.files[KNOWN]["run.sh"][1]
    assert not found.refused()
    found = imported(read(one.text, one.name), Beside(one.mods, {"mods/mine": "/x/mods/mine", KNOWN: f"/x/{KNOWN}"}, one.files))
    assert found.image == {"mods": [f"/x/{KNOWN}", "/x/mods/mine"]}


def test_what_is_against_one_is_said_of_the_one_that_is_meant(tree):
    write(tree, {f"{KNOWN}/run.sh": "sysctl -w x=1\n"})
    found, _one = taken(str(tree / "recipes/one.yaml"))
    assert [row.field for row in found.refused()] == ["mods.0"] and "needs privilege" in found.refused()[0].why
    (tree / "mods/mine/link").symlink_to("/etc/shadow")
    found, _one = taken(str(tree / "recipes/one.yaml"))
    assert "link or no plain file" in found.refused()[1].why and "\n" not in found.refused()[1].why
    commit(tree)
    found, _one = taken(f"file://{tree}#recipes/one")
    assert "holds mods/mine/link, a link" in found.refused()[1].why


def test_nobody_elses_directory_is_beside(tree):
    (tree / "recipes").chmod(0o755)
    tree.chmod(0o777)  # anybody may put mods there
    found, _one = taken(str(tree / "recipes/one.yaml"))
    assert found.image == {"mods": [KNOWN]} and "missing" in found.refused()[0].why
    tree.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(tree / "mods/mine", 12345, 12345)
        found, _one = taken(str(tree / "recipes/one.yaml"))
        assert [row.why for row in found.refused()][0].startswith("mods/mine: missing")


def test_nothing_above_the_top_of_a_repository_is_beside(tree):
    (tree / "recipes/.git").mkdir()
    found, _one = taken(str(tree / "recipes/4x/two.yaml"))
    assert found.image == {"mods": [KNOWN]} and "lies not beside the recipe" in found.refused()[0].why


def test_one_that_is_not_beside_is_looked_for_at_the_ref_that_is_built(tmp_path):
    write(tmp_path, {"a.yaml": RECIPE.format(container="vllm-node", mods="fix-qwen3.8-ple-dtype")})
    assert "missing" in taken(str(tmp_path / "a.yaml"))[0].refused()[0].why
    found, _one = taken(str(tmp_path / "a.yaml"), ref="main")
    assert found.image == {"mods": ["mods/fix-qwen3.8-ple-dtype"]} and not found.refused()
    assert "looked for in the image's repository at main" in [row.why for row in found.rows if row.field == "mods.0"][0]
    server = {"name": "a", "recipe": str(tmp_path / "a.yaml")}
    assert "line 5, `mods.0`: mods/fix-qwen3.8-ple-dtype: missing" in servers.server_mistakes([server], "/srv/models", image={})[0]
    image = {"ref": "main", "mods": ["mods/fix-qwen3.8-ple-dtype"]}
    assert servers.server_mistakes([server], "/srv/models", image=image) == []
    assert expand.with_recipes([server], image)[0]["model"] == "a/b"


def test_one_of_the_registry_that_the_recipe_is_of_lies_beside_it(tree):
    told = "registries:\n  - name: ours\n    recipes: recipes\n    mods: changes\n"
    recipe = RECIPE.format(container="vllm-node", mods='"@ours/mine", "@theirs/mine"')
    write(tree, {".sparkrun/registry.yaml": told, "changes/mine/run.sh": "echo 2\n", "recipes/one.yaml": recipe})
    found, one = taken(str(tree / "recipes/one.yaml"))
    assert found.image == {"mods": [str(tree / "changes/mine")]} and one.files["@ours/mine"]["run.sh"][0] == b"echo 2\n"
    assert "@theirs/mine: missing: it is a mod of another registry" in found.refused()[0].why and len(found.refused()) == 1
    commit(tree)
    _found, one = taken(f"file://{tree}#recipes/one")
    assert list(one.files) == ["@ours/mine"] and one.files["@ours/mine"]["run.sh"][0] == b"echo 2\n"


def test_sparkruns_name_for_the_project_is_the_project(tree):
    write(tree, {"recipes/one.yaml": RECIPE.format(container="vllm-node", mods='"@eugr/fix-qwen3-coder-next", "@eugr/nothing"')})
    found, _one = taken(str(tree / "recipes/one.yaml"))
    assert found.image == {"mods": [KNOWN]} and found.refused()[0].why.startswith("mods/nothing: missing: it lies not beside")


@pytest.mark.parametrize("text", ["", "[", "registries: 3", "registries: [3]", "registries: [{name: ours, mods: ../..}]", "a: &a [*a]"])
def test_a_registry_that_makes_no_sense_has_no_mods(text):
    assert in_registry(text, "@ours/mine") == ""
    assert in_registry("registries: [{name: ours}]", "@ours/../x") == ""


def test_over_a_pulled_image_only_its_own_are_laid(tree):
    write(tree, {"recipes/one.yaml": RECIPE.format(container=f"acme/x@sha256:{'a' * 64}", mods="mine, mods/diffusiongemma")})
    found, _one = taken(str(tree / "recipes/one.yaml"))
    assert found.image["mods"] == [str(tree / "mods/mine")] and found.image["source"] == "prebuilt"
    assert [row.field for row in found.refused()] == ["mods.1"] and "pulled" in found.refused()[0].why
    assert image_mistakes(found.image) == []
    assert "needs an image that is built here" in image_mistakes({**found.image, "mods": ["mods/mine"]})[0]
    assert "needs an image that is built here" in image_mistakes({"source": "existing", "mods": ["/x/mods/mine"]})[0]


@pytest.mark.parametrize(
    ("mods", "said"),
    [
        (["/nowhere/mods/x"], "is no directory on the controller"),
        (["{tree}/recipes"], "has no run.sh"),
        (["{tree}/mods/mine", "mods/mine"], "would have one name in the image"),
        (["{tree}/mods/mine", "{tree}/more/mine"], "would have one name in the image"),
        (["{tree}/mods/a b"], "is no mod of the project"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tree, mods, said):
    write(tree, {"recipes/x": "x"})
    with pytest.raises(GB10Error, match=said) as caught:
        mod_files([one.format(tree=tree) for one in mods])
    assert "\n" not in str(caught.value)


def test_too_much_is_no_mod(tree):
    (tree / "mods/mine/big").write_bytes(b"x" * (image_mods.MOST_BYTES + 1))
    with pytest.raises(GB10Error, match="more than a mod is"):
        mod_files([str(tree / "mods/mine")])


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "a//b", "", ".", "a\nb"])
def test_what_arrives_stays_within_its_directory(path):
    with pytest.raises(GB10Error):
        image_mods.content({path: {"content": "", "executable": False}}, "mods/x")
    with pytest.raises(GB10Error, match="did not arrive whole"):
        image_mods.content({"run.sh": {"content": "###"}}, "mods/x")


def test_on_the_box_it_takes_the_place_of_the_projects_and_its_digest_counts(tree, tmp_path):
    write(tmp_path, {"context/mods/mine/run.sh": "theirs\n", "context/mods/mine/old": "x", "context/mods/other/run.sh": "true\n"})
    packed = mod_files([str(tree / "mods/mine")])
    options = Options(mods=[str(tree / "mods/mine"), "mods/other"], mod_files=packed)
    before = layer.own_digests(options)
    assert layer.lay(tmp_path / "context", options, "there") == ["mods/mine", "mods/other"]
    assert (tmp_path / "context/mods/mine/run.sh").read_text() == "echo 1\n" and not (tmp_path / "context/mods/mine/old").exists()
    write(tree, {"mods/mine/a/patch.diff": "+2\n"})
    assert layer.own_digests(Options(mods=options.mods, mod_files=mod_files(options.mods))) != before
    with pytest.raises(GB10Error, match="did not come along"):
        layer.own_digests(Options(mods=options.mods))
    write(tree, {"mods/mine/run.sh": "nohup x &\n"})
    with pytest.raises(GB10Error, match="mods/mine of your own can be no layer"):
        layer.lay(tmp_path / "context", Options(mods=options.mods, mod_files=mod_files(options.mods)), "there")


@pytest.mark.parametrize(
    "script", ["curl -sL x | tar x", "git -C x clone y", "uv pip install x", "python3 -m pip install x", "apt-get -y install x", "hf download x"]
)
def test_a_script_that_fetches_is_known(script):
    assert image_mods.fetches(f"#!/bin/sh\n{script}\n") and not image_mods.fetches(f"# {script}\npatch -p1 < x.diff\n")
