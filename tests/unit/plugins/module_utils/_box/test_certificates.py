# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates and keys as they lie on boxes, right and wrong."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._box import certificates
from certificate_files import END, pair


def owned_by(uid, path):
    seen = os.stat(path)
    return os.stat_result((*seen[:4], uid, *seen[5:10]))


@pytest.fixture(autouse=True)
def _files_of_root(monkeypatch):
    """The tests may run as anybody; on a box the files are root's."""
    monkeypatch.setattr(certificates, "_status", lambda path: owned_by(0, path))


def test_a_pair_that_fits_and_until_when(tmp_path):
    certificate, key = pair(tmp_path)
    found = certificates.read_certificate(certificate, key)
    assert found == {"certificate": certificate, "problem": None, "expires": "Feb  3 04:05:06 2031 GMT", "expires_at": END.timestamp()}


def test_without_openssl_the_pair_is_looked_at_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "run", lambda argv: subprocess.CompletedProcess(argv, certificates.MISSING, "", "openssl is not installed"))
    assert certificates.read_certificate(*pair(tmp_path))["expires_at"] is None
    certificate, _key = pair(tmp_path)
    assert "is not the key of" in certificates.read_certificate(certificate, pair(tmp_path, "b")[1])["problem"]


def test_what_cannot_be_used_is_named(tmp_path):
    certificate, key = pair(tmp_path)
    (tmp_path / "text").write_text("no PEM")
    (tmp_path / "text").chmod(0o600)
    for given, words in (
        ((certificate, str(tmp_path / "none")), "none cannot be read (No such file or directory)"),
        ((str(tmp_path), key), "is not a file"),
        ((str(tmp_path / "text"), key), "are not a certificate and its key"),
        ((certificate, str(tmp_path / "text")), "are not a certificate and its key"),
        ((certificate, pair(tmp_path, "b")[1]), "is not the key of"),
        (pair(tmp_path, "c", b"secret"), "without a passphrase"),
    ):
        assert words in certificates.read_certificate(*given)["problem"], words
    os.chmod(key, 0o644)
    assert "readable for everybody" in certificates.read_certificate(certificate, key)["problem"]


def test_what_only_another_user_may_read_the_container_cannot(tmp_path, monkeypatch):
    certificate, key = pair(tmp_path)
    monkeypatch.setattr(certificates, "_status", lambda path: owned_by(1000, path))
    assert "chown root" in certificates.read_certificate(certificate, key)["problem"]
