# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook discover, run without an inventory: a range that is none is one sentence, and an empty one says what to do."""

from __future__ import annotations

import re
import subprocess

import playbook


def play(*arguments):
    words = [playbook.ANSIBLE_PLAYBOOK, "gb10.vllm.discover", "-i", "localhost,", *arguments]
    return subprocess.run(words, env=playbook.environment(), capture_output=True, text=True, check=False, timeout=300)


def test_a_range_that_is_none_is_said_and_one_without_boxes_says_what_to_do():
    done = play("-e", "gb10_range=8.8.8.0/24")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "gb10_range=8.8.8.0/24 is not a private network, and others' machines are not asked" in " ".join(done.stdout.split())
    # Addresses for documentation, which nobody has but perhaps this machine itself, which is not asked.
    done = play("-e", "gb10_range=192.0.2.0/30")
    said = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("[012] addresses asked, 0 with SSH, 0 like a GB10. Nothing with SSH was found.", said), said
