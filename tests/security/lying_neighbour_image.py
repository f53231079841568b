# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same for an image: the box behind a liar compares what Docker made with what the liar said, not with what the controller asked for.

PYTHONPATH=DIR python lying_neighbour_image.py      (no Docker: its answers are played)
"""

import hashlib
import os
import sys
import tempfile
import threading
import types

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.identity import identity
from ansible_collections.gb10.vllm.plugins.module_utils._io.progress_log import ProgressLog
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.images import Images
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.index import Descriptions
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.wire import Gone
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.work import Work

top = tempfile.mkdtemp(prefix="gb10-liar-image-")
EVIL = {"Id": "sha256:evil", "Config": {"Cmd": ["evil"]}, "RootFS": {"Layers": ["sha256:e"]}, "Created": "now", "Architecture": "arm64", "Os": "linux"}
evil = identity(EVIL)
SENT = b"{}"
CONFIG = hashlib.sha256(SENT).hexdigest()


class Receiver:  # what a lying neighbour sends as the description of the image
    received_bytes = 0
    sources = types.SimpleNamespace(used={})
    stopped = threading.Event()

    def index(self):
        meta = {"identity": evil, "config": CONFIG, "layers": [], "others": [], "index": None, "sizes": {CONFIG: len(SENT)}}
        return {"items": [{"name": CONFIG, "size": len(SENT), "sha256": CONFIG}], "meta": meta}


class Docker:
    def kind(self):
        return "classic"

    def layers_held(self):
        return []

    def root_dir(self):
        return top

    def load(self, archive, blobs, name, *_more):  # the comparison of ImageStore.load, with an engine that made what was sent
        if identity(EVIL) != archive["identity"]:
            raise GB10Error("Docker made another image than the one that was sent")
        return EVIL["Id"]


images = Images(os.path.join(top, "state"))
images.store = Docker()
asked = {"key": "image", "kind": "image", "place": "vllm-node", "identity": "0" * 64, "give": False, "sources": [{"name": "b"}]}
root = os.path.join(top, "state", "transfer")
os.makedirs(images.blobs)
with open(os.path.join(images.blobs, CONFIG), "wb") as f:
    f.write(SENT)  # its only blob is here already: what has to be refused is the image that the description is of
work = Work(Descriptions(root, ["image"]), ProgressLog(os.path.join(root, "progress.jsonl")), 1, 1)
try:
    got = images.take(asked, Receiver(), work)()
    print("asked for identity", asked["identity"][:8], "- loaded and named:", got["image_id"], "with identity", evil[:8])
    sys.exit(1)
except (GB10Error, Gone) as error:
    print("refused:", error)
