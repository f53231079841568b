# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The world of an imitated box, in namespaces of its own: Docker's API and command, systemctl, and engines that answer or die as they once did.

imitation.py starts it. Files are real: the box has this machine's, and what is written to them stays in its memory. What is
played back: an engine prints the recorded log that the first fitting rule of rules.json names, then answers, or ends with the rule's exit status.
"""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import http.server
import itertools
import json
import os
import re
import shlex
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDER = Path(sys.argv[1])  # outside of the box as well: rules.json, and `up` when the box is
NAME = sys.argv[2]
UNITS = Path("/etc/systemd/system")
STATE = "/var/lib/gb10-vllm"
NEVER = "0001-01-01T00:00:00Z"
IMAGES = {"vllm-node:latest": "1", "vllm-other:latest": "2"}
MEMINFO = "MemTotal: 125042688 kB\nMemFree: 100000000 kB\nMemAvailable: 119000000 kB\nCached: 4000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
SHORT = MEMINFO.replace("119000000", "12600000")
HEALTHY = ["INFO 11-20 10:00:00 [kv_cache_utils.py:1319] GPU KV cache size: 65,536 tokens", "INFO:     Application startup complete."]


def sh(*argv: str) -> None:
    subprocess.run(argv, check=True)


def memory(text: str) -> None:
    """What /proc/meminfo says from now on."""
    (FOLDER / "scratch" / "meminfo").write_text(text)


def less(taken: int) -> str:
    """What /proc/meminfo says where an engine has taken so many bytes."""
    return re.sub(r"(MemAvailable: )(\d+)", lambda found: f"{found[1]}{int(found[2]) - taken // 1024}", MEMINFO)


def boot() -> None:
    """A boot has an id of its own."""
    (FOLDER / "scratch" / "boot_id").write_text(f"{uuid.uuid4()}\n")


def furnish() -> None:
    """Mounts: what the box writes stays in memory that goes with it; no other box and no part of this machine sees it."""
    scratch = FOLDER / "scratch"
    scratch.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=400g,mode=755", "scratch", str(scratch))
    for place in ("/etc", "/var", "/srv", "/usr/local"):
        upper, work = scratch / f"upper{place.replace('/', '-')}", scratch / f"work{place.replace('/', '-')}"
        upper.mkdir()
        work.mkdir()
        sh("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={place},upperdir={upper},workdir={work}", place)
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
    Path("/run/haproxy").mkdir()
    memory(MEMINFO)
    sh("mount", "--bind", str(scratch / "meminfo"), "/proc/meminfo")
    boot()
    sh("mount", "--bind", str(scratch / "boot_id"), "/proc/sys/kernel/random/boot_id")
    for path in filter(os.path.exists, ("/usr/sbin/shutdown", "/sbin/shutdown")):  # of systemd, which would look for its own
        sh("mount", "--bind", str(HERE / "command"), os.path.realpath(path))
    for name in ("docker", "systemctl", "journalctl", "shutdown"):
        target = Path("/usr/local/sbin") / name
        target.unlink(missing_ok=True)
        target.write_text((HERE / "command").read_text())
        target.chmod(0o755)
    for left in ("/etc/gb10-vllm", "/var/lib/gb10-vllm"):
        sh("rm", "-rf", left)
    smi = Path("/usr/local/bin/nvidia-smi")
    smi.unlink(missing_ok=True)
    smi.write_text((HERE.parents[1] / "boxes" / "box" / "nvidia-smi").read_text())
    smi.chmod(0o755)
    Path("/srv/models").mkdir(exist_ok=True)
    sh("cp", "-r", *map(str, sorted((FOLDER.parent / "models").iterdir())), "/srv/models")
    sh("ip", "link", "set", "lo", "up")
    sh("hostname", NAME)


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


class Missing(Exception):
    """There is no such image, container or unit."""


class Ended(Exception):
    """A command ends with this exit code."""


class Docker:
    """Images that are there from the beginning, containers as they were asked for."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[str]] = {}
        self.engines: dict[str, Any] = {}
        self.numbers = itertools.count(1)
        self.images = [
            {
                "Id": "sha256:" + digit * 64, "RepoTags": [tag], "RepoDigests": [], "Size": 22 * 10**9, "Architecture": "arm64", "Os": "linux",
                "Created": "2026-11-20T10:00:00Z", "RootFS": {"Type": "layers", "Layers": [f"sha256:{digit}"]},
                "Config": {"Env": ["PATH=/usr/bin"], "Labels": {"gb10.vllm.vllm_version": "0.32.0", "gb10.vllm.commit": digit * 40}},
            }
            for tag, digit in IMAGES.items()
        ]  # fmt: skip

    def image(self, name: str) -> dict[str, Any]:
        for one in self.images:
            if name in one["RepoTags"] or f"{name}:latest" in one["RepoTags"] or one["Id"] in (name, f"sha256:{name}"):
                return one
        raise Missing(f"No such image: {name}")

    def container(self, name: str) -> dict[str, Any]:
        for one in self.containers.values():
            if name in (one["Id"], one["Name"].lstrip("/")):
                return one
        raise Missing(f"No such container: {name}")

    def create(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        host = body.pop("HostConfig", {})
        body.pop("NetworkingConfig", None)
        identity = f"{next(self.numbers):064x}"
        mounts = [one.split(":") for one in host.get("Binds") or []]
        self.containers[name] = {
            "Id": identity, "Name": f"/{name}", "Image": self.image(body["Image"])["Id"], "Created": now(), "RestartCount": 0, "Config": body,
            "Path": (body.get("Cmd") or [""])[0], "Args": (body.get("Cmd") or [])[1:],
            "HostConfig": host, "Mounts": [{"Type": "bind", "Source": m[0], "Destination": m[1], "RW": "ro" not in m[2:]} for m in mounts],
            "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "b", "IPAddress": ""}}, "Ports": host.get("PortBindings")},
            "State": {"Status": "created", "Running": False, "Paused": False, "OOMKilled": False, "ExitCode": 0, "Error": "", "Pid": 0,
                      "StartedAt": NEVER, "FinishedAt": NEVER},
        }  # fmt: skip
        self.logs[name] = []
        return {"Id": identity, "Warnings": []}

    def remove(self, name: str) -> None:
        container = self.container(name)
        self.stop(name, 137)
        del self.containers[container["Name"].lstrip("/")]

    def untag(self, name: str) -> None:
        image = self.image(name)
        image["RepoTags"] = [tag for tag in image["RepoTags"] if name not in (tag, image["Id"])]
        self.images = [one for one in self.images if one["RepoTags"]]

    def start(self, name: str) -> None:
        container = self.container(name)
        container["State"].update(Status="running", Running=True, StartedAt=now(), ExitCode=0, Pid=1)
        rule, rank = self.rule(container), container["HostConfig"].get("NetworkMode") == "host"
        if "takes" in rule:
            memory(less(rule["takes"]))
        lines = Path(rule["log"]).read_text().splitlines() if "log" in rule else [] if rank else HEALTHY
        self.logs[name] += [f"{now()} {line}" for line in lines]
        if "exit" in rule:
            threading.Timer(0.2, self.ended, (name, container["Id"], rule)).start()
        else:
            self.engines[name] = RankEngine(name, container) if rank else Engine(container)

    def rule(self, container: dict[str, Any]) -> dict[str, Any]:
        """How this engine behaves."""
        return self.fitting(" ".join([container["Name"], container["Config"]["Image"], container["Image"], *(container["Config"].get("Cmd") or [])]))

    @staticmethod
    def fitting(text: str) -> dict[str, Any]:
        """The first rule whose ``only`` and ``unless`` are what a container's image, its id and its command have and have not."""
        try:
            rules = json.loads((FOLDER / "rules.json").read_text())
        except FileNotFoundError:
            rules = []
        fitting = (one for one in rules if one.get("only", "") in text and not (one.get("unless") and one["unless"] in text))
        return next(fitting, {})

    def ended(self, name: str, identity: str, rule: dict[str, Any]) -> None:
        container = self.containers.get(name)
        if container and container["Id"] == identity and container["State"]["Running"]:
            if rule.get("short"):  # somebody else took its memory
                memory(SHORT)
            self.stop(name, rule["exit"])
            if not systemd.program(f"{name}.service"):  # a rank's notices it by itself
                systemd.engine_ended(f"{name}.service", rule["exit"])

    def stop(self, name: str, status: int = 143) -> None:
        state = self.container(name)["State"]
        engine = self.engines.pop(name, None)
        if engine:
            engine.shutdown()
        if state["Running"]:
            if "takes" in self.rule(self.container(name)):
                memory(MEMINFO)
            state.update(Status="exited", Running=False, ExitCode=status, FinishedAt=now(), Pid=0)

    # The command

    def command(self, words: list[str]) -> str:
        plain = [
            word
            for index, word in enumerate(words)
            if not word.startswith("-") and words[index - 1] not in ("--format", "--type", "--filter", "--since", "--time")
        ]
        form = words[words.index("--format") + 1] if "--format" in words else ""
        verb = " ".join(plain[:2]) if plain[0] in ("image", "buildx", "container") else plain[0]
        names = plain[len(verb.split()) :]
        answers = {
            "info": lambda: (
                "/var/lib/docker"
                if "Root" in form and "json" not in form
                else json.dumps({"ServerVersion": "29.1.3", "DockerRootDir": "/var/lib/docker", "Runtimes": {"nvidia": {}}})
            ),
            "version": lambda: "29.1.3",
            "buildx version": lambda: "github.com/docker/buildx 0.30.1",
            "ps": lambda: "\n".join(self.listed(one, words, form) for one in self.containers.values()),
            "image inspect": lambda: json.dumps([self.image(name) for name in names]),
            "inspect": lambda: (
                str(self.container(names[0])["State"]["Running"]).lower()
                if form == "{{.State.Running}}"
                else json.dumps([self.container(name) for name in names])
            ),
            "container inspect": lambda: json.dumps([self.container(name) for name in names]),
            "images": lambda: "\n".join(self.listed_image(one, form) for one in self.images),
            "image ls": lambda: "\n".join(self.listed_image(one, form) for one in self.images),
            "logs": lambda: "\n".join(self.logs[self.container(names[-1])["Name"].lstrip("/")]),
            "top": lambda: "PID\n1",
            "stop": lambda: [self.stop(name) for name in names] and "",
            "rm": lambda: [self.remove(name) for name in names] and "",
            "rmi": lambda: [self.untag(name) for name in names] and "",
            "run": lambda: self.rehearsed(words) if any(word.endswith("/rehearsing.py") for word in words) else self.load(words),
        }
        if verb == "start":
            return self.attached(names[0])
        if verb not in answers:
            raise Missing(f"an imitated box has no docker {' '.join(words)}")
        return answers[verb]()

    def rehearsed(self, words: list[str]) -> str:
        """What vLLM says of arguments: it refuses those whose rule says so (``refuses``: its words)."""
        with (FOLDER / "rehearsed").open("a") as asked:
            asked.write(" ".join(words[words.index("serve") :]) + "\n")
        why = self.fitting(" ".join(words)).get("refuses")
        return f"{why}\ngb10.vllm rehearsal: refused it ended with 2" if why else "gb10.vllm rehearsal: passed"

    def load(self, words: list[str]) -> str:
        """``vllm bench serve`` in a container: a result as the server's rule has it (``itl``: seconds between its tokens), or its death (``load``)."""
        flags = {word: words[index + 1] for index, word in enumerate(words[:-1]) if word.startswith("--")}
        out = next(word.split(":")[0] for word in words if word.endswith(":/out:rw"))
        server = next((one for one in self.containers.values() if flags["--base-url"].rpartition(":")[2] in self.ports(one)), None)
        if not server or not server["State"]["Running"]:
            raise Missing("ClientConnectorError: nothing answers")
        rule = self.rule(server)
        if rule.get("load") == "dies":
            self.ended(server["Name"].lstrip("/"), server["Id"], {"exit": 1})
            raise Missing("ServerDisconnectedError: the server is gone")
        prompts, output, prompt = (int(flags[name]) for name in ("--num-prompts", "--random-output-len", "--random-input-len"))
        itl = rule.get("itl", 0.02) * (1 + int(flags["--seed"]) % 3 / 1000)
        seconds = 0.1 + itl * (output - 1)
        result = {
            "completed": prompts, "failed": 0, "duration": seconds, "total_output_tokens": prompts * output, "output_throughput": prompts * output / seconds,
            "start_times": [0.0] * prompts, "ttfts": [0.1] * prompts, "itls": [[itl] * (output - 1)] * prompts, "input_lens": [prompt] * prompts,
            "output_lens": [output] * prompts, "errors": [""] * prompts, **{f"p{p}_{name}_ms": 100.0 for p in (50, 95, 99) for name in ("ttft", "itl")},
        }  # fmt: skip
        Path(out, "result.json").write_text(json.dumps(result))
        return ""

    @staticmethod
    def ports(one: dict[str, Any]) -> set[str]:
        """Where an engine answers: at what is published of its container, or, in its box's own network, where it listens itself; a headless one nowhere."""
        words = one["Config"].get("Cmd") or []
        if one["HostConfig"].get("NetworkMode") == "host":
            return set() if "--headless" in words else {words[words.index("--port") + 1]}
        return {binding["HostPort"] for each in one["HostConfig"]["PortBindings"].values() for binding in each}

    def attached(self, name: str) -> str:
        """What `docker start --attach` does: it ends with the container, with its exit code."""
        self.start(name)
        while self.container(name)["State"]["Running"]:
            time.sleep(0.05)
        raise Ended(self.container(name)["State"]["ExitCode"])

    def listed(self, one: dict[str, Any], words: list[str], form: str) -> str:
        name, label = one["Name"].lstrip("/"), (one["Config"].get("Labels") or {}).get("gb10.vllm.server", "")
        return one["Id"] if any(word in words for word in ("-aq", "-q")) else f"{one['Id']} {name} {label}" if ".Label" in form else name

    @staticmethod
    def listed_image(one: dict[str, Any], form: str) -> str:
        return one["RepoTags"][0] if "Repository" in form else one["Id"]


class Engine(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A served model: who has one of its keys gets an answer."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, container: dict[str, Any]) -> None:
        words = container["Config"].get("Cmd") or []
        if container["HostConfig"].get("NetworkMode") == "host":
            binding = {"HostIp": words[words.index("--host") + 1], "HostPort": words[words.index("--port") + 1]}
        else:
            binding = next(iter(container["HostConfig"]["PortBindings"].values()))[0]
        self.model = words[words.index("--served-model-name") + 1] if "--served-model-name" in words else "?"
        self.keys = Path("/etc/gb10-vllm", container["Name"].removeprefix("/gb10-vllm-"))
        self.token_s = 0.1
        pinned = "--kv-cache-memory-bytes"
        known = words[words.index(pinned) + 1] if pinned in words else "None"
        self.cache = f'vllm:cache_config_info{{kv_cache_memory_bytes="{known}"}} 1.0\n'
        self.asked: set[socket.socket] = set()
        super().__init__((binding["HostIp"] or "0.0.0.0", int(binding["HostPort"])), Answer)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def shutdown(self) -> None:
        """What is being answered is cut off, as it is where an engine ends."""
        super().shutdown()
        self.server_close()
        for connection in list(self.asked):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def known(self, header: str | None) -> bool:
        """Whether a request may be answered; the files are read each time, as the guard of the keys does."""
        texts = [file.read_text() for file in self.keys.glob("*.env") if file.name in ("key.env", "fleet.env")]
        values = {shlex.split(line.partition("=")[2])[0] for text in texts for line in text.splitlines() if "=" in line and line.partition("=")[2]}
        return not values or (header or "").removeprefix("Bearer ") in values


class RankEngine:
    """A rank of a server over several boxes: the head listens where ranks meet and answers when all are there, the others hold a connection to it."""

    def __init__(self, name: str, container: dict[str, Any]) -> None:
        words = container["Config"]["Cmd"]
        self.number, self.of = (int(words[words.index(flag) + 1]) for flag in ("--node-rank", "--nnodes"))
        self.meet = words[words.index("--master-addr") + 1], int(words[words.index("--master-port") + 1])
        self.name, self.container, self.over = name, container, threading.Event()
        self.held: list[socket.socket] = []
        self.api: Engine | None = None
        self.store = socket.create_server(self.meet) if self.number == 0 else None
        threading.Thread(target=self.live, daemon=True).start()

    def live(self) -> None:
        while len(self.held) < (1 if self.number else self.of - 1) and not self.over.is_set():
            with contextlib.suppress(OSError):
                if self.store:
                    self.store.settimeout(0.2)
                    self.held.append(self.store.accept()[0])
                else:
                    self.held.append(socket.create_connection(self.meet, timeout=0.2))
            time.sleep(0.05)
        if self.store and not self.over.is_set():
            docker.logs[self.name] += [f"{now()} {line}" for line in HEALTHY]
            self.api = Engine(self.container)

    def shutdown(self) -> None:
        self.over.set()
        for one in [*self.held, *([self.store] if self.store else [])]:
            one.close()
        if self.api:
            self.api.shutdown()


class Answer(http.server.BaseHTTPRequestHandler):
    """vLLM's routes, as far as a run asks for them."""

    protocol_version = "HTTP/1.1"
    server: Engine

    def reply(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path != "/health" and not self.server.known(self.headers.get("Authorization")):
            return self.reply(401, {"error": "Unauthorized"})
        if self.path == "/v1/models":
            return self.reply(200, {"data": [{"id": self.server.model, "max_model_len": 2048}]})
        if self.path == "/metrics":
            return self.text(f'vllm:num_requests_running{{engine="0"}} {len(self.server.asked)}.0\n{self.server.cache}')
        paths = {"/v1/models": {}, "/v1/completions": {}, "/v1/chat/completions": {}}
        return self.reply(200, {"paths": paths} if self.path == "/openapi.json" else {}) if self.path in ("/health", "/openapi.json") else self.reply(404, {})

    def text(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def stream(self, tokens: int) -> None:
        """As many tokens as asked for, one after the other, and how many they were."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        said: list[Any] = [{"choices": [{"text": "a"}]}] * tokens
        for one in [*said, {"choices": [], "usage": {"completion_tokens": tokens}}, None]:
            line = f"data: {'[DONE]' if one is None else json.dumps(one)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            time.sleep(self.server.token_s)
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.server.known(self.headers.get("Authorization")):
            return self.reply(401, {"error": "Unauthorized"})
        if b'"stream": true' in body:
            self.server.asked.add(self.connection)
            try:
                return self.stream(int(json.loads(body)["max_tokens"]))
            finally:
                self.server.asked.discard(self.connection)
        choice = {"message": {"role": "assistant", "content": "Hello."}, "text": "Hello.", "finish_reason": "stop"}
        return self.reply(200, {"model": self.server.model, "choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 2}})

    def log_message(self, *_arguments: Any) -> None:
        pass


class Listener(socketserver.ThreadingTCPServer):
    """A socket unit: its service is run for each connection, as its standard input and output."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str, command: list[str]) -> None:
        class Accepted(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                subprocess.run(command, stdin=self.request.fileno(), stdout=self.request.fileno(), timeout=5, check=False)

        host, _colon, port = address.rpartition(":")
        super().__init__((host, int(port)), Accepted)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Systemd:
    """Units as far as the collection uses them; those of a server run the guard's real commands around the container."""

    def __init__(self) -> None:
        self.state: dict[str, dict[str, str]] = {}
        self.journal: dict[str, list[tuple[float, str]]] = {}
        self.listeners: dict[str, Listener] = {}
        self.processes: dict[str, subprocess.Popen] = {}
        self.era = 0

    def program(self, unit: str) -> list[str]:
        """The main process of a rank's unit; [] for other units, whose container is all there is."""
        words = shlex.split(next(iter(self.lines(unit, "ExecStart")), "")) if self.file(unit).exists() else []
        return words if words and words[0].endswith("/rank") else []

    def attend(self, unit: str, era: int) -> None:
        """What systemd does with a rank: run it, and start it again when it ends."""
        while self.era == era and self.state[unit]["ActiveState"] == "active":
            process = subprocess.Popen(self.program(unit), env=self.environment(unit) | {"GB10_LOOK_S": "0.3"}, stderr=subprocess.PIPE, text=True)
            self.processes[unit] = process
            for line in process.stderr or ():
                self.journal.setdefault(unit, []).append((time.time(), line.rstrip()))
            process.wait()
            if self.era != era or self.state[unit]["ActiveState"] != "active":
                return
            code = str(process.returncode)
            self.hook(unit, "ExecStopPost", SERVICE_RESULT="exit-code", EXIT_CODE="exited", EXIT_STATUS=code)
            self.state[unit].update(SubState="auto-restart")
            time.sleep(0.5)
            if self.state[unit]["ActiveState"] == "active" and self.hook(unit, "ExecStartPre"):
                self.state[unit].update(ActiveState="failed", SubState="failed", Result="exit-code")

    def file(self, unit: str) -> Path:
        plain = UNITS / unit
        return plain if plain.exists() else UNITS / re.sub(r"@[^.]*\.", "@.", unit)

    def of(self, unit: str) -> dict[str, str]:
        there = self.file(unit).exists()
        state = self.state.setdefault(unit, {"ActiveState": "inactive", "SubState": "dead", "UnitFileState": "disabled", "Result": "success"})
        return {
            "Id": unit,
            "LoadState": "loaded" if there else "not-found",
            **state,
            "UnitFileState": state["UnitFileState"] if there else "",
            "NRestarts": "0",
        }

    def command(self, words: list[str]) -> tuple[int, str, str]:
        verb = next(word for word in words if not word.startswith("-"))
        units = [word for word in words[words.index(verb) + 1 :] if not word.startswith("-")]
        if units == ["haproxy.service"]:  # the real one, in the files and the network of this box
            done = subprocess.run([HERE.parent / "router_host" / "systemctl", *words], capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr
        if verb == "show":
            if not units:
                return 0, "", ""
            known = {*self.state, *(file.name for file in UNITS.glob("gb10-vllm-*") if "@." not in file.name)}
            found = [unit for pattern in units for unit in (sorted(known) if "*" in pattern else [pattern]) if fnmatch.fnmatch(unit, pattern)]
            blocks = [self.of(unit) for unit in found]
            blocks = [one for one in blocks if one["LoadState"] == "loaded" or one["ActiveState"] != "inactive"] if "*" in units[0] else blocks
            return 0, "\n\n".join("\n".join(f"{key}={value}" for key, value in one.items()) for one in blocks), ""
        if verb == "is-active":
            return (0 if self.of(units[0])["ActiveState"] == "active" else 3), self.of(units[0])["ActiveState"], ""
        if verb == "is-enabled":
            return (0 if self.of(units[0])["UnitFileState"] == "enabled" else 1), self.of(units[0])["UnitFileState"], ""
        if verb == "daemon-reload":
            return 0, "", ""
        actions = {"start": self.start, "stop": self.stop, "restart": self.restart, "enable": self.enable, "disable": self.disable, "reset-failed": self.reset}
        if verb not in actions:
            return 1, "", f"an imitated box has no systemctl {' '.join(words)}"
        for unit in units:
            self.of(unit)
            actions[verb](unit)
            if verb in ("start", "restart") and self.state[unit]["ActiveState"] == "failed":
                return 1, "", f"Job for {unit} failed because the control process exited with error code."
        return 0, "", ""

    def lines(self, unit: str, key: str) -> list[str]:
        return [line.partition("=")[2] for line in self.file(unit).read_text().splitlines() if line.startswith(f"{key}=")]

    def environment(self, unit: str) -> dict[str, str]:
        return {**os.environ, **dict(word.partition("=")[::2] for line in self.lines(unit, "Environment") for word in shlex.split(line))}

    def hook(self, unit: str, key: str, **more: str) -> int:
        codes = []
        for line in self.lines(unit, key):
            done = subprocess.run(shlex.split(line.removeprefix("-")), env={**self.environment(unit), **more}, capture_output=True, text=True, check=False)
            self.journal.setdefault(unit, []).extend((time.time(), line) for line in [*done.stdout.splitlines(), *done.stderr.splitlines()])
            codes.append(done.returncode)
        return max(codes, default=0)

    def start(self, unit: str) -> None:
        if self.state[unit]["ActiveState"] == "active":
            return
        if unit.endswith(".socket"):
            command = self.lines(unit.replace(".socket", "@.service"), "ExecStart")[0].lstrip("-")
            self.listeners[unit] = Listener(self.lines(unit, "ListenStream")[0], shlex.split(command))
            self.state[unit].update(ActiveState="active", SubState="listening", Result="success")
        elif not unit.endswith(".timer"):
            if (FOLDER / "short").exists():  # whoever looked before saw more
                memory(SHORT)
            if self.hook(unit, "ExecStartPre"):
                self.state[unit].update(ActiveState="failed", SubState="failed", Result="exit-code")
                return
            self.state[unit].update(ActiveState="active", SubState="running", Result="success")
            if self.program(unit):
                threading.Thread(target=self.attend, args=(unit, self.era), daemon=True).start()
            else:
                docker.start(unit.removesuffix(".service"))
        else:
            self.state[unit].update(ActiveState="active", SubState="waiting", Result="success")

    def stop(self, unit: str) -> None:
        if unit in self.listeners:
            listener = self.listeners.pop(unit)
            listener.shutdown()
            listener.server_close()
        if unit.endswith(".service") and self.state[unit]["ActiveState"] == "active":
            if unit in self.processes:
                self.state[unit].update(ActiveState="deactivating")
                self.processes[unit].terminate()
            docker.stop(unit.removesuffix(".service"))
            self.hook(unit, "ExecStopPost", SERVICE_RESULT="success", EXIT_CODE="exited", EXIT_STATUS="143")
        self.state[unit].update(ActiveState="inactive", SubState="dead")

    def restart(self, unit: str) -> None:
        self.stop(unit)
        self.start(unit)

    def enable(self, unit: str) -> None:
        self.state[unit]["UnitFileState"] = "enabled"

    def disable(self, unit: str) -> None:
        self.state[unit]["UnitFileState"] = "disabled"

    def reset(self, unit: str) -> None:
        if self.state[unit]["ActiveState"] == "failed":
            self.state[unit].update(ActiveState="inactive", SubState="dead", Result="success")

    def shut_down(self) -> None:
        """A reboot: nobody reaches the box meanwhile, what is enabled comes back. With ``stays-off`` in its folder the box does not."""
        (FOLDER / "off").touch()
        running = [unit for unit, one in self.state.items() if one["ActiveState"] == "active"]
        for unit in running:
            self.stop(unit)
        time.sleep(2)
        boot()
        for unit in running:
            if self.state[unit]["UnitFileState"] == "enabled":
                self.start(unit)
        if not (FOLDER / "stays-off").exists():
            (FOLDER / "off").unlink()

    def engine_ended(self, unit: str, status: int) -> None:
        """systemd waits before it starts the unit again: here for ever."""
        self.hook(unit, "ExecStopPost", SERVICE_RESULT="exit-code", EXIT_CODE="exited", EXIT_STATUS=str(status))
        self.state[unit].update(ActiveState="activating", SubState="auto-restart", Result="exit-code")


class Kept:
    """The box as it was once: what lies on it, its containers and its units. In kept.tar and kept.json, which another box may be given."""

    PLACES = "/etc/gb10-vllm /var/lib/gb10-vllm /usr/local/lib/gb10-vllm /etc/systemd/system/gb10-vllm-*"

    def save(self, moment: str = f"{FOLDER}/kept") -> None:
        subprocess.run(f"tar --ignore-failed-read -cf {moment}.tar {self.PLACES} 2>/dev/null", shell=True, check=False)
        Path(f"{moment}.json").write_text(json.dumps([docker.containers, docker.logs, systemd.state]))

    def restore(self, moment: str = f"{FOLDER}/kept") -> None:
        systemd.era += 1
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) not in (1, os.getpid(), warm.pid):
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        for name in list(docker.containers):
            docker.stop(name)
        memory(MEMINFO)
        systemd.journal.clear()
        docker.containers, docker.logs, systemd.state = json.loads(Path(f"{moment}.json").read_text())
        script = f"umount -l {STATE} {STATE}/servers /etc/gb10-vllm 2>/dev/null; rm -rf {self.PLACES} /run/gb10-vllm*; tar -xf {moment}.tar -C /"
        subprocess.run(script, shell=True, check=True)
        for name, one in docker.containers.items():
            if one["State"]["Running"] and systemd.program(f"{name}.service"):
                docker.stop(name)
                systemd.hook(f"{name}.service", "ExecStartPre")
                threading.Thread(target=systemd.attend, args=(f"{name}.service", systemd.era), daemon=True).start()
            elif one["State"]["Running"]:
                docker.engines[name] = Engine(one)


class Api(http.server.BaseHTTPRequestHandler):
    """Docker's API as far as community.docker asks, and the two commands as POST /command."""

    protocol_version = "HTTP/1.1"

    def reply(self, status: int, value: Any = None) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "box"

    def log_message(self, *_arguments: Any) -> None:
        pass

    def handle_any(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        path = re.sub(r"^/v[0-9.]+", "", urllib.parse.unquote(url.path))
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            self.reply(*self.route(self.command, path, query, body))
        except Missing as error:
            self.reply(404, {"message": str(error)})

    do_GET = do_POST = do_DELETE = handle_any

    def route(self, verb: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        words = path.strip("/").split("/")
        if path == "/command":
            return 200, commanded(body)
        if path == "/version":
            return 200, {"Version": "29.1.3", "ApiVersion": "1.52", "MinAPIVersion": "1.44", "Os": "linux", "Arch": "arm64"}
        if path == "/images/json":
            return 200, docker.images
        if words[0] == "images" and words[-1] == "json":
            return 200, docker.image("/".join(words[1:-1]))
        if path == "/containers/json":
            return 200, [{"Id": one["Id"], "Names": [one["Name"]], "Image": one["Config"]["Image"]} for one in docker.containers.values()]
        if path == "/containers/create":
            return 201, docker.create(query["name"], body)
        if words[0] == "containers" and words[-1] == "json":
            return 200, docker.container(words[1])
        if words[0] == "containers" and verb == "DELETE":
            return 204, docker.remove(docker.container(words[1])["Name"].lstrip("/"))
        if words[0] == "containers" and words[2] in ("stop", "kill"):
            return 204, docker.stop(docker.container(words[1])["Name"].lstrip("/"))
        return 501, {"message": f"an imitated box has no {verb} {path}"}


def commanded(asked: dict[str, Any]) -> dict[str, Any]:
    """What a command prints and its exit status."""
    if asked["name"] == "box":
        {"save": kept.save, "restore": kept.restore, "relieve": lambda: memory(MEMINFO)}[asked["words"][0]](*asked["words"][1:])
        return {"code": 0, "out": "", "err": ""}
    if asked["name"] == "shutdown":
        threading.Timer(0.2, systemd.shut_down).start()
        return {"code": 0, "out": "", "err": ""}
    if asked["name"] == "journalctl":
        unit = asked["words"][asked["words"].index("--unit") + 1]
        since = max((float(word.removeprefix("--since=@")) for word in asked["words"] if word.startswith("--since=@")), default=0.0)
        return {"code": 0, "out": "\n".join(line for at, line in systemd.journal.get(unit, []) if at >= since), "err": ""}
    if asked["name"] == "systemctl":
        code, out, err = systemd.command(asked["words"])
        return {"code": code, "out": out, "err": err}
    try:
        return {"code": 0, "out": docker.command(asked["words"]), "err": ""}
    except Ended as error:
        return {"code": error.args[0], "out": "", "err": ""}
    except Missing as error:
        return {"code": 1, "out": "[]" if "inspect" in asked["words"] else "", "err": f"Error response from daemon: {error}"}


class Socket(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


docker, systemd, kept = Docker(), Systemd(), Kept()

if __name__ == "__main__":
    furnish()
    warm = subprocess.Popen([sys.executable, str(HERE / "warm.py")])
    while not Path("/run/modules.sock").exists():
        time.sleep(0.02)
    with Socket("/run/docker.sock", Api) as server:
        (FOLDER / "up").write_text("")
        server.serve_forever()
