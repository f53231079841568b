# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server on an IPv6 address: what docker_container makes of the port that the deployment names, and what is refused before.

PYTHONPATH=CHECKOUT/.ansible/collections python ipv6_port.py; ends with 1 where there is a hole.
"""

from __future__ import annotations

import contextlib
import sys

from ansible_collections.community.docker.plugins.module_utils._module_container.base import _preprocess_ports
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment, wanted

SETTINGS = {"state_dir": "/s", "config_dir": "/c", "shm_gib": 8, "floor_bytes": 1, "stop_timeout_s": 60}
PLANNED = {"arguments": [], "requested_bytes": 1, "served_model_name": "m"}
WORKS = {"127.0.0.1": "127.0.0.1", "::1": "::1", "[::1]": "::1", "FD00::5": "fd00::5", "::": "::", "::ffff:10.0.0.1": "10.0.0.1"}
REFUSED = ["fe80::1", "fe80::1%eth0", "ff02::1"]


class Module:
    """Says what docker_container would fail with."""

    def fail_json(self, msg, **_more):
        raise ValueError(msg)


def published(address: str) -> object:
    """What Docker would be told, or why not."""
    server = wanted.normalise([{"name": "a", "model": "m", "address": address}], "/m")[0]
    ports = deployment.build(PLANNED, server, {"id": "i", "name": "i"}, "", "", SETTINGS)["container"]["published_ports"]
    try:
        return _preprocess_ports(Module(), {"published_ports": ports})["published_ports"]
    except ValueError as error:
        return f"{ports[0]}: {error}"


def holes() -> list[str]:
    """What is wrong, one sentence each."""
    found = []
    for address, bound in WORKS.items():
        try:
            told = published(address)
        except GB10Error as error:
            told = str(error)
        if told != {8000: (bound, "8000")}:
            found.append(f"{address} cannot be served on: {told}")
    for address in REFUSED:
        with contextlib.suppress(GB10Error):
            found.append(f"{address} is not refused: {published(address)}")
    return found


if __name__ == "__main__":
    seen = holes()
    print("\n".join(seen) or "no hole")
    sys.exit(bool(seen))
