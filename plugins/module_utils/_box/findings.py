# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands between a box and a served model. Pure: facts of ``box.read_box`` in, advice out."""

from __future__ import annotations

import re

from ansible_collections.gb10.vllm.plugins.module_utils._names import GIB, container_name

ERROR, WARNING = "error", "warning"
# Versions with which others met a fault on a GB10: what is looked at, an expression for the versions, why, and what to do.
KNOWN_BAD = (
    # spark-vllm-docker README, 2026-03-12.
    (
        "driver",
        r"590\.",
        "CUDA graphs were seen to deadlock with driver 590 on GB10",
        "Stay on the 580 line that DGX OS ships until its updates bring a newer one.",
    ),
    # spark-vllm-docker 392, forums.developer.nvidia.com 383023.
    (
        "kernel",
        r"7\.0\.0-1019-nvidia",
        "with it no memory can be registered for RDMA (ibv_reg_mr_iova2 fails), so servers over several boxes do not start or fall back to TCP",
        "Boot a kernel of the line 6.17.0-1026 to -1032-nvidia (GRUB_DEFAULT in /etc/default/grub), and hold it (gb10_host.held).",
    ),
    # forums.developer.nvidia.com 366026.
    (
        "kernel",
        r"6\.17\.0-1008-nvidia",
        "after a crash the driver was seen not to come up again with it, until the box was without power for minutes",
        "Update the kernel with the DGX OS updates (6.17.0-1014 or newer).",
    ),
)
# 700 MHz at full load, where 2,400 are usual; no cause of throttling is shown (Blackwellboy/model-serving-minefield trap 124).
BUSY_PERCENT, SLOW_MHZ = 80, 1000
CLOSED_LOOPBACK_DOCKER = 28
EXPIRES_SOON_S = 21 * 86400


def finding(level: str, what: str, why: str, fix: str) -> dict:
    """One finding: how bad, what, why, and what to do; all of it as ``text`` too."""
    return {"level": level, "what": what, "why": why, "fix": fix, "text": f"{what}: {why}. {fix}"}


def _gpu(box: dict, wants: dict) -> list[dict]:
    gpu = box["gpu"]
    if not gpu["present"]:
        return [
            finding(
                ERROR,
                "no NVIDIA GPU answers",
                gpu["problem"],
                "Install the driver with the DGX OS updates (apt-get install nvidia-driver-580-open), reboot, and check that `nvidia-smi` lists the GPU.",
            )
        ]
    found = []
    if gpu["compute_capability"] != wants["compute_capability"]:
        found.append(
            finding(
                WARNING,
                "the GPU is not a GB10",
                f"{gpu['name']} has compute capability {gpu['compute_capability']}, a GB10 has {wants['compute_capability']}",
                "The sizing assumes memory shared by CPU and GPU; check the plan's numbers before you trust them.",
            )
        )
    busy, clock = gpu.get("utilization_percent"), gpu.get("sm_mhz")
    if busy is not None and clock is not None and busy >= BUSY_PERCENT and clock < SLOW_MHZ:
        power = f" and {gpu['power_w']:.0f} W" if gpu.get("power_w") is not None else ""
        found.append(
            finding(
                WARNING,
                "the GPU is stuck in its low-power state",
                f"it runs at {clock:.0f} MHz{power} while it is {busy:.0f} % busy, and {SLOW_MHZ} MHz and more are usual then, so answers take twice as long",
                "Shut the box down, unplug its power supply at both ends for a minute or more, and start it; a reboot alone does not help.",
            )
        )
    return found


def _other_docker(kind: str) -> dict | None:
    """What is wrong with an engine that is no Docker of root's; None for one that is."""
    if kind == "podman":
        why = "the servers need Docker's own engine, units that wait for docker.service and docker's GPU requests"
        return finding(ERROR, "the docker command is podman's", why, "Install Docker instead: apt-get install docker.io docker-buildx, without podman-docker.")
    if kind == "rootless":
        why = "it belongs to a user, has no access to root's files and ends with that user's session"
        return finding(ERROR, "Docker is rootless", why, "Use the system's own: systemctl enable --now docker, and unset DOCKER_HOST and the context of root.")
    if kind == "userns":
        why = "its containers' root (userns-remap) is another user than the box's and may not read the keys and models that are root's"
        return finding(ERROR, "Docker maps users", why, "Take userns-remap out of /etc/docker/daemon.json and restart Docker.")
    return None


def _versions(box: dict, wants: dict) -> list[dict]:
    running = {"driver": box["gpu"].get("driver_version") or "", "kernel": box.get("kernel") or ""}
    return [finding(WARNING, f"{what} {running[what]}", why, fix) for what, bad, why, fix in KNOWN_BAD if re.match(bad, running[what])]


def _shared_memory(box: dict, wants: dict) -> list[dict]:
    return [
        finding(
            WARNING,
            f"the shared memory of {user} goes with that user's last session",
            "that user's processes use the host's shared memory and systemd-logind removes it (RemoveIPC), so an engine hangs once nobody is logged in",
            f"Run `loginctl enable-linger {user}`, or set RemoveIPC=no in /etc/systemd/logind.conf.",
        )
        for user in box.get("ipc_users") or []
    ]


