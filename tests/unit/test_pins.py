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
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.filter.gb10 import FilterModule
from ansible_collections.gb10.vllm.plugins.module_utils._box import facts as box
from ansible_collections.gb10.vllm.plugins.module_utils._box import run_lock
from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_identity
from ansible_collections.gb10.vllm.plugins.module_utils._image import store as image_store
from ansible_collections.gb10.vllm.plugins.module_utils._image.ensure import ImageBuild
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._model.directory import inspect_model
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import wanted
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import unit_word
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.work import work_order
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters.servers import stale_files
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import lock as locks
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import lock_file
from jinja2.nativetypes import NativeEnvironment

ROLE = Path(__file__).parents[2] / "roles" / "server"
# fmt: off
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHELL = 'set -a; for file in /run/gb10/*.env; do [ -r "$file" ] && . "$file"; done; set +a; exec "$@"'
IMAGE = {"id": "sha256:" + "a" * 64, "name": "vllm-node", "vllm_version": "0.11.1"}
SETTINGS = {"state_dir": "/var/lib/gb10-vllm", "config_dir": "/etc/gb10-vllm", "shm_gib": 8.0, "floor_bytes": 12884901888, "stop_timeout_s": 60}
USER = {"name": "devstral", "model": "mistralai/Devstral-24B", "port": 8001, "max_model_len": 65536, "args": {"--seed": 7}}
SERVER = {**USER, "address": "127.0.0.1", "model_path": "/srv/models/mistralai/Devstral-24B", "repo_id": "mistralai/Devstral-24B",
          "served_model_name": "Devstral-24B", "key_policy": "generate"}
FIGURES = {"kv_cache_bytes": 42949672960, "num_blocks": 16384, "kv_tokens": 262144, "concurrency": 4.0, "max_model_len": 65536,
           "weights_bytes": {"value": 25769803776, "source": "computed"}, "activation_bytes": {"value": 2147483648, "source": "estimated"},
           "graph_bytes": {"value": 1073741824, "source": "measured"}}
PLANNED = {**FIGURES, "name": "devstral", "served_model_name": "Devstral-24B", "requested_bytes": 73014444032, "gpu_memory_utilization": 0.571,
           "arguments": ["--port", "8001", "--max-model-len", "65536"], "repairs": []}
REPAIR = {"id": "KB-001", "set": {"env": {"VLLM_USE_V1": None}, "container": {"shm_size": "16g", "ulimits": ["memlock:-1:-1"]}}, "reason": "r"}
REPAIRS = {"image_id": IMAGE["id"], "applied": [REPAIR]}
# The record deployment.json of this server, written out, as releases before the keys of every server wrote it: boxes hold it, and keep it.
DEPLOYMENT = {
    "name": "devstral", "image_name": "vllm-node", "vllm_version": "0.11.1", "model": "mistralai/Devstral-24B",
    "model_path": "/srv/models/mistralai/Devstral-24B", "manifest": "c" * 64, "served_model_name": "Devstral-24B", "address": "127.0.0.1", "port": 8001,
    "probe_url": "http://127.0.0.1:8001", "requested_bytes": 73014444032, "floor_bytes": 12884901888, "planned": FIGURES, "repairs": {},
    "container": {
        "name": "gb10-vllm-devstral", "image": IMAGE["id"], "shm_size_bytes": 8589934592, "ulimits": [], "stop_timeout_s": 60,
        "command": ["/bin/sh", "-c", SHELL, "gb10-vllm", "vllm", "serve", "/models/devstral", "--port", "8001", "--max-model-len", "65536"],
        "env": {"HOME": "/cache", "VLLM_CACHE_ROOT": "/cache/vllm", "TRITON_CACHE_DIR": "/cache/triton", "FLASHINFER_WORKSPACE_BASE": "/cache",
                "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        "volumes": ["/srv/models/mistralai/Devstral-24B:/models/devstral:ro", "/etc/gb10-vllm/devstral:/run/gb10:ro",
                    "/var/lib/gb10-vllm/cache/devstral:/cache:rw"],
        "published_ports": ["127.0.0.1:8001:8001"],
    },
    "inputs": "c334efcaebd6a894e246a56fea657d2d4ce7ab59d3b1cfceb2d7b075270c0ffc", "spec": "267782585eb717b81edae48e6a1f47df6538f4dbf45f7abfd8fd395aa4512799",
}
# The same server as it is deployed now, since issue 11: with bounds and a read-only root; its key guards every route, and no page of another origin is
# let in. Its inputs are the same, so that what runs is not replaced for this: the record above stays what runs until there is another reason.
START = ('umask 077; due=${GB10_KEY-}; set -a; [ -r /run/gb10/server.env ] && . /run/gb10/server.env; set +a; if [ "$due'
         '" = required ]; then unset VLLM_API_KEY; ( . /run/gb10/key.env && [ -n "$VLLM_API_KEY" ] ) 2>/dev/null || { ec'
         'ho "gb10.vllm: this server must not answer without a key, and /run/gb10/key.env holds none; run the playbook s'
         'ite again." >&2; exit 1; }; export PYTHONPATH="/opt/gb10-vllm${PYTHONPATH:+:$PYTHONPATH}"; fi; exec "$@"')
