# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a box whose turn never came would serve after a restart, when supply has brought a new version of its model.   PYTHONPATH=DIR python held_back_box.py

Plays the steps: a server runs with model m (old); supply puts the new version in place; the canary fails elsewhere, so this box is held back; then its
container is started again (reboot, crash, Docker update). Docker looks up a bind mount's path at each start.
"""

import json
import os
import sys
import tempfile

from ansible_collections.gb10.vllm.plugins.module_utils._model import read, store
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment

top = tempfile.mkdtemp(prefix="gb10-held-")
model = os.path.join(top, "models", "m")
os.makedirs(model)
json.dump({"v": "OLD"}, open(model + "/config.json", "w"))
store.write_record(model, {"repo_id": "o/m", "revision": "a" * 40, "files": {}})
# A Docker that tells what the server's container mounts: with none at all the plain name would stay for that alone.
tells = os.path.join(top, "docker")
# The one before was brought by us, so it lies in a version; a release before this one had none, and mounted the plain name.
docker, facts = ((tells,), ({"directory": placed(model)["directory"]},)) if (placed := getattr(read, "placed", None)) else ((), ())
one = deployment.build(
    {"arguments": ["--max-model-len", "65536"], "requested_bytes": 1, "served_model_name": "m"},
    {"name": "a", "address": "127.0.0.1", "port": 8000, "model": "o/m", "model_path": model},
    {"id": "sha256:i", "name": "i"},
    "manifest-of-OLD",
    "",
    {"state_dir": top, "config_dir": top, "shm_gib": 8, "floor_bytes": 1, "stop_timeout_s": 60},
    *facts,
)
source = one["container"]["volumes"][0].split(":")[0]
told = json.dumps([{"State": {"Pid": 0}, "Mounts": [{"Source": source, "Destination": "/models/a"}]}])
with open(os.open(tells, os.O_WRONLY | os.O_CREAT, 0o755), "w") as script:
    script.write(f"#!/bin/sh\ncase \"$1\" in ps) echo gb10-vllm-a;; *) echo '{told}';; esac\n")
partial = store.prepare_partial(model, "o/m@" + "b" * 40)
json.dump({"v": "NEW, never proven"}, open(partial + "/config.json", "w"))
store.put_in_place(partial, model, {"repo_id": "o/m", "revision": "b" * 40, "files": {}}, *docker)
now = json.load(open(source + "/config.json"))["v"]
print("the record says", one["manifest"], "- the path that the container mounts holds", now, "-", sorted(os.listdir(os.path.dirname(model))))
sys.exit(now != "OLD")
