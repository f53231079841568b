# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts of a model on a Hugging Face hub before any download: file list by the API, headers by range reads."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model import directory as model_dir
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights

DEFAULT_ENDPOINT = "https://huggingface.co"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Nearly every shard's header is shorter than this, so one request per shard is enough.
FIRST_READ = 128 * 2**10
LISTING_LIMIT = 64 * 2**20
ATTEMPTS = 3
READERS = 8
GIVE_A_TOKEN = "give a token (gb10_hub.token, HF_TOKEN, or HF_TOKEN_PATH for the file that `hf auth login` writes)"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to the content network without handing it the token: what goes to another scheme, name or port goes without."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        here, there = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new is not None and (there.scheme, there.netloc) != (here.scheme, here.netloc):
            new.remove_header("Authorization")
        return new


class Hub:
    """A hub endpoint with its token and limits. ``timeout_s`` bounds each connection and each read."""

    def __init__(
        self, endpoint: str | None = None, token: str | None = None, timeout_s: float = 10.0, env: Mapping[str, str] | None = None, pause_s: float = 1.0
    ) -> None:
        env = os.environ if env is None else env
        self.endpoint = (endpoint or env.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self.token = token or token_from(env)
        _check_endpoint(self.endpoint, self.token)
        self.timeout_s = timeout_s
        self.pause_s = pause_s
        self.opener = urllib.request.build_opener(_Redirects)

    def inspect(self, repo_id: str, revision: str = "main", load_format: str = "auto", part: bool = False) -> dict[str, Any]:
        """The same facts ``model_dir.inspect_model`` gives, with ``repo_id``, ``revision`` (the commit) and ``download`` beside them."""
        where = f"{self.endpoint}/{repo_id}"
        _url, listing = self.ask(repo_id, revision)
        commit = listing["sha"] if isinstance(listing.get("sha"), str) else revision
        sizes, sums = top_files(listing["siblings"])

        def address(name: str) -> str:
            return f"{where}/resolve/{urllib.parse.quote(commit, safe='')}/{urllib.parse.quote(name)}"

        def read(name: str, limit: int) -> bytes:
            return self._get(address(name), repo_id, limit)[0]

        layout, names, index_name = weights.choose_files(sizes, where, load_format)
        if index_name in sizes:
            index = model_dir.load_json(read(index_name, model_dir.INDEX_LIMIT), f"{where}/{index_name}")
            names = [n for n in sorted(set(weights.index_files(index, f"{where}/{index_name}").values())) if n in sizes]
        with ThreadPoolExecutor(READERS) as pool:
            shards = dict(zip(names, pool.map(lambda n: self._shard(address(n), f"{where}/{n}", repo_id, sizes[n]), names), strict=True))
        info = model_dir.describe(where, sizes, read, lambda n: shards[n] if n in shards else self._shard(address(n), n, repo_id, sizes[n]), load_format, part)
        loaded = {f["name"] for f in info["files"]}
        wanted = loaded | {n for n in sizes if n.endswith((".json", ".model", ".txt", ".jinja", ".py", ".tiktoken"))}
        size = sum(s.size_bytes for s in shards.values()) + sum(sizes[n] for n in wanted - loaded)
        info["files"] = [{**f, "sha256": sums[f["name"]]} if f["name"] in sums else f for f in info["files"]]
        info.update(
            present=False,
            source="hub",
            repo_id=repo_id,
            revision=commit,
            gated=bool(listing.get("gated")),
            download={"bytes": size, "files": len(wanted), "seconds_at_1_gbit": round(size * 8 / 1e9)},
        )
        return info

    def ask(self, repo_id: str, revision: str) -> tuple[str, dict[str, Any]]:
        """What the hub's API says of a repository, with the list ``siblings`` of its files, and under which address."""
        if not is_repo_id(repo_id):
            raise GB10Error(f"{repo_id!r} is not a Hugging Face repository: it has the form ORG/NAME")
        url = f"{self.endpoint}/api/models/{repo_id}/revision/{urllib.parse.quote(revision, safe='')}?blobs=true"
        listing = model_dir.load_json(self._get(url, repo_id, LISTING_LIMIT)[0], url)
        if not isinstance(listing, dict) or not isinstance(listing.get("siblings"), list):
            raise GB10Error(f"{url} answered without a list of files: is {self.endpoint} a Hugging Face hub?")
        return url, listing

    def open(self, url: str, byte_range: str = "") -> Any:
        """The answer to one request; ``byte_range`` as in ``bytes=0-99``."""
        headers = {"User-Agent": "gb10.vllm", "Accept-Encoding": "identity"}
        if byte_range:
            headers["Range"] = byte_range
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return self.opener.open(urllib.request.Request(url, headers=headers), timeout=self.timeout_s)

    def _shard(self, url: str, where: str, repo_id: str, size: int) -> weights.Shard:
        blob, total = self._get(url, repo_id, FIRST_READ, first=0, partial=True)
        size = total or size
        length = weights.header_length(blob[:8], size, where)
        if 8 + length > len(blob):
            rest, _total = self._get(url, repo_id, 8 + length - len(blob), first=len(blob), partial=True)
            blob += rest
        return weights.parse_header(blob[8 : 8 + length], size, where)

    def _get(self, url: str, repo_id: str, limit: int, first: int = 0, partial: bool = False) -> tuple[bytes, int | None]:
        """Body (at most ``limit`` bytes, from byte ``first`` when ``partial``) and the file's total size where the answer tells it."""
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self.pause_s * attempt)
            try:
                with self.open(url, f"bytes={first}-{first + limit - 1}" if partial else "") as answer:
                    if partial and answer.status != 206:  # a server without ranges: skip to where the range would begin
                        if first:
                            answer.read(first)
                        total = answer.headers.get("Content-Length")
                        return answer.read(limit), int(total) if total and total.isdigit() else None
                    body = answer.read(limit if partial else limit + 1)
                    if len(body) > limit:
                        raise GB10Error(f"{url} is larger than {limit >> 20} MiB, which no real model needs: check the repository")
                    total = (answer.headers.get("Content-Range") or "").rpartition("/")[2]
                    return body, int(total) if total.isdigit() else None
            except urllib.error.HTTPError as exc:
                with exc:
                    if exc.code not in (408, 429, 500, 502, 503, 504):
                        raise GB10Error(self._refusal(exc, url, repo_id)) from None
                    problem = f"answered {exc.code} {exc.reason}"
            except (urllib.error.URLError, OSError, ValueError) as exc:
                reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
                if isinstance(reason, ssl.SSLCertVerificationError):
                    raise GB10Error(
                        f"the certificate of {self.endpoint} is not trusted ({reason.verify_message}): set SSL_CERT_FILE to your organisation's CA bundle"
                    ) from None
                late = isinstance(reason, (TimeoutError, socket.timeout))
                problem = f"did not answer within {self.timeout_s:g} s" if late else f"cannot be reached ({reason})"
        raise GB10Error(f"{url} {problem} ({ATTEMPTS} attempts): check the network, or set HF_ENDPOINT to a mirror, or name a local model directory")

    def _refusal(self, exc: urllib.error.HTTPError, url: str, repo_id: str) -> str:
        code = exc.headers.get("X-Error-Code") or ""
        if code == "GatedRepo" or exc.code == 403:
            step = "use a token that may read it" if self.token else GIVE_A_TOKEN
            return f"{repo_id} needs a token: it is gated or private on {self.endpoint}; accept its terms on its page there and {step}"
        if exc.code == 401:
            step = "the given token was not accepted, renew it" if self.token else GIVE_A_TOKEN
            return f"{repo_id} needs a token, or does not exist on {self.endpoint}: check the spelling; if it is right, {step}"
        if exc.code == 404:
            what = "has no such revision" if code == "RevisionNotFound" else "or the file is not there"
            return f"{repo_id} {what} on {self.endpoint} (404 for {urllib.parse.urlsplit(url).path}): check the name and the revision"
        return f"{url} answered {exc.code} {exc.reason}: check the repo id and HF_ENDPOINT"


