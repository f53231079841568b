# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP API of a vLLM server, asked from the box it runs on."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from typing import Any, NamedTuple

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

LONGEST_ANSWER = 2**24
"""Bytes of an answer that are read: /metrics of a large server has less than one hundredth of it."""


class Form(NamedTuple):
    """A body that is no JSON."""

    data: bytes
    content_type: str


class Api:
    """The server's HTTP API as one box sees it; the key never leaves this object.

    :param base_url: ``http://127.0.0.1:8000``.
    :param key: bearer token or None.
    """

    def __init__(self, base_url: str, key: str | None) -> None:
        url = urllib.parse.urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise GB10Error(f"base_url {base_url!r} is not an address like http://127.0.0.1:8000.")
        self._tls = _own_box() if url.scheme == "https" else None
        self._host, self._port, self._prefix = url.hostname, url.port, url.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def call(self, path: str, body: dict[str, Any] | Form | None = None, timeout_s: float = 5.0) -> tuple[int, str]:
        """(HTTP status, body); status 0 and the reason when nothing answered."""
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        )
        try:
            form = body if isinstance(body, Form) else Form(json.dumps(body).encode(), "application/json") if body is not None else None
            data = form.data if form else None
            headers = {**self._headers, "Content-Type": form.content_type} if form else self._headers
            connection.request("POST" if data else "GET", self._prefix + path, body=data, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read(LONGEST_ANSWER).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error) or type(error).__name__
        finally:
            connection.close()


def _own_box() -> ssl.SSLContext:
    """A box asks itself, by an address that no certificate names; whoever may listen there instead of the server may as well without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in a reply, an empty one when it holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
