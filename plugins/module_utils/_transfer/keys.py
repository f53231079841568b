# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who a box is in one run and whom it believes: a key that never leaves it, a certificate the others are told, and theirs."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Sequence

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import MISSING, run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import write_whole

KEY, CERTIFICATE, TRUSTED = "key.pem", "certificate.pem", "trusted.pem"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: the certificates are pinned, and boxes' clocks may disagree


def make_certificate(directory: str, name: str) -> str:
    """A new key and certificate in ``directory`` (0700); returns the certificate as PEM. Needs the openssl command."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)
    key, certificate = os.path.join(directory, KEY), os.path.join(directory, CERTIFICATE)
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name[:60] or 'box'}"]
    process = run(["openssl", "req", "-x509", *kind, "-keyout", key, "-out", certificate], 30, umask=0o077)
    if process.returncode == MISSING:
        raise GB10Error("the openssl command is not on this box, and box-to-box transfers are encrypted with it; install the package openssl")
    if process.returncode:
        raise GB10Error(f"openssl could not make a certificate for the transfer: {(process.stderr.strip().splitlines() or ['no message'])[-1]}")
    with open(certificate, encoding="ascii") as stream:
        return stream.read()


def trust(directory: str, certificates: Sequence[str]) -> None:
    """Let those who hold one of these certificates ask for what this box offers."""
    write_whole(trusted_path(directory), "\n".join(certificates))


def trusted_path(directory: str) -> str:
    """The certificates of those who may ask; missing until Ansible has named them."""
    return os.path.join(directory, TRUSTED)


def remove_keys(directory: str) -> None:
    """Remove everything that could prove this box's identity in another run."""
    for name in (KEY, CERTIFICATE, TRUSTED):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))


def server_context(directory: str, trusted: str) -> ssl.SSLContext:
    """TLS for answering those whose certificates are in ``trusted`` (PEM)."""
    return _context(ssl.PROTOCOL_TLS_SERVER, directory, trusted)


def client_context(directory: str, trusted: str) -> ssl.SSLContext:
    """TLS for asking the one whose certificate is ``trusted`` (PEM)."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, directory, trusted)


def _context(side: int, directory: str, trusted: str) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | _NO_CHECK_TIME)
    context.load_cert_chain(os.path.join(directory, CERTIFICATE), os.path.join(directory, KEY))
    context.load_verify_locations(cadata=trusted)
    return context


def listening_addresses(link: str, others: Sequence[str]) -> list[str]:
    """The addresses of this box on which a transfer is answered: ``link``'s alone where there is one, of both families where a name has both.

    Without a link those of ``others`` that are this box's and those towards its default route. GB10Error when none is.
    """
    named = [address for name in ([link] if link else others) for address in _resolved(name)]
    found = [address for address in dict.fromkeys([*named, *([] if link else own_addresses())]) if _is_own(address)]
    if not found:
        what = f"gb10_link_address {link} is no address of this box" if link else "this box has neither a default route nor the address the inventory gives it"
        raise GB10Error(f"{what}, so other boxes could not reach it for a transfer; set gb10_link_address to its address on the link between the boxes")
    return found


def _resolved(name: str) -> list[str]:
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def _is_own(address: str) -> bool:
    """Whether something can listen on this address here."""
    try:
        found = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            probe.bind(found[4])
        return True
    except OSError:
        return False


def own_addresses() -> list[str]:
    """The address this box uses towards its default route, if it has one. Nothing is sent."""
    found = []
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            found.append(probe.getsockname()[0])
    return found
