# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from the project's own script, at a pinned commit, in a worktree that holds our settings."""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import dockerfile, layer, pull_requests
from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_inputs
from ansible_collections.gb10.vllm.plugins.module_utils._image import log as image_log
from ansible_collections.gb10.vllm.plugins.module_utils._image import mods as image_mods
from ansible_collections.gb10.vllm.plugins.module_utils._image import recipe as image_recipe
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import Image, ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._image.versions import Versions
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work
from ansible_collections.gb10.vllm.plugins.module_utils._image.worktree import GIT_ENVIRONMENT, Checkout, is_dockerfile
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import TIMED_OUT, run
from ansible_collections.gb10.vllm.plugins.module_utils._io.files import file_sha256

SCRIPT = "build-and-copy.sh"
TEMPORARY = "gb10-vllm-build"
CA_NAME = "gb10-ca.pem"
CA_IN_IMAGE = "/usr/local/share/gb10-vllm/ca.pem"
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_ASKED_S = 30.0


def temporary_name(folder: Path) -> str:
    """A name of this build directory's own for images that are being made: the lock covers no other one that uses the same Docker. Pure."""
    return f"{TEMPORARY}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def uv_settings(options: Options) -> dict[str, str]:
    """The variables that give uv its patience. Pure."""
    return {"UV_HTTP_TIMEOUT": str(options.uv_http_timeout_s), "UV_HTTP_RETRIES": str(options.uv_http_retries)}


