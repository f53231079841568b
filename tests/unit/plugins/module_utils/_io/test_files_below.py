# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files below a directory that may be anybody's: no link leads root out of it, nothing that is no file is waited for, nothing stays open."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import files

READ, WRITE, MAKE = os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT
OUT, NO_FILE = "it is a link that leads out of its directory", "it is no plain file"


@pytest.fixture(autouse=True)
def nothing_stays_open():
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.fixture(autouse=True)
def umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def root(tmp_path):
    """root/a/b/f is a file, root/in a link to it; out, up and deep lead outside, where `outside` is."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/f").write_bytes(b"inside")
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted/f").write_bytes(b"another directory that begins alike")
    (tmp_path / "outside").write_bytes(b"outside")
    (tmp_path / "root/in").symlink_to("a/b/f")
    (tmp_path / "root/folder").symlink_to("a")
    (tmp_path / "root/out").symlink_to(tmp_path / "outside")
    (tmp_path / "root/up").symlink_to("../outside")
    (tmp_path / "root/beside").symlink_to("../rooted/f")
    (tmp_path / "root/deep").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "root/pipe")
    return str(tmp_path / "root")


def taken(descriptor, count=100):
    try:
        return os.read(descriptor, count)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(("name", "real"), [("a/b/f", "a/b/f"), ("in", "a/b/f"), ("folder/b/f", "a/b/f"), ("none", "none"), ("a/../a/b", "a/b")])
def test_links_that_stay_inside_are_what_they_lead_to(root, name, real):
    assert files.inside(root, name) == real
    assert files.inside(root + "/", name) == real


@pytest.mark.parametrize("name", ["out", "up", "beside", "deep", "deep/outside", "deep/rooted/f", "../outside", "/etc/passwd", "..", "."])
def test_links_that_lead_out_are_nothing(root, name):
    assert files.inside(root, name) is None


def test_the_root_of_all_files_is_a_directory_like_others(root):
    assert files.inside("/", root.lstrip("/") + "/in") == root.lstrip("/") + "/a/b/f"


@pytest.mark.parametrize("name", ["a/b/f", "in", "folder/b/f"])
def test_what_is_inside_is_read(root, name):
    assert taken(files.open_below(root, name)) == b"inside"
    steps = []
    assert files.sha256_below(root, name, steps.append) == hashlib.sha256(b"inside").hexdigest()
    assert steps == [6]


@pytest.mark.parametrize(
    ("name", "flags", "why"),
    [
        ("out", READ, OUT),
        ("beside", READ, OUT),
        ("deep/outside", READ, OUT),
        ("pipe", READ, NO_FILE),
        ("a/b", READ, NO_FILE),
        ("pipe", os.O_RDWR, NO_FILE),
    ],
)
def test_what_leads_out_or_is_no_file_is_refused_by_name(root, name, flags, why):
    with pytest.raises(OSError) as raised:
        files.open_below(root, name, flags)
    assert (raised.value.errno, raised.value.strerror, raised.value.filename) == (errno.ELOOP, why, f"{root}/{name}")


@pytest.mark.parametrize("flags", [WRITE, MAKE, os.O_WRONLY, os.O_RDWR])
@pytest.mark.parametrize("name", ["in", "out", "up", "beside", "folder/b/f", "deep/outside", "deep/new"])
def test_for_writing_no_link_is_followed_at_all(root, name, flags):
    with pytest.raises(OSError) as raised:
        files.open_below(root, name, flags, make=True)
    assert raised.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert Path(f"{root}/../outside").read_bytes() == b"outside" and not os.path.exists(f"{root}/../new")


def test_a_link_that_takes_the_place_of_a_file_meanwhile_is_not_followed(root, monkeypatch):
    """Between the look and the opening."""
    monkeypatch.setattr(files, "inside", lambda _root, name: name)
    for name in ("out", "deep/outside"):
        with pytest.raises(OSError) as raised:
            files.open_below(root, name)
        assert raised.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_directories_are_made_only_where_that_is_asked(root):
    with pytest.raises(FileNotFoundError):
        files.open_below(root, "x/y/z", MAKE)
    assert not os.path.exists(f"{root}/x")
    os.close(files.open_below(root, "x/y/z", MAKE, make=True))
    os.close(files.open_below(root, "x/y/w", MAKE, make=True))
    modes = {name: stat.S_IMODE(os.stat(f"{root}/{name}").st_mode) for name in ("x", "x/y", "x/y/z")}
    assert modes == {"x": 0o755, "x/y": 0o755, "x/y/z": 0o644}


def test_what_arrived_gets_its_name_where_it_lies(root):
    for name in ("new", "a/b/new"):
        with files.open_incoming(f"{root}/{name}.incoming", root) as stream:
            files.write_all(stream, b"12", name)
            assert os.path.getsize(f"{root}/{name}.incoming") == 2, "nothing waits in a buffer"
        files.arrived(root, name)
        assert Path(f"{root}/{name}").read_bytes() == b"12" and not os.path.exists(f"{root}/{name}.incoming")
    directory = f"{root}/../rooted/new.incoming"
    Path(directory).touch()
    os.symlink("../rooted", f"{root}/elsewhere")
    with pytest.raises(OSError):
        files.arrived(root, "elsewhere/new")
    assert os.path.exists(directory)


def test_a_file_arrives_below_its_root_or_in_a_directory_that_is_there(root):
    with files.open_incoming(f"{root}/p/q.incoming", root):
        assert os.listdir(f"{root}/p") == ["q.incoming"]
    with pytest.raises(GB10Error, match=r"none/x cannot be written \(No such file or directory\); check the permissions and the disk of .*/none$"):
        files.open_incoming(f"{root}/none/x")
    assert not os.path.exists(f"{root}/none")
    with files.open_incoming(f"{root}/a/b/f") as stream:
        assert stream.read() == b"inside"
    for path, around in ((f"{root}/out", root), (f"{root}/deep/outside", root), (f"{root}/out", "")):
        with pytest.raises(GB10Error) as raised:
            files.open_incoming(path, around)
        assert str(raised.value) == f"{path} is a link or lies behind one, which nothing of ours writes through; look who put it there, remove it and run again"


def test_where_a_run_was_started_is_nothing_to_a_name(root, monkeypatch):
    monkeypatch.chdir(f"{root}/a")
    with files.open_incoming(f"{root}/here.incoming", root):
        assert os.path.exists(f"{root}/here.incoming")


def test_nothing_is_waited_for_or_made_on_the_way(root):
    for flags in (WRITE, READ):
        with pytest.raises(OSError):
            files.open_below(root, "pipe/x", flags)
    with pytest.raises(FileNotFoundError):
        files.arrived(root, "x/y")
    assert not os.path.exists(f"{root}/x")


def test_only_plain_files_are_opened_and_read(root):
    for name, number in (("pipe", errno.EINVAL), ("a", errno.EISDIR)):
        with pytest.raises(OSError) as raised:
            files.plain(f"{root}/{name}")
        assert (raised.value.errno, raised.value.strerror, raised.value.filename) == (number, NO_FILE, f"{root}/{name}")
        with pytest.raises(OSError):
            files.file_sha256(f"{root}/{name}")
    assert taken(files.plain(f"{root}/a/b/f")) == b"inside"
    descriptor = files.plain(f"{root}/a/b/f", os.O_WRONLY)
    os.write(descriptor, b"I")
    os.close(descriptor)
    assert not os.get_inheritable(taken_descriptor := files.plain(f"{root}/a/b/f"))
    assert taken(taken_descriptor) == b"Inside"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_place(number):
    assert str(files.disk_problem("/srv/m/w.bin.incoming", OSError(number, "x"))) == (
        "the disk of /srv/m became full while w.bin was written; free space there and run again, what has arrived is kept and nothing in use was touched"
    )


def test_a_disk_that_does_not_keep_what_was_written_is_named():
    with (
        open("/dev/null", "wb", buffering=0) as stream,
        pytest.raises(GB10Error, match=r"^/srv/m/w cannot be written \(Invalid argument\); check .* of /srv/m$"),
    ):
        files.sync(stream, "/srv/m/w")


def test_modes_are_what_was_asked_or_what_a_new_file_has(tmp_path):
    for name, mode in (("w", None), ("x", 0o600)):
        more = {} if mode is None else {"mode": mode}
        files.write_whole(tmp_path / name, "1", **more)
        files.write_json(tmp_path / f"{name}.json", "ä", **more, ensure_ascii=False)
        assert [stat.S_IMODE((tmp_path / one).stat().st_mode) for one in (name, f"{name}.json")] == [mode or 0o644] * 2
    assert (tmp_path / "w.json").read_bytes() == '"ä"'.encode()
    assert files.read_json(tmp_path / "w.json") == "ä"


@pytest.mark.parametrize("durable", [True, False])
def test_json_is_as_durable_as_asked(tmp_path, monkeypatch, durable):
    synced, sync = [], os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (synced.append(descriptor), sync(descriptor)))
    files.write_json(tmp_path / "x", 1, **({"durable": True} if durable else {}))
    assert len(synced) == (2 if durable else 0)


def test_no_link_under_the_name_of_a_temporary_file_is_written_through(tmp_path):
    (tmp_path / "outside").write_text("outside")
    (tmp_path / f".x.{os.getpid()}.{threading.get_ident()}").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        files.write_whole(tmp_path / "x", "new")
    assert (tmp_path / "outside").read_text() == "outside"


def test_a_write_that_fails_says_why_even_when_nothing_is_left_to_remove(tmp_path, monkeypatch):
    def gone(temporary, _path):
        os.unlink(temporary)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "replace", gone)
    with pytest.raises(OSError, match="Input/output error"):
        files.write_whole(tmp_path / "x", "new")


def test_names_are_synced_of_directories_only(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(NotADirectoryError):
        files._sync_names(str(tmp_path / "x"))
    with pytest.raises(NotADirectoryError):
        files._directory_below(str(tmp_path / "x"), "y")
