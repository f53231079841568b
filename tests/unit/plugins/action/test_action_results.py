# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the action plugins hand back and write, whole: recipes and their mods out of a repository, exports, collections, memory that is short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.action import bundle, image_build, model_fetch, server_ready
from in_process import Action, Screen

GIB = 2**30
RECIPE = "recipe_version: 1\nname: a\nmodel: a/b\ncontainer: vllm-node\nmods: [mods/own]\ncommand: vllm serve a/b\n"
SCRIPT = "#!/bin/bash\necho own\n"


@pytest.fixture
def screen(monkeypatch):
    return Screen(monkeypatch)


@pytest.fixture
def tree(tmp_path):
    """A directory of recipes with a mod beside them."""
    for name, text in {"recipes/one.yaml": RECIPE, "mods/own/run.sh": SCRIPT, "mods/own/data/x": "x"}.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text)
    (tmp_path / "tree/mods/own/run.sh").chmod(0o755)
    return tmp_path / "tree"


@pytest.fixture
def repository(tree):
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, check=True, capture_output=True, text=True).stdout.strip()
    return f"file://{tree}#recipes/one", commit


# ---- recipe


def test_a_mod_of_a_repository_is_written_beside_the_lines_that_name_it(screen, repository, tmp_path):
    address, commit = repository
    (tmp_path / "here").mkdir()
    dest, place = tmp_path / "here/server.yml", tmp_path / "here/mods/own"
    files = [str(dest), str(place / "data/x"), str(place / "run.sh")]
    found = Action("recipe", recipe=address, dest=str(dest)).run(check=True)
    assert found["changed"] is True and sorted(found["files"]) == sorted(files) and not list((tmp_path / "here").iterdir())
    found = Action("recipe", recipe=address, dest=str(dest)).run()
    assert (found["changed"], sorted(found["files"]), found["commit"]) == (True, sorted(files), commit)
    assert (place / "run.sh").read_text() == SCRIPT and (place / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (place / "data/x").read_text() == "x" and (place / "data/x").stat().st_mode & 0o777 == 0o644
    written = yaml.safe_load(dest.read_text())
    assert written == {"gb10_servers": [{"name": "one", "model": "a/b", "image": {"mods": [str(place)]}}]}
    assert dest.read_text().startswith(f"# From the recipe recipes/one.yaml at commit {commit}; nothing of it was run.\n") and commit in found["text"]
    again = Action("recipe", recipe=address, dest=str(dest)).run()
    assert again["changed"] is False and sorted(again["files"]) == sorted(files)
    (place / "data/x").write_text("mine")
    told = Action("recipe", recipe=address, dest=str(dest)).run()
    assert told["failed"] and told["changed"] is False
    assert told["msg"] == f"recipe: {place}/data/x is there and differs from the mod of the recipe; move it away, or name another dest."
    assert (place / "data/x").read_text() == "mine"


def test_a_mod_of_a_repository_that_cannot_be_written_is_said(screen, repository, tmp_path):
    (tmp_path / "mods").write_text("a file")
    found = Action("recipe", recipe=repository[0], dest=str(tmp_path / "server.yml")).run()
    assert found["failed"] and found["msg"].startswith(f"recipe: {tmp_path}/mods/own/") and found["msg"].endswith("; name another file with -e dest=FILE.")


def test_without_a_place_the_mods_of_a_repository_are_named_and_not_written(screen, repository, tmp_path):
    found = Action("recipe", recipe=repository[0], base=str(tmp_path)).run()
    own = f"{tmp_path}/mods/own"
    assert found["files"] == [] and found["changed"] is False and not (tmp_path / "mods").exists()
    assert found["recipes"][0]["image"] == {"mods": [own]}
    assert screen.lines[-1] == f"Its mods lie in the repository: -e dest=FILE writes them beside FILE ({own} does not exist before)."


def test_a_mod_that_lies_on_the_controller_stays_where_it_is(screen, tree, tmp_path):
    found = Action("recipe", recipe="recipes/one", base=str(tree), dest=str(tmp_path / "server.yml")).run()
    assert found["files"] == [str(tmp_path / "server.yml")] and found["recipes"][0]["image"] == {"mods": [str(tree / "mods/own")]}
    assert found["commit"] == "" and not any("lie in the repository" in line for line in screen.lines)
    assert screen.lines[0] == found["text"] and screen.lines[1].strip() == (tmp_path / "server.yml").read_text().strip()


def test_what_is_refused_is_gone_without_where_that_is_said(screen, tree):
    (tree / "recipes/two.yaml").write_text(RECIPE + "pre_exec: [x]\n")
    found = Action("recipe", recipe="recipes/two", base=str(tree)).run()
    assert found["failed"] and found["msg"].startswith("Recipe two.yaml, line 7, `pre_exec`: commands that the author wants run on your machines;")
    assert found["msg"].endswith(" Name it in -e without=... to go on without it.")
    assert "failed" not in Action("recipe", recipe="recipes/two", base=str(tree), without=["pre_exec"]).run()
    (tree / "recipes/two.yaml").write_text("recipe_version: 2\nmodel: a/b\nruntime: sglang\ncommand: x\n")
    found = Action("recipe", recipe="recipes/two", base=str(tree)).run()
    assert found["failed"] and found["msg"].endswith("look for a recipe of the same model with `runtime: vllm`.")


@pytest.mark.parametrize(
    ("more", "boxes", "said"),
    [
        ("min_nodes: 3\ncommand: vllm serve a/b -tp 3\n", 2, "line 3, `min_nodes`: it needs 3 boxes, and there are 2."),
        ("cluster_only: true\ncommand: vllm serve a/b -tp 2\n", 1, "line 3, `cluster_only`: it needs 2 boxes, and there are 1."),
        (
            "defaults: {tensor_parallel: 2}\ncommand: vllm serve a/b -tp {tensor_parallel}\n",
            1,
            "line 3, `defaults.tensor_parallel`: it needs 2 boxes, and there are 1.",
        ),
        ("command: vllm serve a/b -tp 2\n", 1, "line 3, `command`: it needs 2 boxes, and there are 1."),
        ("command: vllm serve a/b -tp 2\n", 2, ""),
    ],
)
def test_how_many_boxes_a_recipe_needs_is_named_by_its_field(screen, tree, more, boxes, said):
    (tree / "recipes/big.yaml").write_text(f"recipe_version: 2\nmodel: a/b\n{more}")
    found = Action("recipe", recipe="recipes/big", base=str(tree), boxes=boxes).run()
    assert str(found.get("msg") or "").removeprefix("Recipe big.yaml, ") == said


def test_a_directory_says_of_each_recipe_what_became_of_it(screen, tree):
    (tree / "recipes/bad.yaml").write_text("x: 1\n")
    found = Action("recipe", recipe=str(tree / "recipes")).run()
    assert (found["changed"], found["commit"], found["files"]) == (False, "", []) and [one["recipe"] for one in found["recipes"]] == ["bad.yaml", "one.yaml"]
    bad, one = found["recipes"]
    why = bad.pop("reasons")
    assert bad == {"recipe": "bad.yaml", "format": "", "verdict": "refused", "server": {}, "image": {}, "fields": []} and why[0].startswith("line 1: none of")
    assert (one["format"], one["verdict"], one["server"]["name"], one["image"]) == ("1", "mapped", "one", {"mods": [str(tree / "mods/own")]})
    assert found["text"].endswith("2 read, 1 fully mapped, 1 refused.\nName one of them to have its entry.")


def test_what_runs_is_written_with_the_environment_that_its_user_says_last(screen, tmp_path):
    deployment = {"name": "s", "model": "a/b", "container": {"command": ["vllm", "serve", "/m"]}}
    given = {
        "deployment": deployment,
        "environment": "VLLM_A=1\nVLLM_B=2\nHF_TOKEN=x\n",
        "env": {"VLLM_B": "3"},
        "format": "v1",
        "dest": str(tmp_path / "out.yaml"),
    }
    found = Action("recipe", **given).run()
    left = ["env.HF_TOKEN: a secret", "image: nobody knows what it was made from; say which one others need as `container`"]
    assert (found["left_out"], found["changed"], found["files"]) == (left, True, [str(tmp_path / "out.yaml")])
    assert yaml.safe_load(found["text"])["env"] == {"VLLM_A": "1", "VLLM_B": "3"} and (tmp_path / "out.yaml").read_text() == found["text"]
    assert screen.text == "\n".join([found["text"], *(f"Left out: {one}." for one in left)])
    assert Action("recipe", **given).run()["changed"] is False
    known = Action("recipe", **{**given, "dest": None, "image": {"inputs": {"source": "build", "jobs": 4}}}).run()
    assert known["left_out"] == left[:1] and yaml.safe_load(known["text"])["build_args"] == ["-j", "4"] and known["files"] == []


# ---- show, bundle, model_fetch, image_build


def test_the_plans_are_written_in_an_order_of_their_own(screen, monkeypatch, tmp_path):
    from ansible_collections.gb10.vllm.plugins.action import show

    monkeypatch.setattr(show, "plan_table", lambda *_given: "")
    monkeypatch.setattr(show, "plan_picture", lambda *_given: "")
    plans = {"b": {"z": 1, "a": [2]}, "a": {}}
    Action("show", plans=plans, directory=str(tmp_path)).run()
    assert (tmp_path / "gb10-plan.json").read_text() == json.dumps(plans, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("source", [True, False])
def test_a_collection_is_packed_as_it_lies_and_built_where_it_is_a_source(monkeypatch, tmp_path, source):
    (tmp_path / "c").mkdir()
    if source:
        (tmp_path / "c/galaxy.yml").write_text("")
    packed, ran = [], []
    monkeypatch.setattr(
        bundle.importlib, "import_module", lambda name: SimpleNamespace(__path__=[str(tmp_path / "c")]) if name == "ansible_collections.x.y" else None
    )
    monkeypatch.setattr(bundle.bundle, "pack_collection", lambda *given: packed.append(given))
    done = SimpleNamespace(returncode=0, stderr="")
    monkeypatch.setattr(bundle.subprocess, "run", lambda words, **_more: ran.append(words) or done)
    bundle.ActionModule._collection("x.y", "/t")
    command = [sys.executable, "-m", "ansible", "galaxy", "collection", "build", str(tmp_path / "c"), "--output-path", "/t", "--force"]
    assert (packed, ran) == (([], [command]) if source else ([(str(tmp_path / "c"), "/t")], []))
    if source:
        for error, why in (("one\ntwo\n", "two"), ("", "no message")):
            done.returncode, done.stderr = 1, error
            with pytest.raises(bundle.GB10Error, match=f"^x.y could not be built from {tmp_path}/c: {why}$"):
                bundle.ActionModule._collection("x.y", "/t")


def followed(monkeypatch, module):
    """What a long action hands to ``follow``."""
    seen = []
    monkeypatch.setattr(module, "follow", lambda _self, arguments, _task_vars, _progress, **named: seen.append((arguments, named)) or {"changed": True})
    return seen


@pytest.mark.parametrize(
    ("given", "file", "limit"),
    [({}, "/var/lib/gb10-vllm/transfer/download.jsonl", 86400), ({"state_dir": "/s", "timeout_s": 60}, "/s/transfer/download.jsonl", 60)],
)
def test_a_download_is_followed_in_its_words_and_time(screen, monkeypatch, given, file, limit):
    seen = followed(monkeypatch, model_fetch)
    assert Action("model_fetch", repo_id="a/b", **given).run()["changed"] is True
    assert seen == [({"repo_id": "a/b", **given}, {"progress_file": file, "limit_s": limit, "what": "the download", "closing": model_fetch._summary})]
    assert "a/b: looking at revision main" in screen.lines[0]
    Action("model_fetch", path="/m").run()
    assert "comparing checksums" in screen.lines[-1]


def test_what_came_of_a_download_in_words():
    final = {"changed": True, "revision": "0123456789abcdef", "path": "/m", "downloaded_bytes": 12}
    assert model_fetch._summary(final) == "0123456789ab is in /m (12 B downloaded)"
    assert model_fetch._summary({**final, "revision": ""}) == "it is in /m (12 B downloaded)" and model_fetch._summary({}) == "already there"


def test_the_work_on_an_image_is_followed_and_told(screen, monkeypatch):
    seen = followed(monkeypatch, image_build)
    Action("image_build", lambda **_asked: {"deferred": True, "reason": "it is not there", "progress_file": "/p"}, source="build").run()
    ((arguments, named),) = seen
    assert arguments == {"source": "build"} and "it is not there; starting" in screen.lines[0]
    assert named == {
        "progress_file": "/p", "limit_s": 14700, "what": "the work on the image", "closing": image_build._summary, "explain": image_build._explain,
    }  # fmt: skip
    image = {"name": "n", "id": "sha256:0123456789abcdef", "size_bytes": 12}
    assert image_build._summary({"image": image, "duration_s": 61}) == "n ready in 1 min 1 s (0123456789ab, 12 B)" and image_build._summary({}) == "done"
    final = {"msg": "It failed.", "last_lines": ["a", "b"], "log_lines": ["nothing known"], "exception": "x"}
    assert image_build._explain(final, "box") == "box: It failed.\nLast lines:\n  | a\n  | b" and "exception" not in final and "log_lines" not in final
    assert image_build._explain({}, "box") == "box: the image could not be made."


# ---- server_ready


def test_a_start_whose_time_is_up_ends_its_log_with_that():
    look = {"phase": "loading", "elapsed_s": 101.4, "progress": "it loads", "log": ["a", "cut o"], "reason": ""}
    seen = server_ready.ActionModule._last_look(SimpleNamespace(_ask=lambda arguments, _vars: {**look, "asked": arguments}), {"x": 1}, 100.4, {})
    why = "it was not ready after 101 s (the limit is 100 s) and was still it loads"
    assert seen == {**look, "asked": {"x": 1, "wait_s": 0, "stall_s": -1}, "phase": "stalled", "reason": why, "log": ["a", f"gb10.vllm: {why}"]}


def judged(monkeypatch, memory, given, change=None, doubts=()):
    warnings, asked = [], []
    monkeypatch.setattr(server_ready, "Display", lambda: SimpleNamespace(warning=warnings.append))
    monkeypatch.setattr(server_ready.repairs, "keep_floor", lambda *told: asked.append(told) or change)
    seen = {"facts": {"memory": memory, "doubts": list(doubts)}, "phase": "ready"}
    return server_ready.ActionModule._judge_memory(None, seen, "box", "s", given), warnings, asked


def test_memory_that_is_short_is_repaired_where_that_is_allowed(monkeypatch):
    memory = {"missing_bytes": GIB, "lowest_bytes": 3 * GIB}
    wanted = {"os_floor_bytes": 4 * GIB, "margin_bytes": 1}
    change = {"id": "floor", "reason": "less cache"}
    found, warnings, asked = judged(monkeypatch, dict(memory), {"wanted": wanted, "history": "h"}, change)
    assert found == {
        "facts": {"memory": memory, "doubts": []}, "phase": "ready", "failed": True, "changed": False, "repair": change,
        "msg": "Server s on box answers, but leaves too little of the memory of the box: less cache.",
    }  # fmt: skip
    assert warnings == [] and asked == [(memory, wanted, ["h"])]
    for given, made in (({"wanted": wanted, "repair": False}, change), ({"wanted": wanted}, None)):
        found, warnings, _asked = judged(monkeypatch, dict(memory), given, made)
        assert found["phase"] == "ready" and "failed" not in found
        short = "3.00 GiB of the 4.00 GiB for the operating system are left"
        assert warnings == [f"box: s answers, but {short}; stop what else holds memory, or lower its max_model_len or concurrency."]


def test_memory_that_was_not_measured_or_makes_no_sense(monkeypatch):
    assert judged(monkeypatch, None, {}, doubts=["x"]) == ({"facts": {"memory": None, "doubts": ["x"]}, "phase": "ready"}, ["box: s answers, but x."], [])
    found, warnings, _asked = judged(monkeypatch, {"problem": "it grew"}, {})
    assert warnings == ["box: what s takes beside weights and KV cache is kept out: it grew. The plan goes on as before."] and "failed" not in found
    left = []
    monkeypatch.setattr(server_ready.footprint, "left", lambda *told: left.append(told) or {"missing_bytes": 0})
    judged(monkeypatch, {"shared_pool": True}, {"wanted": {"os_floor_bytes": "7"}})
    judged(monkeypatch, {"shared_pool": True}, {"wanted": {"os_floor_bytes": 7, "margin_bytes": "2"}})
    judged(monkeypatch, {"shared_pool": True}, {"wanted": {}})
    judged(monkeypatch, {}, {"wanted": {"os_floor_bytes": 7}})
    assert [told[1:] for told in left] == [(7, 0), (7, 2)]


def test_how_a_start_ends_and_goes_in_words():
    seen = {"phase": "ready", "facts": {}, "elapsed_s": 5, "progress": "p", "reason": ""}
    assert server_ready._closing(seen) == "ready after 5 s, p" and server_ready._closing({**seen, "facts": {"ready_s": 61}}) == "ready after 1 min 1 s, p"
    assert server_ready._closing({**seen, "phase": "failed"}) == "failed: p" and server_ready._closing({**seen, "phase": "x", "reason": "r"}) == "x: r"
    assert server_ready._status({**seen, "memory_available_bytes": GIB * 3 // 2}) == "p (5 s, 1.5 GiB of memory free)"
    assert server_ready._status(seen) == "p (5 s, 0.0 GiB of memory free)"
    assert [server_ready._list(value) for value in (None, "a", ("a", 1), [])] == [[], ["a"], ["a", 1], []]
    gone = server_ready._gone("box", "s", 91, "", ValueError("a\n b"))
    assert gone == {
        "failed": True, "changed": False, "gone": True,
        "msg": "box has not answered for 1 min 31 s while server s was starting. SSH says: a b. A box whose memory runs out freezes: if it stays silent, "
        "switch it off and on. A start that was cut off is not repeated by itself; lower what the server asks for (max_model_len, concurrency) and run site "
        "again, or go back with `ansible-playbook gb10.vllm.rollback --limit box`.",
    }  # fmt: skip


# ---- what the small ones hand on ---------------------------------------------------------------------------------------------------------------------


def test_a_benchmark_has_the_time_of_its_runs(screen, monkeypatch):
    from ansible_collections.gb10.vllm.plugins.action import benchmark

    seen = followed(monkeypatch, benchmark)
    for given in ({"server": "s"}, {"server": "s", "runs": [1, 2, 3], "run_timeout_s": 10, "cool_wait_s": 5, "state_dir": "/s"}):
        Action("benchmark", **given).run()
    words = {"what": "the benchmark", "closing": benchmark._summary}
    assert seen == [
        ({"server": "s"}, {"progress_file": "/var/lib/gb10-vllm/benchmark/progress.jsonl", "limit_s": benchmark.SLACK_S + 4200, **words}),
        (given, {"progress_file": "/s/benchmark/progress.jsonl", "limit_s": benchmark.SLACK_S + 90, **words}),
    ]
    assert benchmark._summary({"runs": [1, 2]}) == "2 runs measured" and benchmark._summary({}) == "0 runs measured"
    assert benchmark._summary({"died": True, "runs": [1]}) == "the server died after 1 runs" and benchmark._summary({"died": 1}).endswith("after 0 runs")
    action = Action("benchmark", lambda **_asked: {"checked": True}, server="s")
    assert action.run(check=True)["checked"] and action.asked == [("gb10.vllm.benchmark", {"server": "s"})] and len(seen) == 2


def test_a_transfer_is_followed_by_what_is_brought(screen, monkeypatch):
    from ansible_collections.gb10.vllm.plugins.action import share

    seen = followed(monkeypatch, share)
    given = {"state": "transferred", "shares": [{"place": "/a"}, {"place": "/b"}]}
    Action("share", **given).run()
    Action("share", state="transferred", timeout_s=9, state_dir="/s").run()
    words = {"what": "the transfer", "closing": share._summary}
    assert seen[0] == (given, {"progress_file": "/var/lib/gb10-vllm/transfer/progress.jsonl", "limit_s": 14400, **words}) and "/a, /b" in screen.lines[0]
    assert seen[1][1] == {"progress_file": "/s/transfer/progress.jsonl", "limit_s": 9, **words}
    action = Action("share", lambda **_asked: {"opened": 1}, state="opened")
    assert action.run()["opened"] == 1 and action.asked == [("gb10.vllm.share", {"state": "opened"})] and len(seen) == 2
    shares = {"image": {"sources": ["a", "b"], "received_bytes": 12, "transfer_s": 61}, "m": {"sources": []}, "n": {}}
    assert share._summary({"shares": shares}) == "image: 12 B from a, b in 1 min 1 s; m: 0 B from no box, it was all here in 0 s"
    assert share._summary({}) == share._summary({"shares": {"n": {}}}) == "offered what it has"


def test_a_lock_is_asked_for_in_the_name_of_its_box(monkeypatch):
    from ansible_collections.gb10.vllm.plugins.action import box_info, run_lock

    for module, name, given in ((run_lock, "run_lock", {"state": "taken"}), (box_info, "box_info", {"lock": True})):
        seen = []
        monkeypatch.setattr(module, "with_lock", lambda ask, *told, seen=seen: seen.append(told) or ask({"x": 1}))
        action = Action(name, lambda **_asked: {"lock": {"run": 1}, "invocation": {}}, **given)
        assert action.run() == {"lock": {"run": 1}} and action.asked == [(f"gb10.vllm.{name}", {"x": 1})]
        (told,) = seen
        assert told[:2] == (given, "spark-01") and callable(told[2])
        if name == "box_info":
            assert told[3]({"lock": {"a": 1}}) == {"a": 1} and told[3]({"lock": None}) == told[3]({}) == {}


def test_what_a_router_says_of_others_is_warned_of(screen, monkeypatch):
    from ansible_collections.gb10.vllm.plugins.action import router_drain

    monkeypatch.setattr(router_drain, "clock_time", lambda at: f"at {at}")
    before = {"a/s": {"owner": "ben", "at": 5, "run": "r1", "why": "site"}, "b/s": {"owner": "x", "run": "r2", "why": "stop"}}
    answer = {"taken_over": before, "others": ["c/s"], "away": {"d/s": "MAINT"}, "unkept": "no disk"}
    action = Action("router_drain", lambda **_asked: answer, state="drained")
    found = action.run()
    assert {key: found[key] for key in answer} == answer
    ((name, asked),) = action.asked
    here = router_drain.this_run(os.getppid())
    assert (name, asked) == ("gb10.vllm.router_drain", {"state": "drained", "owner": {"run": here["run"], "owner": here["owner"]}})
    assert screen.warnings == [
        "a/s was left drained by ben since at 5 (run r1, site); taken over.",
        "b/s was left drained by x since at 0 (run r2, stop); taken over.",
        "c/s was taken out of the router by somebody else, and stays so.",
        "d/s is ready, but the router does not use it: MAINT.",
        "A crash of HAProxy would undo this, because its state cannot be written down: no disk.",
    ]
