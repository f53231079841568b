# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server's arguments and environment say of its API inside the container: one port, all addresses, and an API that asks for keys. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.checks import shown
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import canonical_name, plain_name, truth
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import is_loopback

# What starts something else than the HTTP API, or nothing that answers (vLLM: ``entrypoints/cli/serve.py``).
OTHER_API = {
    "grpc": "serves gRPC, which no key guards and nothing here asks",
    "headless": "starts no API, so nobody would be answered",
    "data_parallel_multi_port_external_lb": "starts a supervisor of several servers, and a GB10 has one GPU",
}
RUST = "VLLM_USE_RUST_FRONTEND"


def named(args: Any) -> dict[str, Any]:
    """``args`` under vLLM's own names, whatever of them is wrong."""
    return {canonical_name(plain_name(key).partition(".")[0]): value for key, value in args.items()} if isinstance(args, Mapping) else {}


def own_port(server: Mapping[str, Any], where: str) -> Any:
    """The port of a server: its own or the one in ``args``, which vLLM would listen on. GB10Error where they differ, or ``host`` closes the container."""
    args = named(server.get("args"))
    _check_host(args.get("host"), where)
    if "model" in args:
        raise GB10Error(f"{where}: args.model names a second model beside `model`, and vLLM refuses to start with both; leave it out of args.")
    port, inner = server.get("port"), None if args.get("port") == "" else args.get("port")
    if inner is not None and port is not None and str(inner) != str(port):
        said = f"`port: {shown(port)}` and args.port {shown(inner)} say two things"
        raise GB10Error(f"{where}: {said}; keep `port`, which counts in the container and on the box.")
    return port if port is not None else 8000 if inner is None else inner


def _check_host(host: Any, where: str) -> None:
    """GB10Error for a ``host`` on which nobody outside the container reaches vLLM; nothing said means all addresses."""
    text = "" if host in (None, "None") else str(host).strip()
    text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if text in ("", "0.0.0.0", "::"):
        return
    published = "0.0.0.0" if text == "*" else "127.0.0.1" if text.lower() == "localhost" else text
    why = "is no address" if text == "*" else "would be the container's own, on which nobody outside it reaches vLLM"
    advice = f"say `address: {published}` for the server" if _can_be_published(published) else "say with `address` on which IP address of the box"
    raise GB10Error(f"{where}: args.host {shown(host)} {why}; leave it out and {advice}.")


def _can_be_published(text: str) -> bool:
    try:
        is_loopback(text)
        address = ipaddress.ip_address(text)
    except GB10Error:
        return False
    return not (getattr(address, "scope_id", None) or (address.version == 6 and address.is_link_local) or address.is_multicast)


def check_api(server: Mapping[str, Any], keyless: bool, where: str) -> None:
    """GB10Error for a server that would not answer over the HTTP API, where keys are asked for. ``keyless``: nobody shall be asked for one."""
    args = named(server.get("args"))
    for name, why in OTHER_API.items():
        made = name == "headless" and server.get("boxes") is not None  # `groups` has its own sentence
        if name in args and not made and truth(args[name]):
            raise GB10Error(f"{where}: args.{name} {why}; leave it out.")
    if str(args.get("api_server_count")).strip() in ("0", "-1"):
        raise GB10Error(f"{where}: args.api_server_count {args['api_server_count']} starts no API, so nobody would be answered; leave it out.")
    env = server.get("env")
    rust = env.get(RUST) if isinstance(env, Mapping) else None
    if not keyless and rust is not None and str(rust).strip() not in ("", "0"):
        raise GB10Error(
            f"{where}: env.{RUST} starts a front end that asks for no key, as it takes no middleware; leave it out, or say gb10_allow_open: true to serve"
            " without keys."
        )
