# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A block that can be pasted into an issue: versions, facts, the lines that decide; nothing secret or personal. Pure."""

from __future__ import annotations

import re

from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import redact

# What a block for others leaves out beyond what is secret anyway: whatever calls itself a token, the home directory, addresses of the own network.
_PERSONAL = (
    (re.compile(r"(?i)\b(token[\"']?\s{0,4}[=:]\s{0,4}[\"']?)(?!\*)[^\s\"',}]{4,4096}"), r"\1********"),
    (re.compile(r"(/home|/Users)/[^/\s]{1,256}"), r"\1/USER"),
    (re.compile(r"\b(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}\b"), "ADDRESS"),
)


def without_secrets(text: str) -> str:
    """``text`` without keys, tokens, credentials in URLs, names of homes and addresses of private networks."""
    text = redact(text, [])
    for pattern, instead in _PERSONAL:
        text = pattern.sub(instead, text)
    return text


def block(diagnosis: dict, facts: dict, phase: str, versions: dict[str, str]) -> str:
    """The block in Markdown; ``versions``: name -> version of what took part (collection, ansible-core)."""
    vllm = f"vLLM {facts['vllm_version']}" if facts.get("vllm_version") else "vLLM of unknown version"
    known = {key: facts[key] for key in ("architecture", "attention_backend", "max_model_len", "gpu_memory_utilization", "kv_cache_dtype") if key in facts}
    rows = [
        ", ".join([vllm, *(f"{name} {version}" for name, version in versions.items())]),
        f"reached: {phase}; verdict: {diagnosis['verdict']}{' ' + diagnosis['id'] if diagnosis['id'] else ''}",
        *([", ".join(f"{key}={value}" for key, value in known.items())] if known else []),
        *(f"  {line}" for line in diagnosis["lines"]),
        *(f"also {one['id']}: {one['what'][:200]}" for one in diagnosis["also"]),
    ]
    return without_secrets("\n".join(["```text", *rows, "```"]))
