# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs hold what strangers sent to a server: no expression of ours, and none of a user's that was accepted, runs for long on any of it."""

from __future__ import annotations

import functools
import importlib
import random
import re
import time

import known_failures
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import lines
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, expressions, files, knowledge
from hostile_text import hostile_lines, megabyte, seconds
from sample import every

MEGABYTE = 1_000_000
LIMIT_S = 0.05
"""Of a process, for a line as long as any that is looked at, which a megabyte in one line is, too."""
MEGABYTE_S = 3.0
"""For a true megabyte of the worst lines, each as long as that."""
ROOM = "ansible_collections.gb10.vllm.plugins."


@functools.cache
def known():
    return known_failures.known()


@pytest.mark.parametrize("part", range(8))
def test_every_signature_ends_soon_on_a_hostile_megabyte(part):
    """One line of what each signature's own parts match, as long as anything sees of a megabyte: the next test."""
    slow = {}
    for entry in every(2, known()[part::8], part):
        for text in hostile_lines(entry.signature.pattern, entry.example, lines.LONGEST_LINE):
            if seconds(entry.signature.compiled, text) > LIMIT_S and (took := min(seconds(entry.signature.compiled, text) for _again in range(3))) > LIMIT_S:
                slow[entry.id] = (took, text[:60])
    assert not slow


def test_a_megabyte_in_one_line_costs_what_eight_kilobytes_do():
    began = time.process_time()
    assert [len(one) for one in lines.clean_lines("x" * MEGABYTE)] == [lines.LONGEST_LINE]
    assert [len(lines.clean_line(one * MEGABYTE)) <= lines.LONGEST_LINE for one in ("(a_", "\x1b[", "> ", "[1,1]<stdout>:", "(a ", "a.b ")]
    assert time.process_time() - began < 1


# Some took minutes for one of these lines, some for a megabyte of them: a class without a line break, a window of lines that each word opened anew.
WERE_SLOW = [
    "KB-404", "GB-422", "GB-222", "GB-418", "GB-612", "GB-641", "KB-022", "KB-132", "GB-416", "GB-705", "GB-709", "GB-735", "GB-741", "GB-749", "GB-779",
    "GB-854", "GB-888",
]  # fmt: skip


@pytest.mark.parametrize("part", range(3))
def test_a_megabyte_of_hostile_lines_costs_no_more_than_their_number(part):
    """The cost grows with the log and no faster. All signatures: tests/security/redos.py."""
    sample = [*WERE_SLOW, *(entry.id for entry in random.Random(11).sample(known(), 6))]
    slow = {}
    for entry in (one for one in known() if one.id in sample[part::3]):
        for _line_s, took, text in megabyte(entry.signature.compiled, entry.example, lines.LONGEST_LINE):
            if took > MEGABYTE_S:
                slow[entry.id] = (took, text)
    assert not slow


