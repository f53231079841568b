# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same run under other callbacks, formats and locales: a person reads all of it, and a program that asked for JSON reads JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 4, "hidden_size": 512, "intermediate_size": 1024,
    "num_attention_heads": 8, "num_key_value_heads": 2, "torch_dtype": "bfloat16", "max_position_embeddings": 8192, "vocab_size": 1024,
}  # fmt: skip


def plan(folder, **environment):
    """(exit status, standard output, standard error) of a plan on this machine."""
    model = folder / "modell-größe"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "BF16", "shape": [1024, 512], "data_offsets": [0, 2**20]}}).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2**20))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "ANSIBLE_", "PYTHON"))}
    own = {"ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".ansible/collections"), "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "gb10.vllm.plan", "-e", json.dumps({"model": str(model)})]
    done = subprocess.run(command, capture_output=True, check=False, env=inherited | own | environment, cwd=folder, timeout=600)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_program_that_asks_for_json_gets_json_and_the_person_beside_it_the_plan(tmp_path):
    status, out, err = plan(tmp_path, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    assert status == 0 and json.loads(out)["stats"]["localhost"]["failures"] == 0
    assert "verdict" in err and "fits" in err and "Traceback" not in err


@pytest.mark.parametrize(
    "environment",
    [{"ANSIBLE_STDOUT_CALLBACK": "minimal"}, {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}, {"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}],
)
def test_other_callbacks_and_formats_show_the_same_table(tmp_path, environment):
    status, out, err = plan(tmp_path, **environment)
    assert status == 0 and "verdict" in out and "fits" in out and "Traceback" not in out + err


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}])
def test_a_locale_that_is_not_utf_8_is_refused_by_ansible_in_one_sentence_or_works(tmp_path, environment):
    status, out, err = plan(tmp_path, **environment)
    said = "Ansible requires the locale encoding to be UTF-8" in err
    assert (status != 0 and said) or (status == 0 and "fits" in out), err
    assert "Traceback" not in out + err
