# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load on a server by ``vllm bench serve``, run after run, in a container of its own from the image that is served; what the box shows meanwhile."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._engine.container import inspect
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io.command import MISSING, TIMED_OUT, docker, run
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import redact

LABEL = "gb10.vllm.benchmark"
RESULT = "result.json"
# The key travels in a private file: it stands in no argument, no environment that Docker shows, and not in the image.
START = (
    "if [ -r /run/gb10/key.env ]; then . /run/gb10/key.env; OPENAI_API_KEY=$VLLM_API_KEY; export OPENAI_API_KEY; unset VLLM_API_KEY; fi; "
    'exec "$@" --result-dir /out --result-filename result.json'
)
ENV = {
    "HOME": "/tmp", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "WARNING",
    # It asks and computes nothing: no GPU where Docker gives one to every container, no proxy where Docker names one to every container.
    "NVIDIA_VISIBLE_DEVICES": "void", "NO_PROXY": "*", "no_proxy": "*",
}  # fmt: skip
ALWAYS = ("--save-result", "--save-detailed", "--ignore-eos", "--temperature", "0", "--disable-tqdm", "--ready-check-timeout-sec", "0")
PERCENTILES = ("--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,95,99")
HAVE_IT = "those of vLLM 0.26 to 0.33 have it"
GIVE_UP = 3
"""Runs in a row in which nothing was answered: in the fourth nothing would be either."""
LOOK_S = 2.0
SENSORS = {"clocks.sm": "sm_clock_mhz", "power.draw": "power_w", "temperature.gpu": "temperature_c"}
THROTTLES = "clocks_event_reasons.active"
TOLD = 300

Said = Callable[..., None]


def sensors(timeout_s: float = 10.0) -> dict[str, Any]:
    """What nvidia-smi says of clock, power, temperature, throttling and driver, without what a GB10 has not (N/A); {} without it."""
    names = [*SENSORS, THROTTLES, "driver_version"]
    process = run(["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"], timeout_s)
    return {} if process.returncode else read_sensors(process.stdout)


def read_sensors(text: str) -> dict[str, Any]:
    """The first GPU's line of nvidia-smi as numbers. Pure."""
    values = [one.strip() for one in (text.splitlines() or [""])[0].split(",")]
    if len(values) != len(SENSORS) + 2:
        return {}
    found: dict[str, Any] = {}
    for name, value in zip(SENSORS.values(), values, strict=False):
        if re.fullmatch(r"\d+(\.\d+)?", value):
            found[name] = float(value)
    throttles, driver = values[-2:]
    if re.fullmatch(r"0x[0-9a-fA-F]+", throttles):
        found["throttle_reasons"] = throttles
    return {**found, **({"driver": driver} if re.fullmatch(r"[\d.]+", driver) else {})}


class Watching:
    """Reads the sensors while a run goes on: the lowest clock, the highest power and temperature under load."""

    def __init__(self, pause_s: float = LOOK_S) -> None:
        self.seen: dict[str, Any] = {}
        self._pause_s = pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        # The first look would show the box before its load.
        while not self._over.wait(self._pause_s):
            now = sensors()
            for name, choose in (("sm_clock_mhz", min), ("power_w", max), ("temperature_c", max)):
                if name in now:
                    self.seen[name] = choose(now[name], self.seen.get(name, now[name]))
            if not now:
                return

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._over.set()
        self._thread.join(LOOK_S + 15)


