# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at one vLLM container from the box it runs on: Docker's CLI, /proc and the server's own HTTP API.

Reads only. What it sees is judged by readiness.py and engine_log.py.
"""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import re
import shlex
import subprocess
import time
import urllib.parse
from pathlib import Path

from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.module_utils._engine import readiness
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

LOG_HEAD_BYTES = 2 * 2**20
LOG_TAIL_BYTES = 4 * 2**20
TAIL_LINES = 40
DIAGNOSIS_LINES = 2000
MISSING_GRACE_S = 60.0
MOST_UNANSWERED = 3


def docker(*arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess:
    """Run the docker CLI; raises GB10Error when it cannot be run at all."""
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except FileNotFoundError as error:
        raise GB10Error("Docker's command line (docker) is not installed on this box; the preflight role installs it.") from error
    except subprocess.TimeoutExpired as error:
        raise GB10Error(
            f"`docker {arguments[0]}` did not return within {timeout_s:.0f} s on this box; Docker itself hangs: "
            "look at `journalctl -u docker` and restart it with `systemctl restart docker`."
        ) from error


def inspect(container: str) -> dict | None:
    """``docker inspect`` of a container, None when there is none; GB10Error when Docker does not answer."""
    done = docker("inspect", "--type", "container", container)
    if done.returncode == 0:
        return json.loads(done.stdout)[0]
    if "no such" in done.stderr.lower():
        return None
    raise GB10Error(f"Docker on this box refused to inspect container {container}: {done.stderr.strip()[:300]}.")


def logs(container: str, since: str) -> list[tuple[float, str]]:
    """(epoch seconds, raw line) of everything the container printed since ``since`` (RFC 3339), oldest first.

    A log longer than 6 MiB keeps its beginning (the facts) and its end (what happens now).
    Docker notes the start a moment after the process has begun, so look from a second earlier.
    """
    began = epoch(since)
    process = subprocess.Popen(
        ["docker", "logs", "--timestamps", "--since", f"{began - 1:.6f}" if began else since, container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    head, tail = bytearray(), bytearray()
    with process:
        while True:
            chunk = process.stdout.read(2**18)
            if not chunk:
                break
            room = LOG_HEAD_BYTES - len(head)
            head += chunk[:room]
            tail += chunk[max(room, 0) :]
            if len(tail) > 2 * LOG_TAIL_BYTES:
                del tail[: len(tail) - LOG_TAIL_BYTES]
    lines = []
    for line in (head + tail).decode("utf-8", "replace").split("\n"):
        stamp, _space, text = line.partition(" ")
        at = epoch(stamp)
        if at is not None:
            # stdout and stderr may each be late; one order for both
            lines.extend((at, piece) for piece in engine_log.split_lines(text))
    lines.sort(key=lambda entry: entry[0])
    return lines


def epoch(stamp: str) -> float | None:
    """Epoch seconds of Docker's RFC 3339 time stamp, None when it is not one (or Docker's zero time)."""
    head, separator, rest = stamp.partition(".")
    fraction = ""
    if separator:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        fraction, zone = rest[:digits], rest[digits:]
    else:
        head, zone = (stamp[:-1], "Z") if stamp.endswith("Z") else (stamp[:19], stamp[19:])
    try:
        moment = datetime.datetime.fromisoformat(head + ("+00:00" if zone in ("Z", "") else zone))
    except ValueError:
        return None
    if moment.year < 1980:
        return None
    return moment.timestamp() + (float("0." + fraction) if fraction else 0.0)


def memory_available_bytes() -> int:
    """MemAvailable of the box, in bytes; what vLLM calls free memory on a GB10."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def activity(container: str) -> dict:
    """Disk reads, resident memory and processes of a container, as signs of life."""
    done = docker("top", container, "-eo", "pid")
    read_bytes = rss_bytes = 0
    pids = sorted(int(word) for word in done.stdout.split() if word.isdigit()) if done.returncode == 0 else []
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines():
                if line.startswith("read_bytes:"):
                    read_bytes += int(line.split()[1])
            rss_bytes += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
        except (OSError, ValueError, IndexError):
            continue  # the process ended meanwhile
    return {"read_bytes": read_bytes, "rss_bytes": rss_bytes, "processes": pids}


def kernel_log(since_epoch: float) -> list[str]:
    """The kernel's lines since then (out-of-memory kills, GPU faults); empty where it may not be read."""
    try:
        done = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", timeout=10, check=False)
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return []
    booted = time.time() - uptime_s
    lines = []
    for line in done.stdout.splitlines():
        stamp, separator, _text = line.partition("]")
        try:
            if separator and booted + float(stamp.lstrip("[ ")) >= since_epoch:
                lines.append(line)
        except ValueError:
            continue
    return lines[-500:]


