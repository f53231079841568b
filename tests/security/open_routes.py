# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of vLLM's routes answer without the key, by vLLM's own middleware, on the routes that the collection's own recorded log lists.

python open_routes.py CHECKOUT PATH/TO/vllm/entrypoints/serve/middleware/authenticate.py     (read only; starlette is stood in for)
"""

import asyncio
import importlib.util
import re
import sys
import tempfile
import types
from pathlib import Path


class Headers(dict):
    def __init__(self, scope):
        super().__init__({k.decode().title(): v.decode() for k, v in scope["headers"]})


class JSONResponse:
    def __init__(self, content, status_code=200):
        self.status = status_code

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": self.status})


for name, attributes in {
    "starlette": {},
    "starlette.datastructures": {"Headers": Headers},
    "starlette.responses": {"JSONResponse": JSONResponse},
    "starlette.types": {k: object for k in ("ASGIApp", "Scope", "Receive", "Send", "Message")},
    "fastapi": {},
    "fastapi.responses": {"JSONResponse": JSONResponse},
}.items():
    module = types.ModuleType(name)
    module.__dict__.update(attributes)
    sys.modules[name] = module
spec = importlib.util.spec_from_file_location("authenticate", sys.argv[2])
authenticate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(authenticate)


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})


guarded = authenticate.AuthenticationMiddleware(app, ["the-key"])
ours = Path(sys.argv[1]) / "roles/server/files/guard_keys.py"
if ours.exists():
    keys = Path(tempfile.mkdtemp(prefix="gb10-keys-"))
    (keys / "key.env").write_text("VLLM_API_KEY=the-key\n")
    spec = importlib.util.spec_from_file_location("guard_keys", ours)
    guard_keys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guard_keys)
    guarded = guard_keys.GuardKeys(guarded, str(keys))


async def ask(method, path):
    got = []

    async def send(message):
        got.extend([message["status"]] if "status" in message else [])

    await guarded({"type": "http", "method": method, "path": path, "headers": []}, None, send)
    return got[0]


log = next(Path(sys.argv[1]).glob("tests/unit/plugins/plugin_utils/**/logs/healthy-0.32.0-cpu.log")).read_text()
routes = re.findall(r"Route: (\S+), Methods: (\w+)", log)
open_ = [f"{method} {path}" for path, method in routes if asyncio.run(ask(method, path)) == 200]
print(len(routes), "routes; without a key:", ", ".join(open_))
sys.exit(any(one != "GET /health" for one in open_))
