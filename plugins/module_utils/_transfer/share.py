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
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import disk_problem
from ansible_collections.gb10.vllm.plugins.module_utils._io.progress_log import ProgressLog
from ansible_collections.gb10.vllm.plugins.module_utils._names import RUN_DIR
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.client import RateLimit, Receiver
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.directories import Directories
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.images import Images
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import FAILED, WORKING, Descriptions, is_transfer, shares_dir, workers
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.keys import listening_addresses, make_certificate, own_addresses, remove_keys, trust
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.server import start_server, stop_server
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.work import End, Share, Work

KEYS = f"{RUN_DIR}/transfer"


class Shares:
    """``open``, then ``transfer``, then ``close``."""

    def __init__(self, state_dir: str, *, keys: str = KEYS, docker: str = "docker") -> None:
        self.root = os.path.join(state_dir, "transfer")
        self.keys = keys
        self.images = Images(state_dir, docker)
        self.directories = Directories(docker)

    def _kind(self, share: Share) -> Images | Directories:
        return self.images if share["kind"] == "image" else self.directories

    def open(
        self,
        shares: Sequence[Share],
        name: str,
        port: int,
        idle_s: float = 900.0,
        *,
        connections: int = 4,
        link: str = "",
        addresses: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Start this box's server and say what it has: ``{port, certificate, addresses, shares: {key: {identity, layers, ...}}}``.

        It listens on ``link``, which has to be an address of this box; without one on those of ``addresses`` that are and on those towards the default
        route. ``addresses`` None: on every interface. GB10Error while another run transfers on this box.
        """
        self._refuse_second_run()
        stop_server(self.keys)
        shutil.rmtree(shares_dir(self.root), ignore_errors=True)
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        os.chmod(self.root, 0o700)
        found = {share["key"]: self._kind(share).state(share["place"]) for share in shares}
        remove_keys(self.keys)
        certificate = make_certificate(self.keys, name)
        own = None if addresses is None and not link else listening_addresses(link, addresses or ())
        found_port = start_server(self.root, self.keys, port, idle_s, addresses=own, connections=connections)
        return {"port": found_port, "certificate": certificate, "addresses": own_addresses() if own is None else own, "shares": found}

    def _refuse_second_run(self) -> None:
        for pid in workers(self.root):
            if pid != os.getpid() and is_transfer(pid):
                raise GB10Error(f"another run is sending images or models to or from this box (process {pid}); wait for it, or end it, and run again")

    def transfer(
        self,
        shares: Sequence[Share],
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
        work = Work(Descriptions(self.root, (share["key"] for share in shares)), said, connections, keep)
        limit = RateLimit(rate_bytes_s)
        work.shares.say(WORKING, *(share["key"] for share in shares))
        trust(self.keys, trusted)
        results: dict[str, dict[str, Any]] = {}
        problems: dict[str, str] = {}
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as later:
            finishing: dict[str, concurrent.futures.Future[dict[str, Any]]] = {}
            # Listing a directory is quick and saving an image is not: nobody should wait for the second to learn the first.
            for share in sorted((one for one in shares if one["give"]), key=lambda one: one["kind"] == "image"):
                with _noted(share, work.shares, problems):
                    rest = self._kind(share).offer(share, work)
                    if rest:
                        finishing[share["key"]] = later.submit(rest)
            for share in (one for one in shares if not one["give"]):
                with _noted(share, work.shares, problems):
                    end, results[share["key"]] = self._take(share, work, limit, patience_s)
                    finishing[share["key"]] = later.submit(end)
            for share in shares:
                if share["key"] in finishing:
                    with _noted(share, work.shares, problems):
                        results.setdefault(share["key"], {}).update(finishing[share["key"]].result())
        said("finished", "; ".join(problems.values()) or "everything is in its place")
        if problems:
            raise GB10Error(". ".join(problems.values()), shares=results)
        return {"changed": any(not share["give"] for share in shares), "shares": results}

    def _take(self, share: Share, work: Work, limit: RateLimit, patience_s: float) -> tuple[End, dict[str, Any]]:
        """Fetch one share; what is left to do with it, and what is told of the way."""
        begun = time.monotonic()
        judge = self._kind(share).judge(share)
        with contextlib.closing(Receiver(share["key"], share["sources"], self.keys, limit=limit, patience_s=patience_s, judge=judge)) as receiver:
            end = self._kind(share).take(share, receiver, work)
        took = round(time.monotonic() - begun, 2)
        return end, {"received_bytes": receiver.received_bytes, "sources": receiver.sources.used, "transfer_s": took}

    def close(self, complete: bool) -> bool:
        """Stop the server and forget the keys; with ``complete`` also what was kept for going on. Whether anything was there."""
        there = stop_server(self.keys)
        remove_keys(self.keys)
        for place in (shares_dir(self.root), *((self.images.blobs, self.images.archives) if complete else ())):
            shutil.rmtree(place, ignore_errors=True)
        return there


@contextlib.contextmanager
def _noted(share: Mapping[str, Any], shares: Descriptions, problems: dict[str, str]) -> Iterator[None]:
    """What goes wrong with one share is said to those who wait for it and to the user, and does not stop the others."""
    try:
        yield
    except GB10Error as error:
        text = f"{share['place']} did not arrive: {error}" if not share["give"] else f"{share['place']} could not be offered: {error}"
        problems[share["key"]] = text
        shares.say(FAILED, share["key"], reason=str(error))
    except OSError as error:
        problems[share["key"]] = f"{share['place']} did not arrive: {disk_problem(str(error.filename or share['place']), error)}"
        shares.say(FAILED, share["key"], reason=str(error))
