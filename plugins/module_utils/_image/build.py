# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Get the vLLM image of one box to the wanted state: build, pull, load or check it, exactly once.

Everything is done with the box's own docker and git commands. The order is always: read what is there,
compare identities, stop if they are equal, take the lock, check the disk, work under a temporary name,
give the final name at the very end. The previous image keeps its name until then and is kept after it.
"""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tarfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import dockerfile
from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_identity
from ansible_collections.gb10.vllm.plugins.module_utils._image import log as image_log
from ansible_collections.gb10.vllm.plugins.module_utils._image import recipe as image_recipe

SCRIPT = "build-and-copy.sh"
TEMPORARY = "gb10-vllm-build"
CA_NAME = "gb10-ca.pem"
CA_IN_IMAGE = "/usr/local/share/gb10-vllm/ca.pem"
GIB = 2**30
_KEEP_LOGS = 10
_WHEEL_FOLDERS = (".wheel-cache", "wheels")  # the script's own; only where its .gitignore names them

# Runs inside the image with its own python3; reads files only, so no CUDA library is loaded.
_READ_VERSIONS = r"""
import importlib.metadata as m, importlib.util as u, json, os, re
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return None
def source(package, file, pattern):
    try:
        spec = u.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            found = re.search(pattern, open(os.path.join(place, file)).read(), re.M)
            if found:
                return found.group(1)
    except (OSError, ValueError, ImportError):
        pass
    return None
try:
    text = open("/workspace/build-metadata.yaml").read()
except OSError:
    text = ""
