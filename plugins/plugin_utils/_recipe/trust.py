# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the author of a recipe does not decide: code that is loaded, places on the box, where is fetched and sent, who gets in. Pure.

Whoever writes ``args`` and ``env`` is root on the boxes they are for; a recipe is written by somebody else, and its user says such things himself.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, PATH, PLUGIN

SAY = "say it yourself beside the recipe if you trust it"
CODE = "code of the author's choice would run in the server"
ADDRESS = "an address of the author's choice, where the server would fetch from or send to"
PLACE = "a place on the author's machine; on yours it would be another file, which the server would read"
ACCESS = "who gets in, and what may be asked, is said by you"

_CODE = ("config", "log_config_file", "additional_config")
_ADDRESS = ("otlp_traces_endpoint",)
_ACCESS = (
    "allowed_local_media_path", "allowed_media_domains", "allowed_origins", "allowed_methods", "allowed_headers", "allow_credentials", "enable_prompt_embeds",
    "enable_offline_docs", "root_path", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_ciphers", "ssl_keyfile", "disable_fastapi_docs",
    "enable_request_id_headers", "h11_max_incomplete_event_size", "h11_max_header_count", "uds", "grpc",
)  # fmt: skip
# Keys within objects that name code: a module that is imported, a class, a library.
_CODE_KEY = re.compile(
    r"(?:.*_)?(?:module_path|plugin|plugins|cls|class|auto_map|import|library)|post_grad_custom_post_pass|inductor_passes|custom_pass(?:es)?"
)
# A dotted name beside a few of vLLM's own values, where an object may hold a function: CompilationConfig.backend, inductor_compile_config.
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*){1,}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?")
_LOADED = re.compile(
    r"LD_.*|PATH|BASH_ENV|ENV|IFS|SHELLOPTS|BASHOPTS|PYTHON(?!UNBUFFERED$|HASHSEED$|DONTWRITEBYTECODE$|UTF8$|IOENCODING$|FAULTHANDLER$|MALLOC$).*|"
    r".*(?:PRELOAD|_PLUGINS?|_PLUGIN_\w+|_SO_PATH|INJECTION\w*_PATH|_HOOKS?|_MODULE_PATH|_WORKER_CLS|_ENTRYPOINT)|CC|CXX|NVCC|CUDAHOSTCXX|"
    r"(?:NVCC|C|CXX|LD)FLAGS|(?:NVCC|NVRTC)_(?:PREPEND|APPEND)_\w+|.*_LOGGING_CONFIG_PATH|VLLM_ALLOW_INSECURE_SERIALIZATION|"
    r"HF_HUB_TRUST_REMOTE_CODE|TRUST_REMOTE_CODE|TORCH_EXTENSIONS_DIR|TORCHINDUCTOR_CACHE_DIR|TRITON_(?:CACHE|OVERRIDE|DUMP|HOME)\w*|"
    r"VLLM_CACHE_ROOT|FLASHINFER_WORKSPACE_BASE|HOME|XDG_\w+|TMPDIR",
)
_SENT = re.compile(
    r".*PROXY|.*(?:ENDPOINT|_URL|_URI|_BASE_URL|_SERVER|_REGISTRY|_INDEX)|(?:PIP|UV|GIT|CURL|AWS|AZURE|GOOGLE|GCS|S3|MODELSCOPE|OTEL|SENTRY|WANDB)_.*|"
    r".*(?:CA_BUNDLE|CERT_FILE|CERT_DIR|CAINFO|SSLMODE|SSL_NO_VERIFY|DISABLE_SSL\w*)|VLLM_USE_MODELSCOPE|VLLM_MODEL_REDIRECT_PATH|"
    r"HF_(?:HOME|HUB_CACHE|HUB_OFFLINE)|TRANSFORMERS_OFFLINE|HUGGINGFACE_\w+",
)
_ASKED = re.compile(
    r"VLLM_SERVER_DEV_MODE|VLLM_ALLOW_RUNTIME_LORA_UPDATING|VLLM_MEDIA_\w+|VLLM_ENABLE_\w*(?:DEBUG|DEV)\w*|VLLM_DEBUG_\w*|VLLM_TORCH_PROFILER_DIR|GB10_.*"
)


def of_argument(name: str, value: Any) -> str:
    """Why an argument of a recipe is not taken over, "" where nothing is against it. ``name``: vLLM's, with what follows a dot."""
    head, _dot, tail = name.partition(".")
    row = ARGUMENTS.get(head)
    if head in _CODE or (row and row.part == PLUGIN):
        return f"{CODE}; {SAY}"
    if head in _ADDRESS and value not in (None, "", {}, []):
        return f"{ADDRESS}; {SAY}"
    if head in _ACCESS:
        return f"{ACCESS}: {SAY}"
    found = _within({tail: value} if tail else value, "")
    return f"{found}; {SAY}" if found else ""


def of_mod(name: str, value: Any) -> bool:
    """Whether an argument names a file by its name alone, which a mod of the recipe puts into the image."""
    row = ARGUMENTS.get(name)
    plain = row is not None and row.place == PATH and isinstance(value, str) and bool(value)
    return plain and not value.startswith(("/", "~", "image:", ".")) and "{" not in value


def of_image(name: str, value: Any) -> bool:
    """Whether an argument names one file by its whole path that is only read: in a recipe that is a file of the image, and may stay one."""
    row = ARGUMENTS.get(name)
    plain = row is not None and row.place == PATH and row.part != PLUGIN and name not in (*_CODE, *_ACCESS) and isinstance(value, str)
    return plain and value.startswith("/") and not re.match(r"/(?:run|proc|sys|dev|cache|models|tmp|var|etc|root|home|mnt)(?:/|$)|.*/\.\.(?:/|$)", value)


def _within(value: Any, key: str) -> str:
    """What in a value is code, a place or an address."""
    if isinstance(value, Mapping):
        return next(filter(None, (_within(one, str(name)) for name, one in value.items())), "")
    if isinstance(value, (list, tuple)):
        return next(filter(None, (_within(one, key) for one in value)), "")
    if not isinstance(value, str) or not value:
        return ""
    if value.lstrip().startswith(("{", "[")):
        with contextlib.suppress(ValueError, RecursionError):
            return _within(json.loads(value), key)
    last = key.rpartition(".")[2].removesuffix("+")
    if _CODE_KEY.fullmatch(last) or (last in ("backend", "inductor_compile_config") and _DOTTED.fullmatch(value)):
        return CODE
    text = value.partition("=")[2] if re.match(r"[\w.-]+=[/~.]", value) else value  # --lora-modules name=path
    if text.startswith(("/", "~", "../", "file:")) or "/../" in text:
        return PLACE
    if _URL.match(text) or _HOST.fullmatch(text):
        return ADDRESS
    return ""


def of_variable(name: str, value: str) -> str:
    """Why a variable of a recipe is not taken over, "" where nothing is against it."""
    known = name.upper()
    if _LOADED.fullmatch(known):
        # `none` is how NCCL is told to load no plugin.
        return "" if known.startswith("NCCL_") and value.lower() == "none" else f"it decides what code is loaded; {SAY}"
    if _SENT.fullmatch(known) or _URL.search(value):
        return f"it decides where is fetched from or sent to; {SAY}"
    if _ASKED.fullmatch(known):
        return f"{ACCESS}; {SAY}"
    return ""
