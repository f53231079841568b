# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user of the box who may write into a model's directory makes links there: does root mount private files of others into the container for them?

The container's root reads what is root's (0600 as well), and with a chat template that is another server's key the API hands it to its clients.
PYTHONPATH=CHECKOUT/.ansible/collections python links_mounted.py, as root; ends with 1 where there is a hole.
"""

from __future__ import annotations

import os
import sys
import tempfile

from ansible_collections.gb10.vllm.plugins.module_utils._model import reach
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import mounts

SOMEBODY = 1000
SERVER = {"name": "a", "model": "m", "args": {}}


def as_somebody(target: str, at: str) -> None:
    """A link that an unprivileged user made."""
    os.symlink(target, at)
    os.lchown(at, SOMEBODY, SOMEBODY)


def mounted(model: str, args: dict) -> list[str]:
    """The volumes that a server of this model gets for its links and for what its arguments name."""
    server = {**SERVER, "model_path": model, "args": args}
    found, _said = mounts.link_mounts(reach.links(model), "/models/a")
    facts = reach.named(mounts.files_named([server], os.path.dirname(model)))
    return [*found, *mounts.reached(server, facts.get("a") or {}).volumes]


def holes() -> list[str]:
    """What is wrong, one sentence each."""
    top = tempfile.mkdtemp(prefix="gb10-links-")
    os.chmod(top, 0o755)
    private, home, models = (os.path.join(top, name) for name in ("etc", "home", "models"))
    model, adapter = os.path.join(models, "m"), os.path.join(models, "adapter")
    for place in (private, home, model, adapter):
        os.makedirs(place)
    for place in (home, model, adapter):
        os.chown(place, SOMEBODY, SOMEBODY)
    with open(os.open(os.path.join(private, "key.env"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        stream.write("VLLM_API_KEY=of-another-server\n")
    with open(os.path.join(private, "public"), "w") as stream:
        stream.write("everybody reads this\n")
    as_somebody(private, os.path.join(home, "around"))
    as_somebody(os.path.join(private, "key.env"), os.path.join(model, "chat_template.jinja"))
    as_somebody("../../home/around/key.env", os.path.join(model, "vocab.json"))
    as_somebody(os.path.join(private, "public"), os.path.join(model, "merges.txt"))
    as_somebody(private, os.path.join(adapter, "deep"))
    as_somebody(private, os.path.join(models, "other"))
    os.symlink(os.path.join(home, "around", "key.env"), os.path.join(models, "template.jinja"))  # root's, by way of a link that is not
    asked = {"chat_template": "template.jinja", "lora_modules": ["x=adapter", "y=other"]}
    return [f"mounted: {volume}" for volume in mounted(model, asked) if os.path.realpath(volume.split(":")[0]) in (private, os.path.join(private, "key.env"))]


if __name__ == "__main__":
    seen = holes()
    print("\n".join(seen) or "no hole")
    sys.exit(bool(seen))
