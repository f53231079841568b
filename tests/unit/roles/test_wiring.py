# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user sets reaches the module that acts on it: the roles' own expressions, rendered by Ansible's own templates."""

from __future__ import annotations

import json

import fleet_boxes
import pytest
import rendered
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import argument_spec
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import wanted, work


@pytest.fixture(scope="module", autouse=True)
def once():
    with rendered.collections():
        yield


HOST = {"groups": {"all": ["spark-01"]}, "inventory_hostname": "spark-01", "ansible_play_hosts": ["spark-01"], "omit": "OMITTED"}


def tasks(path):
    """All tasks of a file, those in blocks too."""

    def flat(found):
        for one in found:
            yield one
            for part in ("block", "rescue", "always"):
                yield from flat(one.get(part, []))

    content = yaml.safe_load((rendered.ROLES.parent / path).read_text())
    return list(flat(content[0]["tasks"] if "hosts" in content[0] else content))


def named(where, beginning):
    """The one task of a role, or of a playbook, whose name begins so."""
    files = [where] if where.endswith(".yml") else [f"roles/{where}/tasks/{path.name}" for path in (rendered.ROLES / where / "tasks").glob("*.yml")]
    (found,) = [one for path in files for one in tasks(path) if one.get("name", "").startswith(beginning)]
    return rendered.trusted(found)


def rendered_all(value, variables):
    """Plain values of a template."""
    return json.loads(json.dumps(rendered.render(rendered.trusted(value), variables)))


IMAGE = {
    "name": "my-node",
    "source": "build",
    "ref": "main",
    "wheels": "nightly",
    "vllm_ref": "v0.32.0",
    "jobs": 3,
    "transformers": "pre",
    "rebuild": ["vllm"],
    "arguments": ["--x"],
    "build_args": {"A": "b"},
    "mods": ["mods/a"],
    "vllm_prs": {"12345": "0" * 64},
    "image": "registry/x:1",
    "digest": "sha256:1",
    "archive": "/x.tar",
    "archive_on": "controller",
    "checksum": "sha256:2",
    "keep_previous": 4,
    "timeout_s": 60,
}
AROUND = {"gb10_state_dir": "/state", "gb10_uv_http_timeout_s": 7, "gb10_uv_http_retries": 8, "gb10_ca_bundle": "/ca", "gb10_least_free_gib": {"docker": 9}}


def image_arguments(**given):
    return rendered_all(rendered.task("image", "main.yml", "gb10.vllm.image_build"), {**rendered.variables_of("image"), **HOST, **given})


def test_everything_that_is_said_of_the_image_reaches_who_makes_it():
    got = image_arguments(gb10_image=IMAGE, **AROUND)
    options = set(argument_spec())
    others = {
        "mod_files": {},
        "state_dir": "/state",
        "checkout": "/state/build/checkout",
        "uv_http_timeout_s": 7,
        "uv_http_retries": 8,
        "ca_bundle": "/ca",
        "min_free_gib": 9,
    }
    assert got == {**IMAGE, **others, "mod_files": {}}
    assert options - set(got) == {"archive_identity", "retries", "retry_delay_s"}, "the first is the action's own; any other the role has to hand on"


def test_what_is_not_said_of_the_image_is_left_to_the_module():
    got = image_arguments()
    left = ("vllm_ref", "jobs", "ca_bundle", "digest", "archive", "checksum", "min_free_gib")
    assert {key: got[key] for key in left} == dict.fromkeys(left, "OMITTED")
    assert (got["keep_previous"], image_arguments(gb10_keep=3)["keep_previous"]) == (1, 3)


def test_a_download_is_told_the_hub_its_certificates_and_what_to_keep():
    given = {"gb10_hub": {"endpoint": "https://mirror", "token": "hf_secret"}, "gb10_ca_bundle": "/ca", "gb10_keep": 2, "gb10_config_dir": "/etc/x"}
    item = {"repo_id": "acme/m", "revision": "v1", "path": "/srv/m", "load_format": "auto"}
    got = rendered_all(rendered.task("model", "download.yml", "gb10.vllm.model_fetch"), {**rendered.variables_of("model"), **given, "item": item})
    assert got == {
        **item, "endpoint": "https://mirror", "env_file": "/etc/x/hub.env", "ca_bundle": "/ca", "keep": 2, "state_dir": "/var/lib/gb10-vllm",
    }  # fmt: skip


