# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deployments: what makes a container, what makes a new one necessary, and that no secret is in it."""

from __future__ import annotations

import json

import pytest
from ansible_collections.community.docker.plugins.module_utils._module_container import base
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment

WANTED = {"name": "a", "model": "m", "model_path": "/srv/models/m", "port": 8000, "address": "0.0.0.0"}
PLANNED = {"arguments": ["--port", "8000", "--max-model-len", "65536"], "requested_bytes": 10, "served_model_name": "m"}
IMAGE = {"id": "sha256:" + "1" * 64, "name": "vllm-node", "vllm_version": "0.33.0"}
PATHS = {"state_dir": "/var/lib/gb10-vllm", "config_dir": "/etc/gb10-vllm"}
LIMITS = {"shm_gib": 8, "floor_bytes": 12 * 2**30, "stop_timeout_s": 60}


def build(planned=PLANNED, wanted=WANTED, image=IMAGE, manifest="m1", inputs="i"):
    return deployment.build(planned, wanted, image, manifest, inputs, PATHS | LIMITS)


def container_of(built):
    return {"name": f"gb10-vllm-{built['name']}", "labels": {"gb10.vllm.spec": built["spec"]}}


def test_the_model_is_read_only_and_the_port_is_published_where_asked():
    container = build()["container"]
    assert "/srv/models/m:/models/a:ro" in container["volumes"]
    assert container["published_ports"] == ["0.0.0.0:8000:8000"]
    assert container["command"][-4:] == PLANNED["arguments"]


@pytest.mark.parametrize(("address", "port"), [("::1", "[::1]:8000:8000"), ("fd00::5", "[fd00::5]:8000:8000"), ("::", "[::]:8000:8000")])
def test_an_ipv6_address_is_published_in_brackets(address, port):
    """As community.docker takes it; without them it ends in an error after what ran was stopped."""
    container = build(wanted=dict(WANTED, address=address))["container"]
    assert container["published_ports"] == [port]
    assert base._split_colon_ipv6(port, None) == [port.rpartition("]")[0] + "]", "8000", "8000"]


def test_a_container_may_write_its_cache_and_nothing_else_and_asks_no_hub():
    container = build()["container"]
    assert container["volumes"] == ["/srv/models/m:/models/a:ro", "/etc/gb10-vllm/a:/run/gb10:ro", "/var/lib/gb10-vllm/cache/a:/cache:rw"]
    assert container["env"]["HF_HUB_OFFLINE"] == container["env"]["TRANSFORMERS_OFFLINE"] == container["env"]["VLLM_NO_USAGE_STATS"] == "1"
    assert (container["stop_timeout_s"], container["shm_size_bytes"]) == (60, 8 * 2**30)


def test_no_secret_enters_a_deployment():
    built = build(wanted=dict(WANTED, api_key="hunter2", env={"HF_TOKEN": "hunter2"}))
    assert "hunter2" not in json.dumps(built)


@pytest.mark.parametrize(
    ("address", "url"),
    [("0.0.0.0", "http://127.0.0.1:8000"), ("192.168.1.5", "http://192.168.1.5:8000"), ("::", "http://[::1]:8000")],
)
def test_the_box_asks_its_server_where_it_listens(address, url):
    assert deployment.probe_url(address, 8000) == url


def test_a_bad_address_is_named():
    with pytest.raises(GB10Error, match="everywhere"):
        deployment.is_loopback("everywhere")


def test_nothing_is_done_when_nothing_changed():
    built = build()
    decision = deployment.decide(build(), built, [container_of(built)])
    assert (decision["create"], decision["reason"]) == (False, "unchanged")


def test_a_plan_that_moved_with_a_measurement_keeps_what_runs():
    built = build()
    moved = build(planned=dict(PLANNED, arguments=["--port", "8000", "--gpu-memory-utilization", "0.71"]))
    decision = deployment.decide(moved, built, [container_of(built)])
    assert decision == {"deployment": built, "create": False, "reason": "unchanged", "lacking": []}


def test_a_fresh_plan_takes_its_place_when_it_is_asked_for():
    built = build()
    moved = build(planned=dict(PLANNED, arguments=["--port", "8000", "--gpu-memory-utilization", "0.71"]))
    decision = deployment.decide(moved, built, [container_of(built)], replan=True)
    assert (decision["deployment"], decision["create"]) == (moved, True)
    assert "0.71" in decision["reason"]
    assert deployment.decide(build(), built, [container_of(built)], replan=True)["create"] is False, "nothing differs, so nothing is replaced"


