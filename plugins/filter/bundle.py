# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for what lies in a bundle."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.gb10.vllm.plugins.plugin_utils import _bundle as bundle
from ansible_collections.gb10.vllm.plugins.plugin_utils._as_filter import as_filters


def bundle_sums(manifest: dict, model: str) -> dict:
    """The checksums of a model's files in a bundle's manifest."""
    return bundle.model_sums(manifest, bundle.safe_directory(model))


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable]:
        return as_filters({"bundle_models": bundle.models, "bundle_sums": bundle_sums})
