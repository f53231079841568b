#!/usr/bin/env python3
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a router costs, with the real HAProxy and stub engines that give a token in a fixed time, all on this machine:

    .venv/bin/python tests/benchmarks/bench_router.py [--idle 5000]          # or make deep-router-speed; it fails where a goal is missed

Added latency of one client, beside asking the engine directly over plain HTTP on a connection that is kept (the router's is TLS, kept as well); requests
per second at 32 clients over one engine, two engines, and directly in turn, with answers of one length and of many; how many streams that say nothing are
held, and HAProxy's memory meanwhile.

Each engine is a process of its own with as many seats as a vLLM's `max_num_seqs`, asleep while it "computes", so that neither it nor the clients' Python
takes the time that is measured; connections and their TLS are made before the clock runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import itertools
import json
import multiprocessing
import multiprocessing.process
import random
import resource
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".ansible/collections"), str(ROOT / "tests/support")]

import real_router  # noqa: E402
from real_router import BOX_KEY, CLIENT_KEYS, Router, behind  # noqa: E402

ADDED_MS, TWICE, ROUNDS = 1.0, 1.9, 3
"""Goals: what a router may add to one request at the median, and what two boxes have to be worth of one; rates are the medians of so many rounds."""
TOKEN_S, TOKENS, SEATS, CLIENTS, REQUESTS = 0.025, 128, 8, 32, 4
SAME, MANY = [TOKENS] * CLIENTS * REQUESTS, random.Random(15).choices(range(32, 225), k=2 * CLIENTS * REQUESTS)
"""How many tokens the answers have: all the same, so that engines asked in turn end together; or as people's do."""


async def engine(address: str, port: int, held: int) -> None:
    """Answers a completion after the time that its tokens take, to so many at a time as it has seats; closes nothing by itself."""
    seats = asyncio.Semaphore(held)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r")[0] or 0) if b"content-length:" in head else 0
                body = await reader.readexactly(length)
                answer = b"{}"
                if length:
                    async with seats:
                        await asyncio.sleep(json.loads(body)["max_tokens"] * TOKEN_S)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, address, port, backlog=1024)
    await server.serve_forever()


def engines(addresses: list[str], port: int, held: int) -> list[multiprocessing.process.BaseProcess]:
    """A process for each, which answers when this returns."""
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=lambda where=one: asyncio.run(engine(where, port, held)), daemon=True) for one in addresses]
    for one in started:
        one.start()
    for address in addresses:
        while True:
            with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
                break
            time.sleep(0.05)
    return started


def line(port: int, address: str = "127.0.0.1", tls: bool = True) -> http.client.HTTPConnection:
    if tls:
        return http.client.HTTPSConnection(address, port, context=ssl._create_unverified_context(), timeout=300)
    return http.client.HTTPConnection(address, port, timeout=300)


def ask(connection: http.client.HTTPConnection, key: str, tokens: int) -> float:
    began = time.perf_counter()
    body = json.dumps({"model": "tiny", "prompt": "a", "max_tokens": tokens})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}")
    return time.perf_counter() - began


def latency(router: Router, port: int, rounds: int = 300) -> tuple[float, float]:
    """Medians in seconds, direct and through the router, asked in turn so that both see the same machine."""
    one, two = line(port, "127.0.0.2", tls=False), line(router.given["port"])
    direct, routed = [], []
    for _ in range(rounds):
        direct.append(ask(one, BOX_KEY, 0))
        routed.append(ask(two, CLIENT_KEYS["anna"], 0))
    return statistics.median(direct), statistics.median(routed)


