# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that an owner can trust overnight: kept secrets, least privilege, and what happens when something is killed.

The tests share one box and run in the order of this file: each leaves a server that answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from server_box import CLEAN, FLEET, STATE, Arguments, Box

KEY = """gb10-e2e key's $HOME "quoted" zq7xwv"""
TOKEN = "e2e-hf-token-kwj4yu"
REUSE = bool(os.environ.get("GB10_E2E_REUSE"))  # while working on these tests: the box stays, with what the last run left on it
SECRETS = (KEY, "zq7xwv", "kwj4yu")  # the parts are the same however the whole is quoted
# The intervals of a real box, shortened the way an owner would change them.
DROP_INS = {
    "gb10-vllm-watch@tiny.service": "[Service]\nEnvironment=GB10_PROBE_TIMEOUT_S=10 GB10_FAILURES_BEFORE_RESTART=2\n",
    "gb10-vllm-watch@tiny.timer": "[Timer]\nOnActiveSec=\nOnUnitActiveSec=\nOnActiveSec=3\nOnUnitActiveSec=3\nAccuracySec=1\n",
}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    made = Box(tmp_path_factory.mktemp("server"), {})
    if not REUSE:
        made.run(CLEAN, check=False)
    tiny = {"name": "tiny", "model": "tiny-llama", "port": 8000, "address": made.address, "max_model_len": 2048, "concurrency": 2}
    tiny |= {"kv_cache_memory_gib": 0.25, "args": {"dtype": "float32", "enforce_eager": True}, "env": {"HF_TOKEN": TOKEN}}
    made.wish(gb10_allow_open=False, gb10_api_key=KEY, gb10_servers=[tiny])
    yield made
    if not REUSE:
        made.run(CLEAN, check=False)
        subprocess.run(["python3", "tests/boxes/boxes", "--fleet", FLEET, "down", "--keep-images"], check=False)


def change_units(box, changes):
    """What `systemctl edit` does."""
    for name, text in changes.items():
        folder = f"/etc/systemd/system/{name}.d"
        box.run(f"mkdir -p {folder}; cat > {folder}/test.conf <<'EOF'\n{text}EOF")
    box.run("systemctl daemon-reload")


@pytest.fixture
def watched_closely(box, deployed):
    change_units(box, DROP_INS)
    box.run("systemctl restart gb10-vllm-watch@tiny.timer")
    yield
    box.run("rm -r " + " ".join(f"/etc/systemd/system/{name}.d" for name in DROP_INS))
    box.run("systemctl daemon-reload; systemctl restart gb10-vllm-watch@tiny.timer")


@pytest.fixture(scope="module")
def deployed(box):
    """The first run, as talkative as it gets; with it the arguments of all processes meanwhile."""
    with Arguments() as arguments:
        printed = box.play("site.yml", "-vvv", "--diff")
    change_units(box, {"gb10-vllm-tiny.service": "[Service]\nRestartSec=1\n"})
    return {"printed": printed, "arguments": arguments.seen}


def test_no_secret_is_seen_anywhere(box, deployed):
    printed = deployed["printed"] + box.play("status") + box.play("plan")
    assert [secret for secret in SECRETS if secret in printed] == []
    assert len(deployed["arguments"]) > 50
    assert [one for one in deployed["arguments"] if any(secret.encode() in one for secret in SECRETS)] == []
    on_box = box.run("docker inspect gb10-vllm-tiny; docker logs gb10-vllm-tiny 2>&1; journalctl --no-pager -o cat; ps -eo args")
    assert "gb10-vllm" in on_box
    assert [secret for secret in SECRETS if secret in on_box] == []
    written = {path.name: path.read_text() for path in box.folder.iterdir() if path.is_file()}
    assert {"gb10.lock.yml", "gb10-plan.json", "gb10-status.json", "gb10-status.html"} <= set(written)
    assert [name for name, text in written.items() if any(secret in text for secret in SECRETS)] == []


