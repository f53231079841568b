# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs over imitated boxes that not every change needs (make deep-imitated): a locked run, a recipe, a later release, a bare box."""

from __future__ import annotations

from imitated_fleet import ONE, OTHER, flat, needs_root
from imitation import SERVER

pytest_plugins = ["imitated_fleet"]
pytestmark = needs_root


def test_a_locked_run_deploys_what_is_locked_or_nothing(boxes):
    before = boxes.containers(*boxes.names)
    assert boxes.play("site", "-e", "gb10_locked=true").count("changed=0") == 2
    boxes.wish(gb10_servers=[OTHER])
    assert "server tiny would run differently" in flat(boxes.play("site", "-e", "gb10_locked=true", code=2))
    assert boxes.containers(*boxes.names) == before


def test_a_recipe_in_the_inventory_is_planned_served_and_written_again(boxes, tmp_path):
    recipe = tmp_path / "other.yaml"
    command = "vllm serve other --port {port} --host 0.0.0.0 --max-model-len 2048 --max-num-seqs 4 --gpu-memory-utilization 0.9 --trust-remote-code"
    head = 'recipe_version: "1"\nname: Other\nmodel: other\ncontainer: vllm-node\nsolo_only: true\ndefaults: {port: 8000}\nenv: {VLLM_LOGGING_LEVEL: INFO}\n'
    recipe.write_text(f"{head}pre_exec: [touch {tmp_path}/run]\ncommand: {command}\n")
    entry = {"name": "tiny", "recipe": str(recipe), "address": "0.0.0.0", "concurrency": 2}
    boxes.wish(gb10_servers=[entry])
    refused = flat(boxes.play("site", "--check", code=2))
    assert "line 8, `pre_exec`: commands that the author wants run on your machines" in refused and "Nothing was changed" in refused
    boxes.wish(gb10_servers=[{**entry, "recipe_without": ["pre_exec"]}])
    assert "other" in boxes.play("plan", "-l", ONE) and boxes.serves(ONE) == ("tiny", True)
    boxes.play("site", "--check", "-l", ONE)
    boxes.play("site", "-l", ONE)
    assert boxes.serves(ONE) == ("other", True) and not (tmp_path / "run").exists()
    assert "--max-num-seqs 4" in " ".join(boxes.record(ONE, "deployment")["container"]["command"])
    assert boxes.play("site", "-l", ONE).count("changed=0") == 1
    written = tmp_path / "out.yaml"
    boxes.play("recipe", "-l", ONE, "-e", "export=tiny", "-e", "format=v1", "-e", f"dest={written}")
    text = written.read_text()
    assert "vllm serve other" in text and "--max-num-seqs 4" in text and "VLLM_LOGGING_LEVEL: INFO" in text
    # What runs is written, and not what the inventory says by now.
    boxes.wish(gb10_servers=[{**SERVER, "env": {"VLLM_LATER": "1"}}], gb10_image={"source": "prebuilt", "image": "acme/other:1"})
    told = flat(boxes.play("recipe", "-l", ONE, "-e", "export=tiny", "-e", f"dest={written}"))
    text = written.read_text()
    assert "VLLM_LOGGING_LEVEL: INFO" in text and "VLLM_LATER" not in text and "acme/other" not in text and "Left out: image: " in told


def test_what_a_later_release_deployed_is_refused_and_left(boxes):
    before = boxes.containers(*boxes.names)
    boxes.ask(ONE, "echo format 2 > /usr/local/lib/gb10-vllm/format")
    for name in ("site", "rollback"):
        said = flat(boxes.play(name, "-l", ONE, code=2))
        assert "its records are of format 2, and this release of gb10.vllm reads up to format 1" in said and "run `remove` of the later release" in said
    assert boxes.containers(*boxes.names) == before and boxes.answers(ONE) and boxes.held() == []
    # A release that wrote no format is an earlier one: what it deployed is kept, and the format is written down.
    boxes.ask(ONE, "rm /usr/local/lib/gb10-vllm/format")
    boxes.play("site", "-l", ONE)
    assert boxes.ask(ONE, "cat /usr/local/lib/gb10-vllm/format") == "format 1\n" and boxes.containers(*boxes.names) == before


def test_a_bare_box_is_told_what_it_lacks_and_prepared_where_that_is_asked_for(boxes):
    stale = "mkdir -p /etc/cdi && echo 'hostPath: /nowhere/libcuda.so.1' > /etc/cdi/nvidia.yaml"
    tool = "/usr/local/bin/nvidia-ctk"
    boxes.ask(ONE, f"{stale}; printf '#!/bin/sh\\necho \"$@\" > /etc/cdi/nvidia.yaml\\n' > {tool}; chmod 755 {tool}")
    assert "Write it anew: nvidia-ctk cdi generate" in flat(boxes.play("site", "-l", ONE)) and "nowhere" in boxes.ask(ONE, "cat /etc/cdi/nvidia.yaml")
    assert "gb10_prepare would do this: nvidia-ctk cdi generate" in flat(boxes.play("site", "-l", ONE, "-e", "gb10_prepare=true", "--check"))
    assert "nowhere" in boxes.ask(ONE, "cat /etc/cdi/nvidia.yaml")
    done = boxes.play("site", "-l", ONE, "-e", "gb10_prepare=true")
    assert "changed=1" in done and boxes.ask(ONE, "cat /etc/cdi/nvidia.yaml").strip() == "cdi generate --output=/etc/cdi/nvidia.yaml"
    assert "changed=0" in boxes.play("site", "-l", ONE, "-e", "gb10_prepare=true") and boxes.held() == []
    boxes.ask(ONE, f"{stale}; printf '#!/bin/sh\\nexit 3\\n' > {tool}")
    assert f"{ONE} could not be prepared: non-zero return code" in flat(boxes.play("site", "-l", ONE, "-e", "gb10_prepare=true", code=2))
    boxes.ask(ONE, f"rm -r {tool} /etc/cdi")
    assert boxes.held() == [] and boxes.answers(ONE)
