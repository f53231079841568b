# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a server can speak TLS with a certificate and a key that lie on its box, and until when."""

from __future__ import annotations

import os
import ssl
import stat

from ansible_collections.gb10.vllm.plugins.module_utils._io.command import MISSING, run


def read_certificate(certificate: str, key: str) -> dict:
    """{certificate, problem, expires, expires_at}: why it cannot be used (None where nothing stands in the way), and the end of its time as openssl
    says it and in epoch seconds (None where there is no openssl)."""
    found: dict = {"certificate": certificate, "problem": _problem(certificate, key), "expires": None, "expires_at": None}
    if found["problem"]:
        return found
    said = run(["openssl", "x509", "-noout", "-enddate", "-in", certificate])
    if said.returncode == 0:
        found["expires"] = said.stdout.strip().partition("=")[2]
        found["expires_at"] = ssl.cert_time_to_seconds(found["expires"])
    elif said.returncode != MISSING:
        found["problem"] = f"openssl cannot read {certificate} ({said.stderr.strip().splitlines()[-1] if said.stderr.strip() else 'it says nothing'})"
    return found


def _problem(certificate: str, key: str) -> str | None:
    for path in (certificate, key):
        try:
            status = _status(path)
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        if not stat.S_ISREG(status.st_mode):
            return f"{path} is not a file"
        # Root in the container has no right to read what neither root nor everybody may.
        if not (status.st_uid == 0 and status.st_mode & stat.S_IRUSR or status.st_mode & stat.S_IROTH):
            return f"{path} is not readable for the container, whose root may read only what root owns: chown root {path}"
    if _status(key).st_mode & stat.S_IROTH:
        return f"{key} is readable for everybody: chmod 600 {key}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{key} is not the key of {certificate}"
        return f"{certificate} and {key} are not a certificate and its key without a passphrase, both as PEM ({error.reason or error})"
    except (OSError, ValueError) as error:
        return f"{certificate} and {key} cannot be read ({error})"
    return None


def _status(path: str) -> os.stat_result:
    return os.stat(path)
