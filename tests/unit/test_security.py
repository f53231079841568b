# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SECURITY.md's table "What listens" has every port that the collection opens or lets a user choose, and none that it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import ranks
from ansible_collections.gb10.vllm.plugins.plugin_utils._fabric.ranks import MEET

ROOT = Path(__file__).resolve().parents[2]
NO_PORT = {"gb10_router_port_offset": "a number that is added to one"}


def options(found: dict | None, above: str = "") -> Iterator[tuple[str, dict]]:
    for name, option in (found or {}).items():
        yield f"{above}{name}", option
        yield from options(option.get("options"), f"{above}{name}.")


def chosen() -> dict[str, int]:
    """Options that are a port, with their defaults."""
    specs = [yaml.safe_load(path.read_text())["argument_specs"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    every = [one for spec in specs for entry in spec.values() for one in options(entry.get("options"))]
    ports = {name: option for name, option in every if re.search(r"(^|_)port(_|$)", name.rpartition(".")[2]) and option["type"] == "int"}
    return {name: option.get("default", 0) for name, option in ports.items() if name not in NO_PORT}


def fixed() -> set[int]:
    """Ports that stand in the code: constants of that name, sockets of systemd."""
    found: set[int] = set()
    for path in [
        path for folder in ("plugins", "roles") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".j2", ".yml", ".service", ".socket")
    ]:
        text = path.read_text()
        found |= {int(number) for number in re.findall(r"^[A-Z_]*PORT = ([\d_]+)", text, re.M)}
        found |= {int(number) for number in re.findall(r"Listen(?:Stream|Datagram)=(?:\S*:)?(\d{2,5})\b", text)}
    return found


ROWS = [line for line in (ROOT / "SECURITY.md").read_text().partition("## What listens")[2].partition("\n## ")[0].splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", sorted(chosen()))
def test_every_port_that_can_be_chosen_is_told_with_its_default(name):
    if name == "gb10_servers.port":
        assert any(row.startswith("| `port` of each server |") for row in ROWS)
        return
    whole, _, leaf = name.rpartition(".")
    rows = [row for row in ROWS if f"`{name}`" in row or (whole and f"`{whole}." in row and f"`{leaf}`" in row)]
    assert rows, f"SECURITY.md does not say what listens at {name}"
    assert chosen()[name] == 0 or any(str(chosen()[name]) in row for row in rows)


def test_every_port_in_the_code_is_told_and_none_that_is_nowhere():
    told = {int(number) for row in ROWS for number in re.findall(r"\b\d{4,5}\b", row.split("|")[1])}
    own = {*ranks.ports_of(8000), MEET}
    assert own <= told
    assert fixed() - told == set()
    near = {number + 1 for number in fixed()}  # ib_write_bw takes one for each half of a cable
    first_of_models = {chosen()["gb10_servers.port"] + 1000}
    assert told - fixed() - near - set(chosen().values()) - own - first_of_models - {8000} == set()


def test_each_attack_of_tests_security_can_be_shown_to_fail():
    """Opened one at a time by `make deep-faults`; here that each hole can still be opened, and no attack is without one."""
    script = ROOT / "tests/security/planted"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
