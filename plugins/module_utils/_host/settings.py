# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user wants of a host beside its servers: memory guard, clock cap, held packages, Wi-Fi off. Pure: facts in, steps out.

Facts come from ``_host.facts.read_host``, steps are done by ``_host.carry_out``. Each part writes down once what was before, and puts that back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._names import LIBRARY_DIR, SERVER_LABEL

UNITS = "/etc/systemd/system"
GUARD_DROP_IN = f"{UNITS}/earlyoom.service.d/gb10-vllm.conf"
# Before each start of one of our servers and at each look of the watch: systemd reads it for every unit whose name begins so.
ORDER_DROP_IN = f"{UNITS}/gb10-vllm-.service.d/gb10-vllm-host.conf"
ORDER = f"{LIBRARY_DIR}/oom-order"
CLOCKS, WIFI = "gb10-host-clocks.service", "gb10-host-wifi.service"
OUR_FILES = (GUARD_DROP_IN, ORDER_DROP_IN, ORDER, f"{UNITS}/{CLOCKS}", f"{UNITS}/{WIFI}")
OUR_UNITS = ("earlyoom.service", CLOCKS, WIFI)
HEAD = "# Managed by the Ansible collection gb10.vllm; changes made here are replaced by its next run.\n"

# earlyoom sees the first 15 characters of a process's name. vLLM names its engine and workers itself (utils/system_utils.py: set_process_title).
FIRST = "^(VLLM::|ray::)"
NEVER = ("systemd.*", "[(]sd-pam[)]", "sshd.*", "dockerd", "docker-proxy", "containerd.*", "dbus-.*", "NetworkManager", "wpa_supplicant", "agetty", "login")
# The ones that a kernel or a driver is made of; linux-firmware, linux-libc-dev and the container toolkit are neither.
KERNEL = re.compile(r"^linux-(image|headers|modules|nvidia|generic|oem|lowlatency|signed)(-|$)")
DRIVER = re.compile(
    r"^(nvidia-(driver|dkms|kernel|firmware|utils|compute|headless|modprobe|persistenced|open)(-|$)"
    r"|libnvidia-(?!container)|cuda-drivers|xserver-xorg-video-nvidia)"
)

# `docker ps` names the newest first. The newest engine goes first when memory runs out; `docker top` names processes as the box counts them.
ORDER_PROGRAM = f"""\
#!/bin/sh
{HEAD}# The engine of the newest server goes first when memory runs out: it gets the highest score, those before it half of that.
# With the argument "restore" each gets what its container was made with.
score=1000
for container in $(timeout 10 docker ps --all --quiet --no-trunc --filter label={SERVER_LABEL}); do
    [ "$1" != restore ] || score=$(timeout 10 docker inspect --format '{{{{.HostConfig.OomScoreAdj}}}}' "$container")
    for process in $(timeout 10 docker top "$container" -eo pid 2>/dev/null | tail -n +2); do
        echo "$score" 2>/dev/null >"/proc/$process/oom_score_adj" || true
    done
    score=500
done
exit 0
"""


class Step(TypedDict, total=False):
    """One thing to do: ``write`` (path, text, mode), ``remove`` (path), ``run`` (argv; ``may_fail``) or ``radio`` (name, blocked)."""

    do: str
    path: str
    text: str
    mode: int
    argv: list[str]
    may_fail: bool
    timeout_s: float
    name: str
    blocked: bool


class Outcome(TypedDict):
    """What one part needs: its steps in their order (none: all is as wanted), and what is to be remembered of before (None: nothing)."""

    part: str
    steps: list[Step]
    record: dict[str, Any] | None


DEFAULTS: dict[str, dict[str, Any]] = {
    "earlyoom": {"stop_gib": 4.0, "kill_gib": 2.0, "never": []},
    "gpu_clocks": {"least_mhz": 200, "most_mhz": 2150},
    "held": {"packages": []},
    "wifi_off": {},
}


