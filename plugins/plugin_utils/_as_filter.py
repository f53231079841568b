# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors for users, as Ansible's filters raise them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


def as_filters(functions: Mapping[str, Callable]) -> dict[str, Callable]:
    """Functions by name as filters: whatever is wrong reaches the user as one sentence."""
    return {name: as_filter(function, name) for name, function in functions.items()}


def as_filter(function: Callable, name: str = "") -> Callable:
    """The function as the filter ``name``, by default its own: what it says with GB10Error is said as it is, what Python says with that name."""
    name = name or function.__name__

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GB10Error as error:
            raise AnsibleFilterError(str(error)) from None
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise AnsibleFilterError(f"The filter gb10.vllm.{name} cannot use what it was given ({text}).") from None

    return call
