# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Actions that work on the controller: they show plans, write bundles and recipes, explain logs and make plans; what they write, say and refuse."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from in_process import Action, Screen

VERSION = yaml.safe_load((Path(__file__).parents[4] / "galaxy.yml").read_text())["version"]
FLAG = "vllm: error: unrecognized arguments: --no-such-flag x"
RECIPE = "recipe_version: 1\nname: a\nmodel: a/b\ncontainer: vllm-node\nmods: [mods/own]\ncommand: vllm serve a/b\n"
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8,
    "num_key_value_heads": 8, "vocab_size": 1000, "max_position_embeddings": 8192, "dtype": "bfloat16", "intermediate_size": 1024,
}  # fmt: skip


@pytest.fixture
def screen(monkeypatch):
    return Screen(monkeypatch)


# ---- show


def test_a_text_is_shown_without_what_is_secret_or_moves_a_terminal(screen, tmp_path):
    found = Action("show", text="all is well\x1b[31m --api-key=abcdefgh12345678", directory=str(tmp_path / "out")).run()
    assert "\x1b" not in screen.text and "abcdefgh12345678" not in screen.text and screen.text.startswith("all is well")
    assert found["text"] == screen.text and found["files"] == [] and found["changed"] is False and not (tmp_path / "out").exists()


@pytest.fixture
def plans(monkeypatch):
    from ansible_collections.gb10.vllm.plugins.action import show

    monkeypatch.setattr(show, "plan_table", lambda plans, reasons: f"a table of {', '.join(plans)}, {'with' if reasons else 'without'} reasons")
    monkeypatch.setattr(show, "plan_picture", lambda plan, box: f"<svg>{box} {plan['n']}</svg>")
    return {"spark-02": {"n": 2}, "spark-01": {"n": 1}}


def test_plans_are_shown_and_written_as_data_and_pictures(screen, plans, tmp_path):
    place = tmp_path / "new/status"
    found = Action("show", text="first", plans=plans, directory=str(place)).run()
    files = [str(place / name) for name in ("gb10-plan.json", "gb10-plan-spark-02.svg", "gb10-plan-spark-01.svg")]
    assert found["files"] == files and json.loads((place / "gb10-plan.json").read_text()) == plans
    assert (place / "gb10-plan-spark-02.svg").read_text() == "<svg>spark-02 2</svg>"
    assert screen.lines == ["first\na table of spark-02, spark-01, with reasons", f"The same as data and as pictures: {', '.join(files)}"]
    assert Action("show", plans=plans, reasons=False).run()["text"].endswith("without reasons")


def test_check_mode_shows_plans_and_writes_nothing(screen, plans, tmp_path):
    assert Action("show", plans=plans, directory=str(tmp_path / "out")).run(check=True)["files"] == [] and not (tmp_path / "out").exists()


def test_a_place_that_takes_no_plan_is_said(screen, plans, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AnsibleError, match=r"The plan could not be written: .*gb10_status_dir"):
        Action("show", plans=plans, directory=str(tmp_path / "file")).run()


# ---- kv_cache_budget


def test_a_budget_from_facts_asks_no_box_and_one_that_needs_a_look_does(screen):
    given = {"model": "acme/m", "models": {"acme/m": {"config": CONFIG, "present": True}}, "max_model_len": 4096, "concurrency": 2}
    action = Action("kv_cache_budget", **given)
    found = action.run()
    assert action.asked == [] and found["changed"] is False and found["kv"] and "failed" not in found
    refused = Action("kv_cache_budget", **{**given, "max_model_len": 10**7}).run()
    assert refused["failed"] and refused["changed"] is False and "8192" in refused["msg"]
    asked = {"model": "acme/other", "max_model_len": 4096}
    action = Action("kv_cache_budget", lambda **_asked: {"looked": True}, **asked)
    assert action.run()["looked"] and action.asked == [("gb10.vllm.kv_cache_budget", asked)]


# ---- diagnose


