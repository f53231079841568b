# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has the router's key asks for an owner's route with a line break behind it (%0A), which the `$` of Starlette's expressions lets pass.

PYTHONPATH=DIRECTORY_WITH_STARLETTE python owner_route_newline.py CHECKOUT; ends with 1 where there is a hole.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import tempfile
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

OWNERS = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/inference/v1/abort_requests", "/sleep", "/collective_rpc")
BEHIND = ("", "\n", "\n\n", "\r\n", "\u2028", " ", "/", "//", ";x", "\0")


async def done(_request):
    """What only the owner may reach."""
    return PlainTextResponse("done")


async def status(app, path, key):
    """The status of a POST with this key, the path as uvicorn decodes it."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"authorization", b"Bearer " + key)], "root_path": ""}
    await app({**scope, "server": ("a", 1), "scheme": "http"}, receive, send)
    return sent[0]["status"]


def holes() -> list[str]:
    """What is wrong, one sentence each."""
    spec = importlib.util.spec_from_file_location("guard_keys", Path(sys.argv[1]) / "roles/server/files/guard_keys.py")
    guard_keys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guard_keys)
    keys = Path(tempfile.mkdtemp(prefix="gb10-keys-"))
    (keys / "key.env").write_text("VLLM_API_KEY=owner\n")
    (keys / "fleet.env").write_text("GB10_ROUTER_KEY=router\nGB10_METRICS_KEY=metrics\n")
    app = guard_keys.GuardKeys(Starlette(routes=[Route(path, done, methods=["POST"]) for path in OWNERS]), str(keys))
    asked = [(path + more, key) for path in OWNERS for more in BEHIND for key in (b"router", b"metrics", b"")]
    return [f"{path!r} answers the key {key.decode()!r}" for path, key in asked if asyncio.run(status(app, path, key)) == 200]


if __name__ == "__main__":
    seen = holes()
    print("\n".join(seen) or "no hole")
    sys.exit(bool(seen))
