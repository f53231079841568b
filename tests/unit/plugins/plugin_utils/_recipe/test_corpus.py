# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every public recipe, from the facts that are kept of it; and what becomes of recipes that somebody damaged."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import recipe_corpus
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.flags import normalise_args
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import wanted
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import report
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import TEMPLATE, imported
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.words import Shell, words
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[5]
CORPUS = recipe_corpus.corpus()
TEXTS = [recipe_corpus.text_of(one) for one in CORPUS]


def test_the_table_of_the_docs_is_what_the_corpus_comes_to():
    done = subprocess.run([sys.executable, ROOT / "tests" / "corpus", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_page_says_that_a_server_over_several_boxes_is_only_planned():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("roles/*/README.md")]:
        text = " ".join(page.read_text().split())
        for stale in ("planned only, see", "planned and not deployed", "not deployed in this release"):
            assert stale not in text, f"{page.name} says {stale!r}, and docs/groups.md says how it is served"


def test_there_is_much_of_both_formats():
    versions = [one["fields"]["recipe_version"] for one in CORPUS]
    assert versions.count("1") >= 35 and versions.count("2") >= 35


@pytest.mark.parametrize("one", CORPUS, ids=[one["path"] for one in CORPUS])
def test_a_recipe_is_a_server_that_the_rest_takes_or_says_which_line_is_none(one):
    document, found = recipe_corpus.judged(one)
    named = {row.field.partition(".")[0] for row in found.rows}
    assert set(one["fields"]) | set(one["prose"]) <= named | {"command", "env", "mods", "build_args"}, "a field of which nothing is said"
    flags = [word for word in one["words"] if word.startswith("-")]
    assert found.refused() or len([row for row in found.rows if row.field.startswith("command -")]) == len(flags), "an argument of which nothing is said"
    for row in found.refused():
        assert row.why and row.line > 0
    if not found.server:
        assert found.refused()
        return
    entry = report.entry(found, report.server_name(one["path"]))
    (server,) = wanted.normalise([entry], "/srv/models")
    assert server["model"] == one["fields"]["model"]
    assert normalise_args(entry.get("args"), "x") == entry.get("args", {})
    assert json.loads(json.dumps(entry)) == entry
    assert report.text(found, document) and report.inventory(found, entry["name"], document)


SIGNS = [
    "'",
    '"',
    "{",
    "}",
    "{{",
    "}}",
    "$",
    "`",
    ";",
    "|",
    "&",
    "\\",
    "\n",
    "#",
    ": ",
    "- ",
    "\t",
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "é",
    "\0",
    "0x",
    "~",
]


@st.composite
def damaged(draw):
    text = draw(st.sampled_from(TEXTS))
    for _time in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from([0, 0, 1, 3, 40]))
        text = text[:at] + draw(st.one_of(st.sampled_from(SIGNS), st.text(max_size=6), st.just(""))) + text[at + length :]
    return text


@settings(max_examples=250, deadline=None)
@given(damaged())
def test_whatever_is_damaged_ends_in_a_sentence_or_a_server(text):
    try:
        document = read(text, "damaged.yaml")
    except GB10Error as error:
        assert str(error).startswith("Recipe damaged.yaml") and "\n" not in str(error) and "Traceback" not in str(error)
        return
    found = imported(document)
    assert found.server or found.refused()
    assert not TEMPLATE.search(json.dumps(found.server).replace('{"', "").replace("{}", "")), "Ansible would run it"
    assert report.text(found, document)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from([*SIGNS, "vllm", " serve", "--port 1", "{}", "''", " \\\n", "a b"]), st.text(max_size=4)), max_size=8).map("".join))
def test_words_are_those_of_a_shell_or_refused(text):
    try:
        found = words(text)
    except Shell:
        return
    if any(word.bare for word in found) or "#" in text or "\r" in text or "\\" in text:
        return  # taken as it was meant, a comment, or a line that goes on: `shlex` knows none of them
    assert [word.text for word in found] == shlex.split(text.partition("\n")[0] if not text.strip().startswith("\n") and text.split("\n")[0].strip() else text)
