# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SSH to one box of a batch breaks in an ordinary task: does the other box of the batch go back?

PYTHONPATH=CHECKOUT/.ansible/collections python unreachable_in_a_batch.py CHECKOUT; ends with 1 where there is a hole.

A play of two with the keywords of playbooks/activate.yml and the judgement of the role server, whose steps are stood in for. Ansible's own exit status says
nothing here: it is 4 when all is right. What was a play of its own (it held on the commit before issue 11 too) asks the tree now.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HERS = ("name", "hosts", "vars", "tasks", "become", "serial", "gather_facts")
"""Keywords of the play that stay its own: who is in the batch is told here."""
VARS = {
    "ansible_connection": "{{ 'local' if inventory_hostname == 'a' else 'ssh' }}",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    "server_failures": [],
    "server_touched": [1],
}


def play(checkout: Path) -> dict:
    """The play, as far as it decides what becomes of a batch."""
    whole = yaml.safe_load((checkout / "playbooks/activate.yml").read_text())[0]
    block = next(task for task in whole["tasks"] if "block" in task)
    role = yaml.safe_load((checkout / "roles/server/tasks/main.yml").read_text())
    noted = next(task for task in role if "ansible.builtin.set_fact" in task and "server_batch_failures" in task["ansible.builtin.set_fact"])
    batch = yaml.safe_load((checkout / "roles/server/tasks/batch.yml").read_text())
    back = next(task for task in batch if "block" in task)
    task = {"ansible.builtin.command": {"argv": ["true"]}, "changed_when": True}
    goes_back = {"name": "Go back", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} goes back because of {{ server_batch_failures }}"}}
    facts = yaml.safe_load((checkout / "roles/server/vars/main.yml").read_text())
    names = {name: value for name, value in facts.items() if name.startswith("server_batch")}
    steps = [
        {"name": "Change both", **task, "delegate_to": "localhost"},
        {"name": "Start (SSH to b breaks here)", **task},
        noted,
        {**goes_back, "when": [role[-1]["when"], back["when"]]},
    ]
    around = {key: value for key, value in block.items() if key not in ("name", "block", "rescue")}
    keywords = {key: value for key, value in whole.items() if key not in HERS}
    rescue = [{"name": "End the run", "ansible.builtin.debug": {"msg": "rescue on {{ inventory_hostname }}"}}]
    return {
        "name": "Change a batch of two", "hosts": "a,b", "gather_facts": False, "serial": 2, **keywords, "vars": {**names, **VARS},
        "tasks": [{"name": "Activate", "block": steps, "rescue": rescue, **around}],
    }  # fmt: skip


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="gb10-batch-") as folder:
        file = Path(folder, "play.yml")
        file.write_text(yaml.safe_dump([play(Path(sys.argv[1]))], sort_keys=False))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "a,b,", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=800, check=False)
    fine = "UNREACHABLE!" in done.stdout and "a goes back because of ['b']" in done.stdout
    print("a goes back" if fine else f"a keeps what the batch began\n{done.stdout}{done.stderr}")
    return not fine


sys.exit(main())
