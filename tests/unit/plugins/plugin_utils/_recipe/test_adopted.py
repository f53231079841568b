# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that people start by hand, as `docker inspect` shows them, become entries that the plan takes; no secret comes out."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._adoption.container import described, serve_words, shell_text, without_secrets
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters.servers import server_mistakes
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.adopted import adopted

IMAGE = {"Id": "sha256:" + "1" * 64, "RepoTags": ["vllm-node:latest"], "Config": {"Env": ["PATH=/usr/bin", "VLLM_BASE_DIR=/workspace"]}}
# The seed's own `docker run`.
SEED = {
    "Name": "/vllm-devstral", "Image": IMAGE["Id"], "Path": "vllm",
    "Args": ["serve", "/models/devstral-small-2-24b", "--port", "8000", "--host", "0.0.0.0", "--gpu-memory-utilization", "0.85", "--max-model-len", "65536",
             "--enforce-eager", "--trust-remote-code"],
    "State": {"Status": "running", "Running": True},
    "Config": {"Image": "vllm-node", "Env": ["PATH=/usr/bin", "VLLM_BASE_DIR=/workspace"], "Labels": {}},
    "HostConfig": {"NetworkMode": "host", "IpcMode": "host", "Privileged": True, "RestartPolicy": {"Name": "no"}, "ShmSize": 67108864, "PortBindings": {}},
    "Mounts": [{"Type": "bind", "Source": "/home/ben/models/devstral-small-2-24b/safetensors", "Destination": "/models/devstral-small-2-24b"}],
}  # fmt: skip
WAY = {"models_dir": "/srv/models", "allow_open": False, "listen": "127.0.0.1"}


def changed(**parts):
    made = copy.deepcopy(SEED)
    for key, value in parts.items():
        made[key] = {**made[key], **value} if isinstance(value, dict) and isinstance(made.get(key), dict) else value
    return made


def take(*containers, processes=(), snapshots=None, image=IMAGE):
    found = [described(one, image, processes) for one in containers]
    assert all(found)
    return adopted([one | {"snapshots": snapshots or {}} for one in found])


def reasons(found):
    return " ".join(found["text"].split())


def test_the_seeds_container_becomes_an_entry_and_what_is_other_is_said():
    found = take(SEED)
    assert found["problems"] == [] and found["image"] == {"source": "existing", "name": "vllm-node"}
    assert found["servers"] == [
        {
            "name": "vllm-devstral",
            "model": "/home/ben/models/devstral-small-2-24b/safetensors",
            "served_model_name": "/models/devstral-small-2-24b",
            "port": 8000,
            "gpu_memory_ceiling": 0.85,
            "max_model_len": 65536,
            "cuda_graphs": "never",
        }
    ]
    said = reasons(found)
    for part in ("a ceiling and no demand", "0.0.0.0 would open it to everybody", "a container here has no privileges", "it asked nobody for a key",
                 "shared memory is gb10_shm_gib", "runs only where you say `trust_remote_code: true`", "what clients call it now"):  # fmt: skip
        assert part in said, part
    assert "recipe" not in said and "author" not in said
    assert found["replace"] == "docker stop vllm-devstral   # docker start vllm-devstral brings it back"


def test_what_is_written_is_an_inventory_that_the_plan_takes():
    found = take(SEED)
    read = yaml.safe_load(found["inventory"])
    assert read == {"gb10_image": found["image"], "gb10_servers": found["servers"]}
    assert server_mistakes(read["gb10_servers"], image=read["gb10_image"], **WAY) == []


@pytest.mark.parametrize(
    ("path", "args"),
    [
        ("bash", ["-c", "vllm serve /models/devstral-small-2-24b \\\n --max-model-len 65536"]),
        ("/bin/bash", ["-lc", "VLLM_LOGGING_LEVEL=DEBUG exec vllm serve /models/devstral-small-2-24b --max-model-len=65536"]),
        ("/opt/nvidia/nvidia_entrypoint.sh", ["vllm", "serve", "/models/devstral-small-2-24b", "--max-model-len", "64K"]),
        ("python3", ["-m", "vllm.entrypoints.openai.api_server", "--model", "/models/devstral-small-2-24b", "--max-model-len", "65536"]),
        ("/usr/bin/python3", ["/usr/local/bin/vllm", "serve", "--model=/models/devstral-small-2-24b", "--max_model_len", "65536"]),
        ("tini", ["--", "vllm", "serve", "/models/devstral-small-2-24b", "--max-model-len", "65536"]),
    ],
)
def test_however_it_is_called(path, args):
    (entry,) = take(changed(Path=path, Args=args))["servers"]
    assert entry["model"] == "/home/ben/models/devstral-small-2-24b/safetensors" and entry["max_model_len"] in (65536, 64000)