_SPECIFY = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


def _cdi(docker: dict) -> list[dict]:
    """What is wrong with the specification by which containers get the GPU.

    moby 50228: ``--gpus`` goes through it where there is no runtime of NVIDIA's; with one only what asks for CDI by name fails, unless that
    runtime is in mode cdi and reads it as well.
    """
    by_name = docker["nvidia"] and not docker.get("cdi_needed")
    if docker.get("cdi_gone"):
        gone = f"it names {docker['cdi_gone']}, which is not there any more"
        return [finding(WARNING if by_name else ERROR, "the CDI specification of the GPU is stale", gone, f"Write it anew: {_SPECIFY}.")]
    if docker.get("cdi_needed") and docker.get("cdi_missing"):
        why = 'NVIDIA\'s runtime is in mode = "cdi" (/etc/nvidia-container-runtime/config.toml) and finds none in /etc/cdi and /var/run/cdi'
        return [finding(ERROR, "the CDI specification of the GPU is missing", why, f'Write it: {_SPECIFY}; or set mode = "auto".')]
    return []


def _docker(box: dict, wants: dict) -> list[dict]:
    docker = box["docker"]
    if not docker["installed"]:
        return [finding(ERROR, "Docker is missing", "the docker command is not installed", "Install it: apt-get install docker.io docker-buildx.")]
    other = _other_docker(docker.get("kind") or "")
    if other:
        return [other]
    if not docker["running"]:
        return [finding(ERROR, "Docker does not answer", docker["problem"], "Start it: systemctl enable --now docker.")]
    found = []
    if docker.get("kind") == "snap":
        why = "a snap is confined: its containers find nothing of /srv, /etc and /usr/local, and its unit is not docker.service, for which the servers wait"
        fix = "Install Docker itself instead: snap remove docker, then apt-get install docker.io docker-buildx."
        # What serves from it all the same is left to its owner.
        found.append(finding(WARNING if docker["containers"] else ERROR, "Docker is a snap", why, fix))
    if docker.get("cdi") or docker["nvidia"]:
        found += _cdi(docker)
    else:
        found.append(
            finding(
                ERROR,
                "Docker cannot hand the GPU to a container",
                "the NVIDIA container toolkit is not set up (`--gpus all` would say: could not select device driver)",
                "Install nvidia-container-toolkit, run `nvidia-ctk runtime configure --runtime=docker` and restart Docker.",
            )
        )
    major = (docker.get("version") or "").split(".")[0]
    if wants["servers"] and major.isdigit() and int(major) < CLOSED_LOOPBACK_DOCKER:
        found.append(
            finding(
                WARNING,
                f"Docker {docker['version']}",
                f"before {CLOSED_LOOPBACK_DOCKER} hosts of the same network segment reach ports that are published on 127.0.0.1 (moby 45610)",
                "What is served there asks for a key unless gb10_allow_open is true; update Docker to close the way.",
            )
        )
    if wants["builds"] and not docker["buildkit"]:
        found.append(
            finding(
                ERROR,
                "Docker cannot build with BuildKit",
                "the image's Dockerfile uses RUN --mount, and this docker client has no buildx plugin",
                "Install it: apt-get install docker-buildx (docker-buildx-plugin from Docker's own archive).",
            )
        )
    return found


def _certificates(box: dict, wants: dict) -> list[dict]:
    """Of servers that speak TLS; ``box["certificates"]``: what was read of them, by server."""
    found = []
    for name, one in (box.get("certificates") or {}).items():
        left_s = one["expires_at"] - wants.get("now", 0) if one["expires_at"] is not None else None
        if one["problem"]:
            found.append(finding(ERROR, f"server {name} cannot speak TLS", one["problem"], "Correct the files or `tls` in gb10_servers."))
        elif left_s is not None and left_s < 0:
            why = f"{one['certificate']} is valid until {one['expires']}"
            found.append(finding(ERROR, f"the certificate of server {name} has expired", why, "Renew it, then restart the server's unit."))
        elif left_s is not None and left_s < EXPIRES_SOON_S:
            why = f"{one['certificate']} is valid until {one['expires']}"
            found.append(finding(WARNING, f"the certificate of server {name} expires soon", why, "Renew it, then restart the server's unit."))
    return found


