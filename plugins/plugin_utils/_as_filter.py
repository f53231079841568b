# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors for users, as Ansible's filters raise them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


def as_filter(function: Callable) -> Callable:
    """The function as a filter: what it says with GB10Error reaches the user as one sentence."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GB10Error as error:
            raise AnsibleFilterError(str(error)) from None

    return call
