# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A box in the middle of a chain that lies: about a file, about its sum, about the list, about an image. And strangers at the port."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import socket
import socketserver
import struct
import threading
import time
from types import SimpleNamespace

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import identity as image_identity
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import client, keys, listener, server
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.share import Shares
from test_share import MB, SIZES, Fleet

FRAME = struct.Struct("!cI")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Liar:
    """Box ``b`` with an honest box's data, changed by ``lie``: it speaks the protocol and has the key the others were told to trust."""

    def __init__(self, keys_dir: str, trusted: list[str], items: list[dict], content: dict[str, bytes], meta: dict, sums: str = "own") -> None:
        context = keys.server_context(keys_dir, "\n".join(trusted))

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    contextlib.suppress(OSError),
                    context.wrap_socket(self.request, server_side=True) as line,
                    line.makefile("rb") as lines,
                ):
                    while text := lines.readline(65536):
                        asked = json.loads(text)
                        if "item" not in asked:
                            payload = json.dumps({"items": items, "meta": meta}).encode()
                            line.sendall(FRAME.pack(b"I", len(payload)) + payload)
                            continue
                        item = items[asked["item"]]
                        data = content[item["name"]]
                        for at in range(asked["offset"], len(data), 2**20):
                            part = data[at : at + 2**20]
                            line.sendall(FRAME.pack(b"D", len(part)) + part)
                        told = (sha256(data) if sums == "own" else item["sha256"] or sha256(data)).encode()
                        line.sendall(FRAME.pack(b"Z", len(told)) + told)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = self.server.server_address[1]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def fleet(tmp_path):
    boxes = Fleet(tmp_path, 3)
    boxes.fill("a", SIZES)
    yield boxes
    boxes.close()


@pytest.fixture
def lie(fleet):
    """Box b lies as the function says that gets (items, content, meta); c fetches from it first, as the controller planned."""
    made: list[Liar] = []

    def begin(change, sums: str = "own") -> dict:
        plan = fleet.open()
        path = str(fleet.model("a"))
        items = model_store.list_files(path)
        content = {item["name"]: (fleet.model("a") / item["name"]).read_bytes() for item in items}
        record = model_store.read_record(path)
        items, content, meta = change(items, content, {"record": {key: record[key] for key in record if key != "files"}})
        trusted = [answer["certificate"] for answer in fleet.opened.values()]
        made.append(Liar(str(fleet.root / "b/keys"), trusted, items, content, meta, sums))
        server.stop_server(str(fleet.root / "b/keys"))
        share = plan["c"]["shares"][0]
        assert [source["name"] for source in share["sources"]] == ["b", "a"]
        share["sources"][0]["port"] = made[0].port
        fleet.start({host: plan[host] for host in "ac"})
        return fleet.finish()["c"]

    yield begin
    for one in made:
        one.close()


def with_record(fleet: Fleet) -> None:
    """The model came from a hub: its sums are known before anything travels."""
    path = str(fleet.model("a"))
    files = {one["name"]: {**one, "sha256": sha256((fleet.model("a") / one["name"]).read_bytes())} for one in model_store.list_files(path)}
    model_store.write_record(path, {"repo_id": "acme/m", "revision": "0" * 40, "files": files})


def other_bytes(items, content, meta):
    content["config.json"] = bytes(300)
    return items, content, meta


def other_bytes_and_sums(items, content, meta):
    content["config.json"] = bytes(300)
    return [{**item, "sha256": sha256(content[item["name"]])} for item in items], content, meta


def one_file_more(items, content, meta):
    return [*items, {"name": "modeling_evil.py", "size": 4, "mtime_ns": 1, "sha256": None}], {**content, "modeling_evil.py": b"evil"}, meta


def another_origin(items, content, meta):
    return items, content, {"record": {"repo_id": "acme/m", "revision": "f" * 40}}


def no_list(items, content, meta):
    return [7, {"name": None}, *items], content, meta


@pytest.mark.parametrize("sums", ["own", "as in its list"])
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("change", [other_bytes, other_bytes_and_sums, one_file_more, another_origin, no_list])
def test_what_a_box_in_the_middle_says_is_not_believed(fleet, lie, change, recorded, sums):
    if recorded:
        with_record(fleet)
    answer = lie(change, sums)
    assert isinstance(answer, dict), answer
    assert fleet.same("a", "c")
    assert {*os.listdir(fleet.model("a")), ".gb10-vllm-record"} == {*os.listdir(fleet.model("c"))}
    record = model_store.read_record(str(fleet.model("c")))
    assert record.get("revision") == model_store.read_record(str(fleet.model("a"))).get("revision")
    assert record["files"]["config.json"]["sha256"] == sha256((fleet.model("a") / "config.json").read_bytes())


