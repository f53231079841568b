# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is told of an alert: Alertmanager's configuration from the receivers in a vault, for versions 0.25 to 0.28. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.rules import inhibitions

KINDS = ("webhook", "email", "slack", "pagerduty", "opsgenie", "pushover", "victorops", "wechat", "telegram", "webex", "sns")
"""Receivers of Alertmanager 0.25; later ones have more, which its amtool checks."""
SEVERITIES = ("warning", "critical")
NAME = re.compile(r"[A-Za-z0-9][\w .-]{0,60}")
NOBODY = "nobody"


def receiver_mistakes(receivers: Any) -> list[str]:
    """One sentence for each receiver that Alertmanager would not take, without a value of it: those are secrets."""
    if not isinstance(receivers, (list, tuple)):
        return ["gb10_alert_receivers is no list; each entry has a name and one of Alertmanager's *_configs."]
    said, names = [], set()
    for position, one in enumerate(receivers, 1):
        where = f"gb10_alert_receivers entry {position}"
        name = str(one.get("name") or "") if isinstance(one, Mapping) else ""
        if not NAME.fullmatch(name) or name == NOBODY:
            said.append(f"{where} has no usable `name`; give it one of letters, digits, blanks, dots and dashes, other than {NOBODY}.")
            continue
        if name in names:
            said.append(f"{where} has the name {name} of an earlier one; give each its own.")
        names.add(name)
        if one.get("least", "warning") not in SEVERITIES:
            said.append(f"{where} ({name}): `least` is neither warning nor critical.")
        kinds = [key for key in one if key not in ("name", "least")]
        unknown = sorted(key for key in kinds if not str(key).endswith("_configs"))
        if not kinds or unknown:
            told = f"has {', '.join(unknown)}, which Alertmanager does not know" if unknown else "says nobody whom to tell"
            said.append(f"{where} ({name}) {told}; it takes {', '.join(f'{kind}_configs' for kind in KINDS)}.")
        elif not all(isinstance(one[key], (list, tuple)) and one[key] and all(isinstance(entry, Mapping) for entry in one[key]) for key in kinds):
            said.append(f"{where} ({name}): {', '.join(kinds)} must be a list with at least one entry of settings.")
    return said


def configuration(receivers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """alertmanager.yml. Each receiver is told of all alerts from ``least`` (warning) on; without any they are only shown.

    One message for each box, as what belongs together is told together.
    """
    routes = [
        {"receiver": one["name"], "continue": True, "matchers": [f'severity=~"{"|".join(SEVERITIES[SEVERITIES.index(one.get("least", "warning")) :])}"']}
        for one in receivers
    ]
    return {
        "route": {"receiver": NOBODY, "group_by": ["box"], "group_wait": "30s", "group_interval": "5m", "repeat_interval": "12h", "routes": routes},
        "inhibit_rules": inhibitions(),
        "receivers": [{"name": NOBODY}, *({key: value for key, value in one.items() if key != "least"} for one in receivers)],
    }
