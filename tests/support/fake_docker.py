# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A docker command for unit tests: a shell script that answers by the first words it is called with and notes every call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class FakeDocker:
    """``answer`` says what happens for a command line that matches a shell pattern; later patterns count first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "docker"
        self._calls = folder / "calls"
        self._cases: list[str] = []
        self.images: dict[str, dict[str, Any]] = {}
        self._folder = folder
        self.answer("*", "echo 'this docker knows no such command' >&2; exit 1")
        self.answer("'image inspect '*", "echo 'Error: No such image' >&2; exit 1")
        self.answer("'images '*|'tag '*|'rmi '*|'ps '*|'info '*|'system '*", ":")

    def answer(self, pattern: str, script: str) -> None:
        """``pattern`` as in a shell's case, ``script`` in sh."""
        self._cases.insert(0, f"{pattern}) {script} ;;")
        self.path.write_text(f'#!/bin/sh\necho "$*" >> {self._calls}\ncase "$*" in\n' + "\n".join(self._cases) + "\nesac\n")
        self.path.chmod(0o755)

    def has(self, reference: str, image_id: str = "sha256:" + "1" * 64, **inspected: Any) -> None:
        """An image under a name or id."""
        file = self._folder / f"{len(self._cases)}.json"
        file.write_text(json.dumps([{"Id": image_id, "Size": 1000, "RootFS": {"Layers": ["l1"]}, **inspected}]))
        self.answer(f"'image inspect {reference}'", f"cat {file}")

    def calls(self, word: str = "") -> list[str]:
        """The command lines so far that begin with ``word``."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [line for line in lines if line.startswith(word)]