def test_a_log_file_is_explained_here(screen, tmp_path):
    (tmp_path / "vllm.log").write_text(FLAG + "\n")
    kept = tmp_path / "found.json"
    kept.write_text("old and long " * 500)
    kept.chmod(0o600)
    action = Action("diagnose", log=str(tmp_path / "vllm.log"), json=str(kept))
    found = action.run()
    (one,) = found["findings"]
    assert action.asked == [] and found["changed"] is False and one["healthy"] is False and one["diagnosis"]["verdict"] == "known"
    assert one["name"] == str(tmp_path / "vllm.log") and found["msg"] == one["text"] and found["msg"].startswith(f"{one['name']}: this is what went wrong")
    assert "--no-such-flag" in found["msg"] and "For an issue (look through it first):" in found["msg"] and one["issue"] in found["msg"]
    assert f"gb10.vllm {VERSION}, ansible-core" in one["issue"]
    assert json.loads(kept.read_text()) == json.loads(json.dumps(found["findings"])) and screen.text.startswith(found["msg"])


def test_what_is_written_of_logs_is_for_its_owner_alone(screen, tmp_path):
    (tmp_path / "a.log").write_text("nothing that anybody knows\n")
    Action("diagnose", log=f"{tmp_path}/a.log, ", json=str(tmp_path / "new.json")).run()
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o600
    found = Action("diagnose", log=[f"{tmp_path}/a.log"], json=str(tmp_path / "none/new.json")).run()
    assert found["failed"] and found["msg"] == f"The findings cannot be written to {tmp_path}/none/new.json on the controller: No such file or directory."


def container(**more):
    return {"name": "gb10-vllm-tiny", "status": "exited (2)", "log": [FLAG], "kernel_log": [], "api_key": True, **more}


def test_the_servers_of_a_box_are_explained_by_what_it_collects(screen):
    action = Action("diagnose", lambda **_asked: {"containers": [container(), container(name="other", log=["INFO: Application startup complete."])]}, lines=7)
    found = action.run()
    assert action.asked == [("gb10.vllm.diagnose", {"lines": 7})] and len(found["findings"]) == 2
    assert found["msg"].startswith("gb10-vllm-tiny on spark-01 (exited (2)): this is what went wrong") and "\n\nother on spark-01" in found["msg"]
    assert found["findings"][1]["healthy"] is True and "it got as far as" in found["findings"][1]["text"] and "For an issue" not in found["findings"][1]["text"]


def test_a_box_without_servers_and_one_that_cannot_be_asked(screen):
    assert Action("diagnose", lambda **_asked: {"containers": []}).run()["msg"] == "spark-01 has no server of this collection."
    assert Action("diagnose", lambda **_asked: {"failed": True, "msg": "no Docker"}).run()["msg"] == "no Docker"


def test_what_the_controller_reads_is_not_asked_of_the_box(screen, tmp_path):
    own = tmp_path / "own.yml"
    own.write_text("- id: x\n")
    action = Action("diagnose", lambda **_asked: {"containers": []}, diagnoses=str(own), json="")
    found = action.run()
    assert found["failed"] and "own.yml" in found["msg"] and action.asked == []
    action = Action("diagnose", lambda **_asked: {"containers": []}, diagnoses=[], json="", container="a")
    action.run()
    assert action.asked[0][1] == {"container": "a"}
    assert Action("diagnose", log=str(tmp_path / "none.log")).run()["failed"]


# ---- bundle


@pytest.fixture
def bundle(tmp_path):
    place = tmp_path / "bundle"
    (place / "models/acme--m").mkdir(parents=True)
    (place / "models/acme--m/model.safetensors").write_bytes(b"weights")
    (place / "collections").mkdir()
    (place / "collections/old-0.1.tar.gz").write_text("old")
    return place


def write(bundle, check=False, **more):
    given = {"state": "written", "directory": str(bundle), "collections": [], "image": {"name": "vllm-node"}, "models": [{"model": "acme/m", "revision": "r"}]}
    return Action("bundle", **{**given, **more}).run(check=check)


def test_a_bundle_is_written_with_its_image_and_read_again(screen, bundle):
    (bundle / "image.tar").write_bytes(b"image")
    found = write(bundle)
    assert found["changed"] and set(found["manifest"]["files"]) == {"image.tar", "models/acme--m/model.safetensors"}
    assert screen.lines[-1] == f"  bundle: {bundle} holds 2 files, 12 B" and not list((bundle / "collections").iterdir()), "what an earlier run left is gone"
    (settings,) = [path for path in bundle.iterdir() if path.suffix == ".yml"]
    assert yaml.safe_load(settings.read_text())["gb10_image"]["checksum"] == "sha256:" + found["manifest"]["files"]["image.tar"]["sha256"]
    again = Action("bundle", state="read", directory=str(bundle), contents=True).run()
    assert again["changed"] is False and again["manifest"]["files"] == found["manifest"]["files"]
    (bundle / "image.tar").write_bytes(b"imagE")
    assert Action("bundle", state="read", directory=str(bundle)).run()["changed"] is False
    broken = Action("bundle", state="read", directory=str(bundle), contents=True).run()
    assert broken["failed"] and broken["changed"] is False and "image.tar is damaged" in broken["msg"]


