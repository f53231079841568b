# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of the guard one by one, as a module: exact words, arguments, modes and boundaries."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import io
import json
import locale
import os
import socket
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

GUARD = Path(__file__).parents[3] / "roles" / "server" / "files" / "guard.py"
GIB = 2**30


@pytest.fixture
def box(tmp_path):
    (tmp_path / "servers" / "a").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def guard(box, monkeypatch):
    """The guard of a box that was started 1000 s ago, of boot `this`; ``guard.said`` has what it printed, ``guard.asked`` what it ran."""
    for name in list(os.environ):
        if name.startswith("GB10_") or name in ("NOTIFY_SOCKET", "EXIT_CODE", "EXIT_STATUS", "SERVICE_RESULT"):
            monkeypatch.delenv(name)
    for place in ("STATE", "CONFIG", "MEMORY", "SAID"):
        monkeypatch.setenv(f"GB10_{place}_DIR", str(box / {"STATE": "", "CONFIG": "etc", "MEMORY": "run", "SAID": "said"}[place]).rstrip("/"))
    spec = importlib.util.spec_from_file_location("guard_in_parts", GUARD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.real_boot_id, module.real_since_boot_s = module.boot_id, module.since_boot_s
    module.said, module.asked, module.answers = [], [], {}

    def run(argv, *, capture_output=False, text=False, check=False):
        assert not check, "what systemctl says is no reason to end with a traceback"
        module.asked.append(argv)
        status, said = module.answers.get(argv[1], (0, ""))
        return SimpleNamespace(returncode=status, stdout=said if capture_output and text else None)

    def say(text, *, file=None, flush=False):
        module.said.append((text, {None: "out", sys.stderr: "err"}[file], flush))

    monkeypatch.setattr(module, "boot_id", lambda: "this")
    monkeypatch.setattr(module, "since_boot_s", lambda: 1000.0)
    monkeypatch.setattr(module, "strftime", lambda form: f"<{form}>")
    monkeypatch.setattr(module, "available_bytes", lambda: 100 * GIB)
    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module, "print", say, raising=False)
    return module


def deploy(box, **changes):
    put(
        box / "servers/a/deployment.json", {"requested_bytes": 80 * GIB, "floor_bytes": 12 * GIB, "served_model_name": "m", "probe_url": "http://h:1"} | changes
    )


def put(file, value):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(value if isinstance(value, str) else json.dumps(value))


def read(file):
    return json.loads(file.read_text()) if file.exists() else None


def mode(path):
    return path.stat().st_mode & 0o7777


@pytest.fixture
def no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def ascii_locale():
    """A box that says no more of its locale than C: what is read does not depend on it."""
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    yield
    locale.setlocale(locale.LC_CTYPE, before)


# What is remembered


def test_what_is_kept_lies_in_memory_for_root_alone_and_on_the_disk_only_where_it_has_to_last(box, guard, no_umask):
    for turn in (1, 2):
        assert guard.keep("a", "x.json", {"turn": turn}) is None
        assert read(box / "run/a/x.json") == {"turn": turn, "boot_id": "this"} and read(box / "servers/a/x.json") is None
    assert mode(box / "run/a") == 0o700
    assert guard.keep("a", "y.json", {"boot_id": "other"}, lasting=True) is None
    assert read(box / "run/a/y.json") == read(box / "servers/a/y.json") == {"boot_id": "this"}


@pytest.mark.parametrize(("memory", "disk", "lasting", "said"), [(1, 0, False, None), (1, 1, False, "disk"), (0, 1, False, None), (0, 1, True, "disk")])
def test_why_nothing_was_kept_is_said_in_the_words_of_the_last_that_refused(box, guard, monkeypatch, memory, disk, lasting, said):
    written = []

    def write(file, value):
        where = "memory" if file == f"{box}/run/a/x" else "disk"
        if {"memory": memory, "disk": disk}[where]:
            raise OSError(28, where)
        written.append((file, value))

    monkeypatch.setattr(guard, "write_json", write)
    assert guard.keep("a", "x", {"k": 1}, lasting=lasting) == said
    kept = {"k": 1, "boot_id": "this"}
    assert written == [(f"{box}/{place}/a/x", kept) for place, refuses in (("run", memory), ("servers", disk or not (memory or lasting))) if not refuses]


@pytest.mark.parametrize(
    ("memory", "disk", "known"),
    [
        ({"boot_id": "this", "k": 1}, {"k": 2}, {"boot_id": "this", "k": 1}),
        ({"boot_id": "other", "k": 1}, {"k": 2}, {"k": 2}),
        ({"k": 1}, {"k": 2}, {"k": 2}),
        ({"boot_id": "this", "forgotten": True}, {"k": 2}, {}),
        (None, {"k": 2}, {"k": 2}),
        (None, None, {}),
    ],
)
def test_memory_is_asked_first_and_only_of_this_boot(box, guard, memory, disk, known):
    for place, value in (("run", memory), ("servers", disk)):
        if value is not None:
            put(box / place / "a" / "x", value)
    assert guard.recall("a", "x") == known


