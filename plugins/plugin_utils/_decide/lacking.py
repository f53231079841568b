# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment that is kept lacks beside one that would be built now, in plain words. Pure.

A server that runs is not restarted because a later release builds more into its container; what it has to do without meanwhile is said instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.shapes import Container, Deployment, Order

GIB = 2**30
HOW = "applied at its next replacement, or now with -e gb10_replan=true"


def _says(word: str) -> Callable[[Container], bool]:
    """Whether the word stands somewhere in what the container runs."""
    return lambda container: any(word in argument for argument in container.get("command") or [])


def _sets(key: str) -> Callable[[Container], bool]:
    """Whether the container has a setting of this name at all."""
    return lambda container: bool(container.get(key))


def _mounts_a_version(container: Container) -> bool:
    """The model is the first volume; a version of it lies beside the plain name, as NAME@VERSION."""
    source = (container.get("volumes") or [""])[0].partition(":")[0]
    return "@" in source.rpartition("/")[2]


# What it is called, and how it is seen that a container has it. A check that no container of this release meets says nothing.
CHECKS: tuple[tuple[str, Callable[[Container], bool]], ...] = (
    ("a key that is asked for on every route", _says("guard_keys.")),
    ("an end to requests from web pages of any origin", _says("--allowed-origins")),
    ("a model that is mounted by its version", _mounts_a_version),
    ("private files in its caches", _says("umask 077")),
    ("a bound on its processes", _sets("pids_limit")),
    ("an end before the system's own programs when memory is short", _sets("oom_score_adj")),
    ("a root file system that it cannot write", _sets("read_only")),
)


def lacking(kept: Deployment, fresh: Deployment) -> list[str]:
    """What ``fresh`` has and ``kept`` has not, one phrase each; empty for the same deployment and for none."""
    old, new = kept.get("container"), fresh.get("container")
    return [what for what, has in CHECKS if has(new) and not has(old)] if old and new else []


def sentence(phrases: Sequence[str]) -> str:
    """What a server lacks and how it gets it, without a full stop; "" where nothing is lacking."""
    return f"still lacks: {', '.join(phrases)}; {HOW}" if phrases else ""


def more(gain: Mapping[str, int]) -> str:
    """What a new plan would give a server that keeps its deployment, without a full stop; "" where it would give nothing to speak of."""
    return f"could have +{gain['bytes'] / GIB:.1f} GiB, {gain['tokens']:,} tokens more with -e gb10_replan=true" if gain else ""


def fleet_text(orders: Mapping[str, Mapping[str, Order]]) -> str:
    """A line for each server that lacks something, and one for each that a new plan would give more; ``orders``: work orders by box and server."""
    kept = [(box, name, order) for box, servers in orders.items() for name, order in servers.items()]
    said = [(box, name, text) for box, name, order in kept for text in (sentence(order.get("lacking") or []), more(order.get("gain") or {}))]
    return "\n".join(f"{box} {name} {text}." for box, name, text in said if text)
