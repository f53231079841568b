# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock file as text, and as Ansible's inventory sees it."""

from __future__ import annotations

import time

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import lock as locks
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet import lock_file
from fleet_boxes import box, deployed, planned, server


def lock(count=2):
    """Boxes that were measured each by itself, so that no two deployments are quite the same."""
    boxes = {}
    for number in range(count):
        one = deployed(requested_bytes=90 * 2**30 + number, arguments=[*planned(server())["arguments"], "--kv-cache-memory-bytes", str(60 * 2**30 - number)])
        boxes[f"spark-{number}"] = locks.locked_box(f"10.0.0.{number}", box(one))
    return boxes


def test_comes_back_as_it_was_and_the_same_twice():
    text = lock_file.dump(lock())
    assert lock_file.load(text, "x") == lock()
    assert lock_file.dump(lock_file.load(text, "x")) == text
    assert "&id" not in text and "!!" not in text


def test_takes_the_strings_of_ansible():
    class TaggedBytes(bytes):
        pass

    class Tagged(str):
        def encode(self, *args, **kwargs):  # as ansible-core 2.18 has it
            return TaggedBytes(super().encode(*args, **kwargs))

    assert lock_file.load(Tagged(lock_file.dump(lock())), "x") == lock()


def test_nothing_in_it_is_nothing():
    assert lock_file.load("", "x") == {} == lock_file.load("\n", "x")


@pytest.mark.parametrize(
    "text", ["- a", "a: b", "gb10_lock:", "gb10_lock: {vars: }", "{", "gb10_lock: {vars: {format: 1, boxes: 1, deployments: {}}}", "x\x00"]
)
def test_what_is_no_lock_file_is_named_with_the_remedy(text):
    with pytest.raises(GB10Error, match=r"^gb10.lock.yml is not a lock file of gb10.vllm; restore it"):
        lock_file.load(text, "gb10.lock.yml")


def test_has_the_shape_of_a_group_without_hosts():
    document = yaml.safe_load(lock_file.dump(lock()))
    assert list(document) == ["gb10_lock"] and list(document["gb10_lock"]) == ["vars"]


def test_fifty_boxes_are_read_and_written_quickly():
    began = time.process_time()
    text = lock_file.dump(lock(50))
    assert lock_file.load(text, "x") == lock(50)
    assert time.process_time() - began < 2
    assert len(text) < 300_000
