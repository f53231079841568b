# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role monitoring."""

from __future__ import annotations

import datetime
import email.utils
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._box.tenants import MARK
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Server
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import normalise
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring import alertmanager, dashboards, grafana, prometheus, rules, settings, targets
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.targets import management_address
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.expand import with_recipes
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import work as router
from ansible_collections.gb10.vllm.plugins.plugin_utils._router.servers import listen_address

HEAD = f"# {MARK}; changes made here are replaced by its next run.\n"
CHECKS = {"rules.yml": "promtool check rules %s", "prometheus.yml": "promtool check config %s"}
DASHBOARDS_DIRECTORY = f"{prometheus.DIRECTORY}/dashboards"


def monitored(
    names: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], routers: Sequence[str] = (), boxes: Sequence[str] = ()
) -> dict[str, targets.Box]:
    """{name: {management, servers, metrics}} of hosts of the inventory; the address as the host has it, where it was asked.

    ``routers``: the hosts that are routers, which tell metrics of their own and which servers without an address listen for; ``boxes``: those that serve.
    """
    found: dict[str, targets.Box] = {}
    for name in names:
        known = hostvars[name]
        asked = (known.get("monitoring_found") or {}).get("management") or management_address(known, name)
        found[name] = {"management": asked, "servers": _asked_here(name, known, routers)}
        if name in routers:
            metrics = router.metrics(name, boxes, hostvars)
            found[name]["metrics"] = metrics["metrics_address"], metrics["metrics_port"]
    return found


def _asked_here(name: str, known: Mapping[str, Any], routers: Sequence[str]) -> list[Server]:
    """The servers of a box that answer for themselves: of one over several boxes its head alone does."""
    given = with_recipes(known.get("gb10_servers") or [])
    if not given:
        return []
    listen = listen_address(routers, name, str(known.get("ansible_host") or name), str(known.get("gb10_server_address") or ""))
    servers = normalise(given, known.get("gb10_models_dir") or "/srv/models", bool(known.get("gb10_allow_open")), listen)
    asked = []
    for server in servers:
        boxes = server.get("boxes")
        if not isinstance(boxes, list) or boxes[0] == name:
            asked.append(server)
    return asked


