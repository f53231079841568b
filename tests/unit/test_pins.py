# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What decides whether a deployed box is left alone, as literals: digests, record files, labels and texts that boxes already hold.

No literal here may be recomputed because code moved. One that has to change changes every deployed box in the way its test says.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.filter.servers import deployment_decision, stale_files
from ansible_collections.gb10.vllm.plugins.module_utils import box, fleet, image_identity, image_store, model_store, run_lock, wanted
from ansible_collections.gb10.vllm.plugins.module_utils.image_build import ImageBuild, Options
from ansible_collections.gb10.vllm.plugins.module_utils.sizing.model_dir import inspect_model
from ansible_collections.gb10.vllm.plugins.plugin_utils import lock_file
from jinja2.nativetypes import NativeEnvironment

ROLE = Path(__file__).parents[2] / "roles" / "server"
GIB = 2**30
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHELL = 'set -a; for file in /run/gb10/*.env; do [ -r "$file" ] && . "$file"; done; set +a; exec "$@"'
IMAGE = {"id": "sha256:" + "a" * 64, "name": "vllm-node", "vllm_version": "0.11.1"}
SETTINGS = {"state_dir": "/var/lib/gb10-vllm", "config_dir": "/etc/gb10-vllm", "shm_gib": 8.0, "floor_bytes": 12884901888, "stop_timeout_s": 60}
USER = {"name": "devstral", "model": "mistralai/Devstral-24B", "port": 8001, "max_model_len": 65536, "args": {"--seed": 7}}
SERVER = {
    **USER, "address": "127.0.0.1", "model_path": "/srv/models/mistralai/Devstral-24B", "repo_id": "mistralai/Devstral-24B",
    "served_model_name": "Devstral-24B", "key_policy": "none",
}  # fmt: skip
FIGURES = {
    "kv_cache_bytes": 42949672960, "num_blocks": 16384, "kv_tokens": 262144, "concurrency": 4.0, "max_model_len": 65536,
    "weights_bytes": {"value": 25769803776, "source": "computed"}, "activation_bytes": {"value": 2147483648, "source": "estimated"},
    "graph_bytes": {"value": 1073741824, "source": "measured"},
}  # fmt: skip
PLANNED = {
    **FIGURES, "name": "devstral", "served_model_name": "Devstral-24B", "requested_bytes": 73014444032, "gpu_memory_utilization": 0.571,
    "arguments": ["--port", "8001", "--max-model-len", "65536"], "repairs": [],
}  # fmt: skip
REPAIRS = {
    "image_id": IMAGE["id"],
    "applied": [{"id": "KB-001", "set": {"env": {"VLLM_USE_V1": None}, "container": {"shm_size": "16g", "ulimits": ["memlock:-1:-1"]}}, "reason": "r"}],
}
# The record deployment.json of this server, written out.
DEPLOYMENT = {
    "name": "devstral",
    "container": {
        "name": "gb10-vllm-devstral",
        "image": IMAGE["id"],
        "command": ["/bin/sh", "-c", SHELL, "gb10-vllm", "vllm", "serve", "/models/devstral", "--port", "8001", "--max-model-len", "65536"],
        "env": {
            "HOME": "/cache", "VLLM_CACHE_ROOT": "/cache/vllm", "TRITON_CACHE_DIR": "/cache/triton", "FLASHINFER_WORKSPACE_BASE": "/cache",
            "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        },
        "volumes": [
            "/srv/models/mistralai/Devstral-24B:/models/devstral:ro", "/etc/gb10-vllm/devstral:/run/gb10:ro",
            "/var/lib/gb10-vllm/cache/devstral:/cache:rw",
        ],
        "published_ports": ["127.0.0.1:8001:8001"],
        "shm_size_bytes": 8589934592,
        "ulimits": [],
        "stop_timeout_s": 60,
    },
    "image_name": "vllm-node",
    "vllm_version": "0.11.1",
    "model": "mistralai/Devstral-24B",
    "model_path": "/srv/models/mistralai/Devstral-24B",
    "manifest": "c" * 64,
    "served_model_name": "Devstral-24B",
    "address": "127.0.0.1",
    "port": 8001,
    "probe_url": "http://127.0.0.1:8001",
    "requested_bytes": 73014444032,
    "floor_bytes": 12884901888,
    "inputs": "@inputs",
    "planned": FIGURES,
    "spec": "@spec",
    "repairs": {},
}  # fmt: skip
LOCK = {
    "spark-1": {
        "address": "10.0.0.1",
        "servers": {
            "devstral": {
                "commit": COMMIT, "image_id": IMAGE["id"], "vllm_version": "0.11.1", "manifest": "c" * 64, "spec": DEPLOYMENT["spec"], "repairs": REPAIRS,
                "measured": {"available_kv_bytes": 42949000000, "kv_tokens": 262140, "concurrency": 3.99}, "deployment": DEPLOYMENT,
            },
        },
    },
}  # fmt: skip
INPUTS = {
    "source": "build", "commit": COMMIT, "wheels": "auto", "jobs": 8, "transformers": "default", "arguments": ["--full-log"],
    "build_args": {"TORCH": "2.9"}, "uv_http_timeout_s": 300, "uv_http_retries": 5, "architecture": "aarch64",
    "ca_bundle": "@ca", "base_images": {"nvidia/cuda:13.0.1-devel-ubuntu24.04": "sha256:" + "b" * 64},
}  # fmt: skip
VERSIONS = {"vllm_version": "0.11.1", "torch_version": "2.9.0", "cuda_version": "13.0"}
LABELS = {
    "gb10.vllm.inputs": "@build", "gb10.vllm.inputs.json": "@json",
    "gb10.vllm.source": "build", "gb10.vllm.commit": COMMIT, "gb10.vllm.uv_http_timeout_s": "300", "gb10.vllm.uv_http_retries": "5",
    "gb10.vllm.vllm_version": "0.11.1", "gb10.vllm.torch_version": "2.9.0", "gb10.vllm.cuda_version": "13.0",
}  # fmt: skip


def sha256(content):
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def decide(record=None, containers=(), planned=PLANNED, **changes):
    return deployment_decision(planned, {**SERVER, "api_key": "secret", "env": {"A": "b"}, **changes}, IMAGE, "c" * 64, record, list(containers), SETTINGS)


def test_what_a_user_wrote_becomes_the_same_server():
    """It is hashed into the inputs: one more, fewer or different default and every container of every box is replaced."""
    assert wanted.normalise([USER], "/srv/models") == [SERVER]


def test_the_settings_of_the_role_are_the_ones_that_are_hashed():
    """8 instead of 8.0, or one more key that reaches the inputs, and every container of every box is replaced."""
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    names, environment = ("state_dir", "config_dir", "shm_gib", "floor_bytes", "stop_timeout_s"), NativeEnvironment()
    values = {f"server_{name}": environment.from_string(str(defaults[f"server_{name}"])).render() for name in names}
    assert json.dumps(environment.from_string(defaults["server_settings"]).render(values)) == json.dumps(SETTINGS)


def test_a_deployment_and_its_digests():
    """Other inputs or another spec: every box replaces its containers and loads its models again; another record: it is rewritten."""
    fresh = decide()["deployment"]
    assert fresh == DEPLOYMENT
    assert sha256(json.dumps(fresh, sort_keys=True)) == "@whole"


def test_a_deployment_with_repairs():
    """Boxes that needed a repair would replace their containers, and perhaps lose the repair."""
    settings = {**SETTINGS, "repairs": REPAIRS}
    fresh = deployment_decision({**PLANNED, "repairs": REPAIRS["applied"]}, SERVER, IMAGE, "c" * 64, None, [], settings)["deployment"]
    assert fresh["inputs"] == "@rinputs"
    assert fresh["spec"] == "@rspec"
    assert sha256(json.dumps(fresh, sort_keys=True)) == "@rwhole"
    assert (fresh["container"]["shm_size_bytes"], fresh["container"]["env"]["VLLM_USE_V1"], fresh["repairs"]) == (17179869184, "", REPAIRS)


def test_a_deployment_at_an_ipv6_address():
    """Boxes that serve on IPv6 would replace their containers."""
    fresh = decide(address="fd00::5", key_policy="generate")["deployment"]
    assert fresh["probe_url"] == "http://[fd00::5]:8001"
    assert fresh["container"]["published_ports"] == ["fd00::5:8001:8001"]
    assert fresh["inputs"] == "@6inputs"
    assert fresh["spec"] == "@6spec"
    assert sha256(json.dumps(fresh, sort_keys=True)) == "@6whole"


def test_a_box_that_holds_the_record_and_the_container_is_left_alone():
    """Under other labels or record keys every box would replace its containers; the record stays although a fresh plan differs."""
    labels = {"gb10.vllm.server": "devstral", "gb10.vllm.spec": DEPLOYMENT["spec"]}
    replanned = {**PLANNED, "requested_bytes": 1, "arguments": ["--port", "8001", "--max-model-len", "32768"]}
    done = decide(DEPLOYMENT, [{"name": "gb10-vllm-devstral", "labels": labels}], replanned)
    assert done == {"deployment": DEPLOYMENT, "create": False, "reason": "unchanged"}
    assert box.SERVER_LABEL == "gb10.vllm.server"
    assert "labels: \"{{ {'gb10.vllm.server': server_wanted.name, 'gb10.vllm.spec': server_deployment.spec} }}\"" in (ROLE / "tasks/start.yml").read_text()


def test_the_labels_of_an_image():
    """Every box would build its image again (up to hours), and so replace every container."""
    assert image_identity.digest(INPUTS | {"vllm_ref": None}) == LABELS["gb10.vllm.inputs"]
    assert image_identity.labels(INPUTS, VERSIONS) == LABELS
    assert image_identity.recorded(LABELS) == INPUTS


PREBUILT = {"source": "prebuilt", "image": "registry/vllm:1", "digest": "sha256:" + "d" * 64}
ARCHIVE = {"source": "archive", "archive": "e" * 64}


@pytest.mark.parametrize(
    ("labels", "recorded", "options"),
    [
        (LABELS, {}, {"ref": COMMIT, "jobs": 8, "arguments": ["--full-log"], "build_args": {"TORCH": "2.9"}, "ca_bundle": "ca.pem"}),
        ({}, PREBUILT, PREBUILT),
        ({}, ARCHIVE, {"source": "archive", "archive": "/srv/vllm.tar", "checksum": "e" * 64}),
    ],
    ids=["build", "prebuilt", "archive"],
)
def test_an_image_of_the_same_inputs_is_left_alone(tmp_path, monkeypatch, labels, recorded, options):
    """With other inputs, or another shape of build/images.json, every box would build, pull or load its image again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64", sysname="Linux", nodename="spark-1", release="6", version="1"))
    image = {"Id": IMAGE["id"], "Config": {"Labels": labels}}
    tool = tmp_path / "tool"  # docker and git in one
    tool.write_text(f"""#!/bin/sh
case "$*" in
  "image inspect vllm-node:latest") echo '{json.dumps([image])}' ;;
  "image inspect nvidia/cuda:13.0.1-devel-ubuntu24.04") echo '[{{"Id": "sha256:{"b" * 64}"}}]' ;;
  *rev-parse*) echo {COMMIT} ;;
  *ls-tree*) echo Dockerfile ;;
  *show*) echo 'FROM nvidia/cuda:13.0.1-devel-ubuntu24.04' ;;