def collect(container: str | None, lines: int = DIAGNOSIS_LINES, config_dir: str = "/etc/gb10-vllm") -> list[dict]:
    """State and last lines of one container, or of every server of this collection on the box.

    ``config_dir`` holds a directory per server with its private files; what they keep secret is taken out of the lines.
    """
    if container:
        names = [container]
    else:
        listed = docker("ps", "--all", "--filter", "label=gb10.vllm.server", "--format", "{{.Names}}")
        if listed.returncode != 0:
            raise GB10Error(f"Docker on this box does not answer: {listed.stderr.strip()[:300]}.")
        names = sorted(listed.stdout.split())
    found = []
    for name in names:
        details = inspect(name)
        if details is None:
            raise GB10Error(f"There is no container {name} on this box; `docker ps --all` lists what there is.")
        state = details["State"]
        entries = logs(name, state["StartedAt"]) if epoch(state["StartedAt"]) else []
        server = (details.get("Config", {}).get("Labels") or {}).get("gb10.vllm.server", "")
        kept = _secrets("\n".join(details.get("Config", {}).get("Env") or []))
        for path in sorted(Path(config_dir, server).glob("*.env")) if server else ():
            kept.update(_secrets(path.read_text(encoding="utf-8", errors="replace")))
        secrets = list(kept.values())
        told = [readiness.redact(engine_log.clean_line(text), secrets) for _at, text in entries[-lines:]]
        if state["Status"] in ("exited", "dead") or state.get("Error"):
            told.append(f"gb10.vllm: {readiness.exit_reason(state)}")
        found.append(
            {
                "name": name,
                "server": server,
                "status": state["Status"],
                "api_key": "VLLM_API_KEY" in kept,
                "log": told,
                "kernel_log": kernel_log(epoch(state["StartedAt"]) or time.time()),
            }
        )
    return found


_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)


def _secrets(text: str) -> dict[str, str]:
    """Name -> value of what is secret by its name in lines of NAME=value, which may be quoted for a shell."""
    found = {}
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and _SECRET_NAME.search(name):
            with contextlib.suppress(ValueError):  # not quoted for a shell: the value as it is
                value = " ".join(shlex.split(value))
            if value:
                found[name.removeprefix("export ").strip()] = value
    return found


class Api:
    """The server's HTTP API as one box sees it; the key never leaves this object.

    :param base_url: ``http://127.0.0.1:8000``.
    :param key: bearer token or None.
    """

    def __init__(self, base_url: str, key: str | None) -> None:
        url = urllib.parse.urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise GB10Error(f"base_url {base_url!r} is not an address like http://127.0.0.1:8000.")
        self._connection = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._prefix = url.hostname, url.port, url.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def call(self, path: str, body: dict | None = None, timeout_s: float = 5.0) -> tuple[int, str]:
        """(HTTP status, body); status 0 and the reason when nothing answered."""
        connection = self._connection(self._host, self._port, timeout=timeout_s)
        try:
            data = json.dumps(body) if body is not None else None
            headers = {**self._headers, "Content-Type": "application/json"} if data else self._headers
            connection.request("POST" if data else "GET", self._prefix + path, body=data, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error) or type(error).__name__
        finally:
            connection.close()