def test_what_a_disk_keeps_against_our_will_is_forgotten_file_by_file(box, guard, monkeypatch):
    for file in ("x", "y"):
        guard.keep("a", file, {"k": 1}, lasting=True)

    real = os.unlink

    def unlink(path):
        if path == f"{box}/servers/a/x":
            raise OSError(30, "read-only")
        real(path)

    monkeypatch.setattr(guard.os, "unlink", unlink)
    guard.forget("a", "x", "y", "never")
    assert read(box / "run/a/x") == {"forgotten": True, "boot_id": "this"} and [one.name for one in sorted(box.glob("*/a/*"))] == ["x", "x"]
    assert [guard.recall("a", file) for file in ("x", "y")] == [{}, {}]


def test_a_router_reads_whole_words_without_any_right(box, guard, no_umask):
    for word in ("up", "down"):
        guard.say("a", word)
        assert [(one.name, one.read_text(), mode(one)) for one in (box / "said").iterdir()] == [("a", f"{word}\n", 0o644)]
    assert mode(box / "said") == 0o755
    guard.SAID_DIR = "/dev/null/x"
    guard.say("a", "up")  # nobody is told, and nothing else happens


@pytest.mark.parametrize(
    ("state", "known"), [({}, 0), ({"k": 3}, 3), ({"k": 0.5}, 0.5), ({"k": "3"}, 0), ({"k": None}, 0), ({"k": float("inf")}, 0), ({"j": 3}, 0)]
)
def test_only_a_number_is_one(guard, state, known):
    assert guard.number(state, "k") == known


@pytest.mark.parametrize(("text", "known"), [('{"k": "ü"}', {"k": "ü"}), ("[1]", {}), ("{", {}), ("[" * 10**5, {}), (None, {})])
def test_a_file_holds_a_dictionary_or_nothing_whatever_the_locale(box, guard, ascii_locale, text, known):
    if text is not None:
        (box / "x").write_bytes(text.encode())
    assert guard.read_json(str(box / "x")) == known


# The box


def test_the_boot_has_the_name_that_the_kernel_gave_it(guard):
    assert guard.real_boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text()[:36]
    with open("/proc/uptime", encoding="ascii") as handle:
        assert guard.real_since_boot_s() >= float(handle.read().split()[0]) - 1


