# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shapes that cross YAML and JSON on their way through the decisions: what is in a server, an image, a deployment, a record, an order.

No key is always there (``total=False``): what comes from an inventory or from a box may lack any of them. Bytes are ``*_bytes``, seconds ``*_s``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict


class Server(TypedDict, total=False):
    """A wanted server, as ``wanted.normalise`` returns it; further keys are the user's own settings."""

    name: str
    model: str
    model_path: str
    repo_id: str | None
    served_model_name: str
    port: int
    address: str
    key_policy: str  # given, generate or none
    api_key: str
    tls: dict[str, str]  # certificate and key, paths on the box
    env: dict[str, Any]
    cuda_graphs: str
    args: dict[str, Any]
    image: dict[str, Any]  # settings of an image of its own, over gb10_image, see ``images.py``
    boxes: list[str] | int  # of a server over several boxes, the first is the head; a number: the plan chooses
    tensor_parallel: int
    pipeline_parallel: int


class Image(TypedDict, total=False):
    """The image that one server runs with."""

    id: str
    name: str
    vllm_version: str | None
    labels: dict[str, str]


class Settings(TypedDict, total=False):
    """What the inventory says about all servers of a box and what is hashed into ``inputs``."""

    state_dir: str
    config_dir: str
    shm_gib: float
    floor_bytes: int
    stop_timeout_s: int
    read_only: bool  # no part of ``inputs``: it changes with the next replacement
    repairs: Mapping[str, Any]  # of the one server at hand, where something is decided for it
    key: str  # of the one server at hand: given, generated or none; not hashed


class Container(TypedDict, total=False):
    """The part of a deployment that ``community.docker.docker_container`` gets."""

    name: str
    image: str
    command: list[str]
    env: dict[str, str]
    volumes: list[str]
    published_ports: list[str]
    shm_size_bytes: int
    ulimits: list[str]
    stop_timeout_s: int
    pids_limit: int
    oom_score_adj: int
    read_only: bool
    tmpfs: list[str]
    network_mode: str  # host, for a rank of a server over several boxes
    devices: list[str]


class Deployment(TypedDict, total=False):
    """What runs, as ``deployment.json`` on a box, the history and the lock file have it."""

    name: str
    container: Container
    image_name: str
    vllm_version: str | None
    model: str
    model_path: str
    manifest: str
    content: Mapping[str, str]  # SHA-256: small, weights; what was not known when it was made is not in it, and
    verified: Mapping[str, str]  # has become known since
    served_model_name: str
    address: str
    port: int
    key: str  # given, generated or none; not there in what earlier releases deployed, whose containers do not guard every route
    probe_url: str
    requested_bytes: int
    floor_bytes: int
    inputs: str
    planned: dict[str, Any]
    spec: str
    repairs: Mapping[str, Any]
    group: Mapping[str, Any]  # of a rank of a server over several boxes: number, boxes, addresses, master_port, guard_port


class Measured(TypedDict, total=False):
    """``measured.json``: the deployment of this ``spec`` has answered, and this is what its start measured."""

    spec: str
    image_id: str
    facts: dict[str, Any]


class Record(TypedDict, total=False):
    """What a box keeps of one server."""

    deployment: Deployment
    measured: Measured
    repairs: dict[str, Any]  # {image_id, applied: [repair]}
    history: list[Deployment]
    starting: dict[str, Any]  # {boot_id, time}: a start is going on, or the box went down in one
    unreadable: list[str]


class Locked(TypedDict, total=False):
    """What the lock file says of one server of one box."""

    commit: str | None
    image_id: str
    vllm_version: str | None
    manifest: str
    spec: str
    repairs: dict[str, Any]
    measured: dict[str, Any]
    deployment: Deployment


class Decision(TypedDict, total=False):
    """What a container must be, and whether it has to be made anew."""

    deployment: Deployment
    create: bool
    reason: str
    gain: dict[str, int]  # {bytes, tokens} of KV cache that a fresh plan would give more than the deployment that is kept
    lacking: list[str]  # what a deployment that is kept has to do without, see ``lacking.py``