BOUNDS = {"pids_limit": 8192, "oom_score_adj": 800, "read_only": True, "tmpfs": ["/tmp:exec,mode=1777,size=4g"]}
OF_A_KEY = {"env": {**DEPLOYMENT["container"]["env"], "GB10_KEY": "required", "PYTHONPYCACHEPREFIX": "/cache/python/aaaaaaaaaaaa"},
            "command": ["/bin/sh", "-c", START, *DEPLOYMENT["container"]["command"][3:], "--allowed-origins", "[]", "--middleware", "guard_keys.GuardKeys"],
            "volumes": [*DEPLOYMENT["container"]["volumes"], "/usr/local/lib/gb10-vllm/engine:/opt/gb10-vllm:ro"]}
FRESH = {**DEPLOYMENT, "container": {**DEPLOYMENT["container"], **OF_A_KEY, **BOUNDS}, "key": "given",
         "spec": "af26825258a3a9e75188b3f108893b72c9676f4448cebf5cb69596b5f2032c8f"}
LACKING = ["a key that is asked for on every route", "an end to requests from web pages of any origin", "private files in its caches",
           "a bound on its processes", "an end before the system's own programs when memory is short", "a root file system that it cannot write"]
LOCKED = {"commit": COMMIT, "image_id": IMAGE["id"], "vllm_version": "0.11.1", "manifest": "c" * 64, "spec": DEPLOYMENT["spec"], "repairs": REPAIRS,
          "measured": {"available_kv_bytes": 42949000000, "kv_tokens": 262140, "concurrency": 3.99}, "deployment": DEPLOYMENT}
INPUTS = {"source": "build", "commit": COMMIT, "wheels": "auto", "jobs": 8, "transformers": "default", "arguments": ["--full-log"],
          "build_args": {"TORCH": "2.9"}, "uv_http_timeout_s": 300, "uv_http_retries": 5, "architecture": "aarch64",
          "ca_bundle": "f15424e481397dd54c332af1e6e866a74d2e9a6c9b29aefa8ee7a355fce1d57d",
          "base_images": {"nvidia/cuda:13.0.1-devel-ubuntu24.04": "sha256:bbbb"}}
VERSIONS = {"vllm_version": "0.11.1", "torch_version": "2.9.0", "cuda_version": "13.0"}
LABELS = {"gb10.vllm.inputs": "c22d5ecce780559488c3e10962445a2dc7c0c31012ebdbe78b1e7f5b6835ea52",
          "gb10.vllm.inputs.json": json.dumps(INPUTS, sort_keys=True, separators=(",", ":")),
          "gb10.vllm.source": "build", "gb10.vllm.commit": COMMIT, "gb10.vllm.uv_http_timeout_s": "300", "gb10.vllm.uv_http_retries": "5",
          "gb10.vllm.vllm_version": "0.11.1", "gb10.vllm.torch_version": "2.9.0", "gb10.vllm.cuda_version": "13.0"}
