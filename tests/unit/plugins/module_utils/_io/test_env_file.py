# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One reader for files of NAME=value lines, whoever wrote them."""

from __future__ import annotations

import shlex

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import env_file
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\nB=\n", {"A": "1", "B": ""}),
        ("# A=1\n\nB = 2 3 \r\n", {"B": "2 3"}),
        ("export TOKEN=x\n", {"TOKEN": "x"}),
        ("# not set\nA=1\n", {"A": "1"}),
        ("A= 'two \nlines'\n", {"A": "two \nlines"}),
        ("A=a=b=c", {"A": "a=b=c"}),
        ("A='a b\\c'\nB=\"hf_x\"\n", {"A": "a b\\c", "B": "hf_x"}),
        ("A='two\nlines'\nB=1\n", {"A": "two\nlines", "B": "1"}),
        ("A=it's\nB=1\n", {"A": "it's", "B": "1"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("http_proxy=http://DOMAIN\\user:p@proxy:1\n", {"http_proxy": "http://DOMAIN\\user:p@proxy:1"}),
        ("A\n=1\n1A=2\nA.B=3\n", {}),
        ("", {}),
    ],
)
def test_lines(text, values):
    assert env_file.parse(text) == values


@given(st.dictionaries(st.sampled_from(["A", "MY_KEY", "x1"]), st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))))
def test_what_is_quoted_for_a_shell_is_read_as_a_shell_reads_it(values):
    text = "".join(f"{name}={shlex.quote(one)}\n" for name, one in values.items())
    assert env_file.parse(text) == values


def test_one_value():
    assert env_file.value("OTHER_KEY=1\nKEY=2\n", "KEY") == "2"
    assert env_file.value("KEY=\n", "KEY") is None
    assert env_file.value("", "KEY") is None


def test_what_is_secret_by_its_name():
    values = {"A": "1", "VLLM_API_KEY": "k", "HF_TOKEN": "t", "my_password": "p", "EMPTY_KEY": ""}
    assert env_file.secrets(values) == {"VLLM_API_KEY": "k", "HF_TOKEN": "t", "my_password": "p"}


def test_a_private_file_is_private(tmp_path):
    path = tmp_path / "hub.env"
    assert env_file.read_private(str(path), "HF_TOKEN=...") == {}
    path.write_text("HF_TOKEN=x\n")
    path.chmod(0o644)
    with pytest.raises(GB10Error, match=r"may be read by others although it can hold a token; run: chmod 600"):
        env_file.read_private(str(path), "HF_TOKEN=...")
    path.chmod(0o600)
    assert env_file.read_private(str(path), "HF_TOKEN=...") == {"HF_TOKEN": "x"}
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(GB10Error, match=r"cannot be read \(it is not text\); it should hold HF_TOKEN=\.\.\."):
        env_file.read_private(str(path), "HF_TOKEN=...")
    with pytest.raises(GB10Error, match=r"cannot be read \(Is a directory\)"):
        env_file.read_private(str(tmp_path), "HF_TOKEN=...")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("VLLM_API_KEY=abc\n", "abc"),
        ("# x\nA=1\nVLLM_API_KEY=a=b=c\n", "a=b=c"),
        ("VLLM_API_KEY=\n", None),
        ("OTHER_VLLM_API_KEY=abc\n", None),
        ("", None),
    ],
)
def test_the_key_in_an_env_file(text, value):
    assert env_file.value(text, "VLLM_API_KEY") == value


@pytest.mark.parametrize("key", ["plain", "it's $HOME", 'say "hi" #1', ""])
def test_a_key_is_read_as_the_shell_reads_it(key):
    text = f"OTHER=1\nVLLM_API_KEY={shlex.quote(key)}\n"
    assert env_file.value(text, "VLLM_API_KEY") == (key or None)
    assert env_file.value("VLLM_API_KEY=it's\n", "VLLM_API_KEY") == "it's"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o444])
def test_nobody_but_its_owner_may_have_anything_to_do_with_a_private_file(tmp_path, mode):
    path = tmp_path / "hub.env"
    path.write_text("HF_TOKEN=x\n")
    path.chmod(mode)
    with pytest.raises(GB10Error, match="chmod 600"):
        env_file.read_private(str(path), "HF_TOKEN=...")