def test_what_is_available_is_what_the_kernel_says(guard, monkeypatch):
    spec = importlib.util.spec_from_file_location("guard_of_memory", GUARD)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    shown = {"/proc/meminfo": "MemTotal: 9 kB\nMemFree: 5 kB\nMemAvailable:   7 kB\nMemAvailable: 8 kB\n"}
    monkeypatch.setattr(fresh, "open", lambda file, *, encoding=None: io.StringIO(shown[file]), raising=False)
    assert fresh.available_bytes() == 7168


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_told_goes_to_the_journal_and_is_the_status_of_the_unit(box, guard, monkeypatch, abstract):
    name = f"gb10-{os.getpid()}" if abstract else str(box / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(2)
        systemd.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        guard.tell("so it is, ü")
        assert systemd.recv(99) == "STATUS=so it is, ü".encode()
    guard.tell("and nobody listens")
    monkeypatch.delenv("NOTIFY_SOCKET")
    monkeypatch.setattr(guard.socket, "socket", None)
    guard.tell("and nobody wants to")
    assert guard.said == [(text, "err", True) for text in ("so it is, ü", "and nobody listens", "and nobody wants to")]


@pytest.mark.parametrize(("said", "asked"), [("", False), ("\n", False), ("0\n", False), ("4711\n", True)])
def test_systemd_is_asked_for_the_job_of_the_unit(guard, said, asked):
    guard.answers = {"show": (1, said)}
    assert guard.stop_was_asked_for("a") is asked
    assert guard.asked == [["systemctl", "show", "--property=Job", "--value", "gb10-vllm-a.service"]]


# Starts


@pytest.mark.parametrize(("state", "before"), [("/var/lib/gb10-vllm", ""), ("/srv/my state", "GB10_STATE_DIR='/srv/my state' ")])
def test_the_way_back_is_said_as_a_command(guard, state, before):
    guard.STATE_DIR = state
    assert guard.until("a") == (
        f"until the playbook site runs, or `{before}/usr/local/lib/gb10-vllm/guard forget a; systemctl reset-failed gb10-vllm-a; systemctl start gb10-vllm-a`"
    )


def test_a_start_is_noted_with_its_time_before_it_goes_on(box, guard):
    deploy(box)
    guard.keep("a", "failures.json", {"in_a_row": 2, "restarts": 1, "mark": {"answers": 3}})
    guard.keep("a", "starts.json", {"without_answer": 2})
    assert guard.before_start("a") is None and guard.said == []
    for place in ("run", "servers"):
        assert read(box / place / "a/starting.json") == {"since_boot_s": 1000.0, "time": "<%Y-%m-%d %H:%M:%S %Z>", "boot_id": "this"}
        assert read(box / place / "a/starts.json") == {"without_answer": 3, "boot_id": "this"}
    assert (
        guard.recall("a", "failures.json") == {"in_a_row": 2, "restarts": 1, "mark": {}, "boot_id": "this"} and not (box / "servers/a/failures.json").exists()
    )


def test_no_silence_is_noted_where_there_was_none(box, guard):
    deploy(box)
    guard.keep("a", "failures.json", {"in_a_row": 2})
    (box / "run/a/failures.json").chmod(0o600)
    before = (box / "run/a/failures.json").stat().st_ino
    guard.before_start("a")
    assert (box / "run/a/failures.json").stat().st_ino == before


@pytest.mark.parametrize(("time", "said"), [({"time": "noon"}, "noon"), ({}, "an unknown time")])
def test_a_box_that_went_down_is_named_with_the_file_that_says_so(box, guard, time, said):
    deploy(box)
    put(box / "servers/a/starting.json", {"boot_id": "other", **time})
    assert guard.before_start("a") == (
        f"the box went down while a was starting (at {said}), so it is not started again by itself. "
        f"Run the playbook site again, or remove {box}/servers/a/starting.json and start the unit."
    )


@pytest.mark.parametrize(
    "record", ["{}", '{"requested_bytes": 1}', '{"floor_bytes": 1}', '{"requested_bytes": [], "floor_bytes": 1}', '{"requested_bytes": 1, "floor_bytes": "x"}']
)
def test_a_record_without_its_numbers_is_named(box, guard, record):
    put(box / "servers/a/deployment.json", record)
    assert guard.before_start("a") == f"{box}/servers/a/deployment.json is missing or unreadable. Run the playbook site again."


@pytest.mark.parametrize("starts", [3, 4, 5])
def test_a_start_too_many_is_one_that_follows_four_without_an_answer(box, guard, starts):
    deploy(box)
    put(box / "servers/a/starts.json", {"without_answer": starts})
    refused = (
        f"a was started {starts} times since its last answer and gave none, so it stays down {guard.until('a')}. "
        "`docker logs gb10-vllm-a` has its last words, the playbook diagnose explains them."
    )
    assert guard.before_start("a") == (refused if starts > 3 else None)


def test_a_start_that_does_not_fit_is_refused_with_all_its_numbers(box, guard):
    deploy(box, requested_bytes=95 * GIB)
    assert guard.before_start("a") == (
        "a takes 95.0 GiB and 100.0 GiB are available; that would leave 5.0 GiB of the 12.0 GiB this box keeps for itself. "
        "Stop what holds memory, or run the playbook plan to see what fits."
    )


@pytest.mark.parametrize(("missing", "starts"), [(0, True), (2**28, True), (2**28 + 1, False)])
def test_a_quarter_of_a_gib_comes_and_goes(box, guard, missing, starts):
    deploy(box, requested_bytes=88 * GIB + missing)
    assert (guard.before_start("a") is None) is starts


@pytest.mark.parametrize(("refuses", "why"), [("starts.json", "one"), ("starting.json", "two")])
def test_a_start_that_cannot_be_noted_goes_on_and_that_is_told(box, guard, monkeypatch, refuses, why):
    deploy(box)
    monkeypatch.setattr(guard, "keep", lambda _name, file, _value, **_more: {"starts.json": "one", "starting.json": "two"}[file] if file == refuses else None)
    assert guard.before_start("a") is None
    assert guard.said == [
        (
            f"a starts, but that could not be noted in {box}/servers/a ({why}): if the box goes down "
            "during this start, it is started again by itself at the next boot. Make room on that disk, or have it repaired.",
            "err",
            True,
        )
    ]


@pytest.mark.parametrize(
    ("environment", "job", "said"),
    [
        ({}, "", None),
        ({"EXIT_STATUS": "3"}, "", None),
        ({"EXIT_CODE": "exited", "EXIT_STATUS": "3", "SERVICE_RESULT": "exit-code"}, "7", "ended with exit code 3"),
        ({"EXIT_CODE": "killed", "EXIT_STATUS": "KILL", "SERVICE_RESULT": "signal"}, "7", "was killed by KILL"),
        ({"EXIT_CODE": "exited", "EXIT_STATUS": "0", "SERVICE_RESULT": "success"}, "", "ended with exit code 0"),
        ({"EXIT_CODE": "exited", "EXIT_STATUS": "0", "SERVICE_RESULT": "success"}, "7", None),
        ({"EXIT_CODE": "exited", "EXIT_STATUS": "0"}, "7", None),
    ],
)
def test_an_end_is_told_as_it_was_unless_somebody_asked_for_it(guard, monkeypatch, environment, job, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(guard, "stop_was_asked_for", lambda name: {"a": job}[name])
    told = (
        f"a {said}. `docker logs gb10-vllm-a` has its last words, the playbook diagnose explains them. "
        f"After too many restarts it stays down {guard.until('a')}."
    )
    assert guard.after_stop("a") == (told if said else None)


@pytest.mark.parametrize(("boot", "stays"), [("this", False), ("other", True), (None, True)])
def test_an_end_takes_the_sentinel_of_its_own_boot_only(box, guard, boot, stays):
    put(box / "servers/a/starting.json", {"boot_id": boot})
    guard.after_stop("a")
    assert (box / "servers/a/starting.json").exists() is stays


@pytest.mark.parametrize(
    ("sentinel", "seconds"),
    [
        ({"boot_id": "this", "since_boot_s": 990.0}, 10.0),
        ({"boot_id": "this", "since_boot_s": 998.5}, 1.5),
        ({"boot_id": "this", "since_boot_s": 999.5}, 1.0),
        ({"boot_id": "this", "since_boot_s": 2000.0}, 1.0),
        ({"boot_id": "this", "since_boot_s": "x"}, 1.0),
        ({"boot_id": "other", "since_boot_s": 990.0}, 0.0),
        ({"since_boot_s": 990.0}, 0.0),
        ({}, 0.0),
    ],
)
def test_how_long_a_start_goes_on(box, guard, sentinel, seconds):
    put(box / "servers/a/starting.json", sentinel)
    assert guard.starting_for_s("a") == seconds
    assert read(box / "servers/a/starting.json") == sentinel


def test_a_start_without_a_time_counts_from_now_and_a_reboot_of_memory_does_not_begin_it_anew(box, guard):
    put(box / "servers/a/starting.json", {"boot_id": "this", "time": "noon"})
    assert guard.starting_for_s("a") == 1.0
    assert read(box / "servers/a/starting.json") == read(box / "run/a/starting.json") == {"boot_id": "this", "time": "noon", "since_boot_s": 1000.0}


# The server


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("OTHER=1\nVLLM_API_KEY='ü k=1' X=2\nVLLM_API_KEY=last\n", "ü k=1"),
        ("VLLM_API_KEY=", ""),
        ("OTHER=1", ""),
        ("XVLLM_API_KEY=1", ""),
        ("VLLM_API_KEY='cut", ""),
        (None, ""),
    ],
)
def test_the_key_is_read_as_a_shell_reads_it_whatever_the_locale(box, guard, ascii_locale, text, key):
    if text is not None:
        (box / "etc/a").mkdir(parents=True)
        (box / "etc/a/key.env").write_bytes(text.encode())
    assert guard.api_key("a") == key