def test_what_a_release_makes_of_a_wish_is_no_other_wish():
    wish = {"name": "a", "address": "127.0.0.1", "key_policy": "none"}
    digests = [deployment.wanted_inputs({**wish, **change}, "i", "m", {}) for change in ({}, {"key_policy": "generate"}, {"key_policy": "given"})]
    assert digests[0] == digests[1] != digests[2]
    outside = [deployment.wanted_inputs({**wish, "address": "0.0.0.0", "key_policy": one}, "i", "m", {}) for one in ("none", "generate")]
    assert outside[0] != outside[1], "there gb10_allow_open decides, and that is the user's"


def test_a_changed_wish_makes_a_new_container_and_says_why():
    built = build()
    wish = build(planned=dict(PLANNED, arguments=["--port", "8000", "--max-model-len", "32768"]), inputs="j")
    decision = deployment.decide(wish, built, [container_of(built)])
    assert decision["create"] and "65536 -> 32768" in decision["reason"]


def test_a_changed_image_says_so():
    built, new = build(), build(image=dict(IMAGE, id="sha256:" + "2" * 64), inputs="j")
    assert "the image changed" in deployment.decide(new, built, [container_of(built)])["reason"]


def test_a_container_that_is_gone_or_foreign_is_named():
    built = build()
    assert deployment.decide(build(), built, [])["reason"] == "its container is gone"
    assert deployment.decide(build(), None, [])["reason"] == "it does not exist yet"
    foreign = {"name": "gb10-vllm-a", "labels": {"gb10.vllm.spec": "x"}}
    assert "changed by hand" in deployment.decide(build(), built, [foreign])["reason"]


PREDICTED = {
    "weights_bytes": {"value": 20 * 2**30, "source": "computed"},
    "graph_bytes": {"value": 0, "source": "computed"},
    "kv_cache_bytes": 50 * 2**30,
    "kv_tokens": 262272,
    "concurrency": 4.0,
}


def test_what_was_measured_is_compared_with_what_was_predicted():
    facts = {"weights_bytes": 21 * 2**30, "available_kv_bytes": 50 * 2**30, "kv_tokens": 262272, "concurrency": 4.002, "ready_s": 3.0}
    entries = {entry["figure"]: entry for entry in deployment.compare(PREDICTED, facts)}
    assert list(entries) == ["weights_bytes", "kv_cache_bytes", "kv_tokens", "concurrency"], "graphs were not measured"
    assert entries["weights_bytes"]["difference"] == 2**30
    assert entries["weights_bytes"]["share"] == pytest.approx(0.05)
    assert [entry["drift"] for entry in entries.values()] == [True, False, False, False]


def test_the_comparison_shows_gib_and_percent_and_marks_drift():
    lines = deployment.comparison(PREDICTED, {"weights_bytes": 21 * 2**30, "graph_bytes": 2**29, "kv_tokens": 262000}).splitlines()
    assert lines[1].split() == ["weights", "20.00", "GiB", "21.00", "GiB", "+1.00", "GiB", "+5.0%"] + lines[1].split()[8:]
    assert "more than 2 %" in lines[1]
    assert lines[2].startswith("CUDA graphs") and "+0.50 GiB" in lines[2] and "more than 2 %" in lines[2]
    assert lines[3].split() == ["KV", "tokens", "262,272", "262,000", "-272", "-0.1%"]


def test_what_the_log_cannot_tell_apart_is_no_drift():
    tiny = {"weights_bytes": {"value": 1148160, "source": "computed"}}
    assert not deployment.compare(tiny, {"weights_bytes": 0})[0]["drift"]
    assert "measured nothing" in deployment.comparison(tiny, {})


def test_the_environment_of_a_repair_reaches_the_container():
    change = {"env": {"VLLM_USE_FLASHINFER_SAMPLER": 0, "OLD": None}, "container": {"shm_size": "16g"}}
    container = build(planned=dict(PLANNED, repairs=[{"id": "KB-011", "set": change}]))["container"]
    assert container["shm_size_bytes"] == 16 * 2**30
    env = container["env"]
    assert (env["VLLM_USE_FLASHINFER_SAMPLER"], env["OLD"], env["HOME"]) == ("0", "", "/cache")


def test_other_files_under_the_same_path_make_a_new_container():
    built, fresh = build(), build(manifest="m2", inputs="j")
    decision = deployment.decide(fresh, built, [container_of(built)])
    assert (decision["create"], decision["reason"]) == (True, "the files in /srv/models/m changed")


