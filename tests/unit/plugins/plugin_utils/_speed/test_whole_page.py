# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a benchmark is told as, word for word as it was looked at, in told.txt: the text, the page, what each chart is drawn of, what a box keeps.

Where one is to change: PYTHONPATH=.ansible/collections:tests/support python3 THIS_FILE writes told.txt anew, and its difference is what has to be looked at.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import bench_runs
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._filters import speed
from ansible_collections.gb10.vllm.plugins.plugin_utils._speed import charts, compare, document, page, results

TOLD = Path(__file__).with_name("told.txt")
GRID = {"grid": {"input_tokens": 512, "output_tokens": 16, "depths": [0, 1024], "concurrency": [1, 2], "repeats": 3}}
RESULT = bench_runs.result("grid", own=GRID)
BEFORE = bench_runs.result("grid", own={"grid": {**GRID["grid"], "depths": [0, 2048]}}, speed=0.5, made_at="2026-11-25 03:00", vllm_version="0.31.0")
for _point in RESULT["points"]:
    _point["expected"] = {"ceiling": 100.0 * _point["concurrency"]}
RESULT["points"][1]["judged"] = {"share": 0.456, "verdict": "slow", "text": "slower than the roofline"}
RESULT["points"][2]["judged"] = {"share": 0.9, "verdict": "fine", "text": "as fast as it can be"}
RESULT["points"][3] |= {"faults": ["it fell over"], "counted": 2}
RESULT["points"][0]["figures"]["ttft_p95"]["values"] = [1.0]
RESULT["left_out"] = ["depth 9 was left out"]


def shortly(value: Any) -> str:
    """As JSON, with six figures of each number: how sums of them end differs between releases of Python."""
    return json.dumps(json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.6g}")))


class Recorder:
    """Matplotlib as far as a chart asks for it; notes what is asked."""

    def __init__(self, said: list[str], name: str = "") -> None:
        self.said, self.name = said, name

    def __getattr__(self, name: str) -> Any:
        return Recorder(self.said, f"{self.name}.{name}".lstrip("."))

    def __call__(self, *given: Any, **named: Any) -> Any:
        shown = [*(shortly(one) for one in given if not hasattr(one, "write")), *(f"{key}={shortly(one)}" for key, one in named.items())]
        self.said.append(f"{self.name}({', '.join(shown)})")
        if self.name.endswith("savefig"):
            given[0].write("<?xml?><svg><metadata>\nx</metadata><g/></svg>")
        return contextlib.nullcontext() if self.name.endswith("rc_context") else Recorder(self.said, f"{self.name}()")


def drawn(function: Any, *given: Any) -> str:
    said: list[str] = []
    with mock.patch.object(charts, "drawing", lambda: Recorder(said)):
        made = function(*given)
    return "\n".join([*said, json.dumps(made), ""])


def told() -> str:
    with mock.patch.object(page, "charts", lambda result, before=None: {"a chart": f"<svg>{result['made_at']} {bool(before)}</svg>"}):
        pages = {"page": page.page(RESULT), "page beside another": speed.benchmark_page(speed._text(RESULT), speed._text(BEFORE))}
    parts = {
        "text": document.text(RESULT) + "\n",
        "text beside another": document.text(RESULT, BEFORE) + "\n",
        "charts": drawn(charts.charts, RESULT),
        "charts beside another": drawn(charts.charts, RESULT, BEFORE),
        "charts of one depth": drawn(charts.charts, bench_runs.result()),
        "trials": drawn(charts.trials, [("a", 1.5, 0.1, True), ("b", 2.0, 0.2, False)]),
        **pages,
    }
    return "".join(f"==== {name}\n{text}" for name, text in parts.items())


def test_all_that_is_told_is_as_it_was_looked_at():
    assert told().splitlines() == TOLD.read_text(encoding="utf-8").splitlines()


def point(name: str, concurrency: int, depth: int = 0, decode: float | None = 1.0, total: float | None = None, **more: Any) -> dict[str, Any]:
    figures = {key: {"mean": value} for key, value in (("decode", decode), ("total", total)) if value is not None}
    return {"name": name, "concurrency": concurrency, "depth": depth, "figures": figures, **more}


def kept(*points: dict[str, Any]) -> dict[str, Any]:
    return results.summary({"points": points, "made_at": "now", "profile": {"name": "p"}, "state": {"spec": "s"}})


