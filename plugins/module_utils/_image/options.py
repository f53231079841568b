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


def _option(default: Any, kind: str = "str", **spec: Any) -> Any:
    """A field that knows its row of the argument spec; "", 0 and None stand for an option that is not given."""
    metadata = {"type": kind, **spec}
    if isinstance(default, (list, dict)):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Options:
    """See the options of M(gb10.vllm.image_build) for each."""

    source: str = _option("build", choices=["build", "prebuilt", "archive", "existing"])
    name: str = _option(_names.IMAGE)
    state_dir: str = _option(_names.STATE_DIR, "path")
    checkout: str = _option("", "path")
    ref: str = _option("")
    wheels: str = _option("auto", choices=["auto", "prebuilt", "release", "nightly", "none"])
    vllm_ref: str = _option("")
    jobs: int = _option(0, "int")
    transformers: str = _option("default", choices=["default", "pre"])
    rebuild: list[str] = _option([], "list", elements="str", choices=list(REBUILD))
    arguments: list[str] = _option([], "list", elements="str")
    build_args: dict[str, str] = _option({}, "dict")
    uv_http_timeout_s: int = _option(300, "int")
    uv_http_retries: int = _option(5, "int")
    ca_bundle: str = _option("", "path")
    image: str = _option("eugr/spark-vllm:latest")
    digest: str = _option("")
    archive: str = _option("", "path")
    archive_identity: str = _option("")
    checksum: str = _option("")
    min_free_gib: float | None = _option(None, "float")
    keep_previous: int = _option(1, "int")
    retries: int = _option(2, "int")
    retry_delay_s: float = _option(15.0, "float")
    timeout_s: int = _option(_names.LONGEST_S, "int")


def argument_spec() -> dict[str, dict[str, Any]]:
    """The options as AnsibleModule wants them."""
    return {one.name: {**one.metadata, **_default(one)} for one in fields(Options)}


def from_params(params: Mapping[str, Any]) -> Options:
    """The options from a module's parameters; what Options does not know is left out."""
    given = {one.name: params[one.name] for one in fields(Options) if params.get(one.name) is not None}
    if "build_args" in given:
        given["build_args"] = {key: str(value) for key, value in given["build_args"].items()}
    return Options(**given)


def _default(one: Field[Any]) -> dict[str, Any]:
    value = one.default if one.default_factory is MISSING else one.default_factory()
    return {} if value in ("", 0, None) else {"default": value}