def top_files(siblings: list[Any]) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes (0 where the hub does not say) and, of those in its large file storage, SHA-256 of the files that lie in no directory. Pure."""
    sizes: dict[str, int] = {}
    sums: dict[str, str] = {}
    for file in siblings:
        if not isinstance(file, dict) or not isinstance(file.get("rfilename"), str) or "/" in file["rfilename"]:
            continue
        found = file.get("lfs")
        lfs: dict[str, Any] = found if isinstance(found, dict) else {}
        size = file.get("size", lfs.get("size"))
        sizes[file["rfilename"]] = size if isinstance(size, int) and size > 0 else 0
        if isinstance(lfs.get("sha256"), str):
            sums[file["rfilename"]] = lfs["sha256"]
    return sizes, sums


def _check_endpoint(endpoint: str, token: str | None) -> None:
    """GB10Error for an address that is no hub's, holds a password, or would have the token told to everybody on the way."""
    try:
        parts = urllib.parse.urlsplit(endpoint)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise GB10Error("the hub endpoint is not an http or https URL: correct HF_ENDPOINT") from None
    if parts.username or parts.password:
        raise GB10Error(f"the hub endpoint at {host} has a user or password in its address, where logs would show it: give a token instead (HF_TOKEN)")
    if parts.scheme not in ("http", "https") or not host:
        raise GB10Error(f"the hub endpoint {endpoint} is not an http or https URL: correct HF_ENDPOINT")
    if token and parts.scheme == "http" and not _is_loopback(host):
        raise GB10Error(
            f"the hub endpoint {endpoint} is plain http, so everybody on the way could read the token: use its https address, or give no token for it"
        )


def _is_loopback(host: str) -> bool:
    """Whether what is sent to this host never leaves the box."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_from(env: Mapping[str, str]) -> str | None:
    """The token that was given for this: HF_TOKEN, or the file that HF_TOKEN_PATH names or that lies in HF_HOME.

    A token that root stored for itself in its own home is root's: nobody gave it for this, so it is not looked for.
    """
    for key in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if env.get(key, "").strip():
            return env[key].strip()
    path = env.get("HF_TOKEN_PATH") or (os.path.join(env["HF_HOME"], "token") if env.get("HF_HOME") else "")
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read(4096).strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def is_repo_id(text: str) -> bool:
    """Whether ``text`` has the form ORG/NAME of a hub repository."""
    return bool(REPO_ID.fullmatch(text)) and ".." not in text