@pytest.fixture
def line(guard, monkeypatch):
    """A connection that is made up: ``line.did`` has what was asked of it."""
    made = SimpleNamespace(did=[], text=b"x", fails=None)

    class Connection:
        def request(self, *arguments, **named):
            made.did.append((arguments, named))
            if made.fails:
                raise made.fails

        def getresponse(self):
            return SimpleNamespace(status=207, read=lambda most: made.did.append(most) or made.text[:most])

    monkeypatch.setattr(guard, "opened", lambda *arguments: made.did.append(arguments) or contextlib.nullcontext(Connection()))
    return made


@pytest.mark.parametrize(("key", "headers"), [("k", {"Authorization": "Bearer k"}), ("", {})])
def test_a_question_is_asked_with_the_key_and_its_answer_read_up_to_a_limit(guard, line, key, headers):
    most = 16 * 2**20 + 1
    assert guard.ask("http://h", "/r", key, 1.5) == (207, b"x")
    assert line.did == [("http://h", 1.5), (("GET", "/r"), {"headers": headers}), most]
    line.did.clear()
    assert guard.ask("http://h", "/r", key, 1.5, {}) == (207, b"x")
    assert line.did == [("http://h", 1.5), (("POST", "/r", b"{}", {**headers, "Content-Type": "application/json"}), {}), most]


@pytest.mark.parametrize(("length", "answer"), [(3, (207, b"xxx")), (4, (0, b""))])
def test_an_answer_of_the_limit_is_one_and_a_longer_one_is_none(guard, line, length, answer):
    guard.LONGEST_ANSWER, line.text = 3, b"x" * length
    assert guard.ask("u", "/r", "", 1) == answer