def test_one_that_was_started_later_in_a_shell_is_read_from_its_process():
    idle = changed(Path="bash", Args=[])
    assert described(idle, IMAGE, []) is None
    (entry,) = take(idle, processes=[["bash"], ["/usr/bin/python3", "/usr/local/bin/vllm", "serve", "/models/devstral-small-2-24b", "--port", "9000"]])[
        "servers"
    ]
    assert entry["port"] == 9000


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["nginx"], ""),
        (["vllm", "bench", "serve"], ""),
        (["bash", "-c", "echo vllm"], ""),
        (["python3", "-m", "http.server"], ""),
        (["ollama", "serve"], ""),
        ([], ""),
    ],
)
def test_what_serves_no_vllm_is_none(argv, word):
    assert serve_words(argv) == [] and shell_text(argv) == word


def test_a_shell_that_does_more_is_refused_with_the_reason():
    found = take(changed(Path="bash", Args=["-c", "source /env.sh && vllm serve /models/devstral-small-2-24b"]))
    assert found["servers"] == [] and found["inventory"] == "" and "starts a second command" in found["problems"][0]


def test_secrets_come_out_nowhere_and_where_they_go_is_said():
    key, token = "key-that-nobody-may-see", "hf_" + "a" * 34
    argv = ["serve", "/models/devstral-small-2-24b", "--api-key", key, "second-" + key, "--port", "8000", f"--hf-token={token}"]
    container = changed(Args=argv, Config={"Env": ["PATH=/usr/bin", f"HF_TOKEN={token}", f"VLLM_API_KEY={key}", f"MY_PASSWORD={key}", "VLLM_USE_V1=1"]})
    seen = described(container, IMAGE, [])
    found = adopted([seen | {"snapshots": {}}])
    for text in (json.dumps(seen), json.dumps(found)):
        assert key not in text and token not in text
    (entry,) = found["servers"]
    assert entry["port"] == 8000 and entry["env"] == {"VLLM_USE_V1": "1"}
    assert 'api_key: "{{ vault_vllm_devstral_api_key }}"' in found["inventory"] and "gb10_hub: {token:" in found["inventory"]
    assert "env: {MY_PASSWORD:" in found["inventory"] and "it asked nobody for a key" not in found["text"]
    assert yaml.safe_load(found["inventory"])["gb10_servers"] == [entry], "a hint is a comment"


@pytest.mark.parametrize("words", [["--api-key=abc"], ["--api-key", "abc"], ["--api-key", "abc", "def"], ["--api_key", "abc"]])
def test_a_key_is_hidden_however_it_is_written(words):
    shown, hidden = without_secrets(["vllm", "serve", "m", *words, "--port", "1"])
    assert "abc" not in " ".join(shown) and "def" not in " ".join(shown) and shown[-2:] == ["--port", "1"] and len(hidden) == 1