# Of a box whose inventory says nothing about the image: what is not said is no input, not even an empty one.
DEFAULT = {key: INPUTS[key] for key in ("source", "commit", "wheels", "transformers", "uv_http_timeout_s", "uv_http_retries", "architecture", "base_images")}
DEFAULT_LABELS = {"gb10.vllm.inputs": "721a7a6ec516942d91119b71aa776064ab792d662fa82b446bb7756c8ff0b78a", "gb10.vllm.inputs.json": json.dumps(DEFAULT)}
ARCHIVE, TAR = {"source": "archive", "archive": "e" * 64}, {"source": "archive", "archive": "/vllm.tar", "archive_identity": "e" * 64}
PREBUILT = {"source": "prebuilt", "image": "registry/vllm:1", "digest": "sha256:" + "d" * 64}
BUILD = {"ref": COMMIT, "jobs": 8, "arguments": ["--full-log"], "build_args": {"TORCH": "2.9"}, "ca_bundle": "ca.pem"}
CASES = [(LABELS, INPUTS, BUILD), (DEFAULT_LABELS, DEFAULT, {"ref": COMMIT}), ({}, PREBUILT, PREBUILT), ({}, ARCHIVE, TAR)]
# docker and git of a box that has the image, its base image and a checkout.
TOOL = """#!/bin/sh
case "$*" in *inspect*nvidia/cuda:13*) echo '[{"Id": "sha256:bbbb"}]' ;; *inspect*) cat image.json ;; *ls-tree*) echo Dockerfile ;;
*rev-parse*) echo 0123456789abcdef0123456789abcdef01234567 ;; *show*) echo 'FROM nvidia/cuda:13.0.1-devel-ubuntu24.04' ;; esac
"""
REPAIRING = {"planned": {**PLANNED, "repairs": [REPAIR]}, "repairs": REPAIRS}
IPV6 = {"address": "fd00::5", "key_policy": "generate"}
# inputs, spec and SHA-256 of the whole record. Issue 11 moved the last two of each (keys, bounds, read-only root), never the first: what is deployed
# stays. Of the IPv6 one the brackets moved, too, without which docker_container took no port; none ever ran.
PLAIN = [DEPLOYMENT["inputs"], FRESH["spec"], "553235ae628fab3aa335fac79d5eea785f597bde6a4a0143c0c9eb17d2da28ce"]
REPAIRED = ["b80d00024bc6b61b27479574b584aa07cea47dbfe08914e7e67623cc99774002", "bf05b44aef1d7c96e8b3bfb5c374f9193ad1a5ce407a9c20099744d1a2a38721",
            "7e066799b365762beee3e0ed1cacae4c699482fdcb7a816def06c516908b71e6"]
AT_IPV6 = ["83b8e5d38ca6c8e95aba7bd82fc4216ac8da85ad3b2de7765a2da7388f524b13", "1366e58ccae2ef042d95177403c3cc8c444463474f6ec211ec64f288c5fb1cbe",
           "d6b054c02410af6b372a378961e709d6eab556361bb03b10a5304b9d5bd6f243"]
# fmt: on


def sha256(value):
    text = value if isinstance(value, (bytes, str)) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


def decide(planned=PLANNED, record=None, containers=(), repairs=None, **changes):
    server, settings = {**SERVER, "api_key": "never hashed", "env": {"A": "b"}, **changes}, {**SETTINGS, "repairs": repairs or {}}
    asked = {"planned": planned, "server": server, "image": IMAGE, "manifest": "c" * 64, "record": record, "containers": list(containers), "settings": settings}
    return FilterModule().filters()["deployment_decision"](asked)