@pytest.mark.parametrize("error", [OSError(), TimeoutError(), ValueError(), http.client.BadStatusLine("x")])
def test_whatever_happens_on_the_way_is_no_answer(guard, line, error):
    line.fails = error
    assert guard.ask("u", "/r", "", 1) == (0, b"")


@pytest.fixture
def timer(guard, monkeypatch):
    made = SimpleNamespace(did=[])

    class Timer:
        def __init__(self, seconds, function):
            made.did.append(seconds)
            made.over = function

        def start(self):
            made.did.append(("start", self.daemon))

        def cancel(self):
            made.did.append("cancel")

    monkeypatch.setattr(guard.threading, "Timer", Timer)
    return made


@pytest.mark.parametrize("error", [None, OSError(), ValueError()])
def test_a_line_is_hung_up_when_its_time_is_over_and_closed_either_way(guard, timer, monkeypatch, error):
    did = []

    def shutdown(how):
        did.append(how)
        if error:
            raise error

    def connect():
        connection.sock = SimpleNamespace(shutdown=shutdown)

    connection = SimpleNamespace(connect=connect, close=lambda: did.append("close"), sock=None)
    monkeypatch.setattr(guard, "connected", lambda *arguments: did.append(arguments) or connection)
    with guard.opened("u", 1.5) as given:
        given.connect()
    assert (did, timer.did) == ([("u", 1.5), "close"], [1.5, ("start", True), "cancel"])
    did.clear()
    with pytest.raises(TimeoutError), guard.opened("u", 1.5) as given:
        given.connect()
        connection.sock = None  # as an answer takes it that ends with its connection
        timer.over()
    assert did == [("u", 1.5), socket.SHUT_RDWR, "close"]
    with pytest.raises(TimeoutError), guard.opened("u", 1.5):
        timer.over()  # before there is a line


def test_where_and_how_the_server_is_spoken_to(guard):
    plain, secret, none = (guard.connected(url, 1.5) for url in ("http://h:81/x", "https://h:82", "http:///x"))
    assert type(plain) is http.client.HTTPConnection and (plain.host, plain.port, plain.timeout) == ("h", 81, 1.5)
    assert type(secret) is http.client.HTTPSConnection and (secret.host, secret.port, secret.timeout) == ("h", 82, 1.5)
    assert (secret._context.check_hostname, secret._context.verify_mode) == (False, ssl.CERT_NONE)
    assert none.host == ""


@pytest.fixture
def ask(guard, monkeypatch):
    """``ask.says``: (status, body) by route; ``ask.asked``: what was asked."""
    made = SimpleNamespace(asked=[], says={})

    def asked(*arguments):
        made.asked.append(arguments)
        return made.says[arguments[1]]

    monkeypatch.setattr(guard, "ask", asked)
    return made


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ((0, b""), None), ((429, b"{}"), None), ((503, b"{}"), None),
        ((199, b"[1]"), False), ((200, b"[1]"), True), ((299, b"[1]"), True), ((300, b"[1]"), False), ((301, b"[1]"), False),
        ((200, b"{}"), False), ((200, b"x"), False), ((200, b"[" * 10**5), False),
        ((401, b"[1]"), False), ((402, b"[1]"), False), ((430, b""), False), ((500, b"[1]"), False), ((504, b""), False), ((1, b"[1]"), False),
    ],
)  # fmt: skip
def test_the_first_answer_decides(guard, ask, answer, verdict):
    ask.says = {"/v1/completions": answer}
    assert guard.generates("u", "k", "m") is verdict
    assert ask.asked == [("u", "/v1/completions", "k", 60.0, {"model": "m", "prompt": "1", "max_tokens": 1})]


@pytest.mark.parametrize(("health", "verdict"), [(200, True), (201, False), (503, False), (0, False)])
def test_what_offers_nothing_is_asked_for_its_health(guard, ask, health, verdict):
    refusals = dict(zip(("/v1/completions", "/v1/embeddings", "/classify", "/pooling"), (400, 404, 405, 501), strict=True))
    ask.says = {**{route: (status, b"") for route, status in refusals.items()}, "/health": (health, b"")}
    assert guard.generates("u", "k", "m") is verdict
    one = {"model": "m", "input": "1"}
    assert ask.asked[1:] == [*(("u", route, "k", 60.0, one) for route in ("/v1/embeddings", "/classify", "/pooling")), ("u", "/health", "k", 60.0)]


