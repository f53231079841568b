# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dockerfiles keep their meaning and get our settings where they act."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.dockerfile import base_images, declared_arguments, label_lines, parse, prepare
from hypothesis import given
from hypothesis import strategies as st

TWO = {"UV_HTTP_TIMEOUT": "300", "UV_HTTP_RETRIES": "5"}
ENV = "ENV UV_HTTP_TIMEOUT=300 UV_HTTP_RETRIES=5\n"

SEVERAL = """\
# syntax=docker/dockerfile:1.6
# a comment
ARG CUDA=nvidia/cuda:13
FROM scratch AS empty

FROM ${CUDA} AS base
ENV UV_LINK_MODE=copy
RUN uv pip install torch && \\
    # a comment inside
    uv pip install more

FROM base AS builder
RUN <<EOT
uv pip install x
FROM looks-like-one
EOT

from --platform=linux/arm64 $CUDA as runner
COPY --from=builder /a /a
"""


def test_every_stage_gets_the_setting_except_empty_ones():
    text = prepare(SEVERAL, environment=TWO)
    assert text.count(ENV) == 3
    assert "FROM ${CUDA} AS base\n" + ENV in text
    assert "FROM base AS builder\n" + ENV in text
    assert "as runner\n" + ENV in text
    assert "FROM scratch AS empty\n\n" in text
    assert text.replace(ENV, "") == SEVERAL


def test_the_syntax_line_stays_first():
    assert prepare(SEVERAL, environment=TWO).startswith("# syntax=docker/dockerfile:1.6\n")


def test_a_later_env_of_the_file_is_overridden():
    text = prepare("FROM a\nENV UV_HTTP_TIMEOUT=600\nENV UV_HTTP_RETRIES 10\nRUN uv sync\n", environment=TWO)
    assert text == f"FROM a\n{ENV}ENV UV_HTTP_TIMEOUT=600\n{ENV}ENV UV_HTTP_RETRIES 10\n{ENV}RUN uv sync\n"


def test_an_env_over_several_lines_is_overridden():
    text = prepare("FROM a\nENV A=1 \\\n    UV_HTTP_TIMEOUT=600\nRUN b\n", environment=TWO)
    assert text.endswith("    UV_HTTP_TIMEOUT=600\n" + ENV + "RUN b\n")


def test_other_names_that_only_contain_ours_are_left_alone():
    source = "FROM a\nENV MY_UV_HTTP_TIMEOUT=1 UV_HTTP_TIMEOUT_MS=2\n"
    assert prepare(source, environment=TWO) == source.replace("FROM a\n", "FROM a\n" + ENV)


@pytest.mark.parametrize(
    "before, after",
    [
        ("UV_HTTP_TIMEOUT=30 uv pip install x", "UV_HTTP_TIMEOUT=300 uv pip install x"),
        ("export UV_HTTP_TIMEOUT='30'; uv sync", "export UV_HTTP_TIMEOUT=300; uv sync"),
        ('UV_HTTP_RETRIES="$N" uv sync', "UV_HTTP_RETRIES=5 uv sync"),
    ],
)
def test_an_assignment_inside_a_run_is_overridden(before, after):
    assert prepare(f"FROM a\nRUN {before}\n", environment=TWO).endswith(f"RUN {after}\n")


def test_a_file_without_final_newline():
    assert prepare("FROM a", environment={"X": "1"}) == "FROM a\nENV X=1\n"


def test_the_certificates_go_into_stages_from_outside_only():
    text = prepare(SEVERAL, environment={}, copy=("ca.pem", "/ca.pem"))
    assert text.count("COPY ca.pem /ca.pem\n") == 2
    assert "AS builder\nCOPY" not in text


def test_new_defaults_for_arguments():
    text = prepare("ARG BASE=a\nARG OTHER\nFROM ${BASE}\nARG BASE\nARG SPEED=1 BASE=a\n", environment={}, arguments={"BASE": "reg/b:1"})
    assert text == "ARG BASE=reg/b:1\nARG OTHER\nFROM ${BASE}\nARG BASE=reg/b:1\nARG SPEED=1 BASE=reg/b:1\n"


def test_a_value_with_spaces_is_quoted():
    assert prepare("ARG A=1\nFROM b\n", environment={}, arguments={"A": 'x "y" $z'}).startswith('ARG A="x \\"y\\" \\$z"\n')


def test_no_from_is_refused():
    with pytest.raises(GB10Error, match="Dockerfile.wheels has no FROM"):
        prepare("RUN true\n", environment=TWO, name="Dockerfile.wheels")


def test_base_images_with_defaults_filled_in():
    assert base_images(SEVERAL) == ["nvidia/cuda:13"]
    assert base_images("ARG V=1\nFROM a:${V:-2} AS x\nFROM x\nFROM b:${W:-3}\n") == ["a:1", "b:3"]


def test_escape_directive_and_heredoc_with_tabs():
    segments = parse("# escape=`\nFROM a\nRUN one `\n  two\nCOPY <<-E /x\n\tbody\n\tE\nRUN last\n")
    assert [s.keyword for s in segments] == ["", "FROM", "RUN", "COPY", "RUN"]


def test_a_shift_is_no_heredoc():
    assert [s.keyword for s in parse("RUN echo $((1<<2))\nRUN cat <<< word\nRUN b\n")] == ["RUN", "RUN", "RUN"]


def test_declared_arguments():
    assert declared_arguments("ARG A=1\nFROM b\nARG C\n") == {"A", "C"}


def test_labels_survive_quoting():
    assert label_lines({"a": '{"k":"v"}'}) == 'LABEL a="{\\"k\\":\\"v\\"}"\n'


_LINES = st.sampled_from(
    ["FROM a", "FROM a AS b", "RUN x \\", "RUN x", "# c", "", "  # c", "RUN <<E", "E", "ENV UV_HTTP_TIMEOUT=1", "COPY a b", "ARG X=1", "\tE"]
)


@given(st.lists(_LINES, max_size=12), st.booleans())
def test_parsing_loses_nothing(lines, newline):
    text = "\n".join(lines) + ("\n" if newline else "")
    assert "".join(segment.raw for segment in parse(text)) == text


def test_a_comment_or_an_empty_line_inside_does_not_end_an_instruction():
    segments = parse("FROM a\nRUN one && \\\n    # why\n\n    two && \\\n    three\nRUN last\n")
    assert [s.keyword for s in segments] == ["FROM", "RUN", "RUN"]
    assert segments[1].raw.endswith("three\n")