def test_who_sent_something_else_is_told(fleet, lie):
    answer = lie(other_bytes_and_sums)["shares"]["m"]
    assert answer["replaced"] == ["config.json"] and "b" in answer["sent_by"]


def test_without_the_box_whose_copy_counts_nothing_gets_its_name(fleet, lie):
    """Its sums are not known yet, and the only other box that could name them is the one in the middle."""
    start, opened = fleet.start, fleet.open

    def open_and_lose_a() -> dict:
        plan = opened()
        server.stop_server(str(fleet.root / "a/keys"))
        return plan

    fleet.open, fleet.start = open_and_lose_a, lambda plan: start({"c": plan["c"]}, patience_s=2)
    answer = lie(lambda *told: told)
    assert "did not arrive: a: " in answer and not fleet.model("c").exists()


EVIL = {"Id": "sha256:evil", "Config": {"Cmd": ["evil"]}, "RootFS": {"Layers": ["sha256:e"]}, "Created": "now", "Architecture": "arm64", "Os": "linux"}


@pytest.mark.parametrize("claims", ["another identity", "the right identity"])
def test_an_image_has_to_be_the_one_the_controller_named(fleet, monkeypatch, tmp_path, claims):
    """Docker is played; what it makes of what was sent is looked at, and the name stays where it was."""
    blob = b"layer of the liar"
    fleet.open()
    evil, wanted = image_identity.identity(EVIL), "0" * 64
    told = evil if claims == "another identity" else wanted
    items = [{"name": sha256(blob), "size": len(blob), "sha256": sha256(blob)}]
    meta = {"identity": told, "config": sha256(blob), "layers": [], "others": [], "index": None, "sizes": {sha256(blob): len(blob)}}
    trusted = [answer["certificate"] for answer in fleet.opened.values()]
    liar = Liar(str(fleet.root / "b/keys"), trusted, items, {sha256(blob): blob}, meta)
    named = []
    shares = fleet.shares("c")
    store = shares.images.store
    for name, value in {"kind": lambda: "classic", "layers_held": list, "root_dir": lambda: str(tmp_path), "run": lambda *_a, **_m: ""}.items():
        monkeypatch.setattr(store, name, value)
    monkeypatch.setattr(store, "_feed", lambda *_a: None)
    monkeypatch.setattr(store, "inspect", lambda name: EVIL)
    monkeypatch.setattr(store, "give_name", lambda *words: named.append(words))
    source = {"name": "b", "addresses": ["127.0.0.1"], "port": liar.port, "certificate": fleet.opened["b"]["certificate"]}
    share = {"key": "image", "kind": "image", "place": "vllm-node", "identity": wanted, "give": False, "sources": [source]}
    try:
        with pytest.raises(GB10Error, match="another image than the one"):
            shares.transfer([share], trusted, patience_s=1)
    finally:
        liar.close()
    assert not named


def test_a_partial_file_of_an_earlier_attempt_is_looked_at(fleet):
    """What a liar sent before the run was killed lies there whole; the sum in the honest list says nothing about it."""
    with_record(fleet)
    partial = model_store.prepare_partial(str(fleet.model("c")), model_store.identity(str(fleet.model("a"))))
    (fleet.root / "c/models/m.partial/config.json").write_bytes(bytes(300))
    assert partial.endswith("m.partial")
    fleet.start(fleet.open())
    fleet.finish()
    assert fleet.same("a", "c")