def argv(wanted: Mapping[str, Any], name: str, out: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of ``docker`` for one run; ``out``: the directory on the box that gets the result."""
    volumes = [*wanted["volumes"], f"{out}:/out:rw"] + ([f"{wanted['key_file']}:/run/gb10/key.env:ro"] if wanted.get("key_file") else [])
    served = ["--model", wanted["served_model_name"], "--served-model-name", wanted["served_model_name"], "--base-url", wanted["base_url"]]
    insecure = ["--insecure"] if wanted["base_url"].startswith("https:") else []
    return [
        "run", "--rm", "--name", name, "--label", f"{LABEL}={wanted['server']}", "--network", "host", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp:exec,mode=1777,size=2g", "--pids-limit", "4096",
        "--memory", "8g", "--oom-score-adj", "900", "--pull", "never",
        *(text for key, value in ENV.items() for text in ("--env", f"{key}={value}")),
        *(text for volume in volumes for text in ("--volume", volume)),
        "--entrypoint", "/bin/sh", wanted["image"], "-c", START, "gb10-benchmark",
        "vllm", "bench", "serve", "--backend", "openai", *served, *wanted["tokenizer"], *insecure, *ALWAYS, *PERCENTILES, *arguments,
    ]  # fmt: skip


def problem(status: int, text: str, image: str) -> str:
    """What keeps every further run from being one, in a sentence; "" when the next one may well be. Pure."""
    if re.search(r"invalid choice: '(bench|serve)'", text):
        return f"the image {image} has no `vllm bench serve`; {HAVE_IT}: build or bring one of these, or measure with another tool"
    if status == MISSING and "docker" not in text or re.search(r"\bvllm: (command )?not found|exec: vllm", text):
        return f"there is no program vllm in the image {image}, so it cannot measure; {HAVE_IT}"
    unknown = re.search(r"unrecognized arguments: (--\S+)", text)
    if unknown:
        return f"`vllm bench serve` of the image {image} does not know {unknown[1]}, so its release is too old; {HAVE_IT}"
    lacks = re.search(r"No module named '([^']+)'", text)
    if lacks:
        return f"`vllm bench serve` of the image {image} lacks the Python package {lacks[1]} (vLLM's extra `bench`); {HAVE_IT} when that is installed"
    return ""


def last_words(text: str) -> str:
    """The line of an output that says what was wrong: the last one that names an error, else the last one. Pure."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"(Error|Exception|error)\b", line)]
    return redact((told or lines or ["it said nothing"])[-1][:TOLD], ())


def unanswered(outcome: Mapping[str, Any]) -> str:
    """Why nothing was answered in a run, "" where something was: the tool left no result, or one in which every request failed. Pure."""
    result = outcome["result"]
    if not result:
        return str(outcome["error"])
    errors = "\n".join(str(one) for one in result.get("errors") or [])
    return "" if result.get("completed") else f"every request failed: {last_words(errors)}"


class Bench:
    """The runs of one benchmark on one box."""

    def __init__(self, wanted: Mapping[str, Any], said: Said) -> None:
        self.wanted, self.said = wanted, said
        self.name = f"gb10-benchmark-{wanted['server']}"
        self.out = os.path.join(wanted["state_dir"], "benchmark", wanted["server"])
        self.since = self._started()

    def _started(self) -> str:
        """When the server that is measured was started, "" where none is to be watched; GB10Error when it does not run."""
        if not self.wanted["container"]:
            return ""
        state = (inspect(self.wanted["container"]) or {}).get("State") or {}
        if not state.get("Running"):
            raise GB10Error(f"{self.wanted['server']} does not run, so there is nothing to measure; run the playbook site first.")
        return str(state["StartedAt"])

    def died(self) -> bool:
        """Whether the server is no longer the one that was begun with."""
        if not self.since:
            return False
        state = (inspect(self.wanted["container"]) or {}).get("State") or {}
        return not state.get("Running") or str(state.get("StartedAt")) != self.since

    def cool(self) -> None:
        """Wait until the GPU is no warmer than wanted, within bounds; not at all where nothing tells its temperature."""
        deadline = time.monotonic() + self.wanted["cool_wait_s"]
        while self.wanted["cool_c"] and time.monotonic() < deadline:
            warm = sensors().get("temperature_c")
            if warm is None or warm <= self.wanted["cool_c"]:
                return
            self.said("cooling", f"{warm:.0f} C, waiting for {self.wanted['cool_c']}")
            time.sleep(5)

    def measure(self) -> dict[str, Any]:
        """{runs, died, box}: all runs, or those before the server died."""
        found: list[dict[str, Any]] = []
        empty = 0
        box = sensors()
        try:
            for number, one in enumerate(self.wanted["runs"]):
                self.cool()
                self.said("measuring", f"{one['point']}, run {one['repeat'] + 1}", step=number + 1, steps=len(self.wanted["runs"]))
                outcome = self._run(one)
                found.append(outcome)
                if self.died():
                    return {"runs": found, "died": True, "box": box}
                why = unanswered(outcome)
                empty = empty + 1 if why else 0
                if empty >= GIVE_UP:
                    raise GB10Error(f"{GIVE_UP} runs in a row of `vllm bench serve` against {self.wanted['base_url']} had no answer: {why}")
        finally:
            docker("rm", "--force", self.name, check=False)
            shutil.rmtree(self.out, ignore_errors=True)
        return {"runs": found, "died": False, "box": box}

    def _run(self, one: Mapping[str, Any]) -> dict[str, Any]:
        outcome: dict[str, Any] = {"point": one["point"], "repeat": one["repeat"], "result": None, "error": "", "box": {}}
        if one["warm"]:
            outcome["error"], _result = self._asked(one["warm"])
            if outcome["error"]:
                return outcome
        with Watching() as watching:
            outcome["error"], outcome["result"] = self._asked(one["args"])
        outcome["box"] = watching.seen
        return outcome

    def _asked(self, arguments: Sequence[str]) -> tuple[str, dict[str, Any] | None]:
        """One run of the tool: (why it left no result, its result). GB10Error when no other run could."""
        os.makedirs(self.out, mode=0o700, exist_ok=True)
        result = Path(self.out, RESULT)
        result.unlink(missing_ok=True)
        docker("rm", "--force", self.name, check=False)
        process = run(["docker", *argv(self.wanted, self.name, self.out, arguments)], self.wanted["run_timeout_s"])
        if process.returncode == TIMED_OUT:
            docker("rm", "--force", self.name, check=False)
            return f"it was ended after {self.wanted['run_timeout_s']} s (gb10_benchmark_timeout_s)", None
        text = f"{process.stdout}\n{process.stderr}"
        wrong = problem(process.returncode, text, self.wanted["image_name"]) if process.returncode else ""
        if wrong:
            raise GB10Error(f"{wrong}.")
        try:
            read = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return last_words(text), None
        return (
            ("", {key: value for key, value in read.items() if key != "generated_texts"}) if isinstance(read, dict) else ("its result is no JSON object", None)
        )
