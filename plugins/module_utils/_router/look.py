# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a router is and how it sees its servers, read once: nothing here changes anything."""

from __future__ import annotations

import glob
import hashlib
import ipaddress
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._box.certificates import read_certificate
from ansible_collections.gb10.vllm.plugins.module_utils._box.facts import read_file_digest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import read_json
from ansible_collections.gb10.vllm.plugins.module_utils._router import haproxy

PROGRAM = "/usr/sbin/haproxy"
LEAST_LEFT_S = 30 * 86400
"""A certificate that we made is made anew this long before its end, and each is named."""
DRAINS, SERVERS = "drains.json", "servers.json"
KEEPALIVED = "/etc/keepalived/keepalived.conf"
OURS = (
    KEEPALIVED, "/etc/haproxy/haproxy.cfg", "/etc/haproxy/gb10-*", "/etc/systemd/system/haproxy.service.d/gb10-vllm.conf",
    "/usr/local/lib/gb10-vllm/keep-state", "/usr/local/lib/gb10-vllm/router-answers",
)  # fmt: skip


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def version() -> str:
    """Of the HAProxy on this host; "" where there is none."""
    found = re.search(r"version (\d+(?:\.\d+)+)", run([PROGRAM, "-v"]).stdout)
    return found[1] if found else ""


def is_stock(config: str) -> bool:
    """Whether this is the configuration that the distribution's package brought, which nobody has touched."""
    known = run(["dpkg-query", "-W", "-f=${Conffiles}", "haproxy"]).stdout
    found = re.search(rf"{re.escape(haproxy.CONFIG)} ([0-9a-f]{{32}})", known)
    return bool(found) and hashlib.md5(config.encode(), usedforsecurity=False).hexdigest() == found[1]  # type: ignore[index]


def configuration() -> dict[str, Any]:
    """Whose configuration lies there: {present, ours, stock, digest}."""
    text = _text(haproxy.CONFIG)
    return {"present": bool(text), "stock": bool(text) and is_stock(text), **haproxy.summary(text)}


def digests() -> dict[str, Any]:
    """{path: {sha256, mode}} of each file of ours."""
    return {path: read_file_digest(path) for pattern in OURS for path in sorted(glob.glob(pattern)) if os.path.isfile(path)}


def interfaces() -> dict[str, str]:
    """{address: the interface that has it} of this host."""
    try:
        found = json.loads(run(["ip", "-j", "address", "show"]).stdout or "[]")
    except ValueError:
        return {}
    return {one["local"]: link.get("ifname", "") for link in found for one in link.get("addr_info") or [] if one.get("local")}


def drains(records: str = haproxy.RECORDS) -> dict[str, Any]:
    """{"SERVER/BOX": {owner, run, at, why}}: what runs of this collection drained and did not make ready again."""
    found = read_json(os.path.join(records, DRAINS))
    return found if isinstance(found, dict) else {}


def _is_stale(pem: str, given: Mapping[str, str], seen: Mapping[str, Any]) -> bool:
    """Whether the certificate was renewed since it was taken up, or has to be: one that we made soon ends."""
    if not given:
        return bool(seen["expires_at"]) and seen["expires_at"] - time.time() < LEAST_LEFT_S
    texts = [_text(given.get(part) or "") for part in ("certificate", "key")]
    return all(texts) and pem != joined(texts)


def certificate_names(path: str) -> list[str] | None:
    """The names and addresses that a certificate is for; None where openssl does not say."""
    done = run(["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", path])
    if done.returncode:
        return None
    found = re.findall(r"(DNS|IP Address):([^,\s]+)", done.stdout)
    return [name if kind == "DNS" else str(ipaddress.ip_address(name)) for kind, name in found]


def joined(texts: Sequence[str]) -> str:
    """Certificate and key in one file, as HAProxy reads them."""
    return "\n".join(text.strip() for text in texts) + "\n"


def router() -> dict[str, Any]:
    """All there is to know of a router before anything is decided about it."""
    found: dict[str, Any] = {
        "version": version(),
        "config": configuration(),
        "files": digests(),
        "record": read_json(os.path.join(haproxy.RECORDS, SERVERS)) or {},
        "drains": drains(),
        "running": "",
        "servers": [],
        "problem": "",
        "certificate": None,
        "certificate_names": None,
        "stale_certificate": False,
        "floating": {"present": os.path.exists(KEEPALIVED), "ours": _text(KEEPALIVED).startswith(haproxy.MARK)},
        "interfaces": interfaces(),
    }
    if not found["version"]:
        return found
    pem = "/etc/haproxy/gb10-router.pem"
    if os.path.exists(pem):
        found["certificate"] = read_certificate(pem, pem)
        found["certificate_names"] = certificate_names(pem)
        found["stale_certificate"] = _is_stale(_text(pem), found["record"].get("certificate") or {}, found["certificate"])
    try:
        asks = haproxy.everybody()
        found["running"] = haproxy.running(asks[0])
        found["servers"] = haproxy.servers(asks)
    except GB10Error as error:
        found["problem"] = str(error)
    return found