def test_what_is_hashed_for_a_server():
    """One more, fewer or different default, or 8 instead of 8.0, and every container of every box is replaced."""
    assert wanted.normalise([USER], "/srv/models") == [SERVER]
    defaults = {**yaml.safe_load((ROLE / "defaults/main.yml").read_text()), **yaml.safe_load((ROLE / "vars/main.yml").read_text())}
    values = {f"server_{name}": NativeEnvironment().from_string(str(defaults[f"server_{name}"])).render() for name in SETTINGS}
    assert json.dumps(NativeEnvironment().from_string(defaults["server_settings"]).render(values)) == json.dumps(SETTINGS)


@pytest.mark.parametrize(("given", "digests"), [({}, PLAIN), (REPAIRING, REPAIRED), (IPV6, AT_IPV6)])
def test_the_digests_of_a_deployment(given, digests):
    """Other inputs or another spec: every box replaces its containers and loads its models again; another record: every box rewrites it."""
    deployment = decide(**given)["deployment"]
    assert [deployment["inputs"], deployment["spec"], sha256(deployment)] == digests


def test_a_box_that_holds_the_record_and_the_container_is_left_alone():
    """Under other labels or record keys every box would replace its containers; the record stays although a fresh plan differs."""
    assert decide() == {"deployment": FRESH, "create": True, "reason": "it does not exist yet", "lacking": []}
    container = {"name": "gb10-vllm-devstral", "labels": {"gb10.vllm.server": "devstral", "gb10.vllm.spec": DEPLOYMENT["spec"]}}
    replanned = {**PLANNED, "requested_bytes": 1, "arguments": ["--port", "8001", "--max-model-len", "32768"]}
    assert decide(replanned, DEPLOYMENT, [container]) == {"deployment": DEPLOYMENT, "create": False, "reason": "unchanged", "lacking": LACKING}
    container["labels"]["gb10.vllm.spec"] = FRESH["spec"]
    assert decide(replanned, FRESH, [container]) == {"deployment": FRESH, "create": False, "reason": "unchanged", "lacking": []}
    labels = "labels: \"{{ {'gb10.vllm.server': server_wanted.name, 'gb10.vllm.spec': server_deployment.spec} }}\""
    assert labels in (ROLE / "tasks/start.yml").read_text() and box.SERVER_LABEL == "gb10.vllm.server"


def test_the_identity_of_an_image():
    """Every box would build its image again (up to hours) and replace every container, or be sent an image that it has."""
    assert image_identity.digest(INPUTS | {"vllm_ref": None}) == LABELS["gb10.vllm.inputs"]
    assert image_identity.labels(INPUTS, VERSIONS) == LABELS
    assert image_identity.recorded(LABELS) == INPUTS
    config = {"Env": ["PATH=/bin"], "Cmd": ["bash"], "Entrypoint": None, "WorkingDir": "/workspace", "User": "", "Labels": {"a": "b"}, "Hostname": "x"}
    layers = {"Type": "layers", "Layers": ["sha256:" + "1" * 64, "sha256:" + "2" * 64]}
    inspected = {"Id": IMAGE["id"], "Created": "2026-01-02T03:04:05Z", "Architecture": "arm64", "Os": "linux", "Config": config, "RootFS": layers}
    assert image_store.identity(inspected) == "0bb231e080216b6893e8b8c0a283233f5427087b869f0462330443510c9c5ee2"


