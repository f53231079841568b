# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks servers for completions, one after the other, until a file appears; then writes the fewest answers of one of them, and which did not come.

client.py STOP_FILE RESULT_FILE URL=KEY...
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path

BODY = json.dumps({"model": "tiny-llama", "max_tokens": 4, "messages": [{"role": "user", "content": "Good morning"}]}).encode()


def main(stop: Path, result: Path, urls: list[str]) -> None:
    answered, failed = dict.fromkeys(urls, 0), []
    while not stop.exists():
        for one in urls:
            url, key = one.split("=", 1)
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
            request = urllib.request.Request(f"{url}/v1/chat/completions", BODY, headers)
            try:
                with urllib.request.urlopen(request, timeout=120) as reply:
                    answered[one] += bool(json.load(reply)["choices"][0]["message"]["content"])
            except (OSError, ValueError, KeyError) as error:
                failed.append(f"{url}: {error}")
        time.sleep(2)  # an engine that answers takes the cores on which the other one starts
    result.write_text(json.dumps({"least": min(answered.values()), "failed": failed}))


main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