def test_secrets_lie_in_private_files_only(box, deployed):
    folders = f"/etc {STATE} /tmp /usr/local /root /home /run/systemd /var/log /srv"
    # As an expression that does not match itself: sudo writes commands into the journal.
    found = box.run(f"grep -rlsE 'zq7[x]wv|kwj[4]yu' {folders} | xargs -r stat -c '%n %a %U'").splitlines()
    assert sorted(found) == ["/etc/gb10-vllm/tiny/key.env 600 root", "/etc/gb10-vllm/tiny/server.env 600 root"]
    assert box.run("stat -c '%a %U' /etc/gb10-vllm/tiny") == "700 root"


def test_the_container_got_the_environment(box, deployed):
    # Only root on the box sees it, in the process itself.
    pid = box.run("docker inspect -f '{{.State.Pid}}' gb10-vllm-tiny")
    environment = box.run(f"tr '\\0' '\\n' < /proc/{pid}/environ").splitlines()
    assert f"VLLM_API_KEY={KEY}" in environment
    assert f"HF_TOKEN={TOKEN}" in environment


def test_only_with_the_key_and_only_on_the_address_named(box, deployed):
    assert box.ask(8000, KEY) == 200
    assert box.ask(8000) == 401
    assert box.ask(8000, "another") == 401
    listening = box.run("ss -Hltn 'sport = :8000'").split()
    assert f"{box.address}:8000" in listening
    assert not [word for word in listening if word in ("0.0.0.0:8000", "[::]:8000", "*:8000")]


def test_the_container_may_do_little(box, deployed):
    seen = json.loads(box.run("docker inspect gb10-vllm-tiny"))[0]
    host = seen["HostConfig"]
    assert (host["Privileged"], host["CapDrop"], host["CapAdd"]) == (False, ["ALL"], None)
    assert "no-new-privileges" in host["SecurityOpt"][0]
    assert host["NetworkMode"] != "host" and host["PidMode"] == "" and host["IpcMode"] == "private"
    writable = {mount["Destination"]: mount["RW"] for mount in seen["Mounts"]}
    assert writable == {"/models/tiny": False, "/run/gb10": False, "/cache": True}
    assert (host["PidsLimit"], host["OomScoreAdj"], host["ReadonlyRootfs"], host["Tmpfs"]) == (8192, 800, True, {"/tmp": "exec,mode=1777,size=4g"})
    assert box.run("cat /proc/$(docker inspect -f '{{.State.Pid}}' gb10-vllm-tiny)/oom_score_adj") == "800"
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "50m"}}
    assert host["RestartPolicy"]["Name"] == "no", "systemd restarts it, within bounds"


def test_the_run_shows_predicted_against_measured(box, deployed):
    printed = deployed["printed"]
    if not REUSE:
        start = printed.index("tiny, ready after")
        shown = printed[start : start + 800]
        assert "predicted" in shown and "KV tokens" in shown and "concurrency" in shown
    measured, planned = box.record("tiny", "measured"), box.record("tiny", "deployment")["planned"]
    assert measured["facts"]["kv_tokens"] == planned["kv_tokens"], "the sizing is exact from the KV cache's bytes on"


def test_a_proven_start_needs_no_sentinel(box, deployed):
    assert box.run(f"ls {STATE}/servers/tiny").split() == ["deployment.json", "measured.json"]


KILLS = {
    "the engine": "kill -KILL $(pgrep -f VLLM:: | head -1)",
    "the container": "docker kill gb10-vllm-tiny",
    "Docker, which restarts": "systemctl restart docker",
    "Docker, which dies": "systemctl kill -s KILL docker",
}