@pytest.mark.parametrize(("labels", "inputs", "options"), CASES)
def test_an_image_of_the_same_inputs_is_left_alone(tmp_path, monkeypatch, labels, inputs, options):
    """With other inputs, or another shape of build/images.json, every box would build, pull or load its image again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64", sysname="Linux", nodename="spark-1", release="6", version="1"))
    Path("build/checkout/.git").mkdir(parents=True)
    Path("ca.pem").write_text("a certificate\n")
    Path("image.json").write_text(json.dumps([{"Id": IMAGE["id"], "Config": {"Labels": labels}}]))
    names = {} if labels else {"vllm-node:latest": {"image_id": IMAGE["id"], "inputs": inputs}}
    Path("build/images.json").write_text(json.dumps({"names": names, "metadata": {IMAGE["id"]: VERSIONS}}))
    tool = tmp_path / "tool"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    build = ImageBuild(Options(state_dir=str(tmp_path), **options), check_mode=True, docker=str(tool), git=str(tool))
    assert {key: value for key, value in build.inputs().items() if value is not None} == inputs
    done = build.run()
    assert (done["changed"], done["changed_inputs"], done["image"]["vllm_version"]) == (False, [], "0.11.1")
    assert box.read_versions(str(tmp_path)) == {IMAGE["id"]: {"vllm_version": "0.11.1", "cuda_version": "13.0"}}


def test_a_model_directory(tmp_path):
    """Another manifest: every container of every box is replaced and no lock can be deployed; another record: models are downloaded or sent again."""
    model = tmp_path / "tiny"
    model.mkdir()
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    (model / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}')
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt", "chat_template.jinja", "modeling.py", "a.tiktoken", "README.md"):
        (model / name).write_text("{}")
    os.utime(model / "vocab.txt", ns=(1700000000000000000, 1700000000000000000))
    entry = {"size": 2, "sha256": "f" * 64, "mtime_ns": 1700000000000000000}
    record = {"repo_id": "a/b", "revision": COMMIT, "endpoint": "https://huggingface.co", "files": {"vocab.txt": entry}}
    model_store.write_record(str(model), record)
    assert inspect_model(str(model))["manifest"] == "4df81cb579729cf293087965654e6fe3926b0f36569731bff74f8837cde03bd8"
    assert json.loads((model / ".gb10-vllm-record").read_text()) == record == model_store.read_record(str(model))
    assert [one for one in model_store.list_files(str(model)) if one["sha256"]] == [{"name": "vocab.txt", **entry}]
    assert model_store.identity(str(model)) == "7c7e833a6441591cbdf281dec8e3ccd1aff9bab49eec0355c18e9cf597193054"
    assert model_store.prepare_partial(str(model), "x") == str(tmp_path / "tiny.partial")
    assert (tmp_path / "tiny.partial/.gb10-vllm-record").read_text() == '{"arriving": "x"}'


def test_the_text_of_a_lock_file():
    """Lock files in users' version control would be refused, or rewritten without anything having changed."""
    facts = {"available_kv_bytes": 42949000000, "kv_tokens": 262140, "concurrency": 3.99, "load_s": 140.2}
    record = {"deployment": DEPLOYMENT, "measured": {"spec": DEPLOYMENT["spec"], "facts": facts}, "repairs": REPAIRS}
    images = {"vllm-node": {"id": IMAGE["id"], "labels": {"gb10.vllm.commit": COMMIT}}}
    lock = {"spark-1": locks.locked_box("10.0.0.1", {"servers": {"devstral": record}, "docker": {"images": images}})}
    assert lock == {"spark-1": {"address": "10.0.0.1", "servers": {"devstral": LOCKED}}}
    text = lock_file.dump(lock)
    assert sha256(text) == "b59f848678359146bf6e293396120b0a49e26438198ec828e77bfd4e8674bd3a"
    packed = yaml.safe_load(text)["gb10_lock"]["vars"]
    assert (packed["format"], list(packed["deployments"])) == (1, ["3d04d266e118"])
    assert lock_file.load(text, "gb10.lock.yml") == lock


