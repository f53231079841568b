# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image by the project's script from end to end, with a script and a docker of our own: what each is asked for, what of it is told where it fails."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import build, layer, pull
from ansible_collections.gb10.vllm.plugins.module_utils._image import inputs as image_inputs
from ansible_collections.gb10.vllm.plugins.module_utils._image import store as image_store
from ansible_collections.gb10.vllm.plugins.module_utils._image.ensure import ImageBuild
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import Options
from ansible_collections.gb10.vllm.plugins.module_utils._image.store import ImageStore
from ansible_collections.gb10.vllm.plugins.module_utils._image.work import Work
from fake_docker import FakeDocker

MADE, MODDED, LABELLED = ("sha256:" + digit * 64 for digit in "123")
COMMIT = "c" * 40
HELP = "Usage: build-and-copy.sh [OPTIONS]\n  -t, --tag <tag> : Image tag\n  -j, --build-jobs <jobs> : Number of jobs\n"
SCRIPT = f"""if [ "$1" = --help ]; then cat <<'END'
{HELP}END
exit 0; fi
echo "$PWD $@" >> ../asked
"""


class Checkout:
    """A worktree that lies there already."""

    def __init__(self, folder):
        self.tree = folder / "worktree"
        self.tree.mkdir()
        (self.tree / "Dockerfile").write_text("FROM base:1\n")
        self.script("")
        self.asked = []

    def script(self, text):
        (self.tree / build.SCRIPT).write_text(SCRIPT + text)

    def refuse_changes(self, commit):
        self.asked.append(("refuse_changes", commit))

    @contextlib.contextmanager
    def worktree(self, commit):
        self.asked.append(("worktree", commit))
        yield self.tree

    def resolve(self, ref, **how):
        self.asked.append(("resolve", ref, how))
        return COMMIT

    def trees(self, commit, folder):
        self.asked.append(("trees", commit, folder))
        return {"mods/a": "1a", "mods/b": "2b"}

    def base_images(self, commit, build_args):
        return ["base:1", "base:2"] if (commit, build_args) == (COMMIT, {}) else []


class Versions:
    """What is in the images, and whose was kept."""

    def __init__(self):
        self.kept, self.record = [], self

    def of(self, image):
        return {"vllm_version": "0.33.0", "torch_version": None, "cuda_version": "13.0", "build_metadata": {}, "of": image.id[7:8]}

    def keep_versions(self, *given):
        self.kept.append(given)


@pytest.fixture
def docker(tmp_path):
    made = FakeDocker(tmp_path / "bin")
    made.answer("'build '*", f"cat > {tmp_path}/given; echo built")
    return made


@pytest.fixture
def make(tmp_path, docker):
    """A build with these options in its alone time; ``make.checkout``, ``make.versions`` and ``make.work`` are what it works with."""
    with contextlib.ExitStack() as stack:

        def made(**options):
            one = build.Build(Options(**{"retries": 0, "retry_delay_s": 0.0, **options}), ImageStore(str(docker.path)), made.work, made.checkout, made.versions)
            made.names = {part: f"{one.temporary}:{part}" for part in ("mods", "labelled")} | {
                "built": f"{one.temporary}:{image_inputs.digest({'commit': COMMIT})[:16]}"
            }
            return one

        made.checkout, made.versions, made.work = Checkout(tmp_path), Versions(), Work(tmp_path / "build", "vllm-node-latest", 60)
        stack.enter_context(made.work.alone())
        yield made


def test_what_it_is_made_from(make, docker, tmp_path):
    bundle = tmp_path / "office.pem"
    bundle.write_text("x")
    docker.has("base:2", MADE)
    found = make(ref="main", jobs=4, mods=["mods/b"], ca_bundle=str(bundle)).inputs()
    assert found.pop("architecture")
    assert found == {
        "source": "build", "commit": COMMIT, "wheels": Options().wheels, "vllm_ref": None, "jobs": 4, "transformers": Options().transformers, "arguments": None,
        "build_args": None, "mods": ["mods/b 2b"], "vllm_prs": None, "uv_http_timeout_s": 300, "uv_http_retries": 5,
        "ca_bundle": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "base_images": {"base:2": MADE},
    }  # fmt: skip
    assert make.checkout.asked == [("resolve", "main", {"check_mode": False, "later": False}), ("trees", COMMIT, "mods")]
    with pytest.raises(GB10Error, match="spark-vllm-docker at cccccccccccc has no mod mods/x; it has a, b\\."):
        make(mods=["mods/b", "mods/x"]).inputs()
    with pytest.raises(GB10Error, match="ca_bundle: /nowhere cannot be read on this box \\(No such file or directory\\)"):
        make(ca_bundle="/nowhere").inputs()