def test_an_earlier_deployment_finds_its_files_where_they_are_now():
    built = build()
    here = {"/srv/models/m": {"manifest": "m1"}, "/srv/models/m@0badc0de": {"manifest": "m1"}}
    assert deployment.with_its_model(built, here) == built
    moved = deployment.with_its_model(built, {"/srv/models/m": {"manifest": "m2"}, "/srv/models/m@0badc0de": {"manifest": "m1"}})
    assert moved["container"]["volumes"][0] == "/srv/models/m@0badc0de:/models/a:ro"
    assert (moved["model_path"], moved["manifest"]) == ("/srv/models/m", "m1") and moved["spec"] != built["spec"]
    # Going forward again from there finds the successor in its place.
    assert deployment.with_its_model(moved, here)["container"] == built["container"]
    with pytest.raises(GB10Error, match="a: the files that /srv/models/m held when this deployment ran are gone"):
        deployment.with_its_model(built, {"/srv/models/m": {"manifest": "m2"}, "/srv/models/other": {"manifest": "m1"}})


KEYED = {**WANTED, "key_policy": "generate"}
TLS = {"certificate": "/etc/ssl/c.pem", "key": "/etc/ssl/k.pem"}


def test_what_asks_for_a_key_says_so_and_loads_its_guard_last():
    built = build(wanted=KEYED, planned={**PLANNED, "arguments": ["--middleware", "my.Own"]})
    container = built["container"]
    assert container["command"][-4:] == ["--middleware", "my.Own", "--middleware", "guard_keys.GuardKeys"], "the last one is the outermost"
    assert container["env"]["GB10_KEY"] == "required" and built["key"] == "generated"
    assert "/usr/local/lib/gb10-vllm/engine:/opt/gb10-vllm:ro" in container["volumes"]


def test_what_is_open_has_neither():
    container = build()["container"]
    assert "GB10_KEY" not in container["env"] and "--middleware" not in container["command"] and build()["key"] == "none"


@pytest.mark.parametrize(
    ("version", "arguments", "closed"),
    [("0.26.0", [], True), ("0.31.9", [], True), ("0.32.0+cpu", [], False), ("0.33.0", [], False), (None, [], True), ("main", [], True),
     ("0.26.0", ["--allowed-origins", '["https://a"]'], False)],
)  # fmt: skip
def test_web_pages_of_any_origin_are_shut_out_where_the_engine_would_let_them_in(version, arguments, closed):
    command = build(planned={**PLANNED, "arguments": arguments}, image={**IMAGE, "vllm_version": version})["container"]["command"]
    assert (command[-2:] == ["--allowed-origins", "[]"]) == closed and command.count("--allowed-origins") == int(closed or bool(arguments))


def test_tls_is_spoken_with_the_files_named_and_asked_for_over_https():
    built = build(wanted={**KEYED, "tls": TLS})
    assert built["probe_url"] == "https://127.0.0.1:8000"
    assert built["container"]["command"][-6:-2] == ["--ssl-certfile", "/run/gb10-tls/certificate.pem", "--ssl-keyfile", "/run/gb10-tls/key.pem"]
    assert {"/etc/ssl/c.pem:/run/gb10-tls/certificate.pem:ro", "/etc/ssl/k.pem:/run/gb10-tls/key.pem:ro"} <= set(built["container"]["volumes"])
    by_hand = build(planned={**PLANNED, "arguments": ["--ssl-certfile", "/models/a/c.pem"]})
    assert by_hand["probe_url"] == "https://127.0.0.1:8000" and build()["probe_url"] == "http://127.0.0.1:8000"


def decided(record=None, policy="generate", address="127.0.0.1", **given):
    """What is decided for a server whose container runs as recorded."""
    server = {**WANTED, "address": address, "key_policy": policy, **given.pop("server", {})}
    asked = {"planned": PLANNED, "server": server, "image": IMAGE, "manifest": "m1", "settings": PATHS | LIMITS, "record": record, **given}
    return deployment.decision({**asked, "containers": [container_of(record)] if record else []})


def earlier(record):
    """The same deployment as releases before the keys of every server recorded it."""
    return {key: value for key, value in record.items() if key != "key"}


