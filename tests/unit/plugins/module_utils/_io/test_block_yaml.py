# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reader of YAML for boxes says what PyYAML says, or that it does not understand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._io.block_yaml import read_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[5]
FILES = sorted([*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("changelogs/fragments/*.yml"), *ROOT.glob(".github/workflows/*.yml")])


def plain(value):
    """What both say in the same words: no difference of spaces, nothing for an empty text."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    words = "".join(str(value if value is not None else "").split())
    return None if words in ("", "~", "null") else words


def by_pyyaml(text):
    return plain(next(iter(yaml.load_all(text, Loader=yaml.BaseLoader)), None))


def test_files_as_people_write_them():
    assert len(FILES) > 100
    for path in FILES:
        assert plain(read_yaml(path.read_text())) == by_pyyaml(path.read_text()), path


@pytest.mark.parametrize(
    "text",
    [
        "network: {version: 2, ethernets: {enp1s0f0np0: {dhcp4: true, addresses: [10.0.0.1/24, 'fd00::1/64']}}}",
        "network:\n  ethernets: {a: {match: {name: \"en*\"}},\n    b: {}, # end\n    c: [1, 2]}\n  version: 2\n",
        "a:\n- b\n- c: 1\n  d: 2\n-\n  e: 3\n- - f\n  - g\n",
        "? enp1s0f0np0\n: dhcp4: no\n  x: y\n",
        "---\n# nothing\na: b # c\n...\nd: e\n",
        "a: &x {b: c}\nd: *x\ne: &y\n  f: g\nh: *y\n",
        "a: !!str 7\nb: !t\n  c: d\n",
        "'it''s': \"a\\\"b # c\"\nurl: http://x.y/#z\nc: 'd: e'\n",
        "a: one\n  two\n  three\nb: c\n",
        "text: |\n  # no comment: here\n  x\nb: >-\n  folded\n  text\nc: d\n",
        "a:\nb: ~\nc: null\nd: ''\n",
        "\ufeffa: b\r\nc: d\r\n",
        "plain text\n", "- a\n- b\n", "{}", "[]", "", "# only this\n",
    ],
)  # fmt: skip
def test_what_yaml_allows(text):
    assert plain(read_yaml(text)) == by_pyyaml(text)


VALUES = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab :#-'\"[{*&!?|>", min_size=1, max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(VALUES, st.sampled_from([True, False, None]))
def test_whatever_pyyaml_writes(value, flow):
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True, width=10**6)
    assert plain(read_yaml(text)) == plain(value)


@pytest.mark.parametrize(
    "text", ["a: [b", "a: 'b", "a: *gone", "a: b\n c", "a: {b: c}} d", "a: ]", "\ta: b", "a\nb: c\n  d: e\n", 'a: "\\UFFFFFFFF"', 'a: "\\xzz"']
)
def test_what_is_no_yaml_is_not_understood(text):
    try:
        by_pyyaml(text)
    except (yaml.YAMLError, ValueError, OverflowError):
        with pytest.raises(ValueError):
            read_yaml(text)
