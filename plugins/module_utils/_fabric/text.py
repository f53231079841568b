# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of netplan that is ours: written one key to a line, and read back as it was written. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

OUR_FILE = "90-gb10-vllm-fabric.yaml"
NOTHING = "network: {version: 2}\n"
"""In place of a file that is to go: what lies in /run shadows what lies in /etc."""
HEAD = "# Managed by the Ansible collection gb10.vllm (playbook fabric); changes made here are replaced by its next run.\n"


def render(wanted: Mapping[str, str], mtu: int) -> str:
    """The file for ``ADDRESS/PREFIX`` by interface. Optional, so that no boot waits for a cable; without IPv6, so that each half has one address."""
    lines = [f"{HEAD}network:", "  version: 2", "  ethernets:"]
    for interface, address in sorted(wanted.items()):
        lines += [f"    {interface}:", "      dhcp4: false", "      dhcp6: false", "      accept-ra: false", "      link-local: []", f"      mtu: {mtu}"]
        lines += ["      optional: true", f"      addresses: [{address}]"]
    return "\n".join([*lines, ""])


def configured(content: str | None) -> dict[str, list[str]]:
    """Addresses by interface in a file of ours."""
    found: dict[str, list[str]] = {}
    interface = ""
    for line in (content or "").splitlines():
        named = re.fullmatch(r"    (\S+):", line)
        given = re.fullmatch(r"      addresses: \[(.*)\]", line)
        if named:
            interface = named[1]
            found[interface] = []
        elif given and interface:
            found[interface] = [one.strip() for one in given[1].split(",") if one.strip()]
    return found