esac
""")
    tool.chmod(0o755)
    (tmp_path / "ca.pem").write_text("a certificate\n")
    (tmp_path / "build/checkout/.git").mkdir(parents=True)
    names = {"vllm-node:latest": {"image_id": IMAGE["id"], "inputs": recorded}}
    (tmp_path / "build/images.json").write_text(json.dumps({"names": names, "metadata": {IMAGE["id"]: VERSIONS}}))
    build = ImageBuild(Options(state_dir=str(tmp_path), **options), check_mode=True, docker=str(tool), git=str(tool))
    done = build.run()
    assert (done["changed"], done["changed_inputs"], done["image"]["vllm_version"]) == (False, [], "0.11.1")
    assert {key: value for key, value in build.inputs().items() if value is not None} == (recorded or INPUTS)
    assert box.read_versions(str(tmp_path)) == {IMAGE["id"]: {"vllm_version": "0.11.1", "cuda_version": "13.0"}}


def test_what_makes_two_images_the_same():
    """Boxes would send each other images that are there already, and refuse archives and bundles made before."""
    config = {"Env": ["PATH=/bin"], "Cmd": ["bash"], "Entrypoint": None, "WorkingDir": "/workspace", "User": "", "Labels": {"a": "b"}, "Hostname": "x"}
    layers = {"Type": "layers", "Layers": ["sha256:" + "1" * 64, "sha256:" + "2" * 64]}
    inspected = {"Id": IMAGE["id"], "Created": "2026-01-02T03:04:05Z", "Architecture": "arm64", "Os": "linux", "Config": config, "RootFS": layers}
    assert image_store.identity(inspected) == "@identity"


def make_model(path):
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]}}).encode()
    files = {
        "config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}).encode(),
        "model.safetensors": struct.pack("<Q", len(header)) + header + bytes(64),
        "tokenizer.json": b"{}", "tokenizer_config.json": b'{"chat_template": "x"}', "vocab.txt": b"a\n", "modeling.py": b"pass\n",
        "chat_template.jinja": b"x", "README.md": b"not counted",
    }  # fmt: skip
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return str(path)


def test_the_manifest_hash_of_a_model(tmp_path):
    """It is part of inputs and spec: every container of every box would be replaced, and no lock file could be deployed."""
    path = make_model(tmp_path / "tiny")
    model_store.write_record(path, {"repo_id": "a/b"})  # not counted either
    assert inspect_model(path)["manifest"] == "@manifest"


def test_the_record_in_a_model_directory(tmp_path):
    """Boxes would download models again, or send them to each other again, that are there and verified."""
    path = make_model(tmp_path / "tiny")
    os.utime(tmp_path / "tiny/vocab.txt", ns=(5, 1700000000000000000))
    entry = {"size": 2, "sha256": "f" * 64, "mtime_ns": 1700000000000000000}
    record = {"repo_id": "a/b", "revision": COMMIT, "endpoint": "https://huggingface.co", "files": {"vocab.txt": entry}}
    model_store.write_record(path, record)
    assert json.loads((tmp_path / "tiny/.gb10-vllm-record").read_text()) == record == model_store.read_record(path)
    assert {one["name"]: one["sha256"] for one in model_store.list_files(path) if one["sha256"]} == {"vocab.txt": "f" * 64}
    assert model_store.identity(path) == "@modelid"
    partial = model_store.prepare_partial(path, "x")
    assert (partial, Path(partial, ".gb10-vllm-record").read_text()) == (f"{path}.partial", '{"arriving": "x"}')


def test_the_text_of_a_lock_file():
    """Lock files in users' version control would be refused, or rewritten without anything having changed."""
    image = {"id": IMAGE["id"], "labels": {"gb10.vllm.commit": COMMIT}}
    facts = {"available_kv_bytes": 42949000000, "kv_tokens": 262140, "concurrency": 3.99, "load_s": 140.2}
    record = {"deployment": DEPLOYMENT, "measured": {"spec": DEPLOYMENT["spec"], "image_id": IMAGE["id"], "facts": facts}, "repairs": REPAIRS}
    seen = {"servers": {"devstral": record}, "docker": {"images": {"vllm-node": image}}}
    assert {"spark-1": fleet.locked_box("10.0.0.1", seen)} == LOCK
    text = lock_file.dump(LOCK)
    assert sha256(text) == "@lock"
    packed = yaml.safe_load(text)["gb10_lock"]["vars"]
    assert (packed["format"], list(packed["deployments"])) == (1, ["@short"])
    assert lock_file.load(text, "gb10.lock.yml") == LOCK


