# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that lie where only root reads, trust only those named, and leave no trace."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
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


def test_a_directory_of_keys_is_never_open_and_neither_is_a_file_in_it(tmp_path, monkeypatch):
    asked, run = [], keys.run
    monkeypatch.setattr(keys, "run", lambda argv, timeout_s, **more: asked.append((timeout_s, more)) or run(argv, timeout_s, **more))
    monkeypatch.setattr(keys.os, "chmod", lambda *_words: None)  # made so, and not closed afterwards only
    before = os.umask(0)
    try:
        keys.make_certificate(str(tmp_path / "k"), "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "k").st_mode) == 0o700 and asked == [(30, {"umask": 0o077})]
    assert sorted(os.listdir(tmp_path / "k")) == sorted([keys.KEY, keys.CERTIFICATE])
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "k").iterdir()} == {0o600}


@pytest.mark.parametrize(("name", "called"), [("spark-01", "spark-01"), ("", "box"), ("x" * 64, "x" * 60)])
def test_a_certificate_says_whose_it_is(tmp_path, name, called):
    certificate = keys.make_certificate(str(tmp_path), name)
    said = subprocess.run(["openssl", "x509", "-noout", "-subject"], input=certificate, capture_output=True, text=True, check=True).stdout
    assert said.partition("CN")[2].strip(" =\n") == called


def test_each_side_is_one_side_and_no_clock_counts(two):
    directory, certificate = two["a"]
    answering, asking = keys.server_context(directory, certificate), keys.client_context(directory, certificate)
    assert (answering.protocol, asking.protocol) == (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    for context in (answering, asking):
        assert int(context.verify_flags) & 0x200000 and context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname is False
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert int(context.verify_flags) & int(ssl.create_default_context().verify_flags & ssl.VERIFY_X509_TRUSTED_FIRST)


def test_where_it_listens(monkeypatch):
    own = ["127.0.0.1", "127.0.0.7"]
    monkeypatch.setattr(keys, "own_addresses", lambda: ["127.0.0.1"])
    assert keys.listening_addresses("127.0.0.7", ["127.0.0.8"]) == ["127.0.0.7"], "a link is all there is"
    assert keys.listening_addresses("", ["127.0.0.7", "192.0.2.77", "no-such-name.invalid"]) == own[::-1], (
        "those of others that are ours, and the default route's"
    )
    assert keys.listening_addresses("", ["127.0.0.1", "127.0.0.1"]) == ["127.0.0.1"], "each once"
    with pytest.raises(GB10Error, match=r"^gb10_link_address 192\.0\.2\.77 is no address of this box, so other boxes.*; set gb10_link_address to"):
        keys.listening_addresses("192.0.2.77", ["127.0.0.1"])
    monkeypatch.setattr(keys, "own_addresses", list)
    with pytest.raises(GB10Error, match="^this box has neither a default route nor the address the inventory gives it, so"):
        keys.listening_addresses("", ["192.0.2.77"])


def test_a_name_is_looked_up_and_an_address_of_ours_can_be_bound(monkeypatch):
    looked = []
    monkeypatch.setattr(keys.socket, "getaddrinfo", lambda *words, **more: looked.append((words, more)) or [(2, 1, 6, "", ("127.0.0.9", 0))])
    assert keys._resolved("spark-1") == ["127.0.0.9"] and keys._is_own("127.0.0.9")
    assert looked == [
        (("spark-1", None), {"type": socket.SOCK_STREAM}),
        (("127.0.0.9", 0), {"type": socket.SOCK_STREAM, "flags": socket.AI_NUMERICHOST}),
    ]
    assert keys._resolved("a" * 70 + ".x") == ["127.0.0.9"]
    monkeypatch.undo()
    assert keys._resolved("\udcff") == [] and not keys._is_own("spark-1.invalid") and not keys._is_own("192.0.2.77")


def test_its_own_addresses_are_those_towards_the_default_route_of_each_family(monkeypatch):
    said = []

    class Probe:
        def __init__(self, family, kind):
            said.append((family, kind))
            self.family = family

        def __enter__(self):
            return self

        def __exit__(self, *_words):
            return None

        def connect(self, target):
            said.append(target)
            if self.family == socket.AF_INET:
                raise OSError("no route")

        def getsockname(self):
            return ("fd00::7", 4711, 0, 0)

    monkeypatch.setattr(keys.socket, "socket", Probe)
    assert keys.own_addresses() == ["fd00::7"]
    assert said == [(socket.AF_INET, socket.SOCK_DGRAM), ("192.0.2.1", 9), (socket.AF_INET6, socket.SOCK_DGRAM), ("2001:db8::1", 9)]
