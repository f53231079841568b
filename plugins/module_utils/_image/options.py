# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wanted of an image: every option of M(gb10.vllm.image_build) once, with its type, default and choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils import _names
from ansible_collections.gb10.vllm.plugins.module_utils._image.recipe import REBUILD

_PATHS = ("state_dir", "checkout", "ca_bundle", "archive")
_CHOICES = {
    "source": ["build", "prebuilt", "archive", "existing"],
    "wheels": ["auto", "prebuilt", "release", "nightly", "none"],
    "transformers": ["default", "pre"],
    "rebuild": list(REBUILD),
}


@dataclass
class Options:
    """See the options of M(gb10.vllm.image_build) for each. "", 0 and None stand for one that is not given."""

    source: str = "build"
    name: str = _names.IMAGE
    state_dir: str = _names.STATE_DIR
    checkout: str = ""
    ref: str = ""
    wheels: str = "auto"
    vllm_ref: str = ""
    jobs: int = 0
    transformers: str = "default"
    rebuild: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    build_args: dict[str, str] = field(default_factory=dict)
    mods: list[str] = field(default_factory=list)
    mod_files: dict[str, Any] = field(default_factory=dict)
    vllm_prs: dict[str, str] = field(default_factory=dict)
    uv_http_timeout_s: int = 300
    uv_http_retries: int = 5
    ca_bundle: str = ""
    image: str = "eugr/spark-vllm:latest"
    digest: str = ""
    archive: str = ""
    archive_identity: str = ""
    checksum: str = ""
    min_free_gib: float | None = None
    keep_previous: int = 1
    retries: int = 2
    retry_delay_s: float = 15.0
    timeout_s: int = _names.LONGEST_S


def argument_spec() -> dict[str, dict[str, Any]]:
    """The options as AnsibleModule wants them."""
    return {one.name: _row(one) for one in fields(Options)}


def from_params(params: Mapping[str, Any]) -> Options:
    """The options from a module's parameters; what Options does not know is left out."""
    given = {one.name: params[one.name] for one in fields(Options) if params.get(one.name) is not None}
    for name in ("build_args", "vllm_prs"):
        if name in given:
            given[name] = {str(key): str(value) for key, value in given[name].items()}
    return Options(**given)


def _row(one: Field[Any]) -> dict[str, Any]:
    kind = str(one.type).partition("[")[0].partition(" ")[0]  # annotations are text here: "str", "list[str]", "float | None"
    row: dict[str, Any] = {"type": "path" if one.name in _PATHS else kind}
    if kind == "list":
        row["elements"] = "str"
    if one.name in _CHOICES:
        row["choices"] = _CHOICES[one.name]
    default = one.default if one.default_factory is MISSING else one.default_factory()
    return row if default in ("", 0, None) else {**row, "default": default}
