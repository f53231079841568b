# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of netplan that is ours: written one key to a line, and read back as it was written. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from ansible_collections.gb10.vllm.plugins.module_utils._io.block_yaml import read_yaml

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
    """Addresses by interface in a file of ours, also where somebody wrote in it; nothing of what cannot be read."""
    try:
        said = read_yaml(content or "")
        ethernets = said["network"]["ethernets"]
        listed = {name: one.get("addresses") for name, one in ethernets.items() if isinstance(one, dict)}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}
    return {name: [address for one in many or [] if (address := _address(one))] for name, many in listed.items() if isinstance(many or [], list)}


def _address(said: object) -> str:
    """``ADDRESS/PREFIX`` as netplan has it, bare or as the key of what more is said of it; "" where it is none."""
    word = next(iter(said), "") if isinstance(said, dict) else said
    try:
        return str(ipaddress.ip_interface(str(word))) if "/" in str(word) else ""
    except ValueError:
        return ""
