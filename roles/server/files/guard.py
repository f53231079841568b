# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps a vLLM server on its box out of trouble when nobody watches; systemd calls it.

    guard before-start NAME   refuse a start that would starve the box, that follows a crash of the box during a start, or that is one too many
    guard after-stop NAME     the start is over, one way or the other; say how the server ended
    guard watch NAME          ask for one token; restart the unit after several failures in a row, stop it when restarts do not help
    guard forget NAME         earlier starts and silences do not count any more: the server answered, or somebody starts it anew
    guard hold NAME           a rank of a server over several boxes waits for the others: nothing starts meanwhile
    guard go NAME             they are there, and it starts now

Settings, through `systemctl edit gb10-vllm-watch@NAME.service` and Environment=: GB10_PROBE_TIMEOUT_S (60), GB10_FAILURES_BEFORE_RESTART (3),
GB10_RESTARTS_BEFORE_STOP (3), GB10_START_LIMIT_S (3600; a start that takes longer counts as silence), GB10_WEDGED_S (900; requests that run for so
long without any progress count as a hang). Of the unit gb10-vllm-NAME.service: GB10_STARTS_WITHOUT_ANSWER (4; then it stays down).

What a router is told of a server (`up`, `down`) lies in /run/gb10-vllm-agent.

What it remembers lies in memory (/run), so that it works with a disk that is full or read-only; what has to outlive the box lies on the disk as well.
Time is what passed since the box was started: its clock may be set at any moment.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import shlex
import socket
import ssl
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from time import CLOCK_BOOTTIME, clock_gettime, strftime

STATE_DIR = os.environ.get("GB10_STATE_DIR", "/var/lib/gb10-vllm")
CONFIG_DIR = os.environ.get("GB10_CONFIG_DIR", "/etc/gb10-vllm")
# One per state directory, so that two of them know nothing of each other.
MEMORY_DIR = os.environ.get("GB10_MEMORY_DIR", os.path.join("/run/gb10-vllm-guard", STATE_DIR.strip("/").replace("/", "-")))
SAID_DIR = os.environ.get("GB10_SAID_DIR", "/run/gb10-vllm-agent")
PROBE_TIMEOUT_S = float(os.environ.get("GB10_PROBE_TIMEOUT_S", "60"))
METRICS_TIMEOUT_S = min(10.0, PROBE_TIMEOUT_S)  # an API server that reads many prompts answers late
FAILURES_BEFORE_RESTART = int(os.environ.get("GB10_FAILURES_BEFORE_RESTART", "3"))
RESTARTS_BEFORE_STOP = int(os.environ.get("GB10_RESTARTS_BEFORE_STOP", "3"))
START_LIMIT_S = float(os.environ.get("GB10_START_LIMIT_S", "3600"))
WEDGED_S = float(os.environ.get("GB10_WEDGED_S", "900"))
COMES_AND_GOES = 2**28
STARTS_WITHOUT_ANSWER = int(os.environ.get("GB10_STARTS_WITHOUT_ANSWER", "4"))
LONGEST_ANSWER = 16 * 2**20  # bytes; the watch is root's, and shares its memory with the server
GIB = 2**30

DEPLOYMENT = "deployment.json"
STARTING = "starting.json"  # a start that is not over; on the disk, because the box may die of it
STARTS = "starts.json"  # how many starts there were since the last answer; on the disk, because a reboot is no answer
FAILURES = "failures.json"  # silences in a row, restarts because of them, and the last progress of a busy server
WAITING = "waiting.json"  # a rank waits for the other boxes of its server
WATCHED = "watched.json"  # what the watch saw last and how long its token took; in memory only, for the collector of the role monitoring

# What /metrics says that matters here (vLLM: v1/metrics/loggers.py, PrometheusStatLogger), the same in 0.12 to 0.33.
METRICS = {
    "vllm:num_requests_running": "open",
    "vllm:num_requests_waiting": "open",
    "vllm:prompt_tokens_total": "answers",
    "vllm:generation_tokens_total": "answers",
    "vllm:request_success_total": "answers",
    # Moves with each step of a long prompt, which counts as tokens only when all of it is read.
    "vllm:kv_cache_usage_perc": "cache",
}


# What is remembered


def path(name: str, file: str) -> str:
    return os.path.join(STATE_DIR, "servers", name, file)


def in_memory(name: str, file: str) -> str:
    return os.path.join(MEMORY_DIR, name, file)


