# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bundle says of itself, and when it is not believed."""

from __future__ import annotations

import hashlib
import json

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils import _bundle as bundle
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters.bundle import bundle_refusal


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "models/acme--m/sub").mkdir(parents=True)
    (tmp_path / "image.tar").write_bytes(b"image")
    (tmp_path / "models/acme--m/model.safetensors").write_bytes(b"weights")
    (tmp_path / "models/acme--m/sub/config.json").write_bytes(b"{}")
    bundle.write_manifest(str(tmp_path), {"image": {"name": "vllm-node"}, "models": bundle.models([{"model": "acme/m", "revision": "r"}] * 2)})
    return tmp_path


def test_a_whole_bundle_is_believed(directory):
    manifest = bundle.read_manifest(str(directory), contents=True)
    assert manifest["models"] == [{"model": "acme/m", "repo_id": None, "revision": "r", "directory": "models/acme--m"}]
    assert set(bundle.model_sums(manifest, "models/acme--m")) == {"model.safetensors", "sub/config.json"}
    assert len((directory / "SHA256SUMS").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda root: (root / "image.tar").unlink(), "lacks image.tar; copy it again"),
        (lambda root: (root / "image.tar").write_bytes(b"imag"), "has 4 bytes instead of 5"),
        (lambda root: (root / "image.tar").write_bytes(b"imagE"), "image.tar is damaged"),
        (lambda root: (root / "manifest.json").write_text('{"format": 9}'), "has format 9; this version of gb10.vllm reads format 1"),
        (lambda root: (root / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda root: (root / "manifest.json").unlink(), "is not a bundle"),
    ],
)
def test_a_broken_bundle_is_told(directory, break_it, text):
    break_it(directory)
    with pytest.raises(GB10Error, match=text):
        bundle.read_manifest(str(directory), contents=True)


@pytest.mark.parametrize("linked", ["image.tar", "models/acme--m/sub"])
def test_a_link_that_leads_out_of_a_bundle_is_refused(directory, tmp_path_factory, linked):
    """Whoever made it could have the controller send its own files to the boxes."""
    elsewhere = tmp_path_factory.mktemp("home") / "private"
    (directory / linked).rename(elsewhere)
    (directory / linked).symlink_to(elsewhere)
    with pytest.raises(GB10Error, match="a link that leads out of the bundle, which is not followed"):
        bundle.read_manifest(str(directory))


def test_settings_are_written_of_texts_that_ansible_has_tagged():
    class Tagged(str):
        """As ansible-core 2.19 and newer hand texts of templates to plugins."""

    written = bundle.settings_text({"name": Tagged("vllm-node"), "sha256": Tagged("ab")}, [{"model": Tagged("m")}])
    assert yaml.safe_load(written)["gb10_image"]["name"] == "vllm-node"


def test_settings_install_from_the_bundle():
    settings = yaml.safe_load(bundle.settings_text({"name": "vllm-node", "sha256": "ab"}, [{"model": "m"}]))
    assert settings["gb10_image"] == {
        "name": "vllm-node", "source": "archive", "archive_on": "controller", "archive": "{{ gb10_bundle }}/image.tar", "checksum": "sha256:ab",
    }  # fmt: skip


def test_a_model_of_any_name_gets_one_directory():
    assert bundle.safe_directory("/srv/models/x") == "models/srv--models--x" and bundle.safe_directory("acme/m") == "models/acme--m"


def test_a_bare_checkout_is_no_installed_collection(tmp_path):
    with pytest.raises(GB10Error, match="is not an installed collection"):
        bundle.pack_collection(str(tmp_path), str(tmp_path))


def test_files_a_package_left_out_are_left_out_of_the_list(tmp_path):
    files = [{"name": "."}, {"name": "README.md"}, {"name": ".azure-pipelines"}]
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "FILES.json").write_text(json.dumps({"files": files}))
    info = {"namespace": "a", "name": "b", "version": "1.0.0"}
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"collection_info": info, "file_manifest_file": {"chksum_sha256": "old"}}))
    (tmp_path / "out").mkdir()
    archive = bundle.pack_collection(str(tmp_path), str(tmp_path / "out"))
    with bundle.tarfile.open(archive) as stream:
        assert sorted(stream.getnames()) == ["FILES.json", "MANIFEST.json", "README.md"]


def test_the_record_of_a_model_is_made_anew_where_it_arrives(directory):
    model = directory / "models/acme--m"
    (model / bundle.RECORD).write_text(json.dumps({"repo_id": "acme/m", "files": {}}))
    manifest = bundle.write_manifest(str(directory), {})
    assert f"models/acme--m/{bundle.RECORD}" in manifest["files"]
    assert set(bundle.model_sums(manifest, "models/acme--m")) == {"model.safetensors", "sub/config.json"}


def test_a_recorded_sum_counts_only_for_a_file_of_the_recorded_size(directory):
    model = directory / "models/acme--m"
    for size, digest in ((7, "f" * 64), (8, hashlib.sha256(b"weights").hexdigest())):
        (model / bundle.RECORD).write_text(json.dumps({"files": {"model.safetensors": {"size": size, "sha256": "f" * 64}}}))
        assert bundle.write_manifest(str(directory), {})["files"]["models/acme--m/model.safetensors"]["sha256"] == digest


def test_a_bundle_of_several_images_is_refused_before_anything_is_built():
    def box(*own, name="vllm-node", ref=""):
        return {"preflight_images": {"wanted": [{"name": name, "ref": ref}], "servers": {}, "own": list(own)}}

    assert bundle_refusal(["a", "b"], {"a": box(), "b": box()}) == bundle_refusal(["a"], {"a": {}}) == ""
    assert "and server second of b has an image of its own: write it for" in bundle_refusal(["a", "b"], {"a": box(), "b": box("second")})
    assert "these boxes have several (vllm-node, other)" in bundle_refusal(["a", "b"], {"a": box(), "b": box(name="other", ref="main")})
