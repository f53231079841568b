# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a filter is given, the user reads one sentence."""

from __future__ import annotations

import inspect

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gb10.vllm.plugins.filter.gb10 import FilterModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._as_filter import as_filters
from jinja2 import StrictUndefined, UndefinedError

FILTERS = FilterModule().filters()


@pytest.mark.parametrize("value", [None, 7, "text", [3], {"a": {"b": 1}}, {"boxes": {"b": None}}], ids=str)
@pytest.mark.parametrize("name", FILTERS)
def test_nonsense_is_answered_in_one_sentence(name, value):
    needed = [one for one in inspect.signature(FILTERS[name]).parameters.values() if one.default is one.empty]
    try:
        FILTERS[name](*[value] * len(needed))
    except AnsibleFilterError as error:
        assert str(error) and "\n" not in str(error)


def call(function, *given):
    return as_filters({"shorten": function})["shorten"](*given)


def test_what_we_say_is_said_as_it_is():
    def refuse(_value):
        raise GB10Error("This is not a plan.")

    with pytest.raises(AnsibleFilterError, match="^This is not a plan.$"):
        call(refuse, 1)


def test_what_python_says_names_the_filter():
    with pytest.raises(AnsibleFilterError, match=r"^The filter gb10.vllm.shorten cannot use what it was given \(KeyError: 'model'\).$"):
        call(lambda value: value["model"], {})
    with pytest.raises(AnsibleFilterError, match=r"\(AttributeError: 'NoneType' object has no attribute 'get'\).$"):
        call(lambda value: value.get("model"), None)


def test_an_undefined_variable_stays_one():
    with pytest.raises(UndefinedError):
        call(lambda value: value["model"], StrictUndefined(name="server"))