def test_a_box_keeps_the_fewest_streams_and_the_most_tokens():
    judged, expected = {"verdict": "fine"}, {"ceiling": 3}
    found = kept(
        point("c2", 2, total=9.0), point("d1", 1, 1, total=1.0), point("c1", 1, decode=1.234567, expected=expected, judged=judged), point("x", 0, decode=None)
    )
    head = {"format": 1, "made_at": "now", "profile": "p", "spec": "s", "concurrency": 1, "depth": 0}
    assert found == {**head, "decode": 1.23, "expected": expected, "judged": judged, "most": {"concurrency": 2, "total": 9.0}}
    assert kept(point("c1", 1, total=1.23456))["most"] == {"concurrency": 1, "total": 1.23}
    assert kept(point("c1", 1)) == {**head, "decode": 1.0, "expected": {}, "judged": {}, "most": {}}
    assert kept(point("c1", 1, decode=None)) == {}


def test_the_flags_of_a_command_line():
    assert compare.flags(["--a", "--b", "1", "--c=2", "3", "--d=", "--e"]) == {"--a": "given", "--b": "1", "--c": "2", "--d": "", "--e": "given"}


def test_what_differs_between_two_results():
    def of(clock: float, arguments: list[str], **more: Any) -> dict[str, Any]:
        return {
            "state": {"arguments": arguments, **more},
            "points": [{"load": {"sm_clock_mhz": clock}}, {"load": None}],
            "box": "b",
            "server": "s",
            "target": "t",
        }

    before = of(2000, ["--a", "1", "--b", "--same=1"], image_id="sha256:" + "a" * 64, model="m" * 99)
    assert compare.differences(before, of(1800, ["--a", "2", "--c", "--same", "1"], image_id="b", model="m" * 99, model_version="v")) == [
        f"image: {'a' * 12}, then b", "version of the model: none, then v", "--a: 1, then 2", "--b: given, then not given", "--c: not given, then given",
    ]  # fmt: skip
    assert compare.differences(before, {**before, "points": of(1799, [])["points"], "target": "u"}) == [
        "asked at: t, then u", "lowest clock under load: 2000 MHz, then 1799 MHz",
    ]  # fmt: skip
    assert compare._short("sha256:" + "a" * 63) == "a" * 63 and compare._short("x" * 99) == "x" * 80 and compare._short(None) == "none"


def test_points_are_compared_where_they_are_the_same():
    found = compare.compared(BEFORE, RESULT)
    assert found["missing"] == ["d1024 c1", "d1024 c2", "d2048 c1", "d2048 c2"]
    assert [(row["point"], row["figure"], row["unit"]) for row in found["rows"][:5]] == [
        ("d0 c1", "output of all streams", "tokens/s"), ("d0 c1", "decode of one stream", "tokens/s"), ("d0 c1", "prefill", "tokens/s"),
        ("d0 c1", "first token, p95", "ms"), ("d0 c1", "between tokens, p95", "ms"),
    ]  # fmt: skip
    other = {**RESULT, "points": [{**one, "output_tokens": 17} for one in RESULT["points"]]}
    assert compare.compared(BEFORE, other)["rows"] == []
    row = {"point": "p", "figure": "f", "unit": "u", "before": 2, "after": 3, "share": 0.5}
    said = {verdict: compare.words({**row, "verdict": verdict}) for verdict in ("better", "worse", "noise", "unknown")}
    assert said == {
        verdict: f"p f: 2.0, then 3.0 u (+50.0%, {words})"
        for verdict, words in (("better", "better"), ("worse", "worse"), ("noise", "within the noise"), ("unknown", "noise not known (one run)"))
    }


def test_the_work_on_a_server_follows_its_command():
    served = bench_runs.deployment()
    served["container"]["command"] += ["--tokenizer", "t", "--tokenizer-mode", "slow", "--trust-remote-code"]
    found = speed.benchmark_work(served, "chat")
    assert found == document.work(served, "chat", None, 0, "")
    assert found["tokenizer"] == ["--tokenizer", "t", "--tokenizer-mode", "slow", "--trust-remote-code"]
    assert found["volumes"] == ["/srv/models/org/tiny:/models/tiny:ro"] and list(found) == ["profile", "points", "left_out", "runs", "tokenizer", "volumes"]
    assert document.work(bench_runs.deployment(), "chat")["tokenizer"] == ["--tokenizer", "/models/tiny"]
    assert speed.benchmark_work(served, "chat", None, 2)["profile"]["repeats"] == 2
    assert speed.benchmark_work(served, "chat", None, 0, "2026-01-01")["runs"] != found["runs"]
    assert document.arguments_of({"container": {"command": ["x"]}}) == []
    served["container"]["command"] += ["--runner", "pooling"]
    with pytest.raises(
        GB10Error, match=r"^tiny pools and generates nothing, so there is nothing that this benchmark measures; leave it out with -e server=NAME\.$"
    ):
        document.work(served, "chat")


