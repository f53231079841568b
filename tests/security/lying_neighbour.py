# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A box in the middle of a chain that lies about a model's content: is it noticed by the box behind it?

    PYTHONPATH=DIR_WITH_ansible_collections python lying_neighbour.py

Three boxes on 127.0.0.1: A holds the model, B (compromised) got it and serves other bytes with their own SHA-256, C fetches from B.
The docs say: "each file by the SHA-256 the first box computed". Exit 1 when C puts the changed file in place (hole), 0 when it refuses.
"""

import contextlib
import hashlib
import json
import os
import socketserver
import struct
import sys
import tempfile
import threading

from ansible_collections.gb10.vllm.plugins.module_utils._model import store
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import keys as certificates
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.share import Shares

FRAME = struct.Struct("!cI")
GOOD, EVIL = b'{"architectures": ["A"]}', b'{"architectures": ["E"]}'


def main():
    top = tempfile.mkdtemp(prefix="gb10-liar-")

    def at(*parts):
        return os.path.join(top, *parts)

    os.makedirs(at("a", "models", "m"))
    with open(at("a", "models", "m", "config.json"), "wb") as f:
        f.write(GOOD)
    # A's own record says what the file is, as after a download from a hub: the sum is known before anything travels.
    st = os.stat(at("a", "models", "m", "config.json"))
    store.write_record(
        at("a", "models", "m"),
        {
            "repo_id": "org/m",
            "revision": "0" * 40,
            "files": {"config.json": {"size": st.st_size, "mtime_ns": st.st_mtime_ns, "sha256": hashlib.sha256(GOOD).hexdigest()}},
        },
    )
    wanted = store.identity(at("a", "models", "m"))
    # What the controller knows since its facts of box A (a release before this one had nothing of the kind).
    content = store.content_of(store.list_files(at("a", "models", "m"))) if hasattr(store, "content_of") else None
    keys = {}
    for name in "bc":
        keys[name] = certificates.make_certificate(at(name, "keys"), name)
    context = certificates.server_context(at("b", "keys"), keys["c"])
    honest_sum = hashlib.sha256(GOOD).hexdigest()

    class Liar(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError), context.wrap_socket(self.request, server_side=True) as line, line.makefile("rb") as lines:
                while text := lines.readline(65536):
                    asked = json.loads(text)

                    def send(letter, payload=b""):
                        line.sendall(FRAME.pack(letter, len(payload)) + payload)

                    if "item" not in asked:
                        item = {"name": "config.json", "size": len(EVIL), "mtime_ns": st.st_mtime_ns, "sha256": honest_sum}  # the honest sum, as A said
                        send(b"I", json.dumps({"items": [item], "meta": {"record": {"repo_id": "org/m", "revision": "0" * 40}}}).encode())
                    else:
                        send(b"D", EVIL)
                        send(b"Z", hashlib.sha256(EVIL).hexdigest().encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Liar)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.makedirs(at("c", "models"))
    shares = Shares(at("c", "state"), keys=at("c", "keys"), docker="/bin/false")
    os.makedirs(at("c", "state", "transfer"), exist_ok=True)
    source = {"name": "b", "addresses": ["127.0.0.1"], "port": server.server_address[1], "certificate": keys["b"]}
    store.prune = lambda *a, **k: []
    try:
        shares.transfer(
            [{"key": "m", "kind": "directory", "place": at("c", "models", "m"), "identity": wanted, "content": content, "give": False, "sources": [source]}],
            [keys["b"]],
            patience_s=5,
        )
    except Exception as error:
        print("refused:", error)
        return 0
    got = open(at("c", "models", "m", "config.json"), "rb").read()
    print("in place on C:", got, "| identity the controller asked for == identity on C:", store.identity(at("c", "models", "m")) == wanted)
    return 1 if got == EVIL else 0


sys.exit(main())
