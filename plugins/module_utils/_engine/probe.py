# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Follows one start of a vLLM server until it is decided: what the container and the API show, judged by readiness.py and log.py.

Reads only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.module_utils._engine import parsers, readiness, sampling
from ansible_collections.gb10.vllm.plugins.module_utils._engine.api import Api, json_object
from ansible_collections.gb10.vllm.plugins.module_utils._engine.container import (
    DIAGNOSIS_LINES,
    activity,
    epoch,
    inspect,
    kernel_log,
    logs,
    memory_available_bytes,
)
from ansible_collections.gb10.vllm.plugins.module_utils._engine.proof import Proof
from ansible_collections.gb10.vllm.plugins.module_utils._engine.rank import Rank, left, waiting
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import env_file, redaction

TAIL_LINES = 40
MISSING_GRACE_S = 60.0
MOST_UNANSWERED = 3
WITHOUT_A_KEY = ("/v1/models", "/metrics", "/openapi.json", "/invocations")
"""Asked once without a key where one is due: vLLM's own check covers the first only."""

Entries = Sequence[tuple[float, str]]
"""(epoch seconds, cleaned line) of a log, oldest first."""


class Follower:
    """Observes one start until it is decided or ``wait_s`` has passed.

    :param container: its name.
    :param base_url: where its API answers on this box.
    :param key_file: file that may hold ``VLLM_API_KEY=...``, quoted for a shell; None for an open server.
    :param served_model_name: the name ``/v1/models`` must list; None accepts any.
    :param kind: auto, or a key of ``readiness.ROUTES``.
    :param prompt: what to ask.
    :param stall_s: silence in seconds after which the start counts as stalled.
    :param answer_timeout_s: how long one real request may take; the first one compiles kernels.
    :param start: ``StartedAt`` of the start being followed; another start of the same container is then a crash.
    :param last: ``activity`` of an earlier observation.
    :param key_required: whether every route must refuse a request without a key.
    :param proof: what is measured once it answers, where its start is watched; None measures nothing.
    :param rank: what a deployment says of its group, for one box of a server over several.
    """

    def __init__(
        self,
        container: str,
        base_url: str,
        key_file: str | None,
        served_model_name: str | None,
        kind: str,
        prompt: str,
        stall_s: float,
        answer_timeout_s: float,
        start: str | None = None,
        last: Mapping[str, Any] | None = None,
        key_required: bool = False,
        proof: Proof | None = None,
        rank: Mapping[str, Any] | None = None,
    ) -> None:
        self.container = container
        self.rank = Rank(rank) if rank else None
        self.kind = kind
        self.prompt = prompt
        self.stall_s = stall_s
        self.answer_timeout_s = answer_timeout_s
        self.start = start
        self.proof = proof
        self.last = dict(last or {})
        self.unanswered = self.last.get("unanswered", 0)
        self.served_model_name = served_model_name
        key = _read_key(key_file) if key_file else None
        self.secrets = [*([key] if key else []), *(_secrets_around(key_file) if key_file else [])]
        self.api = Api(base_url, key)
        self.stranger = Api(base_url, None) if key_required else None

    def follow(self, wait_s: float, poll_s: float = 2.0) -> dict[str, Any]:
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

    def observe(self) -> dict[str, Any]:
        """One look; see the RETURN of the module ``server_ready`` for the keys."""
        details = inspect(self.container)
        if details is None:
            return self._missing()
        waits = self.rank.waits(details["State"]["Status"] == "running") if self.rank else ""
        if waits and not self.start:
            return waiting(self.container, waits, self.last, self.stall_s)
        state = details["State"]
        started_at = state["StartedAt"]
        followed = self.start or started_at
        restarted = bool(self.start and self.start != started_at)
        started = epoch(followed)
        now = time.time()
        entries = logs(self.container, followed) if started is not None else []
        lines = [line for _at, line in entries]
        phase, progress = engine_log.where(lines)
        result: dict[str, Any] = {
            "phase": phase,
            "progress": progress,
            "reason": "",
            "elapsed_s": round(now - started, 1) if started else 0.0,
            "memory_available_bytes": memory_available_bytes(),
            "facts": _facts(entries, started),
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
        why = _ended(state, restarted)
        if (why or waits) and self.rank and (gone := left(self.container, started)):
            result["left"] = gone
            self._fail(result, gone, lines, started)
        elif why or waits:
            self._fail(result, why or f"its start ended: it is {waits} again", lines, now if state["Status"] == "created" else started)
        elif state["Status"] == "paused":
            result["progress"] = "the container is paused (docker unpause continues it)"
        elif self.rank and not self.rank.head:
            result.update(self.rank.behind_its_head(phase, progress))
        elif engine_log.says_started(lines) or _log_began_late(entries, started):
            self._prove(result, lines, started)
        self._judge_activity(result, entries, now)
        shown = [line for line in lines if line and not line.startswith("Route: ")]
        result["log_tail"] = [redaction.redact(line, self.secrets) for line in shown[-TAIL_LINES:]]
        result.update({name: redaction.redact(result[name], self.secrets) for name in ("reason", "progress")})
        return result

    def _missing(self) -> dict[str, Any]:
        now = time.time()
        since = self.last.get("missing_since") or now
        result: dict[str, Any] = {
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

    def _fail(self, result: dict, reason: str, lines: list[str], since: float | None) -> None:
        if self.proof is not None:
            sampling.end(self.container)
        result["phase"] = "failed"
        result["reason"] = reason
        # The verdict goes into the log as a line of its own, so that the knowledge base can speak about it too.
        log = [*lines[-DIAGNOSIS_LINES:], f"gb10.vllm: {reason}"]
        result["log"] = [redaction.redact(line, self.secrets) for line in log]
        result["kernel_log"] = kernel_log(since) if since else []

    def _judge_activity(self, result: dict, entries: Entries, now: float) -> None:
        """Set ``activity``; a server that has not moved for ``stall_s`` is stalled."""
        current: dict[str, Any] = {"log_mark": max((at for at, line in entries if engine_log.is_progress(line)), default=0.0)}
        undecided = result["phase"] not in ("ready", "failed")
        if undecided and result["container"]["status"] == "running":
            current.update(activity(self.container))
        began = epoch(result["container"]["started_at"]) or now
        self.last = readiness.signs_of_life(self.last, current, now, began)
        result["activity"] = {**self.last, "unanswered": self.unanswered}
        quiet_s = now - self.last["at"]
        if undecided and quiet_s > self.stall_s:
            stuck_in = result["progress"]
            self._fail(result, f"no sign of life for {quiet_s:.0f} s while {stuck_in}", [line for _at, line in entries], began)
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
        model, max_model_len, ids = readiness.listed_model(json_object(body), self.served_model_name)
        if model is None:
            problem = f"the API serves {', '.join(ids) or 'no model'}, not {self.served_model_name}"
            self._fail(result, problem, lines, started)
            return
        if max_model_len:
            result["facts"]["max_model_len"] = max_model_len
        self._ask_for_real(result, model, lines, started)

    def _ask_for_real(self, result: dict, model: str, lines: list[str], started: float | None) -> None:
        """Ask what a user would ask, of each kind of endpoint that may be offered."""
        refusals = []
        for kind in readiness.kinds_to_try(self.kind, _offered(self.api)):
            path, request = readiness.question(kind, model, self.prompt)
            asked = time.monotonic()
            status, body = self.api.call(path, request, timeout_s=self.answer_timeout_s)
            latency_s = round(time.monotonic() - asked, 3)
            text = readiness.answer_text(kind, json_object(body)) if status == 200 else None
            if text is not None:
                self._answered(result, kind, text, json_object(body), model, latency_s)
                self._refuses_strangers(result, lines, started)
                self._load(result, kind, model, lines, started)
                return
            if status == 200:
                self._fail(result, f"a {kind} request was answered without any text", lines, started)
                return
            if status == 0 or status >= 500:
                self._unanswered(result, lines, started, error_or_status(status, body))
                return
            refusals.append(f"{path}: HTTP {status}, {readiness.error_text(body)}")
            if not readiness.is_wrong_endpoint(status, body, kind):
                break
        self._fail(result, "it refused a real request: " + "; ".join(refusals), lines, started)

    def _answered(self, result: dict, kind: str, text: str, reply: dict[str, Any], model: str, latency_s: float) -> None:
        path = f" ({readiness.ROUTES[kind]})" if kind in readiness.NUMBERS else ""
        result["phase"], result["progress"] = "ready", f"answered a {kind} request{path} in {latency_s:.1f} s"
        result["answer"] = {
            "text": redaction.redact(text, self.secrets),
            "model": str(reply.get("model", model)),
            "latency_s": latency_s,
            "kind": kind,
            "tokens": readiness.tokens_of(reply),
        }
        _measure(self.api, result["facts"])

    def _refuses_strangers(self, result: dict, lines: list[str], started: float | None) -> None:
        """A server for which a key is due answers nobody without one, or it is no success."""
        said = {path: self.stranger.call(path)[0] for path in WITHOUT_A_KEY} if self.stranger else {}
        answers = [f"{path} (HTTP {status})" for path, status in said.items() if status not in (0, 401)]
        if answers:
            self._fail(result, f"it answers without its key: {', '.join(answers)} should have refused (HTTP 401)", lines, started)

    def _load(self, result: dict, kind: str, model: str, lines: list[str], started: float | None) -> None:
        """The first load after a start that is watched, and what was measured of it; a server that does not stand it is not ready."""
        found, why = self.proof.measure(self.api.call, kind, model, result["facts"], self.answer_timeout_s) if self.proof else ({}, "")
        result["facts"].update(found)
        if self.proof and kind == "chat" and not why:
            command = (inspect(self.container) or {}).get("Config", {}).get("Cmd") or []
            doubts = parsers.check(self.api.call, model, command, result["facts"].get("max_model_len") or 0, self.answer_timeout_s)
            result["facts"]["doubts"] = [redaction.redact(one, self.secrets) for one in doubts]
        if why:
            result["phase"], result["answer"] = "serving", None
            self._unanswered(result, lines, started, f"its first load: {why}")

    def _unanswered(self, result: dict, lines: list[str], started: float | None, why: str) -> None:
        """The API is up and a request failed: the engine may be dying, so look again before judging."""
        result["progress"] = f"waiting for the first answer ({why})"
        self.unanswered += 1
        if self.unanswered >= MOST_UNANSWERED:
            self._fail(result, f"its API is up, but {self.unanswered} real requests in a row got no answer ({why})", lines, started)


def _ended(state: dict, restarted: bool) -> str:
    """Why the start of a container counts as over; "" where it does not."""
    if restarted:
        return "the container ended and was started again meanwhile"
    if state["Status"] in ("exited", "dead") or (state["Status"] == "created" and state.get("Error")):
        return readiness.exit_reason(state)
    if state["Status"] == "restarting":
        return f"Docker is restarting it over and over (last exit code {state.get('ExitCode')})"
    return ""


def error_or_status(status: int, body: str) -> str:
    """A short reason for an unanswered request."""
    return f"HTTP {status}, {readiness.error_text(body)}" if status else body


def _offered(api: Api) -> list[str]:
    """The routes that the server names; none where it does not say."""
    status, body = api.call("/openapi.json")
    return readiness.offered(json_object(body)) if status == 200 else []


def _measure(api: Api, facts: dict) -> None:
    status, body = api.call("/metrics")
    if status == 200:
        facts.update(engine_log.parse_cache_config(body))
        if facts.get("kv_cache_memory_bytes"):
            facts["available_kv_bytes"] = facts["kv_cache_memory_bytes"]  # given in bytes, so exact where the log rounds
    status, body = api.call("/version")
    if status == 200 and json_object(body).get("version"):
        facts["vllm_version"] = str(json_object(body)["version"])


def _read_key(path: str) -> str | None:
    try:
        return env_file.value(Path(path).read_text(encoding="utf-8"), "VLLM_API_KEY")
    except FileNotFoundError:
        return None  # a server without a key has no such file
    except OSError as error:
        raise GB10Error(f"The file with the API key, {path}, cannot be read on this box: {error.strerror}.") from error


def _secrets_around(key_file: str) -> list[str]:
    """What the private files of all servers and of the hub hold, where the key file lies in their directory; else what lies beside it."""
    own = Path(key_file).parent
    return redaction.values_in(own.parent if Path(key_file).name == "key.env" else own)


def _log_began_late(entries: Entries, started: float | None) -> bool:
    """The start is not in the log any more: rotation took it, so the engine has run for long."""
    return bool(entries and started and entries[0][0] - started > 600)


def _facts(entries: Entries, started: float | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for at, line in entries:
        facts.update(engine_log.parse_line(line))
        if started and "ready_s" not in facts and engine_log.says_started([line]):
            facts["ready_s"] = round(at - started, 1)
    return facts
