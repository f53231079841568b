# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change of a box's network that undoes itself unless the controller comes back and confirms it.

Until then the wanted file lies in /run/netplan, where it shadows the one of that name in /etc/netplan (netplan-generate(8)): a box that loses its
power meanwhile comes up with what it had. A timer of systemd, started before anything is changed, takes it away again.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._fabric.text import NOTHING, OUR_FILE, configured
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import disk_problem, read_json, write_json, write_whole
from ansible_collections.gb10.vllm.plugins.module_utils._names import RUN_DIR

# In the order in which later ones shadow earlier ones, with the one that stays last.
PLACES = ("/usr/lib/netplan", "/lib/netplan", "/run/netplan", "/etc/netplan")
STAYS, CANDIDATE = f"/etc/netplan/{OUR_FILE}", f"/run/netplan/{OUR_FILE}"
UNDO, APPLY = f"{RUN_DIR}/fabric-undo", f"{RUN_DIR}/fabric-apply"
UNDO_UNIT, APPLY_UNIT = "gb10-fabric-undo", "gb10-fabric-apply"
APPLY_S = 120
BACKENDS = ("/run/systemd/network/10-netplan-*.network", "/run/NetworkManager/system-connections/netplan-*.nmconnection")
"""What netplan writes for networkd and for NetworkManager, and what of it decides about addresses."""
SYSCTL = "/proc/sys/net/ipv6/conf"