def test_the_files_of_systemd_and_the_guard():
    """The unit of every server, the guard or the watch would be rewritten, and systemd reloaded, on every box."""
    template = jinja2.Environment(keep_trailing_newline=True, trim_blocks=True).from_string((ROLE / "templates/server.service.j2").read_text())
    settings = {"server_state_dir": "/var/lib/gb10-vllm", "server_guard": "/usr/local/lib/gb10-vllm/guard", "server_stop_timeout_s": "60"}
    mounts = " ".join(unit_word(path) for path in (SERVER["model_path"], settings["server_state_dir"]))
    text = template.render(server_wanted=SERVER, server_unit_mounts=mounts, server_restarts="3", server_restart_window_s="900", **settings)
    assert sha256(text) == "bed3561925eda596361afc19de71dc8dff3912c03df1038906ea1f524b374734"
    assert sha256((ROLE / "files/guard.py").read_bytes()) == "b9fe8bad8852c366093f0c0725e43819a16a877bd6955e52e0d86bf3e1d8dfdd"
    # The unit, the guard and the watch moved with issue 11 (starts are counted, busy is told from hung): they are written anew once, no server restarts.
    # The guard once more, before a release had it: the watch gives up an answer without end. Issue 16: it says for the monitoring what it saw. Issue 15:
    # it leaves `up` or `down` for a router. It lets a start in with a quarter of a GiB less than planned.
    # It gives /metrics ten seconds, so that a server full of requests is not taken for a silent one.
    # Issue 19: it notes that a rank of a server over several boxes waits, and asks nothing of one without an API.
    watch = jinja2.Environment(keep_trailing_newline=True, trim_blocks=True).from_string((ROLE / "templates/gb10-vllm-watch@.service.j2").read_text())
    text = watch.render(server_config_dir="/etc/gb10-vllm", server_wedged_s="900", **settings)
    assert sha256(text) == "951942221e4d7b8bca1ed42dd9cb2297ad9f9193c21849b988baa042f3ea87b9"
    assert sha256((ROLE / "files/gb10-vllm-watch@.timer").read_bytes()) == "e5956a565e577349ec9787a00c0707d59e9347e0346c8004ea79d582667b0792"
    shared = yaml.safe_load((ROLE / "vars/main.yml").read_text())["server_shared_files"][0]
    assert shared["content"] == "#!/usr/bin/python3\n{{ lookup('ansible.builtin.file', 'guard.py', rstrip=false) }}"
    guard = {"dest": "/guard", "content": "#!/usr/bin/python3\n" + (ROLE / "files/guard.py").read_text(), "mode": shared["mode"]}
    assert stale_files([guard], {"/guard": {"sha256": "5dd325ed0473faf712ff64fb21f8a253402526e21bcf67105d0385acad3fa043", "mode": "0755", "uid": 0}}) == []