def environment(options: Options, docker_path: str, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of the script, from our own: BuildKit in plain words, uv's patience, and first in PATH the docker command that we use. Pure."""
    result = {"HOME": "/root", "USER": "root", **ours, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain", **uv_settings(options), **GIT_ENVIRONMENT}
    folder = os.path.dirname(docker_path)
    path = result.get("PATH", "")
    if folder and folder not in path.split(os.pathsep)[:1]:
        result["PATH"] = folder + os.pathsep + path
    return result


def prepare(tree: Path, options: Options, where: str) -> None:
    """Our changes to the Dockerfiles of a worktree: timeouts, CA bundle, new defaults of ARGs. GB10Error names what ``where`` lacks."""
    files = sorted(path for path in tree.iterdir() if path.is_file() and is_dockerfile(path.name))
    if not files:
        raise GB10Error(f"{where} has no Dockerfile in its top directory; check repository and ref")
    settings = uv_settings(options)
    copy = None
    if options.ca_bundle:
        shutil.copyfile(options.ca_bundle, tree / CA_NAME)
        (tree / CA_NAME).chmod(0o644)
        copy = (CA_NAME, CA_IN_IMAGE)
        settings |= dict.fromkeys(_CA_VARIABLES, CA_IN_IMAGE)
        ignore = tree / ".dockerignore"
        if ignore.exists():
            ignore.write_text(ignore.read_text().rstrip("\n") + f"\n!{CA_NAME}\n")
    declared: set[str] = set()
    guarded = False
    for path in files:
        text = path.read_text()
        declared |= dockerfile.declared_arguments(text)
        path.write_text(dockerfile.prepare(text, environment=settings, copy=copy, arguments=options.build_args, name=f"{path.name} of {where}"))
        if options.vllm_prs and "VLLM_PRS" in text:
            path.write_text(pull_requests.guarded(path.read_text(), pull_requests.checked(options.vllm_prs), f"{path.name} of {where}"))
            guarded = True
    if options.vllm_prs and not guarded:
        raise GB10Error(f"no Dockerfile of {where} applies pull requests of vLLM; leave vllm_prs out or use a newer ref")
    unknown = sorted(set(options.build_args) - declared)
    if unknown:
        raise GB10Error(f"no Dockerfile of {where} has an ARG {', '.join(unknown)}; build_args can set {', '.join(sorted(declared))}")


class Build:
    """The source ``build``. ``later``: nothing is built in this run, so a commit that is not there yet may be fetched before it is."""

    needs_gib = 60.0

    def __init__(
        self,
        options: Options,
        store: ImageStore,
        work: Work,
        checkout: Checkout,
        versions: Versions,
        *,
        check_mode: bool = False,
        later: bool = False,
    ) -> None:
        self.o = options
        self.store = store
        self.work = work
        self.checkout = checkout
        self.versions = versions
        self.check_mode = check_mode
        self.later = later
        self.temporary = temporary_name(work.folder)
        self._environment = environment(options, store.docker, os.environ)

    def inputs(self) -> dict[str, Any]:
        """What the image is made from; values that only the work itself can tell are None."""
        o = self.o
        commit = self.checkout.resolve(o.ref, check_mode=self.check_mode, later=self.later)
        return {
            "source": "build",
            "commit": commit,
            "wheels": o.wheels,
            "vllm_ref": o.vllm_ref or None,
            "jobs": o.jobs or None,
            "transformers": o.transformers,
            "arguments": o.arguments or None,
            "build_args": o.build_args or None,
            "mods": self._mods(commit) or None,
            "vllm_prs": [f"{reference} {digest}" for reference, digest in pull_requests.checked(o.vllm_prs).items()] or None,
            "uv_http_timeout_s": o.uv_http_timeout_s,
            "uv_http_retries": o.uv_http_retries,
            "ca_bundle": _bundle_sha256(o.ca_bundle) if o.ca_bundle else None,
            "architecture": os.uname().machine,
            "base_images": self._local_bases(commit) or None,
        }

    def _local_bases(self, commit: str | None) -> dict[str, str]:
        """Identity of the base images that this box's docker holds (one that is only in a registry shows during the build)."""
        found = {name: self.store.image(name) for name in self.checkout.base_images(commit, self.o.build_args)}
        return {name: image.id for name, image in found.items() if image}

    def make(self, inputs: Mapping[str, Any]) -> Image:
        """Build and label; network failures are repeated."""
        commit: str = inputs["commit"]
        self.work.progress("prepare", "checking the recipe")
        self.checkout.refuse_changes(commit)
        where = f"spark-vllm-docker at {commit[:12]}"
        with self.checkout.worktree(commit) as tree:
            temporary = f"{self.temporary}:{image_inputs.digest(inputs)[:16]}"
            command = ["bash", SCRIPT, *self._arguments(tree, where, temporary)]
            prepare(tree, self.o, where)

            def attempt() -> tuple[int, str]:
                self.work.note(f"running {' '.join(command)} in {tree}")
                return self.work.follow(command, cwd=tree, environment=self._environment, phase="build")

            status, log, attempts = self.work.tried(attempt, self.o.retries, self.o.retry_delay_s, image_log.is_network_failure)
            if status:
                raise self._failed(status, log, attempts, where)
            image = self.store.image(temporary)
            if image is None:
                raise GB10Error(
                    f"{SCRIPT} of {where} ended without an error but made no image {temporary}; see the log {self.work.log_path}",
                    log=str(self.work.log_path),
                )
            if self.o.mods:
                temporary = self._with_mods(tree, temporary, where)
                image = self.store.image(temporary) or image
            return self._labelled(image, temporary, inputs)

    def _mods(self, commit: str | None) -> list[str]:
        """Each mod with git's own digest of it, in their order; nothing where the commit is not on the box yet."""
        names = image_mods.names(self.o.mods)
        there = self.checkout.trees(commit, "mods") if names else {}
        own = layer.own_digests(self.o)
        there = {**there, **own} if there or len(own) == len(names) else {}
        missing = next((name for name in names if name not in there), None)
        if there and missing:
            known = ", ".join(sorted(name.removeprefix("mods/") for name in there))
            raise GB10Error(f"spark-vllm-docker at {str(commit)[:12]} has no mod {missing}; it has {known}. Correct gb10_image.mods or use another ref")
        return [f"{name} {there[name]}" for name in names if there]

    def _with_mods(self, tree: Path, temporary: str, where: str) -> str:
        """The name of the image with one more layer for each mod. GB10Error for one that is not there or can be no layer."""
        names = layer.lay(tree, self.o, where)
        made = f"{self.temporary}:mods"
        status, log = layer.build(tree, temporary, made, names, self.store, self.work, self._environment)
        if status:
            raise self._failed(status, log, 1, f"the mods {', '.join(names)} of {where}")
        return made

    def _arguments(self, tree: Path, where: str, temporary: str) -> list[str]:
        """The script's arguments, judged before anything starts."""
        script = tree / SCRIPT
        if not script.is_file():
            raise GB10Error(f"{where} has no {SCRIPT}, so it is not a spark-vllm-docker repository; check repository and ref")
        shown = run(["env", "--chdir", str(tree), "bash", SCRIPT, "--help"], _ASKED_S, env=self._environment)
        if shown.returncode == TIMED_OUT:
            raise GB10Error(f"{SCRIPT} --help of {where} did not answer within 30 s; it is not the script this collection knows")
        text = script.read_text(errors="replace")
        offer = image_recipe.read_offer(shown.stdout + shown.stderr, text, where=f"{SCRIPT} of {where}")
        if "--build-context" in text and run([self.store.docker, "buildx", "version"]).returncode:
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
            vllm_prs=tuple(pull_requests.checked(self.o.vllm_prs)),
        )
        return image_recipe.translate(wanted, offer, temporary, where=where)

    def _labelled(self, image: Image, temporary: str, inputs: Mapping[str, Any]) -> Image:
        """The same layers under labels that say what they were made from and hold; it is these that make a second run free."""
        self.work.progress("label", "reading the versions in the image")
        found = self.versions.of(image)
        name = f"{self.temporary}:labelled"
        recipe = f"FROM {temporary}\n" + dockerfile.label_lines(image_inputs.labels(inputs, found))
        process = run([self.store.docker, "build", "-q", "-t", name, "-"], 300.0, env=self._environment, given=recipe)
        labelled = self.store.image(name)
        if process.returncode or labelled is None:
            lines = process.stderr.strip().splitlines()
            raise GB10Error(f"the image is built but could not be labelled: {lines[-1] if lines else 'no reason given'}", log=str(self.work.log_path))
        self.versions.record.keep_versions(labelled.id, found)
        return labelled

    def _failed(self, status: int, log: str, attempts: int, where: str) -> GB10Error:
        """What the log says happened; why, and what to do about it, the controller's knowledge of failures adds."""
        cause = image_log.last_error(log) or f"{SCRIPT} ended with status {status}"
        tries = f" after {attempts} attempts" if attempts > 1 else ""
        return GB10Error(
            f"building {self.o.name} from {where} failed{tries}: {cause.rstrip('.')}. "
            f"Nothing was changed, {self.o.name} is what it was before. Full log on the box: {self.work.log_path}",
            log=str(self.work.log_path),
            last_lines=image_log.tail(log),
            log_lines=image_log.excerpt(log),
            rc=status,
            attempts=attempts,
        )


def _bundle_sha256(path: str) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise GB10Error(f"ca_bundle: {path} cannot be read on this box ({error.strerror})") from error