def test_whatever_is_killed_the_server_answers_again_without_a_hand(box, deployed):
    cached = box.run(f"stat -c '%n %Y' $(find {STATE}/cache/tiny -name '*.json')")
    assert "modelinfos" in cached
    for what, command in KILLS.items():
        before = box.started_at()
        # Four starts in a quarter of an hour are the limit on a real box; this is not what is tested here.
        box.run(f"systemctl reset-failed gb10-vllm-tiny; {command}")
        took = box.starts_again(before)
        print(f"killed {what}: started again after {took:.0f} s")
    box.answers(8000, KEY)
    assert box.run(f"stat -c '%n %Y' $(find {STATE}/cache/tiny -name '*.json')") == cached, "the next start uses what the first left"
    said = box.journal("gb10-vllm-tiny")
    assert "tiny ended with exit code 0" in said and "tiny ended with exit code 137" in said


def test_a_hanging_engine_is_seen_and_restarted(box, watched_closely):
    before = box.started_at()
    engine = box.processes("VLLM::")
    box.run(f"systemctl stop gb10-vllm-watch@tiny.timer; kill -STOP {' '.join(map(str, engine))}")
    play = box.folder / "ready.yml"
    play.write_text(
        json.dumps(
            [
                {
                    "hosts": "gb10", "gather_facts": False, "become": True,
                    "tasks": [{"gb10.vllm.server_ready": {
                        "container": "gb10-vllm-tiny", "base_url": f"http://{box.address}:8000", "api_key_file": "/etc/gb10-vllm/tiny/key.env",
                        "answer_timeout_s": 2, "stall_s": 5, "timeout_s": 100000, "repair": False,
                    }}],
                }
            ]
        )
    )  # fmt: skip
    seen = box.play(str(play), rc=2)
    assert "real requests in a row got no answer" in seen or "no sign of life" in seen, seen
    box.run("systemctl start gb10-vllm-watch@tiny.timer")
    box.starts_again(before)
    box.answers(8000, KEY)
    watched = box.journal("gb10-vllm-watch@tiny")
    assert "tiny did not answer (1 of 2)" in watched and "restarting gb10-vllm-tiny.service" in watched


def test_a_reboot_ends_in_a_server_that_answers(box, deployed):
    boot = box.run("cat /proc/sys/kernel/random/boot_id")
    subprocess.run(["docker", "restart", "--time", "60", box.container], check=True, capture_output=True, timeout=120)
    box.answers(8000, KEY)
    assert box.run("cat /proc/sys/kernel/random/boot_id") != boot


def fails(box) -> str:
    """Waits until systemd has given up the server and returns what its journal says since the last reset."""
    box.wait_until(lambda: box.run("systemctl is-failed gb10-vllm-tiny", check=False) == "failed")
    assert box.run("docker ps -q") == ""
    time.sleep(5)
    assert box.run("systemctl is-failed gb10-vllm-tiny", check=False) == "failed", "it stays down"
    return box.run("systemctl status --no-pager -n 30 gb10-vllm-tiny", check=False)


def test_a_server_that_always_fails_is_left_down_and_says_so(box, deployed):
    since = box.run("date +%s")
    box.run("echo 'exit 3' >> /etc/gb10-vllm/tiny/server.env; systemctl reset-failed gb10-vllm-tiny; systemctl restart gb10-vllm-tiny")
    assert "tiny ended with exit code 3." in fails(box)
    journal = box.run(f"journalctl -o cat --no-pager --since @{since} -u gb10-vllm-tiny")
    assert journal.count("tiny ended with exit code 3.") == 4, "one start and three restarts"
    assert "it exited with code 3" in box.play("status")


def test_too_little_memory_refuses_a_start_with_the_numbers(box, deployed):
    record = f"{STATE}/servers/tiny/deployment.json"
    floor = """'s/"floor_bytes": [0-9]*/"floor_bytes": 1099511627776/'"""
    box.run(f"cp -p {record} /tmp/deployment.json; sed -i {floor} {record}; systemctl reset-failed gb10-vllm-tiny")
    box.run("systemctl start gb10-vllm-tiny", check=False)
    said = fails(box)
    assert "not started: tiny takes " in said and "of the 1024.0 GiB this box keeps for itself" in said
    box.run(f"mv /tmp/deployment.json {record}")


