# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links inside model directories, followed by root.   PYTHONPATH=DIR python links.py

1 chmod     a bundle's model holds a link to a private file: after `adopt` (unbundle) that file is readable by everybody
2 spread    a model directory (its owner need not be root) holds a link to a private file: it is listed, so it is sent to every other box and is 0644 there
3 truncate  whoever may write into the models' directory prepares NAME.partial with a link NAME.incoming: root empties the file behind it
"""

import hashlib
import inspect
import os
import sys
import tempfile

from ansible_collections.gb10.vllm.plugins.module_utils._io.incoming import Incoming
from ansible_collections.gb10.vllm.plugins.module_utils._model import store
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import server

docker = {"docker": "/bin/false"} if "docker" in inspect.signature(store.adopt).parameters else {}
top = tempfile.mkdtemp(prefix="gb10-links-")
bad = []
secret = os.path.join(top, "key.env")


def private():
    with open(secret, "w") as f:
        f.write("VLLM_API_KEY=x" * 50)
    os.chmod(secret, 0o600)


private()
final = os.path.join(top, "one")
os.makedirs(final + ".partial")
open(final + ".partial/config.json", "w").write("{}")
os.symlink(secret, final + ".partial/extra.json")
try:
    store.adopt(final, {"config.json": {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}}, **docker)
except Exception as error:
    print("1 refused:", error)
print("1 chmod    -> %o" % (os.stat(secret).st_mode & 0o777))
bad.append(os.stat(secret).st_mode & 0o077)

private()
model = os.path.join(top, "two")
os.makedirs(model)
os.symlink(secret, os.path.join(model, "tokenizer.json"))
try:
    listed = [f["name"] for f in store.list_files(model)]
    stream = server.open_item([model], "tokenizer.json")
    assert stream, "not served"
    print("2 spread   ->", listed, "served:", stream.read(14))
    bad.append(True)
except Exception as error:
    print("2 refused:", error)

private()
final = os.path.join(top, "three")
os.makedirs(final + ".partial")
store.write_record(final + ".partial", {"arriving": "org/m@" + "0" * 40})
os.symlink(secret, final + ".partial/config.json.incoming")
partial = store.prepare_partial(final, "org/m@" + "0" * 40)  # what model_fetch does: this partial is "ours", so it is kept
try:
    with Incoming(os.path.join(partial, "config.json.incoming"), 100):
        pass
except Exception as error:
    print("3 refused:", error)
print("3 truncate -> %d bytes left in the private file" % os.path.getsize(secret))
bad.append(os.path.getsize(secret) == 0)
sys.exit(any(bad))
