# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/catalogue.md: its figures are the plan's, and the weights it reckons with are those that vLLM registers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import catalogue
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.weights import loaded_weights

ROOT = Path(__file__).resolve().parents[2]


def test_no_figure_is_typed():
    done = subprocess.run([sys.executable, ROOT / "tests" / "catalogue", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_twenty_models_and_each_is_planned():
    assert len({model.repository for model in catalogue.MODELS}) == 20
    for model in catalogue.MODELS:
        found = catalogue.row(model)
        assert found["one"] is not None, model.repository
        assert catalogue.fits(found["one"]) or found["two"] is not None, model.repository


@pytest.mark.parametrize("model", [one for one in catalogue.MODELS if not one.repository.endswith("120b")], ids=lambda one: one.repository)
def test_its_weights_are_those_of_vllm(model):
    facts = catalogue.facts_of(model)
    made = loaded_weights(facts["weights"], facts["config"]).total_bytes - loaded_weights(facts["weights"], facts["config"]).buffer_bytes
    assert made == pytest.approx(catalogue.GOLDEN[model.config, 1]["param_bytes_at_load"], rel=0.02)
