# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images built, loaded and refused with the real Docker engine and real git."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from recipe import BASE, ROOT, WITH_PYTHON, Recipe, docker

SMALL = f"ARG BASE={BASE}\nFROM ${{BASE}} AS base\nARG CACHEBUST_VLLM=1\nRUN env > /env && echo $CACHEBUST_VLLM > /bust\nFROM base\nRUN echo two > /two\n"


@pytest.fixture
def recipe(tmp_path):
    made = Recipe(tmp_path)
    yield made
    made.remove()


def inside(image: str, path: str) -> str:
    return docker("run", "--rm", image, "cat", path)


# ---- identity ---------------------------------------------------------------------------------------------------------


def test_a_build_a_second_run_and_a_changed_input(recipe):
    commit = recipe.write(SMALL)
    first = recipe.build(commit)
    assert first["changed"] and first["reason"] == f"image {recipe.name}:latest is not there"
    assert recipe.leftovers() == []
    labels = first["image"]["labels"]
    assert labels["gb10.vllm.commit"] == commit and labels["gb10.vllm.uv_http_timeout_s"] == "300"
    assert first["steps"] == 3 and Path(first["log"]).read_text().count("RUN env > /env")

    second = recipe.build(commit)
    assert not second["changed"] and second["image"] == first["image"] and second["log"] == ""
    assert second["duration_s"] < 2

    third = recipe.build(commit, uv_http_timeout_s=600)
    assert third["changed"] and third["reason"] == "inputs changed: uv_http_timeout_s (300 -> 600)"
    assert third["changed_inputs"] == [{"input": "uv_http_timeout_s", "before": 300, "after": 600}]
    previous = [name for name in recipe.names() if ":previous-" in name]
    assert len(previous) == 1 and docker("image", "inspect", "--format", "{{.Id}}", previous[0]) == first["image"]["id"]


def test_going_back_to_earlier_inputs_builds_nothing(recipe):
    commit = recipe.write(SMALL)
    first = recipe.build(commit)
    recipe.build(commit, uv_http_retries=9)
    back = recipe.build(commit)
    assert back["changed"] and back["image"]["id"] == first["image"]["id"] and back["log"] == ""


def test_a_rebuild_that_gives_the_same_image_is_no_change(recipe):
    commit = recipe.write(SMALL.replace("ARG CACHEBUST_VLLM=1\n", "").replace(" && echo $CACHEBUST_VLLM > /bust", ""))
    first = recipe.build(commit)
    again = recipe.build(commit, rebuild=["vllm"])
    assert not again["changed"] and again["image"]["id"] == first["image"]["id"] and again["log"] != ""


def test_a_rebuild_makes_the_part_anew(recipe):
    commit = recipe.write(SMALL)
    first = recipe.build(commit)
    again = recipe.build(commit, rebuild=["vllm"])
    assert again["changed"] and again["image"]["id"] != first["image"]["id"]
    assert int(inside(recipe.name, "/bust")) > 1_700_000_000
    assert not recipe.build(commit)["changed"]


def test_a_branch_is_resolved_and_moves_only_by_fetching(recipe):
    old = recipe.write(SMALL)
    assert recipe.build("main")["inputs"]["commit"] == old
    new = recipe.write(SMALL + "RUN echo three > /three\n")
    moved = recipe.build("main")
    assert moved["inputs"]["commit"] == new and moved["changed_inputs"][0]["input"] == "commit"
    assert inside(recipe.name, "/three") == "three"


def test_a_pinned_commit_needs_no_network_and_no_checkout(recipe):
    commit = recipe.write(SMALL)
    recipe.build(commit)
    recipe.checkout.rename(recipe.checkout.with_name("elsewhere"))
    assert not recipe.build(commit)["changed"]


def test_an_image_made_by_somebody_else_is_replaced_and_kept(recipe):
    commit = recipe.write(SMALL)
    docker("tag", BASE, recipe.name)
    result = recipe.build(commit)
    assert result["changed"] and "was not made by gb10.vllm" in result["reason"]
    assert any(":previous-" in name for name in recipe.names())


def test_only_as_many_previous_images_as_wanted_are_kept(recipe):
    commit = recipe.write(SMALL)
    for seconds in (100, 200):
        recipe.build(commit, uv_http_timeout_s=seconds)
        time.sleep(1.1)  # their names hold the second
    assert len([name for name in recipe.names() if ":previous-" in name]) == 1
    recipe.build(commit, uv_http_timeout_s=400, keep_previous=0)
    assert [name for name in recipe.names() if ":previous-" in name] == []


