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
EARLIER = "d14c48c"  # the last commit before the tree was put in order (November 2026)


BROUGHT = [
    "Close the directory above the recipe to others",
    "Make the directories of the collection",
    "Copy the guard and the watch",
    "Write the records and the unit of tiny",
]  # what a newer state brings without touching what serves


def changes(run) -> list[str]:
    """The tasks that changed something, without the role."""
    told = re.findall(r"^TASK \[(?:[\w.]+ : )?(.*?)\] \**$(.*?)(?=^TASK|^PLAY|\Z)", run.text, re.M | re.S)
    return [name for name, said in told if re.search(r"^changed: ", said, re.M)]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> dict[str, str]:
    """An environment in which that commit is the collection."""
    collections = tmp_path_factory.mktemp("earlier") / "ansible_collections"
    tree = collections / "gb10" / "vllm"
    tree.mkdir(parents=True)
    packed = subprocess.run(["git", "-C", ROOT, "archive", EARLIER], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=packed, check=True)
    for other in ("community", "ansible"):
        (collections / other).symlink_to(ROOT / ".ansible/collections/ansible_collections" / other)
    return dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(collections.parent), ANSIBLE_CONFIG=str(tree / "ansible.cfg"), ANSIBLE_FORCE_COLOR="0")


def test_nothing_changes_on_a_box_of_the_earlier_state(box, earlier):
    command = [ROOT / ".venv/bin/ansible-playbook", "gb10.vllm.site", "-i", INVENTORY]
    done = subprocess.run(command, env=earlier, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "Work out what there is to do" not in done.stdout, "this state ran instead of the earlier one"
    before, ran, ours = box.root(HELD), box.root(RUNS), box.root(OURS)

    run = box.playbook("site.yml", "--check")
    assert (run.code, changes(run)) == (0, BROUGHT), run.text[-3000:]
    assert box.root(OURS) == ours
    run = box.playbook("site.yml")
    assert (run.code, changes(run)) == (0, [*BROUGHT[:-1], "Close to others what only root has to read", BROUGHT[-1]]), run.text[-3000:]
    assert box.root(OURS) != ours
    assert box.root("systemctl show -p NeedDaemonReload --value gb10-vllm-tiny.service gb10-vllm-watch@tiny.service").split() == ["no", "no"]
    run = box.playbook("site.yml")
    assert (run.code, run.changed) == (0, 0), run.text[-3000:]
    assert (box.root(HELD), box.root(RUNS)) == (before, ran)
    assert box.chat()["usage"]["completion_tokens"] > 0

    assert "still lacks: a key that is asked for on every route" in box.playbook("gb10.vllm.plan").words

    status = box.playbook("gb10.vllm.status")
    assert (status.code, status.changed) == (0, 0), status.text[-3000:]
    assert "site replaces the container" not in status.text and "site writes it" not in status.text
