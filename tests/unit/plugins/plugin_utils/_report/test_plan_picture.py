# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture adds up and is valid SVG; the table fits a terminal."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import checkpoints
import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._sizing import weights
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.plan import plan_box
from ansible_collections.gb10.vllm.plugins.plugin_utils._report import plan_picture as picture
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.plan_table import plan_table

GIB = 2**30
CONFIG = checkpoints.golden_weights()["Qwen3-8B", 1]["config"]
MODELS = {"/m": {"config": CONFIG, "weights": weights.summarise(checkpoints.dense(CONFIG, qk_norm=True), CONFIG), "kind": "chat"}}
NASTY = "<b>&\"'"


def plan(*servers, available=110):
    memory = {"total_bytes": int(119.7 * GIB), "available_bytes": available * GIB, "cuda_total_bytes": int(119.7 * GIB), "cuda_total_source": "t"}
    box = {"memory": memory, "holders": [{"pid": 1, "name": NASTY, "bytes": 2 * GIB}]}
    return plan_box(box, [{"model_path": "/m", "port": 8000 + i, **s} for i, s in enumerate(servers)], MODELS)


FITS = {"name": "qwen", "max_model_len": 8192, "concurrency": 4}


def test_segments_add_up_to_the_total():
    result = plan(FITS, {**FITS, "name": "two"})
    parts = picture.segments(result)
    assert sum(p["bytes"] for p in parts) == result["box"]["total_bytes"]
    assert [p["kind"] for p in parts] == ["others", "weights", "overhead", "kv", "weights", "overhead", "kv", "headroom", "floor"]


def test_svg_is_well_formed_and_to_scale():
    result = plan(FITS, {"name": "huge", "max_model_len": 40960, "concurrency": 100})
    svg = picture.plan_picture(result, NASTY)
    root = ET.fromstring(svg)
    ns = "{http://www.w3.org/2000/svg}"
    assert root.tag == ns + "svg" and "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    bars = [r for r in root.iter(ns + "rect") if r.find(ns + "title") is not None]
    widths = [float(r.get("width")) for r in bars]
    parts = [p for p in picture.segments(result) if p["bytes"]]
    assert len(bars) == len(parts) and abs(sum(widths) - 920) < 0.1
    assert all(abs(w / 920 - p["bytes"] / result["box"]["total_bytes"]) < 1e-3 for w, p in zip(widths, parts, strict=True))
    texts = " ".join(t.text or "" for t in root.iter(ns + "text"))
    assert "qwen: KV cache" in texts and "huge is not in the picture" in texts and NASTY in texts
    assert max(float(t.get("y")) for t in root.iter(ns + "text")) < float(root.get("height"))


def test_table_fits_120_columns_and_says_everything():
    plans = {f"box-with-a-long-name-{n}": plan(FITS, {**FITS, "name": "a-server-with-forty-letters-in-its-name-xy"}) for n in range(2)}
    plans["full"] = plan({"name": "huge", "max_model_len": 40960, "concurrency": 100})
    plans["none"] = plan()
    text = plan_table(plans)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    head = lines[0].split()
    assert head[:4] == ["box", "server", "weights", "KV/token"] and head[-1] == "verdict"
    assert len([line for line in lines if line.endswith("  fits")]) == 4
    for words in (
        "needs a change",
        "--max-model-len 8192",
        "stated for this server",
        "147,456 B",
        "change 1:",
        "processes: 2.50 GiB, assumed",
        "workspaces: 0.71 GiB, assumed",
    ):
        assert words in text, words
    assert text.count("--kv-cache-memory-bytes") == 4  # none for the server that does not fit


def test_table_shows_long_arguments_whole():
    entry = {**FITS, "args": {"additional_config": {"key": "value " * 12}, "chat_template": "a b"}}
    text = plan_table({"b": plan(entry)})
    assert "--chat-template 'a b'" in text and "stated in the server's args" in text


@pytest.mark.parametrize("what", [None, {}, {"box": 3, "servers": []}, "plan"])
def test_what_is_no_plan_is_refused(what):
    with pytest.raises(GB10Error, match="not a plan"):
        picture.plan_picture(what)
    with pytest.raises(GB10Error):
        plan_table({"b": what})
    with pytest.raises(GB10Error, match="by name of the box"):
        plan_table([what])
