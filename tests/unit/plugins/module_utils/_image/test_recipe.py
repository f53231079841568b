# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our options in the words of the script's versions. The help texts have the flags of the real ones, told in our words."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.recipe import Wanted, parse_help, read_offer, translate

COMMON = """\
Usage: build-and-copy.sh [OPTIONS]
  -t, --tag <tag>           : name of the image
  --rebuild-vllm            : vLLM anew
  --vllm-ref <ref>          : commit of vLLM
  -c, --copy-to <hosts>     : hosts
  -j, --build-jobs <jobs>   : compile jobs
  -h, --help                : this text
"""
JANUARY = (
    COMMON
    + """\
  --rebuild-deps            : dependencies anew
  --use-wheels [mode]       : finished vLLM, 'nightly' (default) or 'release'
  --pre-tf, --pre-transformers : Transformers 5
"""
)
MARCH = (
    COMMON
    + """\
  --rebuild-flashinfer          : FlashInfer anew
  --tf5                         : Transformers 5 (aliases: --pre-tf, --pre-transformers)
  --full-log                    : all output
"""
)
AUGUST = (
    COMMON
    + """\
  --use-wheels                  : runner from finished wheels only
  --rebuild-flashinfer          : FlashInfer anew
  --force-vllm-download         : download again
  --force-flashinfer-download   : download again
  --tf5                         : Deprecated, does nothing (aliases: --pre-tf, --pre-transformers)
  --apply-flashinfer-pr <pr-num>: a patch
  --full-log                    : all output
  --network <network>           : for the build
"""
)
MARCH_SCRIPT = 'VLLM_RELEASE_TAG="prebuilt-vllm-current"'


def said(help_text, script="", **wanted):
    return translate(Wanted(**wanted), read_offer(help_text, script), "t")[2:]


@pytest.mark.parametrize(
    "help_text, script, offered",
    [
        (JANUARY, "", ("release", "nightly", "none")),
        (JANUARY, 'read -p "!!! Wheels build is known not to work" choice', ("none",)),
        (MARCH, "", ("none",)),
        (MARCH, MARCH_SCRIPT, ("prebuilt", "none")),
        (AUGUST, MARCH_SCRIPT, ("prebuilt", "none")),
    ],
)
def test_what_each_version_offers(help_text, script, offered):
    assert read_offer(help_text, script).wheels == offered


@pytest.mark.parametrize(
    "help_text, script, wanted, arguments",
    [
        (JANUARY, "", {}, ["--use-wheels", "release"]),
        (JANUARY, "", {"wheels": "nightly"}, ["--use-wheels", "nightly"]),
        (JANUARY, "", {"wheels": "none"}, []),
        (JANUARY, "", {"wheels": "none", "vllm_ref": "v1", "jobs": 4}, ["--vllm-ref", "v1", "--build-jobs", "4"]),
        (JANUARY, "", {"vllm_ref": "v1"}, ["--vllm-ref", "v1"]),
        (JANUARY, "", {"transformers": "pre"}, ["--use-wheels", "release", "--pre-tf"]),
        (JANUARY, "", {"rebuild": ("all",)}, ["--use-wheels", "release", "--rebuild-vllm", "--rebuild-deps"]),
        (MARCH, "", {}, ["--full-log"]),
        (MARCH, MARCH_SCRIPT, {}, ["--full-log"]),
        (MARCH, MARCH_SCRIPT, {"wheels": "none"}, ["--rebuild-vllm", "--full-log"]),
        (MARCH, MARCH_SCRIPT, {"transformers": "pre"}, ["--tf5", "--full-log"]),
        (AUGUST, "", {}, ["--use-wheels", "--full-log"]),
        (AUGUST, "", {"wheels": "none"}, ["--rebuild-vllm", "--full-log"]),
        (AUGUST, "", {"wheels": "none", "vllm_ref": "v1"}, ["--vllm-ref", "v1", "--full-log"]),
        (AUGUST, "", {"rebuild": ("vllm",)}, ["--use-wheels", "--force-vllm-download", "--full-log"]),
        (AUGUST, "", {"wheels": "none", "rebuild": ("flashinfer",)}, ["--rebuild-flashinfer", "--rebuild-vllm", "--full-log"]),
        (AUGUST, "", {"arguments": ("--network", "host")}, ["--use-wheels", "--full-log", "--network", "host"]),
    ],
)
def test_translation(help_text, script, wanted, arguments):
    assert said(help_text, script, **wanted) == arguments


@pytest.mark.parametrize(
    "help_text, wanted, sentence",
    [
        (JANUARY, {"wheels": "prebuilt"}, "offers release, nightly, none.*2026-03-04"),
        (AUGUST, {"wheels": "release"}, "offers prebuilt, none.*74c02c37"),
        (AUGUST, {"wheels": "nightly"}, "offers prebuilt, none"),
        (MARCH, {"wheels": "prebuilt"}, "offers none"),
        (JANUARY, {"wheels": "release", "vllm_ref": "v1"}, "set wheels to none"),
        (JANUARY, {"rebuild": ("flashinfer",)}, "no --rebuild-flashinfer flag.*2026-02-17"),
        (AUGUST, {"rebuild": ("deps",)}, "no --rebuild-deps flag"),
        (AUGUST, {"transformers": "pre"}, "has Transformers 5 already"),
        (JANUARY, {"arguments": ("--network", "host")}, "has no --network flag"),
        (AUGUST, {"arguments": ("--copy-to", "a")}, "may not hold --copy-to"),
        (AUGUST, {"arguments": ("host",)}, "must begin with a flag"),
    ],
)
def test_what_a_version_lacks_is_refused(help_text, wanted, sentence):
    with pytest.raises(GB10Error, match=sentence):
        said(help_text, **wanted)


def test_another_script_is_refused():
    with pytest.raises(GB10Error, match="not spark-vllm-docker's build script"):
        read_offer("usage: make [target]\n  --silent : quiet\n")


def test_help_lines_without_a_blank_before_the_colon():
    flags = parse_help(AUGUST)
    assert flags["--apply-flashinfer-pr"].takes == "required"
    assert flags["--use-wheels"].takes == "none"
    assert flags["--pre-tf"].text.startswith("Deprecated")
    assert parse_help(JANUARY)["--use-wheels"].takes == "optional"


class TestOtherBuilds:
    OFFER = AUGUST + "  --exp-b12x, --experimental-b12x : B12X\n  --exp-mxfp4 : MXFP4\n  --apply-vllm-pr <pr-or-url> : a patch\n"

    def test_a_preset_is_never_built_from_the_projects_wheels(self):
        assert said(self.OFFER, wheels="auto", arguments=("--exp-b12x",)) == ["--rebuild-vllm", "--full-log", "--exp-b12x"]
        assert said(self.OFFER, wheels="none", arguments=("--exp-mxfp4",)) == ["--full-log", "--exp-mxfp4"]

    def test_a_pull_request_is_named_with_its_checksum_and_compiled(self):
        assert said(self.OFFER, vllm_prs=("634", "7")) == ["--rebuild-vllm", "--apply-vllm-pr", "634", "--apply-vllm-pr", "7", "--full-log"]
        with pytest.raises(GB10Error, match="vllm_prs change vLLM's source"):
            said(self.OFFER, vllm_prs=("634",), wheels="prebuilt")
        with pytest.raises(GB10Error, match="has no --apply-vllm-pr flag"):
            said(AUGUST, vllm_prs=("634",))
        with pytest.raises(GB10Error, match="with the checksum of its diff"):
            said(self.OFFER, arguments=("--apply-vllm-pr", "634"))