def prometheus_url(monitors: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> str:
    """Where the Prometheus of this inventory answers; "" where no host is to run one. ``given``: the variable ``gb10_monitoring``."""
    if not monitors or given.get("state") == "absent":
        return ""
    return f"http://{targets.target(management_address(hostvars[monitors[0]], monitors[0]), settings.settings(given)['port'])}"


def monitoring_mistakes(wishes: Mapping[str, Any], names: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence for each thing that is wrong before any host is asked. ``wishes``: {settings, receivers, monitors}, as the user wrote them."""
    try:
        wanted = settings.settings(wishes["settings"])
    except GB10Error as error:
        return [str(error)]
    if wanted["state"] == "absent":
        return []
    serving = [name for name in names if hostvars[name].get("gb10_servers")]
    keys = {name: str(hostvars[name].get("gb10_metrics_key") or "") for name in serving}
    opened = [name for name in serving if hostvars[name].get("gb10_allow_open")]
    return settings.fleet_mistakes(wishes["monitors"], keys, opened) + alertmanager.receiver_mistakes(wishes["receivers"])


def monitoring_files(known: Mapping[str, Mapping[str, targets.Box]], wanted: Mapping[str, Any], here: str) -> list[dict[str, str]]:
    """[{path, content, mode, validate}] of all that lies on the monitoring host and is no secret.

    ``known``: {boxes, routers}; ``wanted``: settings with address and key; ``here``: the name of the monitoring host.
    """
    monitor = {here: targets.Box(management=str(wanted["address"]))}
    asked = {
        "servers": targets.of_servers(known["boxes"], here),
        "boxes": targets.of_hosts({**known["boxes"], **monitor}, wanted["node_exporter_port"]),
        "routers": targets.of_routers(known["routers"], here, wanted["router_port"]),
    }
    source = dashboards.provisioning(f"http://{targets.target(str(wanted['address']), wanted['port'])}", DASHBOARDS_DIRECTORY)
    files = {
        "rules.yml": as_yaml(rules.rules(wanted["thresholds"])),
        **{f"targets/{name}.json": as_json(found) for name, found in asked.items()},
        **{f"dashboards/{name}.json": as_json(dashboards.dashboard(name)) for name in dashboards.DASHBOARDS},
        **{f"grafana/{name}.yml": as_yaml(content) for name, content in source.items()},
        "prometheus.yml": as_yaml(prometheus.configuration(wanted)),  # last, as it is checked together with what it names
    }
    checked = {name: {"validate": CHECKS[name]} if name in CHECKS else {} for name in files}
    return [{"path": f"{prometheus.DIRECTORY}/{name}", "content": content, "mode": "0644", **checked[name]} for name, content in files.items()]


def drop_in(wanted: Mapping[str, Any], program: str) -> str:
    """The drop-in of a program by the name of its unit; ``wanted``: settings with address."""
    return grafana.drop_in(wanted) if program == grafana.UNIT else prometheus.drop_in(program, wanted)


def as_yaml(value: Any) -> str:
    """A configuration file as text, ours by its first line."""
    return HEAD + yaml.safe_dump(plain(value), sort_keys=False, width=1000, allow_unicode=True)


def as_json(value: Any) -> str:
    """A file of JSON as text."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """The same value in containers and texts of Python's own, as YAML writes them."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, str) else value


def alertmanager_file(receivers: Sequence[Mapping[str, Any]]) -> str:
    """alertmanager.yml; it holds the receivers' secrets."""
    return as_yaml(alertmanager.configuration(receivers))


def targets_report(answer: Any, notes: Sequence[str] = (), since: str = "", files: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """{unknown, text} of Prometheus' API ``/api/v1/targets``: how many were not asked yet, and in words how many answer and why others do not.

    ``since``: a time as HTTP says it; who was asked before that only is among the unknown. ``files``: of ``monitoring_files``; a file of targets that
    Prometheus has not read yet, as one that has just begun, is among the unknown, too.
    """
    try:
        active = [(one["labels"], _health(one, since), one.get("lastError", "")) for one in answer["data"]["activeTargets"]]
    except (TypeError, KeyError, AttributeError, ValueError):
        raise GB10Error("Prometheus did not say which targets it has; look at journalctl -u prometheus on the monitoring host.") from None
    up = sum(health == "up" for _labels, health, _why in active)
    lines = [f"{up} of {len(active)} targets answer Prometheus."]
    for labels, health, why in active:
        if health == "down":
            name = " ".join(labels[key] for key in ("box", "router", "server") if key in labels) or labels.get("job", "")
            lines.append(f"  {name} ({labels.get('job', '')}) does not: {remedy(why, labels.get('job', ''))}")
    unread = len(_jobs(files) - {labels.get("job") for labels, _health, _why in active})
    return {"unknown": unread + sum(health == "unknown" for _labels, health, _why in active), "text": "\n".join([*lines, *(f"  {note}" for note in notes)])}


def _jobs(files: Sequence[Mapping[str, str]]) -> set[str]:
    """The jobs of Prometheus that have somebody to ask, by the files written for it; itself and Alertmanager where there are files."""
    named = {f"{prometheus.DIRECTORY}/targets/{file}.json": job for job, file in prometheus.JOBS.items()}
    own = set(prometheus.OWN_JOBS) if files else set()
    return own | {named[one["path"]] for one in files if one["path"] in named and json.loads(one["content"])}


def _health(one: Mapping[str, Any], since: str) -> str:
    """The health of a target, "unknown" where it is older than ``since``."""
    asked = re.sub(r"\.\d+", "", str(one.get("lastScrape") or ""))
    if not since or not asked or datetime.datetime.fromisoformat(asked) >= email.utils.parsedate_to_datetime(since):
        return str(one["health"])
    return "unknown"


def remedy(why: str, job: str = "") -> str:
    """Why a target did not answer, with what to do where that is known."""
    if job == "gb10-router" and "refused" in why:
        return "HAProxy is down there, or does not tell its metrics yet; run the playbook router, which has it tell them."
    if "401" in why:
        return "its servers do not know gb10_metrics_key yet; run site, which tells them without a restart."
    return f"{why[:200]}."


FILTERS: dict[str, Callable] = {
    "alertmanager_file": alertmanager_file,
    "management_address": management_address,
    "monitored": monitored,
    "monitoring_drop_in": drop_in,
    "monitoring_files": monitoring_files,
    "monitoring_host_mistakes": settings.host_mistakes,
    "monitoring_mistakes": monitoring_mistakes,
    "monitoring_settings": settings.settings,
    "monitoring_unreached": targets.unreached,
    "prometheus_url": prometheus_url,
    "targets_report": targets_report,
}
