# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the router of this host answers. keepalived asks it, and lets another router have the floating address when it does not.

    router-answers ADDRESS PORT

It stands alone: Python's standard library, whatever the host brings.
"""

from __future__ import annotations

import http.client
import ssl
import sys

PATIENCE_S = 2.0


def answers(address: str, port: int) -> bool:
    """Whether HAProxy says `ok`. Its certificate is for the names that clients know, so this host asks itself without a look at it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    line = http.client.HTTPSConnection(address, port, timeout=PATIENCE_S, context=context)
    try:
        line.request("GET", "/health")
        return line.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1], int(sys.argv[2])) else 1)
