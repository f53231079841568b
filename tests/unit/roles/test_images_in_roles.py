# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image of a server's own reaches who makes it, who plans for it and who starts it: the roles' own expressions, rendered."""

from __future__ import annotations

import json
import sys

import playbook
import pytest
import rendered
import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution, images, wanted


@pytest.fixture(scope="module", autouse=True)
def once():
    with rendered.collections():
        yield


BOX = {"ref": "a" * 40, "jobs": 4, "vllm_version": "0.33.0"}
GIVEN = [{"name": "a", "model": "m/a"}, {"name": "b", "model": "m/b", "port": 8001, "image": {"flavour": "b12x", "ref": "main"}}]
SERVERS = wanted.normalise(GIVEN, "/srv/models")
HELD = {"vllm-node": {"id": "sha256:1", "vllm_version": "0.32.0"}, "vllm-node-b": {"id": "sha256:2", "vllm_version": "0.30.0", "cuda_version": "13.0"}}
NOTED = images.of_a_box(SERVERS, BOX)
HOST = {
    "groups": {"all": ["spark-01"]}, "inventory_hostname": "spark-01", "ansible_play_hosts": ["spark-01"], "omit": "OMITTED", "gb10_image": BOX,
    "preflight_servers": SERVERS, "preflight_images": NOTED, "preflight_result": {"box": {"docker": {"images": HELD}, "recipe": "a" * 40}},
}  # fmt: skip


def said(expression, role, **more):
    """What an expression of a role says on this box."""
    found = rendered.render(rendered.trusted(expression), {**rendered.variables_of(role), **HOST, **more})
    return json.loads(json.dumps(found))


def test_preflight_notes_which_images_the_servers_want_and_looks_for_all_of_them():
    tasks = yaml.safe_load((rendered.ROLES / "preflight/tasks/main.yml").read_text())
    note = next(one["ansible.builtin.set_fact"] for one in tasks if "ansible.builtin.set_fact" in one)
    assert said(note["preflight_images"], "preflight", preflight_wanted=SERVERS) == NOTED
    look = next(one["gb10.vllm.box_info"] for one in tasks if "gb10.vllm.box_info" in one)
    assert said(look["images"], "preflight") == ["vllm-node", "vllm-node-b"]
    assert said("{{ preflight_builds }}", "preflight") is True


def test_each_image_is_made_with_its_own_settings_and_its_recipe_in_its_own_place():
    arguments = rendered.task("image", "main.yml", "gb10.vllm.image_build")
    one, two = (said(arguments, "image", image_wanted=image) for image in NOTED["wanted"])
    place = "/var/lib/gb10-vllm/build/checkout"
    assert (one["name"], one["ref"], one["arguments"], one["checkout"]) == ("vllm-node", "a" * 40, [], place)
    assert (two["name"], two["ref"], two["arguments"], two["jobs"], two["checkout"]) == ("vllm-node-b", "main", ["--exp-b12x"], 4, f"{place}-vllm-node-b")
    assert [said("{{ image_checked_out }}", "image", image_wanted=image) for image in NOTED["wanted"]] == ["a" * 40, ""], "HEAD is of the first place"
    assert said("{{ image_source }}", "image", image_wanted=NOTED["wanted"][1], gb10_locked=True) == "existing"


def test_a_box_makes_its_images_itself_where_it_is_asked_and_others_make_them_otherwise():
    groups = distribution.chosen(["spark-01"], {"spark-01": HOST})["images"]
    assert [one["name"] for one in said("{{ distribution_mine }}", "distribution", distribution_images=groups)] == ["vllm-node", "vllm-node-b"]
    away = [{**group, "maker": "spark-02"} for group in groups]
    assert said("{{ distribution_here }}", "distribution", distribution_images=away) is False
    play = yaml.safe_load((rendered.ROLES.parent / "playbooks/supply.yml").read_text())[0]
    block = next(one["block"] for one in play["tasks"] if "block" in one)
    task = next(one for one in block if one["name"] == "Build or bring the image")
    assert (task["loop"], task["loop_control"]["loop_var"]) == ("{{ distribution_mine }}", "image_wanted")


def test_the_plan_of_each_server_is_for_the_vllm_of_its_image():
    around = {"plan_named": {}, "plan_known": {}}
    asked = said("{{ plan_asked }}", "plan", **around)
    assert said("{{ plan_engine }}", "plan") == {"vllm_version": "0.33.0", "image_version": "0.32.0", "cuda_runtime": "", "image_id": "sha256:1"}
    own = {"vllm_version": "", "image_version": "0.30.0", "cuda_runtime": "13.0", "image_id": "sha256:2"}
    assert [one.get("engine") for one in asked] == [None, own]
    # With what was brought since: activate and supply hand that on.
    brought = {**HELD, "vllm-node-b": {"id": "sha256:3", "vllm_version": "0.31.0"}}
    assert said("{{ plan_asked }}", "plan", plan_images=brought, **around)[1]["engine"]["image_id"] == "sha256:3"


