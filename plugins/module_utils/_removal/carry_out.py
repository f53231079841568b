# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes away what ``_removal.items`` named, in its order; what is gone already is no mistake, so that a run that was killed can be run again."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Callable, Sequence

from ansible_collections.gb10.vllm.plugins.module_utils._box import run_lock
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import docker_text, run
from ansible_collections.gb10.vllm.plugins.module_utils._removal.items import Item

STOP_S = 600.0


def carry_out(goes: Sequence[Item]) -> None:
    """Remove these. GB10Error names the first that cannot be."""
    for item in goes:
        try:
            DOING[item.kind](item.name)
        except OSError as error:
            raise GB10Error(f"{error.filename or item.name} cannot be removed ({error.strerror}); look at that disk, then run this again.") from None
    if any(item.kind in ("unit", "file") for item in goes):
        run(["systemctl", "daemon-reload"], 60)


def close(state_dir: str, config_dir: str) -> None:
    """Take away the lock of this run and directories of ours that are empty; what is not ours in them keeps them."""
    for place in [*glob.glob(os.path.join(glob.escape(config_dir), "*")), config_dir]:
        _rmdir(place)
    run_lock.remove(state_dir)
    _rmdir(state_dir)


def _rmdir(path: str) -> None:
    """Not a mount, not one that holds something."""
    if os.path.isdir(path) and not os.path.islink(path):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _unit(name: str) -> None:
    for words in (["disable", name], ["stop", name]):
        done = run(["systemctl", *words], STOP_S)
        if done.returncode and words[0] == "stop":
            said = done.stderr.strip() or "it said nothing"
            raise GB10Error(f"systemd does not stop {name}: {said}; look at `systemctl status {name}`, then run this again.")
    run(["systemctl", "reset-failed", name])


def _container(name: str) -> None:
    docker_text("rm", "--force", "--volumes", name, missing_ok=True)


def _image(name: str) -> None:
    docker_text("rmi", name, missing_ok=True)


def _rules(chain: str) -> None:
    """A chain that ranks made, the rules that lead to it, and the one over IPv6 for its port (roles/server/files/rank.py)."""
    for line in run(["iptables", "-S"]).stdout.splitlines():
        if line.startswith("-A ") and line.endswith(f"-j {chain}"):
            run(["iptables", "-w", "10", "-D", *line.split()[1:]])
    run(["iptables", "-w", "10", "-F", chain])
    run(["iptables", "-w", "10", "-X", chain])
    port = chain.rpartition("-")[2]
    run(["ip6tables", "-w", "10", "-D", "INPUT", "!", "-i", "lo", "-p", "tcp", "--dport", port, "-j", "REJECT"])


def _file(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if os.path.dirname(path).endswith(".service.d"):
        _rmdir(os.path.dirname(path))


def _model(path: str) -> None:
    _file(path)
    _rmdir(os.path.dirname(path))


def _setting(name: str) -> None:
    """The role host has put back what was; its record goes with the files."""


DOING: dict[str, Callable[[str], None]] = {
    "unit": _unit, "container": _container, "rules": _rules, "image": _image, "model": _model, "file": _file, "setting": _setting,
}  # fmt: skip