def test_the_token_of_the_hub_lies_where_only_root_reads_it_and_is_never_shown():
    task = named("model", "Keep the hub's token")
    variables = {**rendered.variables_of("model"), "gb10_hub": {"token": "hf_secret"}}
    file = rendered_all(task["ansible.builtin.copy"], variables)
    assert file == {"content": "HF_TOKEN=hf_secret\n", "dest": "/etc/gb10-vllm/hub.env", "mode": "0600"}
    assert task["no_log"] is True
    when = "{{ " + task["when"] + " }}"
    assert [rendered_all(when, {**variables, "gb10_hub": hub}) for hub in ({"token": "x"}, {})] == [True, False]
    others = [one for one in tasks("roles/model/tasks/download.yml") if one["name"] != task["name"]]
    assert "model_hub_token }}" not in yaml.safe_dump(others), "nothing else is told the token"


def test_the_token_of_the_hub_goes_with_the_last_download_that_needs_it():
    variables = {**rendered.variables_of("model"), "inventory_hostname": "a", "model_files": ["/etc/gb10-vllm/hub.env"]}
    cases = {("hf_secret", "a"): False, ("hf_secret", "b"): True, ("", "a"): True, ("", "b"): True}
    task = named("model", "Remove the hub's token")
    assert task["ansible.builtin.file"]["state"] == "absent"
    for (token, downloads), goes in cases.items():
        given = {**variables, "gb10_hub": {"token": token}, "model_downloads_by_box": {downloads: ["acme/tiny"]}}
        assert rendered_all("{{ " + task["when"] + " }}", given) is goes
    assert rendered_all("{{ " + task["when"] + " }}", {**given, "model_files": []}) is False, "a box without it is not asked"


def key_file(**given):
    task = named("server", "Write the API key")
    order = {"server_order": {"new_key": False, "ensure_key": False}}
    variables = {**rendered.variables_of("server"), **{key: rendered.trusted(one) for key, one in task["vars"].items()}, **order, **given}
    return task, rendered_all({**task["ansible.builtin.copy"], "force": task["ansible.builtin.copy"]["force"]}, variables)


def test_a_key_that_is_given_is_written_each_time_and_one_that_is_made_up_only_once():
    _task, given = key_file(server_wanted={"name": "a", "api_key": "it's"})
    assert given["content"].strip() == """VLLM_API_KEY='it'"'"'s'""" and given["force"] is True
    _task, fleet = key_file(server_wanted={"name": "a"}, gb10_api_key="for all")
    assert fleet["content"].strip() == "VLLM_API_KEY='for all'" and fleet["force"] is True
    _task, made = key_file(server_wanted={"name": "a"})
    key = made["content"].strip().removeprefix("VLLM_API_KEY=")
    assert len(key) == 43 and key.isalnum() and made["force"] is False
    assert key_file(server_wanted={"name": "a"})[1]["content"] != made["content"]


def test_a_server_that_takes_no_key_of_all_gets_one_made_up():
    """The order says so: ``generated``. The role wrote the key of all the others, which it was to have none of."""
    _task, made = key_file(server_wanted={"name": "a", "api_key": ""}, gb10_api_key="for all")
    assert len(made["content"].strip().removeprefix("VLLM_API_KEY=")) == 43 and "for all" not in made["content"] and made["force"] is False


ODD = {"A": 1, "B": "it's $HOME", "C": "", "D": True, "E": "1\n2", "F": "[1]", "G": "{{ no }}", "H": 1e-5, "I": "ü \\"}


def test_the_private_files_are_what_the_box_is_asked_for():
    """Else a box is asked for one text, has another, and its server is started again by each run."""
    server = {"name": "a", "api_key": "k 1", "env": ODD}
    texts = work.private_texts([server], "/c")
    assert texts["/c/a/server.env"] == "A=1\nB='it'\"'\"'s $HOME'\nC=''\nD=True\nE='1\n2'\nF='[1]'\nG='{{ no }}'\nH=1e-05\nI='ü \\'\n"
    for beginning in ("Write the API key", "Write the environment"):
        task = named("server", beginning)
        order = {"new_key": False, "ensure_key": False}
        variables = {**rendered.variables_of("server"), **task.get("vars", {}), "gb10_config_dir": "/c", "server_order": order, "server_wanted": server}
        copy = task["ansible.builtin.copy"]
        assert rendered_all(copy["content"], variables) == texts[rendered_all(copy["dest"], variables)]
        assert "quote" not in copy["content"], "one place knows how they are written"


@pytest.mark.parametrize(("new_key", "ensure_key", "force"), [(True, False, True), (False, True, False), (False, False, False)])
def test_a_key_that_was_taken_out_of_the_inventory_is_replaced_and_going_back_replaces_none(new_key, ensure_key, force):
    order = {"new_key": new_key, "ensure_key": ensure_key}
    assert key_file(server_wanted={"name": "a"}, server_order=order)[1]["force"] is force
    assert key_file(server_wanted={"name": "a", "api_key": "k"}, server_order=order)[1]["force"] is not ensure_key


