# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a box that was looked at can serve, in one sentence where it cannot. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.brief import briefly
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import is_loopback

WITH_OFFER = 380
"""Characters of a box's faults: what ``site`` would prepare may stand behind them."""
PYTHON_WANTED = "Install Python 3.10 or newer there and name it with ansible_python_interpreter."
# sudo, as Ansible and sudo themselves say it.
PASSWORD = re.compile(r"[Mm]issing sudo password|sudo: a password is required|Incorrect sudo password|Timeout .* waiting for privilege escalation")
NO_SUDO = re.compile(r"sudo:? (command )?not found|exec: sudo:|sudo: No such file")
MISSING = re.compile(r"interpreter .*not found")
# What Pythons before 3.8 say of Ansible's own code, and what Ansible says of them. From 3.8 on box_info runs and says it itself.
TOO_OLD = re.compile(r"SyntaxError|minimum of Python version")


def box_problem(result: Mapping[str, Any], here: Mapping[str, str]) -> str:
    """Why a box cannot serve, its name first; empty when nothing stands in the way.

    ``result``: what M(gb10.vllm.box_info) returned, also where it failed or the box was not reached; ``here``: {name, user, address, interpreter}.
    """
    said = str(result.get("msg") or "")
    if result.get("unreachable"):
        there = f"ssh {here['user']}@{here['address']}"
        return f"{here['name']} cannot be reached: {said}. Check that the box is on and that `{there}` works from here without a password."
    if result.get("failed"):
        return f"{here['name']}: {_python(result, here) or said or 'it could not be read.'}"
    errors = [one["text"] for one in result.get("findings") or [] if one["level"] == "error"]
    return f"{here['name']}: {briefly(errors, ' Also: ', WITH_OFFER)}" if errors else ""


def _python(result: Mapping[str, Any], here: Mapping[str, str]) -> str:
    """One sentence on an interpreter that is missing or too old; Ansible's own words for either hide it in a traceback."""
    named = here.get("interpreter") or "/usr/bin/python3"
    told = "\n".join(str(result.get(key) or "") for key in ("msg", "module_stderr", "module_stdout"))
    if PASSWORD.search(told):
        return "sudo wants a password there; give it with -K (--ask-become-pass) or as ansible_become_password, which belongs into a vault."
    if NO_SUDO.search(told):
        return "sudo is not installed there; install it (apt-get install sudo), or connect as root with ansible_user and ansible_become: false."
    words = "\n".join(str(result.get(key) or "") for key in ("msg", "module_stderr", "module_stdout"))
    if result.get("rc") == 127 or MISSING.search(words):
        return f"there is no Python at {named}, which ansible_python_interpreter names. {PYTHON_WANTED}"
    return f"its Python ({named}) is older than 3.10. {PYTHON_WANTED}" if TOO_OLD.search(words) else ""


def named_twice(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """Which boxes of a run have two names in the inventory, as their addresses show; "" where none has. ``hostvars`` is Ansible's."""
    names: dict[tuple[str, str], list[str]] = {}
    for host in hosts:
        known = hostvars[host]
        if str(known.get("ansible_connection") or "ssh") in ("ssh", "smart"):
            place = (str(known.get("ansible_host") or host), str(known.get("ansible_port") or 22))
            names.setdefault(place, []).append(host)
    twice = [f"{' and '.join(held)} are both {place[0]}" for place, held in names.items() if len(held) > 1]
    return f"{'; '.join(twice)}: one box has two names, and each would start its servers there. Keep one of them in the inventory." if twice else ""


def access_notes(servers: Sequence[Mapping[str, Any]], records: Mapping[str, Any], config_dir: str) -> list[str]:
    """What to know of who will get in and how, one sentence each, until it is deployed like that.

    ``servers``: as ``wanted.normalise`` returns them; ``records``: what the box keeps of its servers, by name.
    """
    notes = []
    for server in servers:
        name, held = server["name"], (records.get(server["name"]) or {}).get("deployment") or {}
        outside = not is_loopback(server["address"])
        if server["key_policy"] != "none" and not outside and held.get("key", "none") == "none":
            whose = "the one you gave it" if server["key_policy"] == "given" else f"the one in {config_dir}/{name}/key.env (readable for root)"
            notes.append(f"{name} will ask for a key on loopback too: local clients need {whose}. gb10_allow_open: true makes no keys.")
        if outside and not server.get("tls") and held.get("address") != server["address"]:
            what = "all that is said to it crosses" if server["key_policy"] == "none" else "its key and all that is said to it cross"
            notes.append(f"{name} will be reached at {server['address']}:{server['port']} without TLS, so {what} the network in clear; `tls` changes that.")
    return notes


def models_refused(servers: Sequence[Mapping[str, Any]], known: Mapping[str, Any], problems: Mapping[str, str]) -> str:
    """Why models cannot be served: those that are damaged, and those that are nowhere; empty when there are none.

    ``known``: facts of the models of this box and of others, by path; ``problems``: what is wrong with models of this box, by path.
    """
    nowhere = [one["model_path"] for one in servers if one["model_path"] not in known and one["model_path"] not in problems and not one.get("repo_id")]
    found = [text if text.endswith(".") else f"{text}." for text in problems.values()]
    if nowhere:
        found.append(
            f"{', '.join(nowhere)} does not exist there, no other box of the run has it, and it is not a Hugging Face repository (ORG/NAME). "
            "Copy the model's directory there, or correct `model` in gb10_servers or gb10_models_dir"
            + (" (a revision of a repository is `revision`, not @ or : in `model`)." if any("@" in path for path in nowhere) else ".")
        )
    return briefly(found)
