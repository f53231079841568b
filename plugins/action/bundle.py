# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Describe or check a bundle; runs on the controller, where the bundle lies."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.modules.bundle import OPTIONS
from ansible_collections.gb10.vllm.plugins.plugin_utils import _bundle as bundle
from ansible_collections.gb10.vllm.plugins.plugin_utils._follow.progress import Progress
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.words import size


class ActionModule(ActionBase):
    """Controller side of gb10.vllm.bundle."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _parsed, wanted = self.validate_argument_spec(OPTIONS)
        progress, done = Progress(Display(), "bundle"), [0]

        def told(count: int) -> None:
            done[0] += count
            progress.update(f"checksums, {size(done[0])}")

        try:
            if wanted["state"] == "read":
                return dict(result, changed=False, manifest=bundle.read_manifest(wanted["directory"], wanted["contents"], told))
            if self._task.check_mode:
                return dict(result, changed=True, manifest={})
            manifest = self._write(wanted, told)
        except GB10Error as error:
            return dict(result, failed=True, changed=False, msg=str(error))
        except OSError as error:
            return dict(result, failed=True, changed=False, msg=f"{error.filename or wanted['directory']}: {error.strerror or error}; check that disk")
        total = sum(entry["size"] for entry in manifest["files"].values())
        progress.done(f"{wanted['directory']} holds {len(manifest['files'])} files, {size(total)}")
        return dict(result, changed=True, manifest=manifest)

    def _write(self, wanted: dict[str, Any], told: Any) -> dict[str, Any]:
        directory = wanted["directory"]
        target = os.path.join(directory, "collections")
        os.makedirs(target, exist_ok=True)
        for name in os.listdir(target):
            os.unlink(os.path.join(target, name))
        for name in wanted["collections"]:
            self._collection(name, target)
        archive = os.path.join(directory, "image.tar")
        known = {"image.tar": bundle.file_sha256(archive, told)} if os.path.exists(archive) else {}
        facts = {"image": wanted["image"], "models": wanted["models"]}
        manifest = bundle.write_manifest(directory, facts, known, told)
        if known:
            bundle.write_settings(directory, dict(wanted["image"], sha256=known["image.tar"]), wanted["models"])
        return manifest

    @staticmethod
    def _collection(name: str, target: str) -> None:
        try:
            path = list(importlib.import_module(f"ansible_collections.{name}").__path__)[0]
        except ImportError:
            raise GB10Error(f"the collection {name} is not installed on this machine; install it, the bundle needs it") from None
        if not os.path.exists(os.path.join(path, "galaxy.yml")):
            bundle.pack_collection(path, target)
            return
        command = [sys.executable, "-m", "ansible", "galaxy", "collection", "build", os.path.realpath(path), "--output-path", target, "--force"]
        built = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
        if built.returncode:
            raise GB10Error(f"{name} could not be built from {path}: {(built.stderr.strip().splitlines() or ['no message'])[-1]}")