print("GB10" + json.dumps({
    "vllm_version": version("vllm") or source("vllm", "_version.py", r"^(?:__version__|version).*=\s*['\"]([^'\"]+)"),
    "torch_version": source("torch", "version.py", r"^__version__\s*=\s*['\"]([^'\"]+)") or version("torch"),
    "cuda_version": source("torch", "version.py", r"^cuda[^=]*=\s*['\"]([^'\"]+)") or os.environ.get("CUDA_VERSION"),
    "transformers_version": version("transformers"),
    "flashinfer_version": version("flashinfer-python"),
    "build_metadata": text,
}))
"""


@dataclass
class Options:
    """What is wanted; see the options of M(gb10.vllm.image_build) for each."""

    source: str = "build"
    name: str = "vllm-node"
    state_dir: str = "/var/lib/gb10-vllm"
    checkout: str = ""
    ref: str = ""
    wheels: str = "auto"
    vllm_ref: str = ""
    jobs: int = 0
    transformers: str = "default"
    rebuild: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    build_args: dict[str, str] = field(default_factory=dict)
    uv_http_timeout_s: int = 300
    uv_http_retries: int = 5
    ca_bundle: str = ""
    image: str = ""
    digest: str = ""
    archive: str = ""
    archive_identity: str = ""
    checksum: str = ""
    min_free_gib: float | None = None
    keep_previous: int = 1
    retries: int = 2
    retry_delay_s: float = 15.0
    timeout_s: int = 14400


@dataclass
class Image:
    """One image as ``docker image inspect`` shows it."""

    id: str
    labels: dict[str, str]
    environment: dict[str, str]
    size_bytes: int
    repo_digests: list[str]
    architecture: str


class ImageBuild:
    """One run over one image. ``check_mode`` decides only; ``defer`` stops before anything that takes long."""

    def __init__(
        self,
        options: Options,
        *,
        check_mode: bool = False,
        defer: bool = False,
        docker: str = "docker",
        git: str = "git",
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.o = options
        self.check_mode = check_mode
        self.defer = defer
        self.docker_path = docker
        self.git_path = git
        self.warn = warn
        self.name = options.name if ":" in options.name.rsplit("/", 1)[-1] else f"{options.name}:latest"
        self.build_dir = Path(options.state_dir) / "build"
        self.checkout = Path(options.checkout) if options.checkout else self.build_dir / "checkout"
        # A name of this state directory's own: the lock covers no other one that uses the same Docker.
        self.temporary = f"{TEMPORARY}-{hashlib.sha256(str(self.build_dir).encode()).hexdigest()[:8]}"
        self.slug = re.sub(r"[^A-Za-z0-9.-]+", "-", self.name)
        self.progress_path = self.build_dir / f"progress-{self.slug}.jsonl"
        self.log_path: Path | None = None
        self.started = time.monotonic()
        self.steps = 0
        self._lock_fd = -1
        self._child: subprocess.Popen[bytes] | None = None
        self._base_images: dict[str, str] = {}

    # ---- the run ---------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Do what is needed and return the module's result. Raises GB10Error with one clear sentence."""
        before = self.inspect(self.name)
        if self.o.source == "existing":
            if before is None:
                raise GB10Error(
                    f"image {self.name} is not on this box, and source=existing neither builds nor pulls one. "
                    f"Load it (docker load, docker pull) or choose source build, prebuilt or archive.{self._similar()}"
                )
            return self._result(before, changed=False, inputs={"source": "existing", "image": before.id}, changed_inputs=[])
        inputs = {key: value for key, value in self.inputs().items() if value is not None}
        known = self._recorded(before)
        changed_inputs = image_identity.changes(known, inputs)
        if before is not None and not changed_inputs and not self.o.rebuild:
            return self._result(before, changed=False, inputs=known or inputs, changed_inputs=[])
        reason = self._reason(before, known, changed_inputs)
        if self.check_mode or self.defer:
            result = self._result(before, changed=True, inputs=inputs, changed_inputs=changed_inputs, metadata=not self.defer)
            return result | {"deferred": self.defer, "reason": reason, "before": known}
        with self._lock():
            self._sweep()
            again = self.inspect(self.name)  # somebody may have finished the same work while we waited
            done = again is not None and not self.o.rebuild and not image_identity.changes(self._recorded(again), inputs)
            after = again if again is not None and done else self._supply(inputs)
            changed = before is None or before.id != after.id
            if changed:
                self._name_previous(before)
                self.docker("tag", after.id, self.name)
                self._drop_previous()  # only now: an older one may be the very image that was wanted again
            self._sweep()
            self._record(after, inputs)
            result = self._result(after, changed=changed, inputs=inputs, changed_inputs=changed_inputs)
            self._progress("finished", f"{self.name} is {after.id[7:19]}")
            return result | {"reason": reason, "before": known}

    def _supply(self, inputs: dict[str, Any]) -> Image:
        if self.o.source == "build" and not self.o.rebuild:
            same = self.docker("images", "--no-trunc", "-q", "--filter", f"label={image_identity.INPUTS}={image_identity.digest(inputs)}")
            found = self.inspect(same.split()[0]) if same.split() else None
            if found:  # made from these inputs before, for example before a rollback
                return found
        self._check_disk()
        self.log_path = self._new_log()
        work = {"build": self._build, "prebuilt": self._pull, "archive": self._load}[self.o.source]
        try:
            return work(inputs)
        except GB10Error as error:
            error.details.setdefault("log", str(self.log_path))
            raise

    # ---- identity --------------------------------------------------------------------------------

    def inputs(self) -> dict[str, Any]:
        """What the wanted image is made from; values that only the work itself can tell are None."""
        o = self.o
        if o.source == "prebuilt":
            return {"source": "prebuilt", "image": o.image, "digest": o.digest or None}
        if o.source == "archive":
            return {"source": "archive", "archive": self._archive_identity()}
        commit = self.resolve()
        bases = self._local_bases(commit)
        return {
            "source": "build",
            "commit": commit,
            "wheels": o.wheels,
            "vllm_ref": o.vllm_ref or None,
            "jobs": o.jobs or None,
            "transformers": o.transformers,
            "arguments": o.arguments or None,
            "build_args": o.build_args or None,
            "uv_http_timeout_s": o.uv_http_timeout_s,
            "uv_http_retries": o.uv_http_retries,
            "ca_bundle": _file_sha256(Path(o.ca_bundle), "ca_bundle") if o.ca_bundle else None,
            "architecture": os.uname().machine,
            "base_images": bases or None,
        }

    def resolve(self) -> str | None:
        """The full commit of ``ref``; None when it is not known yet because there is no checkout (check mode, first run)."""
        full = re.fullmatch(r"[0-9a-f]{40}", self.o.ref)
        if not (self.checkout / ".git").exists() and not (self.checkout / "HEAD").exists():
            if full:
                return self.o.ref
            if self.check_mode:
                return None
            raise GB10Error(
                f"{self.checkout} is not a git checkout of spark-vllm-docker, so ref {self.o.ref} cannot be looked up. "
                "The role gb10.vllm.image clones it; with the module alone clone it first (ansible.builtin.git)"
            )
        for candidate in [self.o.ref] if full else [f"refs/remotes/origin/{self.o.ref}", f"refs/tags/{self.o.ref}", self.o.ref]:
            done = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{candidate}^{{commit}}")
            if done.returncode == 0:
                return done.stdout.strip()
        if full and (self.check_mode or self.defer):
            return self.o.ref  # it will be fetched before the build
        raise GB10Error(
            f"the checkout {self.checkout} has no commit, tag or branch called {self.o.ref}. "
            "Check the ref for a typing mistake; a new one has to be fetched first (the role does that)"
        )

    def _local_bases(self, commit: str | None) -> dict[str, str]:
        """Identity of the base images that this box's docker holds (one that is only in a registry shows during the build)."""
        bases: dict[str, str] = {}
        if not commit or not (self.checkout / ".git").exists() or self._git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
            return bases
        for path in self._git("ls-tree", "--name-only", commit).stdout.split("\n"):
            if _is_dockerfile(path):
                text = self._git("show", f"{commit}:{path}").stdout
                for image in dockerfile.base_images(text, self.o.build_args):
                    found = self.inspect(image)
                    if found:
                        bases[image] = found.id
        return bases

    def _archive_identity(self) -> str:
        if self.o.archive_identity:
            return self.o.archive_identity
        path = Path(self.o.archive)
        try:
            status = path.stat()
        except OSError as error:
            raise GB10Error(f"the image archive {path} cannot be read on this box ({error.strerror}). Write one with: docker save -o FILE IMAGE") from error
        return self.o.checksum or f"{path} {status.st_size} {int(status.st_mtime)}"

    def _recorded(self, image: Image | None) -> dict[str, Any] | None:
        """Inputs of the image that now has our name: from its labels, else from our own record of a pull or a load."""
        if image is None:
            return None
        if self.o.source == "build":
            return image_identity.recorded(image.labels)
        entry = self._state().get("names", {}).get(self.name, {})
        return entry.get("inputs") if entry.get("image_id") == image.id else None

    def _reason(self, before: Image | None, known: dict[str, Any] | None, changed: list[dict[str, Any]]) -> str:
        if before is None:
            return f"image {self.name} is not there"
        if known is None:
            return f"image {self.name} is there, but was not made by gb10.vllm from source={self.o.source}"
        if changed:
            return f"inputs changed: {image_identity.describe(changed)}"
        return f"a rebuild was asked for ({', '.join(self.o.rebuild)})"

    # ---- build -----------------------------------------------------------------------------------

    def _build(self, inputs: dict[str, Any]) -> Image:
        commit: str = inputs["commit"]
        self._progress("prepare", "checking the recipe")
        dirty = self._git("status", "--porcelain", "--untracked-files=no").stdout.split("\n")
        dirty = [line[3:] for line in dirty if line.strip()]
        if dirty:
            raise GB10Error(
                f"the checkout {self.checkout} has local changes ({', '.join(dirty[:5])}), which a build of commit {commit[:12]} would not hold. "
                "Commit them and name that commit as ref, or undo them (git checkout -- .)"
            )
        with self._worktree(commit) as tree:
            where = f"spark-vllm-docker at {commit[:12]}"
            arguments = self._recipe(tree, where)
            self._prepare_tree(tree, where)
            temporary = f"{self.temporary}:{image_identity.digest(inputs)[:16]}"
            arguments[1] = temporary
            environment = self._build_environment()
            for attempt in range(1, self.o.retries + 2):
                status, log = self._script(tree, arguments, environment)
                if status == 0:
                    break
                if attempt <= self.o.retries and image_log.is_network_failure(log):
                    delay = self.o.retry_delay_s * 2 ** (attempt - 1)
                    why = image_log.explain(log) or "the network failed"
                    self._note(f"attempt {attempt} of {self.o.retries + 1} failed: {why}; trying again in {delay:.0f} s")
                    self._wait(delay, f"{why}; attempt {attempt + 1} of {self.o.retries + 1} follows")
                    continue
                raise self._build_failed(status, log, attempt, where)
            image = self.inspect(temporary)
            if image is None:
                raise GB10Error(
                    f"{SCRIPT} of {where} ended without an error but made no image {temporary}; see the log {self.log_path}",
                    log=str(self.log_path),
                )
            return self._labelled(image, inputs)

    def _labelled(self, image: Image, inputs: dict[str, Any]) -> Image:
        """The same layers under labels that say what they were made from and hold; it is these that make a second run free."""
        self._progress("label", "reading the versions in the image")
        versions = self.versions(image)
        name = f"{self.temporary}:labelled"
        done = subprocess.run(
            [self.docker_path, "build", "-q", "-t", name, "-"],
            input=f"FROM {self.temporary}:{image_identity.digest(inputs)[:16]}\n" + dockerfile.label_lines(image_identity.labels(inputs, versions)),
            capture_output=True, text=True, check=False, env=self._build_environment(), timeout=300,
        )  # fmt: skip
        found = self.inspect(name)
        if done.returncode or found is None:
            raise GB10Error(f"the image is built but could not be labelled: {_last_line(done.stderr)}", log=str(self.log_path))
        state = self._state()
        state.setdefault("metadata", {})[found.id] = versions
        self._write_state(state)
        return found

    def _recipe(self, tree: Path, where: str) -> list[str]:
        """The script's arguments, judged before anything starts."""
        script = tree / SCRIPT
        if not script.is_file():
            raise GB10Error(f"{where} has no {SCRIPT}, so it is not a spark-vllm-docker repository; check repository and ref")
        try:
            shown = subprocess.run(
                ["bash", SCRIPT, "--help"], cwd=tree, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
                errors="replace", check=False, env=self._build_environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise GB10Error(f"{SCRIPT} --help of {where} did not answer within 30 s; it is not the script this collection knows") from error
        text = script.read_text(errors="replace")
        offer = image_recipe.read_offer(shown.stdout + shown.stderr, text, where=f"{SCRIPT} of {where}")
        if (
            "--build-context" in text
            and subprocess.run([self.docker_path, "buildx", "version"], capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode
        ):
            raise GB10Error(
                f"{where} builds with docker's buildx plugin (--build-context), which this box lacks. "
                "Install docker-buildx-plugin (docker-buildx on Debian and Ubuntu), or use a ref before 2026-08-03"
            )
        wanted = image_recipe.Wanted(
            wheels=self.o.wheels,
            vllm_ref=self.o.vllm_ref,
            jobs=self.o.jobs,
            transformers=self.o.transformers,
            rebuild=tuple(self.o.rebuild),
            arguments=tuple(self.o.arguments),
        )
        return image_recipe.translate(wanted, offer, "", where=where)

    def _prepare_tree(self, tree: Path, where: str) -> None:
        """Our changes, in our worktree only: timeouts into every Dockerfile, and the CA bundle."""
        files = sorted(path for path in tree.iterdir() if path.is_file() and _is_dockerfile(path.name))
        if not files:
            raise GB10Error(f"{where} has no Dockerfile in its top directory; check repository and ref")
        environment = {"UV_HTTP_TIMEOUT": str(self.o.uv_http_timeout_s), "UV_HTTP_RETRIES": str(self.o.uv_http_retries)}
        copy = None
        if self.o.ca_bundle:
            shutil.copyfile(self.o.ca_bundle, tree / CA_NAME)
            (tree / CA_NAME).chmod(0o644)
            copy = (CA_NAME, CA_IN_IMAGE)
            for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"):
                environment[name] = CA_IN_IMAGE
            ignore = tree / ".dockerignore"
            if ignore.exists():
                ignore.write_text(ignore.read_text().rstrip("\n") + f"\n!{CA_NAME}\n")
        declared: set[str] = set()
        for path in files:
            text = path.read_text()
            declared |= dockerfile.declared_arguments(text)
            path.write_text(
                dockerfile.prepare(
                    text,
                    environment=environment,
                    copy=copy,
                    arguments=self.o.build_args,
                    name=f"{path.name} of {where}",
                )
            )
        unknown = sorted(set(self.o.build_args) - declared)
        if unknown:
            raise GB10Error(f"no Dockerfile of {where} has an ARG {', '.join(unknown)}; build_args can set {', '.join(sorted(declared))}")

    def _build_environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        environment.update(
            DOCKER_BUILDKIT="1",
            BUILDKIT_PROGRESS="plain",
            UV_HTTP_TIMEOUT=str(self.o.uv_http_timeout_s),
            UV_HTTP_RETRIES=str(self.o.uv_http_retries),
            GIT_CONFIG_COUNT="1",
            GIT_CONFIG_KEY_0="safe.directory",
            GIT_CONFIG_VALUE_0="*",
        )
        environment.setdefault("HOME", "/root")
        environment.setdefault("USER", "root")
        docker_dir = str(Path(self.docker_path).parent)
        if os.sep in self.docker_path and docker_dir not in environment.get("PATH", "").split(os.pathsep)[:1]:
            environment["PATH"] = docker_dir + os.pathsep + environment.get("PATH", "")
        return environment

    def _script(self, tree: Path, arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
        command = ["bash", SCRIPT, *arguments]
        self._note(f"running {' '.join(command)} in {tree}")
        return self._follow(command, cwd=tree, environment=environment, phase="build")

    def _build_failed(self, status: int, log: str, attempt: int, where: str) -> GB10Error:
        cause = image_log.explain(log)
        advice = ""
        if "UV_HTTP_TIMEOUT" in cause:
            advice = (
                f" Raise uv_http_timeout_s (now {self.o.uv_http_timeout_s}) or use a faster package index; "
                "what was downloaded completely is kept for the next try."
            )
        elif "disk is full" in cause:
            advice = f" Free space: {self._prune_advice()}"
        if not cause:
            cause = image_log.last_error(log) or f"{SCRIPT} ended with status {status}"
        tries = f" after {attempt} attempts" if attempt > 1 else ""
        last = image_log.tail(log)
        return GB10Error(
            f"building {self.name} from {where} failed{tries}: {cause}.{advice} "
            f"Nothing was changed, {self.name} is what it was before. Full log on the box: {self.log_path}",
            log=str(self.log_path),
            last_lines=last,
            rc=status,
            attempts=attempt,
        )

    # ---- pull and load ---------------------------------------------------------------------------

    def _pull(self, inputs: dict[str, Any]) -> Image:
        o = self.o
        repository = o.image.split("@")[0]
        if o.digest:
            head, _slash, last = repository.rpartition("/")
            repository = (f"{head}/" if head else "") + last.split(":")[0]
        wanted = f"{repository}@{o.digest}" if o.digest else o.image
        for attempt in range(1, o.retries + 2):
            status, log = self._follow_pull(wanted)
            if status == 0:
                break
            if attempt <= o.retries and image_log.is_network_failure(log) and "toomanyrequests" not in log:
                delay = o.retry_delay_s * 2 ** (attempt - 1)
                self._wait(delay, f"the pull failed; attempt {attempt + 1} of {o.retries + 1} follows")
                continue
            cause = image_log.last_error(log) or image_log.explain(log) or f"docker pull ended with status {status}"
            raise GB10Error(
                f"pulling {wanted} failed: {cause}. Check image and digest, and that the registry can be reached from this box; "
                f"nothing was changed. Full log on the box: {self.log_path}",
                last_lines=image_log.tail(log),
                rc=status,
            )
        image = self.inspect(wanted)
        if image is None:
            raise GB10Error(f"docker pulled {wanted} but does not show it; see the log {self.log_path}")
        if not o.digest and image.repo_digests:
            self.warn(f"{o.image} is a moving tag; it is {image.repo_digests[0].split('@')[-1]} today. Set digest to keep all boxes on it")
        return image

    def _load(self, inputs: dict[str, Any]) -> Image:
        path = Path(self.o.archive)
        if self.o.checksum:
            self._progress("verify", f"checking {path}", total=path.stat().st_size)
            found = "sha256:" + _file_sha256(path, "archive")
            if found != self.o.checksum:
                raise GB10Error(
                    f"the image archive {path} is not the one wanted: its SHA-256 is {found[7:]}, not {self.o.checksum[7:]}. "
                    "Copy it again, or correct the checksum; nothing was changed"
                )
        image_id, tags = _archive_image(path)
        before = {tag: found.id for tag in tags if (found := self.inspect(tag))}
        size = path.stat().st_size
        with open(path, "rb") as stream, open(self._log(), "ab") as log:
            child = self._child = subprocess.Popen(
                [self.docker_path, "load"], stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=self._inherited(), start_new_session=True
            )
            sent = 0
            with contextlib.suppress(BrokenPipeError):
                while chunk := stream.read(2**22):
                    child.stdin.write(chunk)  # type: ignore[union-attr]
                    sent += len(chunk)
                    self._progress("load", f"loading {path.name}", done=sent, total=size)
                child.stdin.close()  # type: ignore[union-attr]
            status = child.wait()
            self._child = None
        text = self._log().read_text(errors="replace")
        if status:
            raise GB10Error(
                f"docker could not load the image archive {path}: {image_log.last_error(text) or f'status {status}'}. "
                f"The file is damaged or not written by docker save; copy it again. Nothing was changed. Full log on the box: {self.log_path}",
                last_lines=image_log.tail(text),
                rc=status,
            )
        loaded = re.findall(r"Loaded image(?: ID)?: (\S+)", text)
        for candidate in [image_id, *loaded, *tags]:
            image = self.inspect(candidate) if candidate else None
            if image:
                break
        else:
            raise GB10Error(f"docker loaded {path} but shows no image of it; see the log {self.log_path}")
        for tag, old in before.items():  # load moves the tags inside the archive; only our own name may move
            if old != image.id:
                self.docker("tag", old, tag)
        return image

    # ---- what is in the image --------------------------------------------------------------------

    def versions(self, image: Image) -> dict[str, Any]:
        """vLLM, torch and CUDA versions and the project's own build metadata, read once per image id and kept."""
        state = self._state()
        known = state.get("metadata", {}).get(image.id)
        if known:
            return known
        try:
            done = subprocess.run(
                [self.docker_path, "run", "--rm", "--network", "none", "--entrypoint", "python3", image.id, "-c", _READ_VERSIONS],
                capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            output = done.stdout
        except (subprocess.TimeoutExpired, OSError):
            output = ""
        line = next((line[4:] for line in output.splitlines() if line.startswith("GB10{")), "")
        found: dict[str, Any] = json.loads(line) if line else {}
        raw = found.pop("build_metadata", "")
        found["build_metadata"] = _flat_yaml(raw)
        label = image.labels.get("gb10.vllm.vllm_version")
        found["vllm_version"] = label or found.get("vllm_version") or found["build_metadata"].get("vllm_version")
        found.setdefault("torch_version", None)
        found["cuda_version"] = found.get("cuda_version") or image.environment.get("CUDA_VERSION")
        if not found["vllm_version"]:
            self.warn(f"image {self.name} ({image.id[7:19]}) has no vLLM that its python3 can find; a server from it will not start")
        if line and not self.check_mode:
            state.setdefault("metadata", {})[image.id] = found
            self._write_state(state)
        return found

    def _result(
        self, image: Image | None, *, changed: bool, inputs: dict[str, Any], changed_inputs: list[dict[str, Any]], metadata: bool = True
    ) -> dict[str, Any]:
        shown: dict[str, Any] | None = None
        if image is not None:
            versions = self.versions(image) if metadata else {}
            shown = {
                "id": image.id,
                "name": self.name,
                "labels": {k: v for k, v in image.labels.items() if k.startswith("gb10.vllm.") and k != image_identity.INPUTS_JSON},
                "size_bytes": image.size_bytes,
                "architecture": image.architecture,
                "repo_digests": image.repo_digests,
                "vllm_version": versions.get("vllm_version"),
                "torch_version": versions.get("torch_version"),
                "cuda_version": versions.get("cuda_version"),
                "metadata": versions,
            }
        return {
            "changed": changed,
            "image": shown,
            "inputs": inputs,
            "changed_inputs": changed_inputs,
            "log": str(self.log_path) if self.log_path else "",
            "steps": self.steps,
            "duration_s": round(time.monotonic() - self.started, 1),
            "deferred": False,
            "reason": "",
        }

    # ---- docker and git --------------------------------------------------------------------------

    def docker(self, *arguments: str, check: bool = True, missing_ok: bool = False) -> str:
        """Run a docker command and return what it prints; GB10Error when it fails.

        ``missing_ok``: nothing is returned for an image that is not there; without ``check`` for any failure.
        """
        try:
            done = subprocess.run([self.docker_path, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
        except OSError as error:
            raise GB10Error(f"there is no docker command on this box ({error.strerror}). Install Docker (on DGX OS it is part of the system)") from error
        except subprocess.TimeoutExpired as error:
            raise GB10Error(f"docker {arguments[0]} did not answer within 300 s; look at: systemctl status docker") from error
        if done.returncode and check:
            text = (done.stderr or done.stdout).strip()
            if missing_ok and "no such image" in text.lower():
                return ""
            if "permission denied" in text and "docker.sock" in text:
                raise GB10Error("this user may not talk to Docker on this box; run with become: true, or add the user to the group docker")
            if "Cannot connect to the Docker daemon" in text or "daemon running" in text:
                raise GB10Error("the Docker daemon is not running on this box; start it with: systemctl enable --now docker")
            raise GB10Error(f"docker {' '.join(arguments[:2])} failed: {text.splitlines()[-1] if text else done.returncode}")
        return done.stdout.strip() if done.returncode == 0 else ""

    def inspect(self, reference: str) -> Image | None:
        """The image a name, digest or id leads to, None when there is none."""
        if not reference:
            return None
        text = self.docker("image", "inspect", reference, missing_ok=True)
        if not text:
            return None
        raw = json.loads(text)[0]
        config = raw.get("Config") or {}
        environment = dict(entry.split("=", 1) for entry in config.get("Env") or [] if "=" in entry)
        return Image(
            id=raw["Id"],
            labels=config.get("Labels") or {},
            environment=environment,
            size_bytes=raw.get("Size", 0),
            repo_digests=raw.get("RepoDigests") or [],
            architecture=raw.get("Architecture", ""),
        )

    def _git(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.git_path, "-C", str(cwd or self.checkout), *arguments],
                capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=300, check=False,
                env={**self._build_environment(), "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"},
            )  # fmt: skip
        except OSError as error:
            raise GB10Error("there is no git command on this box; install the package git") from error

    @contextlib.contextmanager
    def _worktree(self, commit: str) -> Iterator[Path]:
        """A worktree of ours at a fixed place (a fixed path keeps docker's build cache valid); gone afterwards."""
        tree = self.build_dir / "worktree"
        self._drop_worktree(tree)
        done = self._git("worktree", "add", "--detach", "--force", str(tree), commit)
        if done.returncode:
            raise GB10Error(f"git could not lay out commit {commit[:12]} of {self.checkout}: {_last_line(done.stderr)}")
        try:
            for kept in self._wheel_folders(tree):
                if kept.exists() and not (tree / kept.name).exists():
                    kept.rename(tree / kept.name)
            yield tree
        finally:
            self._drop_worktree(tree)

    def _wheel_folders(self, tree: Path) -> list[Path]:
        """Where the script's folders of downloaded and compiled wheels are kept between builds, so that a new try begins with them."""
        shelf = self.build_dir / "wheels"
        shelf.mkdir(mode=0o755, exist_ok=True)
        return [shelf / name for name in _WHEEL_FOLDERS if not self._git("check-ignore", "-q", f"{name}/x", cwd=tree).returncode]

    def _drop_worktree(self, tree: Path) -> None:
        if tree.exists():
            for kept in self._wheel_folders(tree):
                if (tree / kept.name).is_dir() and not (tree / kept.name).is_symlink():
                    shutil.rmtree(kept, ignore_errors=True)
                    (tree / kept.name).rename(kept)
            self._git("worktree", "remove", "--force", str(tree))
            shutil.rmtree(tree, ignore_errors=True)
        self._git("worktree", "prune")

    def _sweep(self) -> None:
        """Remove what a killed run left: our temporary names and the worktree (we hold the lock, so nobody uses them)."""
        for name in self.docker("images", "--format", "{{.Repository}}:{{.Tag}}", self.temporary).split():
            self.docker("rmi", name, check=False)
        if self.o.source == "build" and (self.build_dir / "worktree").exists():
            self._drop_worktree(self.build_dir / "worktree")

    def _previous(self) -> str:
        repository, _colon, tag = self.name.rpartition(":")
        return f"{repository}:{'previous' if tag == 'latest' else tag + '-previous'}-"

    def _name_previous(self, before: Image | None) -> None:
        if before is not None and self.o.keep_previous > 0:
            self.docker("tag", before.id, self._previous() + time.strftime("%Y%m%d%H%M%S", time.gmtime()))

    def _drop_previous(self) -> None:
        repository = self.name.rpartition(":")[0]
        names = self.docker("images", "--format", "{{.Repository}}:{{.Tag}}", repository).split()
        kept = sorted(name for name in names if name.startswith(self._previous()))
        for name in kept[: max(0, len(kept) - self.o.keep_previous)]:
            self.docker("rmi", name, check=False)  # docker refuses while a container uses it

    def _similar(self) -> str:
        names = [n for n in self.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split() if "vllm" in n and "<none>" not in n]
        return f" Images that are there: {', '.join(names[:8])}." if names else ""

    def _check_disk(self) -> None:
        wanted = self.o.min_free_gib
        if wanted is None:
            wanted = {"build": 60.0, "prebuilt": 60.0, "archive": 2.2 * _size(self.o.archive) / GIB}.get(self.o.source, 0.0)
        root = self.docker("info", "--format", "{{.DockerRootDir}}") or "/var/lib/docker"
        place = Path(root)
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if free < wanted * GIB:
            raise GB10Error(
                f"{root} has {free / GIB:.1f} GiB free, but source={self.o.source} needs {wanted:.0f} GiB (min_free_gib). "
                f"Free space: {self._prune_advice()} Nothing was started"
            )

    def _prune_advice(self) -> str:
        rows = [row.split("|") for row in self.docker("system", "df", "--format", "{{.Type}}|{{.Reclaimable}}", check=False).splitlines()]
        room = dict(row for row in rows if len(row) == 2)
        return (
            f"docker builder prune --filter until=72h (build cache, up to {room.get('Build Cache', 'some')}), "
            f"docker image prune (unused images, up to {room.get('Images', 'some')})."
        )

    # ---- running, locking, telling ---------------------------------------------------------------

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One build per box at a time. The child inherits the lock, so one that outlives a killed run still holds it."""
        self.build_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        (self.build_dir / "logs").mkdir(mode=0o755, exist_ok=True)
        self.progress_path.write_text("")
        self._lock_fd = os.open(self.build_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        previous = {number: signal.signal(number, self._interrupted) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            while True:
                try:
                    fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._progress("wait", "another image build holds the lock on this box; waiting for it")
                    self._check_time()
                    time.sleep(1)
            yield
        except GB10Error as error:
            self._progress("finished", str(error))
            raise
        finally:
            self._stop_child()
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _interrupted(self, number: int, _frame: object) -> None:
        raise GB10Error(f"the image build was stopped (signal {number}); what is done is cached, run it again to go on")

    def _stop_child(self) -> None:
        child = self._child
        if child is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=10)
                break
        self._child = None

    def _inherited(self) -> tuple[int, ...]:
        return (self._lock_fd,) if self._lock_fd >= 0 else ()

    def _follow(self, command: list[str], *, phase: str, environment: dict[str, str], cwd: Path | None = None) -> tuple[int, str]:
        """Run a long command into the log, telling where it is; returns its status and its own part of the log."""
        path = self._log()
        begin = path.stat().st_size
        follower = image_log.BuildLog()
        with open(path, "ab") as log, open(path, "rb") as reader:
            reader.seek(begin)
            self._child = child = subprocess.Popen(
                command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=self._inherited(),
            )  # fmt: skip
            rest = b""
            while True:
                running = child.poll() is None
                rest += reader.read()
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    follower.feed(line.decode(errors="replace"))
                self._progress(phase, follower.text, follower.bytes, follower.total_bytes, follower.step, follower.steps)
                if not running:
                    break
                self._check_time()
                time.sleep(0.3)
            self._child = None
        self.steps = max(self.steps, follower.steps)
        self._base_images.update(follower.base_images)
        with open(path, "rb") as reader:
            reader.seek(begin)
            return child.returncode, reader.read().decode(errors="replace")

    def _follow_pull(self, wanted: str) -> tuple[int, str]:
        """``docker pull`` on a terminal of our own, because it tells bytes only to a terminal."""
        follower = image_log.PullLog()
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        environment = {**self._build_environment(), "TERM": "xterm"}
        said: list[str] = []
        try:
            self._child = child = subprocess.Popen(
                [self.docker_path, "pull", wanted], env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                start_new_session=True, pass_fds=self._inherited(),
            )  # fmt: skip
            os.close(theirs)
            theirs = -1
            rest = ""
            while True:
                ready = select.select([ours], [], [], 0.5)[0]
                try:
                    data = os.read(ours, 65536) if ready else b""
                except OSError:  # the terminal's other end is closed: it has ended
                    data = b""
                    ready = []
                    if child.poll() is None:
                        child.wait(10)
                *lines, rest = re.split(r"[\r\n]+", rest + data.decode(errors="replace"))
                for line in lines:
                    follower.feed(line)
                if follower.keep:
                    said += follower.keep
                    with open(self._log(), "a", encoding="utf-8") as log:
                        log.write("".join(f"{line}\n" for line in follower.keep))
                    follower.keep.clear()
                self._progress("pull", follower.text, follower.bytes, follower.total_bytes, follower.step, follower.steps)
                if not ready and child.poll() is not None:
                    break
                self._check_time()
            self._child = None
        finally:
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)
        self.steps = max(self.steps, follower.steps)
        return child.returncode, "\n".join(said)

    def _check_time(self) -> None:
        if time.monotonic() - self.started > self.o.timeout_s:
            raise GB10Error(
                f"the image was not ready after {self.o.timeout_s} s (timeout_s) and the work was stopped. What is done is cached: "
                f"run it again, with a higher timeout_s if the box is slow. Log on the box: {self.log_path}",
                log=str(self.log_path or ""),
            )

    def _wait(self, seconds: float, text: str) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._progress("retry", text)
            self._check_time()
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))

    _last_progress = ("", "", 0.0)
    _transfer = (0, 0.0)

    def _progress(self, phase: str, text: str, done: int = 0, total: int = 0, step: int = 0, steps: int = 0) -> None:
        """Append one JSON line to the progress file: at once when the phase or text changes, else once a second."""
        now = time.monotonic()
        shown, shown_text, when = self._last_progress
        if (phase, text) == (shown, shown_text) and now - when < 1.0 or phase == shown and now - when < 0.2:
            return
        self._last_progress = (phase, text, now)
        if phase != shown or done < self._transfer[0]:
            self._transfer = (done, now)
        rate = (done - self._transfer[0]) / (now - self._transfer[1]) if now - self._transfer[1] > 1.0 else 0.0
        line = {
            "phase": phase, "step": step, "steps": steps, "text": text, "bytes": done, "total_bytes": total,
            "bytes_per_s": int(rate), "elapsed_s": round(now - self.started, 1), "log": str(self.log_path or ""),
        }  # fmt: skip
        with contextlib.suppress(OSError), open(self.progress_path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _new_log(self) -> Path:
        logs = self.build_dir / "logs"
        for old in sorted(logs.glob(f"*-{self.slug}.log"))[: -_KEEP_LOGS + 1]:
            old.unlink(missing_ok=True)
        path = logs / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{self.slug}.log"
        path.touch(mode=0o644)
        return path

    def _log(self) -> Path:
        if self.log_path is None:
            self.log_path = self._new_log()
        return self.log_path

    def _note(self, text: str) -> None:
        with open(self._log(), "a", encoding="utf-8") as stream:
            stream.write(f"gb10.vllm: {text}\n")

    # ---- our own record --------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        try:
            state = json.loads((self.build_dir / "images.json").read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _write_state(self, state: dict[str, Any]) -> None:
        self.build_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = self.build_dir / "images.json"
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")
        temporary.replace(path)

    def _record(self, image: Image, inputs: dict[str, Any]) -> None:
        state = self._state()
        present = set(self.docker("images", "--no-trunc", "-q", "-a").split())
        state["metadata"] = {key: value for key, value in state.get("metadata", {}).items() if key in present}
        entry: dict[str, Any] = {"image_id": image.id, "inputs": inputs}
        if self._base_images:
            entry["base_images"] = self._base_images
        state.setdefault("names", {})[self.name] = entry
        self._write_state(state)


def _is_dockerfile(name: str) -> bool:
    return (name == "Dockerfile" or name.startswith("Dockerfile.")) and not name.endswith((".dockerignore", ".md"))


def _file_sha256(path: Path, option: str) -> str:
    hasher = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(2**20):
                hasher.update(chunk)
    except OSError as error:
        raise GB10Error(f"{option}: {path} cannot be read on this box ({error.strerror})") from error
    return hasher.hexdigest()


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _archive_image(path: Path) -> tuple[str, list[str]]:
    """Id and names of the image in a ``docker save`` archive, from its manifest; GB10Error when it is damaged."""
    try:
        with tarfile.open(path) as archive:
            member = archive.extractfile("manifest.json")
            manifest = json.load(member) if member else []
            names = set(archive.getnames())
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError) as error:
        raise GB10Error(f"the image archive {path} is damaged or not written by docker save ({error}). Copy it again; nothing was changed") from error
    if len(manifest) != 1:
        raise GB10Error(f"the image archive {path} holds {len(manifest)} images; save exactly one: docker save -o FILE IMAGE")
    entry = manifest[0]
    missing = [layer for layer in [entry["Config"], *entry["Layers"]] if layer not in names]
    if missing:
        raise GB10Error(f"the image archive {path} is cut short: {missing[0]} is missing. Copy it again; nothing was changed")
    found = re.search(r"([0-9a-f]{64})", entry["Config"])
    return (f"sha256:{found.group(1)}" if found else ""), entry.get("RepoTags") or []


def _flat_yaml(text: str) -> dict[str, str]:
    """The scalar lines of the project's build-metadata.yaml (one nested block at most, its keys are kept as they are)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z_]\w*):\s*(.+?)\s*$", line)
        if match:
            value = match.group(2).strip("\"'")
            if value != "unknown":
                found[match.group(1)] = value
    return found


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
