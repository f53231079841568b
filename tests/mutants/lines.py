# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which test runs which line of plugins/ and of the guard, for sample: a plugin of pytest, and what every Python that a test starts loads first.

A process that a test starts notes its lines with the time, so that they are told to the test that ran then. Written to the folder GB10_LINES.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

TREE = "ansible_collections/gb10/vllm/"
ROOT = str(Path(__file__).resolve().parents[2]) + "/"
GUARD = "roles/server/files/guard"
Line = tuple[str, int]


def named(path: str) -> str | None:
    """The file of the product that code comes from; None for all other code."""
    name = path.rpartition(TREE)[2] if TREE in path else path.removeprefix(ROOT)
    return name if name.startswith(("plugins/", GUARD)) else None


def watch(note: Callable[[Line], Any]) -> Callable[[], None]:
    """Tells each line that runs, once; what is returned has all of them told again."""
    if not hasattr(sys, "monitoring"):
        return _watch_slowly(note)
    tool, events = sys.monitoring, sys.monitoring.events

    def line(code: CodeType, number: int) -> object:
        name = named(code.co_filename) if named else None  # while a process ends there is nothing left of this
        if name:
            note((name, number))
        return tool.DISABLE

    tool.use_tool_id(tool.COVERAGE_ID, "gb10-lines")
    tool.register_callback(tool.COVERAGE_ID, events.LINE, line)
    tool.set_events(tool.COVERAGE_ID, events.LINE)
    return tool.restart_events


def _watch_slowly(note: Callable[[Line], Any]) -> Callable[[], None]:
    names: dict[str, str | None] = {}

    def called(frame: Any, _event: str, _value: object) -> Any:
        path = frame.f_code.co_filename
        if path not in names:
            names[path] = named(path)
        name = names[path]
        if name is None:
            return None

        def line(inner: Any, event: str, _value: object) -> Any:
            if event == "line":
                note((name, inner.f_lineno))
            return line

        return line

    threading.settrace(called)
    sys.settrace(called)
    return lambda: None


class Recorder:
    """A plugin of pytest: the lines of each test, its seconds, and how it ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now: set[Line] = set()
        self.shared: set[Line] = set()  # while files were read, and in fixtures that several tests have in common
        self.tests: dict[str, dict[str, Any]] = {}
        self.spans: list[tuple[float, float, str]] = []
        self.again = watch(lambda line: self.now.add(line))

    def _begin(self) -> None:
        self.now = set()
        self.again()

    def pytest_collection_finish(self) -> None:
        self.shared |= self.now

    def pytest_runtest_protocol(self, item: Any) -> None:
        self._begin()
        self.tests[item.nodeid] = {"seconds": 0.0, "shared": 0.0, "passed": True, "skipped": False, "lines": self.now, "began": time.monotonic()}

    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        outer, began = self.now, time.monotonic()
        if fixturedef.scope != "function":
            self._begin()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                self.shared |= self.now
                self.spans.append((began, time.monotonic(), ""))
                if (known := self.tests.get(getattr(request.node, "nodeid", ""))) or (known := next(reversed(self.tests.values()), None)):
                    known["shared"] += time.monotonic() - began
                self.now = outer
                self.again()

    pytest_fixture_setup.pytest_impl = {"wrapper": True}  # type: ignore[attr-defined]

    def pytest_runtest_logreport(self, report: Any) -> None:
        known = self.tests[report.nodeid]
        known["seconds"] += report.duration
        known["passed"] = known["passed"] and not report.failed
        known["skipped"] = known["skipped"] or report.skipped

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.spans.append((self.tests[nodeid]["began"], time.monotonic(), nodeid))

    def pytest_sessionfinish(self) -> None:
        for file in self.folder.glob("process-*"):
            for text in file.read_text().splitlines():
                words = text.split("\t")
                if len(words) == 3:
                    self._told(float(words[0]), (words[1], int(words[2])))
        tests = {
            name: {**{key: one[key] for key in ("seconds", "shared", "passed", "skipped")}, "lines": _by_file(one["lines"])} for name, one in self.tests.items()
        }
        (self.folder / "lines.json").write_text(json.dumps({"tests": tests, "shared": _by_file(self.shared)}))

    def _told(self, when: float, line: Line) -> None:
        around = [name for began, ended, name in self.spans if began <= when <= ended]
        if not around or "" in around:
            self.shared.add(line)
        for name in filter(None, around):
            self.tests[name]["lines"].add(line)


def _by_file(lines: set[Line]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, number in sorted(lines):
        found.setdefault(name, []).append(number)
    return found


def process(folder: str) -> None:
    """In a process that a test started: each line is written at once, for many of these end without a word."""
    file = os.open(f"{folder}/process-{os.getpid()}-{time.monotonic_ns()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    watch(lambda line: os.write(file, f"{time.monotonic():.3f}\t{line[0]}\t{line[1]}\n".encode()))


def pytest_configure(config: Any) -> None:
    if folder := os.environ.get("GB10_LINES"):
        config.pluginmanager.register(Recorder(Path(folder)), "gb10-lines-recorder")
