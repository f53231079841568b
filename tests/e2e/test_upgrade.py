# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A box that an earlier state of this collection deployed is taken over as it is: nothing is rebuilt, replaced or restarted.

What the collection itself lays beside the servers (guard, watch, units) is brought up to date, once.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = ROOT / ".cache/inventory/test"
HELD = "cat /var/lib/gb10-vllm/servers/tiny/deployment.json; docker ps --no-trunc --format '{{.ID}} {{.Image}}'; docker images -q --no-trunc | sort"
RUNS = "systemctl show -p MainPID,ExecMainStartTimestampMonotonic gb10-vllm-tiny; docker inspect -f '{{.State.StartedAt}} {{.State.Pid}}' gb10-vllm-tiny"
OURS = "sha256sum /usr/local/lib/gb10-vllm/guard /etc/systemd/system/gb10-vllm-*"
# What a newer state brings without touching what serves.
CLOSED = "Close the directory above the recipe to others"
BROUGHT = ["Make the directories of the collection", "Copy the guard and the watch", "Write the records and the unit of tiny"]
# The state, what a foretold run changes, what a run does besides, what is said to be lacking.
EARLIER = {
    "before keys": ("d14c48c", [CLOSED, *BROUGHT], ["Close to others what only root has to read"], "a key that is asked for on every route"),
    "the last 0.1": ("33161c2", BROUGHT[1:2], [], ""),
}


def changes(run) -> list[str]:
    """The tasks that changed something, without the role."""
    told = re.findall(r"^TASK \[(?:[\w.]+ : )?(.*?)\] \**$(.*?)(?=^TASK|^PLAY|\Z)", run.text, re.M | re.S)
    return [name for name, said in told if re.search(r"^changed: ", said, re.M)]


def earlier(folder: Path, commit: str) -> dict[str, str]:
    """An environment in which that commit is the collection."""
    collections = folder / "ansible_collections"
    tree = collections / "gb10" / "vllm"
    tree.mkdir(parents=True)
    packed = subprocess.run(["git", "-C", ROOT, "archive", commit], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=packed, check=True)
    for other in ("community", "ansible"):
        (collections / other).symlink_to(ROOT / ".ansible/collections/ansible_collections" / other)
    return dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(collections.parent), ANSIBLE_CONFIG=str(tree / "ansible.cfg"), ANSIBLE_FORCE_COLOR="0")


@pytest.mark.parametrize("state", EARLIER)
def test_nothing_changes_on_a_box_of_the_earlier_state(another, tmp_path, state):
    commit, foretold, besides, lacking = EARLIER[state]
    box = another()
    how = {"env": earlier(tmp_path, commit), "capture_output": True, "text": True, "check": False}
    assert "0.1.0" in subprocess.run([ROOT / ".venv/bin/ansible-galaxy", "collection", "list", "gb10.vllm"], **how).stdout, "this is not the earlier state"
    done = subprocess.run([ROOT / ".venv/bin/ansible-playbook", "gb10.vllm.site", "-i", INVENTORY], timeout=900, **how)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    before, ran, ours = box.root(HELD), box.root(RUNS), box.root(OURS)

    run = box.playbook("site.yml", "--check")
    assert (run.code, changes(run)) == (0, foretold), run.text[-3000:]
    assert box.root(OURS) == ours
    run = box.playbook("site.yml")
    assert (run.code, changes(run)) == (0, [*foretold[:-1], *besides, *foretold[-1:]]), run.text[-3000:]
    assert box.root(OURS) != ours
    assert box.root("systemctl show -p NeedDaemonReload --value gb10-vllm-tiny.service gb10-vllm-watch@tiny.service").split() == ["no", "no"]
    run = box.playbook("site.yml")
    assert (run.code, run.changed) == (0, 0), run.text[-3000:]
    assert (box.root(HELD), box.root(RUNS)) == (before, ran)
    assert box.chat()["usage"]["completion_tokens"] > 0

    planned = box.playbook("gb10.vllm.plan").words
    assert (f"still lacks: {lacking}" in planned) if lacking else ("still lacks" not in planned)

    status = box.playbook("gb10.vllm.status")
    assert (status.code, status.changed) == (0, 0), status.text[-3000:]
    assert "site replaces the container" not in status.text and "site writes it" not in status.text
