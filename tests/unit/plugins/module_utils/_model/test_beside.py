# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of the files beside config.json: the pooling that a module names, and never a file outside of the model."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._model import beside


def pooling(folder):
    """What is read where modules.json names ``folder``, and the names of all files that were asked for."""
    asked = []
    modules = [{"type": next(iter(beside.POOLING_TYPES)), "path": folder}]

    def read(name, _limit):
        asked.append(name)
        return json.dumps(modules if name == "modules.json" else {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}).encode()

    return beside.read_beside("a model", {"modules.json"}, read)["pooling"], asked


def test_the_pooling_of_a_module_is_read_from_its_folder():
    assert pooling("1_Pooling") == (["CLS"], ["modules.json", "1_Pooling/config.json"])


@pytest.mark.parametrize("folder", ["/etc", "../other", "1_Pooling/../../other", ""])
def test_a_folder_that_leads_out_of_the_model_is_never_read(folder):
    assert pooling(folder) == ([], ["modules.json"])
