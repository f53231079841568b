# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a box that was looked at can serve, in one sentence where it cannot. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

PYTHON_WANTED = "Install Python 3.10 or newer there and name it with ansible_python_interpreter."
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
    return f"{here['name']}: {' Also: '.join(errors)}" if errors else ""


def _python(result: Mapping[str, Any], here: Mapping[str, str]) -> str:
    """One sentence on an interpreter that is missing or too old; Ansible's own words for either hide it in a traceback."""
    named = here.get("interpreter") or "/usr/bin/python3"
    words = "\n".join(str(result.get(key) or "") for key in ("msg", "module_stderr", "module_stdout"))
    if result.get("rc") == 127 or MISSING.search(words):
        return f"there is no Python at {named}, which ansible_python_interpreter names. {PYTHON_WANTED}"
    return f"its Python ({named}) is older than 3.10. {PYTHON_WANTED}" if TOO_OLD.search(words) else ""


def models_refused(servers: Sequence[Mapping[str, Any]], known: Mapping[str, Any], problems: Mapping[str, str]) -> str:
    """Why models cannot be served: those that are damaged, and those that are nowhere; empty when there are none.

    ``known``: facts of the models of this box and of others, by path; ``problems``: what is wrong with models of this box, by path.
    """
    nowhere = [one["model_path"] for one in servers if one["model_path"] not in known and one["model_path"] not in problems and not one.get("repo_id")]
    found = [text if text.endswith(".") else f"{text}." for text in problems.values()]
    if nowhere:
        found.append(
            f"{', '.join(nowhere)} does not exist there, no other box of the run has it, and it is not a Hugging Face repository (ORG/NAME). "
            "Copy the model's directory there, or correct `model` in gb10_servers or gb10_models_dir."
        )
    return " ".join(found)
