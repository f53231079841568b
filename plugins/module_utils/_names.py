# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What things are called: the names, places and default values that more than one room knows, once.

The guard of the role server stands alone on a box and repeats what it needs.
"""

from __future__ import annotations

GIB = 2**30

STATE_DIR = "/var/lib/gb10-vllm"
"""Records, builds, caches and transfers on a box."""
CONFIG_DIR = "/etc/gb10-vllm"
"""A directory per server with its private files."""
RUN_DIR = "/run/gb10-vllm"
"""What must not survive a reboot."""
LIBRARY_DIR = "/usr/local/lib/gb10-vllm"

RECORD_FORMAT = 1
"""Of the records on a box. It grows when an earlier release would misread what this one writes; what an earlier one wrote is always read."""
FORMAT_FILE = f"{LIBRARY_DIR}/format"
"""What says on a box of which format its records are: ``format 1``. Releases before it wrote none, which is format 1."""

IMAGE = "vllm-node"
"""The image that the upstream project builds by default."""
LONGEST_S = 14400
"""How long a build, a pull or a transfer may take by default, and how old a lock that is not renewed becomes, in seconds."""

PREFIX = "gb10-vllm-"
"""Of the containers and units of this collection."""
SERVER_LABEL = "gb10.vllm.server"
"""Label of a container with the name of its server."""
SPEC_LABEL = "gb10.vllm.spec"
"""Label of a container with the digest of its deployment."""


def container_name(server: str) -> str:
    """The container of a server."""
    return PREFIX + server


def unit_name(server: str) -> str:
    """The systemd unit that keeps a server running."""
    return f"{PREFIX}{server}.service"


def watch_name(server: str) -> str:
    """The systemd timer that asks a server now and then whether it still answers."""
    return f"{PREFIX}watch@{server}.timer"