def _ports(box: dict, wants: dict) -> list[dict]:
    # Docker listens for a container a moment before it calls it running.
    holding = [c for c in box["docker"]["containers"] if c["status"] in ("running", "created", "restarting")]
    ours = {c["labels"].get("gb10.vllm.server"): {p["port"] for p in c["ports"]} for c in holding}
    owner_of_port = {port: name for name, ports in ours.items() for port in ports}
    listening = {listener["port"]: listener["address"] for listener in box["listeners"]}
    wanted_names = {server["name"] for server in wants["servers"]}
    found = []
    for server in wants["servers"]:
        port, owner = server["port"], owner_of_port.get(server["port"])
        if port not in listening or owner == server["name"]:
            continue
        if owner in wanted_names:
            continue  # names and ports are unique, so that server leaves this port in the same run, before this one comes to it
        if owner and wants.get("prune"):
            continue  # what is no longer wanted is removed before
        if owner:
            why = f"server {server['name']} wants it, and our server {owner}, which is no longer in gb10_servers, has it"
            remedy = f"Set gb10_prune to true to have {owner} removed first (-e gb10_prune=true), or give {server['name']} another `port`."
            found.append(finding(ERROR, f"port {port} is in use", why, remedy))
            continue
        holder = "another program"
        found.append(
            finding(
                ERROR,
                f"port {port} is in use",
                f"server {server['name']} wants it and {holder} listens on {listening[port]}, port {port}",
                f"Stop that program (`ss -ltnp 'sport = :{port}'` names it) or give the server another `port`.",
            )
        )
    return found


def _names(box: dict, wants: dict) -> list[dict]:
    taken = {container_name(server["name"]) for server in wants["servers"]} & set(box["docker"]["others"])
    return [
        finding(
            ERROR,
            f"a container named {name} is there that this collection did not make",
            "it lacks the label gb10.vllm.server, so it is somebody's and is not replaced",
            f"Rename it (`docker rename {name} NEW`), remove it, or give the server another `name`.",
        )
        for name in sorted(taken)
    ]


def _disks(box: dict, wants: dict) -> list[dict]:
    found = []
    least_by_path = dict(wants["free_bytes"])
    least_for_image = least_by_path.pop("docker", 0)
    if not set(wants["images"]) <= set(box["docker"]["images"]):
        least_by_path[box["docker"]["root_dir"]] = least_for_image
    for disk in box["disks"]:
        least = least_by_path.get(disk["path"], 0)
        if disk["free_bytes"] < least:
            found.append(
                finding(
                    ERROR,
                    f"the disk under {disk['path']} is nearly full",
                    f"{disk['free_bytes'] / GIB:.1f} GiB are free and {least / GIB:.1f} GiB are needed",
                    "Make room: `docker system df` shows what Docker holds, `docker builder prune --filter until=72h` drops old build layers.",
                )
            )
    return found


def _memory(box: dict, wants: dict) -> list[dict]:
    memory = box["memory"]
    found = []
    if memory["cuda_total_bytes"] is None:
        found.append(
            finding(
                WARNING,
                "CUDA's own memory total is unknown",
                f"libcuda did not answer ({memory['cuda_problem']})",
                "The plan takes the kernel's MemTotal instead and says so.",
            )
        )
    swap_used = memory["swap_total_bytes"] - memory["swap_free_bytes"]
    if swap_used > GIB:
        found.append(
            finding(
                WARNING,
                "the box swaps",
                f"{swap_used / GIB:.1f} GiB of swap are in use",
                "Find what holds memory (below) and stop it before a server starts; a swapping box stalls the GPU.",
            )
        )
    foreign = [h for h in box["holders"] if h["bytes"] > 2 * GIB and not h["name"].startswith(("VLLM", "vllm", "python"))]
    for holder in foreign:
        found.append(
            finding(
                WARNING,
                f"{holder['name']} (pid {holder['pid']}) holds {holder['bytes'] / GIB:.1f} GiB",
                "CPU and GPU share one memory on a GB10",
                "Stop it if the plan says that memory is short.",
            )
        )
    return found


def findings(box: dict, wants: dict) -> list[dict]:
    """All findings for a box, errors first; each is {level, what, why, fix, text}.

    ``wants``: ``architectures`` (list of ``uname -m`` values), ``compute_capability``, ``builds`` (an image will be built),
    ``servers`` ([{name, port}]), ``images`` (names that are wanted), ``free_bytes`` ({path or "docker": least free bytes};
    "docker", where Docker keeps its data, counts only while an image is missing), ``now`` (epoch seconds; certificates are compared with it).
    """
    found = []
    if box["architecture"] not in wants["architectures"]:
        found.append(
            finding(
                ERROR,
                "wrong processor architecture",
                f"this box is {box['architecture']}, expected {' or '.join(wants['architectures'])}",
                "Remove it from the group gb10, or name its architecture in `gb10_architectures` if your image runs there.",
            )
        )
    if box["os"]["id"] not in ("ubuntu", "debian"):
        found.append(
            finding(
                WARNING,
                "an operating system nobody tried",
                f"{box['os']['pretty_name'] or 'unknown'} is neither Ubuntu (DGX OS) nor Debian",
                "The roles use systemd, Docker and the box's own package manager; check that these are there.",
            )
        )
    for check in (_gpu, _versions, _shared_memory, _docker, _names, _ports, _certificates, _disks, _memory):
        found += check(box, wants)
    return sorted(found, key=lambda one: one["level"] != ERROR)
