# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input: one clear sentence with the box, the cause and the remedy, before anything was changed."""

from __future__ import annotations

import dataclasses
import re

import pytest
from server_box import SERVER

MODEL = "/srv/models/tiny-llama"
BAD = "/srv/models/bad"
COPY = f"rm -rf {BAD}; cp -a {MODEL} {BAD}; cd {BAD}; "
# A model of two shards, as large ones are: the index names both.
SHARDS = (
    COPY
    + """python3 - <<'EOF'
import json, struct
data = open("model.safetensors", "rb").read()
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + size])
names = sorted(name for name in header if name != "__metadata__")
parts = {"model-00001-of-00002.safetensors": names[:8], "model-00002-of-00002.safetensors": names[8:]}
for part, mine in parts.items():
    body, entries = b"", {}
    for name in mine:
        begin, end = header[name]["data_offsets"]
        piece = data[8 + size + begin:8 + size + end]
        entries[name] = dict(header[name], data_offsets=[len(body), len(body) + len(piece)])
        body += piece
    text = json.dumps(entries).encode()
    open(part, "wb").write(struct.pack("<Q", len(text)) + text + body)
json.dump({"weight_map": {name: part for part, mine in parts.items() for name in mine}}, open("model.safetensors.index.json", "w"))
EOF
rm model.safetensors; """
)
# Three cases restart Docker within seconds; systemd would take that for a crash loop.
DOCKER_STOPS = "systemctl stop docker.socket docker;"
DOCKER_STARTS = "systemctl reset-failed docker.service docker.socket; systemctl start docker"
BAD_SERVER = [dict(SERVER, model="bad")]
SECOND = dict(SERVER, name="other", port=8001)


@dataclasses.dataclass
class Case:
    """What is broken on the box (and put right again), what is wanted of it, and the words that must say so."""

    cause: str
    remedy: str
    before: str = ""
    after: str = ""
    servers: list = dataclasses.field(default_factory=lambda: [SERVER])
    variables: dict = dataclasses.field(default_factory=dict)


CASES = {
    "unknown model": Case(r"/srv/models/no-such-model does not exist", "Copy the model's directory", servers=[dict(SERVER, model="no-such-model")]),
    "missing shard": Case(
        r"lacks 1 of the 2 shards its index names, the first is model-00002-of-00002\.safetensors",
        r"finish the download",
        before=SHARDS + "rm model-00002-of-00002.safetensors",
        servers=BAD_SERVER,
    ),
    "truncated shard": Case(
        r"model-00001-of-00002\.safetensors is truncated: it has 100000 bytes and its header asks for \d+",
        r"download it again",
        before=SHARDS + "truncate -s 100000 model-00001-of-00002.safetensors",
        servers=BAD_SERVER,
    ),
    "config is not JSON": Case(
        r"bad/config\.json is not JSON \(line 1, column 2",
        r"download it again or repair that line",
        before=COPY + "echo '{oops' > config.json",
        servers=BAD_SERVER,
    ),
    "unsupported architecture": Case(
        r"'AbacusForCausalLM' .*is not known here, so its KV cache cannot be sized",
        r"set gb10_assume_full_attention to count every layer as full attention, which is at least what it keeps",
        before=COPY + """sed -i 's/LlamaForCausalLM/AbacusForCausalLM/; s/"llama"/"abacus"/' config.json""",
        servers=BAD_SERVER,
    ),
    "port in use": Case(
        r"port 8000 is in use",
        r"Stop that program|another `port`",
        before="systemd-run --unit=squatter python3 -m http.server 8000; until ss -ltn | grep -q :8000; do sleep 0.2; done",
        after="systemctl stop squatter",
    ),
    "no Docker": Case(
        r"Docker is missing",
        r"apt-get install docker",
        before="mv /usr/bin/docker /usr/bin/docker.away",
        after="mv /usr/bin/docker.away /usr/bin/docker",
    ),
    "Docker stopped": Case(
        r"Docker does not answer",
        r"systemctl enable --now docker",
        before=DOCKER_STOPS,
        after=DOCKER_STARTS,
    ),
    "no GPU": Case(
        r"no NVIDIA GPU answers",
        r"[Ii]nstall the driver",
        before="mv /usr/local/bin/nvidia-smi /usr/local/bin/away",
        after="mv /usr/local/bin/away /usr/local/bin/nvidia-smi",
    ),
    "disk full": Case(
        r"the disk under /var/lib/docker is nearly full.*GiB are free and 6\.0 GiB are needed",
        r"Make room",
        before=f"{DOCKER_STOPS} mount -t tmpfs -o size=1g none /var/lib/docker; {DOCKER_STARTS}",
        after=f"{DOCKER_STOPS} umount /var/lib/docker; {DOCKER_STARTS}",
    ),
    "a container of somebody with our name": Case(
        r"a container named gb10-vllm-tiny is there that this collection did not make",
        r"docker rename",
        before="tar -c /bin/true | docker import - somebodys; docker create --name gb10-vllm-tiny somebodys /bin/true",
        after="docker rm gb10-vllm-tiny; docker rmi somebodys",
    ),
    "no batch at all": Case(r"gb10_rollout contains 0, which is not a valid batch size", r"use whole numbers", variables={"gb10_rollout": [0]}),
    "two servers with one name": Case(r"two servers have the name 'tiny'", r"another name", servers=[SERVER, dict(SECOND, name="tiny")]),
    "two servers with one port": Case(r"two servers have the port 8000", r"another port", servers=[SERVER, dict(SECOND, port=8000)]),
    "unreachable": Case(r"cannot be reached", r"Check that the box is on", variables={"ansible_host": "172.30.10.99", "ansible_timeout": 5}),
    "typo in a variable": Case(r"gb10_modells_dir is not a variable", r"did you mean gb10_models_dir", variables={"gb10_modells_dir": "/srv"}),
    "typo in a server": Case(r"max_modell_len", r"max_model_len", servers=[dict(SERVER, max_modell_len=1024)]),
    "no room in memory": Case(
        r"server tiny does not fit: .*less 500 for the system\)", r"Use a smaller or more quantised model", variables={"gb10_os_floor_gib": 500}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_with_one_clear_sentence(box, case):
    if case.before:
        box.root(case.before)
    try:
        run = box.playbook("site.yml", variables={"gb10_servers": case.servers, **case.variables}, timeout=180)
    finally:
        if case.after:
            box.root(case.after)
    said = run.text[-3000:]
    assert run.code != 0, said
    assert re.search(case.cause, run.words), said
    assert re.search(case.remedy, run.words), said
    assert box.name in run.text.partition("PLAY RECAP")[0]
    assert "Traceback" not in run.text
    assert run.changed == 0, said
