# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where this collection writes on a box or a host, as patterns: the list of docs/ARCHITECTURE.md, "What lies on a box", by who takes it away. Pure."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence

from ansible_collections.gb10.vllm.plugins.module_utils._fabric.text import OUR_FILE as FABRIC_FILE
from ansible_collections.gb10.vllm.plugins.module_utils._host.settings import OUR_FILES as HOST_FILES
from ansible_collections.gb10.vllm.plugins.module_utils._names import CONFIG_DIR, LIBRARY_DIR, RUN_DIR, STATE_DIR

UNITS = "/etc/systemd/system"
RECORDS = "/var/lib/gb10-vllm-router"
MONITORING = "/etc/gb10-vllm-monitoring"
MONITORED = ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter", "grafana-server")

# Both directories may be the user's choice, and hold something of his: only what we put there goes, and they themselves where they are empty then.
IN_STATE = ("servers", "cache", "build", "transfer", "bundle", "benchmark", "models", "host.json", "fabric.json")
IN_CONFIG = ("hub.env", "*/key.env", "*/server.env", "*/fleet.env", "*/benchmark.env")
LOCK = ("run.lock", "run.lock.*")

PARTS: dict[str, tuple[str, ...]] = {
    "server": (f"{UNITS}/gb10-vllm-*", f"{UNITS}/*.wants/gb10-vllm-*", LIBRARY_DIR, RUN_DIR, f"{RUN_DIR}-*"),
    "host": (*HOST_FILES, f"{UNITS}/*.wants/gb10-host-*"),
    "fabric": (f"/etc/netplan/{FABRIC_FILE}", f"/run/netplan/{FABRIC_FILE}"),
    "monitoring": (
        *(f"{UNITS}/{program}.service.d/gb10-vllm.conf" for program in MONITORED),
        *(f"/etc/grafana/provisioning/{folder}/gb10.yml" for folder in ("datasources", "dashboards")),
        MONITORING, "/var/lib/prometheus/node-exporter/gb10.prom", f"{UNITS}/gb10-vllm-collector.*",
    ),
    "router": ("/etc/haproxy/gb10-*", "/etc/haproxy/.gb10-staged", f"{UNITS}/haproxy.service.d/gb10-vllm.conf", RECORDS),
}  # fmt: skip
"""Fixed places, by the part of the collection that writes there. The configurations of HAProxy and keepalived go where they are ours by what is in them."""
JUDGED = ("/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf")


def in_state(state_dir: str = STATE_DIR) -> list[str]:
    """Patterns of what is ours in the directory of records, without the lock of a run, which goes last."""
    return [os.path.join(state_dir, name) for name in IN_STATE]


def in_config(config_dir: str = CONFIG_DIR) -> list[str]:
    """Patterns of our private files."""
    return [os.path.join(config_dir, name) for name in IN_CONFIG]


def covers(path: str, patterns: Sequence[str]) -> bool:
    """Whether one of these patterns takes this path away, itself or with a directory above it."""
    above = [path]
    while os.path.dirname(above[-1]) != above[-1]:
        above.append(os.path.dirname(above[-1]))
    return any(fnmatch.fnmatch(one, pattern) and one.count("/") == pattern.count("/") for one in above for pattern in patterns)


def every(state_dir: str = STATE_DIR, config_dir: str = CONFIG_DIR) -> list[str]:
    """All patterns, of whatever part."""
    lock = [os.path.join(state_dir, name) for name in LOCK]
    return [*(one for part in PARTS.values() for one in part), *JUDGED, *in_state(state_dir), *in_config(config_dir), *lock]
