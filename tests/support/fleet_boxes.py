# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boxes with servers, as box_info returns them, made by the collection's own deployment logic."""

from __future__ import annotations

import copy

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment, wanted

IMAGE = "sha256:" + "a" * 64
OTHER_IMAGE = "sha256:" + "b" * 64
MANIFEST = "c" * 64
SETTINGS = {"state_dir": "/var/lib/gb10-vllm", "config_dir": "/etc/gb10-vllm", "shm_gib": 8, "floor_bytes": 12 * 2**30, "stop_timeout_s": 60}
UNIT_DIGEST = "d" * 64


def server(name="devstral", **more):
    return wanted.normalise([{"name": name, "model": f"{name}-24b", "port": 8000, **more}], "/srv/models")[0]


def planned(one, **more):
    arguments = ["--port", str(one["port"]), "--max-model-len", "65536"]
    figures = {"kv_cache_bytes": 60 * 2**30, "num_blocks": 24576, "kv_tokens": 393216, "concurrency": 6.0, "max_model_len": 65536}
    return {"arguments": arguments, "served_model_name": one["served_model_name"], "requested_bytes": 90 * 2**30, **figures, **more}


def deployed(one=None, image=IMAGE, **more):
    one = one or server()
    inputs = deployment.wanted_inputs(deployment.without_secrets(one), image, MANIFEST, {})
    return deployment.build(planned(one, **more), one, {"id": image, "name": "vllm-node", "vllm_version": "0.32.0"}, MANIFEST, inputs, SETTINGS)


def box(*deployments, image=IMAGE):
    """A box on which these deployments run and have proven themselves."""
    servers, containers, units, files = {}, [], {}, {}
    for one in deployments:
        name = one["name"]
        facts = {"kv_tokens": 393000, "concurrency": 5.99, "available_kv_bytes": 60 * 2**30, "load_s": 140.2, "vllm_version": "0.32.0"}
        servers[name] = {"deployment": copy.deepcopy(one), "measured": {"spec": one["spec"], "image_id": one["container"]["image"], "facts": facts}}
        labels = {"gb10.vllm.server": name, "gb10.vllm.spec": one["spec"]}
        containers.append({"name": f"gb10-vllm-{name}", "labels": labels, "image_id": one["container"]["image"], "status": "running"})
        units[f"gb10-vllm-{name}.service"] = {"active": "active", "enabled": True}
        units[f"gb10-vllm-watch@{name}.timer"] = {"active": "active", "enabled": True}
        units[f"gb10-vllm-watch@{name}.service"] = {"active": "inactive", "enabled": False}
        if one["key"] != "none":
            files[f"/etc/gb10-vllm/{name}/key.env"] = {"sha256": None, "mode": "0600", "uid": 0}
        files[f"/etc/systemd/system/gb10-vllm-{name}.service"] = {"sha256": UNIT_DIGEST, "mode": "0644", "uid": 0}
    images = {"vllm-node": {"id": image, "labels": {"gb10.vllm.commit": "358bf26"}}} if image else {}
    memory = {"total_bytes": 128 * 10**9, "available_bytes": 20 * 2**30, "cuda_total_bytes": 127 * 10**9}
    return {"servers": servers, "docker": {"containers": containers, "images": images}, "units": units, "files": files, "memory": memory}