def test_the_script_builds_under_a_name_of_ours_and_the_labels_say_from_what(make, docker, tmp_path):
    job = make(jobs=4)
    docker.has(make.names["built"], MADE)
    docker.has(make.names["labelled"], LABELLED)
    assert job.make({"commit": COMMIT}).id == LABELLED
    assert (tmp_path / "asked").read_text() == f"{make.checkout.tree} --tag {make.names['built']} --build-jobs 4\n"
    assert make.checkout.asked == [("refuse_changes", COMMIT), ("worktree", COMMIT)]
    assert docker.calls("build") == [f"build -q -t {make.names['labelled']} -"]
    given = (tmp_path / "given").read_text()
    assert given.startswith(f"FROM {make.names['built']}\n") and image_inputs.digest({"commit": COMMIT}) in given and "0.33.0" in given
    assert make.versions.kept == [(LABELLED, make.versions.of(ImageStore(str(docker.path)).image(make.names["built"])))]
    assert "UV_HTTP_TIMEOUT=300" in (make.checkout.tree / "Dockerfile").read_text()
    assert f"running bash {build.SCRIPT} --tag {make.names['built']}" in make.work.log().read_text()


def test_mods_are_one_more_layer_that_is_labelled(make, docker, tmp_path):
    job = make(mods=["mods/a"])
    script = make.checkout.tree / "mods/a/run.sh"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/bash\necho x > /etc/x\n")
    docker.has(make.names["built"], MADE)
    docker.has(make.names["mods"], MODDED)
    docker.has(make.names["labelled"], LABELLED)
    assert job.make({"commit": COMMIT}).id == LABELLED
    tree = make.checkout.tree
    assert docker.calls("build")[0] == f"build --progress plain -t {make.names['mods']} -f {tree}/gb10-mods.Dockerfile {tree}"
    recipe = (tree / "gb10-mods.Dockerfile").read_text()
    assert f"FROM {make.names['built']}" in recipe and "mods/a" in recipe and (tree / "gb10-mods.Dockerfile.dockerignore").read_text() == ""
    assert (tmp_path / "given").read_text().startswith(f"FROM {make.names['mods']}\n") and make.versions.kept[0][1]["of"] == "2"


@pytest.mark.parametrize(
    ("script", "tries", "cause"),
    [
        ("echo 'ERROR: it is broken.' >&2; exit 3", 1, "it is broken"),
        ("exit 3", 1, f"{build.SCRIPT} ended with status 3"),
        ("echo 'dial tcp: i/o timeout'; exit 3", 3, "i/o timeout"),
    ],
)
def test_a_build_that_fails_says_where_why_how_often_and_what_is_left(make, script, tries, cause):
    make.checkout.script(script)
    with pytest.raises(GB10Error) as caught:
        make(retries=2).make({"commit": COMMIT})
    said, details, log = str(caught.value), caught.value.details, make.work.log()
    assert (
        said.startswith("building vllm-node from spark-vllm-docker at cccccccccccc failed" + (f" after {tries} attempts: " if tries > 1 else ": "))
        and cause in said
    )
    assert said.endswith(f". Nothing was changed, vllm-node is what it was before. Full log on the box: {log}") and ".. " not in said
    assert (details["rc"], details["attempts"], details["log"]) == (3, tries, str(log)) and set(details) == {"rc", "attempts", "log", "last_lines", "log_lines"}


