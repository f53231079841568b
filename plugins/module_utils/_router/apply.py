# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A new configuration of HAProxy: looked at by HAProxy itself beside the old one, put in its place whole, read without losing a request."""

from __future__ import annotations

import grp
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.certificates import read_certificate
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import write_json, write_whole
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy
from ansible_collections.gb10.vllm.plugins.module_utils._router.look import LEAST_LEFT_S, PROGRAM, SERVERS, certificate_names, configuration, joined

PEM = "gb10-router.pem"
MADE = "gb10-router-made"
MADE_DAYS = 825
STARTED_S = 30.0
UNIT = "haproxy.service"


def directory() -> Path:
    """Where HAProxy's configuration lies."""
    return Path(haproxy.CONFIG).parent


def refuse_others() -> None:
    """GB10Error where HAProxy has a configuration that is neither ours nor its package's own."""
    found = configuration()
    if found["present"] and not found["ours"] and not found["stock"]:
        raise GB10Error(
            f"{haproxy.CONFIG} is somebody's: this collection did not write it, and it is not the one of the package. It is left as it is; use another "
            f"host as router, or move the file away. Nothing was changed."
        )


def certificate(given: Mapping[str, str], names: Sequence[str], *, check: bool = False) -> tuple[str, bool]:
    """(certificate and key in one text, whether one was made now). ``given``: their paths on this host, nothing to have one made for ``names``.

    GB10Error where the files cannot be used together. ``check``: none is made; the text is "" where one would be.
    """
    where = directory()
    paths = [given.get("certificate") or str(where / f"{MADE}.crt"), given.get("key") or str(where / f"{MADE}.key")]
    made = False
    if not given and not _lasts(paths[0], paths[1], names):
        if check:
            return "", False
        _make(paths[0], paths[1], names)
        made = True
    found = read_certificate(*paths)
    if found["problem"]:
        raise GB10Error(f"gb10_router_tls cannot be used: {found['problem']}. Nothing was changed.")
    texts = [Path(path).read_text(encoding="utf-8") for path in paths]
    return joined(texts), made


def _lasts(certificate_path: str, key_path: str, names: Sequence[str]) -> bool:
    if not (os.path.exists(certificate_path) and os.path.exists(key_path)):
        return False
    found = read_certificate(certificate_path, key_path)
    if found["problem"] or (found["expires_at"] is not None and found["expires_at"] - time.time() <= LEAST_LEFT_S):
        return False
    has = certificate_names(certificate_path)
    return has is None or {name.lower() for name in names} <= {name.lower() for name in has}


def _make(certificate_path: str, key_path: str, names: Sequence[str]) -> None:
    kinds = [f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names]
    done = run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(MADE_DAYS), "-subj",
         "/CN=gb10.vllm router", "-addext", f"subjectAltName={','.join(kinds)}", "-keyout", key_path, "-out", certificate_path],
        umask=0o077,
    )  # fmt: skip
    if done.returncode:
        raise GB10Error(f"No certificate could be made with openssl ({done.stderr.strip()[-200:]}); name one with gb10_router_tls. Nothing was changed.")
    os.chmod(certificate_path, 0o644)


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def wanted(files: Mapping[str, str], pem: str) -> dict[str, tuple[str, int]]:
    """{name: (text, mode)} of all that has to lie beside the configuration."""
    return {PEM: (pem, 0o600), **{name: (text, 0o640) for name, text in files.items()}}


def changed(all_files: Mapping[str, tuple[str, int]]) -> list[str]:
    """The names of those files that are not there as they should be."""
    where = directory()
    found = []
    for name, (text, mode) in all_files.items():
        try:
            same = (where / name).read_text(encoding="utf-8") == text and (where / name).stat().st_mode & 0o777 == mode
        except OSError:
            same = False
        if not same:
            found.append(name)
    return found


def pending(files: Mapping[str, str], pem: str) -> bool:
    """Whether ``apply`` would have anything to do."""
    return bool(changed(wanted(files, pem))) or not _runs(haproxy.summary(files["haproxy.cfg"])["digest"])


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all; what HAProxy's group may read is its own."""
    write_whole(path, text, mode=0o600)
    if mode & 0o040:
        try:
            os.chown(path, 0, grp.getgrnam("haproxy").gr_gid)
        except KeyError:
            os.chown(path, 0, 0)
    os.chmod(path, mode)


def check(all_files: Mapping[str, tuple[str, int]]) -> None:
    """GB10Error in HAProxy's own words where it does not take these files; they are looked at in a directory of their own."""
    stage = directory() / ".gb10-staged"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o700)
    try:
        for name, (text, mode) in all_files.items():
            _write(stage / name, text, mode)
        done = run([PROGRAM, "-c", "-f", str(stage / "haproxy.cfg")], timeout_s=60)
        if done.returncode:
            said = [line.partition(" : ")[2] or line for line in (done.stderr + done.stdout).splitlines() if "ALERT" in line]
            raise GB10Error(f"HAProxy refuses the new configuration, so the old one stays: {' '.join(said)[:600] or done.stderr.strip()[-300:]}")
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _systemctl(*words: str) -> str:
    done = run(["systemctl", *words, UNIT], timeout_s=120)
    return "" if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip())[-300:] or f"systemctl {words[0]} failed"


def is_active() -> bool:
    """Whether HAProxy runs."""
    return run(["systemctl", "is-active", "--quiet", UNIT]).returncode == 0


def _read_it(digest: str) -> str:
    """Have HAProxy read its files; "" when it did, else what went wrong."""
    said = _systemctl("reload" if is_active() else "restart")
    if said:
        return said
    until = time.monotonic() + STARTED_S
    last = ""
    while time.monotonic() < until:
        try:
            last = haproxy.running(haproxy.ask_at(haproxy.SOCKET, 5))
        except GB10Error as error:
            last = str(error)
        if last == digest:
            return ""
        time.sleep(0.2)
    return f"it does not say within {STARTED_S:.0f} s that it has read it ({last})"


def apply(files: Mapping[str, str], pem: str, record: Mapping[str, Any]) -> bool:
    """Put a configuration in place and have it read; whether there was anything to do. GB10Error when it is refused; then the old one is there and runs."""
    all_files, where = wanted(files, pem), directory()
    digest = haproxy.summary(files["haproxy.cfg"])["digest"]
    stale = changed(all_files)
    records = Path(haproxy.RECORDS)
    records.mkdir(mode=0o755, exist_ok=True)
    if not Path(haproxy.STATE_FILE).exists():
        write_whole(haproxy.STATE_FILE, "1\n")
    runs = _runs(digest)
    if not stale and runs:
        write_json(records / SERVERS, dict(record))  # of the same made otherwise: a certificate that lies elsewhere by now
        return False
    check(all_files)
    before = {name: (where / name).read_bytes() if (where / name).exists() else None for name in stale}
    for name in stale:
        _write(where / name, *all_files[name])
    if said := _systemctl("enable"):
        raise GB10Error(f"systemd does not start HAProxy at boot: {said}")
    if said := _read_it(digest):
        for name, text in before.items():
            if text is None:
                (where / name).unlink(missing_ok=True)
            else:
                (where / name).write_bytes(text)
        if before.get("haproxy.cfg", b""):
            _systemctl("reload" if is_active() else "restart")
        raise GB10Error(f"HAProxy did not take up the new configuration, so the old one is back: {said}; see `journalctl -u haproxy`.")
    write_json(records / SERVERS, dict(record))
    return True


def _runs(digest: str) -> bool:
    try:
        return haproxy.running(haproxy.ask_at(haproxy.SOCKET, 5)) == digest
    except GB10Error:
        return False
