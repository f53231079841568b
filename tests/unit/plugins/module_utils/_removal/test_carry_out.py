# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a removal runs and unlinks, to the word, and what it leaves alone."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._removal import carry_out
from ansible_collections.gb10.vllm.plugins.module_utils._removal.items import Item

ENDING = ["systemctl", "reset-failed", "u"]


@pytest.fixture
def ran(monkeypatch):
    """What was run, with its arguments; ``ran.says``: (status, output, error) by the words after the program."""
    made = SimpleNamespace(calls=[], says={})

    def run(argv, *more):
        made.calls.append((argv, *more))
        status, out, error = made.says.get(" ".join(argv[1:]), (0, "", ""))
        return SimpleNamespace(returncode=status, stdout=out, stderr=error)

    monkeypatch.setattr(carry_out, "run", run)
    monkeypatch.setattr(carry_out, "docker_text", lambda *words, **how: made.calls.append((words, how)))
    return made


@pytest.mark.parametrize(("kinds", "reloads"), [(["unit"], 1), (["container", "file"], 1), (["container", "rules", "image", "model", "setting"], 0), ([], 0)])
def test_each_thing_is_done_by_its_kind_and_systemd_reads_its_units_anew_once(ran, monkeypatch, kinds, reloads):
    did = []
    monkeypatch.setattr(carry_out, "DOING", {kind: lambda name, kind=kind: did.append((kind, name)) for kind in carry_out.DOING})
    carry_out.carry_out([Item(kind, f"a {kind}") for kind in kinds])
    assert did == [(kind, f"a {kind}") for kind in kinds] and ran.calls == [(["systemctl", "daemon-reload"], 60)] * reloads


@pytest.mark.parametrize(("error", "named"), [(OSError(30, "read-only", "/a/b"), "/a/b"), (OSError(5, "broken"), "/a")])
def test_what_cannot_be_removed_is_named_with_its_reason_and_ends_it(ran, monkeypatch, error, named):
    did = []

    def fail(name):
        did.append(name)
        raise error

    monkeypatch.setattr(carry_out, "DOING", {"file": fail})
    with pytest.raises(GB10Error) as told:
        carry_out.carry_out([Item("file", "/a"), Item("file", "/c")])
    said = f"{named} cannot be removed ({error.strerror}); look at that disk, then run this again."
    assert (str(told.value), told.value.__cause__, did, ran.calls) == (said, None, ["/a"], [])


def test_a_unit_is_disabled_and_stopped_with_the_time_that_takes_and_forgotten(ran):
    ran.says = {"disable u": (1, "", "static"), "reset-failed u": (1, "", "")}
    carry_out._unit("u")
    assert ran.calls == [(["systemctl", "disable", "u"], 600.0), (["systemctl", "stop", "u"], 600.0), (ENDING,)]


@pytest.mark.parametrize(("error", "said"), [(" it hangs\n", "it hangs"), (" \n", "it said nothing")])
def test_a_unit_that_does_not_stop_is_an_error_with_systemds_words(ran, error, said):
    ran.says = {"stop u": (5, "", error)}
    with pytest.raises(GB10Error) as told:
        carry_out._unit("u")
    assert str(told.value) == f"systemd does not stop u: {said}; look at `systemctl status u`, then run this again." and (ENDING,) not in ran.calls


def test_docker_is_asked_to_the_word(ran):
    carry_out._container("c")
    carry_out._image("i")
    assert ran.calls == [(("rm", "--force", "--volumes", "c"), {"missing_ok": True}), (("rmi", "i"), {"missing_ok": True})]