def filled(wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``gb10_host`` with its defaults; GB10Error for what makes no sense. Parts that are not named are not touched."""
    found = {}
    for part, given in wanted.items():
        if part not in DEFAULTS:
            raise GB10Error(f"gb10_host has no part {part!r}; it knows {', '.join(DEFAULTS)}.")
        if not isinstance(given, Mapping) or given.get("state") not in ("present", "absent"):
            raise GB10Error(f"gb10_host.{part} needs `state: present` or `state: absent`, not {given!r}.")
        strange = sorted(set(given) - {"state", *DEFAULTS[part]})
        if strange:
            raise GB10Error(f"gb10_host.{part} has no setting {strange[0]!r}; it knows {', '.join(['state', *DEFAULTS[part]])}.")
        found[part] = {**DEFAULTS[part], **{key: value for key, value in given.items() if value is not None}}
    _check_numbers(found)
    for name in (found.get("earlyoom") or {}).get("never", []):
        try:
            re.compile(str(name))
        except re.error as error:
            raise GB10Error(f"gb10_host.earlyoom.never holds {name!r}, which is no regular expression ({error}).") from None
        if re.search(r"[\s\"'\\]", str(name)):
            raise GB10Error(f"gb10_host.earlyoom.never holds {name!r}; a name of a process is written without spaces, quotes and backslashes.")
    return found


def _check_numbers(found: Mapping[str, Mapping[str, Any]]) -> None:
    for part, low, high, unit in (("earlyoom", "kill_gib", "stop_gib", "GiB"), ("gpu_clocks", "least_mhz", "most_mhz", "MHz")):
        if part in found:
            try:
                least, most = float(found[part][low]), float(found[part][high])
            except (TypeError, ValueError):
                raise GB10Error(f"gb10_host.{part}.{low} and .{high} are numbers of {unit}.") from None
            if not 0 < least < most:
                raise GB10Error(f"gb10_host.{part}.{low} ({least:g} {unit}) must be more than 0 and less than .{high} ({most:g} {unit}).")


def floor_mistake(wanted: Mapping[str, Any], floor_gib: float) -> str:
    """Why the guard would stop servers that the plan itself allows; "" where it would not. ``floor_gib``: what the plan leaves to the system."""
    guard = filled(wanted).get("earlyoom") or {"state": "absent"}
    if guard["state"] == "absent" or float(guard["stop_gib"]) < floor_gib:
        return ""
    return (
        f"gb10_host.earlyoom.stop_gib is {float(guard['stop_gib']):g} GiB, and the plan leaves {floor_gib:g} GiB (gb10_os_floor_gib) free at the least, "
        "so a box that runs as planned would have its newest server stopped. Make it smaller."
    )


def mistakes(wanted: Mapping[str, Any], floor_gib: float) -> list[str]:
    """One sentence on what is wrong with ``gb10_host`` before any box is asked; none where nothing is."""
    try:
        found = floor_mistake(wanted, float(floor_gib))
    except GB10Error as error:
        return [str(error)]
    return [found] if found else []


def outcomes(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Outcome]:
    """What has to be done for each part that ``wanted`` (``gb10_host``) names, in their order; GB10Error for what cannot be done here."""
    return [RULES[part](facts, one, (facts.get("record") or {}).get(part)) for part, one in filled(wanted).items()]


def guard_files(settings: Mapping[str, Any]) -> dict[str, str]:
    """The files of the memory guard. It acts on memory alone (``-s 100``): a GB10 that swaps stalls long before its swap is full."""
    least = ",".join(str(int(float(settings[key]) * 2**20)) for key in ("stop_gib", "kill_gib"))
    never = f"^({'|'.join([*NEVER, *map(str, settings['never'])])})$"
    arguments = ["-M", least, "-s", "100,100", "-r", "3600", "--prefer", FIRST, "--avoid", never]
    said = " ".join('"' + one.replace("%", "%%").replace("$", "$$") + '"' if re.search(r"[^\w,-]", one) else one for one in arguments)
    return {
        GUARD_DROP_IN: f"{HEAD}[Service]\nOOMScoreAdjust=-900\nNice=-20\nExecStart=\nExecStart=/usr/bin/earlyoom {said}\n",
        ORDER_DROP_IN: f"{HEAD}[Service]\nExecStartPre=-{ORDER}\n",
        ORDER: ORDER_PROGRAM,
    }


def clocks_file(settings: Mapping[str, Any]) -> str:
    """The unit that caps the GPU's clock at each boot and gives it back when it is stopped."""
    bounds = f"{int(settings['least_mhz'])},{int(settings['most_mhz'])}"
    return (
        f"{HEAD}[Unit]\nDescription=Cap the clock of the GPU (gb10.vllm)\nAfter=nvidia-persistenced.service\nBefore=docker.service\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/usr/bin/env nvidia-smi --lock-gpu-clocks={bounds}\nExecStop=/usr/bin/env nvidia-smi --reset-gpu-clocks\n"
        "\n[Install]\nWantedBy=multi-user.target\n"
    )


def wifi_file() -> str:
    """The unit that switches every Wi-Fi radio off at each boot, after whoever might have switched it on."""
    loop = 'for one in /sys/class/rfkill/rfkill*; do [ "$$(cat "$$one/type" 2>/dev/null)" != wlan ] || echo 1 >"$$one/soft"; done'
    return (
        f"{HEAD}[Unit]\nDescription=Switch Wi-Fi off (gb10.vllm)\nAfter=systemd-rfkill.service NetworkManager.service\n\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{loop}'\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def to_hold(packages: Mapping[str, bool], named: Sequence[str]) -> list[str]:
    """Installed packages (name: held) that make the kernel or the driver, or are ``named``, and are not held yet."""
    missing = sorted(set(named) - set(packages))
    if missing:
        raise GB10Error(f"gb10_host.held.packages names {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed there.")
    return sorted(name for name, held in packages.items() if not held and (KERNEL.match(name) or DRIVER.match(name) or name in named))


def _write(facts: Mapping[str, Any], files: Mapping[str, str]) -> list[Step]:
    modes = {ORDER: 0o755}
    return [Step(do="write", path=path, text=text, mode=modes.get(path, 0o644)) for path, text in files.items() if facts["files"].get(path) != text]


def _remove(facts: Mapping[str, Any], paths: Sequence[str]) -> list[Step]:
    return [Step(do="remove", path=path) for path in paths if facts["files"].get(path) is not None]


def _run(*argv: str, may_fail: bool = False, timeout_s: float = 60) -> Step:
    return Step(do="run", argv=list(argv), may_fail=may_fail, timeout_s=timeout_s)


RELOAD = _run("systemctl", "daemon-reload")


def _unit_wanted(facts: Mapping[str, Any], unit: str, written: Sequence[Step], *, stale: bool = False) -> list[Step]:
    """Enabled and active with its present file. ``stale``: it has to run again although its file is as it was."""
    state = facts["units"].get(unit) or {"active": False, "enabled": False}
    steps = [RELOAD] if written else []
    if not state["enabled"]:
        steps.append(_run("systemctl", "enable", unit))
    if written or stale or not state["active"]:
        steps.append(_run("systemctl", "restart", unit))
    return steps


def _unit_gone(facts: Mapping[str, Any], unit: str) -> list[Step]:
    path = f"{UNITS}/{unit}"
    state = facts["units"].get(unit) or {"active": False, "enabled": False}
    steps = [_run("systemctl", "disable", "--now", unit)] if state["active"] or state["enabled"] else []
    removed = _remove(facts, [path])
    return [*steps, *removed, *([RELOAD] if removed else [])]


def _earlyoom(facts: Mapping[str, Any], wanted: Mapping[str, Any], before: Mapping[str, Any] | None) -> Outcome:
    installed = "earlyoom" in facts["packages"]
    state = facts["units"].get("earlyoom.service") or {"active": False, "enabled": False}
    if wanted["state"] == "absent":
        # What it was made for goes back first: the program is among the files.
        restored = [_run(ORDER, "restore", may_fail=True)] if facts["files"].get(ORDER) is not None else []
        removed = _remove(facts, [GUARD_DROP_IN, ORDER_DROP_IN, ORDER])
        steps = [*restored, *removed, *([RELOAD] if removed else [])]
        if before is not None and installed and not before["installed"]:
            steps.append(_run("apt-get", "purge", "--yes", "earlyoom", timeout_s=300))
        elif before is not None and installed:
            steps += [_run("systemctl", "disable", "earlyoom.service")] if state["enabled"] and not before["enabled"] else []
            steps += [_run("systemctl", "restart" if before["active"] else "stop", "earlyoom.service")] if removed else []
        return Outcome(part="earlyoom", steps=steps, record=None)
    written = _write(facts, guard_files(wanted))
    # The package starts the program with its own bounds (a tenth of the memory is what a busy box has left), so ours lie there before.
    install = [] if installed else [_run("apt-get", "install", "--yes", "--no-install-recommends", "earlyoom", timeout_s=300)]
    reload = [RELOAD] if written and install else []
    steps = [*written, *reload, *install, *_unit_wanted(facts, "earlyoom.service", written)]
    order = [_run(ORDER, may_fail=True)] if any(step["path"] == ORDER for step in written) else []
    record = dict(before) if before is not None else {"installed": installed, "enabled": state["enabled"], "active": state["active"]}
    return Outcome(part="earlyoom", steps=steps + order, record=record)


def _gpu_clocks(facts: Mapping[str, Any], wanted: Mapping[str, Any], before: Mapping[str, Any] | None) -> Outcome:
    if wanted["state"] == "absent":
        return Outcome(part="gpu_clocks", steps=_unit_gone(facts, CLOCKS), record=None)
    if not facts["nvidia_smi"]:
        raise GB10Error("gb10_host.gpu_clocks cannot cap the clock: nvidia-smi is not installed there. Install the driver with the DGX OS updates.")
    written = _write(facts, {f"{UNITS}/{CLOCKS}": clocks_file(wanted)})
    return Outcome(part="gpu_clocks", steps=written + _unit_wanted(facts, CLOCKS, written), record=dict(before or {}))


def _held(facts: Mapping[str, Any], wanted: Mapping[str, Any], before: Mapping[str, Any] | None) -> Outcome:
    ours = set((before or {}).get("packages") or [])
    if wanted["state"] == "absent":
        free = sorted(name for name in ours if facts["packages"].get(name))
        return Outcome(part="held", steps=[_run("apt-mark", "unhold", *free)] if free else [], record=None)
    hold = to_hold(facts["packages"], wanted["packages"])
    # What left the list and is neither kernel nor driver is given free again, where we held it.
    free = sorted(name for name in ours - set(wanted["packages"]) if facts["packages"].get(name) and not (KERNEL.match(name) or DRIVER.match(name)))
    steps = ([_run("apt-mark", "hold", *hold)] if hold else []) + ([_run("apt-mark", "unhold", *free)] if free else [])
    return Outcome(part="held", steps=steps, record={"packages": sorted((ours | set(hold)) - set(free))})


def _wifi_off(facts: Mapping[str, Any], wanted: Mapping[str, Any], before: Mapping[str, Any] | None) -> Outcome:
    if wanted["state"] == "absent":
        steps = _unit_gone(facts, WIFI)
        for name, blocked in ((before or {}).get("radios") or {}).items():
            if not blocked and facts["radios"].get(name):
                steps.append(Step(do="radio", name=name, blocked=False))
        if (before or {}).get("network_manager") == "enabled" and facts["network_manager"] == "disabled":
            steps.append(_run("nmcli", "radio", "wifi", "on"))
        return Outcome(part="wifi_off", steps=steps, record=None)
    if facts["wireless_way"]:
        raise GB10Error(
            f"gb10_host.wifi_off would cut this box off: {facts['wireless_way']} is Wi-Fi, and it carries the default route or this connection. "
            "Connect the box by cable first, and name its address there in the inventory."
        )
    written = _write(facts, {f"{UNITS}/{WIFI}": wifi_file()})
    lit = any(not blocked for blocked in facts["radios"].values())
    steps = written + _unit_wanted(facts, WIFI, written, stale=lit)
    if facts["network_manager"] == "enabled":
        steps.append(_run("nmcli", "radio", "wifi", "off"))
    record = dict(before) if before is not None else {"radios": dict(facts["radios"]), "network_manager": facts["network_manager"]}
    return Outcome(part="wifi_off", steps=steps, record=record)


RULES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any] | None], Outcome]] = {
    "earlyoom": _earlyoom,
    "gpu_clocks": _gpu_clocks,
    "held": _held,
    "wifi_off": _wifi_off,
}


def said(steps: Sequence[Step]) -> list[str]:
    """Steps in words, one line each."""
    words = {"write": "write {path}", "remove": "remove {path}", "radio": "switch the radio {name} on"}
    return [" ".join(step["argv"]) if step["do"] == "run" else words[step["do"]].format(**step) for step in steps]


def differences(facts: Mapping[str, Any], steps: Sequence[Step]) -> list[dict[str, str]]:
    """For ``--diff``: files as they are and as they become, then what is run."""
    shown = []
    for step in steps:
        if step["do"] in ("write", "remove"):
            path = step["path"]
            shown.append({"before_header": path, "after_header": path, "before": facts["files"].get(path) or "", "after": step.get("text", "")})
    commands = [line for step, line in zip(steps, said(steps), strict=True) if step["do"] in ("run", "radio")]
    return [*shown, *([{"prepared": "".join(f"run: {line}\n" for line in commands)}] if commands else [])]