def _json(text: str) -> dict:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Follower:
    """Observes one start until it is decided or ``wait_s`` has passed.

    :param container: its name.
    :param base_url: where its API answers on this box.
    :param key_file: Docker env file that may hold ``VLLM_API_KEY=...``; None for an open server.
    :param served_model_name: the name ``/v1/models`` must list; None accepts any.
    :param kind: auto, chat, completion or embedding.
    :param prompt: what to ask.
    :param stall_s: silence in seconds after which the start counts as stalled.
    :param answer_timeout_s: how long one real request may take; the first one compiles kernels.
    :param start: ``StartedAt`` of the start being followed; another start of the same container is then a crash.
    :param last: ``activity`` of an earlier observation.
    """

    def __init__(self, container, base_url, key_file, served_model_name, kind, prompt, stall_s, answer_timeout_s, start=None, last=None):
        self.container = container
        self.kind = kind
        self.prompt = prompt
        self.stall_s = stall_s
        self.answer_timeout_s = answer_timeout_s
        self.start = start
        self.last = dict(last or {})
        self.unanswered = self.last.get("unanswered", 0)
        self.served_model_name = served_model_name
        key = self._read_key(key_file) if key_file else None
        self.secrets = [key] if key else []
        self.api = Api(base_url, key)

    @staticmethod
    def _read_key(path: str) -> str | None:
        try:
            return readiness.private_file_value(Path(path).read_text(encoding="utf-8"), "VLLM_API_KEY")
        except FileNotFoundError:
            return None  # a server without a key has no such file
        except OSError as error:
            raise GB10Error(f"The file with the API key, {path}, cannot be read on this box: {error.strerror}.") from error

    def follow(self, wait_s: float, poll_s: float = 2.0) -> dict:
        """Observe until the start is decided, its progress changes, or ``wait_s`` has passed."""
        deadline = time.monotonic() + wait_s
        first = None
        while True:
            seen = self.observe()
            if first is None:
                first = (seen["phase"], seen["progress"])
            decided = seen["phase"] in ("ready", "failed", "stalled")
            if decided or (seen["phase"], seen["progress"]) != first or time.monotonic() + poll_s > deadline:
                return seen
            time.sleep(poll_s)

    def observe(self) -> dict:
        """One look; see the RETURN of the module ``server_ready`` for the keys."""
        details = inspect(self.container)
        if details is None:
            return self._missing()
        state = details["State"]
        started_at = state["StartedAt"]
        followed = self.start or started_at
        restarted = bool(self.start and self.start != started_at)
        started = epoch(followed)
        now = time.time()
        entries = logs(self.container, followed) if started is not None else []
        lines = [engine_log.clean_line(text) for _at, text in entries]
        phase, progress = engine_log.where(lines)
        result = {
            "phase": phase,
            "progress": progress,
            "reason": "",
            "elapsed_s": round(now - started, 1) if started else 0.0,
            "memory_available_bytes": memory_available_bytes(),
            "facts": self._facts(entries, started),
            "answer": None,
            "container": {
                "name": self.container,
                "exists": True,
                "status": state["Status"],
                "started_at": started_at,
                "exit_code": state.get("ExitCode"),
                "oom_killed": bool(state.get("OOMKilled")),
                "restart_count": details.get("RestartCount", 0),
                "image": details.get("Config", {}).get("Image", ""),
            },
        }
        if restarted:
            self._fail(result, "the container ended and was started again meanwhile", lines, started)
        elif state["Status"] == "created" and state.get("Error"):
            self._fail(result, readiness.exit_reason(state), lines, now)
        elif state["Status"] in ("exited", "dead"):
            self._fail(result, readiness.exit_reason(state), lines, started)
        elif state["Status"] == "restarting":
            self._fail(result, f"Docker is restarting it over and over (last exit code {state.get('ExitCode')})", lines, started)
        elif state["Status"] == "paused":
            result["progress"] = "the container is paused (docker unpause continues it)"
        elif engine_log.says_started(lines) or self._log_began_late(entries, started):
            self._prove(result, lines, started)
        self._judge_activity(result, entries, now)
        told = [line for line in lines if line and not line.startswith("Route: ")]
        result["log_tail"] = [readiness.redact(line, self.secrets) for line in told[-TAIL_LINES:]]
        return result

    def _missing(self) -> dict:
        now = time.time()
        since = self.last.get("missing_since") or now
        result = {
            "phase": "created",
            "progress": f"waiting for container {self.container} to be created",
            "reason": "",
            "elapsed_s": round(now - since, 1),
            "memory_available_bytes": memory_available_bytes(),
            "facts": {},
            "answer": None,
            "container": {"name": self.container, "exists": False},
            "activity": {"missing_since": since, "at": now},
            "log_tail": [],
        }
        self.last = result["activity"]
        if self.start:
            result.update(phase="failed", reason="the container was removed while it started")
        elif now - since > MISSING_GRACE_S:
            result.update(phase="failed", reason=f"no container of this name was created within {MISSING_GRACE_S:.0f} s")
        if result["phase"] == "failed":
            result.update(log=[f"gb10.vllm: {result['reason']}"], kernel_log=[])
        return result

    @staticmethod
    def _log_began_late(entries, started) -> bool:
        """The start is not in the log any more: rotation took it, so the engine has run for long."""
        return bool(entries and started and entries[0][0] - started > 600)

    def _facts(self, entries, started) -> dict:
        facts: dict = {}
        for at, text in entries:
            line = engine_log.clean_line(text)
            facts.update(engine_log.parse_line(line))
            if started and "ready_s" not in facts and engine_log.says_started([line]):
                facts["ready_s"] = round(at - started, 1)
        return facts

    def _fail(self, result: dict, reason: str, lines: list[str], since: float | None) -> None:
        result["phase"] = "failed"
        result["reason"] = reason
        # The verdict goes into the log as a line of its own, so that the knowledge base can speak about it too.
        told = [*lines[-DIAGNOSIS_LINES:], f"gb10.vllm: {reason}"]
        result["log"] = [readiness.redact(line, self.secrets) for line in told]
        result["kernel_log"] = kernel_log(since) if since else []

    def _judge_activity(self, result: dict, entries, now: float) -> None:
        """Set ``activity``; a server that has not moved for ``stall_s`` is stalled."""
        marks = [(at, text) for at, text in entries if engine_log.is_progress(engine_log.clean_line(text))]
        current = {"log_mark": marks[-1][0] if marks else 0.0}
        undecided = result["phase"] not in ("ready", "failed")
        if undecided and result["container"]["status"] == "running":
            current.update(activity(self.container))
        began = epoch(result["container"]["started_at"]) or now
        self.last = readiness.signs_of_life(self.last, current, now, began)
        result["activity"] = {**self.last, "unanswered": self.unanswered}
        quiet_s = now - self.last["at"]
        if undecided and quiet_s > self.stall_s:
            stuck_in = result["progress"]
            self._fail(result, f"no sign of life for {quiet_s:.0f} s while {stuck_in}", [engine_log.clean_line(text) for _at, text in entries], began)
            result["phase"] = "stalled"

    def _prove(self, result: dict, lines: list[str], started: float | None) -> None:
        """The engine says it is up: believe it when it lists the model and answers."""
        result["phase"] = "serving"
        status, body = self.api.call("/v1/models")
        if status == 401:
            problem = "the API refuses our key (HTTP 401): the server was started with another key than the file holds"
            self._fail(result, problem, lines, started)
            return
        if status != 200:
            result["progress"] = f"waiting for /v1/models (HTTP {status})" if status else f"waiting for the API: {body}"
            return
        model, max_model_len, ids = readiness.listed_model(_json(body), self.served_model_name)
        if model is None:
            problem = f"the API serves {', '.join(ids) or 'no model'}, not {self.served_model_name}"
            self._fail(result, problem, lines, started)
            return
        if max_model_len:
            result["facts"]["max_model_len"] = max_model_len
        refusals = []
        for kind in readiness.kinds_to_try(self.kind):
            path, request = readiness.question(kind, model, self.prompt)
            asked = time.monotonic()
            status, body = self.api.call(path, request, timeout_s=self.answer_timeout_s)
            latency_s = round(time.monotonic() - asked, 3)
            text = readiness.answer_text(kind, _json(body)) if status == 200 else None
            if text is not None:
                usage = _json(body).get("usage") or {}
                result["phase"], result["progress"] = "ready", f"answered a {kind} request in {latency_s:.1f} s"
                result["answer"] = {
                    "text": readiness.redact(text, self.secrets),
                    "model": _json(body).get("model", model),
                    "latency_s": latency_s,
                    "kind": kind,
                    "tokens": usage.get("completion_tokens"),
                }
                self._measure(result["facts"])
                return
            if status == 200:
                self._fail(result, f"a {kind} request was answered without any text", lines, started)
                return
            if status == 0 or status >= 500:
                self._unanswered(result, lines, started, error_or_status(status, body))
                return
            refusals.append(f"{path}: HTTP {status}, {readiness.error_text(body)}")
            if not readiness.is_wrong_endpoint(status, body):
                break
        self._fail(result, "it refused a real request: " + "; ".join(refusals), lines, started)

    def _unanswered(self, result: dict, lines: list[str], started: float | None, why: str) -> None:
        """The API is up and a request failed: the engine may be dying, so look again before judging."""
        result["progress"] = f"waiting for the first answer ({why})"
        self.unanswered += 1
        if self.unanswered >= MOST_UNANSWERED:
            self._fail(result, f"its API is up, but {self.unanswered} real requests in a row got no answer ({why})", lines, started)

    def _measure(self, facts: dict) -> None:
        status, body = self.api.call("/metrics")
        if status == 200:
            facts.update(engine_log.parse_cache_config(body))
            if facts.get("kv_cache_memory_bytes"):
                facts["available_kv_bytes"] = facts["kv_cache_memory_bytes"]  # given in bytes, so exact where the log rounds
        status, body = self.api.call("/version")
        if status == 200 and _json(body).get("version"):
            facts["vllm_version"] = str(_json(body)["version"])


def error_or_status(status: int, body: str) -> str:
    """A short reason for an unanswered request."""
    return f"HTTP {status}, {readiness.error_text(body)}" if status else body