def test_links_are_neither_sent_nor_written_through(tmp_path):
    secret = tmp_path / "key.env"

    def private() -> None:
        secret.write_text("VLLM_API_KEY=" + "x" * 50)
        secret.chmod(0o600)

    def untouched() -> bool:
        return secret.stat().st_mode & 0o777 == 0o600 and secret.read_text().startswith("VLLM_API_KEY")

    private()
    copied = tmp_path / "one.partial"
    copied.mkdir()
    (copied / "config.json").write_text("{}")
    (copied / "extra.json").symlink_to(secret)
    with pytest.raises(GB10Error, match="extra.json lies in .* and not among the files"):
        model_store.adopt(str(tmp_path / "one"), {"config.json": {"size": 2, "sha256": sha256(b"{}")}})
    (copied / "extra.json").unlink()
    (copied / "config.json").unlink()
    (copied / "config.json").symlink_to(secret)
    size = secret.stat().st_size
    with pytest.raises(GB10Error, match="did not arrive whole"):
        model_store.adopt(str(tmp_path / "one"), {"config.json": {"size": size, "sha256": sha256(secret.read_bytes())}})
    assert untouched() and not (tmp_path / "one").exists()

    model = tmp_path / "two"
    (model / "sub").mkdir(parents=True)
    (model / "real.json").write_text("{}")
    (model / "sub/inner.json").symlink_to("../real.json")
    assert [one["name"] for one in model_store.list_files(str(model))] == ["real.json", "sub/inner.json"], "a link within the model is a file of it"
    with server.open_item([str(model)], "sub/inner.json") as stream:
        assert stream.read() == b"{}"
    (model / "tokenizer.json").symlink_to(secret)
    with pytest.raises(GB10Error, match=r"tokenizer.json is a link that leads out of the model's directory.*cp -L"):
        model_store.list_files(str(model))
    assert server.open_item([str(model)], "tokenizer.json") is None
    (model / "away").symlink_to(tmp_path)
    assert server.open_item([str(model)], "away/key.env") is None
    assert Shares(str(tmp_path / "state"), keys=str(tmp_path / "k")).directories.state(str(model))["problem"]

    final = str(tmp_path / "three")
    os.makedirs(final + ".partial/sub")
    model_store.write_record(final + ".partial", {"arriving": "org/m@" + "0" * 40})
    os.symlink(secret, final + ".partial/config.json.incoming")
    os.symlink(tmp_path, final + ".partial/away")
    os.symlink(secret, final + ".partial/sub/x.incoming")
    partial = model_store.prepare_partial(final, "org/m@" + "0" * 40)
    assert not any(os.path.islink(os.path.join(place, name)) for place, dirs, names in os.walk(partial) for name in [*dirs, *names])
    os.symlink(secret, os.path.join(partial, "config.json.incoming"))  # made again just now
    os.symlink(tmp_path, os.path.join(partial, "away"))
    receiver = client.Receiver("m", [], str(tmp_path))
    for name in ("config.json", "away/key.env"):
        with pytest.raises(GB10Error, match="is a link or lies behind one"):
            receiver.fetch(0, {"name": name, "size": 100}, os.path.join(partial, name))
    assert untouched()


def test_a_prepared_directory_of_somebody_else_is_not_used(tmp_path):
    final = str(tmp_path / "m")
    os.makedirs(final + ".partial")
    model_store.write_record(final + ".partial", {"arriving": "i", "files": {"w": {"sha256": "f"}}})
    os.chmod(final + ".partial", 0o777)
    assert os.listdir(model_store.prepare_partial(final, "i")) == [".gb10-vllm-record"]
    assert not model_store.recorded_files(final + ".partial") and os.stat(final + ".partial").st_mode & 0o022 == 0


# Strangers at the port.


