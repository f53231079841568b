# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook recipe on a controller alone: what it shows, writes and refuses."""

from __future__ import annotations

import yaml
from playbook import LOCAL, play

RECIPE = """\
recipe_version: "1"
name: A model
model: Qwen/Qwen3-8B
container: vllm-node-b12x
build_args: [--exp-b12x]
cluster_only: true
defaults: {port: 8001}
command: |
  vllm serve Qwen/Qwen3-8B --port {port} -tp 2 \\
    --speculative-config '{{"method":"ngram","num_speculative_tokens":3}}'
"""


def test_a_recipe_becomes_lines_for_an_inventory(tmp_path):
    (tmp_path / "a.yaml").write_text(RECIPE)
    done = play("gb10.vllm.recipe", "-e", "recipe=a.yaml", "-e", "dest=out.yml", "-e", "server=qwen", cwd=tmp_path, PWD=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "Could not match supplied host pattern" not in done.stdout, "there is no inventory, so nothing is amiss"
    assert "command -tp" in done.stdout and "of 10 fields and arguments" in done.stdout
    made = yaml.safe_load((tmp_path / "out.yml").read_text())
    assert "gb10_image" not in made, "the image is of the server that needs it"
    assert made["gb10_servers"] == [
        {
            "name": "qwen", "model": "Qwen/Qwen3-8B", "port": 8001, "boxes": 2, "tensor_parallel": 2, "pipeline_parallel": 1,
            "image": {"flavour": "b12x"}, "args": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
        }
    ]  # fmt: skip
    done = play("gb10.vllm.recipe", "-e", "recipe=a.yaml", "-e", "dest=out.yml", "-e", '{"without": ["container"]}', cwd=tmp_path, PWD=str(tmp_path))
    assert done.returncode == 0 and "image" not in (tmp_path / "out.yml").read_text().replace("the image of the fleet", "")


def test_one_that_needs_more_boxes_than_there_are_and_one_with_hooks_end_in_a_sentence(tmp_path):
    (tmp_path / "a.yaml").write_text(RECIPE)
    (tmp_path / "hosts.yml").write_text(f"gb10: {{hosts: {{spark-01: {{{LOCAL}}}}}}}\n")
    done = play("gb10.vllm.recipe", "-i", "hosts.yml", "-e", "recipe=a.yaml", cwd=tmp_path, PWD=str(tmp_path))
    assert done.returncode == 2 and "Recipe a.yaml, line 6, `cluster_only`: it needs 2 boxes, and there are 1." in " ".join(done.stdout.split())
    (tmp_path / "a.yaml").write_text(f"{RECIPE}post_exec: [touch {tmp_path}/run]\n")
    done = play("gb10.vllm.recipe", "-e", "recipe=a.yaml", cwd=tmp_path, PWD=str(tmp_path))
    assert done.returncode == 2 and "line 11, `post_exec`" in done.stdout and not (tmp_path / "run").exists() and "Traceback" not in done.stdout
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.yaml").write_text("a: [")
    (tmp_path / "b" / "d.yaml").write_text(RECIPE)
    done = play("gb10.vllm.recipe", "-e", "recipe=b", cwd=tmp_path, PWD=str(tmp_path))
    assert done.returncode == 0 and "2 read, 1 fully mapped, 1 refused." in done.stdout
