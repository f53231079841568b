# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model from a Hugging Face hub into a directory: pinned to a commit, resumed, verified file by file, visible only when complete."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import re
import ssl
import threading
import urllib.error
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.env_file import read_private
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import CHUNK, INCOMING, arrived, has_size, safe_name, sha256_below
from ansible_collections.gb10.vllm.plugins.module_utils._io.incoming import STOPPED, Incoming
from ansible_collections.gb10.vllm.plugins.module_utils._io.workers import together
from ansible_collections.gb10.vllm.plugins.module_utils._model import hub, versions
from ansible_collections.gb10.vllm.plugins.module_utils._model import store as model_store
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights

COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".onnx_data", ".h5", ".msgpack", ".ot", ".ckpt", ".tflite", ".mlmodel", ".npz")
MEDIA = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".mp4", ".pdf", ".wav", ".mp3")
OTHER_FORMATS = ("original/", "onnx/", "openvino/", "coreml/", "gguf/", "metal/", "mlx/")
PASSING = (408, 416, 425, 429, 500, 502, 503, 504)
"""Answers of a hub that may be others a moment later."""
ENVIRONMENT = re.compile(r"(HF_\w+|HUGGING_FACE_HUB_TOKEN|https?_proxy|no_proxy|SSL_CERT_FILE)", re.IGNORECASE)


def choose(sizes: Mapping[str, int], where: str, load_format: str = "auto") -> list[str]:
    """Which files of a repository vLLM needs: the weights of one layout, and whatever is no weights and no other format. Of an adapter all its own. Pure."""
    top = {name: size for name, size in sizes.items() if "/" not in name}
    if "adapter_config.json" in top and "config.json" not in top:
        return sorted(
            (name for name in top if name.startswith("adapter_") or name.startswith(("tokenizer", "special_tokens"))), key=lambda name: (-top[name], name)
        )
    _layout, chosen, index = weights.choose_files(top, where, load_format)
    other_index = {weights.HF_INDEX, weights.MISTRAL_INDEX} - {index}

    def other(name: str) -> bool:
        lower = name.lower()
        return lower.endswith(WEIGHTS + MEDIA) or lower.startswith(OTHER_FORMATS) or name == ".gitattributes" or name in other_index

    names = [name for name in sizes if name in chosen or not other(name)]
    return sorted(names, key=lambda name: (-sizes[name], name))


def read_environment(path: str) -> dict[str, str]:
    """What a private file sets that concerns the hub; GB10Error when others may read it. A missing file is empty."""
    return {name: value for name, value in read_private(path, "HF_TOKEN=...").items() if ENVIRONMENT.fullmatch(name)}


def set_environment(env_file: str, ca_bundle: str, endpoint: str) -> Mapping[str, str]:
    """Set for this process what a private file and two options say of the hub; returns the whole environment.

    The standard library reads proxies and certificates from there.
    """
    os.environ.update(read_environment(env_file))
    if ca_bundle:
        os.environ["SSL_CERT_FILE"] = ca_bundle
    if endpoint:
        os.environ["HF_ENDPOINT"] = endpoint
    return os.environ


