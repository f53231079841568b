# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories from box to box: listed at once, hashed while they are sent, visible only when complete."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import file_sha256, has_size, sha256_below
from ansible_collections.gb10.vllm.plugins.module_utils._model import content, store, versions
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.client import Receiver
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import DONE
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.wire import Gone
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.work import End, Item, Share, Work

ORIGIN = ("repo_id", "revision", "endpoint")
"""What a record may say beside its files when it comes from another box."""


class Directories:
    """This box's part in sharing directories. ``docker``: the command that tells which earlier versions a container uses."""

    def __init__(self, docker: str = "docker") -> None:
        self.docker = docker

    @staticmethod
    def state(path: str) -> dict[str, Any]:
        """``{identity}`` of what lies there, ``content`` where the record has all sums; ``problem`` says why it cannot be sent."""
        try:
            place = versions.current(path)
            if not os.path.isdir(place):
                return {"identity": None}
            files = store.list_files(place)
        except GB10Error as error:
            return {"identity": None, "problem": str(error)}
        known = store.content_of(files)
        return {"identity": store.identity_of(files, store.read_record(place)), **({"content": known} if known else {})}

    @staticmethod
    def judge(share: Share) -> Callable[[dict[str, Any]], None]:
        """What a box says of this share has to be what the controller asked for: names, sizes, origin, and the sums where those are known."""

        def compare(index: dict[str, Any]) -> None:
            meta = index.get("meta")
            record = meta.get("record") if isinstance(meta, dict) else None
            if not isinstance(record, dict) or store.identity_of(index["items"], record) != share["identity"]:
                raise Gone("it offers another model than the one this run brings")
            if share.get("content") and store.content_of(index["items"]) != share["content"]:
                raise Gone("it offers other files than those of the box whose copy counts")

        return compare

    def offer(self, share: Share, work: Work) -> End:
        """Describe a directory; what is left is the sums that its record does not have."""
        path = versions.directory_of(share["place"])
        items = store.list_files(path)
        work.shares.offer(share["key"], items, [path], {"record": store.read_record(path)})
        unknown = [item for item in items if not item["sha256"]]

        def hash_rest() -> dict[str, Any]:
            count = work.counter("checksums", f"of {path}", sum(item["size"] for item in unknown))
            for item in unknown:
                work.shares.digest(share["key"], item["name"], sha256_below(path, item["name"], count))
            work.shares.say(DONE, share["key"])
            return {}

        return hash_rest

    def take(self, share: Share, receiver: Receiver, work: Work) -> End:
        """Fetch a directory and pass it on meanwhile; what is left is to give it its name."""
        final = share["place"]
        store.refuse_foreign(final)
        work.said("wait", f"for {share['sources'][0]['name']} to offer {final}")
        index = receiver.index()
        with contextlib.ExitStack() as stack:
            stack.enter_context(store.arriving(final, lambda: work.said("wait", f"for a download of {final} that another run began")))
            finish = self._receive(share, index, receiver, work)
            held = stack.pop_all()

        def put_in_place() -> dict[str, Any]:
            with held:
                return finish()

        return put_in_place

    def _receive(self, share: Share, index: Item, receiver: Receiver, work: Work) -> End:
        final, items = share["place"], index["items"]
        record = {key: value for key, value in (index["meta"].get("record") or {}).items() if key in ORIGIN}
        partial = store.prepare_partial(final, share["identity"])
        arrived: dict[str, Item] = store.recorded_files(partial)
        drop_others(items, partial, arrived)
        store.reuse(partial, final, items)
        fill_in_sums(items, partial, arrived)
        # In the end it lies where its record says; until that is complete only what arrives is passed on.
        work.shares.offer(share["key"], items, [partial], {"record": record})
        needed = [(number, item) for number, item in enumerate(items) if not has_size(os.path.join(partial, item["name"]), item["size"])]
        begun = store.begun_bytes(partial, (item["name"] for _number, item in needed))
        store.check_space(partial, sum(item["size"] for _number, item in needed) - begun)
        lock = threading.Lock()

        def note(item: Item, digest: str) -> None:
            work.shares.digest(share["key"], item["name"], digest)
            with lock:
                arrived[item["name"]] = {"sha256": digest}
                store.write_record(partial, {"arriving": share["identity"], "files": arrived})

        work.fetch(final, needed, partial, receiver, note)
        told = {} if share.get("content") else self._settle(share, items, partial, receiver, work, note)
        digests = work.shares.digests(share["key"])
        record["files"] = {one["name"]: {"size": one["size"], "sha256": digests[one["name"]], "mtime_ns": one.get("mtime_ns", 0)} for one in items}

        def put_in_place() -> dict[str, Any]:
            before = store.put_in_place(partial, final, record, self.docker)
            directory = versions.directory_of(final)
            work.shares.offer(share["key"], items, [directory], {"record": record})
            work.shares.say(DONE, share["key"])
            store.prune([final], work.keep, self.docker)
            return {"path": final, "directory": directory, "previous": before, "content": content.read(directory), **told}

        return put_in_place

    @staticmethod
    def _settle(share: Share, items: list[Item], partial: str, receiver: Receiver, work: Work, note: Callable[[Item, str], None]) -> dict[str, Any]:
        """Compare what came with the sums of the box whose copy counts, and fetch from there what is something else; what the user has to know of it.

        It computes them while the files travel, so nobody waits for it; nothing of a box in between is believed.
        """
        if not any(source.get("reference") for source in share["sources"]):
            return {}
        asked = list(receiver.sources.used)
        work.said("compare", f"{share['place']} with the box whose copy counts")
        told, here = receiver.settle(), work.shares.digests(share["key"])
        wrong = [(number, item) for number, item in enumerate(items) if told.get(item["name"]) != here[item["name"]]]
        for _number, item in wrong:
            item["sha256"] = told.get(item["name"])
            os.unlink(os.path.join(partial, item["name"]))
        if not wrong:
            return {}
        work.fetch(share["place"], wrong, partial, receiver, note)
        return {"replaced": [item["name"] for _number, item in wrong], "sent_by": asked}


def drop_others(items: Sequence[Item], partial: str, arrived: dict[str, Item]) -> None:
    """Remove what is there under the name of a file and is not that file: a sum is believed only of bytes that were seen here."""
    for item in items:
        path = os.path.join(partial, item["name"])
        if item.get("sha256") and has_size(path, item["size"]):
            seen = (arrived.get(item["name"]) or {}).get("sha256") or sha256_below(partial, item["name"])
            if seen != item["sha256"]:
                os.unlink(path)


def fill_in_sums(items: list[Item], partial: str, arrived: dict[str, Item]) -> None:
    """Give the files that are there already their sums: as told by the source, else as noted when they arrived, else as they are."""
    for item in items:
        path = os.path.join(partial, item["name"])
        if has_size(path, item["size"]):
            item["sha256"] = item.get("sha256") or (arrived.get(item["name"]) or {}).get("sha256") or file_sha256(path)