@pytest.mark.parametrize(
    ("status", "text", "known"),
    [
        (200, b"vllm:num_requests_running 2\nvllm:num_requests_running 3", {"open": 5.0, "answers": 0.0, "cache": 0.0}),
        (200, b'vllm:num_requests_waiting{a="\xff b"} 2\nvllm:kv_cache_usage_perc 0.5', {"open": 2.0, "answers": 0.0, "cache": 0.5}),
        (200, b"vllm:num_requests_waiting 0\nvllm:prompt_tokens_total 3\nvllm:generation_tokens_total 4", {"open": 0.0, "answers": 7.0, "cache": 0.0}),
        (
            200,
            b'vllm:request_success_total{finished_reason="abort"} 1\nvllm:request_success_total{finished_reason="error"} 2\n'
            b'vllm:request_success_total{finished_reason="stop"} 4\nvllm:num_requests_running x\nvllm:num_requests_running 1',
            {"open": 1.0, "answers": 4.0, "cache": 0.0},
        ),
        (200, b"vllm:prompt_tokens_total 3", None),
        (200, b"", None),
        (201, b"vllm:num_requests_running 2", None),
    ],
)
def test_what_the_metrics_say_is_added_up(guard, ask, status, text, known):
    ask.says = {"/metrics": (status, text)}
    assert guard.work("u", "k") == known and ask.asked == [("u", "/metrics", "k", 10.0)]


def does(requests=1, answers=0, cache=0.0):
    return {"open": float(requests), "answers": float(answers), "cache": cache}


MARK = {"answers": 5.0, "cache": 0.5, "at_s": 100.0}


@pytest.mark.parametrize(
    ("others", "now", "now_s", "verdict", "kept"),
    [
        (False, does(1, 6), 100.0, "silent", {}),
        (True, does(1, 6, 0.5), 101.0, "answers others", {**does(1, 6, 0.5), "at_s": 101.0}),
        (True, does(1, 4, 0.5), 101.0, "works", {**does(1, 4, 0.5), "at_s": 101.0}),
        (True, does(1, 5, 0.6), 101.0, "works", {**does(1, 5, 0.6), "at_s": 101.0}),
        (True, does(1, 5, 0.5), 999.9, "stands still", MARK),
        (True, does(1, 5, 0.5), 1000.0, "wedged", MARK),
    ],
)
def test_a_verdict_comes_with_the_next_mark(guard, others, now, now_s, verdict, kept):
    assert guard.judged(others, now, MARK, now_s) == (verdict, kept)


@pytest.mark.parametrize(
    ("before", "after", "answer", "mark", "verdict", "kept"),
    [
        (does(9), None, True, {}, "answers", {"token_s": 1.0}),
        (does(9), None, False, {}, "silent", {}),
        (does(9), None, None, {}, "silent", {}),
        (does(0), does(1), None, {}, "silent", {}),
        (None, does(1), None, {}, "silent", {}),
        (does(1), does(0), None, {}, "stands still", {**does(1), "at_s": 1.0}),
        (None, does(2), None, {}, "stands still", {**does(2), "at_s": 1.0}),
        (does(0), does(2), None, {}, "stands still", {**does(0), "at_s": 1.0}),
        (does(2), does(2, 1), None, {}, "answers others", {**does(2, 1), "at_s": 3.0}),
        (does(2), does(2, 1), None, MARK, "works", {**does(2, 1), "at_s": 3.0}),
        (does(2), does(2, 5, 0.5), None, MARK, "stands still", MARK),
    ],
)
def test_a_look_asks_once_and_then_what_the_metrics_say(guard, monkeypatch, before, after, answer, mark, verdict, kept):
    times, works, asked = iter((1.0, 2.0, 3.0)), iter((before, after)), []
    monkeypatch.setattr(guard, "since_boot_s", lambda: next(times))
    monkeypatch.setattr(guard, "api_key", lambda name: f"key of {name}")
    monkeypatch.setattr(guard, "work", lambda *arguments: asked.append(("work", *arguments)) or next(works))
    monkeypatch.setattr(guard, "generates", lambda *arguments: asked.append(("generates", *arguments)) or answer)
    assert guard.look("a", {"probe_url": "u", "served_model_name": "m"}, mark) == (verdict, kept)
    expected = [("work", "u", "key of a"), ("generates", "u", "key of a", "m"), ("work", "u", "key of a")]
    assert asked == expected[: 2 if answer is not None else 3]


# The watch


@pytest.fixture
def watch(box, guard, monkeypatch):
    """One watch with a verdict made up: (what was printed, how often silent in a row, restarts, the mark kept, what a router is told)."""
    deploy(box)

    def watched(verdict, next_mark=None, /, **seen):
        guard.said.clear()
        guard.asked.clear()
        if seen:
            guard.keep("a", "failures.json", seen)
        guard.looks = []
        monkeypatch.setattr(guard, "look", lambda *arguments: guard.looks.append(arguments) or (verdict, next_mark or {}))
        guard.watch("a")
        said = box / "said/a"
        kept = read(box / "run/a/failures.json")
        state = tuple(kept[key] for key in ("in_a_row", "restarts", "mark")) if kept else None
        return [text for text, place, flush in guard.said if (place, flush) == ("out", True)], state, said.read_text().strip() if said.exists() else None

    return watched


