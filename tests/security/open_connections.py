# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stranger on the network opens connections to the transfer port and says nothing: can the boxes of the run still get in?

PYTHONPATH=DIR nice python open_connections.py [NUMBER]        (127.0.0.1 only; the server runs under a limit of 256 open files)
"""

import os
import resource
import socket
import sys
import tempfile
import time

from ansible_collections.gb10.vllm.plugins.module_utils._transfer import client
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import DONE, Descriptions
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.keys import make_certificate, trust
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.server import start_server, stop_server

n = int(sys.argv[1]) if len(sys.argv) > 1 else 400
top = tempfile.mkdtemp(prefix="gb10-flood-")
a, b = os.path.join(top, "a"), os.path.join(top, "b")
certificate, other = make_certificate(a, "a"), make_certificate(b, "b")
trust(a, [other])
offered = Descriptions(os.path.join(top, "root"), ["m"])
offered.offer("m", [], [], {})
offered.say(DONE, "m")
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # an SSH session usually has 1024: the same, with fewer connections
port = start_server(os.path.join(top, "root"), a, 0, 60)
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
pid = int(open(os.path.join(a, "server.pid")).read())


def cpu():
    f = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def threads():
    return next(l.split()[1] for l in open(f"/proc/{pid}/status") if l.startswith("Threads"))


def rss():
    return next(l.split()[1] for l in open(f"/proc/{pid}/status") if l.startswith("VmRSS"))


print("before: threads", threads(), "RSS KiB", rss())
held = []
for _ in range(n):
    try:
        held.append(socket.create_connection(("127.0.0.1", port), timeout=2))
    except OSError as error:
        print("stopped at", len(held), error)
        break
time.sleep(1)
c = cpu()
time.sleep(2)
print(len(held), "silent connections: threads", threads(), "RSS KiB", rss(), "CPU share of the server %.0f %%" % ((cpu() - c) / 2 * 100))
source = {"name": "a", "addresses": ["127.0.0.1"], "port": port, "certificate": certificate}
at, got_in = time.monotonic(), False
try:
    client.Receiver("m", [source], b, patience_s=20).index()
    got_in = True
except Exception as error:
    print("a box of the run after %.0f s: %s" % (time.monotonic() - at, error))
for one in held:
    one.close()
stop_server(a)
sys.exit(not got_in)
