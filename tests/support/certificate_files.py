# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate and its key, made for a test."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

END = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)


def pair(folder, name="a", password=None):
    """A certificate and its key in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
    certificate = made.not_valid_before(END - datetime.timedelta(days=9)).not_valid_after(END).sign(key, hashes.SHA256())
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    files = {f"{name}.pem": certificate.public_bytes(serialization.Encoding.PEM)}
    files[f"{name}.key"] = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    for file, data in files.items():
        (folder / file).write_bytes(data)
        (folder / file).chmod(0o600 if file.endswith(".key") else 0o644)
    return str(folder / f"{name}.pem"), str(folder / f"{name}.key")