def test_a_build_that_makes_nothing_or_cannot_be_labelled_is_none(make, docker):
    with pytest.raises(
        GB10Error,
        match=f"of spark-vllm-docker at cccccccccccc ended without an error but made no image .*:{image_inputs.digest({'commit': COMMIT})[:16]}; see the log",
    ) as caught:
        make().make({"commit": COMMIT})
    assert caught.value.details == {"log": str(make.work.log())}
    docker.has(make.names["built"], MADE)
    docker.answer("'build '*", "echo first >&2; echo 'the last word' >&2; exit 1")
    with pytest.raises(GB10Error, match="^the image is built but could not be labelled: the last word$"):
        make().make({"commit": COMMIT})
    docker.answer("'build '*", "exit 1")
    with pytest.raises(GB10Error, match="could not be labelled: no reason given$"):
        make().make({"commit": COMMIT})
    assert make.versions.kept == []


def test_a_tree_without_the_script_or_a_docker_without_buildx_starts_nothing(make, docker, tmp_path):
    make.checkout.script("# docker build --build-context x")
    with pytest.raises(GB10Error, match="at cccccccccccc builds with docker's buildx plugin .*, which this box lacks"):
        make().make({"commit": COMMIT})
    assert docker.calls("buildx") == ["buildx version"] and not (tmp_path / "asked").exists()
    (make.checkout.tree / build.SCRIPT).unlink()
    with pytest.raises(GB10Error, match=f"at cccccccccccc has no {build.SCRIPT}, so it is not a spark-vllm-docker repository"):
        make().make({"commit": COMMIT})


# ---- a pulled image with mods of one's own, and one that is only there


def test_mods_are_laid_over_what_was_pulled(docker, tmp_path, monkeypatch):
    monkeypatch.setattr(layer, "lay", lambda tree, options, where: ["mods/mine"] if tree.is_dir() and (options.mods, where) == (["/m/mine"], "x:1") else [])
    docker.has("x:1", MADE)
    docker.answer("'pull '*", ":")
    with (work := Work(tmp_path / "build", "vllm-node-latest", 60)).alone():
        job = pull.Pull(Options(image="x:1", digest="", mods=["/m/mine"]), ImageStore(str(docker.path)), work, lambda _text: None)
        temporary, tree = build.temporary_name(work.folder), work.folder / "mods"
        docker.has(f"{temporary}:mods", MODDED)
        assert job.make().id == MODDED and not tree.exists()
        assert docker.calls("tag") == [f"tag x:1 {temporary}:pulled"]
        assert docker.calls("build") == [f"build --progress plain -t {temporary}:mods -f {tree}/gb10-mods.Dockerfile {tree}"]
        for answer, cause in (("echo 'ERROR: no room.'; exit 4", "no room"), ("exit 4", "docker build ended with status 4")):
            docker.answer("'build '*", answer)
            with pytest.raises(GB10Error) as caught:
                job.make()
            assert str(caught.value).startswith("the mods mods/mine could not be laid over x:1: ") and cause in str(caught.value)
            assert str(caught.value).endswith(f". Nothing was changed. Full log on the box: {work.log_path}") and ".." not in str(caught.value)
            assert caught.value.details["rc"] == 4 and isinstance(caught.value.details["last_lines"], list) and not tree.exists()


def test_one_that_is_there_is_shown_and_was_made_from_itself(docker, tmp_path):
    docker.has(
        "mine:1",
        MADE,
        Architecture="arm64",
        RepoDigests=["mine@sha256:1"],
        Config={"Labels": {"gb10.vllm.vllm_version": "0.31.0", "other": "x"}, "Env": ["CUDA_VERSION=13.1"]},
    )
    result = ImageBuild(Options(name="mine:1", source="existing", state_dir=str(tmp_path)), check_mode=False, defer=False, docker=str(docker.path)).run()
    result.pop("duration_s")
    metadata = {"build_metadata": {}, "vllm_version": "0.31.0", "torch_version": None, "cuda_version": "13.1"}
    assert result == {
        "changed": False, "inputs": {"source": "existing", "image": MADE}, "changed_inputs": [], "log": "",
        "progress_file": f"{tmp_path}/build/progress-mine-1.jsonl", "steps": 0,
        "deferred": False, "reason": "",
        "image": {
            "id": MADE, "name": "mine:1", "labels": {"gb10.vllm.vllm_version": "0.31.0"}, "size_bytes": 1000, "architecture": "arm64",
            "repo_digests": ["mine@sha256:1"],
            "vllm_version": "0.31.0", "torch_version": None, "cuda_version": "13.1", "metadata": metadata,
        },
    }  # fmt: skip


