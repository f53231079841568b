# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""site.yml on a box that had nothing: looked at without a change, killed again and again, run again, and again.

The tests build on one another, in the order of this file.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from sample import first
from server_box import SERVER

# What a look over SSH moves by itself: logs, the journal, temporary files, Ansible's own scratch directory, engine internals.
UNMOVED = "/proc /sys /run /tmp /var/log /var/tmp /var/lib/systemd /var/lib/docker /var/lib/containerd /home/gb10/.ansible /root/.ansible"
FILES = "find / {} -printf '%p %y %m %u %s %T@\\n' | sort".format("".join(f"-path {one} -prune -o " for one in UNMOVED.split()))
DOCKER = "; ".join(
    f"echo {kind}; docker {words} | sort"
    for kind, words in {
        "containers": "ps -a --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'",
        "images": "images -a --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}'",
        "volumes": "volume ls -q",
        "networks": "network ls --no-trunc --format '{{.ID}} {{.Name}}'",
    }.items()
)

ROOT = Path(__file__).resolve().parents[2]


def state(box) -> dict:
    """What was deployed, without what two correct runs do differently (times, ids)."""
    container = json.loads(box.root("docker inspect gb10-vllm-tiny"))[0]
    files = box.root("find /etc/gb10-vllm /etc/systemd/system/gb10* /usr/local/lib/gb10-vllm /var/lib/gb10-vllm/servers -printf '%p %y %m %u\\n' | sort")
    return {
        "files": files.splitlines(),
        "deployment": json.loads(box.root("cat /var/lib/gb10-vllm/servers/tiny/deployment.json")),
        "container": {key: container["Config"][key] for key in ("Cmd", "Env", "Labels", "Image")},
        "host": {key: container["HostConfig"][key] for key in ("Binds", "CapDrop", "Privileged", "PortBindings", "SecurityOpt", "RestartPolicy")},
        "status": container["State"]["Status"],
        "units": box.root("systemctl is-enabled gb10-vllm-tiny.service; systemctl is-active gb10-vllm-tiny.service").split(),
    }


def test_check_reports_the_plan_and_changes_nothing(box):
    before = box.root(FILES), box.root(DOCKER)
    run = box.playbook("site.yml", "--check", "--diff")
    assert run.code == 0, run.text[-3000:]
    assert re.search(r"spark-01 +tiny .* fits", run.text)
    after = box.root(FILES), box.root(DOCKER)
    assert set(after[0].splitlines()) ^ set(before[0].splitlines()) == set()
    assert after[1] == before[1]


# Where a run is killed: the task that shows, how long after it, and what is done on the box before. The first two in `make test`, all in `make deep-lifetime`.
# On a busy machine a kill comes late and the engine is up by the next run: so each that wants a start sees to it that there is one.
KILLS = [
    (r"TASK \[gb10.vllm.server : .*[Cc]ontainer", 1, ""),  # while the container is made
    (r"tiny: (starting|loading|weights|measuring|creating|compiling|capturing|engine|the engine) ", 2, "docker rm -f gb10-vllm-tiny 2>/dev/null || true"),
    (r"TASK \[gb10.vllm.plan : ", 0, ""),  # while it looks
    (r"TASK \[gb10.vllm.image : .*([Bb]uild|[Ii]mage)", 0, "docker rmi -f vllm-node 2>/dev/null || true"),  # so that there is something to build
    (r"TASK \[gb10.vllm.server : Copy the guard and the watch", 1, ""),  # while files are written
]


def test_killed_and_run_again(box):
    for marker, after_s, before in first(2, KILLS):
        box.root(before or "true")
        box.killed(marker, after_s=after_s)
    run = box.playbook("site.yml")
    assert run.code == 0, run.text[-3000:]
    assert box.chat()["usage"]["completion_tokens"] > 0


def test_second_run_changes_nothing(box):
    run = box.playbook("site.yml")
    assert run.code == 0, run.text[-3000:]
    assert run.changed == 0, run.text[-3000:]
    assert run.seconds < 90


def test_check_of_a_running_server_changes_nothing(box):
    before = state(box)
    run = box.playbook("site.yml", "--check")
    assert run.code == 0, run.text[-3000:]
    assert run.changed == 0
    assert state(box) == before


def test_no_secret_is_shown_however_talkative_a_run_is(box):
    secrets = {"api_key": "whole-way-key-rj7w", "env": {"HF_TOKEN": "whole-way-token-kq3v"}}
    for playbook in ("site.yml", "gb10.vllm.status"):
        run = box.playbook(playbook, "--check", "-vvv", "--diff", variables={"gb10_servers": [dict(SERVER, **secrets)]})
        assert run.code == 0, run.text[-3000:]
        assert [secret for secret in ("rj7w", "kq3v") if secret in run.text.replace(json.dumps(secrets)[1:-1], "")] == []


def test_after_a_reboot_it_answers_without_ansible(box):
    box.reboot()
    deadline = time.monotonic() + 240
    while True:
        try:
            assert box.chat()["usage"]["completion_tokens"] > 0
            break
        except OSError:
            assert time.monotonic() < deadline, box.root("journalctl -u gb10-vllm-tiny.service -n 30 --no-pager", check=False)
            time.sleep(2)
    run = box.playbook("site.yml")
    assert run.code == 0, run.text[-3000:]
    assert run.changed == 0, run.text[-3000:]


def test_the_killed_runs_ended_where_an_undisturbed_one_ends(box, another):
    killed = state(box)
    box = another()
    run = box.playbook("site.yml")
    assert run.code == 0, run.text[-3000:]
    assert state(box) == killed


def test_status_and_stop(box):
    run = box.playbook("gb10.vllm.status")
    assert run.code == 0, run.text[-3000:]
    assert run.changed == 0
    assert "tiny" in run.text
    run = box.playbook("gb10.vllm.stop")
    assert run.code == 0, run.text[-3000:]
    assert box.root("docker ps -q --filter name=gb10-vllm-tiny") == ""
    again = box.playbook("gb10.vllm.stop")
    assert (again.code, again.changed) == (0, 0), again.text[-3000:]


def test_nothing_of_ours_can_be_read_by_others(box):
    """What the recipe brings keeps its modes, which become part of the image; the directory above it is closed. A compiled start: test_moves.py."""
    recipe = " -o ".join(f"-path /var/lib/gb10-vllm/build/{one}" for one in ("checkout", "worktree", "wheels"))
    found = box.root(f"find /etc/gb10-vllm /var/lib/gb10-vllm \\( {recipe} \\) -prune -o ! -type l -perm /077 -print").split()
    # The first is entered on the way to the second, which says who changes the box.
    assert [one for one in found if one != "/var/lib/gb10-vllm" and not one.startswith("/var/lib/gb10-vllm/run.lock")] == []


def test_what_lies_on_the_box_is_what_the_docs_list(box):
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    listed = re.findall(r"`(/[^`]+)`", page[page.index("<!-- on a box -->") : page.index("<!-- end of on a box -->")])
    patterns = [re.compile(re.escape(one).replace("SERVER", "[^/]+").replace(r"\*", ".*") + "$") for one in listed]
    roots = "/etc/gb10-vllm /run/gb10-vllm /run/gb10-vllm-guard /usr/local/lib/gb10-vllm /var/lib/gb10-vllm"
    held = box.root(f"find {roots} -type f || true; ls -d /etc/systemd/system/gb10-vllm*")
    ours = {line for line in held.split() if "gb10-vllm" in line}
    assert len(ours) > 8
    assert sorted(line for line in ours if not any(pattern.match(line) for pattern in patterns)) == []