def read_json(file: str) -> dict:
    try:
        with open(file, encoding="utf-8") as handle:
            value = json.load(handle)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(file: str, value: dict) -> None:
    """Whole or not at all, and on the disk before we go on, its name too: the box may die in the next minute."""
    with open(file + ".new", "w", encoding="utf-8") as handle:
        json.dump(value, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(file + ".new", file)
    sync_names(file)


def sync_names(file: str) -> None:
    directory = os.open(os.path.dirname(file), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def keep(name: str, file: str, value: dict, *, lasting: bool = False) -> str | None:
    """None, or why it could not be kept: in memory, and on the disk where it has to last or memory refuses."""
    value = {**value, "boot_id": boot_id()}
    refused = None
    try:
        os.makedirs(os.path.dirname(in_memory(name, file)), mode=0o700, exist_ok=True)
        write_json(in_memory(name, file), value)
    except OSError as error:
        refused = error.strerror
    if lasting or refused:
        try:
            write_json(path(name, file), value)
        except OSError as error:
            return error.strerror
    return None


def recall(name: str, file: str) -> dict:
    """What was kept last. Memory knows better than the disk, which may have refused, but only of this boot."""
    held = read_json(in_memory(name, file))
    if held.get("boot_id") != boot_id():
        return read_json(path(name, file))
    return {} if held.get("forgotten") else held


def say(name: str, word: str) -> None:
    """What a router is told that asks about this server: `up` or `down`. Not root's alone, so that who tells it needs no rights."""
    with contextlib.suppress(OSError):
        os.makedirs(SAID_DIR, mode=0o755, exist_ok=True)
        with open(os.path.join(SAID_DIR, f".{name}"), "w", encoding="ascii") as handle:
            handle.write(word + "\n")
        os.chmod(handle.name, 0o644)
        os.replace(handle.name, os.path.join(SAID_DIR, name))


def forget(name: str, *files: str) -> None:
    for file in files:
        try:
            os.unlink(path(name, file))
            sync_names(path(name, file))
        except FileNotFoundError:
            pass
        except OSError:  # a disk that is read-only by now: what lies there is over all the same
            keep(name, file, {"forgotten": True})
            continue
        with contextlib.suppress(OSError):
            os.unlink(in_memory(name, file))


def number(state: dict, key: str) -> float:
    """A number of a file that anybody may have written."""
    value = state.get(key)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else 0


# The box


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
        return handle.read().strip()


def since_boot_s() -> float:
    return clock_gettime(CLOCK_BOOTTIME)


def available_bytes() -> int:
    with open("/proc/meminfo", encoding="ascii") as handle:
        return next(int(line.split()[1]) * 1024 for line in handle if line.startswith("MemAvailable:"))


def tell(text: str) -> None:
    """To the journal, and as the unit's status: `systemctl status` shows only the journal of the last try, which says no more than that it was one
    too many."""
    print(text, file=sys.stderr, flush=True)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
            notify.sendto(b"STATUS=" + text.encode(), "\0" + address[1:] if address.startswith("@") else address)


def stop_was_asked_for(name: str) -> bool:
    """Whether systemd is carrying out a stop, restart or shutdown of the unit."""
    shown = subprocess.run(["systemctl", "show", "--property=Job", "--value", f"gb10-vllm-{name}.service"], capture_output=True, text=True, check=False)
    return shown.stdout.strip() not in ("", "0")


# Starts


def until(name: str) -> str:
    """What lets a server start again that was given up."""
    where = "" if STATE_DIR == "/var/lib/gb10-vllm" else f"GB10_STATE_DIR={shlex.quote(STATE_DIR)} "
    unit = f"gb10-vllm-{name}"
    return f"until the playbook site runs, or `{where}/usr/local/lib/gb10-vllm/guard forget {name}; systemctl reset-failed {unit}; systemctl start {unit}`"


def before_start(name: str) -> str | None:
    """None when the start may go on, else why not."""
    sentinel = recall(name, STARTING)
    if sentinel and sentinel.get("boot_id") != boot_id():
        return (
            f"the box went down while {name} was starting (at {sentinel.get('time', 'an unknown time')}), so it is not started again by itself. "
            f"Run the playbook site again, or remove {path(name, STARTING)} and start the unit."
        )
    deployment = read_json(path(name, DEPLOYMENT))
    try:
        needed, floor = int(deployment["requested_bytes"]), int(deployment["floor_bytes"])
    except (KeyError, TypeError, ValueError):
        return f"{path(name, DEPLOYMENT)} is missing or unreadable. Run the playbook site again."
    starts = int(number(recall(name, STARTS), "without_answer"))
    if starts >= STARTS_WITHOUT_ANSWER:
        return (
            f"{name} was started {starts} times since its last answer and gave none, so it stays down {until(name)}. "
            f"`docker logs gb10-vllm-{name}` has its last words, the playbook diagnose explains them."
        )
    free = available_bytes()
    # The plan gives away all that was available then, and some hundred MiB come and go; what a server takes includes the plan's margin for that.
    if free - needed < floor - COMES_AND_GOES:
        return (
            f"{name} takes {needed / GIB:.1f} GiB and {free / GIB:.1f} GiB are available; that would leave {(free - needed) / GIB:.1f} GiB "
            f"of the {floor / GIB:.1f} GiB this box keeps for itself. Stop what holds memory, or run the playbook plan to see what fits."
        )
    seen = recall(name, FAILURES)
    if seen.get("mark"):  # what another process did
        keep(name, FAILURES, {**seen, "mark": {}})
    unkept = [keep(name, STARTS, {"without_answer": starts + 1}, lasting=True), begin(name)]
    if any(unkept):
        tell(
            f"{name} starts, but that could not be noted in {os.path.dirname(path(name, STARTING))} ({next(filter(None, unkept))}): if the box goes down "
            "during this start, it is started again by itself at the next boot. Make room on that disk, or have it repaired."
        )
    return None


def begin(name: str) -> str | None:
    """Note that a start is going on; None, or why it could not be noted."""
    return keep(name, STARTING, {"since_boot_s": since_boot_s(), "time": strftime("%Y-%m-%d %H:%M:%S %Z")}, lasting=True)


def after_stop(name: str) -> str | None:
    """None after an orderly end, else how the server ended and what to do; systemd tells it in the environment."""
    # The sentinel of another boot refused this start and has to refuse the next one too.
    if recall(name, STARTING).get("boot_id") == boot_id():
        forget(name, STARTING)
    code, status = os.environ.get("EXIT_CODE"), os.environ.get("EXIT_STATUS")
    if not code or (os.environ.get("SERVICE_RESULT", "success") == "success" and stop_was_asked_for(name)):
        return None
    return (
        f"{name} {f'ended with exit code {status}' if code == 'exited' else f'was killed by {status}'}. "
        f"`docker logs gb10-vllm-{name}` has its last words, the playbook diagnose explains them. After too many restarts it stays down "
        f"{until(name)}."
    )


def starting_for_s(name: str) -> float:
    """How long a start has been going on; 0.0 without one."""
    sentinel, now = recall(name, STARTING), since_boot_s()
    if not sentinel or sentinel.get("boot_id") != boot_id():
        return 0.0
    if "since_boot_s" not in sentinel:  # an earlier guard began it; it counts from here
        keep(name, STARTING, {**sentinel, "since_boot_s": now}, lasting=True)
    return max(1.0, now - (number(sentinel, "since_boot_s") or now))


# The server


def api_key(name: str) -> str:
    """The key as the shell in the container reads it."""
    try:
        with open(os.path.join(CONFIG_DIR, name, "key.env"), encoding="utf-8") as handle:
            return next((word.partition("=")[2] for word in shlex.split(handle.read()) if word.startswith("VLLM_API_KEY=")), "")
    except (OSError, ValueError):
        return ""


def ask(base_url: str, route: str, key: str, timeout_s: float, body: dict | None = None) -> tuple[int, bytes]:
    """(HTTP status, body) of the server on this box; status 0 when no answer came in time.

    Straight to the box's own address, whatever proxy is set. A certificate is made for the name that others use, so it is not compared with that address.
    """
    headers = {"Authorization": "Bearer " + key} if key else {}
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException), opened(base_url, timeout_s) as connection:
        if body is None:
            connection.request("GET", route, headers=headers)
        else:
            connection.request("POST", route, json.dumps(body).encode(), {**headers, "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read(LONGEST_ANSWER + 1)
        if len(text) <= LONGEST_ANSWER:
            return answer.status, text
    return 0, b""


@contextlib.contextmanager
def opened(base_url: str, timeout_s: float) -> Iterator[http.client.HTTPConnection]:
    """A connection to the server that ends after so long, with a TimeoutError: a socket's own patience begins anew with each byte that drips in."""
    over = threading.Event()
    with contextlib.closing(connected(base_url, timeout_s)) as connection:
        lines: list[socket.socket] = []  # an answer that ends with its connection takes the socket away from it
        connect = connection.connect

        def dial() -> None:
            connect()
            lines.append(connection.sock)

        connection.connect = dial  # type: ignore[method-assign]

        def hang_up() -> None:
            over.set()
            for line in lines:
                with contextlib.suppress(OSError, ValueError):
                    line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(timeout_s, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield connection
        finally:
            timer.cancel()
            if over.is_set():
                raise TimeoutError


def connected(base_url: str, timeout_s: float) -> http.client.HTTPConnection:
    url = urllib.parse.urlsplit(base_url)
    if url.scheme != "https":
        return http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout_s)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(url.hostname or "", url.port, timeout=timeout_s, context=context)


# What a server may offer, by what it serves: text, embeddings, classes and scores, anything pooled.
QUESTIONS = (
    ("/v1/completions", {"prompt": "1", "max_tokens": 1}),
    ("/v1/embeddings", {"input": "1"}),
    ("/classify", {"input": "1"}),
    ("/pooling", {"input": "1"}),
)


def generates(base_url: str, key: str, model: str) -> bool | None:
    """Whether the server answers one request for real; None when it does not say in time, or says that its queue is full.

    One that offers none of these, as for transcription, is asked for the health of its engine.
    """
    for route, body in QUESTIONS:
        status, text = ask(base_url, route, key, PROBE_TIMEOUT_S, {"model": model, **body})
        if status in (0, 429, 503):
            return None
        if 200 <= status < 300:
            with contextlib.suppress(ValueError, RecursionError):
                return bool(json.loads(text))
            return False
        if status not in (400, 404, 405, 501):
            return False
    return ask(base_url, "/health", key, PROBE_TIMEOUT_S)[0] == 200


def work(base_url: str, key: str) -> dict[str, float] | None:
    """What the server does, from /metrics: {open: requests that run or wait, answers: tokens and requests done so far, cache: how full it is}.

    None when it does not answer, or keeps no such numbers (--disable-log-stats). A request that somebody gave up is not done.
    """
    status, text = ask(base_url, "/metrics", key, METRICS_TIMEOUT_S)
    found: dict[str, float] = {}
    for line in text.decode(errors="replace").splitlines() if status == 200 else ():
        series, _space, value = line.rpartition(" ")
        kind = METRICS.get(series.partition("{")[0])
        if kind and 'finished_reason="abort"' not in series and 'finished_reason="error"' not in series:
            with contextlib.suppress(ValueError):
                found[kind] = found.get(kind, 0.0) + number({"": float(value)}, "")
    return {"open": 0.0, "answers": 0.0, "cache": 0.0, **found} if "open" in found else None


def judged(others: bool, now: dict, mark: dict, now_s: float) -> tuple[str, dict]:
    """(verdict, next mark) on a server that did not answer us in time: it is silent, answers others, works, stands still or is wedged.

    ``others``: whether requests other than ours run or wait; ``now``: from ``work``; ``mark``: the same at the last progress, and ``at_s``, when that was.
    """
    if not others:
        return "silent", {}
    if now["answers"] > number(mark, "answers"):
        return "answers others", {**now, "at_s": now_s}
    # Fewer than before: another process, which counts from nothing.
    if now["answers"] < number(mark, "answers") or now["cache"] != number(mark, "cache"):
        return "works", {**now, "at_s": now_s}
    return "wedged" if now_s - number(mark, "at_s") >= WEDGED_S else "stands still", mark


def look(name: str, deployment: dict, mark: dict) -> tuple[str, dict]:
    """(verdict, next mark): whether the server answers us, else what its metrics say."""
    url, key, began_s = deployment["probe_url"], api_key(name), since_boot_s()
    before = work(url, key)  # ours is not among the requests yet
    asked_s = since_boot_s()
    answer = generates(url, key, deployment["served_model_name"])
    if answer is not None:
        return ("answers", {"token_s": since_boot_s() - asked_s}) if answer else ("silent", {})
    now = work(url, key)
    if not now:
        return "silent", {}
    others = bool(before and before["open"] > 0) or now["open"] > 1
    return judged(others, now, mark or {**(before or now), "at_s": began_s}, since_boot_s())


def watch(name: str) -> None:
    unit = f"gb10-vllm-{name}.service"
    if subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode:
        return
    deployment = read_json(path(name, DEPLOYMENT))
    if not all(isinstance(deployment.get(key), str) for key in ("probe_url", "served_model_name")):
        print(f"{path(name, DEPLOYMENT)} is missing or unreadable, so {name} is not watched. Run the playbook site again.", flush=True)
        return
    # The head asks for all; the others have no API, and learn of its answers by themselves (rank.py).
    group = deployment.get("group")
    if isinstance(group, dict) and (number(group, "number") or recall(name, WAITING)):
        return
    seen = recall(name, FAILURES)
    mark = seen["mark"] if isinstance(seen.get("mark"), dict) and seen.get("boot_id") == boot_id() else {}
    verdict, next_mark = look(name, deployment, mark)
    say_what_was_seen(name, verdict, next_mark.get("token_s"))
    failures, restarts = int(number(seen, "in_a_row")), int(number(seen, "restarts"))
    starting = 0 < starting_for_s(name) < START_LIMIT_S
    # One that stands still may be reading a long prompt; while one starts, its port says enough.
    if verdict not in ("silent", "stands still") or (verdict == "silent" and not starting):
        say(name, "down" if verdict in ("silent", "wedged") else "up")
    if verdict == "answers":
        forget(name, STARTING, STARTS, FAILURES)
    elif verdict in ("answers others", "works", "stands still"):
        print(f"{name} {verdict}: {number(next_mark, 'open'):.0f} requests run or wait, so the watch's own is not waited for", flush=True)
        if verdict == "answers others":
            forget(name, STARTING, STARTS)
            restarts = 0
        # Patience is no sign of life: only progress ends a row of silences.
        note(name, failures if verdict == "stands still" else 0, restarts, next_mark)
    elif verdict == "wedged":
        still_s = since_boot_s() - number(mark, "at_s")
        print(f"{name} is wedged: requests have been running for {still_s:.0f} s and nothing has moved", flush=True)
        restart_or_stop(name, unit, restarts)
    elif not starting:
        print(f"{name} did not answer ({failures + 1} of {FAILURES_BEFORE_RESTART})", flush=True)
        if failures + 1 < FAILURES_BEFORE_RESTART:
            note(name, failures + 1, restarts, {})
        else:
            restart_or_stop(name, unit, restarts)


def say_what_was_seen(name: str, verdict: str, token_s: float | None) -> None:
    """For the monitoring; a watch that cannot say it goes on all the same."""
    seen = {"verdict": verdict, "token_s": token_s, "since_boot_s": since_boot_s(), "boot_id": boot_id()}
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(in_memory(name, WATCHED)), mode=0o700, exist_ok=True)
        write_json(in_memory(name, WATCHED), seen)


def note(name: str, failures: int, restarts: int, mark: dict) -> None:
    unkept = keep(name, FAILURES, {"in_a_row": failures, "restarts": restarts, "mark": mark})
    if unkept:
        print(f"how often {name} did not answer cannot be remembered ({unkept}), so a hang will not be seen", flush=True)


def restart_or_stop(name: str, unit: str, restarts: int) -> None:
    if restarts < RESTARTS_BEFORE_STOP:
        note(name, 0, restarts + 1, {})
        print(f"restarting {unit}", flush=True)
        # Not one that somebody stopped meanwhile.
        subprocess.run(["systemctl", "try-restart", unit], check=False)
        return
    forget(name, FAILURES)
    print(
        f"{name} did not answer even after {restarts} restarts, so it is stopped now. The playbook diagnose explains its log; "
        "the playbook site starts it again.",
        flush=True,
    )
    subprocess.run(["systemctl", "stop", unit], check=False)


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in ("before-start", "after-stop", "watch", "forget", "hold", "go"):
        print(__doc__, file=sys.stderr)
        return 2
    action, name = sys.argv[1:]
    if action == "before-start":
        refusal = before_start(name)
        if refusal:
            tell(f"not started: {refusal}")
            return 1
    elif action == "after-stop":
        ending = after_stop(name)
        if ending:
            tell(ending)
    elif action == "watch":
        watch(name)
    elif action == "hold":
        forget(name, STARTING)
        keep(name, WAITING, {})
    elif action == "go":
        forget(name, WAITING)
        begin(name)
    else:
        forget(name, STARTING, STARTS, FAILURES)
        say(name, "up")
    return 0


if __name__ == "__main__":
    sys.exit(main())
