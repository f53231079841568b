# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each part of gb10_host does what is wanted once, then nothing, and its absence puts back what was."""

from __future__ import annotations

import copy
import re

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._host import facts as host_facts
from ansible_collections.gb10.vllm.plugins.module_utils._host import settings
from ansible_collections.gb10.vllm.plugins.module_utils._host.facts import parse_packages, parse_units

FRESH = {
    "files": dict.fromkeys(settings.OUR_FILES),
    "units": {},
    "packages": {
        "linux-image-6.17.0-1014-nvidia": False, "linux-image-nvidia-hwe-24.04": False, "linux-modules-nvidia-580-open-6.17.0-1014-nvidia": True,
        "nvidia-driver-580-open": False, "libnvidia-compute-580": False, "libnvidia-container1": False, "nvidia-container-toolkit": False,
        "linux-firmware": False, "linux-libc-dev": False, "linux-base": False, "bash": False, "docker.io": False,
    },
    "radios": {"rfkill0": False, "rfkill1": True},
    "network_manager": "enabled",
    "wireless_way": "",
    "nvidia_smi": True,
    "record": {},
}  # fmt: skip
DEFAULT = {part: {"state": "present"} for part in settings.DEFAULTS}
ABSENT = {part: {"state": "absent"} for part in settings.DEFAULTS}
INSTALLED = {"packages": {**FRESH["packages"], "earlyoom": False}}


def done(facts, wanted):
    """The box after all steps were carried out, as its facts would show it; and the steps."""
    after, steps = copy.deepcopy(facts), []
    for outcome in settings.outcomes(facts, wanted):
        for step in outcome["steps"]:
            steps.append(step)
            if step["do"] == "write":
                after["files"][step["path"]] = step["text"]
            elif step["do"] == "remove":
                after["files"][step["path"]] = None
            elif step["do"] == "radio":
                after["radios"][step["name"]] = step["blocked"]
            else:
                command(after, *step["argv"])
        record = {outcome["part"]: outcome["record"]} if outcome["record"] is not None else {}
        after["record"] = {part: one for part, one in after["record"].items() if part != outcome["part"]} | record
    return after, steps


def command(box, *argv):
    tool, verb, *rest = *argv, ""
    rest = [one for one in rest if one]
    if tool == "apt-get" and verb == "install":
        box["packages"]["earlyoom"] = False
        box["units"]["earlyoom.service"] = {"active": True, "enabled": True}
    elif tool == "apt-get":
        assert verb == "purge"
        del box["packages"]["earlyoom"], box["units"]["earlyoom.service"]
    elif tool == "apt-mark":
        box["packages"] |= dict.fromkeys(rest, verb == "hold")
    elif tool == "nmcli":
        box["network_manager"] = "enabled" if rest[-1] == "on" else "disabled"
    elif tool == "systemctl" and verb != "daemon-reload":
        unit = box["units"].setdefault(rest[-1], {"active": False, "enabled": False})
        unit["enabled"] = {"enable": True, "disable": False}.get(verb, unit["enabled"])
        unit["active"] = {"restart": True, "stop": False}.get(verb, unit["active"] and "--now" not in rest)
        if rest[-1] == settings.WIFI and verb == "restart":
            box["radios"] = dict.fromkeys(box["radios"], True)
        box["units"] = {name: state for name, state in box["units"].items() if state["active"] or state["enabled"] or name == "earlyoom.service"}


def test_nothing_is_on_by_default():
    assert settings.outcomes(FRESH, {}) == []


@pytest.mark.parametrize("part", settings.DEFAULTS)
@pytest.mark.parametrize(
    "before",
    [
        {},
        {**INSTALLED, "units": {"earlyoom.service": {"active": True, "enabled": True}}},
        {**INSTALLED, "units": {"earlyoom.service": {"active": False, "enabled": False}}},
        {"network_manager": None, "radios": {}},
        {"network_manager": "disabled", "radios": {"rfkill0": True}},
    ],
)
def test_a_part_comes_once_and_its_absence_puts_back_what_was(part, before):
    was = {**copy.deepcopy(FRESH), **copy.deepcopy(before)}
    there, steps = done(was, {part: DEFAULT[part]})
    assert steps and set(there["record"]) == {part}
    assert done(there, {part: DEFAULT[part]}) == (there, []), "a second run finds nothing to do"
    back, steps = done(there, {part: ABSENT[part]})
    assert steps and back == was
    assert done(back, {part: ABSENT[part]}) == (back, [])


def test_what_was_before_is_remembered_from_the_first_time_on():
    there, _steps = done(FRESH, DEFAULT)
    other, steps = done(there, {**DEFAULT, "gpu_clocks": {"state": "present", "most_mhz": 2000}})
    assert {step.get("path") for step in steps if step["do"] == "write"} == {f"{settings.UNITS}/{settings.CLOCKS}"}
    assert ["systemctl", "restart", settings.CLOCKS] in [step.get("argv") for step in steps], "a cap that moved holds at once"
    back, _steps = done(other, ABSENT)
    assert back == FRESH


def test_what_was_changed_by_hand_is_set_right():
    there, _steps = done(FRESH, DEFAULT)
    there["files"][settings.GUARD_DROP_IN] += "ExecStart=/bin/true\n"
    there["radios"]["rfkill0"] = False
    there["units"][settings.CLOCKS]["active"] = False
    right, steps = done(there, DEFAULT)
    assert len(steps) > 3 and done(right, DEFAULT)[1] == []


