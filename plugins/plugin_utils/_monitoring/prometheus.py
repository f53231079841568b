# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Prometheus and its exporters are started with, for the versions of Debian 12, 13 and Ubuntu 24.04 (2.42, 2.53, 2.45). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.targets import target

DIRECTORY = "/etc/gb10-vllm-monitoring"
KEY_FILE = f"{DIRECTORY}/metrics.key"
TEXTFILES = "/var/lib/prometheus/node-exporter"
JOBS = {"gb10-vllm": "servers", "gb10-node": "boxes", "gb10-router": "routers"}
"""Whom Prometheus asks, by the file of targets that names them."""
OWN_JOBS = ("gb10-prometheus", "gb10-alertmanager")
MOST_SAMPLES = 20000
"""Of one target: a server of vLLM 0.32 has about 600, a box with 200 network devices 3000."""
# Times of creation, Python's own memory and the web framework's copy of the latencies: a third of a server's samples, in no panel and no rule.
DROPPED = ".*_created|python_.*|http_request_duration_highr_seconds.*"


def configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """prometheus.yml. ``settings``: address, port, alertmanager_port, scrape_interval_s, ca_file ("" trusts any certificate), key (whether one is asked for).

    The key itself is in a file of its own, which only Prometheus reads.
    """
    interval = f"{settings['scrape_interval_s']}s"
    own = [target(settings["address"], settings["port"])], [target(settings["address"], settings["alertmanager_port"])]
    ca_file = settings.get("ca_file")
    access = {"authorization": {"type": "Bearer", "credentials_file": KEY_FILE}} if settings["key"] else {}
    servers = {
        **_job("gb10-vllm"),
        **access,
        # The answer is believed about that server only; whether it is that server's is known where its certificate is checked.
        "tls_config": {"ca_file": ca_file} if ca_file else {"insecure_skip_verify": True},
        "metric_relabel_configs": [{"source_labels": ["__name__"], "regex": DROPPED, "action": "drop"}],
    }
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval, "scrape_timeout": f"{min(10, settings['scrape_interval_s'])}s"},
        "rule_files": [f"{DIRECTORY}/rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": own[1]}]}]},
        "scrape_configs": [
            servers,
            *(_job(name) for name in JOBS if name != "gb10-vllm"),
            *({"job_name": name, "static_configs": [{"targets": where}]} for name, where in zip(OWN_JOBS, own, strict=True)),
        ],
    }


def _job(name: str) -> dict[str, Any]:
    return {"job_name": name, "sample_limit": MOST_SAMPLES, "file_sd_configs": [{"files": [f"{DIRECTORY}/targets/{JOBS[name]}.json"]}]}


def arguments(program: str, settings: Mapping[str, Any]) -> list[str]:
    """The command line of a program of the distribution, by the name of its unit: every port on the management address and nowhere else."""
    address = settings["address"]
    if program == "prometheus":
        return [
            "/usr/bin/prometheus",
            f"--config.file={DIRECTORY}/prometheus.yml",
            "--storage.tsdb.path=/var/lib/prometheus/metrics2/",
            f"--storage.tsdb.retention.time={settings['retention_days']}d",
            f"--storage.tsdb.retention.size={settings['disk_gib']}GB",  # Prometheus counts 1024^3 as GB
            f"--web.listen-address={target(address, settings['port'])}",
        ]
    if program == "prometheus-alertmanager":
        return [
            "/usr/bin/prometheus-alertmanager",
            f"--config.file={DIRECTORY}/alertmanager.yml",
            "--storage.path=/var/lib/prometheus/alertmanager/",
            f"--web.listen-address={target(address, settings['alertmanager_port'])}",
            "--cluster.listen-address=",  # else port 9094, everywhere
        ]
    return [
        "/usr/bin/prometheus-node-exporter",
        f"--collector.textfile.directory={TEXTFILES}",
        f"--web.listen-address={target(address, settings['node_exporter_port'])}",
        "--web.disable-exporter-metrics",
        # Each of them costs more than it tells on a box whose network has a device for each container.
        *(f"--no-collector.{name}" for name in ("arp", "ipvs", "mdadm", "nfs", "nfsd", "xfs", "zfs", "softnet", "sockstat", "udp_queues")),
    ]


def drop_in(program: str, settings: Mapping[str, Any]) -> str:
    """The drop-in beside the distribution's unit; it lies there before the package is installed, which starts its program at once, on every address."""
    needs = {
        "prometheus": [f"{DIRECTORY}/prometheus.yml"],
        "prometheus-alertmanager": [f"{DIRECTORY}/alertmanager.yml"],
    }.get(program, [])
    return "\n".join(
        [
            "# Managed by the Ansible collection gb10.vllm; changes made here are replaced by its next run.",
            "[Unit]",
            *(f"ConditionPathExists={path}" for path in needs),
            # A management address may come up late.
            "Wants=network-online.target",
            "After=network-online.target",
            "",
            "[Service]",
            # It needs no more, and a box's processors are its owner's.
            *(["Environment=GOMAXPROCS=1"] if program == "prometheus-node-exporter" else []),
            "ExecStart=",
            f"ExecStart={_line(arguments(program, settings))}",
            "RestartSec=5",
            "",
        ]
    )


def _line(words: Sequence[str]) -> str:
    return " \\\n    ".join(words)
