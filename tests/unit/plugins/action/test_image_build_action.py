# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the progress of an image is read."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.action.image_build import _progress_file
from ansible_collections.gb10.vllm.plugins.module_utils._image.ensure import ImageBuild
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options


@pytest.mark.parametrize("name", ["vllm-node", "vllm-node:7", "office.example:5000/ai/vllm", "office.example:5000/ai/vllm:7"])
def test_controller_and_box_mean_the_same_file(name):
    box = ImageBuild(Options(name=name, state_dir="/srv/state"))
    assert _progress_file({"name": name, "state_dir": "/srv/state"}) == str(box.progress_path)