def test_the_kernel_and_the_driver_are_held_and_nothing_else():
    assert settings.to_hold(FRESH["packages"], []) == [
        "libnvidia-compute-580", "linux-image-6.17.0-1014-nvidia", "linux-image-nvidia-hwe-24.04", "nvidia-driver-580-open",
    ]  # fmt: skip
    assert "docker.io" in settings.to_hold(FRESH["packages"], ["docker.io"])
    with pytest.raises(GB10Error, match="names nvidia-driver-610, which is not installed"):
        settings.to_hold(FRESH["packages"], ["nvidia-driver-610"])


def test_a_kernel_that_came_later_is_held_too_and_a_hold_of_the_users_stays():
    there, _steps = done(FRESH, {"held": {"state": "present", "packages": ["docker.io"]}})
    there["packages"]["linux-image-6.17.0-1032-nvidia"] = False
    more, steps = done(there, {"held": DEFAULT["held"]})
    assert [step["argv"][1:] for step in steps] == [["hold", "linux-image-6.17.0-1032-nvidia"], ["unhold", "docker.io"]]
    back, _steps = done(more, {"held": ABSENT["held"]})
    assert [name for name, held in back["packages"].items() if held] == ["linux-modules-nvidia-580-open-6.17.0-1014-nvidia"]


def test_the_bounds_of_the_guard_lie_there_before_its_package_starts_it():
    _there, steps = done(FRESH, {"earlyoom": DEFAULT["earlyoom"]})
    kinds = [step.get("path") or " ".join([*step["argv"], "now"][:2]) for step in steps]
    assert kinds.index(settings.GUARD_DROP_IN) < kinds.index("systemctl daemon-reload") < kinds.index("apt-get install") < kinds.index(f"{settings.ORDER} now")


@pytest.mark.parametrize(
    ("changes", "part", "said"),
    [
        ({"wireless_way": "wlP9s9"}, "wifi_off", "would cut this box off: wlP9s9 is Wi-Fi"),
        ({"nvidia_smi": False}, "gpu_clocks", "nvidia-smi is not installed"),
    ],
)
def test_what_would_do_harm_or_cannot_be_done_is_refused(changes, part, said):
    with pytest.raises(GB10Error, match=said):
        settings.outcomes({**FRESH, **changes}, {part: DEFAULT[part]})


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"earlyom": {"state": "present"}}, "no part 'earlyom'; it knows earlyoom"),
        ({"earlyoom": True}, "earlyoom needs `state: present` or `state: absent`, not True"),
        ({"held": {"state": "present", "package": ["a"]}}, "held has no setting 'package'"),
        ({"earlyoom": {"state": "present", "stop_gib": 2, "kill_gib": 3}}, r"kill_gib \(3 GiB\) must be more than 0 and less than .stop_gib \(2 GiB\)"),
        ({"earlyoom": {"state": "present", "stop_gib": "much"}}, "are numbers of GiB"),
        ({"gpu_clocks": {"state": "present", "most_mhz": 100}}, "must be more than 0 and less than"),
        ({"earlyoom": {"state": "present", "never": ["(x"]}}, "no regular expression"),
        ({"earlyoom": {"state": "present", "never": ["my program"]}}, "without spaces"),
        ({"earlyoom": {"state": "present", "stop_gib": 12}}, "the plan leaves 12 GiB"),
    ],
)
def test_a_mistake_is_one_sentence(wanted, said):
    (found,) = settings.mistakes(wanted, 12)
    assert re.search(said, found) and "\n" not in found


def test_no_mistake():
    assert settings.mistakes(DEFAULT, 12) == settings.mistakes(ABSENT, 1) == settings.mistakes({}, 12) == []


def test_what_the_tools_print_is_read():
    assert parse_packages("install installed bash\nhold installed linux-image-x\ndeinstall config-files gone\n") == {"bash": False, "linux-image-x": True}
    shown = (
        "Id=a.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\nId=b.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
    )
    assert parse_units(shown) == {"a.service": {"active": True, "enabled": True}}


def test_a_difference_is_shown_for_files_and_commands():
    _there, steps = done(FRESH, DEFAULT)
    shown = settings.differences(FRESH, steps)
    assert {one["after_header"] for one in shown if "after" in one} == set(settings.OUR_FILES)
    assert "run: apt-mark hold libnvidia-compute-580" in shown[-1]["prepared"]


def test_one_look_at_a_box_says_what_is_pending(monkeypatch, tmp_path):
    """So that a run over boxes on which all is as wanted asks them no more than before."""
    seen = {"facts": FRESH}
    monkeypatch.setattr(host_facts, "read_host", lambda _state_dir: seen["facts"])
    assert host_facts.pending(str(tmp_path), {}) == ([], [])
    lines, cannot = host_facts.pending(str(tmp_path), DEFAULT)
    assert "apt-get install --yes --no-install-recommends earlyoom" in lines and not cannot
    seen["facts"] = done(FRESH, DEFAULT)[0]
    assert host_facts.pending(str(tmp_path), DEFAULT) == ([], [])
    seen["facts"] = {**FRESH, "wireless_way": "wlP9s9"}
    lines, cannot = host_facts.pending(str(tmp_path), DEFAULT)
    assert lines == [] and cannot[0]["level"] == "error" and "wlP9s9 is Wi-Fi" in cannot[0]["text"]
