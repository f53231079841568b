# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of image_build: one table for the module's spec and for the code."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options, argument_spec, from_params
from ansible_collections.gb10.vllm.plugins.modules import image_build

DOCUMENTED = yaml.safe_load(image_build.DOCUMENTATION)["options"]


def test_every_option_is_documented_as_it_is():
    for name, row in argument_spec().items():
        documented = DOCUMENTED[name]
        assert documented["type"] == row["type"], name
        assert documented.get("default") == row.get("default"), name
        assert list(documented.get("choices") or []) == row.get("choices", []), name


@pytest.mark.parametrize(("params", "options"), [({}, Options()), ({"jobs": None, "build_args": {"A": 1}}, Options(build_args={"A": "1"}))])
def test_what_is_not_given_has_its_default(params, options):
    assert from_params({**params, "defer": True, "archive_on": "box"}) == options


def test_two_runs_do_not_share_a_list():
    Options().rebuild.append("all")
    assert Options().rebuild == [] and argument_spec()["rebuild"]["default"] == []
