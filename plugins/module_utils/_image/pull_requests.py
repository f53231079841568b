# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull requests of vLLM in a build: each by the SHA-256 of its diff, which the Dockerfile checks before it applies it. Pure.

A pull request is whatever its author pushed last; the script takes its number and nothing else. What is checked is the file the Dockerfile itself makes
(``git diff --binary BASE PR``), between making and applying it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.dockerfile import parse

FLAG = "--apply-vllm-pr"
_REFERENCE = re.compile(r"[1-9][0-9]{0,6}|https://github\.com/[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*/pull/[1-9][0-9]{0,6}")
_SUM = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_MADE = re.compile(r'^([ \t]*)git diff --binary [^\n;]*>[ \t]*"?\$\{?patch_file\}?"?;[ \t]*\\\n', re.MULTILINE)


def checked(given: Mapping[str, str]) -> dict[str, str]:
    """{number or address: SHA-256 in hex}; GB10Error for a pull request without a checksum and for what is none."""
    found = {}
    for reference, said in given.items():
        if not _REFERENCE.fullmatch(str(reference)):
            raise GB10Error(f"vllm_prs holds {str(reference)[:60]!r}: name a pull request by its number or https://github.com/OWNER/NAME/pull/NUMBER")
        digest = _SUM.fullmatch(str(said or "").strip().lower())
        if not digest:
            raise GB10Error(
                f"vllm_prs: pull request {reference} has no checksum, and its author may push another change at any time; look at its diff and give its "
                f"SHA-256 ({{{reference}: sha256:...}}, 64 hexadecimal digits; docs/image.md says how it is made)"
            )
        found[str(reference)] = digest[1]
    return found


def guarded(text: str, sums: Mapping[str, str], name: str) -> str:
    """A Dockerfile that ends the build where the diff of a pull request has another sum. GB10Error where it does not make such a file."""
    segments, done = parse(text), 0
    for segment in segments:
        if segment.keyword == "RUN" and "VLLM_PRS" in segment.raw and "FLASHINFER_PRS" not in segment.raw:
            segment.raw, count = _MADE.subn(lambda found: found[0] + _lines(sums, found[1]), segment.raw)
            done += count
    if not done:
        raise GB10Error(
            f"{name} applies pull requests of vLLM in a way that cannot be checked; leave vllm_prs out, or use a ref of spark-vllm-docker that writes the diff "
            "into a file first (August 2026)"
        )
    return "".join(segment.raw for segment in segments)


def _lines(sums: Mapping[str, str], indent: str) -> str:
    cases = " ".join(f"{reference}) expected={digest};;" for reference, digest in sorted(sums.items()))
    lines = [
        f'case "$pr" in {cases} *) expected=nothing;; esac; \\',
        'actual="$(sha256sum < "$patch_file" | cut -c 1-64)"; \\',
        'if [ "$actual" != "$expected" ]; then \\',
        '    echo "ERROR: the diff of vLLM pull request $pr has the SHA-256 $actual and not $expected"; exit 1; \\',
        "fi; \\",
    ]
    return "".join(f"{indent}{line}\n" for line in lines)