def test_a_result_holds_what_was_measured_and_of_what():
    served = bench_runs.deployment()
    asked = document.work(served, "chat")
    made = document.document(asked, bench_runs.measured(asked), served, None, {"box": "b", "made_at": "now", "target": "t"})
    assert {key: value for key, value in made.items() if key not in ("profile", "points", "runs")} == {
        "format": 1, "made_at": "now", "box": "b", "server": "tiny", "target": "t", "left_out": [],
        "state": {
            "vllm_version": "0.32.0+cpu", "image_id": "sha256:" + "a" * 64, "spec": "s1", "model": "org/tiny", "model_version": None,
            "arguments": ["--max-num-seqs", "16", "--kv-cache-dtype", "auto"], "planned": bench_runs.PLANNED, "box": {"driver": "580.95", "temperature_c": 55},
        },
    }  # fmt: skip
    assert made["profile"] == asked["profile"] and "generated_texts" not in made["runs"][0]["result"] and made["runs"][0]["result"]["model_id"] == "tiny"
    assert document.document(asked, {"runs": []}, served, None, {"box": "b", "made_at": "now"})["target"] == "the server itself"


def test_a_result_in_its_files_and_why_there_is_none():
    served = bench_runs.deployment()
    asked = document.work(served, "one", {"one": {"input_tokens": 64, "output_tokens": 4, "concurrency": [1], "repeats": 1}})
    given = {"asked": asked, "deployment": served, "facts": None, "about": {"box": "b", "made_at": "now"}}
    found = speed.benchmark_result(bench_runs.measured(asked), given)
    made = json.loads(found["json"])
    assert set(found) == {"json", "benchy", "summary", "text", "problem"} and found["problem"] == ""
    assert found["json"] == json.dumps(made, indent=1, sort_keys=True) + "\n" and found["text"] == document.text(made)
    assert json.loads(found["summary"]) == results.summary(made) and json.loads(found["benchy"])["model"] == "org/tiny"
    assert speed.benchmark_result(bench_runs.measured(asked), given, found["json"])["text"] == document.text(made, made)
    none = speed.benchmark_result({"runs": []}, given)
    assert (none["summary"], none["problem"]) == ("", "No run of the benchmark of tiny is a number: nothing was measured.")
    broken = [{"point": one["point"], "repeat": 0, "error": "killed"} for one in asked["runs"]]
    assert speed.benchmark_result({"runs": broken}, given)["problem"] == "No run of the benchmark of tiny is a number: killed."


def test_what_keeps_a_benchmark_from_its_page_is_said_before_it_begins():
    good = json.dumps({"format": 1, "points": []})
    lost = "There is no result x to compare with; name one of the gb10-benchmark-*.json that this playbook wrote, from where you run it."
    other = "x is no result of the playbook benchmark (or of another release); name one of its gb10-benchmark-*.json."
    words = "x is not JSON, so it is no result of the playbook benchmark; name one of its gb10-benchmark-*.json."
    for text, path, said in (
        ("", "", ""),
        (good, "x", ""),
        ("", "x", lost),
        ("{}", "x", other),
        ("{", "x", words),
        ('{"format":1}', "x", other),
        ("[]", "x", other),
    ):
        with mock.patch.object(charts, "drawing"):
            assert speed.benchmark_earlier(text, path) == speed.benchmark_earlier(text, path, False) == said
    with mock.patch.object(charts, "drawing", side_effect=GB10Error("no matplotlib")):
        assert (speed.benchmark_earlier("", ""), speed.benchmark_earlier("", "", with_page=False)) == ("no matplotlib", "")


def test_a_page_of_one_result_is_beside_none():
    seen: list[Any] = []
    with mock.patch.object(speed, "page", SimpleNamespace(page=lambda *given: seen.append(given) or "page")):
        assert speed.benchmark_page(json.dumps({"format": 1, "points": []})) == "page"
    assert seen == [({"format": 1, "points": []}, None)]


if __name__ == "__main__":
    TOLD.write_text(told(), encoding="utf-8")