# ---- what the engine holds


def test_what_docker_is_asked_of_its_images(docker, tmp_path, monkeypatch):
    store = ImageStore(str(docker.path))
    docker.answer("'images -aq --no-trunc'", "echo b; echo a; echo b")
    docker.answer("'images --no-trunc -q --filter label=k=v'", "echo b; echo a")
    docker.answer("'image inspect --format {{json .RootFS.Layers}} a b'", """echo '["l1","l2"]'; echo null; echo; echo '[]'""")
    docker.answer("'info --format {{json .DriverStatus}}'", """echo '[["a","b"],["driver-type","io.containerd.snapshotter.v1"]]'""")
    docker.answer("'info --format {{.DockerRootDir}}'", f"echo {tmp_path}")
    assert (store.ids(), store.labelled("k", "v"), store.layers_held(), store.kind(), store.root_dir()) == (
        ["a", "b"],
        ["b", "a"],
        [["l1", "l2"], []],
        "containerd",
        str(tmp_path),
    )
    held = tmp_path / "containerd/daemon/io.containerd.content.v1.content/blobs/sha256"
    held.mkdir(parents=True)
    (held / "blob").touch()
    monkeypatch.setattr(image_store, "_CONTENT", ("/nowhere", image_store._CONTENT[1]))
    assert store.content() == {"blob"}
    docker.answer("'info '*", "echo null")
    assert store.kind() == "classic"
    docker.answer("'info '*|'images '*", ":")
    assert (store.kind(), store.root_dir(), store.ids(), store.layers_held()) == ("classic", "/var/lib/docker", [], [])


def test_what_is_in_use_and_what_could_be_freed(docker):
    store = ImageStore(str(docker.path))
    assert store.used() == set()
    docker.answer("'ps -aq --no-trunc'", "echo one; echo two")
    docker.answer("'inspect --format {{.Image}} one two'", "echo i; echo j; echo i")
    assert store.used() == {"i", "j"}
    docker.answer("'system df --format {{.Type}}|{{.Reclaimable}}'", "echo 'Images|7GB (3%)'; echo 'Build Cache|2GB'; echo odd")
    assert store.room_to_free() == "docker builder prune --filter until=72h (build cache, up to 2GB), docker image prune (unused images, up to 7GB (3%))."
    docker.answer("'system '*", "exit 1")
    assert store.room_to_free() == "docker builder prune --filter until=72h (build cache, up to some), docker image prune (unused images, up to some)."


# ---- the time it has


def test_the_time_is_over_only_when_it_is_and_a_failure_is_repeated_with_doubled_pauses(tmp_path, monkeypatch):
    work = Work(tmp_path / "build", "n", 60)
    work.started = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: work.started + 60)
    work.check_time()
    monkeypatch.setattr("time.monotonic", lambda: work.started + 60.5)
    for path, log in ((None, ""), (Path("/l"), "/l")):
        work.log_path = path
        with pytest.raises(GB10Error, match="the image was not ready after 60 s \\(timeout_s\\)") as caught:
            work.check_time()
        assert caught.value.details == {"log": log}
    waits, notes = [], []
    monkeypatch.setattr(work, "_wait", lambda *given: waits.append(given))
    monkeypatch.setattr(work, "note", notes.append)
    log = "ERROR: i/o timeout"
    assert work.tried(lambda: (1, log), 3, 5.0, lambda text: text == log) == (1, log, 4)
    assert [one[0] for one in waits] == [5.0, 10.0, 20.0] and waits[0][1].endswith("; attempt 2 of 4 follows")
    assert notes[1].startswith("attempt 2 of 4 failed: the network failed (") and notes[1].endswith("; trying again in 10 s")
    assert work.tried(lambda: (1, log), 3, 5.0, lambda _text: False) == (1, log, 1) and work.tried(lambda: (0, ""), 3, 5.0, lambda _text: True) == (0, "", 1)
    assert work.tried(lambda: (1, log), 0, 5.0, lambda _text: True) == (1, log, 1) and len(waits) == 3