def test_the_unit_of_a_server():
    """The unit of every server would be rewritten, and systemd reloaded, on every box."""
    template = jinja2.Environment(keep_trailing_newline=True, trim_blocks=True).from_string((ROLE / "templates/server.service.j2").read_text())
    defaults = {"server_state_dir": "/var/lib/gb10-vllm", "server_guard": "/usr/local/lib/gb10-vllm/guard", "server_stop_timeout_s": "60"}
    text = template.render(server_wanted=SERVER, server_restarts="3", server_restart_window_s="900", **defaults)
    assert sha256(text) == "@unit"


def test_the_files_that_all_servers_share():
    """The guard or the watch would be rewritten on every box."""
    files = ("guard.py", "gb10-vllm-watch@.service", "gb10-vllm-watch@.timer")
    assert {name: sha256((ROLE / "files" / name).read_bytes()) for name in files} == {
        "guard.py": "@guard.py",
        "gb10-vllm-watch@.service": "@gb10-vllm-watch@.service",
        "gb10-vllm-watch@.timer": "@gb10-vllm-watch@.timer",
    }
    place = "/usr/local/lib/gb10-vllm/guard"
    shared = yaml.safe_load((ROLE / "defaults/main.yml").read_text())["server_shared_files"][0]
    assert shared["content"] == "#!/usr/bin/python3\n{{ lookup('ansible.builtin.file', 'guard.py', rstrip=false) }}"
    guard = {"dest": place, "content": "#!/usr/bin/python3\n" + (ROLE / "files/guard.py").read_text(), "mode": shared["mode"]}
    held = {"sha256": "@guard", "mode": "0755", "uid": 0}
    assert stale_files([guard], {place: held}) == []


