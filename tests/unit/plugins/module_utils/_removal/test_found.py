# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host is asked before a removal, to the word, and what is made of its answers."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._removal import found

OURS = {"Name": "/gb10-vllm-tiny", "Config": {"Labels": {"gb10.vllm.server": "tiny"}}}


@pytest.fixture
def host(monkeypatch):
    """``host.calls``: what was run; ``host.says``: what it answers, by the word after the program; ``host.programs``: what is installed."""
    made = SimpleNamespace(calls=[], says={}, programs={"docker", "iptables", "dpkg-query"})

    def run(argv):
        made.calls.append(argv)
        return SimpleNamespace(stdout=made.says.get(argv[1], ""))

    monkeypatch.setattr(found, "run", run)
    monkeypatch.setattr(found, "docker_text", lambda *words: made.calls.append(words) or made.says.get(words[0], ""))
    monkeypatch.setattr(
        found, "docker", lambda *words, **how: made.calls.append((words, how)) or SimpleNamespace(stdout=made.says.get(" ".join(words[:2]), ""))
    )
    monkeypatch.setattr(found.shutil, "which", lambda program: program if program in made.programs else None)
    return made


def test_all_that_is_found_by_its_name(host, tmp_path, monkeypatch):
    state, config, models = (str(tmp_path / name) for name in ("state", "config", "models"))
    haproxy, keepalived = (tmp_path / name for name in ("haproxy.cfg", "keepalived.conf"))
    haproxy.write_text(f"{found.MARK}\n")
    keepalived.write_text(f"# mine\n{found.MARK}\n")
    monkeypatch.setattr(found, "PROGRAMS", {str(haproxy): "haproxy", str(keepalived): "keepalived"})
    for name in ("unit", "drop-in", "state/servers/x", "state/run.lock", "state/run.lock.new", "state/mine", "config/hub.env", "config/his"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    parts = {"server": (f"{tmp_path}/unit", f"{tmp_path}/drop-in"), "host": (), "router": (f"{tmp_path}/drop-in",)}
    monkeypatch.setattr(found.places, "PARTS", parts)
    (tmp_path / "state/host.json").write_text('{"wifi_off": {}, "held": {}}')
    (tmp_path / "state/build").mkdir()
    (tmp_path / "state/build/images.json").write_text('{"names": {"a:1": {"image_id": "i"}}, "received": {"j": "b:1"}}')
    host.says = {
        "ps": "b\na\nb", "images": "i", "inspect a": json.dumps([OURS]), "image inspect": '[{"Id": "i"}]', "-S": "-N GB10-80\n",
        "--show": "installed haproxy\ninstalled a\n",
        "show": "Id=gb10-vllm-tiny.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n",
    }  # fmt: skip
    assert found.found(state, config, models) == {
        "units": ["gb10-vllm-tiny.service"],
        "containers": [OURS],
        "chains": ["GB10-80"],
        "images": [{"Id": "i"}],
        "image_names": {"a:1": {"image_id": "i"}},
        "image_received": {"j": "b:1"},
        "models": [],
        "models_dir": models,
        "settings": ["gb10_host.held", "gb10_host.wifi_off"],
        "router": ["haproxy"],
        "files": {
            "router": [f"{tmp_path}/drop-in", str(haproxy)],
            "host": [],
            "server": [f"{tmp_path}/unit", f"{state}/build", f"{state}/host.json", f"{state}/servers", f"{config}/hub.env"],
        },
        "foreign": [f"{state}/mine", f"{config}/his"],
        "packages": ["a", "haproxy"],
    }
    assert host.calls == [
        ("ps", "-aq", "--no-trunc"),
        (("inspect", "a", "b"), {"missing_ok": True}),
        ["systemctl", "show", "--all", "--property=Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts", "gb10-vllm-*"],
        ["iptables", "-S"],
        ("images", "-aq", "--no-trunc"),
        (("image", "inspect", "i"), {"missing_ok": True}),
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", "haproxy", "keepalived", "python3-requests"],
    ]


def test_a_host_with_nothing_is_asked_for_nothing_more(host, tmp_path, monkeypatch):
    monkeypatch.setattr(found.places, "PARTS", {"server": (), "router": ()})
    monkeypatch.setattr(found, "PROGRAMS", {})
    host.programs = set()
    empty = str(tmp_path / "none")
    nothing = found.found(empty, empty, empty)
    assert {key: value for key, value in nothing.items() if value} == {"models_dir": empty, "files": {"router": [], "server": []}}
    assert (nothing["image_names"], nothing["image_received"]) == ({}, {}) and len(host.calls) == 1


def test_patterns_find_each_path_once_in_order_and_links_that_lead_nowhere(tmp_path):
    for name in ("b1", "a1", "a2"):
        (tmp_path / name).touch()
    (tmp_path / "gone").symlink_to("nowhere")
    patterns = [f"{tmp_path}/b*", f"{tmp_path}/?1", f"{tmp_path}/gone", f"{tmp_path}/never"]
    assert found._there(patterns) == [f"{tmp_path}/{name}" for name in ("a1", "b1", "gone")]


def test_a_path_belongs_to_the_most_particular_part():
    files = {"router": ["a", "b"], "server": ["c", "b", "d"], "host": ["d"]}
    assert found._drop_doubles(files) is None and files == {"router": ["a", "b"], "server": ["c"], "host": ["d"]}


@pytest.mark.parametrize(("content", "ours"), [(b"# ours\n\xff", True), (b"\xff# ours", False), (b"", False), (None, False)])
def test_a_file_is_ours_by_how_it_begins_whatever_else_is_in_it(tmp_path, content, ours):
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    assert found._begins(str(tmp_path / "x"), "# ours") is ours


@pytest.mark.parametrize(
    ("name", "active", "enabled", "goes"),
    [
        ("gb10-vllm-a.service", "inactive", "enabled", True),
        ("gb10-vllm-a.service", "active", "disabled", True),
        ("gb10-vllm-a.service", "failed", "disabled", True),
        ("gb10-vllm-a.service", "inactive", "disabled", False),
        ("gb10-vllm-a.timer", "active", "disabled", True),
        ("gb10-vllm-a.socket", "active", "disabled", True),
        ("gb10-vllm-a.slice", "active", "enabled", False),
        ("gb10-vllm-watch@a.service", "active", "static", False),
        ("gb10-vllm-agent@a.service", "active", "static", False),
        ("gb10-vllm-watch@a.timer", "active", "static", True),
        ("gb10-vllm-collector.service", "active", "static", False),
        ("gb10-vllm-collector.timer", "active", "static", True),
        ("gb10-vllm-collector-2.service", "active", "static", True),
        ("gb10-vllm-watcher.service", "active", "static", True),
    ],
)
def test_a_unit_goes_that_runs_or_starts_at_boot_and_does_not_end_by_itself(host, name, active, enabled, goes):
    host.says = {"show": f"Id={name}\nLoadState=loaded\nActiveState={active}\nUnitFileState={enabled}\n"}
    assert found._units() == [name] * goes


@pytest.mark.parametrize(
    ("answer", "left"),
    [("-N GB10-80\n-N DOCKER\n-N GB10-443\n-A GB10-7 -j X\n-N GB10-x\n-N GB10-80x\n--N GB10-9\n", ["GB10-80", "GB10-443"]), ("", [])],
)
def test_chains_are_known_by_their_names(host, answer, left):
    host.says = {"-S": answer}
    assert found._chains() == left and host.calls == [["iptables", "-S"]]
    host.programs.clear()
    assert found._chains() == [] and len(host.calls) == 1


def test_where_there_is_nothing_to_look_into_docker_is_not_asked_again(host):
    assert found._inspected("ps") == [] and host.calls == [("ps",)]
    host.says = {"ps": "a"}
    assert found._inspected("ps") == [], "it went meanwhile"
    host.programs.clear()
    assert found._inspected("ps") == [] and len(host.calls) == 3


@pytest.fixture
def models(tmp_path):
    root = tmp_path / "models"
    for name in ("b@1", "a@1", "org/a@1", "org/team/a@1", "org/team/more/a@1", "a@1/inside"):
        (root / name).mkdir(parents=True)
        (root / name / ".gb10-vllm-record").write_text('{"repo_id": "org/a"}')
    (root / "theirs").mkdir()
    for link, target in (("a", "a@1"), ("his", "theirs")):
        (root / link).symlink_to(target)
    return root


def test_models_are_found_three_deep_with_their_links_and_users(models):
    used = [
        {"Name": "/webui", "Mounts": [{"Source": None}, {"Source": f"{models}/org/team/a@1/x"}]},
        {"Mounts": [{"Source": f"{models}/b@1"}]},
        {"Name": "/idle", "Mounts": None},
        {**OURS, "Mounts": [{"Source": f"{models}/a@1"}]},
        {"Name": "/late", "Mounts": [{"Source": f"{models}/org/team"}]},
    ]
    assert found._models(str(models), used) == [
        {"path": f"{models}/a", "link": True, "used_by": ""},
        {"path": f"{models}/a@1", "link": False, "used_by": ""},
        {"path": f"{models}/b@1", "link": False, "used_by": ""},
        {"path": f"{models}/org/a@1", "link": False, "used_by": ""},
        {"path": f"{models}/org/team/a@1", "link": False, "used_by": "webui"},
    ]


@pytest.mark.parametrize(
    ("source", "used"),
    [("/m/a", True), ("/m/a/b", True), ("/m", True), ("/m/", True), ("/", True), ("/m/ab", False), ("/m/a@1", False), ("/n", False), ("/m/a/../b", False)],
)
def test_a_container_uses_what_it_mounts_with_all_in_it(source, used):
    assert found._user("/m/a", [("other", "/x"), ("webui", os.path.normpath(source)), ("late", "/m/a")]) == ("webui" if used else "late")
    assert found._user("/m/a", [("webui", source)] if used else []) == ("webui" if used else "")


def test_what_is_somebodys_is_named_one_by_one(tmp_path):
    for name in ("a-ours/x", "b-ours/x", "dir/y", "dir/x", "dir/ours", ".hidden", "zz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("dir")
    ours = [f"{tmp_path}/?-ours", f"{tmp_path}/*/ours"]
    assert found._foreign(str(tmp_path), ours) == [f"{tmp_path}/{name}" for name in (".hidden", "dir/x", "dir/y", "link", "zz")]


def test_packages_are_asked_for_by_the_parts_that_are_here(host):
    host.says = {"--show": "installed b\nconfig-files c\n\ninstalled a\n"}
    assert found._packages(["host", "server"]) == ["a", "b"]
    assert host.calls == [["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", "python3-requests"]]
    assert found._packages(["host"]) == [] and len(host.calls) == 1
    host.programs.clear()
    assert found._packages(["server"]) == [] and len(host.calls) == 1