ASKED = ["systemctl", "is-active", "--quiet", "gb10-vllm-a.service"]


def test_an_answer_ends_all_that_was_counted(box, guard, watch):
    for file in ("starting.json", "starts.json"):
        guard.keep("a", file, {"without_answer": 1}, lasting=True)
    assert watch("answers", {"token_s": 0.5}, in_a_row=2, restarts=2, mark=MARK) == ([], None, "up")
    assert sorted(str(one.relative_to(box)) for one in box.glob("*/a/*.json")) == ["run/a/watched.json", "servers/a/deployment.json"]
    assert read(box / "run/a/watched.json") == {"verdict": "answers", "token_s": 0.5, "since_boot_s": 1000.0, "boot_id": "this"}
    assert guard.asked == [ASKED] and guard.looks == [("a", read(box / "servers/a/deployment.json"), MARK)]


@pytest.mark.parametrize(
    ("verdict", "state", "told", "stays"),
    [("answers others", (0, 0, does(2)), "up", False), ("works", (0, 1, does(2)), "up", True), ("stands still", (2, 1, does(2)), None, True)],
)
def test_a_busy_server_is_not_waited_for(box, guard, watch, verdict, state, told, stays):
    for file in ("starting.json", "starts.json"):
        guard.keep("a", file, {"since_boot_s": 1.0}, lasting=True)
    said = [f"a {verdict}: 2 requests run or wait, so the watch's own is not waited for"]
    assert watch(verdict, does(2), in_a_row=2, restarts=1, mark={}) == (said, state, told)
    assert [(box / "servers/a" / file).exists() for file in ("starting.json", "starts.json")] == [stays, stays]
    assert read(box / "run/a/watched.json")["token_s"] is None and guard.asked == [ASKED]


@pytest.mark.parametrize(
    ("in_a_row", "restarts", "said", "state", "asked"),
    [
        (0, 1, ["a did not answer (1 of 3)"], (1, 1, {}), []),
        (1, 1, ["a did not answer (2 of 3)"], (2, 1, {}), []),
        (2, 1, ["a did not answer (3 of 3)", "restarting gb10-vllm-a.service"], (0, 2, {}), ["try-restart"]),
        (2, 2, ["a did not answer (3 of 3)", "restarting gb10-vllm-a.service"], (0, 3, {}), ["try-restart"]),
        (
            2,
            3,
            ["a did not answer (3 of 3)",
             "a did not answer even after 3 restarts, so it is stopped now. The playbook diagnose explains its log; the playbook site starts it again."],
            None,
            ["stop"],
        ),
    ],
)  # fmt: skip
def test_a_silence_is_counted_up_to_a_restart_and_restarts_up_to_a_stop(guard, watch, in_a_row, restarts, said, state, asked):
    assert watch("silent", in_a_row=in_a_row, restarts=restarts, mark={}) == (said, state, "down")
    assert guard.asked == [ASKED, *(["systemctl", word, "gb10-vllm-a.service"] for word in asked)]


def test_a_wedged_server_is_restarted_at_once(guard, watch):
    said = ["a is wedged: requests have been running for 900 s and nothing has moved", "restarting gb10-vllm-a.service"]
    assert watch("wedged", MARK, in_a_row=1, restarts=0, mark=MARK) == (said, (0, 1, {}), "down")


@pytest.mark.parametrize(
    ("since_s", "said", "told"),
    [(999.5, [], None), (501.0, [], None), (500.0, ["a did not answer (1 of 3)"], "down"), (499.0, ["a did not answer (1 of 3)"], "down")],
)
def test_silence_counts_when_the_time_of_a_start_is_over(guard, watch, since_s, said, told):
    guard.START_LIMIT_S = 500.0
    guard.keep("a", "starting.json", {"since_boot_s": since_s})
    assert watch("silent") == (said, (1, 0, {}) if said else None, told)


def test_a_mark_of_another_boot_or_shape_is_none(box, guard, watch):
    watch("works", does(2), mark=[1])
    assert guard.looks[0][2] == {}
    (box / "run/a/failures.json").unlink()
    put(box / "servers/a/failures.json", {"mark": MARK, "boot_id": "other", "in_a_row": 1})
    assert watch("silent")[0] == ["a did not answer (2 of 3)"] and guard.looks[0][2] == {}


@pytest.mark.parametrize("record", [{"probe_url": 1}, {"served_model_name": None}])
def test_what_is_not_watched_is_said_at_once(box, guard, watch, record):
    deploy(box, **record)
    said = f"{box}/servers/a/deployment.json is missing or unreadable, so a is not watched. Run the playbook site again."
    assert watch("answers") == ([said], None, None) and guard.looks == []


