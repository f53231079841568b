# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for what lies in a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.plugin_utils import _bundle as bundle
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import distribution


def bundle_sums(manifest: dict, model: str) -> dict:
    """The checksums of a model's files in a bundle's manifest."""
    return bundle.model_sums(manifest, bundle.safe_directory(model))


def bundle_refusal(hosts: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """Why the boxes' images fit no bundle; "" where they do: it holds one, and whoever unpacks it has that as ``gb10_image``.

    :param hostvars: Ansible's, with what the role preflight noted of each box.
    """
    own = {server: host for host in hosts for server in (hostvars[host].get("preflight_images") or {}).get("own") or []}
    names = [next(iter(group["places"].values())) for group in distribution.image_groups(hosts, hostvars)]
    if not own and len(names) < 2:
        return ""
    said = f"server {next(iter(own))} of {next(iter(own.values()))} has an image of its own" if own else f"these boxes have several ({', '.join(names)})"
    return f"A bundle holds one image, gb10_image, and {said}: write it for boxes and servers that run with that (--limit, without `image`)."


FILTERS: dict[str, Callable] = {"bundle_models": bundle.models, "bundle_refusal": bundle_refusal, "bundle_sums": bundle_sums}