@pytest.mark.parametrize(("policy", "address"), [("generate", "127.0.0.1"), ("generate", "0.0.0.0"), ("given", "127.0.0.1"), ("none", "0.0.0.0")])
def test_what_an_earlier_release_deployed_is_kept_with_its_key_or_without(policy, address):
    old = earlier(decided(policy=policy, address=address)["deployment"])
    kept = decided(old, policy, address)
    assert not kept["create"] and kept["deployment"] == old


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_another_owner_of_a_key_makes_no_new_container_and_none_at_all_does(address):
    policies = ("given", "generate")
    for before, after in [(one, two) for one in policies for two in policies]:
        record = decided(policy=before, address=address)["deployment"]
        kept = decided(record, after, address)
        assert not kept["create"] and kept["deployment"] == {**record, "key": deployment.KEYS[after]}
    for before, after in (("generate", "none"), ("none", "generate"), ("given", "none")):
        changed = decided(decided(policy=before, address=address)["deployment"], after, address)
        assert changed["create"] and "--middleware" in changed["reason"]


def test_a_key_for_all_servers_is_a_key_that_is_given():
    assert deployment.key_of({"key_policy": "generate"}, "for all") == deployment.key_of({"api_key": "mine", "key_policy": "given"}) == "given"
    assert deployment.key_of({"api_key": "", "key_policy": "generate"}, "for all") == "generated", "the server says that it wants none of it"
    assert deployment.key_of({"key_policy": "none"}) == "none"


SMALL, WEIGHTS = {"small": "s1"}, {"small": "s1", "weights": "w1"}


def versioned(directory="/srv/models/m@0123456789abcd", content=WEIGHTS, **more):
    known = {"directory": directory, "content": {"small": None, "weights": None, **content}}
    manifest = more.pop("manifest", "m1")
    return deployment.build(PLANNED, WANTED, IMAGE, manifest, more.pop("inputs", "i"), PATHS | LIMITS, known)


def test_a_version_is_mounted_by_the_name_that_never_changes():
    built = versioned()
    assert built["container"]["volumes"][0] == "/srv/models/m@0123456789abcd:/models/a:ro"
    assert (built["model_path"], deployment.mounted_directory(built), deployment.version(built)) == (
        "/srv/models/m", "/srv/models/m@0123456789abcd", "0123456789abcd",
    )  # fmt: skip
    assert deployment.version(build()) == "" == deployment.version(versioned("/data/elsewhere/m@1"))


def test_content_is_hashed_as_far_as_it_was_known():
    assert versioned()["content"] == WEIGHTS and versioned(content=SMALL)["content"] == SMALL and "content" not in versioned(content={})
    assert len({versioned()["spec"], versioned(content=SMALL)["spec"], versioned(content={})["spec"]}) == 3
    assert versioned("/srv/models/m", {})["spec"] == build()["spec"], "what earlier releases made is hashed as ever"


@pytest.mark.parametrize("known", [{}, SMALL, WEIGHTS])
@pytest.mark.parametrize("since", [{}, SMALL, WEIGHTS])
def test_what_becomes_known_of_a_content_restarts_nothing(known, since):
    record = versioned(content=known)
    decision = deployment.decide(versioned(content=since), record, [container_of(record)])
    assert (decision["create"], decision["reason"]) == (False, "unchanged") and decision["deployment"]["spec"] == record["spec"]
    assert decision["deployment"].get("verified") == ({"weights": "w1"} if known == SMALL and since == WEIGHTS else None)
    again = deployment.decide(versioned(content=since), decision["deployment"], [container_of(record)])
    assert again == decision, "it is learned once"


def test_a_deployment_of_an_earlier_release_stays_as_it_is_recorded():
    record = build()
    decision = deployment.decide(versioned(), record, [container_of(record)])
    assert (decision["deployment"], decision["create"], decision["lacking"]) == (record, False, ["a model that is mounted by its version"])


@pytest.mark.parametrize("other", [{"small": "s2"}, {"small": "s1", "weights": "w2"}, {"small": "s2", "weights": "w1"}])
def test_other_content_under_the_same_names_and_sizes_makes_a_new_container(other):
    record = versioned("/srv/models/m")
    decision = deployment.decide(versioned("/srv/models/m", other), record, [container_of(record)])
    assert (decision["create"], decision["reason"]) == (True, "the files in /srv/models/m changed")
    learned = {**versioned("/srv/models/m", SMALL), "verified": {"weights": "w1"}}
    if "weights" in other:
        assert deployment.decide(versioned("/srv/models/m", other), learned, [container_of(learned)])["create"]


def test_a_new_version_is_named_with_the_one_before():
    record, fresh = versioned(), versioned("/srv/models/m@ffffffffffffff", {"small": "s2", "weights": "w2"}, manifest="m2", inputs="j")
    reason = deployment.decide(fresh, record, [container_of(record)])["reason"]
    assert reason == "the files in /srv/models/m changed from version 0123456789abcd to ffffffffffffff"
    # New files are planned anew, so that figures among the arguments may follow them.
    container = {**fresh["container"], "command": [*fresh["container"]["command"], "--new"]}
    told = deployment.changed_because(record, {**fresh, "container": container})
    assert told == f"{reason}, and its arguments changed (nothing -> --new)"


