# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where code of different versions met the answer names the packages; what a later command fails for, and what one box alone says, is told as such."""

from __future__ import annotations

import pytest
from ansible_collections.gb10.vllm.plugins.plugin_utils._diagnosis import diagnosis, knowledge, packages

START = "(APIServer pid=1) INFO 11-25 18:17:19 [api_server.py:1] vLLM API server version 0.33.0\n"
TRACEBACK = """Traceback (most recent call last):
  File "/venv/lib/python3.12/site-packages/starlette/applications.py", line 1, in __call__
    await self.middleware_stack(scope, receive, send)
  File "/venv/lib/python3.12/site-packages/cheese_meter/middleware.py", line 131, in __call__
    route_name = get_route_name(request)
  File "/venv/lib/python3.12/site-packages/cheese_meter/routing.py", line 55, in get_route_name
    return route.path
AttributeError: '_Wheel' object has no attribute 'path'
"""


@pytest.fixture(scope="module")
def entries():
    return knowledge.load()


def test_the_packages_at_the_end_of_a_traceback_are_named_with_the_versions_that_the_log_tells(entries):
    log = f"Installed cheese-meter==7.1.0 starlette[full]==1.0.2\n{START}{TRACEBACK}"
    result = diagnosis.diagnose({"box1": log}, entries)
    assert (result["id"], result["found"]) == ("GB-225", True)
    assert "The error comes of cheese_meter 7.1.0, which starlette 1.0.2 had called." in result["why"]
    assert "`pip show cheese_meter starlette`" in result["todo"]


def test_without_a_traceback_through_packages_none_is_named(entries):
    result = diagnosis.diagnose({"box1": f"{START}AttributeError: '_Wheel' object has no attribute 'path'\n"}, entries)
    assert (result["id"], "The error comes of" in result["why"], "pip show" in result["todo"]) == ("GB-225", False, False)


def test_the_package_that_the_message_names_leads():
    lines = ['  File "/x/dist-packages/vllm/a.py", line 1, in <module>', "ImportError: cannot import name 'brie' from 'fridge.shelf' (/x/fridge/shelf.py)"]
    assert packages.ends_in(lines, 1) == ["fridge", "vllm"]


def test_the_last_version_that_a_log_names_counts():
    assert packages.versions(["pip install fast-api==0.1", "[pip3] fast-api==0.137.0+local", "x===1 ==2"]) == {"fast_api": "0.137.0+local"}


BUILD = "$ docker build -t node:test .\nERROR: failed to solve: dockerfile parse error on line 3: unknown instruction: RUM\n"
RUN = "$ docker run --rm --gpus all node:test vllm --version\ndocker: Error response from daemon: pull access denied for node, repository does not exist\n"


def test_what_a_later_command_fails_for_comes_after_what_an_earlier_one_failed_for(entries):
    assert diagnosis.diagnose({"box1": RUN}, entries)["id"] == "GB-106"
    result = diagnosis.diagnose({"box1": BUILD + RUN}, entries)
    assert (result["id"], [one["id"] for one in result["also"]]) == ("GB-157", ["GB-106"])


def test_an_earlier_command_that_failed_for_something_nobody_knows_is_shown_and_not_what_followed(entries):
    unknown = "ERROR: failed to build: failed to solve: the oven is cold"
    result = diagnosis.diagnose({"box1": f"$ docker build -t node:test .\n#1 [internal] load build definition from Dockerfile\n{unknown}\n{RUN}"}, entries)
    assert (result["verdict"], result["what"], [one["id"] for one in result["also"]]) == ("unknown", unknown, ["GB-106"])


def test_a_command_that_only_looks_may_show_the_cause_of_what_came_before(entries):
    looked = "$ docker ps -a\nlmcache-server  Exited (137) 3 minutes ago\n$ sudo dmesg -T | tail\nOut of memory: Killed process 201177 (python3)\n"
    assert diagnosis.diagnose({"box1": looked}, entries)["id"] == "KB-122"


GATED = "OSError: You are trying to access a gated repo. Make sure to have access to it at https://huggingface.co/x/y. 401 Client Error.\n"


def test_what_one_box_of_a_group_says_alone_is_told_as_such(entries):
    healthy = f"{START}(Worker_TP0 pid=2) INFO 11-25 18:17:20 [gpu_model_runner.py:1] Starting to load model x...\n"
    alone = diagnosis.diagnose({"head": healthy, "worker": START + GATED}, entries)
    assert (alone["id"], alone["node"]) == ("KB-174", "worker")
    assert "Only worker says so: compare its image, files, environment and cache with those of the other boxes." in alone["todo"]
    for logs in ({"head": START + GATED, "worker": START + GATED}, {"head": START + GATED}):
        assert "says so" not in diagnosis.diagnose(logs, entries)["todo"]