class Asked(TypedDict, total=False):
    """What ``deployment.decision`` needs to know of one server on one box."""

    planned: Mapping[str, Any]
    places: Mapping[str, Mapping[str, Any]]  # of a server over several boxes: how each of them is reached, see ``ranks.places``
    server: Server
    image: Image
    manifest: str
    model: Mapping[str, Any]  # directory, content, volumes: what is known of the files beside their manifest, and what is mounted beside them
    files: Mapping[str, str]  # digests of what arguments name on the box, by value
    record: Deployment | None
    containers: list[dict[str, Any]]
    settings: Settings
    replan: bool


class BackTo(TypedDict, total=False):
    """An earlier deployment that has to come back: ``models`` says where its files are now, see ``deployment.with_its_model``."""

    deployment: Deployment
    models: dict[str, dict[str, Any]]
    reason: str
    untouched: bool  # its container was never replaced: only its records have to come back


class Options(TypedDict, total=False):
    """Options of the role that are no part of a deployment."""

    history: int
    repair: bool
    replan: bool
    read_only: bool
    api_key: str
    router_key: str
    metrics_key: str


class Given(TypedDict, total=False):
    """What a work order is made from: one server, on one box.

    ``box`` and ``image`` are this server's: a server over several boxes gets an order for each of them, and servers may have images of their own.
    """

    wanted: Server
    plan: Mapping[str, Any]  # of the box; {} where a server only goes back
    image: Image
    image_name: str
    models: Mapping[str, Mapping[str, Any]]  # facts of the model files by path
    box: Mapping[str, Any]  # what box_info returns
    locked: Locked | None  # the server's part of the lock file, where only that may be deployed
    places: Mapping[str, Mapping[str, Any]]  # of a server over several boxes, see ``ranks.places``
    unit_text: str
    settings: Settings
    options: Options
    back_to: BackTo


class File(TypedDict):
    """A file on the box; ``needed``: it is not there like that."""

    dest: str
    content: str
    needed: bool
    mode: str


class Fallback(TypedDict, total=False):
    """What comes back when a start fails ({}: nothing), and the sentence that says so."""

    deployment: Deployment
    outcome: str
    stands: bool  # its container is there, and stays where a start fails before that is replaced


class Order(TypedDict, total=False):
    """All that has to be done for one server on one box, see ``work.work_order``."""

    name: str
    unit: str
    watch: str
    unit_digest: str
    deployment: Deployment
    create: bool
    reason: str
    lacking: list[str]
    gain: dict[str, int]
    load: dict[str, int]
    memory_bytes: int
    start: bool
    new: bool
    files: list[File]
    history: list[Deployment]
    previous: Deployment
    before_proven: bool
    proven: bool
    image_id: str
    repairs: list[dict[str, Any]]
    may_repair: bool
    wanted_for_repair: dict[str, Any]
    write_key: bool
    new_key: bool  # the key that lies there was the user's and is not wanted any more: another one is made
    ensure_key: bool  # one is written only where there is none
    keys_live: bool  # the container reads keys anew when they change, without a restart
    write_env: bool
    write_fleet: bool
    remove_secrets: list[str]
    env_removed: bool
    starting: bool
    forget_starts: bool
    reset_failed: bool
    down: list[str]
    fallback: Fallback
    lost: Fallback
    group: Mapping[str, Any]  # as its deployment has it; {} for a server of one box
    image_identity: str  # what is the same of its image on all boxes


class Seen(TypedDict, total=False):
    """What the role ``fleet`` saw of one box; ``box`` and ``locked`` are empty where there is nothing to read."""

    box: Mapping[str, Any]
    failures: Mapping[str, str]  # what went wrong in which step: look, plan
    problem: str  # of the lock file
    wanted: list[Server]
    decisions: Mapping[str, Order]
    models: Mapping[str, Mapping[str, Any]]
    answers: Mapping[str, Mapping[str, Any]]
    locked: Mapping[str, Locked]
    prune: bool
    plan: Mapping[str, Any]