def test_what_the_guard_reads(monkeypatch):
    """A guard on a box would no longer find the deployment it guards: it would refuse its start, or restart it for not answering."""
    for name in ("GB10_STATE_DIR", "GB10_MEMORY_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "makedirs", lambda *_args, **_more: None)
    specification = importlib.util.spec_from_file_location("guard", ROLE / "files/guard.py")
    guard = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(guard)
    deployment = {key: DEPLOYMENT[key] for key in ("requested_bytes", "floor_bytes", "served_model_name", "probe_url")}  # all that it needs
    files, asked = set(), []
    monkeypatch.setattr(guard, "read_json", lambda path: files.add(path) or (deployment if path.endswith("/deployment.json") else {}))
    monkeypatch.setattr(guard, "write_json", lambda path, _value: files.add(path))
    monkeypatch.setattr(guard, "available_bytes", lambda: 2**40)
    monkeypatch.setattr(guard.subprocess, "run", lambda *_args, **_more: SimpleNamespace(returncode=0))
    monkeypatch.setattr(guard.http.client.HTTPConnection, "request", lambda self, how, route, *_more, **_: asked.append((self.host, self.port, how, route)))
    monkeypatch.setattr(guard.http.client.HTTPConnection, "getresponse", lambda _self: os.stat("/nowhere/at/all"))
    assert guard.before_start("devstral") is None
    guard.watch("devstral")
    # Beside what it always read: starts, and a copy of all that it writes itself in memory (issue 11).
    held = {f"/var/lib/gb10-vllm/servers/devstral/{name}.json" for name in ("deployment", "starting", "failures", "starts")}
    assert files == held | {f"/run/gb10-vllm-guard/var-lib-gb10-vllm/devstral/{name}.json" for name in ("starting", "failures", "starts", "watched")}
    assert asked == [("127.0.0.1", 8001, *one) for one in (("GET", "/metrics"), ("POST", "/v1/completions"), ("GET", "/metrics"))]


def test_the_records_of_a_box(tmp_path):
    """A box would look as if nothing ran on it: its servers are started anew, and what they could go back to is forgotten."""
    kinds = ("deployment", "measured", "repairs", "history", "starting")
    (tmp_path / "servers/devstral").mkdir(parents=True)
    for kind in kinds:
        (tmp_path / f"servers/devstral/{kind}.json").write_text(json.dumps([kind]))
    assert box.read_records(str(tmp_path)) == {"devstral": {kind: [kind] for kind in kinds}}
    order = work_order({"wanted": SERVER, "plan": {"servers": [PLANNED]}, "image": IMAGE, "models": {}, "box": {"docker": {"containers": []}},
                        "unit_text": "", "settings": SETTINGS, "options": {"history": 5, "repair": True}})  # fmt: skip
    written = {file["dest"] for file in order["files"]}
    for kind in ("deployment", "repairs", "history"):
        assert f"/var/lib/gb10-vllm/servers/devstral/{kind}.json" in written
    for kind, file in (("measured", "settle.yml"), ("repairs", "repair.yml")):
        assert f"{{{{ server_state_dir }}}}/servers/{{{{ server_wanted.name }}}}/{kind}.json" in (ROLE / "tasks" / file).read_text()
    # What the guard writes it removes itself: since issue 11 it lies in two places.
    assert 'argv: ["{{ server_guard }}", forget, "{{ server_wanted.name }}"]' in (ROLE / "tasks/settle.yml").read_text()


def test_the_lock_of_a_run(tmp_path, monkeypatch):
    """Two controllers with different versions of the collection would not see each other's lock and change a box at the same time.

    ``boot_id`` and ``refreshed_boot_s`` came with issue 11 (a clock that is set must not free a lock); who does not know them reads the rest as before.
    """
    now = run_lock.Instant(1700000000.0, "b007", 17.5)
    monkeypatch.setattr(run_lock, "instant", lambda: now)
    owner = {"run": "0a1b2c3d", "owner": "ada@desk", "controller": {"machine": "m@desk", "boot_id": "b", "pid_namespace": "p", "pid": 7, "pid_started": 9}}
    assert run_lock.acquire(str(tmp_path), owner, 14400.0, None, None)["acquired"]
    assert (tmp_path / "run.lock").read_text() == (
        '{"acquired_at": 1700000000.0, "boot_id": "b007", '
        '"controller": {"boot_id": "b", "machine": "m@desk", "pid": 7, "pid_namespace": "p", "pid_started": 9}, '
        '"owner": "ada@desk", "refreshed_at": 1700000000.0, "refreshed_boot_s": 17.5, "run": "0a1b2c3d", "ttl_s": 14400.0}'
    )
    assert (tmp_path / "run.lock.0a1b2c3d").read_text() == "b007 17.50\n"
    later = run_lock.Instant(9e9, "b007", 17.5 + 14399)
    assert run_lock.standing(run_lock.read(str(tmp_path)), "another", later) == "held"
    before = {"run": "0a1b2c3d", "refreshed_at": 1700000000.0, "ttl_s": 14400.0}  # by a release before this one
    assert [run_lock.standing(before, "another", run_lock.Instant(1700014399.0 + more, "b007", 9e9)) for more in (0, 2)] == ["held", "expired"]