def test_a_box_that_loses_power_while_it_starts_a_server_waits_for_site(box, deployed):
    box.run("sed -i '/^exit 3$/d' /etc/gb10-vllm/tiny/server.env; systemctl reset-failed gb10-vllm-tiny; systemctl start --no-block gb10-vllm-tiny")
    box.wait_until(lambda: box.run("docker ps -q") and "boot_id" in box.run(f"cat {STATE}/servers/tiny/starting.json", check=False))
    subprocess.run(["docker", "kill", box.container], check=True, capture_output=True)
    subprocess.run(["docker", "start", box.container], check=True, capture_output=True)
    box.wait_until(lambda: "started" in box.run("echo started", check=False))
    said = fails(box)
    assert "the box went down while tiny was starting" in said and "Run the playbook site again" in said
    printed = box.play("site.yml")
    assert "failed=0" in printed
    assert box.ask(8000, KEY) == 200


def second(box, **changes):
    return dict(box.variables["gb10_servers"][0], name="second", port=8001, **changes)


def test_a_pair_that_cannot_fit_is_refused_with_numbers(box, deployed):
    first = box.variables["gb10_servers"][:1]
    box.wish(gb10_servers=[*first, second(box, kv_cache_memory_gib=500)])
    before = box.started_at()
    printed = box.play("site.yml", rc=2)
    refusal = next(line for line in printed.splitlines() if "Nothing was changed" in line)
    assert "second" in refusal and "GiB" in refusal
    box.wish(gb10_servers=first)
    assert (box.ask(8000, KEY), box.started_at()) == (200, before)


def test_a_second_server_is_repaired_and_added_to_the_first(box, deployed):
    first, before = box.variables["gb10_servers"][:1], box.started_at()
    # Fewer blocks than the plan counts on: what the plan cannot know, the engine says in its own words.
    blocks = {**first[0]["args"], "num_gpu_blocks_override": 12}
    box.wish(gb10_servers=[*first, second(box, args=blocks, api_key="second-key-5521")], gb10_repair=False)
    proposed = box.play("site.yml", rc=2)
    assert "A safe repair would be: max_model_len 2048 -> " in proposed
    assert box.run(f"ls {STATE}/servers/second/repairs.json", check=False) == ""

    box.wish(gb10_repair=True)
    printed = box.play("site.yml")
    repaired = next(line for line in printed.splitlines() if "repairing second" in line)
    assert "max_model_len 2048 -> " in repaired
    repairs = box.record("second", "repairs")["applied"]
    length = repairs[0]["set"]["max_model_len"]
    assert [one["id"] for one in repairs] == ["KB-101"] and 1024 <= length <= 12 * 128
    assert box.ask(8001, "second-key-5521", model="tiny-llama") == 200
    assert box.ask(8001, KEY) == 401
    assert box.record("second", "deployment")["planned"]["max_model_len"] == length
    assert (box.ask(8000, KEY), box.started_at()) == (200, before), "the first went on meanwhile"

    again = box.play("site.yml")
    assert "changed=0" in again and "failed=0" in again
    box.play("status")
    plans = json.loads((box.folder / "gb10-status.json").read_text())["boxes"][box.name]["servers"]
    assert {one["server"]: one["planned"]["max_model_len"] for one in plans} == {"tiny": 2048, "second": length}

    box.wish(gb10_servers=first)
    assert "still holds second, no longer in gb10_servers" in " ".join(box.play("site.yml").split())
    assert box.ask(8001, "second-key-5521") == 200
    box.play("site.yml", "-e", "gb10_prune=true")
    left = box.run(f"docker ps -a --format '{{{{.Names}}}}'; ls {STATE}/servers {STATE}/cache /etc/gb10-vllm; ls /etc/systemd/system")
    assert "tiny" in left and "second" not in left
    assert (box.ask(8000, KEY), box.started_at()) == (200, before)


