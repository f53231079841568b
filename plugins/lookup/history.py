# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks Prometheus for the last hours of a fleet, from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: history
short_description: The last hours of a fleet from Prometheus
version_added: "0.1.0"
author: gb10.vllm contributors (@gb10)
description:
  - Asks a Prometheus a few questions over its HTTP API, straight from the controller, whatever proxy is set. What cannot be asked becomes a sentence,
    not a failure.
options:
  _terms:
    description: Address of Prometheus, as in C(http://192.168.1.5:9090).
    type: list
    elements: str
    required: true
  hours:
    description: How long the past is that is asked for, more than 0 and at most 8784.
    type: float
    default: 24
  timeout_s:
    description: Seconds that each question may take. After the first one that fails no other is asked.
    type: float
    default: 5
"""

EXAMPLES = r"""
- name: Write the status with its history
  ansible.builtin.copy:
    content: "{{ status | gb10.vllm.fleet_page(seen, history=lookup('gb10.vllm.history', 'http://192.168.1.5:9090')) }}"
    dest: status.html
"""

RETURN = r"""
_raw:
  description: C(charts), C(start) and C(end) for P(gb10.vllm.fleet_page#filter), and C(problem), a sentence where Prometheus could not be asked.
  type: list
  elements: dict
"""

import json
import time
from typing import Any

from ansible.module_utils.urls import open_url
from ansible.plugins.lookup import LookupBase
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._monitoring.history import MOST_HOURS, QUESTIONS, Chart, History, chart, request, span

LONGEST = 32 * 2**20


class LookupModule(LookupBase):
    """One history for each address."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[History]:
        self.set_options(var_options=variables, direct=kwargs)
        return [history(url.rstrip("/"), self.get_option("hours"), self.get_option("timeout_s")) for url in terms]


def history(url: str, hours: float, timeout_s: float) -> History:
    """{charts, start, end, problem} of the Prometheus at ``url``."""
    end = time.time()
    charts: list[Chart] = []
    if not 0 < hours <= MOST_HOURS:
        problem = f"gb10_status_hours is {hours:g}, so nothing is shown of the past; give it a number of hours above 0 and at most {MOST_HOURS}."
        return {"charts": [], "start": end, "end": end, "problem": problem}
    problem = ""
    past = f"the last {span(hours * 3600)}"
    for question in QUESTIONS:
        try:
            with open_url(url + request(question, end, hours), timeout=timeout_s, use_proxy=False) as answer:
                charts.append(chart(question, json.loads(answer.read(LONGEST))))
        except GB10Error as error:
            problem = f"Prometheus at {url} was asked for {past} and {error}."
        except Exception as error:  # pylint: disable=broad-except; whatever a library says of an address that somebody wrote
            problem = f"Prometheus at {url} could not be asked for {past} ({' '.join(str(error).split())[:200]})."
        if problem:
            break
    return {"charts": [] if problem else charts, "start": end - hours * 3600, "end": end, "problem": problem}