class Download(hub.Hub):
    """One model from one hub. ``retries``: attempts in a row that bring nothing before a file is given up."""

    def __init__(self, env: Mapping[str, str], *, timeout_s: float = 30.0, retries: int = 8, pause_s: float = 1.0) -> None:
        super().__init__(env=env, timeout_s=timeout_s, pause_s=pause_s)
        self.retries = retries
        self._stop = threading.Event()

    def listing(self, repo_id: str, revision: str) -> tuple[str, dict[str, dict[str, Any]]]:
        """The commit that ``revision`` means now, and ``{name: {size, sha256, blob}}`` of its files."""
        url, answer = self.ask(repo_id, revision)
        if not isinstance(answer.get("sha"), str) or not answer["sha"].isalnum():
            raise GB10Error(f"{url} answered without a commit: is {self.endpoint} a Hugging Face hub?")
        files = {}
        for one in answer["siblings"]:
            entry: dict[str, Any] = one if isinstance(one, dict) else {}
            name, found = entry.get("rfilename"), entry.get("lfs")
            lfs: dict[str, Any] = found if isinstance(found, dict) else {}
            size = entry.get("size", lfs.get("size"))
            if not isinstance(name, str) or not safe_name(name) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise GB10Error(f"{url} lists the file {str(name)[:200]!r} without a proper name or size; nothing was downloaded")
            sha256, blob = lfs.get("sha256"), entry.get("blobId") if not lfs else None
            if not isinstance(sha256, (str, type(None))) or not isinstance(blob, (str, type(None))):
                raise GB10Error(f"{url} lists the file {name!r} without a proper checksum; nothing was downloaded")
            if os.path.basename(name) != model_store.RECORD and not name.endswith(INCOMING):  # names that mean something to us are nobody else's
                files[name] = {"size": size, "sha256": sha256, "blob": blob}
        return answer["sha"], files

    def fetch(
        self,
        repo_id: str,
        revision: str,
        final: str,
        *,
        load_format: str = "auto",
        connections: int = 4,
        check: bool = False,
        said: Callable[..., None] = lambda *_args, **_more: None,
    ) -> dict[str, Any]:
        """Have ``repo_id`` at ``revision`` as ``final``. Returns ``{changed, revision, path, directory, downloaded_bytes, previous}``.

        A directory that another hand made is left as it is. Nothing is asked of the hub when a full commit is wanted and there; a commit that was
        brought earlier and is still there is not brought again.
        """
        record = model_store.read_record(versions.current(final))
        done = {"changed": False, "revision": None, "path": final, "downloaded_bytes": 0, "previous": None}
        if os.path.isdir(final) and (record.get("repo_id") != repo_id or not versions.is_ours(final)):
            return dict(done, directory=versions.directory_of(final))
        if record and COMMIT.fullmatch(revision) and record.get("revision") == revision:
            return dict(done, revision=revision, directory=versions.directory_of(final))
        model_store.refuse_foreign(final)
        said("list", f"{repo_id} at {revision}")
        commit, files = self.listing(repo_id, revision)
        done = dict(done, changed=True, revision=commit)
        if record.get("revision") == commit:
            return dict(done, changed=False, directory=versions.directory_of(final))
        kept = versions.find(final, repo_id, commit)
        if kept:
            before = versions.directory_of(final)
            if not check:
                versions.set_aside(final)
                versions.point(final, kept)
            return dict(done, directory=kept, previous=before)
        names = choose({name: one["size"] for name, one in files.items()}, f"{self.endpoint}/{repo_id}", load_format)
        if check:
            return dict(done, directory=f"{final}@{commit[:14]}", downloaded_bytes=sum(files[name]["size"] for name in names))
        with model_store.arriving(final, lambda: said("follow", f"the download of {repo_id} that another run began")) as waited:
            # A run that was killed leaves its download at work: it is waited for, and what it brought is this run's too.
            if waited and model_store.read_record(versions.current(final)).get("revision") == commit:
                with contextlib.suppress(OSError):
                    os.rmdir(final + model_store.PARTIAL)
                return dict(done, directory=versions.directory_of(final))
            brought = self._bring(repo_id, commit, final, {name: files[name] for name in names}, connections, said)
        said("finished", f"{repo_id} at {commit[:12]} is in {brought['directory']}")
        return done | brought

    def _bring(self, repo_id: str, commit: str, final: str, files: Mapping[str, dict[str, Any]], connections: int, said: Callable[..., None]) -> dict[str, Any]:
        """Download these files and make them a version of the model: ``{directory, downloaded_bytes, previous}``."""
        names = list(files)
        partial = model_store.prepare_partial(final, f"{repo_id}@{commit}")
        model_store.reuse(partial, final, [{"name": name, **files[name]} for name in names])
        missing = [name for name in names if not has_size(os.path.join(partial, name), files[name]["size"])]
        begun = model_store.begun_bytes(partial, missing)
        model_store.check_space(partial, sum(files[name]["size"] for name in missing) - begun)
        digests = self._download(repo_id, commit, partial, missing, files, connections, said)
        entries = {}
        for name in names:
            path = os.path.join(partial, name)
            digest = digests.get(name) or files[name]["sha256"] or sha256_below(partial, name)
            entries[name] = {"size": files[name]["size"], "sha256": digest, "mtime_ns": os.stat(path).st_mtime_ns}
        previous = model_store.put_in_place(partial, final, {"repo_id": repo_id, "revision": commit, "endpoint": self.endpoint, "files": entries})
        spared = sum(files[name]["size"] for name in missing) - begun
        return {"directory": versions.directory_of(final), "downloaded_bytes": spared, "previous": previous}

    def _download(
        self, repo_id: str, commit: str, partial: str, names: Sequence[str], files: Mapping[str, dict], connections: int, said: Callable[..., None]
    ) -> dict[str, str]:
        total = sum(files[name]["size"] for name in names)
        lock, done = threading.Lock(), {"bytes": 0, "files": 0}

        def told(count: int) -> None:
            with lock:
                done["bytes"] += count
            said("download", repo_id, done["bytes"], total, done["files"], len(names))

        def one(name: str) -> tuple[str, str]:
            digest = self._file(repo_id, commit, name, files[name], os.path.join(partial, name), told)
            with lock:
                done["files"] += 1
            return name, digest

        return dict(together([functools.partial(one, name) for name in names], connections, self._stop))

    def _file(self, repo_id: str, commit: str, name: str, file: Mapping[str, Any], path: str, told: Callable[[int], None]) -> str:
        """One file, resumed and verified; its SHA-256."""
        url = f"{self.endpoint}/{repo_id}/resolve/{commit}/{urllib.parse.quote(name)}"
        incoming = path + INCOMING
        for again in (True, False):
            digest, blob = self._bytes(url, repo_id, incoming, file["size"], told, path.removesuffix(name))
            wrong = (file["sha256"] and digest != file["sha256"]) or (file["blob"] and blob != file["blob"])
            if not wrong:
                arrived(path.removesuffix(name), name)
                return digest
            os.unlink(incoming)
            if not again:
                break
        expected, got = (file["sha256"], digest) if file["sha256"] else (file["blob"], blob)
        raise GB10Error(
            f"{name} of {repo_id} arrived twice with checksum {got[:16]}..., but {self.endpoint} promises {expected[:16]}...; something between changes the "
            "file (a proxy, a broken mirror, bad memory). Nothing of it was kept and the model is not visible"
        )

    def _bytes(self, url: str, repo_id: str, incoming: str, size: int, told: Callable[[int], None], root: str = "") -> tuple[str, str]:
        """All bytes of a file, however many attempts that takes; (SHA-256, git blob id)."""
        failures = 0
        with Incoming(incoming, size, git=True, root=root) as file:
            while not file.complete:
                came, problem = self._attempt(url, repo_id, file, told)
                failures = 0 if came else failures + 1
                if not file.complete and failures:
                    self._pause(url, file, problem, failures)
                if self._stop.is_set():
                    raise GB10Error(STOPPED)
            file.sync()
            return file.sha256, file.git_blob

    def _attempt(self, url: str, repo_id: str, file: Incoming, told: Callable[[int], None]) -> tuple[int, str]:
        """Ask once for the rest of a file: how many bytes came, and what ended it. GB10Error for what another attempt would not mend."""
        came = 0
        try:
            with self.open(url, f"bytes={file.offset}-" if file.offset else "") as answer:
                if file.offset and answer.status != 206:
                    file.restart()
                while not file.complete and (chunk := answer.read(min(CHUNK, file.size - file.offset))):
                    if self._stop.is_set():
                        raise GB10Error(STOPPED)
                    file.add(chunk)
                    came += len(chunk)
                    told(len(chunk))
            return came, "the connection ended early"
        except urllib.error.HTTPError as error:
            with error:
                return came, self._answered(error, url, repo_id)
        except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
            return came, self._broke_off(error)

    def _answered(self, error: urllib.error.HTTPError, url: str, repo_id: str) -> str:
        """A refusal that may pass, in words, after the time for which the hub asked to be left alone."""
        if error.code not in PASSING:
            raise GB10Error(self._refusal(error, url, repo_id)) from None
        wait = error.headers.get("Retry-After") or ""
        if wait.isdigit():
            self._stop.wait(min(60.0, float(wait)))
        return f"answered {error.code} {error.reason}"

    def _broke_off(self, error: Exception) -> str:
        """A connection that ended, in words."""
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise GB10Error(
                f"the certificate of {self.endpoint} is not trusted ({reason.verify_message}): set gb10_ca_bundle to your organisation's CA bundle"
            ) from None
        return f"did not answer within {self.timeout_s:g} s" if isinstance(reason, TimeoutError) else f"broke off ({reason})"

    def _pause(self, url: str, file: Incoming, problem: str, failures: int) -> None:
        """Wait a little longer after each attempt in a row that brought nothing; GB10Error when there were too many."""
        if failures >= self.retries:
            raise GB10Error(
                f"the download of {url} stopped at {file.offset / 1e6:.1f} of {file.size / 1e6:.1f} MB: {urllib.parse.urlsplit(self.endpoint).netloc} "
                f"{problem}, {self.retries} attempts in a row. What has arrived is kept; run again to go on, or set gb10_hub.endpoint to a mirror"
            )
        self._stop.wait(min(30.0, self.pause_s * 2 ** (failures - 1)))
