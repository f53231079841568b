# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of a server's environment that a plan looks at: those that change its numbers, and paths that its container writes or reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping

ALLOW_LONG = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
NO_LATENT = "VLLM_MLA_DISABLE"
# Directories that vLLM and its libraries make and write (``envs.py``, torch, triton, flashinfer, huggingface_hub).
WRITTEN = (
    "FLASHINFER_WORKSPACE_BASE", "HF_HOME", "TMPDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "XDG_CACHE_HOME",
)  # fmt: skip
# Files and directories that are read at the start.
READ = ("LMCACHE_CONFIG_FILE", "SSL_CERT_FILE", "VLLM_LOGGING_CONFIG_PATH", "VLLM_MODEL_REDIRECT_PATH", "VLLM_TUNED_CONFIG_FOLDER")
PLANNED = (ALLOW_LONG, NO_LATENT, "VLLM_PP_LAYER_PARTITION", *WRITTEN, *READ)
"""No secret is among them: they are shown and recorded with a plan."""
_OWN = ("/cache", "/tmp", "/dev/shm")


def doubts(env: Mapping[str, str], name: str) -> list[str]:
    """A warning for each path of server ``name`` that its container cannot write, or has only where the image brings it."""
    found = []
    for key in WRITTEN:
        path = env.get(key, "")
        if path.startswith("/") and not _below(path, _OWN):
            found.append(f"env.{key} is {path}, where the container cannot write unless gb10_read_only is false: name one below /cache, or leave it out")
    for key in READ:
        path = env.get(key, "")
        if path.startswith("/") and not _below(path, (*_OWN, f"/models/{name}")):
            found.append(
                f"env.{key} is {path}, which of the box the container does not see: put the file into the model's directory and name it below /models/{name},"
                " unless it is the image's own"
            )
    return found


def _below(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)
