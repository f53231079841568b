# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files below a directory that somebody else may have filled: reached without a link that leads out of it, whoever changes it meanwhile."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error


def leads_out(root: str, name: str) -> bool:
    """Whether ``name`` below ``root`` is, by a link somewhere on its way, really a file elsewhere."""
    top = os.path.realpath(root)
    return os.path.commonpath([top, os.path.realpath(os.path.join(top, name))]) != top


def refuse(root: str, name: str) -> GB10Error:
    """What is said of such a file."""
    return GB10Error(
        f"{os.path.join(root, name)} is a link that leads out of {root}, so it is neither sent nor changed; put the file itself there "
        "(cp -rL makes a copy with the files that links mean)"
    )


def open_inside(root: str, name: str) -> BinaryIO:
    """A regular file below ``root``, unbuffered, to be read. Links that stay inside are followed.

    GB10Error for what leads out or is no regular file; OSError as open() raises it.
    """
    top = os.path.realpath(root)
    if leads_out(top, name):
        raise refuse(root, name)
    # From here on no link is followed: what was looked at above is what is opened, or nothing is.
    *folders, last = os.path.relpath(os.path.realpath(os.path.join(top, name)), top).split("/")
    place = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        descriptor = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise GB10Error(f"{os.path.join(root, name)} is no regular file; remove it")
    return open(descriptor, "rb", buffering=0)


def set_mode(path: str, mode: int, owner: int | None = None) -> None:
    """Mode (and owner and group) of a file or directory itself; GB10Error for a link, which is never followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if os.path.islink(path):
            raise GB10Error(f"{path} is a link, and this directory may hold none; remove it and run again") from None
        raise error from None
    try:
        if owner is not None:
            os.fchown(descriptor, owner, owner)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