def rate(ports: list[tuple[str, int, bool, str]], lengths: list[int]) -> float:
    """Requests per second of ``CLIENTS`` clients, each request to the next of the ports and with the next of the lengths."""
    ready, turn, tokens = threading.Barrier(CLIENTS + 1), itertools.cycle(range(len(ports))), iter(lengths)

    def client() -> None:
        kept = [(line(port, address, tls), key) for address, port, tls, key in ports]
        for connection, key in kept:
            ask(connection, key, 0)
        ready.wait()
        for _ in range(len(lengths) // CLIENTS):
            ask(*kept[next(turn)], next(tokens))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for one in threads:
        one.start()
    ready.wait()
    began = time.perf_counter()
    for one in threads:
        one.join()
    return len(lengths) / (time.perf_counter() - began)


def memory_mib(router: Router) -> float:
    """Of the process that takes requests."""
    status = Path(f"/proc/{router.worker().split()[-1]}/status").read_text()
    return int(next(row.split()[1] for row in status.splitlines() if row.startswith("VmRSS:"))) / 1024


class Silent:
    """Begins a stream for whoever asks, and says nothing more; answers /health."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_server((address, 0), backlog=4096)
        self.port, self.held = self.socket.getsockname()[1], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            connection, _address = self.socket.accept()
            text = connection.recv(65536)
            if text.startswith(b"GET"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                connection.close()
                continue
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n")
            self.held.append(connection)


def idle(place: Path, count: int) -> tuple[int, float, float]:
    """(streams that are held, MiB of HAProxy before, MiB with them)."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    silent = Silent("127.0.0.2")
    place.mkdir()
    router = Router(place, [behind("spark-01", "tiny", "127.0.0.2", silent.port, ["tiny"], maxconn=count + 10)], real_router.settings(connections=8000))
    try:
        before, clients = memory_mib(router), []
        context = ssl._create_unverified_context()
        body = b'{"model": "tiny"}'
        head = f"POST /v1/completions HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer {CLIENT_KEYS['anna']}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for _ in range(count):
            client = context.wrap_socket(socket.create_connection(("127.0.0.1", router.given["port"]), timeout=120))
            client.sendall(head + body)
            if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                break
            clients.append(client)
        time.sleep(2)
        return router.seen()["tiny", "spark-01"]["sessions"], before, memory_mib(router)
    finally:
        router.close()


def load() -> str:
    """How busy this machine was before: figures of a busy one are no figures."""
    return " ".join(Path("/proc/loadavg").read_text().split()[:3])


@contextlib.contextmanager
def fleet(place: Path, held: int) -> Iterator[tuple[Router, Router, int]]:
    """Two engines of so many seats, a router before both and one before the first; and the engines' port."""
    port = real_router.free_port()
    addresses = {"spark-01": "127.0.0.2", "spark-02": "127.0.0.3"}
    running = engines(list(addresses.values()), port, held)
    servers = [behind(name, "tiny", address, port, ["tiny"], maxconn=held) for name, address in addresses.items()]
    routers = []
    try:
        for name, some in {"two": servers, "one": servers[:1]}.items():
            (place / name).mkdir(parents=True)
            routers.append(Router(place / name, some, real_router.settings()))
        yield routers[0], routers[1], port
    finally:
        for one in routers:
            one.close()
        for process in running:
            process.terminate()


def rates(two: Router, alone: Router | None, port: int, lengths: list[int]) -> list[list[float]]:
    """Of the router before both, of asking both directly in turn and of the router before one, in turn, so that all of them see the same machine."""
    key, found = CLIENT_KEYS["anna"], []
    for _ in range(ROUNDS):
        ways = [[("127.0.0.1", two.given["port"], True, key)], [("127.0.0.2", port, False, BOX_KEY), ("127.0.0.3", port, False, BOX_KEY)]]
        ways += [[("127.0.0.1", alone.given["port"], True, key)]] if alone else []
        found.append([rate(one, lengths) for one in ways])
    return [list(one) for one in zip(*found, strict=True)]


def against(what: str, double: list[float], turns: list[float]) -> bool:
    """Prints the router beside asking directly; whether it is not below the slowest round of that."""
    both, straight = statistics.median(double), statistics.median(turns)
    said = f"directly in turn {straight:.2f}/s ({min(turns):.2f} to {max(turns):.2f}), router {both:.2f}/s = {both / straight:.4f} x"
    print(f"{what}: {said} (not below the slowest)", flush=True)
    return both >= min(turns)


def measured(place: Path) -> list[str]:
    """Prints latency and rates; the goals that were missed."""
    with fleet(place / "same", SEATS) as (two, alone, port):
        direct, routed = latency(two, port)
        added = (routed - direct) * 1000
        print(f"one client, median: direct {direct * 1000:.2f} ms, router {routed * 1000:.2f} ms, added {added:.2f} ms (at most {ADDED_MS:g})")
        double, turns, single = rates(two, alone, port, SAME)
        one, both = statistics.median(single), statistics.median(double)
        print(f"{CLIENTS} clients: one engine of {SEATS} seats {one:.1f}/s, two {both:.1f}/s = {both / one:.2f} x (at least {TWICE:g})")
        same = against(f"answers of {TOKENS} tokens, {2 * SEATS} seats", double, turns)
    with fleet(place / "many", CLIENTS // 2) as (two, _alone, port):
        many = against(f"answers of {min(MANY)} to {max(MANY)} tokens, {CLIENTS} seats", *rates(two, None, port, MANY))
    goals = {
        "added latency": added <= ADDED_MS,
        "two boxes against one": both >= TWICE * one,
        "against asking directly, answers of one length": same,
        "against asking directly, answers of many lengths": many,
    }
    return [name for name, met in goals.items() if not met]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=5000)
    given = parser.parse_args()
    print(f"HAProxy {'.'.join(map(str, real_router.version()))}, load before: {load()}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        missed = measured(place)
        held, before, now = idle(place / "idle", given.idle)
        print(f"{held} silent streams held; HAProxy {before:.0f} MiB before, {now:.0f} MiB with them ({(now - before) * 1024 / max(1, held):.0f} KiB each)")
        missed += [f"{given.idle} silent streams"] if held < given.idle else []
    print(f"missed: {', '.join(missed)}" if missed else "all goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