def test_a_container_that_has_to_be_made_anyway_mounts_the_version():
    record = build()
    decision = deployment.decide(versioned(), record, [])
    assert decision["create"] and decision["lacking"] == [] and deployment.version(decision["deployment"]) == "0123456789abcd"
    assert decision["deployment"]["container"]["command"] == record["container"]["command"] and decision["deployment"]["spec"] != record["spec"]
    assert deployment.decide(versioned(), decision["deployment"], [container_of(decision["deployment"])])["create"] is False


def test_of_two_versions_that_look_alike_the_one_of_the_same_content_comes_back():
    ran = versioned("/srv/models/m@1", WEIGHTS)

    def facts(directory, weights):
        return {"manifest": "m1", "directory": directory, "content": {"small": "s1", "weights": weights}}

    here = {"/srv/models/m": facts("/srv/models/m@2", "w2"), "/srv/models/m@1": facts("/srv/models/m@1", "w1")}
    assert deployment.with_its_model(ran, here) == ran
    unknown = {"/srv/models/m": facts("/srv/models/m@2", None), "/srv/models/m@1": facts("/srv/models/m@1", "w1")}
    assert deployment.with_its_model(ran, unknown) == ran
    with pytest.raises(GB10Error, match="are gone"):
        deployment.with_its_model(ran, {"/srv/models/m": facts("/srv/models/m@2", "w2")})
    earlier = build()
    assert deployment.version(deployment.with_its_model(earlier, here)) == "2"


GIB = 2**30


def with_cache(gib, tokens, spec="s"):
    return {
        "name": "a",
        "inputs": "i",
        "spec": spec,
        "model_path": "/m",
        "container": {"image": "i", "command": [spec], "volumes": ["/m:/models/a:ro"]},
        "planned": {"kv_cache_bytes": int(gib * GIB), "kv_tokens": tokens},
    }


@pytest.mark.parametrize(
    ("now", "tokens", "gain"), [(64.6, 1031, {"bytes": int(64.6 * GIB) - 60 * GIB, "tokens": 31}), (60.4, 1100, {}), (50, 900, {}), (61, 1000, {})]
)
def test_a_kept_deployment_says_what_a_fresh_plan_would_give_more(now, tokens, gain):
    """Less, or as much as memory moves from boot to boot, is not spoken of; nothing is restarted for it either way."""
    kept, fresh = with_cache(60, 1000), with_cache(now, tokens, "t")
    running = [{"name": "gb10-vllm-a", "labels": {"gb10.vllm.spec": "s"}}]
    decision = deployment.decide(fresh, kept, running)
    assert (decision["create"], decision["deployment"], decision.get("gain", {})) == (False, kept, gain)
    assert "gain" not in deployment.decide(fresh, kept, running, replan=True)
    assert deployment.gain({}, {"planned": None}) == {}


def test_what_the_box_saw_stands_beside_what_was_predicted():
    facts = {
        "beside_bytes": 4 * GIB, "beside_uncertainty_bytes": GIB // 8, "host_bytes": 2 * GIB, "graph_bytes": GIB // 2,
        "memory": {"lowest_bytes": 14 * GIB, "lowest_start_bytes": 11 * GIB},
    }  # fmt: skip
    lines = deployment.comparison({"beside_bytes": {"value": 8 * GIB, "source": "assumed"}}, facts).splitlines()
    assert (
        lines[1].split()[:6] == ["beside", "weights", "and", "KV", "cache", "8.00"]
        and "4.00 GiB" in lines[1]
        and "the next plan uses what was measured" in lines[1]
    )
    split = "CUDA graphs 0.50, processes on the host 2.00, CUDA context, activations, workspaces 1.50"
    assert lines[2] == f"Measured on the box, known to 0.12 GiB; of it {split} GiB."
    assert lines[3] == "At least 14.00 GiB were left since it was ready, 11.00 while it started."
    assert len(deployment.comparison({"kv_tokens": 1}, {"kv_tokens": 1}).splitlines()) == 2


def test_the_plan_of_what_is_beside_goes_into_the_record_where_there_is_one():
    """Records of earlier releases have none and stay as they are."""
    assert "beside_bytes" not in build()["planned"]
    part = {"value": GIB, "source": "measured", "why": "w"}
    assert build({**PLANNED, "beside_bytes": part})["planned"]["beside_bytes"] == part