def test_a_model_that_was_replaced_comes_back_with_a_rollback(box, deployed):
    box.wish(gb10_servers=box.variables["gb10_servers"][:1])
    # As model_fetch and share put a new version in the place of an old one.
    box.run("cd /srv/models; cp -a tiny-llama new; echo >> new/config.json; mv tiny-llama tiny-llama@0badc0de; mv new tiny-llama")
    assert "the files in /srv/models/tiny-llama changed" in box.play("site.yml")
    history = f"{STATE}/servers/tiny/history.json"
    box.run(f"cp {history} /tmp/history.json; sed -i 's/sha256:[0-9a-f]*/sha256:{'0' * 64}/' {history}")
    assert "the image that tiny ran with before is no longer on this box" in " ".join(box.play("rollback", "-e", "server=tiny", rc=2).split())
    box.run(f"mv /tmp/history.json {history}")
    box.play("rollback", "-e", "server=tiny")
    mounts = box.run("docker inspect -f '{{range .Mounts}}{{println .Source}}{{end}}' gb10-vllm-tiny").split()
    assert "/srv/models/tiny-llama@0badc0de" in mounts and "/srv/models/tiny-llama" not in mounts
    assert box.ask(8000, KEY) == 200


def test_a_rollback_brings_back_another_model_over_a_reboot_and_twice_in_a_row(box, deployed):
    first = box.variables["gb10_servers"][0]
    box.run("cp -a /srv/models/tiny-llama /srv/models/other")
    box.wish(gb10_servers=[dict(first, model="other")])
    box.play("site.yml")
    box.wish(gb10_servers=[dict(first, model="other", max_model_len=1024)])
    box.play("site.yml")
    subprocess.run(["docker", "restart", "--time", "60", box.container], check=True, capture_output=True, timeout=120)
    box.wait_until(lambda: "started" in box.run("echo started", check=False))
    box.play("rollback")
    assert (box.ask(8000, KEY, model="other"), box.record("tiny", "deployment")["planned"]["max_model_len"]) == (200, 2048)
    box.play("rollback")
    assert (box.ask(8000, KEY), box.record("tiny", "deployment")["model_path"]) == (200, "/srv/models/tiny-llama")
    box.play("status")
    (seen,) = json.loads((box.folder / "gb10-status.json").read_text())["boxes"][box.name]["servers"]
    assert (seen["model"], len(seen["history"])) == ("tiny-llama", len(box.record("tiny", "history")))
    box.wish(gb10_servers=[first])


# On a GPU a capture can fail; here a program in front of vLLM says what vLLM says then, as long as graphs are to be captured.
NO_GRAPHS = r"""
mkdir -p /tmp/cuda && cd /tmp/cuda
cat > vllm <<'EOF'
#!/bin/sh
case " $* " in *" --enforce-eager "*) exec vllm-real "$@" ;; esac
echo "(EngineCore pid=120) ERROR 11-20 08:04:06 [core.py:1136] torch.AcceleratorError: CUDA error: operation not permitted when stream is capturing"
echo "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
exit 1
EOF
chmod 755 vllm
cat > Dockerfile <<'EOF'
FROM vllm-node
RUN mv "$(command -v vllm)" /usr/local/bin/vllm-real
COPY vllm /usr/local/bin/vllm
EOF
DOCKER_BUILDKIT=0 docker build -q -t vllm-cuda .
"""


def test_graphs_are_given_up_only_step_by_step_and_only_over_a_real_capture_error(box, deployed):
    box.run(NO_GRAPHS)
    first = box.variables["gb10_servers"][0]
    box.wish(gb10_image={"source": "existing", "name": "vllm-cuda"}, gb10_servers=[dict(first, args={"dtype": "float32"})])
    printed = box.play("site.yml")
    repaired = [line for line in printed.splitlines() if "repairing tiny" in line]
    assert "capture only the piecewise ones" in repaired[0] and "run without them" in repaired[1] and len(repaired) == 2
    applied = box.record("tiny", "repairs")["applied"]
    assert [one["id"] for one in applied] == ["KB-130", "KB-130"]
    assert box.ask(8000, KEY) == 200
    assert "changed=0" in box.play("site.yml"), "what was repaired stays repaired"