def read_before(interfaces: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What an interface is set to that netplan does not put back: MTU, whether it is up, how it makes IPv6 addresses."""

    def read(path: str) -> str:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as handle:
            return handle.read().strip()
        return ""

    return {
        one: {
            "mtu": int(read(f"/sys/class/net/{one}/mtu") or 1500),
            "up": bool(int(read(f"/sys/class/net/{one}/flags") or "0", 16) & 1),
            "sysctl": {key: said for key in ("addr_gen_mode", "disable_ipv6") if (said := read(f"{SYSCTL}/{one}/{key}"))},
        }
        for one in interfaces
    }


def put_back(leaving: Mapping[str, Sequence[str]], before: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Shell lines after which interfaces that are no longer configured are as they were; ``leaving``: their addresses of ours, by interface."""
    lines = []
    for interface, held in leaving.items():
        name = shlex.quote(interface)
        lines += [f"ip address del {shlex.quote(address)} dev {name} 2>/dev/null" for address in held]
        was = before.get(interface)
        if was:
            lines.append(f"ip link set dev {name} mtu {int(was['mtu'])} {'up' if was['up'] else 'down'}")
            lines += [
                f"echo {int(value)} 2>/dev/null >{SYSCTL}/{name}/{key}" for key, value in was["sysctl"].items() if key in ("addr_gen_mode", "disable_ipv6")
            ]
    return lines


def program(now: str | None, then: str | None, before: Mapping[str, Mapping[str, Any]], *, away: Sequence[str] = ()) -> str:
    """The shell program that takes a box from the file ``now`` to the file ``then``; both may be None. ``away``: files that it removes first."""
    stays = configured(then)
    leaving = {interface: held for interface, held in configured(now).items() if interface not in stays}
    first = [f"rm -f {' '.join(map(shlex.quote, away))}"] if away else []
    return "\n".join(["#!/bin/sh", *first, "netplan apply || failed=1", *put_back(leaving, before), "exit ${failed:-0}", ""])


def read(path: str) -> str | None:
    """The text of a file, None where there is none."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise GB10Error(f"{path} cannot be read ({error}); look at that file.") from None


def examine(wanted: str | None) -> None:
    """GB10Error where ``wanted`` (None: nothing) must not be applied to this box as it is; changes nothing."""
    waits = unapplied()
    if waits:
        raise GB10Error(
            f"netplan's files were changed since they were applied ({waits} would become another), and what is applied for the fabric would apply that too. "
            "Nothing was changed; run `netplan try` on that box first, or take the change back."
        )
    _check(NOTHING if wanted is None else wanted)


def _check(content: str) -> None:
    """Have netplan read the candidate beside all else that is there, in a copy of its directories; GB10Error in its own words where it refuses."""
    with _copy() as folder:
        os.makedirs(f"{folder}/run/netplan", exist_ok=True)
        write_whole(folder + CANDIDATE, content, mode=0o600)
        done = run(["netplan", "generate", "--root-dir", folder], 60)
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).replace(folder, "").split())
            raise GB10Error(f"netplan refuses the network of the fabric beside what is there: {said}. Nothing was changed; correct the file that it names.")


def unapplied() -> str:
    """The first file of a backend that netplan would write otherwise than it did, "" where there is none: applying ours would apply that change too."""
    with _copy() as folder:
        done = run(["netplan", "generate", "--root-dir", folder], 60)
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).replace(folder, "").split())
            raise GB10Error(f"netplan refuses the files that are there already: {said}. Nothing was changed; correct the file that it names.")
        for place in BACKENDS:
            new, old = ({path.removeprefix(root): read(path) for path in glob.glob(f"{root}{place}")} for root in (folder, ""))
            changed = sorted(path for path in {*new, *old} if new.get(path) != old.get(path))
            if changed:
                return changed[0]
    return ""


@contextlib.contextmanager
def _copy() -> Iterator[str]:
    """A directory that holds netplan's files as they are."""
    with tempfile.TemporaryDirectory(prefix="gb10-netplan-") as folder:
        for place in PLACES:
            if os.path.isdir(place) and not os.path.islink(os.path.dirname(place)):
                shutil.copytree(place, folder + place, symlinks=False, ignore_dangling_symlinks=True)
        yield folder


def pending() -> str | None:
    """The candidate that waits to be confirmed."""
    return read(CANDIDATE)


def apply(wanted: str | None, record_path: str, confirm_s: int) -> None:
    """Make ``wanted`` (None: nothing) the box's network, until ``confirm_s`` seconds have passed or ``confirm`` was called; GB10Error where it cannot be."""
    if pending() is not None:
        # Of a run that was killed: its way back is taken now.
        run(["systemctl", "stop", f"{UNDO_UNIT}.timer"])
        run([UNDO], APPLY_S)
    examine(wanted)
    now = read(STAYS)
    content = NOTHING if wanted is None else wanted
    record = read_json(record_path)
    before: dict[str, Any] = record if isinstance(record, dict) else {}
    new = [one for one in configured(wanted) if one not in before]
    before = {**before, **read_before(new)}
    try:
        if new:
            write_json(record_path, before, mode=0o600, durable=True, indent=2, sort_keys=True)
        # What was written down of interfaces that are not ours in the end is worth nothing.
        away = [CANDIDATE, UNDO, APPLY, *([record_path] if now is None else [])]
        write_whole(UNDO, program(wanted, now, before, away=away), mode=0o700)
        write_whole(APPLY, program(now, wanted, before), mode=0o700)
    except OSError as error:
        raise disk_problem(error.filename or record_path, error) from None
    # The way back first: whatever happens from here on, it happens for so many seconds at most.
    _systemd("--unit", UNDO_UNIT, f"--on-active={confirm_s}", "--timer-property=AccuracySec=1s", UNDO)
    try:
        write_whole(CANDIDATE, content, mode=0o600)
    except OSError as error:
        raise disk_problem(CANDIDATE, error) from None
    # A unit of its own: it goes on when this connection is cut by what it does.
    done = run(["systemd-run", "--quiet", "--collect", "--wait", "--unit", APPLY_UNIT, APPLY], APPLY_S)
    if done.returncode:
        said = run(["journalctl", "--unit", APPLY_UNIT, "--lines", "6", "--output", "cat", "--no-pager"]).stdout
        run(["systemctl", "stop", f"{UNDO_UNIT}.timer"])
        run([UNDO], APPLY_S)
        words = " ".join((said or done.stderr).split()) or f"status {done.returncode}"
        raise GB10Error(f"the network of the fabric could not be applied ({words}); what was is in place again. Correct that and run this again.")


TAKEN_BACK = "the box took the network of the fabric back by itself before it was confirmed; what was is in place again."


def confirm(wanted: str | None, record_path: str) -> bool:
    """Keep what was applied: the controller has come back. False where ``wanted`` is kept already; GB10Error where the way back was taken.

    A connection that hangs until the way back was taken goes on afterwards as if nothing had been, so what lies there is looked at.
    """
    candidate = pending()
    if candidate is None and read(STAYS) == wanted:
        return False
    if candidate != (NOTHING if wanted is None else wanted):
        raise GB10Error(TAKEN_BACK)
    run(["systemctl", "stop", f"{UNDO_UNIT}.timer"])
    if run(["systemctl", "is-active", f"{UNDO_UNIT}.service"]).stdout.strip() in ("active", "activating") or not os.path.exists(CANDIDATE):
        raise GB10Error(TAKEN_BACK)
    try:
        if candidate == NOTHING:
            for path in (STAYS, record_path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        else:
            write_whole(STAYS, candidate, mode=0o600, durable=True)
        os.unlink(CANDIDATE)
        for path in (UNDO, APPLY):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    except OSError as error:
        raise disk_problem(STAYS, error) from None
    run(["netplan", "generate"], 60)
    return True


def _systemd(*arguments: str) -> None:
    """Start a transient unit; one of that name that is left over is ended first."""
    run(["systemctl", "stop", f"{UNDO_UNIT}.timer", f"{UNDO_UNIT}.service"])
    run(["systemctl", "reset-failed", f"{UNDO_UNIT}.service"])
    done = run(["systemd-run", "--quiet", "--collect", *arguments])
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise GB10Error(f"systemd-run cannot start the timer that would take a bad network back ({said}), so nothing was changed; look at systemd on that box.")