@pytest.mark.parametrize(("name", "image"), [("a", "sha256:1"), ("b", "sha256:2"), ("unknown", "sha256:1")])
def test_a_work_order_is_made_with_the_image_of_its_server(name, image):
    assert said("{{ server_image }}", "server", server_wanted={"name": name})["id"] == image
    brought = {"images": {held: {"id": one["id"] + "0"} for held, one in HELD.items()}}
    assert said("{{ server_image }}", "server", server_wanted={"name": name}, distribution_result=brought)["id"] == image + "0"


def test_a_run_plans_again_where_one_of_the_images_holds_another_vllm():
    play = yaml.safe_load((rendered.ROLES.parent / "playbooks/supply.yml").read_text())[0]
    plan = {"engine": {"vllm_version": "0.33.0", "image_version": "0.32.0"}, "servers": [{"name": "a"}, {"name": "b", "engine": {"vllm_version": "0.30.0"}}]}

    def judged(images_now):
        names = ("supply_images", "supply_new_image", "supply_other_engine")
        variables = {**HOST, **rendered.trusted({name: play["vars"][name] for name in names}), "plan_result": {"plan": plan}}
        variables["distribution_result"] = {"images": images_now}
        return [rendered.render(rendered.trusted("{{ " + name + " }}"), variables) for name in names[1:]]

    assert judged(HELD) == [False, False]
    assert judged({**HELD, "vllm-node-b": {"id": "sha256:3", "vllm_version": "0.30.0"}}) == [True, False]
    assert judged({**HELD, "vllm-node-b": {"id": "sha256:3", "vllm_version": "0.31.0"}}) == [True, True]
    assert judged({**HELD, "vllm-node": {}}) == [True, False], "not there in check mode"


def test_what_no_server_wants_is_pruned_only_where_the_servers_were_looked_at():
    arguments = {key: rendered.trusted(one) for key, one in rendered.task("distribution", "prune.yml", "gb10.vllm.prune").items() if key.startswith("image")}
    assert said(arguments, "distribution") == {"image": "vllm-node", "images": ["vllm-node", "vllm-node-b"]}
    unseen = {key: value for key, value in HOST.items() if key != "preflight_images"}
    found = rendered.render(arguments, {**rendered.variables_of("distribution"), **unseen})
    assert json.loads(json.dumps(found)) == {"image": "vllm-node", "images": []}


def test_the_roles_do_without_what_preflight_notes():
    variables = {key: value for key, value in HOST.items() if key != "preflight_images"}
    found = rendered.render(rendered.trusted("{{ plan_image_names.servers }}"), {**rendered.variables_of("plan"), **variables})
    assert dict(found) == NOTED["servers"]
    found = rendered.render(rendered.trusted("{{ fleet_images.wanted[0].name }}"), {**rendered.variables_of("fleet"), **variables})
    assert found == "vllm-node"


PLAY = """
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.set_fact: {"preflight_images": "{{ known.preflight_images }}", "model_result": {"models": {}}, "plan_wanted": [], "preflight_servers": []}
    - ansible.builtin.set_fact: {"preflight_result": "{{ {'box': {'docker': {'images': known.held}, 'recipe': ''}} }}"}
    - ansible.builtin.import_role: {name: gb10.vllm.distribution, tasks_from: choose}
    - ansible.builtin.set_fact:
        image_results: "{{ image_results | default({}) | combine({one.name: {'image': {'id': made[one.name], 'name': one.name}}}) }}"
      loop: "{{ distribution_mine }}"
      loop_control: {loop_var: one}
    - ansible.builtin.import_role: {name: gb10.vllm.distribution}
    - ansible.builtin.copy:
        content: "{{ {'mine': distribution_mine | map(attribute='name'), 'here': distribution_here, 'result': distribution_result} | to_json }}"
        dest: "{{ folder }}/{{ inventory_hostname }}.json"
        mode: "0600"
"""


@pytest.mark.parametrize(("method", "mine"), [("auto", (["vllm-node"], ["x"])), ("build_everywhere", (["vllm-node"], ["vllm-node", "x"]))])
def test_over_two_boxes_each_image_is_made_once_and_known_to_those_that_want_it(tmp_path, method, mine):
    both = {"vllm-node": {"id": "sha256:1", "identity": "i1"}}
    wishes = {"a": [GIVEN[0]], "b": [GIVEN[0], {**GIVEN[1], "image": {"flavour": "b12x", "name": "x"}}]}
    hosts = {}
    for box, wish in wishes.items():
        noted = images.of_a_box(wish, {})
        hosts[box] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "known": {"preflight_images": noted, "held": both}}
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    more = {"folder": str(tmp_path), "made": {"vllm-node": "sha256:1", "x": "sha256:2"}, "gb10_distribution": {"method": method}}
    done = playbook.play("play.yml", "-i", "hosts.yml", "-e", json.dumps(more), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    found = {box: json.loads((tmp_path / f"{box}.json").read_text()) for box in hosts}
    assert tuple(found[box]["mine"] for box in hosts) == mine and all(one["here"] for one in found.values())
    assert {name: one["id"] for name, one in found["a"]["result"]["images"].items()} == {"vllm-node": "sha256:1"}
    assert {name: one["id"] for name, one in found["b"]["result"]["images"].items()} == {"vllm-node": "sha256:1", "x": "sha256:2"}
    assert found["b"]["result"]["image"]["id"] == "sha256:1"