def test_what_the_guard_reads(tmp_path, monkeypatch):
    """A guard on a box would no longer find the deployment it guards: it would refuse its start, or restart it for not answering."""

    class Noted(dict):
        def __getitem__(self, key):
            keys.add(key)
            return super().__getitem__(key)

        def get(self, key, default=None):
            keys.add(key)
            return super().get(key, default)

    keys, files = set(), set()
    specification = importlib.util.spec_from_file_location("guard", ROLE / "files" / "guard.py")
    guard = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(guard)
    records = {"deployment.json": Noted(DEPLOYMENT)}
    monkeypatch.setattr(guard, "read_json", lambda path: files.add(path) or records.get(os.path.basename(path), {}))
    monkeypatch.setattr(guard, "write_json", lambda path, _value: files.add(path))
    monkeypatch.setattr(guard, "available_bytes", lambda: 2**40)
    monkeypatch.setattr(guard.subprocess, "run", lambda *_args, **_more: SimpleNamespace(returncode=0))
    monkeypatch.setattr(guard.urllib.request, "urlopen", lambda request, timeout: files.add(request.full_url) or 1 / 0)
    assert guard.before_start("devstral") is None
    with pytest.raises(ZeroDivisionError):
        guard.watch("devstral")
    monkeypatch.setattr(guard, "generates", lambda *_: False)
    guard.watch("devstral")
    place = "/var/lib/gb10-vllm/servers/devstral"
    expected = {f"{place}/{name}.json" for name in ("deployment", "starting", "failures")} | {"http://127.0.0.1:8001/v1/completions"}
    assert files == expected
    assert keys == {"requested_bytes", "floor_bytes", "served_model_name", "probe_url"}