def test_versions_are_read_from_the_image_and_become_labels(recipe):
    site = "/usr/lib/python3/dist-packages"
    commit = recipe.write(
        f"FROM {WITH_PYTHON}\nENV CUDA_VERSION=13.0.2\n"
        f"RUN mkdir -p {site}/vllm-9.8.7.dist-info {site}/torch /workspace"
        f" && printf 'Metadata-Version: 2.1\\nName: vllm\\nVersion: 9.8.7\\n' > {site}/vllm-9.8.7.dist-info/METADATA"
        f' && printf \'__version__ = "2.13.0+cu130"\\ncuda: str = "13.0"\\n\' > {site}/torch/version.py && touch {site}/torch/__init__.py'
        " && printf 'vllm_commit: abc\\nbuild_args:\\n  vllm_ref: main\\n' > /workspace/build-metadata.yaml\n"
    )
    image = recipe.build(commit)["image"]
    assert (image["vllm_version"], image["torch_version"], image["cuda_version"]) == ("9.8.7", "2.13.0+cu130", "13.0")
    assert image["metadata"]["build_metadata"] == {"vllm_commit": "abc", "vllm_ref": "main"}
    assert image["labels"]["gb10.vllm.vllm_version"] == "9.8.7"
    assert recipe.warnings == []
    assert recipe.build(commit, check_mode=True)["image"] == image


def test_an_image_without_vllm_is_warned_about(recipe):
    recipe.build(recipe.write(SMALL))
    assert "has no vLLM" in recipe.warnings[0]


# ---- what acts inside the build ------------------------------------------------------------------------------------------


def test_settings_are_in_force_in_the_build_and_the_checkout_stays_clean(recipe):
    recipe.write(SMALL.replace("RUN env", "ENV UV_HTTP_TIMEOUT=30\nRUN env"))
    recipe.build("main", uv_http_timeout_s=1234, uv_http_retries=7)
    lines = inside(recipe.name, "/env").splitlines()
    assert "UV_HTTP_TIMEOUT=1234" in lines and "UV_HTTP_RETRIES=7" in lines
    assert recipe.git("status", "--porcelain", cwd=recipe.checkout) == ""


def test_a_ca_bundle_is_trusted_inside_the_build(recipe, tmp_path):
    bundle = tmp_path / "office.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\noffice\n-----END CERTIFICATE-----\n")
    recipe.write(SMALL.replace("RUN env > /env", 'RUN env > /env && cp "$SSL_CERT_FILE" /seen'), **{".dockerignore": "*\n"})
    recipe.build("main", ca_bundle=str(bundle))
    assert inside(recipe.name, "/seen") == bundle.read_text().strip()
    assert "PIP_CERT=/usr/local/share/gb10-vllm/ca.pem" in inside(recipe.name, "/env").splitlines()
    bundle.write_text("another")
    assert [c["input"] for c in recipe.build("main", ca_bundle=str(bundle), check_mode=True)["changed_inputs"]] == ["ca_bundle"]


def test_build_args_replace_the_defaults(recipe):
    recipe.write(SMALL.replace(BASE, "registry.invalid/none:1"))
    assert recipe.build("main", build_args={"BASE": BASE})["changed"]


def test_progress_is_written_while_it_builds(recipe):
    recipe.write(f"FROM {BASE}\nRUN sleep 6 # {recipe.name}\nRUN echo done\n")
    recipe.build("main")
    lines = recipe.progress()
    assert any(line["step"] == 2 and line["steps"] == 3 and "sleep 6" in line["text"] for line in lines)
    assert lines[-1]["phase"] == "finished"
    times = [line["elapsed_s"] for line in lines]
    assert max(b - a for a, b in zip(times, times[1:], strict=False)) < 5, "also while the step that sleeps says nothing"


# ---- check mode ------------------------------------------------------------------------------------------------------------


def test_check_mode_and_defer_change_nothing(recipe):
    commit = recipe.write(SMALL)
    before = sorted(str(p) for p in recipe.state.rglob("*")), recipe.names()
    checked = recipe.build(commit, check_mode=True)
    deferred = recipe.build(commit, defer=True)
    assert checked["changed"] and not checked["deferred"] and checked["image"] is None
    assert deferred["deferred"]
    assert (sorted(str(p) for p in recipe.state.rglob("*")), recipe.names()) == before


def test_check_mode_before_the_first_clone(recipe):
    recipe.write(SMALL)
    recipe.checkout.rename(recipe.checkout.with_name("elsewhere"))
    assert recipe.build("main", check_mode=True)["changed"]
    assert recipe.build("0" * 40, check_mode=True)["changed"]


# ---- refused before anything starts ------------------------------------------------------------------------------------------


