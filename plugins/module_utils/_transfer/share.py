# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One box's part in a distribution: open what it may give, fetch what it lacks, close again.

Everything lies in ``STATE/transfer`` (0700): ``shares/`` describes what is offered, ``blobs/`` holds image layers on their way. The
key of the run lies in ``/run``, so it does not even survive a reboot.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import identity
from ansible_collections.gb10.vllm.plugins.module_utils._image.record import Record
from ansible_collections.gb10.vllm.plugins.module_utils._image.saved import absent_layers
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import INCOMING, disk_problem, file_sha256, read_json, write_json
from ansible_collections.gb10.vllm.plugins.module_utils._io.progress_log import ProgressLog
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import peer

KEYS = "/run/gb10-vllm/transfer"


class Shares:
    """``open``, then ``transfer``, then ``close``."""

    def __init__(self, state_dir: str, *, keys: str = KEYS, docker: str = "docker") -> None:
        self.root = os.path.join(state_dir, "transfer")
        self.keys = keys
        self.blobs = os.path.join(self.root, "blobs")
        self.images = ImageStore(docker)
        self.record = Record(Path(state_dir) / "build")
        self.docker = docker

    # ---- open ---------------------------------------------------------------------------------------------------

    def open(self, shares: Sequence[Mapping[str, Any]], name: str, port: int, idle_s: float = 900.0) -> dict[str, Any]:
        """Start this box's server and say what it has: ``{port, certificate, addresses, shares: {key: {identity, layers, ...}}}``.

        GB10Error while another run transfers on this box.
        """
        self._refuse_second_run()
        peer.stop_server(self.keys)
        shutil.rmtree(os.path.join(self.root, "shares"), ignore_errors=True)
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        os.chmod(self.root, 0o700)
        found = {share["key"]: self._image_state(share["place"]) if share["kind"] == "image" else self._directory_state(share["place"]) for share in shares}
        peer.remove_keys(self.keys)
        certificate = peer.make_certificate(self.keys, name)
        return {"port": peer.start_server(self.root, self.keys, port, idle_s), "certificate": certificate, "addresses": peer.own_addresses(), "shares": found}

    def _refuse_second_run(self) -> None:
        shares = os.path.join(self.root, "shares")
        for one in os.listdir(shares) if os.path.isdir(shares) else []:
            index = read_json(os.path.join(shares, one, "index.json")) or {}
            if index.get("state") == "working" and int(index.get("pid") or 0) != os.getpid() and _is_transfer(int(index.get("pid") or 0)):
                raise GB10Error(f"another run is sending images or models to or from this box (process {index['pid']}); wait for it, or end it, and run again")

    def _image_state(self, name: str) -> dict[str, Any]:
        found = self.images.inspect(name)
        layers = (found.get("RootFS") or {}).get("Layers") or [] if found else []
        store = self.images.kind()
        return {
            "identity": identity(found) if found else None, "layers": layers, "store": store, "image_id": found["Id"] if found else None,
            "layers_held": self.images.layers_held() if store == "classic" else [],
        }  # fmt: skip

    @staticmethod
    def _directory_state(path: str) -> dict[str, Any]:
        return {"identity": model_store.identity(path)}

    # ---- transfer -----------------------------------------------------------------------------------------------

    def transfer(
        self,
        shares: Sequence[Mapping[str, Any]],
        trusted: Sequence[str],
        *,
        connections: int = 4,
        rate_bytes_s: float = 0.0,
        keep: int = 1,
        patience_s: float = 120.0,
    ) -> dict[str, Any]:
        """Offer what this box gives and fetch what it lacks; returns when the last of it is in its place.

        GB10Error names every share that could not be had; the others are in their place all the same.
        """
        said = ProgressLog(os.path.join(self.root, "progress.jsonl"))
        state = _State(self.root, shares)
        limit = peer.RateLimit(rate_bytes_s)
        state.say("working", *(share["key"] for share in shares))
        peer.trust(self.keys, trusted)
        results: dict[str, Any] = {}
        problems: dict[str, str] = {}
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as later:
            finishing: dict[str, concurrent.futures.Future] = {}
            # Listing a directory is quick and saving an image is not: nobody should wait for the second to learn the first.
            for share in sorted((one for one in shares if one["give"]), key=lambda one: one["kind"] == "image"):
                with _noted(share, state, problems):
                    if share["kind"] == "image":
                        results.update(self._offer_image(share, state, said))
                    else:
                        finishing[share["key"]] = later.submit(self._offer_directory(share, state, said))
            for share in (one for one in shares if not one["give"]):
                with _noted(share, state, problems):
                    begun = time.monotonic()
                    with contextlib.closing(peer.Receiver(share["key"], share["sources"], self.keys, limit=limit, patience_s=patience_s)) as receiver:
                        work = self._take_image if share["kind"] == "image" else self._take_directory
                        end = work(share, receiver, state, said, connections, keep)
                        results[share["key"]] = {
                            "received_bytes": receiver.received_bytes, "sources": receiver.sources.used, "transfer_s": round(time.monotonic() - begun, 2),
                        }  # fmt: skip
                    finishing[share["key"]] = later.submit(end)
            for share in shares:
                if share["key"] in finishing:
                    with _noted(share, state, problems):
                        results.setdefault(share["key"], {}).update(finishing[share["key"]].result() or {})
        said("finished", "; ".join(problems.values()) or "everything is in its place")
        if problems:
            raise GB10Error(". ".join(problems.values()), shares=results)
        return {"changed": any(not share["give"] for share in shares), "shares": results}

    def _offer_image(self, share: Mapping[str, Any], state: _State, said: ProgressLog) -> dict[str, Any]:
        """Empty, or by key the reason why Docker cannot read the image: who wants it asks the next box, and only who finds none has failed."""
        try:
            archive = self._save_image(share, said)
        except GB10Error as error:
            if not error.details.get("damaged"):
                raise
            shutil.rmtree(self.blobs, ignore_errors=True)  # half an image, which nobody goes on with
            self.record.keep_damage(error.details["image_id"], error.details["damaged"])
            state.say("failed", share["key"], reason=str(error))
            return {share["key"]: {"damaged": error.details["damaged"]}}
        items = [
            {"name": blob, "size": size, "sha256": blob, **({} if _has(self.blobs, blob, size) else {"absent": True})}
            for blob, size in sorted(archive["sizes"].items(), key=lambda pair: (-pair[1], pair[0]))
        ]
        state.offer(share["key"], items, [self.blobs], {key: archive[key] for key in ("identity", "config", "layers", "others", "index", "sizes")})
        state.say("done", share["key"])
        return {}

    def _save_image(self, share: Mapping[str, Any], said: ProgressLog) -> dict[str, Any]:
        """The image as blobs, saved in this run or in one that was interrupted."""
        known = os.path.join(self.root, "archives", f"{share['identity']}.json")
        archive = read_json(known)
        skip = int(share.get("skip_layers") or 0)
        wanted = {*archive["sizes"]} - {layer["blob"] for layer in archive["layers"][:skip]} if archive else set()
        if not archive or not all(_has(self.blobs, blob, archive["sizes"][blob]) for blob in wanted):
            size = int((self.images.inspect(share["place"]) or {}).get("Size") or 0)
            model_store.check_space(self.blobs, size)
            count = _Count(lambda done: said("save", f"{share['place']} out of Docker", done, size))
            archive = self.images.export(share["place"], self.blobs, skip_layers=skip, told=count)
            if archive["identity"] != share["identity"]:
                raise GB10Error("the image was replaced while the run began; run again")
            write_json(known, archive)
        return archive

    def _offer_directory(self, share: Mapping[str, Any], state: _State, said: ProgressLog) -> Callable[[], None]:
        path = share["place"]
        items = model_store.list_files(path)
        state.offer(share["key"], items, [path], {"record": model_store.read_record(path)})
        unknown = [item for item in items if not item["sha256"]]
        total = sum(item["size"] for item in unknown)

        def hash_rest() -> None:
            count = _Count(lambda done: said("checksums", f"of {path}", done, total))
            for item in unknown:
                state.digest(share["key"], item["name"], file_sha256(os.path.join(path, item["name"]), count))
            state.say("done", share["key"])

        return hash_rest

    def _take_image(
        self, share: Mapping[str, Any], receiver: peer.Receiver, state: _State, said: ProgressLog, connections: int, keep: int
    ) -> Callable[[], dict]:
        said("wait", f"for {share['sources'][0]['name']} to offer {share['place']}")
        index = receiver.index()
        archive = index["meta"]
        os.makedirs(self.blobs, mode=0o700, exist_ok=True)
        store = self.images.kind()
        content = self.images.content() if store == "containerd" else set()
        layers = absent_layers(archive["layers"], store, self.images.layers_held() if store == "classic" else [], content)
        unneeded = {layer["blob"] for layer in archive["layers"]} - layers
        items = [{**{k: item[k] for k in ("name", "size", "sha256")}, **({"absent": True} if item["name"] in unneeded else {})} for item in index["items"]]
        state.offer(share["key"], items, [self.blobs], archive)
        needed = [(number, item) for number, item in enumerate(items) if item["name"] not in unneeded]
        to_come = sum(item["size"] for _number, item in needed if not _has(self.blobs, item["name"], item["size"]))
        model_store.check_space(self.blobs, to_come)
        model_store.check_space(self.images.root_dir(), 2 * to_come)
        self._fetch(share["place"], needed, self.blobs, receiver, said, connections, lambda item, digest: None)
        state.say("done", share["key"])

        def load() -> dict[str, Any]:
            total = sum(item["size"] for _number, item in needed)
            count = _Count(lambda done: said("load", f"{share['place']} into Docker", done, total))
            try:
                image_id = self._load(archive, share["place"], count, keep)
            except GB10Error as error:
                if not unneeded or error.details.get("full"):
                    raise
                # This engine wants every layer, even those it has.
                with contextlib.closing(receiver):
                    rest = [(number, item) for number, item in enumerate(items) if item["name"] in unneeded]
                    self._fetch(share["place"], rest, self.blobs, receiver, said, connections, lambda item, digest: None)
                image_id = self._load(archive, share["place"], count, keep)
            return {"image_id": image_id, "received_bytes": receiver.received_bytes}

        return load

    def _load(self, archive: Mapping[str, Any], name: str, told: Callable[[int], None], keep: int) -> str:
        image_id = self.images.load(archive, self.blobs, name, told, keep)
        self.record.forget_damage(image_id)
        return image_id

    def _take_directory(
        self, share: Mapping[str, Any], receiver: peer.Receiver, state: _State, said: ProgressLog, connections: int, keep: int
    ) -> Callable[[], dict]:
        final = share["place"]
        said("wait", f"for {share['sources'][0]['name']} to offer {final}")
        index = receiver.index()
        items, record = index["items"], dict(index["meta"].get("record") or {})
        partial = model_store.prepare_partial(final, share["identity"])
        model_store.reuse(partial, final, items)
        arrived = model_store.read_record(partial).get("files") or {}
        for item in items:
            if _has(partial, item["name"], item["size"]):
                item["sha256"] = item.get("sha256") or (arrived.get(item["name"]) or {}).get("sha256")
                item["sha256"] = item["sha256"] or file_sha256(os.path.join(partial, item["name"]))
        state.offer(share["key"], items, [partial, final], {"record": record})
        needed = [(number, item) for number, item in enumerate(items) if not _has(partial, item["name"], item["size"])]
        begun = sum(os.path.getsize(path) for _n, item in needed if os.path.exists(path := os.path.join(partial, item["name"] + INCOMING)))
        model_store.check_space(partial, sum(item["size"] for _number, item in needed) - begun)
        lock = threading.Lock()

        def note(item: dict[str, Any], digest: str) -> None:
            state.digest(share["key"], item["name"], digest)
            with lock:
                arrived[item["name"]] = {"sha256": digest}
                model_store.write_record(partial, {"arriving": share["identity"], "files": arrived})

        self._fetch(final, needed, partial, receiver, said, connections, note)
        digests = state.digests(share["key"])
        record["files"] = {one["name"]: {"size": one["size"], "sha256": digests[one["name"]], "mtime_ns": one["mtime_ns"]} for one in items}

        def place() -> dict[str, Any]:
            before = model_store.put_in_place(partial, final, record)
            state.say("done", share["key"])
            model_store.prune([final], keep, self.docker)
            return {"path": final, "previous": before}

        return place

    @staticmethod
    def _fetch(
        what: str,
        needed: Sequence[tuple[int, dict]],
        directory: str,
        receiver: peer.Receiver,
        said: ProgressLog,
        connections: int,
        note: Callable[[dict, str], None],
    ) -> None:
        todo = [(number, item) for number, item in needed if not _has(directory, item["name"], item["size"])]
        total = sum(item["size"] for _number, item in todo)
        done = [0]

        def told(count: int) -> None:
            done[0] += count
            said("receive", f"{what} from {', '.join(receiver.sources.used) or 'another box'}", done[0], total)

        receiver.told = told

        def one(number: int, item: dict) -> None:
            try:
                note(item, receiver.fetch(number, item, os.path.join(directory, item["name"])))
            finally:
                receiver.close()

        with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, connections)) as pool:
            jobs = [pool.submit(one, number, item) for number, item in todo]
            concurrent.futures.wait(jobs, return_when=concurrent.futures.FIRST_EXCEPTION)
            broken = next((job for job in jobs if job.done() and job.exception()), None)
            if broken:
                receiver.stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                broken.result()

    # ---- close --------------------------------------------------------------------------------------------------

    def close(self, complete: bool) -> bool:
        """Stop the server and forget the keys; with ``complete`` also what was kept for going on. Whether anything was there."""
        there = peer.stop_server(self.keys)
        peer.remove_keys(self.keys)
        shutil.rmtree(os.path.join(self.root, "shares"), ignore_errors=True)
        if complete:
            for name in ("blobs", "archives"):
                shutil.rmtree(os.path.join(self.root, name), ignore_errors=True)
        return there


