# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The builds that people use, each as one word: what it stands for among the settings of ``gb10_image``. Pure.

Read from spark-vllm-docker's build-and-copy.sh and the recipes at the commits that are named (docs/image.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

JANUARY = "74c02c37c280c64d07119350a7d42225f1b154ba"


class Flavour(NamedTuple):
    """Settings that a word stands for, and in one clause what comes of them."""

    settings: Mapping[str, Any]
    what: str


FLAVOURS: dict[str, Flavour] = {
    "wheels": Flavour({"wheels": "prebuilt"}, "the project's own wheels, built and tested for GB10; the default"),
    "source": Flavour({"wheels": "none"}, "vLLM's main branch compiled on the box, or `vllm_ref`"),
    "release": Flavour({"ref": JANUARY, "wheels": "release"}, "vLLM's own newest release, by the project's state of 2026-01-28, the last that installs one"),
    "nightly": Flavour({"ref": JANUARY, "wheels": "nightly"}, "vLLM's own wheel of last night, by the project's state of 2026-01-28"),
    "prebuilt": Flavour({"source": "prebuilt", "image": "eugr/spark-vllm:latest"}, "the project's image as it was pushed last; pin it with `digest`"),
    "b12x": Flavour({"wheels": "none", "arguments": ["--exp-b12x"]}, "the B12X fork of vLLM compiled on the box (`--exp-b12x`)"),
    "b12x-prebuilt": Flavour({"source": "prebuilt", "image": "eugr/spark-vllm-b12x:latest"}, "the project's image of that fork; pin it with `digest`"),
    "mxfp4": Flavour({"wheels": "none", "arguments": ["--exp-mxfp4"]}, "native MXFP4 for gpt-oss, at commits the project pins (`--exp-mxfp4`)"),
}


def image_settings(image: Mapping[str, Any]) -> dict[str, Any]:
    """``gb10_image`` with what its ``flavour`` stands for; what is said beside it wins, and ``arguments`` are added up.

    GB10Error for a word that is none of ``FLAVOURS``.
    """
    given = {key: value for key, value in image.items() if key != "flavour" and value is not None}
    word = image.get("flavour")
    if word in (None, ""):
        return given
    flavour = FLAVOURS.get(str(word))
    if flavour is None:
        raise GB10Error(f"gb10_image.flavour is {str(word)[:40]!r}; use one of {', '.join(FLAVOURS)}, or leave it out and say the settings themselves.")
    arguments = [*flavour.settings.get("arguments", ()), *(given.get("arguments") or ())]
    made = {**flavour.settings, **given}
    return {**made, "arguments": list(dict.fromkeys(arguments))} if arguments else made