def refused(recipe, sentence, ref="main", **options):
    images = recipe.names()
    with pytest.raises(GB10Error, match=sentence) as caught:
        recipe.build(ref, **options)
    assert recipe.names() == images
    assert recipe.leftovers() == []
    return caught.value


def test_unknown_ref(recipe):
    recipe.write(SMALL)
    refused(recipe, "no commit, tag or branch called v9", ref="v9")
    refused(recipe, "no commit, tag or branch called ffffffff", ref="f" * 40)


def test_no_checkout(recipe):
    recipe.write(SMALL)
    recipe.checkout.rename(recipe.checkout.with_name("elsewhere"))
    with pytest.raises(GB10Error, match="is not a git checkout.*The role gb10.vllm.image clones it"):
        recipe.build("main")


def test_local_changes_in_the_checkout(recipe):
    recipe.write(SMALL)
    (recipe.checkout / "Dockerfile").write_text("FROM other\n")
    with pytest.raises(GB10Error, match=r"has local changes \(Dockerfile\)"):
        recipe.build("main")
    assert (recipe.checkout / "Dockerfile").read_text() == "FROM other\n"
    assert not (recipe.state / "build" / "worktree").exists()


def test_not_a_recipe(recipe):
    recipe.write(SMALL)
    recipe.git("rm", "-q", "build-and-copy.sh")
    recipe.commit()
    refused(recipe, "has no build-and-copy.sh")


def test_another_script_of_that_name(recipe):
    recipe.write(SMALL, **{"build-and-copy.sh": "echo usage: make\n"})
    refused(recipe, "lists no --tag flag")


def test_dockerfile_without_a_stage(recipe):
    recipe.write("RUN true\n")
    refused(recipe, "Dockerfile of spark-vllm-docker at [0-9a-f]{12} has no FROM")


def test_no_dockerfile(recipe):
    recipe.write(SMALL)
    recipe.git("rm", "-q", "Dockerfile", "Dockerfile.wheels")
    recipe.commit()
    refused(recipe, "has no Dockerfile in its top directory")


def test_what_this_version_lacks(recipe):
    recipe.write(SMALL)
    refused(recipe, "cannot build with wheels=prebuilt: it offers release, nightly, none", wheels="prebuilt")
    refused(recipe, "has an ARG CUDA_IMAGE; build_args can set BASE, CACHEBUST_VLLM", build_args={"CUDA_IMAGE": "x"})


def test_too_little_disk(recipe):
    recipe.write(SMALL)
    error = refused(recipe, "GiB free, but source=build needs 9000000 GiB", min_free_gib=9e6)
    assert "docker builder prune" in str(error) and "docker image prune" in str(error)


def test_no_docker(recipe):
    recipe.write(SMALL)
    with pytest.raises(GB10Error, match="there is no docker command on this box"):
        recipe.build("main", docker="/nonexistent/docker")


def test_docker_does_not_answer(recipe, monkeypatch):
    recipe.write(SMALL)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    with pytest.raises(GB10Error, match="The Docker daemon is not running|the Docker daemon is not running"):
        recipe.build("main")


def test_existing(recipe):
    refusal = "is not on this box, and source=existing"
    with pytest.raises(GB10Error, match=refusal):
        recipe.build(source="existing")
    docker("tag", BASE, recipe.name)
    result = recipe.build(source="existing")
    assert not result["changed"] and result["image"]["id"] == docker("image", "inspect", "--format", "{{.Id}}", BASE)


# ---- failures half-way --------------------------------------------------------------------------------------------------------


def test_a_failing_step_leaves_the_old_image_and_a_log(recipe):
    good = recipe.build(recipe.write(SMALL))
    recipe.write(SMALL + "RUN echo error: patch does not apply >&2; exit 3\n")
    error = refused(recipe, "failed: error: patch does not apply")
    assert docker("image", "inspect", "--format", "{{.Id}}", recipe.name) == good["image"]["id"]
    log = Path(error.details["log"])
    assert str(log) in str(error) and "patch does not apply" in log.read_text()
    assert any("patch does not apply" in line for line in error.details["last_lines"])
    assert error.details["attempts"] == 1


def test_a_full_disk_half_way(recipe):
    recipe.write(f"FROM {BASE}\nRUN head -c 10 /dev/zero > /dev/full\n")
    error = refused(recipe, "[Nn]o space left on device")
    assert error.details["attempts"] == 1


def test_only_network_failures_are_repeated(recipe):
    recipe.write(f"FROM {BASE}\nRUN echo 'fatal: unable to access: Could not resolve host: github.com'; exit 1\n")
    error = refused(recipe, r"failed after 3 attempts: .*Could not resolve host", retries=2)
    assert error.details["attempts"] == 3
    assert [line["phase"] for line in recipe.progress()].count("retry") >= 1


