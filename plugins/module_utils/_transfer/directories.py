# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model directories from box to box: listed at once, hashed while they are sent, visible only when complete."""

from __future__ import annotations

import os
import threading
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._io.files import file_sha256, has_size
from ansible_collections.gb10.vllm.plugins.module_utils._model import content, store, versions
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.client import Receiver
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import DONE
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.work import End, Item, Share, Work


class Directories:
    """This box's part in sharing directories. ``docker``: the command that tells which earlier versions a container uses."""

    def __init__(self, docker: str = "docker") -> None:
        self.docker = docker

    @staticmethod
    def state(path: str) -> dict[str, Any]:
        """``{identity}`` of what lies there, and its ``content`` as far as it is known."""
        place = versions.current(path)
        known = store.identity(place)
        return {"identity": known, "content": content.read(place)} if known else {"identity": None}

    def offer(self, share: Share, work: Work) -> End:
        """Describe a directory; what is left is the sums that its record does not have."""
        path = versions.directory_of(share["place"])
        items = store.list_files(path)
        work.shares.offer(share["key"], items, [path], {"record": store.read_record(path)})
        unknown = [item for item in items if not item["sha256"]]

        def hash_rest() -> dict[str, Any]:
            count = work.counter("checksums", f"of {path}", sum(item["size"] for item in unknown))
            for item in unknown:
                work.shares.digest(share["key"], item["name"], file_sha256(os.path.join(path, item["name"]), count))
            work.shares.say(DONE, share["key"])
            return {}

        return hash_rest

    def take(self, share: Share, receiver: Receiver, work: Work) -> End:
        """Fetch a directory and pass it on meanwhile; what is left is to give it its name."""
        final = share["place"]
        work.said("wait", f"for {share['sources'][0]['name']} to offer {final}")
        index = receiver.index()
        items, record = index["items"], dict(index["meta"].get("record") or {})
        store.refuse_foreign(final)
        partial = store.prepare_partial(final, share["identity"])
        store.reuse(partial, final, items)
        arrived: dict[str, Item] = store.read_record(partial).get("files") or {}
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
        digests = work.shares.digests(share["key"])
        record["files"] = {one["name"]: {"size": one["size"], "sha256": digests[one["name"]], "mtime_ns": one["mtime_ns"]} for one in items}

        def put_in_place() -> dict[str, Any]:
            before = store.put_in_place(partial, final, record, self.docker)
            directory = versions.directory_of(final)
            work.shares.offer(share["key"], items, [directory], {"record": record})
            work.shares.say(DONE, share["key"])
            store.prune([final], work.keep, self.docker)
            return {"path": final, "directory": directory, "previous": before, "content": content.read(directory)}

        return put_in_place


def fill_in_sums(items: list[Item], partial: str, arrived: dict[str, Item]) -> None:
    """Give the files that are there already their sums: as told by the source, else as noted when they arrived, else as they are."""
    for item in items:
        path = os.path.join(partial, item["name"])
        if has_size(path, item["size"]):
            item["sha256"] = item.get("sha256") or (arrived.get(item["name"]) or {}).get("sha256") or file_sha256(path)
