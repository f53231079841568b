# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role and the action over real playbooks: progress, check mode, failure, second run. The box is this machine."""

from __future__ import annotations

import json
import os

import pytest
from playbook import LOCAL, play
from recipe import BASE, Recipe, docker
from sample import every

PLAYBOOK = """
- hosts: boxes
  gather_facts: false
  roles: [gb10.vllm.image]
  post_tasks:
    - ansible.builtin.copy:
        content: "{{ image_result | to_json }}"
        dest: "{{ gb10_state_dir }}/../result.json"
        mode: "0644"
      when: not ansible_check_mode
      changed_when: false
"""


@pytest.fixture
def site(tmp_path):
    recipe = Recipe(tmp_path)
    recipe.write(f"FROM {BASE}\nARG CACHEBUST_VLLM=1\nRUN echo working; sleep 3 # {recipe.name}\n")
    recipe.checkout.rename(tmp_path / "unused")  # the role clones itself
    (tmp_path / "hosts.yml").write_text(f"boxes: {{hosts: {{spark-01: {{{LOCAL}}}}}}}\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    recipe.folder = tmp_path
    yield recipe
    recipe.remove()


def run(recipe, *arguments, image=None, **variables):
    """The role with the recipe's image; ``image`` changes gb10_image, other keywords are variables."""
    image = image or {}
    ref = image.get("ref") or recipe.git("rev-parse", "HEAD")
    wanted = {"name": recipe.name, "repository": str(recipe.source), "ref": ref, **image}
    given = {"gb10_state_dir": str(recipe.state), "gb10_least_free_gib": {"docker": 0}, "gb10_image": wanted, **variables}
    path = os.path.dirname(recipe.docker) + os.pathsep + os.environ["PATH"]
    return play("play.yml", "-i", "hosts.yml", "-e", json.dumps(given), *arguments, cwd=recipe.folder, PATH=path)


def words(text: str) -> str:
    return " ".join(text.split())


def test_build_then_nothing_then_a_change(site):
    checked = run(site, "--check", "--diff")
    # The directory above the recipe, which others could enter here, the recipe and the image.
    assert checked.returncode == 0 and "changed=3" in checked.stdout, checked.stdout
    assert site.names() == [] and not site.checkout.exists()
    assert '"uv_http_timeout_s": 300' in checked.stdout or "uv_http_timeout_s: 300" in checked.stdout

    first = run(site)
    assert first.returncode == 0, first.stdout
    assert f"spark-01: image: image {site.name}:latest is not there; starting" in first.stdout
    assert f"spark-01: image: {site.name}:latest ready in " in first.stdout
    assert site.leftovers() == []

    ref = site.git("rev-parse", "HEAD")
    site.source.rename(site.source.with_name("gone"))  # a pinned commit that is there asks nobody
    second = run(site, image={"ref": ref})
    site.source.with_name("gone").rename(site.source)
    assert "changed=0" in second.stdout and "starting" not in second.stdout, second.stdout

    third = run(site, gb10_uv_http_timeout_s=900)
    assert "inputs changed: uv_http_timeout_s (300 -> 900); starting" in third.stdout
    result = json.loads((site.folder / "result.json").read_text())
    assert result["image"]["labels"]["gb10.vllm.uv_http_timeout_s"] == "900"
    assert "ansible_job_id" not in result


def test_a_failure_is_one_message_with_the_last_lines_and_the_log(site):
    site.write(f"FROM {BASE}\nRUN echo 'write /var/lib/docker/tmp/x: no space left on device' >&2; exit 1\n")
    done = run(site)
    assert done.returncode == 2
    text = words(done.stdout)
    assert f"spark-01: building {site.name}:latest from spark-vllm-docker at" in text
    assert "no space left on device" in text and "Full log on the box:" in text
    assert "Why: The disk is full" in text and "docker builder prune" in text
    assert "Traceback" not in text
    assert site.leftovers() == []


@pytest.mark.parametrize(
    "image, sentence",
    every(
        2,
        [
            ({"ref": "0" * 40}, "reference is not a tree"),
            ({"ref": "no-such-branch"}, "could not be checked out of"),
            ({"repository": "/nonexistent/repo.git"}, "/nonexistent/repo.git"),
            ({"repository": "https://user:secret@127.0.0.1:9/repo.git"}, "https://127.0.0.1:9/repo.git"),
            ({"reff": "main"}, "gb10_image.reff. Supported parameters include"),
            ({"wheels": "prebuilt"}, "cannot build with wheels=prebuilt: it offers release, nightly, none"),
            ({"source": "archive", "archive": "/nonexistent.tar"}, "/nonexistent.tar cannot be read on this box"),
            ({"source": "archive", "archive": "/nonexistent.tar", "archive_on": "controller"}, "/nonexistent.tar cannot be read on the controller"),
            ({"source": "existing"}, "is not on this box, and source=existing"),
        ],
    ),
)
def test_bad_input_is_one_clear_sentence(site, image, sentence):
    done = run(site, image=image)
    assert done.returncode == 2
    assert sentence in words(done.stdout), done.stdout
    assert site.names() == []


def test_an_archive_on_the_controller(site):
    archive = site.folder / "image.tar"
    docker("save", "-o", str(archive), BASE)
    image = {"source": "archive", "archive": str(archive), "archive_on": "controller"}
    assert "changed=1" in run(site, "--check", image=image).stdout
    assert site.names() == []
    first = run(site, image=image)
    assert first.returncode == 0, first.stdout
    assert "copying image.tar" in first.stdout
    assert docker("image", "inspect", "--format", "{{.Id}}", site.name) == docker("image", "inspect", "--format", "{{.Id}}", BASE)
    assert list(site.state.rglob("*.tar")) == []
    second = run(site, image=image)
    assert "changed=0" in second.stdout, second.stdout