def test_of_the_firewall_goes_what_leads_to_the_chain_and_it_itself(ran):
    shown = (
        "-P INPUT ACCEPT\n-N GB10-A-80\n-A INPUT -p tcp -j GB10-A-80\n-A INPUT -j GB10-A-8\n-A GB10-A-80 -j ACCEPT\n-A OUTPUT -j GB10-A-80\n-I X -j GB10-A-80\n"
    )
    ran.says = {"-S": (0, shown, "")}
    carry_out._rules("GB10-A-80")
    assert [" ".join(argv) for (argv,) in ran.calls] == [
        "iptables -S",
        "iptables -w 10 -D INPUT -p tcp -j GB10-A-80",
        "iptables -w 10 -D OUTPUT -j GB10-A-80",
        "iptables -w 10 -F GB10-A-80",
        "iptables -w 10 -X GB10-A-80",
        "ip6tables -w 10 -D INPUT ! -i lo -p tcp --dport 80 -j REJECT",
    ]


@pytest.fixture
def emptied(monkeypatch):
    """The directories that were tried to take away as empty ones."""
    tried, real = [], os.rmdir
    monkeypatch.setattr(carry_out.os, "rmdir", lambda path, **more: tried.append(os.path.basename(path)) or real(path, **more))
    return tried


@pytest.mark.parametrize(("name", "tried"), [("empty", True), ("full", True), ("link", False), ("file", False), ("missing", False)])
def test_only_a_directory_that_is_none_of_somebodys_is_taken_away_as_an_empty_one(tmp_path, emptied, name, tried):
    for folder in ("empty", "full/x"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "file").touch()
    carry_out._rmdir(str(tmp_path / name))
    assert emptied == [name] * tried
    assert sorted(os.listdir(tmp_path)) == sorted({"empty", "full", "link", "file"} - ({"empty"} if name == "empty" else set()))


def test_a_file_a_tree_and_a_link_go_and_what_is_gone_is_no_mistake(tmp_path, emptied):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").touch()
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("kept")
    emptied.clear()
    for name in ("tree", "file", "link", "never"):
        carry_out._file(str(tmp_path / name))
    assert os.listdir(tmp_path) == ["kept"] and os.listdir(tmp_path / "kept") == ["x"]
    assert tmp_path.name not in emptied, "whose directory it is, is not ours to say"


def test_what_cannot_be_unlinked_is_an_error(monkeypatch):
    with pytest.raises(NotADirectoryError):
        carry_out._file("/dev/null/x")


@pytest.mark.parametrize(("folder", "beside", "goes"), [("x.service.d", False, True), ("x.service.d", True, False), ("x.service.e", False, False)])
def test_a_directory_of_drop_ins_goes_with_the_last_of_them(tmp_path, folder, beside, goes):
    (tmp_path / folder).mkdir()
    for name in ("ours", *(["theirs"] if beside else [])):
        (tmp_path / folder / name).touch()
    carry_out._file(str(tmp_path / folder / "ours"))
    assert (tmp_path / folder).exists() is not goes


@pytest.mark.parametrize("beside", [False, True])
def test_a_model_goes_with_the_directory_of_its_organisation_when_that_is_empty(tmp_path, beside):
    (tmp_path / "acme/tiny").mkdir(parents=True)
    if beside:
        (tmp_path / "acme/other").mkdir()
    carry_out._model(str(tmp_path / "acme/tiny"))
    assert (os.listdir(tmp_path), (tmp_path / "acme").exists()) == (["acme"] if beside else [], beside)


def test_at_the_end_go_the_lock_and_directories_that_are_empty(tmp_path, monkeypatch):
    state, config = tmp_path / "state", tmp_path / "con[fig]"
    for folder in (state, config / "a", config / "b", config / "c", tmp_path / "conf" / "d"):
        folder.mkdir(parents=True)
    (config / "b" / "mine").touch()
    (state / "run.lock").write_text("{}")
    carry_out._setting("gb10_host.wifi_off")
    carry_out.close(str(state), str(config))
    assert (state.exists(), os.listdir(config), (tmp_path / "conf" / "d").exists()) == (False, ["b"], True)
    (config / "b" / "mine").unlink()
    carry_out.close(str(state), str(config))
    assert os.listdir(tmp_path) == ["conf"]