def test_silent_strangers_keep_no_box_of_the_run_out(fleet, monkeypatch):
    """400 of them, more than the server may have files open; they get few places, and none for longer than the handshake may take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        fleet.open()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    keys_of_a = str(fleet.root / "a/keys")
    keys.trust(keys_of_a, [fleet.opened["b"]["certificate"]])
    pid = int((fleet.root / "a/keys/server.pid").read_text())
    port = fleet.opened["a"]["port"]

    def ticks() -> int:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
            fields = stream.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    held = [socket.create_connection(("127.0.0.1", port), timeout=5) for _number in range(400)]
    time.sleep(0.5)
    before, began = ticks(), time.monotonic()
    time.sleep(2)
    share_of_core = (ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)
    assert share_of_core < 0.2, "it does not run in a circle"
    assert len(os.listdir(f"/proc/{pid}/task")) <= 12 and len(os.listdir(f"/proc/{pid}/fd")) < 64
    threading.Thread(
        target=lambda: fleet.shares("a").transfer(
            [{"key": "m", "kind": "directory", "place": str(fleet.model("a")), "give": True}], [fleet.opened["b"]["certificate"]]
        ),
        daemon=True,
    ).start()
    source = {"name": "a", "addresses": ["127.0.0.1"], "port": port, "certificate": fleet.opened["a"]["certificate"]}
    began = time.monotonic()
    assert client.Receiver("m", [source], str(fleet.root / "b/keys"), patience_s=20).index()["items"]
    assert time.monotonic() - began < 12, "the handshake of a stranger ends after 5 s"
    for one in held:
        one.close()


def test_who_says_little_at_a_time_is_not_waited_for_either(fleet):
    fleet.open()
    keys.trust(str(fleet.root / "a/keys"), [fleet.opened["b"]["certificate"]])
    with socket.create_connection(("127.0.0.1", fleet.opened["a"]["port"]), timeout=20) as slow:
        began = time.monotonic()
        slow.settimeout(0.5)
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400):
                slow.sendall(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    if not slow.recv(1):
                        break
                assert time.monotonic() - began < 15
        assert time.monotonic() - began < 8


def test_a_box_does_not_take_all_places_nor_more_memory_than_a_list_needs(fleet):
    fleet.open()
    keys.trust(str(fleet.root / "a/keys"), [fleet.opened["b"]["certificate"], fleet.opened["c"]["certificate"], "\n"])
    source = {"name": "a", "addresses": ["127.0.0.1"], "port": fleet.opened["a"]["port"], "certificate": fleet.opened["a"]["certificate"]}
    open_links = []
    for _number in range(20):
        with contextlib.suppress(client.NotReady, client.Gone):
            open_links.append(client.Link(source, str(fleet.root / "b/keys")))
    time.sleep(0.5)
    pid = int((fleet.root / "a/keys/server.pid").read_text())
    assert len(os.listdir(f"/proc/{pid}/task")) <= 2 + 8
    with contextlib.suppress(OSError):
        open_links[0].socket.sendall(b'{"share": "' + b"x" * MB)
    for one in open_links:
        one.close()


@pytest.mark.parametrize("letter", [b"D", b"W", b"N", b"E", b"Z", b"I", b"?"])
def test_an_answer_that_is_too_long_is_not_read(tmp_path, letter):
    link = client.Link.__new__(client.Link)
    reads = []
    link._read = lambda count: reads.append(count) or memoryview(FRAME.pack(letter, 2**24 + 1))  # type: ignore[method-assign]
    with pytest.raises(client.Gone):
        link.frame()
    assert reads == [FRAME.size]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_port_listens_on_the_links_address_only(tmp_path, family):
    link, others = ("127.0.0.7", ["127.0.0.8", "127.0.0.1"]) if family == socket.AF_INET else ("::1", ["127.0.0.1"])
    if family == socket.AF_INET6 and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    shares = Shares(str(tmp_path / "state"), keys=str(tmp_path / "keys"))
    opened = shares.open([], "a", 0, link=link, addresses=others)
    try:
        assert opened["addresses"] == [link]
        socket.create_connection((link, opened["port"]), timeout=2).close()
        for other in others:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((other, opened["port"]), timeout=2)
    finally:
        shares.close(True)


def test_a_link_that_is_not_this_boxs_is_told(tmp_path, monkeypatch):
    shares = Shares(str(tmp_path / "state"), keys=str(tmp_path / "keys"))
    with pytest.raises(GB10Error, match=r"gb10_link_address 192\.0\.2\.77 is no address of this box.*set gb10_link_address"):
        shares.open([], "a", 0, link="192.0.2.77")
    monkeypatch.setattr(keys, "own_addresses", list)
    with pytest.raises(GB10Error, match="neither a default route nor the address"):
        shares.open([], "a", 0, addresses=["192.0.2.77", "no-such-name.invalid"])
    opened = shares.open([], "a", 0, addresses=["192.0.2.77", "127.0.0.9"])
    shares.close(True)
    assert opened["addresses"] == ["127.0.0.9"], "the others of the inventory are somebody's who translates them"


def test_a_name_of_both_families_is_listened_on_in_both(tmp_path, monkeypatch):
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    monkeypatch.setattr(keys, "_resolved", lambda _name: ["127.0.0.7", "::1"])
    shares = Shares(str(tmp_path / "state"), keys=str(tmp_path / "keys"))
    opened = shares.open([], "a", 0, link="spark-1.link")
    try:
        for address in ("127.0.0.7", "::1"):
            socket.create_connection((address, opened["port"]), timeout=2).close()
    finally:
        shares.close(True)


def test_a_place_is_found_again_after_a_failed_accept(monkeypatch):
    slept = []
    monkeypatch.setattr(listener.time, "sleep", slept.append)

    def accept():
        raise OSError(24, "Too many open files")

    listener.Listener("/nowhere", [])._take(SimpleNamespace(accept=accept))  # type: ignore[arg-type]
    assert slept == [listener.PAUSE_S]