def test_the_records_of_a_box(tmp_path):
    """A box would look as if nothing ran on it: its servers are started anew, and what they could go back to is forgotten."""
    kinds = ("deployment", "measured", "repairs", "history", "starting")
    (tmp_path / "servers/devstral").mkdir(parents=True)
    for kind in kinds:
        (tmp_path / f"servers/devstral/{kind}.json").write_text(json.dumps([kind]))
    assert box.read_records(str(tmp_path)) == {"devstral": {kind: [kind] for kind in kinds}}
    place = "{{ server_state_dir }}/servers/{{ server_wanted.name }}"
    written = [one["dest"] for one in yaml.safe_load((ROLE / "defaults/main.yml").read_text())["server_files"]]
    assert written == [f"{place}/history.json", f"{place}/deployment.json", "/etc/systemd/system/{{ server_unit }}", f"{place}/repairs.json"]
    assert f'dest: "{place}/measured.json"' in (ROLE / "tasks/settle.yml").read_text()


def test_the_lock_of_a_run(tmp_path, monkeypatch):
    """Two controllers with different versions of the collection would not see each other's lock and change a box at the same time."""
    monkeypatch.setattr(time, "time", lambda: 1700000000.0)
    owner = {"run": "0a1b2c3d", "owner": "ada@desk", "controller": {"machine": "m@desk", "boot_id": "b", "pid_namespace": "p", "pid": 7, "pid_started": 9}}
    assert run_lock.acquire(str(tmp_path), owner, 14400.0, None, None)["acquired"]
    assert (tmp_path / "run.lock").read_text() == (
        '{"acquired_at": 1700000000.0, "controller": {"boot_id": "b", "machine": "m@desk", "pid": 7, "pid_namespace": "p", "pid_started": 9}, '
        '"owner": "ada@desk", "refreshed_at": 1700000000.0, "run": "0a1b2c3d", "ttl_s": 14400.0}'
    )
    assert run_lock.standing(run_lock.read(str(tmp_path)), "another", 1700014399.0) == "held"
