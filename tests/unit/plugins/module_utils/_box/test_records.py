# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of earlier releases are read, whatever they lack; those of a later one are refused before anything is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible_collections.gb10.vllm.plugins.module_utils._box.records import read_records, refuse_newer
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._names import FORMAT_FILE, RECORD_FORMAT
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.lacking import lacking

ROOT = Path(__file__).parents[5]
# As the first releases wrote them: without content, key, group, load and limits.
EARLIEST = {
    "name": "tiny", "spec": "s", "inputs": "i", "image_id": "sha256:1", "model_path": "/srv/models/tiny", "manifest": "m", "port": 8000, "address": "127.0.0.1",
    "served_model_name": "tiny", "probe_url": "http://127.0.0.1:8000", "requested_bytes": 1, "floor_bytes": 1, "planned": {"max_model_len": 2048},
    "container": {"name": "gb10-vllm-tiny", "image": "sha256:1", "command": ["vllm", "serve", "/models/tiny"], "env": {}, "volumes": [], "published_ports": []},
}  # fmt: skip


@pytest.mark.parametrize("text", [None, "", "format 1\n", "format 0\n", f"format {RECORD_FORMAT}", "something else\n", "format many\n"])
def test_what_an_earlier_release_or_this_one_wrote_is_read(tmp_path, text):
    file = tmp_path / "format"
    if text is not None:
        file.write_text(text)
    refuse_newer(str(file))


@pytest.mark.parametrize("number", [RECORD_FORMAT + 1, 77])
def test_what_a_later_release_wrote_is_refused_with_the_reason(tmp_path, number):
    (tmp_path / "format").write_text(f"format {number}\n")
    with pytest.raises(GB10Error, match=f"format {number}.*reads up to format {RECORD_FORMAT}.*Nothing was changed; use that release or a later one"):
        refuse_newer(str(tmp_path / "format"))


def test_each_run_writes_down_the_format_that_it_reads():
    shared = yaml.safe_load((ROOT / "roles/server/vars/main.yml").read_text())["server_shared_files"]
    (written,) = [one for one in shared if one["dest"].endswith("/format")]
    assert written["content"] == f"format {RECORD_FORMAT}\n" and written["dest"] == "{{ server_guard | dirname }}/format"
    assert FORMAT_FILE == "/usr/local/lib/gb10-vllm/format"


def test_records_of_the_first_release_are_read_and_what_they_lack_is_named(tmp_path):
    folder = tmp_path / "servers/tiny"
    folder.mkdir(parents=True)
    for kind, value in (("deployment", EARLIEST), ("measured", {"spec": "s", "facts": {}}), ("history", [EARLIEST])):
        (folder / f"{kind}.json").write_text(json.dumps(value))
    (folder / "of-a-later-kind.json").write_text("{}")
    records = read_records(str(tmp_path))
    assert records["tiny"] == {"deployment": EARLIEST, "measured": {"spec": "s", "facts": {}}, "history": [EARLIEST]}
    command = ["sh", "-c", "umask 077; exec vllm serve --middleware guard_keys.Keys --allowed-origins []"]
    now = {"container": {"command": command, "volumes": ["/srv/models/tiny@1:/models/tiny:ro"], "pids_limit": 1, "oom_score_adj": 1, "read_only": True}}
    assert len(lacking(EARLIEST, now)) == 7 and lacking(EARLIEST, EARLIEST) == []
