# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which inputs an image was made from, how they are kept with it, and what changed between two sets of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

INPUTS = "gb10.vllm.inputs"
INPUTS_JSON = "gb10.vllm.inputs.json"


def digest(inputs: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of inputs in canonical JSON; what is not known yet (None) does not count."""
    known = {key: value for key, value in inputs.items() if value is not None}
    return hashlib.sha256(json.dumps(known, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def labels(inputs: Mapping[str, Any], versions: Mapping[str, Any]) -> dict[str, str]:
    """The labels that carry inputs and versions with an image wherever it is copied."""
    result = {INPUTS: digest(inputs), INPUTS_JSON: json.dumps(inputs, sort_keys=True, separators=(",", ":"))}
    for key in ("source", "commit", "uv_http_timeout_s", "uv_http_retries"):
        if inputs.get(key) is not None:
            result[f"gb10.vllm.{key}"] = str(inputs[key])
    for key in ("vllm_version", "torch_version", "cuda_version"):
        if versions.get(key):
            result[f"gb10.vllm.{key}"] = str(versions[key])
    return result


def recorded(image_labels: Mapping[str, str] | None) -> dict[str, Any] | None:
    """Inputs read back from an image's labels; None when it carries none or they were tampered with."""
    image_labels = image_labels or {}
    try:
        inputs = json.loads(image_labels[INPUTS_JSON])
    except (KeyError, ValueError):
        return None
    return inputs if isinstance(inputs, dict) and digest(inputs) == image_labels.get(INPUTS) else None


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Inputs that differ, as ``{"input", "before", "after"}``.

    A value that one side does not know (None, for example the digest of a base image that is not on this box) is no change.
    """
    if before is None:
        return [{"input": key, "before": None, "after": after[key]} for key in sorted(after) if after[key] is not None]
    found = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [
                {"input": f"{key} {name}", "before": old.get(name), "after": new.get(name)}
                for name in sorted(set(old) & set(new))
                if old[name] is not None and new[name] is not None and old[name] != new[name]
            ]
        elif old != new and not (key in _MAY_BE_UNKNOWN and (old is None or new is None)):
            found.append({"input": key, "before": old, "after": new})
    return found


def describe(found: list[dict[str, Any]]) -> str:
    """One line that says which inputs changed."""
    return ", ".join(f"{c['input']} ({_short(c['before'])} -> {_short(c['after'])})" for c in found) or "nothing"


_MAY_BE_UNKNOWN = {"base_images", "commit"}


def _short(value: Any) -> str:
    text = "none" if value in (None, "", [], {}) else str(value)
    return text[:12] if len(text) in (40, 64) and all(c in "0123456789abcdef" for c in text) else text