def test_what_does_not_run_is_not_looked_at(guard, watch):
    guard.answers = {"is-active": (3, "")}
    assert watch("silent") == ([], None, None) and (guard.looks, guard.asked) == ([], [ASKED])


@pytest.mark.parametrize(("group", "waits", "looks"), [({"number": 0}, False, 1), ({"number": 1}, False, 0), ({"number": 0}, True, 0), ("x", True, 1)])
def test_of_a_group_only_the_head_looks_and_not_while_it_waits(box, guard, watch, group, waits, looks):
    deploy(box, group=group)
    if waits:
        guard.keep("a", "waiting.json", {})
    watch("silent")
    assert len(guard.looks) == looks


def test_what_was_seen_lies_in_memory_for_root_alone(box, guard, no_umask):
    guard.say_what_was_seen("a", "silent", None)
    guard.say_what_was_seen("a", "works", 1.5)
    assert read(box / "run/a/watched.json") == {"verdict": "works", "token_s": 1.5, "since_boot_s": 1000.0, "boot_id": "this"} and mode(box / "run/a") == 0o700
    guard.MEMORY_DIR = "/dev/null"
    guard.say_what_was_seen("a", "works", 1.5)  # who cannot say it goes on


def test_a_silence_that_cannot_be_remembered_is_said_at_once(guard, monkeypatch):
    kept = []
    monkeypatch.setattr(guard, "keep", lambda *arguments, **more: kept.append((arguments, more)) or "full")
    guard.note("a", 2, 1, MARK)
    assert kept == [(("a", "failures.json", {"in_a_row": 2, "restarts": 1, "mark": MARK}), {})]
    assert guard.said == [("how often a did not answer cannot be remembered (full), so a hang will not be seen", "out", True)]
    monkeypatch.setattr(guard, "keep", lambda *_arguments: None)
    guard.note("a", 2, 1, MARK)
    assert len(guard.said) == 1


# As it is called


def call(guard, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["guard", *words])
    guard.said.clear()
    return guard.main(), [(text, place) for text, place, _flush in guard.said]


@pytest.mark.parametrize("words", [(), ("watch",), ("watch", "a", "b"), ("look", "a"), ("a", "watch")])
def test_called_in_any_other_way_it_says_how(guard, monkeypatch, words):
    monkeypatch.setattr(guard, "watch", None)
    assert call(guard, monkeypatch, *words) == (2, [(guard.__doc__, "err")])


@pytest.mark.parametrize(("refusal", "said"), [("so", (1, [("not started: so", "err")])), (None, (0, []))])
def test_a_refusal_is_told_and_fails(guard, monkeypatch, refusal, said):
    monkeypatch.setattr(guard, "before_start", lambda name: {"a": refusal}[name])
    assert call(guard, monkeypatch, "before-start", "a") == said


@pytest.mark.parametrize(("ending", "said"), [("so", [("so", "err")]), (None, [])])
def test_an_end_is_told_and_fails_nothing(guard, monkeypatch, ending, said):
    monkeypatch.setattr(guard, "after_stop", lambda name: {"a": ending}[name])
    assert call(guard, monkeypatch, "after-stop", "a") == (0, said)


def test_the_watch_is_of_the_server_named(guard, monkeypatch):
    watched = []
    monkeypatch.setattr(guard, "watch", watched.append)
    assert call(guard, monkeypatch, "watch", "a") == (0, []) and watched == ["a"]


def test_a_rank_that_is_held_waits_until_it_goes(box, guard, monkeypatch):
    guard.begin("a")
    assert call(guard, monkeypatch, "hold", "a") == (0, [])
    assert [guard.recall("a", file) for file in ("starting.json", "waiting.json")] == [{}, {"boot_id": "this"}]
    assert call(guard, monkeypatch, "go", "a") == (0, [])
    assert [bool(guard.recall("a", file)) for file in ("starting.json", "waiting.json")] == [True, False]
    assert not (box / "said").exists()


def test_who_starts_a_server_anew_begins_with_nothing_against_it(box, guard, monkeypatch):
    for file in ("starting.json", "starts.json", "failures.json", "waiting.json"):
        guard.keep("a", file, {"k": 1}, lasting=True)
    guard.say("a", "down")
    assert call(guard, monkeypatch, "forget", "a") == (0, [])
    assert sorted(str(one.relative_to(box)) for one in box.glob("*/a/*")) == ["run/a/waiting.json", "servers/a/waiting.json"]
    assert (box / "said/a").read_text() == "up\n"


def test_a_word_for_routers_is_written_beside_the_one_before_and_takes_its_place(box, guard, monkeypatch):
    moved = []
    monkeypatch.setattr(guard.os, "replace", lambda *paths: moved.append(paths))
    guard.say("a", "down")
    assert moved == [(str(box / "said/.a"), str(box / "said/a"))]