@pytest.mark.parametrize(
    ("signature", "word"),
    [
        ("GB-705", "/clip.py"), ("GB-709", "SIGSEGV"), ("GB-741", "It took 1 seconds to fall asleep"), ("GB-735", "mem_get_info"),
        ("GB-749", "NCCL INFO NET/Socket : Using br-"), ("GB-997", "setuptools_scm"), ("KB-132", "Capturing CUDA graphs (mixed p"),
        ("GB-214", "ModuleNotFoundError: No module named '"), ("GB-331", "PermissionError: [Errno 13] Permission denied: '"),
    ],
)  # fmt: skip
def test_the_beginning_of_a_signature_over_and_over_in_a_megabyte_of_lines(signature, word):
    entry = next(one for one in known() if one.id == signature)
    for size in (190, 590, lines.LONGEST_LINE):
        line = (word * (size // len(word) + 1))[:size]
        assert seconds(entry.signature.compiled, "\n".join([line] * (MEGABYTE // size)), most=10**6) < MEGABYTE_S, size


def test_a_hostile_log_is_explained_in_the_end():
    chosen = random.Random(7).sample(known(), 30)
    text = "\n".join(text for entry in chosen for text in [next(iter(hostile_lines(entry.signature.pattern, entry.example, 20_000)))])
    began = time.process_time()
    diagnosis.diagnose({"box": text}, list(known()))
    assert time.process_time() - began < 20


def patterns():
    """Every compiled expression of the modules that read what others wrote."""
    rooms = (
        "module_utils._io.lines", "module_utils._io.redaction", "module_utils._engine.log", "module_utils._engine.readiness", "module_utils._image.log",
        "module_utils._image.saved", "plugin_utils._diagnosis.reading", "plugin_utils._diagnosis.diagnosis", "plugin_utils._diagnosis.issue",
    )  # fmt: skip

    def within(name, value, depth=0):
        if isinstance(value, re.Pattern):
            yield name, value
        elif isinstance(value, (tuple, list)) and depth < 3:
            for number, one in enumerate(value):
                yield from within(f"{name}[{number}]", one, depth + 1)

    for room in rooms:
        for name, value in vars(importlib.import_module(ROOM + room)).items():
            yield from within(f"{room}.{name}", value)


# These see our own texts, or only the beginning of a line (match), never a whole one of others.
OWN = ("_OPTIONAL_PART", "_VERTEX", "_INTERNAL", "_OUTPUT", "_LABEL")


def test_every_other_expression_ends_soon_on_a_line():
    slow = {}
    for name, pattern in patterns():
        if name.endswith(OWN):
            continue
        for line in hostile_lines(pattern.pattern, "", lines.LONGEST_LINE):
            if seconds(pattern, line, most=10**6) > LIMIT_S and min(seconds(pattern, line, most=10**6) for _again in range(3)) > LIMIT_S:
                slow[name] = line[:60]
    assert not slow


def test_json_of_a_whole_traceback_is_still_taken_apart():
    inner = "ValueError: " + "x" * 30_000
    assert lines.clean_lines('{"log": "' + inner + '\\nRuntimeError: second"}') == [inner[: lines.LONGEST_LINE], "RuntimeError: second"]
    assert lines.clean_lines('web-1 | {"message": "' + "y" * 20_000 + '", "exc_info": "KeyError: z"}')[-1] == "KeyError: z"
    assert len(lines.clean_lines("{" + "x" * 100_000 + "}")[0]) == lines.LONGEST_LINE
    assert lines.clean_lines("[" * 70_000) and lines.clean_lines('{"a":' * 13_000 + "}" * 13_000)


def test_a_large_file_stays_a_stream(tmp_path):
    """50 MB in one line, and in lines of a megabyte: what is kept is bounded, and so is the time."""
    path = tmp_path / "big.log"
    path.write_bytes(b'"GET /' * 2_000_000 + b"\n" + (b"rror " * 200_000 + b"\n") * 8)
    began = time.process_time()
    text = files.excerpt(path)
    assert time.process_time() - began < 20 and len(text) < 16 * MEGABYTE


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (r"x(a+)+b", "itself repeated"),
        (r"x(.*)*y", "itself repeated"),
        (r"^(\w+\s?)*$", "itself repeated"),
        (r"^(\d+|\d+)*$", "itself repeated"),
        (r"x([a-z]+)*\1", "itself repeated"),
        (r"x(?:(?:a{0,9}){0,9}){0,9}b", "itself repeated"),
        (r"x(a?){50}a{50}", "itself repeated"),
        (r"x(a|aa)+y", "itself repeated"),
        (r"x(?:ab|ab)*y", "alternatives that begin alike"),
        (r"x(?:\wb|\dc)*y", "alternatives that begin alike"),
        (r"^.*error: \d+", "may take the same characters"),
        (r"x.*.*y", "may take the same characters"),
        (r"foo.*bar.*baz", "may take the same characters"),
        (r"x\w+\w*y", "may take the same characters"),
        (r"x(\d+)(\d+)y", "may take the same characters"),
        (r"xa{1,500}a{1,500}b", "may take the same characters"),
        (r".*error", "begins with a repetition without end"),
        (r"good|\S+ failed", "begins with a repetition without end"),
        (r"(?:.+) died", "begins with a repetition without end"),
        (r"(?P<all>\w{1,9999}) died", "begins with a repetition without end"),
    ],
)
def test_a_users_expression_that_may_run_for_long_is_refused(tmp_path, monkeypatch, signature, why):
    monkeypatch.setattr(knowledge, "_check_examples", lambda *_words: None)
    path = tmp_path / "own.yml"
    path.write_text(f"- {{id: MY-1, stage: host, signature: {signature!r}, example: x, cause: c, fix: f, source: [s]}}\n".replace("\\\\", "\\"))
    with pytest.raises(GB10Error, match=rf"own\.yml, entry 1 \(MY-1\): the signature may run for very long on a hostile log: .*{why}"):
        knowledge.load([str(path)])


@pytest.mark.parametrize(
    "signature",
    [
        r"NFS server (?P<server>\S+) not responding",
        r"foo\s+\S+\s+bar",
        r"^.*error",
        r"x(a|ab)+y",
        r"x(?:\d+\.)+\d",
        r"Permission denied \(publickey(?:,[a-z-]+)*\)",
        r"foo.{0,200}bar.{0,200}baz",
        r"(?:Error|Failure): [^\n]{0,160}disk (?P<disk>\w+)",
        r"\bXid\b.*NVLink",
    ],
)
def test_a_users_expression_that_ends_is_accepted_and_ends(signature):
    assert expressions.problem(signature) is None
    pattern = re.compile(signature, re.MULTILINE)
    assert all(min(seconds(pattern, text), seconds(pattern, text)) < 4 * LIMIT_S for text in hostile_lines(signature, "", lines.LONGEST_LINE))