def test_a_bundle_without_an_image_has_no_settings_for_one(screen, bundle):
    assert set(write(bundle)["manifest"]["files"]) == {"models/acme--m/model.safetensors"} and not list(bundle.glob("*.yml"))


def test_check_mode_writes_no_bundle(screen, bundle):
    assert write(bundle, check=True) == {"changed": True, "manifest": {}} and (bundle / "collections/old-0.1.tar.gz").exists()


def test_what_a_bundle_lacks_or_cannot_be_written_to_is_said(screen, bundle, tmp_path):
    said = write(bundle, collections=["gb10.no_such"])
    assert said["failed"] and said["msg"] == "the collection gb10.no_such is not installed on this machine; install it, the bundle needs it"
    (tmp_path / "file").write_text("")
    said = write(tmp_path / "file")
    assert said["failed"] and said["changed"] is False and said["msg"].endswith("; check that disk") and str(tmp_path / "file") in said["msg"]


# ---- recipe


@pytest.fixture
def recipes(tmp_path):
    (tmp_path / "tree/recipes").mkdir(parents=True)
    (tmp_path / "tree/recipes/one.yaml").write_text(RECIPE.replace("mods: [mods/own]\n", ""))
    return tmp_path / "tree/recipes"


def test_a_recipe_becomes_lines_of_an_inventory(screen, recipes, tmp_path):
    dest = tmp_path / "server.yml"
    for check in (True, False):
        found = Action("recipe", recipe="one.yaml", base=str(recipes), dest=str(dest)).run(check=check)
        assert found["changed"] is True and found["files"] == [str(dest)] and dest.exists() is not check
    written = yaml.safe_load(dest.read_text())
    assert written["gb10_servers"][0]["model"] == "a/b" and dest.read_text().strip() in screen.text
    assert Action("recipe", recipe="one.yaml", base=str(recipes), dest=str(dest)).run()["changed"] is False
    named = Action("recipe", recipe="one.yaml", base=str(recipes), name="mine").run()
    assert named["recipes"][0]["server"]["name"] == "mine" and named["files"] == [] and named["changed"] is False


def test_a_recipe_that_is_none_is_one_sentence(screen, recipes, tmp_path):
    assert Action("recipe").run()["msg"].startswith("recipe: name a FILE, a DIRECTORY or GIT_URL#PATH")
    found = Action("recipe", recipe="one.yaml", base=str(recipes), dest=str(tmp_path / "none/server.yml")).run()
    assert found["failed"] and found["changed"] is False
    assert found["msg"] == f"recipe: {tmp_path}/none/server.yml cannot be written (No such file or directory); name another file with -e dest=FILE."


def test_a_recipe_for_more_boxes_than_there_are_is_refused(screen, recipes):
    (recipes / "two.yaml").write_text(RECIPE.replace("mods: [mods/own]\n", "").replace("serve a/b", "serve a/b --tensor-parallel-size 2"))
    found = Action("recipe", recipe="two.yaml", base=str(recipes), boxes=1).run()
    assert found["failed"] and "it needs 2 boxes, and there are 1" in found["msg"]
    assert "it needs" not in str(Action("recipe", recipe="two.yaml", base=str(recipes), boxes=2).run().get("msg"))


def test_a_directory_of_recipes_is_a_table(screen, recipes):
    (recipes / "bad.yaml").write_text("recipe_version: 1\nname: [\n")
    found = Action("recipe", recipe=str(recipes)).run()
    assert {one["recipe"]: one["verdict"] for one in found["recipes"]}["bad.yaml"] == "refused" and len(found["recipes"]) == 2
    bad = next(one for one in found["recipes"] if one["recipe"] == "bad.yaml")
    assert bad["reasons"][0] and not bad["reasons"][0].startswith(("Recipe", ",", ":")) and found["changed"] is False and screen.text == found["text"]
