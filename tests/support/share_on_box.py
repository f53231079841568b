# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One step of gb10.vllm.share on a box, without Ansible: a JSON list of [step, arguments] on stdin, the result on stdout."""

from __future__ import annotations

import json
import sys

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._transfer.share import Shares

STEPS = {
    "open": lambda given: Shares("/var/lib/gb10-vllm").open(**given),
    "transfer": lambda given: Shares("/var/lib/gb10-vllm").transfer(**given),
    "close": lambda given: Shares("/var/lib/gb10-vllm").close(**given),
    "prune": lambda given: ImageStore().prune_previous(**given),
}

if __name__ == "__main__":
    step, given = json.load(sys.stdin)
    try:
        print(json.dumps({"ok": STEPS[step](given)}))
    except GB10Error as error:
        print(json.dumps({"error": str(error)}))
