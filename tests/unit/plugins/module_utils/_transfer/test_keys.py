# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that lie where only root reads, trust only those named, and leave no trace."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import threading

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._transfer import keys


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("keys")
    return {name: (str(root / name), keys.make_certificate(str(root / name), name)) for name in "ab"}


def shake(server_context, client_context):
    """Whether both sides accept each other: each sends one byte."""
    left, right = socket.socketpair()
    got = []

    def answer():
        try:
            with server_context.wrap_socket(left, server_side=True) as connection:
                got.append(connection.recv(1))
                connection.sendall(b"2")
        except OSError as error:
            got.append(error)
            left.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with client_context.wrap_socket(right) as connection:
            connection.sendall(b"1")
            return connection.recv(1) == b"2"
    finally:
        thread.join(10)


def test_the_key_is_private(two):
    directory, certificate = two["a"]
    assert certificate.startswith("-----BEGIN CERTIFICATE-----")
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.join(directory, keys.KEY)).st_mode) == 0o600


def test_those_who_are_named_to_each_other_talk_and_nobody_else(two):
    (dir_a, cert_a), (dir_b, cert_b) = two["a"], two["b"]
    assert shake(keys.server_context(dir_a, cert_b), keys.client_context(dir_b, cert_a))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(keys.server_context(dir_a, cert_b), keys.client_context(dir_b, cert_b))
    with pytest.raises(OSError):
        shake(keys.server_context(dir_a, cert_a), keys.client_context(dir_b, cert_a))


def test_trust_is_replaced_whole_and_keys_go_with_it(tmp_path):
    directory = str(tmp_path)
    keys.trust(directory, ["one", "two"])
    keys.trust(directory, ["three"])
    assert os.listdir(directory) == [keys.TRUSTED]
    with open(keys.trusted_path(directory), encoding="ascii") as stream:
        assert stream.read() == "three"
    keys.remove_keys(directory)
    keys.remove_keys(directory)
    assert os.listdir(directory) == []


def test_a_box_without_openssl_and_one_whose_openssl_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GB10Error, match="install the package openssl"):
        keys.make_certificate(str(tmp_path / "k"), "a")
    (tmp_path / "openssl").write_text("#!/bin/sh\necho no entropy >&2\nexit 1\n")
    (tmp_path / "openssl").chmod(0o755)
    with pytest.raises(GB10Error, match="openssl could not make a certificate for the transfer: no entropy"):
        keys.make_certificate(str(tmp_path / "k"), "a")