def test_time_is_limited(recipe):
    recipe.write(f"FROM {BASE}\nRUN sleep 60 # {recipe.name}\n")
    start = time.monotonic()
    refused(recipe, r"not ready after 2 s \(timeout_s\)", timeout_s=2)
    assert time.monotonic() - start < 20


_RUN = """
import sys
sys.path[:0] = [{collections!r}, {here!r}]
from ansible_collections.gb10.vllm.plugins.module_utils._image.ensure import ImageBuild
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
ImageBuild(Options(name={name!r}, state_dir={state!r}, ref="main", min_free_gib=0.0, retries=0), docker={docker!r}).run()
"""


def detached(recipe):
    code = _RUN.format(
        collections=str(ROOT / ".ansible/collections"), here=str(ROOT / "tests/support"), name=recipe.name, state=str(recipe.state), docker=recipe.docker
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def wait_for_text(recipe, text, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(text in line["text"] for line in recipe.progress()):
            return
        time.sleep(0.1)
    pytest.fail(f"{text!r} did not show up in the progress")


def test_a_terminated_build_cleans_up(recipe):
    recipe.write(f"FROM {BASE}\nRUN sleep 30 # {recipe.name}\n")
    job = detached(recipe)
    wait_for_text(recipe, "sleep 30")
    job.send_signal(signal.SIGTERM)
    assert "was stopped (signal 15)" in job.communicate(timeout=20)[1]
    assert recipe.leftovers() == []


def test_a_killed_build_is_finished_by_the_next_run(recipe):
    recipe.write(f"FROM {BASE}\nRUN sleep 3; echo once > /once # {recipe.name}\n")
    job = detached(recipe)
    wait_for_text(recipe, "sleep 3")
    job.kill()
    job.communicate(timeout=10)
    result = recipe.build("main")  # waits for the docker build that still holds the lock, then goes on from its cache
    assert result["changed"] and inside(recipe.name, "/once") == "once"
    assert "CACHED" in Path(result["log"]).read_text()
    assert any(line["phase"] == "wait" for line in recipe.progress())
    assert recipe.leftovers() == []


def test_two_builds_at_once_build_once(recipe):
    commit = recipe.write(f"FROM {BASE}\nRUN sleep 2 # {recipe.name}\n")
    results = []
    threads = [threading.Thread(target=lambda: results.append(detached(recipe).wait(60))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0, 0]
    assert len(list(recipe.state.glob("build/logs/*.log"))) == 1
    assert not recipe.build(commit)["changed"]
    assert recipe.leftovers() == []


# ---- archives and pulls --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    docker("tag", BASE, "gb10-test-archive:1")
    docker("save", "-o", str(path), "gb10-test-archive:1")
    docker("rmi", "gb10-test-archive:1")
    return path


def test_an_archive_is_loaded_once(recipe, archive):
    first = recipe.build(source="archive", archive=str(archive))
    assert first["changed"] and first["image"]["id"] == docker("image", "inspect", "--format", "{{.Id}}", BASE)
    loads = [line for line in recipe.progress() if line["phase"] == "load"]
    assert loads and loads[-1]["total_bytes"] == archive.stat().st_size
    assert not recipe.build(source="archive", archive=str(archive))["changed"]
    docker("rmi", "gb10-test-archive:1")


def test_bad_archives(recipe, archive, tmp_path):
    def refuse(sentence, path, **options):
        with pytest.raises(GB10Error, match=sentence):
            recipe.build(source="archive", archive=str(path), **options)
        assert recipe.names() == []

    refuse("cannot be read on this box", tmp_path / "none.tar")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    refuse("damaged|cut short", cut)
    noise = tmp_path / "noise.tar"
    noise.write_bytes(b"nonsense" * 1000)
    refuse("damaged or not written by docker save", noise)
    refuse("is not the one wanted: its SHA-256 is", archive, checksum="sha256:" + "0" * 64)
    damaged = tmp_path / "damaged.tar"
    content = bytearray(archive.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\xff" * 4096
    damaged.write_bytes(content)
    refuse("is not the one wanted: its SHA-256 is", damaged, checksum="sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest())


def test_a_registry_that_cannot_be_reached(recipe):
    with pytest.raises(GB10Error, match="pulling 127.0.0.1:9/none@sha256:0+ failed.*nothing was changed") as caught:
        recipe.build(source="prebuilt", image="127.0.0.1:9/none:latest", digest="sha256:" + "0" * 64)
    assert re.search(r"logs/\S+\.log", str(caught.value))
    assert recipe.names() == []
