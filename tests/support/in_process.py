# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules and action plugins by what Ansible calls of them, in the process of the test; programs of a box as shell scripts that note their calls."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ansible.module_utils import basic
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar
from ansible.utils.display import Display

PLUGINS = "ansible_collections.gb10.vllm.plugins"


def run_module(name: str, /, *, check: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
    """What a module of this collection returns for these arguments, by its ``main``."""
    main = importlib.import_module(f"{PLUGINS}.modules.{name}").main
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": diff}
    said = json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode()
    printed = io.StringIO()
    here = os.getcwd()
    with (
        mock.patch.object(basic, "_ANSIBLE_ARGS", said),
        mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True),
        contextlib.redirect_stdout(printed),
    ):
        try:
            main()
        except SystemExit as end:
            result = json.loads(printed.getvalue().splitlines()[-1])
            assert bool(end.code) == bool(result.get("failed")), "the status of the process says what the result says"
        else:
            raise AssertionError(f"{name} ended without a result")
        finally:
            os.chdir(here)
    result.pop("invocation", None)
    return result


class Screen:
    """What a person sees of an action: its lines and its warnings."""

    def __init__(self, monkeypatch: Any) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        monkeypatch.setattr(Display, "display", lambda _self, text, *_given, **_named: self.lines.append(text))
        monkeypatch.setattr(Display, "warning", lambda _self, text, *_given, **_named: self.warnings.append(text))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Action:
    """An action plugin of this collection as Ansible makes it; its box answers: ``box(**arguments)`` is what the module returns.

    Work that is begun detached (``limit_s``) is over at the first ``status``, with what ``box(name=..., status=...)`` returns; ``progress`` are the last
    lines of its file before that. ``asked``, ``commands`` and ``sent`` are what went to the box.
    """

    def __init__(self, name: str, box: Callable[..., dict[str, Any]] | None = None, /, **arguments: Any) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.commands: list[str] = []
        self.sent: list[tuple[str, str]] = []
        self.progress: list[str] = []
        self.name, self.box, self.task = name, box, Task()
        self.task.action = f"gb10.vllm.{name}"
        self.task.args = arguments
        shell = SimpleNamespace(tmpdir="/box/tmp", join_path=os.path.join)
        connection = SimpleNamespace(_shell=shell, put_file=lambda here, there: self.sent.append((here, there)))
        loader = DataLoader()
        plugin = importlib.import_module(f"{PLUGINS}.action.{name}").ActionModule
        self.plugin = plugin(self.task, connection, None, loader, Templar(loader), None)
        self.plugin._execute_module = self._execute
        self.plugin._low_level_execute_command = self._command

    def run(self, check: bool = False, **variables: Any) -> dict[str, Any]:
        self.task.check_mode = check
        return self.plugin.run(None, {"inventory_hostname": "spark-01", **variables})

    def _execute(self, module_name: str | None = None, module_args: dict | None = None, task_vars: dict | None = None, wrap_async: bool = False) -> dict:
        assert task_vars is not None and task_vars["inventory_hostname"] == "spark-01", "modules need the variables of their box"
        name = module_name or f"gb10.vllm.{self.name}"
        arguments = dict(module_args or {})
        self.asked.append((name, arguments))
        assert self.box
        if name == "ansible.legacy.async_status":
            return {"finished": 1, **self.box(name=self.name, status=arguments)} if arguments["mode"] == "status" else {}
        if wrap_async:
            self.limit_s = self.task.async_val
            return {"ansible_job_id": "j1", "results_file": "/root/.ansible_async/j1", "started": 1}
        return {**self.box(**arguments), "invocation": {"module_args": arguments}}

    def _command(self, command: str, **_more: Any) -> dict[str, Any]:
        self.commands.append(command)
        return (
            {"stdout": f"--gb10--\n{self.progress.pop(0) if self.progress else json.dumps({'phase': 'finished'})}\n"}
            if "--gb10--" in command
            else {"stdout": ""}
        )


class Programs:
    """Programs of a box as shell scripts in a folder that comes first in PATH. Whatever they are called with is noted in one file, in its order."""

    def __init__(self, folder: Path, monkeypatch: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._cases = folder, {}
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answer(self, program: str, pattern: str = "*", script: str = ":") -> Path:
        """``pattern`` as in a shell's case over all arguments, ``script`` in sh; later patterns count first."""
        cases = self._cases.setdefault(program, [])
        cases.insert(0, f"{pattern}) {script} ;;")
        path = self.folder / program
        path.write_text(f'#!/bin/sh\necho "{program} $*" >> {self.folder}/calls.txt\ncase "$*" in\n' + "\n".join(cases) + "\nesac\n")
        path.chmod(0o755)
        return path

    def calls(self, begin: str = "") -> list[str]:
        """The command lines so far that begin so."""
        file = self.folder / "calls.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(begin)]