class _State:
    """The descriptions other boxes read, kept in step with the work."""

    def __init__(self, root: str, shares: Sequence[Mapping[str, Any]]) -> None:
        self._paths = {share["key"]: os.path.join(peer.share_dir(root, share["key"]), "index.json") for share in shares}
        self._index: dict[str, dict[str, Any]] = {key: {"pid": os.getpid(), "state": "working"} for key in self._paths}
        self._lock = threading.Lock()

    def say(self, state: str, *keys: str, reason: str = "") -> None:
        for key in keys:
            # On a full disk not even this can be written; who waits for us sees our process end instead.
            with contextlib.suppress(OSError):
                self._change(key, state=state, reason=reason)

    def offer(self, key: str, items: list[dict], roots: list[str], meta: Any) -> None:
        self._change(key, items=items, roots=roots, meta=meta)

    def digest(self, key: str, name: str, sha256: str) -> None:
        with self._lock:
            for item in self._index[key]["items"]:
                if item["name"] == name:
                    item["sha256"] = sha256
        self._change(key)

    def digests(self, key: str) -> dict[str, str]:
        return {item["name"]: item["sha256"] for item in self._index[key]["items"]}

    def _change(self, key: str, **values: Any) -> None:
        with self._lock:
            self._index[key].update(values)
            write_json(self._paths[key], self._index[key])


class _Count:
    """Adds up what it is told and passes the sum on."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self._sum, self._told = 0, told

    def __call__(self, count: int) -> None:
        self._sum += count
        self._told(self._sum)


@contextlib.contextmanager
def _noted(share: Mapping[str, Any], state: _State, problems: dict[str, str]) -> Any:
    try:
        yield
    except GB10Error as error:
        text = f"{share['place']} did not arrive: {error}" if not share["give"] else f"{share['place']} could not be offered: {error}"
        problems[share["key"]] = text
        state.say("failed", share["key"], reason=str(error))
    except OSError as error:
        problems[share["key"]] = f"{share['place']} did not arrive: {disk_problem(str(error.filename or share['place']), error)}"
        state.say("failed", share["key"], reason=str(error))


def _has(directory: str, name: str, size: int) -> bool:
    try:
        return os.path.getsize(os.path.join(directory, name)) == size
    except OSError:
        return False


def _is_transfer(pid: int) -> bool:
    """Whether this process lives and is a Python program (a reused number would rarely be one)."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return b"python" in stream.read()
    except OSError:
        return False
