# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Grafana is started with where an owner has a package of it: on one address, without accounts, and asking nobody but Prometheus. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNIT, PACKAGE = "grafana-server", "grafana"
PROVISIONING = "/etc/grafana/provisioning"
FIXED = {
    # Whoever reaches the management address reads the metrics anyway. An account would begin as admin with a password that everybody knows.
    "AUTH_ANONYMOUS_ENABLED": "true",
    "AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
    "AUTH_BASIC_ENABLED": "false",
    "AUTH_DISABLE_LOGIN_FORM": "true",
    "SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
    "USERS_ALLOW_SIGN_UP": "false",
    # It would ask its makers, and browsers would ask others.
    "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "ANALYTICS_CHECK_FOR_UPDATES": "false",
    "ANALYTICS_REPORTING_ENABLED": "false",
    "NEWS_NEWS_FEED_ENABLED": "false",
    "PLUGINS_PREINSTALL_DISABLED": "true",
    "SECURITY_DISABLE_GRAVATAR": "true",
    "SNAPSHOTS_EXTERNAL_ENABLED": "false",
}
"""Settings of grafana.ini as variables of its environment, GF_SECTION_KEY, which win over the file."""


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The variables that Grafana is started with. ``settings``: address and grafana_port."""
    where = {"SERVER_HTTP_ADDR": str(settings["address"]), "SERVER_HTTP_PORT": str(settings["grafana_port"]), "SERVER_PROTOCOL": "http"}
    return {f"GF_{name}": value for name, value in {**where, "PATHS_PROVISIONING": PROVISIONING, **FIXED}.items()}


def drop_in(settings: Mapping[str, Any]) -> str:
    """The drop-in beside the package's unit; it lies there before the package is installed, which else would listen everywhere."""
    return "\n".join(
        [
            "# Managed by the Ansible collection gb10.vllm; changes made here are replaced by its next run.",
            "[Unit]",
            f"ConditionPathExists={PROVISIONING}/dashboards/gb10.yml",
            "Wants=network-online.target",
            "After=network-online.target",
            "",
            "[Service]",
            *(f"Environment={name}={value}" for name, value in environment(settings).items()),
            "RestartSec=5",
            "",
        ]
    )
