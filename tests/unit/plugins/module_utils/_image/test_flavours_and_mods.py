# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds that people use as one word, pull requests by their checksum, mods as layers: what is said before anything is built."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import mods, pull_requests
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.flavours import FLAVOURS, image_settings
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.wanted import image_mistakes

ROOT = Path(__file__).resolve().parents[5]
SUM = "a" * 64
DOCKERFILE = """\
FROM base AS vllm-builder
ARG VLLM_PRS=""
RUN set -eux; \\
    for pr in $VLLM_PRS; do \\
        patch_file="{folder}/pr-${{pr}}.patch"; \\
        git diff --binary "$pr_base" "pr-${{pr}}" > "$patch_file"; \\
        echo "applied $pr"; \\
    done
RUN for pr in $FLASHINFER_PRS; do git diff --binary a b > "$patch_file"; \\
    true; done
"""


def test_a_word_stands_for_settings_and_what_is_said_beside_it_wins():
    assert image_settings({"flavour": "b12x", "name": "x", "jobs": None}) == {"wheels": "none", "arguments": ["--exp-b12x"], "name": "x"}
    assert image_settings({"flavour": "release", "ref": "main"})["ref"] == "main"
    assert image_settings({"flavour": "mxfp4", "arguments": ["--network", "host"]})["arguments"] == ["--exp-mxfp4", "--network", "host"]
    assert image_settings({"source": "existing"}) == {"source": "existing"} and image_settings({"flavour": ""}) == {}
    assert all(image_mistakes({"flavour": word}) == [] for word in FLAVOURS)
    with pytest.raises(GB10Error, match="gb10_image.flavour is 'fast'; use one of wheels, source"):
        image_settings({"flavour": "fast"})


@pytest.mark.parametrize(
    "image, said",
    [
        ({"flavour": "fast"}, "gb10_image.flavour is 'fast'"),
        ({"vllm_prs": {40991: ""}}, "pull request 40991 has no checksum"),
        ({"vllm_prs": {40991: "sha256:12"}}, "pull request 40991 has no checksum"),
        ({"vllm_prs": {"../x": SUM}}, "name a pull request by its number"),
        ({"vllm_prs": [40991]}, "vllm_prs"),
        ({"arguments": ["--apply-vllm-pr", "1"]}, "with the checksum of its diff"),
        ({"mods": ["../../etc"]}, "no mod of the project"),
        ({"mods": ["mods/a; rm"]}, "no mod of the project"),
        ({"flavour": "prebuilt", "mods": ["mods/a"]}, "needs an image that is built here"),
    ],
)
def test_what_would_only_be_found_out_in_the_build_is_one_sentence(image, said):
    (sentence,) = image_mistakes(image)
    assert said in sentence and sentence.startswith("gb10_image.") and sentence.endswith(".")


def test_the_page_has_every_flavour_with_its_settings_and_the_role_takes_no_other():
    page = (ROOT / "docs/image.md").read_text()
    for word, flavour in FLAVOURS.items():
        said = ", ".join(f"`{key}: {value if not isinstance(value, list) else '[' + ','.join(value) + ']'}`" for key, value in flavour.settings.items())
        assert f"| `{word}` | {said} | {flavour.what} |" in page
    specs = yaml.safe_load((ROOT / "roles/image/meta/argument_specs.yml").read_text())
    assert specs["argument_specs"]["main"]["options"]["gb10_image"]["options"]["flavour"]["choices"] == list(FLAVOURS)


def test_pull_requests_have_checksums():
    assert pull_requests.checked({40991: f"sha256:{SUM.upper()}", "https://github.com/a/b/pull/3": SUM}) == {"40991": SUM, "https://github.com/a/b/pull/3": SUM}


@pytest.mark.parametrize("good", [True, False])
def test_a_diff_with_another_sum_ends_the_build_before_it_is_applied(tmp_path, good):
    """The RUN of the Dockerfile as a shell runs it, with a git that writes a known diff."""
    digest = hashlib.sha256(b"the diff\n").hexdigest() if good else SUM
    made = pull_requests.guarded(DOCKERFILE.format(folder=tmp_path), {"7": digest}, "Dockerfile")
    assert made.count("expected") == 4 and "FLASHINFER_PRS; do git diff --binary a b" in made
    lines = made.partition("RUN ")[2].partition("\nRUN ")[0]
    (tmp_path / "git").write_text("#!/bin/sh\necho the diff\n")
    (tmp_path / "git").chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", lines], env={"PATH": f"{tmp_path}:/usr/bin:/bin", "VLLM_PRS": "7", "pr_base": "x"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == good and ("applied 7" in done.stdout) == good
    assert good or f"has the SHA-256 {hashlib.sha256(b'the diff' + chr(10).encode()).hexdigest()} and not {SUM}" in done.stdout
    done = subprocess.run(
        ["sh", "-c", lines], env={"PATH": f"{tmp_path}:/usr/bin:/bin", "VLLM_PRS": "8", "pr_base": "x"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "and not nothing" in done.stdout, "one that nobody gave a sum of"


def test_a_dockerfile_that_cannot_be_checked_is_refused():
    with pytest.raises(GB10Error, match="in a way that cannot be checked"):
        pull_requests.guarded("FROM a\nARG VLLM_PRS\nRUN curl x | git apply\n", {"7": SUM}, "Dockerfile of here")


@pytest.mark.parametrize(
    "script, why",
    [
        ("sed -i s/a/b/ x\n", ""),
        ("python3 - <<'PY'\nprint('a & b')\nPY\n", ""),
        ("# echo 3 > /proc/sys/vm/drop_caches\ntrue\n", ""),
        ("a && b\nc 2>&1\nd &>/dev/null\n", ""),
        ("echo 3 > /proc/sys/vm/drop_caches\n", "privilege"),
        ("sysctl -w vm.x=1\n", "privilege"),
        ("nohup x &\n", "goes on beside the server"),
        ("while true; do sleep 1; done &\n", "goes on beside the server"),
    ],
)
def test_what_no_layer_can_do_is_seen_in_a_mod(script, why):
    assert why in mods.against(script) and bool(why) == bool(mods.against(script))


def test_mods_become_layers_in_their_order():
    assert mods.names(["mods/b", "a", "mods/b/"]) == ["mods/b", "mods/a"]
    assert mods.dockerfile("x:1", ["mods/b"]) == (
        'FROM x:1\nCOPY mods/b /workspace/mods/b\nRUN export WORKSPACE_DIR="$PWD" && cd /workspace/mods/b && chmod +x run.sh && ./run.sh\n'
    )
