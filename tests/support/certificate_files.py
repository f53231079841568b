# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate and its key, made for a test: by openssl alone, which every box has."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import tempfile
from pathlib import Path

END = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
OPENSSL = shutil.which("openssl") or "openssl"  # a test may take it off the PATH
# Only `ca` takes an end to the second in every OpenSSL 3.
CONFIG = """[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
"""


def pair(folder, name="a", password=None):
    """A certificate and its key in files."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    with tempfile.TemporaryDirectory() as place:

        def openssl(*words):
            subprocess.run([OPENSSL, *words], cwd=place, check=True, capture_output=True)

        (Path(place) / "config").write_text(CONFIG)
        (Path(place) / "index").touch()
        (Path(place) / "serial").write_text("01\n")
        locked = ["-aes-256-cbc", "-pass", f"pass:{password.decode()}"] if password else []
        opened = ["-passin", f"pass:{password.decode()}"] if password else []
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", *locked, "-out", str(key))
        openssl("req", "-new", "-config", "config", "-key", str(key), *opened, "-subj", f"/CN={name}", "-out", "asked")
        days = [f"{one:%Y%m%d%H%M%SZ}" for one in (END - datetime.timedelta(days=9), END)]
        how = ["-config", "config", "-batch", "-notext", "-selfsign", "-keyfile", str(key), *opened, "-startdate", days[0], "-enddate", days[1]]
        openssl("ca", *how, "-in", "asked", "-out", str(certificate))
    certificate.chmod(0o644)
    key.chmod(0o600)
    return str(certificate), str(key)