def test_a_published_port_counts_and_an_open_one_is_said():
    bound = {"NetworkMode": "bridge", "PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": "9001"}]}}
    found = take(changed(HostConfig=bound))
    assert found["servers"][0]["port"] == 9001 and "it was open to everybody" in reasons(found)
    loop = {"NetworkMode": "bridge", "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}}
    assert "open to everybody" not in reasons(take(changed(HostConfig=loop, Args=["serve", "/models/devstral-small-2-24b"])))
    assert "no port was published" in reasons(take(changed(HostConfig={"NetworkMode": "bridge"})))


def test_a_model_of_the_hubs_cache_is_named_where_it_lies():
    container = changed(
        Args=["serve", "acme/tiny"], Mounts=[{"Type": "bind", "Source": "/home/ben/.cache/huggingface", "Destination": "/root/.cache/huggingface"}]
    )
    place = "/home/ben/.cache/huggingface/hub/models--acme--tiny/snapshots/0123"
    (entry,) = take(container, snapshots={"acme/tiny": place})["servers"]
    assert (entry["model"], entry["served_model_name"], entry["port"]) == (place, "acme/tiny", 8000)
    (entry,) = take(container)["servers"]
    assert entry["model"] == "acme/tiny"


def test_a_model_in_the_container_itself_cannot_be_taken_over():
    found = take(changed(Mounts=[]))
    assert found["servers"] == [] and "docker cp vllm-devstral:/models/devstral-small-2-24b /srv/models/" in found["problems"][0]


def test_files_that_arguments_name_are_those_of_the_box_or_of_the_image():
    mounts = [
        *SEED["Mounts"],
        {"Type": "bind", "Source": "/home/ben/t", "Destination": "/t"},
        {"Type": "bind", "Source": "/home/ben/logs", "Destination": "/logs"},
    ]
    draft = '{"model": "/t/draft", "num_speculative_tokens": 3}'
    argv = ["serve", "/models/devstral-small-2-24b", "--chat-template", "/t/chat.jinja", "--tool-parser-plugin=/opt/parser.py", "--speculative-config", draft]
    found = take(changed(Args=argv, Mounts=mounts))
    args = found["servers"][0]["args"]
    assert args["chat_template"] == "/home/ben/t/chat.jinja" and args["tool_parser_plugin"] == "image:/opt/parser.py"
    assert args["speculative_config"] == {"model": "/home/ben/t/draft", "num_speculative_tokens": 3}
    assert "--volume /logs" in found["text"] and "--volume /t " not in found["text"]


@pytest.mark.parametrize(
    "words", [["--lora-modules", "x=/l/x", "y=org/y", "z=/opt/z"], ["--lora-modules=x=/l/x"], ["--lora-modules", '{"name":"x","path":"/l/x"}']]
)
def test_adapters_that_have_names_are_found_on_the_box(words):
    mounts = [*SEED["Mounts"], {"Type": "bind", "Source": "/srv/l", "Destination": "/l"}, {"Type": "bind", "Source": "/srv/l2", "Destination": "/l2"}]
    found = take(changed(Args=["serve", "/models/devstral-small-2-24b", "--enable-lora", *words], Mounts=mounts))
    given = found["servers"][0]["args"]["lora_modules"]
    assert "/srv/l/x" in json.dumps(given) and '"/l/' not in json.dumps(given) and "=/l/" not in json.dumps(given)
    if len(words) > 2:
        assert given == ["x=/srv/l/x", "y=org/y", "z=image:/opt/z"]
    assert "--volume /l " not in found["text"] and "--volume /l2" in found["text"]
    assert server_mistakes(found["servers"], **WAY) == []


@pytest.mark.parametrize("words", [["--nnodes", "2", "--node-rank", "1", "--headless"], ["--node-rank=1"], ["--headless"], ["--data-parallel-start-rank", "1"]])
def test_a_worker_of_a_server_over_several_boxes_is_none_by_itself(words):
    found = take(changed(Args=["serve", "/models/devstral-small-2-24b", "-tp", "2", "--master-addr", "192.168.177.11", *words]))
    assert found["servers"] == [] and "adopt the server where its head runs" in found["problems"][0]


def test_its_head_is_one_over_several_boxes():
    argv = ["serve", "/models/devstral-small-2-24b", "-tp", "2", "--nnodes", "2", "--node-rank", "0", "--master-addr", "192.168.177.11"]
    (entry,) = take(changed(Args=argv))["servers"]
    assert (entry["boxes"], entry["tensor_parallel"]) == (2, 2) and "args" not in entry


def test_an_image_whose_name_moved_or_is_gone():
    moved = take(SEED, image=IMAGE | {"RepoTags": ["vllm-node:previous"]})
    assert moved["image"]["name"] == "vllm-node:previous" and "means another image by now" in reasons(moved)
    gone = take(SEED, image=IMAGE | {"RepoTags": []})
    assert gone["image"]["name"] == "vllm-node:adopted" and "docker tag sha256:111111111111 vllm-node:adopted" in reasons(gone)


def test_two_on_a_box():
    both = take(SEED, changed(Name="/vllm_devstral", Args=["serve", "/models/devstral-small-2-24b", "--port", "8001"]))
    assert [one["name"] for one in both["servers"]] == ["vllm-devstral", "vllm-devstral-2"] and both["problems"] == []
    found = [described(SEED, IMAGE, []), described(changed(Config={"Image": "other:1"}), IMAGE | {"Id": "x", "RepoTags": ["other:1"]}, [])]
    several = adopted([one | {"snapshots": {}} for one in found])
    assert several["problems"] == [] and several["image"] == {"source": "existing", "name": "vllm-node"}
    assert [one.get("image") for one in several["servers"]] == [None, {"source": "existing", "name": "other:1"}]
    assert yaml.safe_load(several["inventory"])["gb10_servers"][1]["image"]["name"] == "other:1"


def test_how_it_is_stopped():
    restarts = take(changed(HostConfig={"RestartPolicy": {"Name": "always"}}))["replace"]
    assert restarts.splitlines() == ["docker update --restart=no vllm-devstral", "docker stop vllm-devstral   # docker start vllm-devstral brings it back"]
    compose = take(changed(Config={"Labels": {"com.docker.compose.project": "llm"}}))["replace"]
    assert compose == "docker stop vllm-devstral   # of the compose project llm"


def test_a_text_that_ansible_would_run_is_refused():
    found = take(changed(Args=["serve", "/models/devstral-small-2-24b", "--chat-template", "{{ lookup('pipe', 'id') }}"]))
    assert found["servers"] == [] and found["problems"]


@pytest.mark.parametrize("broken", [{}, {"Name": "/x"}, {"Name": "/x", "Path": "vllm", "Args": ["serve"], "Config": None, "HostConfig": None, "Mounts": None}])
def test_any_shape_of_inspect_is_read(broken):
    seen = described(broken, {}, [])
    assert seen is None or adopted([seen | {"snapshots": {}}])["problems"]


def test_a_label_of_a_container_adds_no_command_to_those_that_are_there_to_be_pasted():
    facts = {
        "name": "x", "options": [], "command": ["vllm", "serve", "o/m"], "script": "", "env": {}, "mounts": [], "image": "v:1", "image_names": ["v:1"],
        "image_id": "sha256:1", "secrets": [], "snapshots": {}, "ports": [], "network": "bridge", "restart": "", "compose": "p\nrm -rf ~; $(id) \x1b[2J",
    }  # fmt: skip
    found = adopted([facts])
    assert found["replace"] == "docker stop x   # of the compose project p rm -rf id 2J"