def test_the_keys_of_the_fleet_are_written_as_the_order_counted_with():
    task = named("server", "Write the keys of the fleet")
    variables = {**rendered.variables_of("server"), "gb10_router_key": "r" * 32, "gb10_metrics_key": "it's", "server_wanted": {"name": "a"}}
    text = rendered_all(task["ansible.builtin.copy"]["content"], variables)
    assert text == work.fleet_keys({"router_key": "r" * 32, "metrics_key": "it's"}) == f"GB10_ROUTER_KEY={'r' * 32}\nGB10_METRICS_KEY='it'\"'\"'s'\n"


@pytest.mark.parametrize(
    ("beginning", "file"), [("Write the API key", "key.env"), ("Write the environment", "server.env"), ("Write the keys of the fleet", "fleet.env")]
)
def test_secrets_of_a_server_are_private_and_never_shown(beginning, file):
    task = named("server", beginning)
    copy = task["ansible.builtin.copy"]
    assert (task["no_log"], task["diff"], copy["mode"], copy["owner"], copy["dest"].rpartition("/")[2]) == (True, False, "0600", "root", file)


@pytest.mark.parametrize(
    ("key", "environment", "create", "state", "live"),
    [
        (True, False, False, "restarted", False), (False, True, False, "restarted", False), (True, True, True, "started", False),
        (False, False, False, "started", False), (True, False, False, "started", True), (False, True, False, "restarted", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("removed", [False, True])
def test_a_server_reads_a_changed_secret_at_once(key, environment, create, state, live, removed):
    task = named("server", "Start now and at boot")
    order = {"unit": "gb10-vllm-a.service", "watch": "gb10-vllm-watch@a.timer", "create": create, "down": [], "keys_live": live}
    order["env_removed"] = removed and not create
    key, environment, state = key and not live, environment or order["env_removed"], "restarted" if order["env_removed"] else state
    results = {"__server_key": {"changed": key}, "__server_env": {"changed": environment}, "__server_files": {"changed": False}}
    variables = {**rendered.variables_of("server"), **task["vars"], **results, "server_order": order}
    states = [rendered_all(task["ansible.builtin.systemd_service"]["state"], {**variables, "item": order[unit]}) for unit in ("unit", "watch")]
    assert states == [state, "started"]
    needed = [rendered_all("{{ " + task["when"] + " }}", {**variables, "item": order["unit"]})]
    assert needed == [key or environment or create]


@pytest.mark.parametrize(("soak", "create", "rounds"), [(10, True, [0, 5]), (10, False, []), (0, True, []), (12, True, [0, 5, 10])])
def test_a_new_server_is_looked_at_for_a_while(soak, create, rounds):
    task = named("server", "See that it keeps answering")
    variables = {**rendered.variables_of("server"), "gb10_soak_s": soak, "server_order": {"create": create}}
    assert rendered_all(task["loop"], variables) == rounds
    assert task["loop_control"]["pause"] == 5 and task["when"] == "server_order.create"
    assert "failed_when" not in task and "ignore_errors" not in task, "a server that falls silent then is a failed start"


@pytest.mark.parametrize(("version", "address", "refused", "warned"), [("0.17.0", "0.0.0.0", 1, 0), ("0.30.0", "0.0.0.0", 0, 1), ("0.17.0", "127.0.0.1", 0, 0)])
def test_a_plan_looks_at_who_can_reach_an_old_version(version, address, refused, warned):
    servers = wanted.normalise([{"name": "a", "model": "m", "address": address}], "/m", True)
    variables = {**rendered.variables_of("plan"), "plan_servers": servers, "plan_version": version, "plan_result": {"plan": {"servers": []}}}
    exposed = rendered_all(variables["plan_exposed"], variables)
    assert (len(exposed["refuse"]), len(exposed["warn"])) == (refused, warned)
    judge = named("plan", "Judge servers that others can reach")
    assert judge["ansible.builtin.include_tasks"] == "exposed.yml"
    assert rendered_all("{{ " + judge["when"] + " }}", variables) == bool(refused or warned)
    show = named("plan", "Show which servers others can reach")
    refuse = named("plan", "Refuse servers that others can reach")
    assert rendered_all("{{ " + show["when"] + " }}", variables) == bool(warned)
    assert rendered_all("{{ " + refuse["ansible.builtin.assert"]["that"] + " }}", variables) == (not refused)


def test_a_transfer_keeps_to_the_limits_that_were_set():
    given = {"gb10_distribution": {"connections": 2, "rate_limit_mib_s": 50, "port": 9000}, "gb10_keep": 3, "gb10_state_dir": "/state", **HOST}
    plan = {"spark-01": {"shares": [{"give": False}], "trusted": ["PEM"]}}
    variables = {**rendered.variables_of("distribution"), **given, "distribution_plan": plan, "distribution_parts": {"spark-01": []}}
    got = rendered_all(named("distribution", "Transfer")["gb10.vllm.share"], variables)
    assert got == {
        "state": "transferred", "shares": [{"give": False}], "trusted": ["PEM"], "connections": 2, "rate_limit_mib_s": 50, "keep": 3, "state_dir": "/state",
    }  # fmt: skip
    assert rendered_all(named("distribution", "Open")["gb10.vllm.share"]["port"], variables) == 9000


@pytest.mark.parametrize(
    ("forks", "gives", "first"), [(2, [True], True), (2, [True, True], True), (2, [True, False], False), (2, [False], False), (3, [True], False)]
)
def test_with_fewer_forks_than_boxes_those_that_only_give_come_first(forks, gives, first):
    plan = {f"spark-0{number}": {"shares": [{"give": give} for give in gives]} for number in (1, 2, 3)}
    conditions = named("distribution", "Offer")["when"]
    variables = {**HOST, "distribution_plan": plan, "ansible_forks": forks}
    assert all(rendered_all("{{ " + one + " }}", variables) for one in conditions) == first


def test_supply_takes_its_lock_for_what_was_planned():
    task = named("playbooks/supply.yml", "Let no other run change these boxes")
    boxes = {"box": {"servers": {"a": {"deployment": {"spec": "1"}}}}}
    assert rendered_all(task["gb10.vllm.run_lock"]["planned"], {"preflight_result": boxes}) == boxes["box"]["servers"]


def test_what_is_set_for_the_servers_of_a_box_acts():
    given = {
        "gb10_history": 2, "gb10_restarts": 6, "gb10_restart_window_s": 700, "gb10_stop_timeout_s": 90, "gb10_shm_gib": 16, "gb10_os_floor_gib": 20,
        "gb10_repair": False, "gb10_api_key": "k", "gb10_state_dir": "/state", "gb10_config_dir": "/etc/x", "gb10_wedged_s": 1800,
    }  # fmt: skip
    variables = {**rendered.variables_of("server"), **given, "server_wanted": {"name": "a", "model_path": "/srv/m"}}
    assert rendered_all(variables["server_settings"], variables) == {
        "state_dir": "/state", "config_dir": "/etc/x", "shm_gib": 16, "floor_bytes": 20 * 2**30, "stop_timeout_s": 90,
    }  # fmt: skip
    assert rendered_all(variables["server_options"], variables) == {
        "history": 2, "repair": False, "api_key": "k", "replan": False, "router_key": "", "metrics_key": "", "read_only": True,
    }  # fmt: skip
    unit = rendered.render(variables["server_unit_text"], variables).splitlines()
    assert {"StartLimitIntervalSec=700", "StartLimitBurst=7", "TimeoutStopSec=120", "ExecStop=/usr/bin/docker stop --time 90 gb10-vllm-a"} <= set(unit)
    assert 'Environment="GB10_STATE_DIR=/state" GB10_STARTS_WITHOUT_ANSWER=7' in unit
    guards = {one["dest"].rpartition("/")[2]: rendered.render(one["content"], variables) for one in variables["server_shared_files"][1:]}
    watch = guards["gb10-vllm-watch@.service"].splitlines()
    assert 'Environment="GB10_STATE_DIR=/state" "GB10_CONFIG_DIR=/etc/x" GB10_WEDGED_S=1800' in watch
    container = named("server", "Create the container")["community.docker.docker_container"]
    assert container["shm_size"] == "{{ server_deployment.container.shm_size_bytes }}"
    assert container["stop_timeout"] == "{{ server_deployment.container.stop_timeout_s }}"


def test_what_boxes_may_be_what_is_kept_back_and_what_users_know_themselves_reaches_who_asks():
    look = rendered.trusted(next(one for one in tasks("roles/preflight/tasks/main.yml") if "gb10.vllm.box_info" in one))["gb10.vllm.box_info"]
    for given, told in (({}, ["aarch64"]), ({"gb10_architectures": ["x86_64"]}, ["x86_64"])):
        assert rendered_all(look["architectures"], {**rendered.variables_of("preflight"), **given}) == told
    ask = rendered.task("plan", "main.yml", "gb10.vllm.kv_cache_budget")
    for given, told in (({}, 0), ({"gb10_reserve_gib": 7.5}, 7.5)):
        assert float(rendered_all(ask["reserve_gib"], {**rendered.variables_of("plan"), **given})) == told
    prove = rendered.task("server", "prove.yml", "gb10.vllm.server_ready")
    for given, told in (({}, []), ({"gb10_diagnoses": "/mine.yml"}, ["/mine.yml"])):
        assert rendered_all(prove["diagnoses"], {**rendered.variables_of("server"), **given}) == told


@pytest.mark.parametrize("role", ["bundle", "fleet", "preflight", "server"])
def test_an_open_server_is_one_in_every_role_or_in_none(role):
    variables = rendered.variables_of(role)
    for given, told in (({}, False), ({"gb10_allow_open": True}, True), ({"gb10_allow_open": "no"}, False)):
        assert rendered_all(variables[f"{role}_allow_open"], {**variables, **given}) is told


def test_pages_and_pictures_lie_where_it_is_said_and_else_where_the_run_was_started(monkeypatch):
    monkeypatch.setenv("PWD", "/here")
    variables = rendered.variables_of("fleet")
    for given, told in (({}, "/here"), ({"gb10_status_dir": "/pages"}, "/pages")):
        assert rendered_all(variables["fleet_status_dir"], {**variables, **given}) == told


@pytest.mark.parametrize(("place", "condition"), [("Let the guard forget", "forget_starts"), ("Note that the start is over", "starting")])
def test_the_guard_itself_forgets_where_its_server_keeps_its_records(place, condition):
    task = named("server", place)
    variables = {**rendered.variables_of("server"), "gb10_state_dir": "/state", "server_wanted": {"name": "a"}, "__server_started": {"changed": False}}
    assert rendered_all(task["ansible.builtin.command"]["argv"], variables) == ["/usr/local/lib/gb10-vllm/guard", "forget", "a"]
    assert rendered_all(task["environment"], variables) == {"GB10_STATE_DIR": "/state"}
    for check in (False, True):
        for wished in (False, True):
            now = {**variables, "ansible_check_mode": check, "server_order": {condition: wished}}
            assert rendered_all("{{ " + task["when"] + " }}", now) == (wished and not check)


def test_a_guard_is_brought_up_to_date_before_anything_asks_it():
    main, back = tasks("roles/server/tasks/main.yml"), tasks("roles/server/tasks/rollback.yml")
    assert main[0]["ansible.builtin.include_tasks"] == "box.yml" and "server_shared_stale" in main[0]["when"]
    includes = [one["ansible.builtin.include_tasks"] for one in back if "ansible.builtin.include_tasks" in one]
    assert includes == ["guard.yml", "activate.yml"]
    stale = next(one for one in back if one.get("ansible.builtin.include_tasks") == "guard.yml")
    assert (stale["when"], stale["vars"]) == ("server_shared_stale | length > 0", {"server_box": "{{ __server_rollback.box }}"})
    reload = named("server", "Have systemd read the watch")
    assert reload["ansible.builtin.systemd_service"] == {"daemon_reload": True}
    for changed in (False, True):
        variables = {"__server_shared": {"changed": changed}, "ansible_check_mode": False}
        assert rendered_all("{{ " + reload["when"] + " }}", variables) == changed


@pytest.mark.parametrize(
    ("built", "learned", "again"),
    [("", [], False), ("", [{"where": "spark-01"}], True), ("0.33.0", [], False), ("0.34.0", [], True), ("0.33.0", [{"where": "x"}], True)],
)
def test_the_next_batch_is_planned_with_what_the_canary_measured(built, learned, again):
    play = yaml.safe_load((rendered.ROLES.parent / "playbooks/activate.yml").read_text())[0]
    task = named("playbooks/activate.yml", "Plan again with the engine that was built")
    hostvars = {"spark-01": {"server_learned": learned}, "spark-02": {"inventory_hostname": "spark-02"}, "spark-03": {"server_learned": [{"where": "own"}]}}
    names = ("activate_others", "activate_learners", "activate_learned", "activate_brought", "activate_other_engine", "activate_outdated")
    plan = {"engine": {"vllm_version": "0.33.0"}, "servers": [{"name": "a"}]}
    variables = {
        **rendered.trusted({key: play["vars"][key] for key in names}),
        "distribution_result": {"images": {"vllm-node": {"vllm_version": built}}}, "preflight_images": {"servers": {"a": "vllm-node"}}, "hostvars": hostvars,
        "ansible_play_hosts_all": list(hostvars), "ansible_play_batch": ["spark-03"], "plan_result": {"plan": plan},
    }  # fmt: skip
    assert rendered_all("{{ " + task["when"] + " }}", variables) == again
    names = [one.get("name", "") for one in tasks("playbooks/activate.yml")]
    assert names.index(task["name"]) < names.index("Serve what is wanted")


def test_a_plan_is_told_what_other_boxes_measured(tmp_path):
    start = {"deployment": {"spec": "s", "container": {"image": "i", "command": []}}, "measured": {"spec": "s", "facts": {"beside_bytes": 5}}}
    hostvars = {"spark-01": {"server_learned": [{"where": "spark-01", **start}]}, "spark-02": {"inventory_hostname": "spark-02"}}
    variables = {
        **rendered.variables_of("plan"), **HOST, "inventory_hostname": "spark-02", "hostvars": hostvars, "ansible_play_hosts_all": list(hostvars),
        "inventory_dir": str(tmp_path),
    }  # fmt: skip
    assert rendered_all(named("plan", "Compute the memory plan")["gb10.vllm.kv_cache_budget"]["elsewhere"], variables) == [{"where": "spark-01", **start}]


@pytest.mark.parametrize(
    ("start", "warm", "asked"), [(True, True, ("prove", {"requests": 4})), (True, False, ("prove", {})), (False, True, ("no", {"requests": 4}))]
)
def test_a_load_is_put_on_a_server_only_after_a_start(start, warm, asked):
    prove = rendered.task("server", "prove.yml", "gb10.vllm.server_ready")
    variables = {**rendered.variables_of("server"), "gb10_warm_proof": warm, "server_order": {"start": start, "load": {"requests": 4}}}
    assert (rendered_all(prove["measure"], variables), rendered_all(prove["load"], variables)) == asked


def test_the_memory_is_noted_after_the_old_server_has_gone_and_before_the_new_container_is_made():
    block = next(one for one in tasks("roles/server/tasks/start.yml") if one.get("name", "").startswith("Replace the container"))
    assert block["when"] == "server_order.create", "in a steady state nobody asks"
    stop, note, create = block["block"][-3:]
    assert stop["ansible.builtin.systemd_service"]["state"] == "stopped" and "community.docker.docker_container" in create
    asked = note["gb10.vllm.server_ready"]
    assert (asked["measure"], asked["memory_bytes"]) == ("begin", "{{ server_order.memory_bytes }}")


def test_what_a_start_measured_is_remembered_for_the_batches_to_come():
    task = named("server", "Remember what is new")
    variables = {
        **rendered.variables_of("server"), **rendered.trusted(task["vars"]), "inventory_hostname": "spark-01", "server_wanted": {"name": "a"},
        "server_order": {"create": True, "previous": {}, "deployment": {}}, "server_deployment": {"spec": "s", "container": {"image": "i"}},
        "__server_ready": {"facts": {"beside_bytes": 5}},
    }  # fmt: skip
    learned = task["ansible.builtin.set_fact"]["server_learned"]
    start = {"where": "spark-01", "deployment": variables["server_deployment"], "measured": {"spec": "s", "image_id": "i", "facts": {"beside_bytes": 5}}}
    assert rendered_all(learned, variables) == [start]
    assert rendered_all(learned, {**variables, "server_learned": [1]}) == [1, start]
    assert rendered_all(learned, {**variables, "__server_ready": {"facts": {}}}) == []


def swapped():
    """Two servers that swap ports, on a box where both run."""
    was = [fleet_boxes.deployed(fleet_boxes.server(name, port=port)) for name, port in (("a", 8000), ("b", 8001))]
    wanted = [{"name": "a", "model": "a-24b", "port": 8001}, {"name": "b", "model": "b-24b", "port": 8000}]
    plan = {"servers": [{"name": name, "requested_bytes": 90 * 2**30} for name in "ab"]}
    given = {"gb10_servers": wanted, "preflight_result": {"box": fleet_boxes.box(*was)}, "plan_result": {"plan": plan}}
    return {**rendered.variables_of("server"), **HOST, **given}, was


def test_what_has_to_give_way_is_stopped_first_and_remembered():
    variables, _was = swapped()
    loop = rendered_all(named("server", "Serve one server after the other")["loop"], variables)
    assert [one["name"] for one in loop] == ["a", "b"]
    stop, remember = named("server", "Stop what runs, because"), named("server", "Remember what gives way")
    for name, release in (("a", ["b"]), ("b", [])):
        at_work = {**variables, "server_wanted": {"name": name}, "server_order": {"unit": f"gb10-vllm-{name}.service"}}
        at_work.update({key: rendered.trusted(one) for key, one in stop["vars"].items()})
        assert rendered_all(stop["loop"], at_work) == [f"gb10-vllm-{one}.service" for one in (name, *release)]
        assert rendered_all("{{ " + remember["when"] + " }}", at_work) is bool(release)
    noted = rendered_all(remember["ansible.builtin.set_fact"], {**variables, "server_wanted": {"name": "a"}})
    assert noted == {"server_released": ["b"], "server_circles": [["a", "b"]]}


@pytest.mark.parametrize(("failed", "touched", "moved"), [("a", [], ["b"]), ("b", ["a"], ["a"]), ("c", ["a", "b"], [])])
def test_what_moved_together_goes_back_together(failed, touched, moved):
    """a took b's port: when a fails, b runs as before; when b fails, a goes back too, for b needs its port."""
    variables, was = swapped()
    orders = {"a": {"previous": was[0]}, "b": {"previous": {}}}
    state = {"server_released": ["b"], "server_circles": [["a", "b"]], "server_touched": touched, "server_orders": orders, "server_lost": False}
    found = {**variables, **state, "server_wanted": {"name": failed}}
    assert rendered_all("{{ server_moved }}", found) == moved
    assert rendered_all("{{ server_befores }}", found) == [was["ab".index(name)] for name in moved]
    assert rendered_all("{{ server_moved }}", {**found, "server_lost": True}) == [], "what is another run's is left alone"
    again = [one for one in tasks("roles/server/tasks/restore.yml") if "ansible.builtin.include_tasks" in one]
    assert len(again) == 2 and all(one["vars"]["server_steps"] == [] for one in again), "going back stops nothing that has just been put back"


@pytest.mark.parametrize(("asked", "problem", "runs"), [(None, "", False), (True, "", True), ("no", "", False), (True, "no cable", False)])
def test_an_all_gather_runs_where_it_is_asked_for_and_there_is_a_fabric(asked, problem, runs):
    given = {} if asked is None else {"gb10_fabric_all_gather": asked}
    task = named("fabric", "Measure an all-gather with the served image")
    assert task["ansible.builtin.include_tasks"] == "all_gather.yml"
    assert rendered_all("{{ " + task["when"] + " }}", {**rendered.variables_of("fabric"), "fabric_plan": {"problem": problem}, **given}) is runs


@pytest.mark.parametrize("role", ["server", "fleet", "preflight"])
def test_a_server_listens_where_its_box_says_that_a_router_comes_in(role):
    """gb10_server_address: of a box whose name is no address; else its servers stay on loopback."""
    variables = {**rendered.variables_of(role), **HOST, "ansible_host": "10.0.0.7", "gb10_server_address": "10.0.0.8"}
    here = next(name for name in (f"{role}_reach", f"{role}_here") if name in variables)
    assert rendered_all(variables[here], variables) == {"box": "spark-01", "host": "10.0.0.7", "given": "10.0.0.8"}
    del variables["gb10_server_address"]
    assert rendered_all(variables[here], variables)["given"] == ""


def test_a_box_that_serves_what_is_wanted_already_keeps_no_other_from_rehearsing():
    task = named("fleet", "Ask vLLM")
    box = {"preflight_result": {"box": {"memory": {"available_bytes": 1}}}}
    given = {"inventory_hostname": "one", "ansible_play_hosts": ["one", "two"], "hostvars": {"one": {**box, "fleet_asked": {"a": "x"}}, "two": box}}
    assert rendered_all(task["vars"]["fleet_rehearses"], {**rendered.trusted(task["vars"]), **given}) == ["a"]


def test_the_end_of_monitoring_names_the_routers_that_tell_nothing():
    """By the group, and by the variable that names them for the boxes."""
    for group, named in ((["r"], {}), ([], {"gb10_routers": "r"})):
        known = {"r": {"ansible_host": "10.0.0.9"}, "a": {"ansible_host": "10.0.0.1", **named}, "m": {}}
        given = {"inventory_hostname": "m", "hostvars": known, "groups": {"all": list(known), "gb10_routers": group}, "monitoring_boxes": ["a"]}
        variables = {**rendered.variables_of("monitoring"), **given}
        notes = [rendered_all("{{ monitoring_notes }}", {**variables, "gb10_monitoring": one}) for one in ({"port": 9099}, {"router_port": 9101})]
        assert [len(one) for one in notes] == [1, 0] and "gb10_router_metrics_port is 0" in notes[0][0]
        assert rendered_all("{{ monitoring_known.routers }}", variables) == {"r": {"management": "10.0.0.9", "servers": [], "metrics": ["127.0.0.1", 0]}}


def looked_at(number, boxes=("b", "a"), **more):
    """What a box of a server over several has."""
    return {
        "preflight_result": {"box": {"servers": {"big": {"deployment": {"spec": f"s{number}", "group": {"number": number, "boxes": list(boxes)}}}}}},
        **more,
    }


def test_a_benchmark_asks_the_head_of_a_server_over_several_boxes_alone():
    """Its other ranks answer nobody: there the benchmark failed."""
    alone = {"small": {"deployment": {"spec": "x"}}}
    for number, asked in ((0, ["big", "small"]), (1, ["small"])):
        known = looked_at(number)
        known["preflight_result"]["box"]["servers"] |= alone
        variables = {**rendered.variables_of("benchmark"), **known}
        assert rendered_all("{{ benchmark_names }}", variables) == asked
        assert rendered_all("{{ benchmark_names }}", {**variables, "server": "big"}) == (["big"] if number == 0 else [])
        task = named("benchmark", "Refuse a benchmark of what does not serve here")
        assert rendered_all(task["vars"]["benchmark_lacking"], {**variables, **task["vars"], "server": "big"}) == ""


def test_each_benchmark_of_the_role_asks_with_prompts_of_its_own():
    """A server that went on running has the answers to those of an earlier one in its prefix cache."""
    deployment = {"name": "m", "container": {"command": ["serve", "/models/m"], "volumes": []}}
    task = named("benchmark", "Work out what is asked")
    variables = {**rendered.variables_of("benchmark"), **rendered.trusted(task["vars"]), "benchmark_deployment": deployment}
    asked = [rendered_all(task["ansible.builtin.set_fact"]["benchmark_asked"], variables) for _twice in range(2)]
    seeds = [{words[words.index("--seed") + 1] for run in one["runs"] for words in (run["args"], run["warm"]) if words} for one in asked]
    assert not seeds[0] & seeds[1]


TUNED = {"gb10_servers": [{"name": "big", "model": "m", "boxes": ["b", "a"]}], "inventory_hostname": "a", "ansible_play_hosts": ["a", "b"]}


def tuned(*boxes, hosts=("a", "b"), **more):
    known = {"a": looked_at(1, tune_there=True), "b": looked_at(0, tune_there=True)}
    given = {**TUNED, "groups": {"all": ["a", "b"]}, "hostvars": known, "ansible_play_hosts": list(hosts), "tune_boxes": list(boxes), "gb10_tune_dir": "/here"}
    return {**rendered.variables_of("tune"), **given, **more}


def refusal(variables, where="Refuse what cannot be tuned", name="tune_lacking"):
    task = named("tune", where)
    return rendered_all(task["vars"][name], {**variables, **task["vars"]})


def test_a_search_over_a_part_of_the_boxes_of_a_server_is_refused_with_their_names():
    assert refusal(tuned("b", "a")) == ""
    said = refusal(tuned("b", "a", hosts=["a"]))
    assert said.startswith("big is served by b, a together, and b is not part of this run") and "search with all of its boxes" in said
    assert refusal(tuned()) == "big is not deployed here; run the playbook site first."
    bare = {"a": looked_at(1), "b": {"preflight_result": {"box": {"servers": {}}}}}
    assert refusal(tuned("b", "a", hostvars=bare)) == "big is not deployed on b; run the playbook site first."


def test_all_boxes_of_a_server_search_as_one_and_its_head_writes():
    for box, head in (("a", False), ("b", True)):
        variables = tuned("b", "a", inventory_hostname=box)
        assert rendered_all(["{{ tune_is_head }}", "{{ tune_path }}", "{{ tune_record.deployment.spec }}"], variables) == [head, "/here/gb10-tune-b-big", "s0"]
        assert [one["name"] for one in rendered_all("{{ tune_normal }}", {**variables, "tune_candidate": {"set": {}}})] == ["big"]
    written = [named("tune", name)["when"] for name in ("Keep the state of the search", "Measure the candidate", "Say what came of the candidate")]
    assert written == ["tune_is_head"] * 3


def test_a_search_that_lost_a_box_ends_and_leaves_what_runs_on_the_others():
    lost = named("tune", "End where one of its boxes is not part")
    for hosts, ends in ((["a", "b"], False), (["a"], True)):
        assert rendered_all("{{ " + lost["when"] + " }}", {**tuned("b", "a", hosts=hosts), **lost["vars"]}) is ends
    left = named("tune", "Leave what runs where one of its boxes is not there")
    for there, leaves in ((True, False), (False, True)):
        known = {"a": looked_at(1, tune_there=True), "b": looked_at(0, tune_there=there)}
        assert rendered_all("{{ " + left["when"] + " }}", {**tuned("b", "a", hostvars=known), **left["vars"]}) is leaves
    order = [one.get("name") for one in tasks("roles/tune/tasks/back.yml")]
    assert order.index("Leave what runs where one of its boxes is not there") < order.index("Bring back what ran before the search")


def test_a_server_that_runs_as_the_inventory_says_on_all_of_its_boxes_can_be_searched():
    task = named("tune", "Refuse a server that is not what the inventory says")
    for created, other in ((False, []), (True, ["args changed"])):
        orders = {"a": {"create": created, "reason": "args changed"}, "b": {"create": False, "reason": "unchanged"}}
        known = {box: {"server_orders": {"big": order}} for box, order in orders.items()}
        variables = {**tuned("b", "a", hostvars=known), **task["vars"]}
        assert [one["reason"] for one in rendered_all("{{ tune_other }}", variables)] == other
        assert ("run as the inventory says (args changed)" in rendered_all(task["ansible.builtin.assert"]["fail_msg"], variables)) is created
