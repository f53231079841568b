# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What arguments name on a box: mounted and rewritten, or refused with the remedy; the files are real ones, read as a box reads them."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gb10.vllm.plugins.module_utils._model import reach
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, WRITTEN
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import mounts
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import wanted_inputs


@pytest.fixture
def box(tmp_path):
    """A directory of models with one model, an adapter, a draft, and a template elsewhere; all open to everybody."""
    for folder in ("models/tiny", "models/org/draft", "loras/sql", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("models/tiny/config.json", "models/tiny/tool.jinja", "models/org/draft/config.json", "loras/sql/adapter_config.json", "etc/x.jinja"):
        (tmp_path / name).write_text("{}")
    for place, folders, names in os.walk(tmp_path):
        for name in folders:
            os.chmod(os.path.join(place, name), 0o755)
        for name in names:
            os.chmod(os.path.join(place, name), 0o644)
    return tmp_path


def server(box, **args):
    return {"name": "a", "model": "tiny", "model_path": f"{box}/models/tiny", "args": args}


def found(box, **args):
    one = server(box, **args)
    named = reach.named(mounts.files_named([one], f"{box}/models"))
    return mounts.reached(one, named.get("a", {})), named


def inside(volumes, path):
    """What a container with these volumes finds at ``path``: the place on the box."""
    sources = {volume.split(":")[1]: volume.split(":")[0] for volume in volumes}
    base = max((target for target in sources if path == target or path.startswith(target + "/")), key=len)
    return sources[base] + path.removeprefix(base)


@pytest.mark.parametrize(
    "name", ["chat_template", "--chat-template", "tool_parser_plugin", "reasoning_parser_plugin", "log_config_file", "hf_config_path", "config"]
)
def test_a_file_is_mounted_and_the_argument_names_it_there(box, name):
    reached, _named = found(box, **{name: f"{box}/etc/x.jinja"})
    (value,) = reached.args.values()
    assert not reached.mistakes and value.startswith("/run/gb10-files/") and value.endswith("/x.jinja")
    assert inside(reached.volumes, value) == f"{box}/etc/x.jinja" and reached.volumes[0].endswith(":ro")


def test_every_argument_of_the_table_that_names_something_is_looked_at(box):
    """A column of the table is no promise unless each of its rows is mounted, refused or known to be written."""
    for name, row in ARGUMENTS.items():
        if not row.place or name in ("model", "download_dir", "default_mm_loras", "spec_model"):
            continue
        value = [f"sql={box}/etc/x.jinja"] if name == "lora_modules" else "/srv/x" if row.place == WRITTEN else f"{box}/etc/x.jinja"
        reached, _named = found(box, **{name: value})
        assert reached.volumes or reached.mistakes, name


@pytest.mark.parametrize("form", ["text", "json", "mapping", "one text"])
def test_adapters_in_all_their_forms(box, form):
    path = f"{box}/loras/sql"
    item = {"text": f"sql={path}", "json": json.dumps({"name": "sql", "path": path}), "mapping": {"name": "sql", "path": path}}.get(form, f"sql={path}")
    reached, _named = found(box, enable_lora=True, lora_modules=item if form == "one text" else [item])
    (made,) = reached.args["lora_modules"]
    where = json.loads(made)["path"] if form == "json" else made["path"] if form == "mapping" else made.partition("=")[2]
    assert inside(reached.volumes, where) == path and not reached.mistakes


@pytest.mark.parametrize("value", ["tool.jinja", "./tool.jinja", "/models/a/tool.jinja", "MODEL/tool.jinja"])
def test_what_lies_in_the_model_needs_no_mount(box, value):
    reached, _named = found(box, chat_template=value.replace("MODEL", f"{box}/models/tiny"))
    assert reached.args["chat_template"] == "/models/a/tool.jinja" and reached.volumes == [] and not reached.mistakes


def test_a_draft_is_found_among_the_models_and_the_plan_knows_it_by_its_new_name(box):
    one = server(box, speculative_config={"model": "org/draft", "num_speculative_tokens": 3})
    named = reach.named(mounts.files_named([one], f"{box}/models"))
    assert f"{box}/models/org/draft" in mounts.models_wanted([one], f"{box}/models")
    made = mounts.as_mounted([one], named)[0]["args"]["speculative_config"]["model"]
    facts = {"config": {}}
    assert mounts.with_drafts({f"{box}/models/org/draft": facts}, [one], named)[made] is facts


def test_forms_of_one_argument_are_the_same(box):
    for args in ({"spec_model": "org/draft", "spec_tokens": 2}, {"speculative_config.model": "org/draft"}, {"speculative_config": '{"model": "org/draft"}'}):
        reached, _named = found(box, **args)
        assert reached.args["speculative_config"]["model"].startswith(mounts.HERE) and reached.volumes


@pytest.mark.parametrize(
    "args",
    [
        {"chat_template": "{{ messages[0].content }}"},
        {"generation_config": "vllm"},
        {"speculative_config": {"method": "ngram", "model": "ngram"}},
        {"speculative_config": {"method": "mtp", "num_speculative_tokens": 1}},
        {"compilation_config": {"cache_dir": "/cache/mine"}},
        {"tool_call_parser": "hermes", "max_num_seqs": 4},
        {"allowed_origins": ["*"]},
    ],
)
def test_what_names_nothing_on_the_box_stays(box, args):
    reached, named = found(box, **args)
    assert reached.args is args or reached.args == args
    assert not named and not reached.volumes and not reached.mistakes


@pytest.mark.parametrize(
    "args,word",
    [
        ({"chat_template": "/srv/gone.jinja"}, "image:/srv/gone.jinja"),
        ({"tokenizer": "ORG/NAME"}, "hf download ORG/NAME --local-dir"),
        ({"lora_modules": ["a=/srv/gone"]}, "image:/srv/gone"),
        ({"speculative_config": {"model": "/srv/draft", "num_speculative_tokens": 1}}, "image:/srv/draft"),
        ({"chat_template": "~/x.jinja"}, "whole path"),
        ({"ssl_certfile": "/etc/ssl/a.pem"}, "`tls:"),
        ({"uds": "/run/vllm.sock"}, "`address` and `port`"),
        ({"compilation_config": {"debug_dump_path": "/srv/dump"}}, "/cache"),
        ({"profiler_config": {"torch_profiler_dir": "/srv/dump"}}, "/cache"),
        ({"structured_outputs_config": {"reasoning_parser_plugin": "/srv/p.py"}}, "image:/srv/p.py"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_the_remedy(box, args, word):
    one = server(box, **args)
    said = mounts.files_refused([one], {}, {"named": reach.named(mounts.files_named([one], f"{box}/models"))})
    assert word in said and said.startswith("server a: args.") and len(said) <= 600 and "\n" not in said


@pytest.mark.parametrize(
    "config",
    [
        {"kv_connector": "ExampleConnector", "kv_role": "kv_both", "kv_connector_extra_config": {"shared_storage_path": "/srv/kv"}},
        {"kv_connector": "MultiConnector", "kv_connector_extra_config": {"connectors": [{"kv_connector_extra_config": {"shared_storage_path": "/srv/kv"}}]}},
        {"kv_connector": "OffloadingConnector", "kv_connector_extra_config": {"secondary_tiers": [{"type": "fs", "root_dir": "/srv/kv"}]}},
    ],
)
def test_where_a_connector_writes_is_a_place_that_the_container_may_write(box, config):
    text = json.dumps(config)
    for given in (config, text):
        reached, _named = found(box, kv_transfer_config=given)
        assert len(reached.mistakes) == 1 and "is /srv/kv, which the container may not write" in reached.mistakes[0]
        assert found(box, kv_transfer_config=json.loads(text.replace("/srv/kv", "/cache/kv")))[0].mistakes == []
    ec = {"ec_connector": "ECExampleConnector", "ec_connector_extra_config": {"shared_storage_path": "/srv/ec"}}
    assert "args.ec_transfer_config.ec_connector_extra_config.shared_storage_path is" in found(box, ec_transfer_config=ec)[0].mistakes[0]


def test_a_file_of_settings_that_a_connector_reads_is_mounted(box):
    config = {"kv_connector": "LMCacheConnectorV1", "kv_connector_extra_config": {"lmcache.config_file": f"{box}/etc/x.jinja"}}
    reached, _named = found(box, kv_transfer_config=config)
    value = reached.args["kv_transfer_config"]["kv_connector_extra_config"]["lmcache.config_file"]
    assert not reached.mistakes and inside(reached.volumes, value) == f"{box}/etc/x.jinja"


def test_a_file_of_the_image_is_said_to_be_one_and_is_known_from_what_runs(box):
    reached, named = found(box, chat_template="image:/vllm-workspace/examples/x.jinja")
    assert reached.args["chat_template"] == "/vllm-workspace/examples/x.jinja" and not reached.mistakes
    one = server(box, chat_template="/vllm-workspace/examples/x.jinja")
    named = reach.named(mounts.files_named([one], f"{box}/models"))
    runs = {"a": {"deployment": {"container": {"command": ["--chat-template", "/vllm-workspace/examples/x.jinja"]}}}}
    assert mounts.files_refused([one], {}, {"named": named}) and not mounts.files_refused([one], {}, {"named": named, "servers": runs})


def test_a_file_that_only_its_owner_may_read_is_refused(box):
    os.chmod(box / "etc" / "x.jinja", 0o000)
    one = server(box, chat_template=f"{box}/etc/x.jinja")
    said = mounts.files_refused([one], {}, {"named": reach.named(mounts.files_named([one], f"{box}/models"))})
    assert f"chmod -R a+rX {box}/etc/x.jinja" in said


def test_modes_are_those_of_a_root_without_capabilities():
    def status(mode, uid, gid):
        return os.stat_result((mode, 0, 0, 0, uid, gid, 0, 0, 0, 0))

    assert reach.may(status(0o100600, 0, 0), reach.READ) and not reach.may(status(0o100600, 1000, 1000), reach.READ)
    assert reach.may(status(0o100640, 1000, 0), reach.READ) and not reach.may(status(0o100640, 1000, 1000), reach.READ)
    assert reach.may(status(0o100644, 1000, 1000), reach.READ) and not reach.may(status(0o100044, 0, 0), reach.READ)
    assert not reach.may(status(0o40744, 1000, 1000), reach.ENTER)


def test_what_a_container_needs_of_a_model_is_in_its_facts(box):
    one = {"name": "a", "model_path": "/srv/models/tiny"}
    assert "chmod -R a+rX /srv/models/tiny" in mounts.model_mistakes(one, {"unreadable": "/srv/models/tiny/w.safetensors"})[0]
    code = {"code_elsewhere": ["nomic-ai/nomic-bert-2048"]}
    assert mounts.model_mistakes(one, code) == []
    for trusting in ({"trust_remote_code": True}, {"trust_remote_code": "always"}, {"args": {"trust_remote_code": "yes"}}):
        (said,) = mounts.model_mistakes({**one, **trusting}, code)
        assert "nomic-ai/nomic-bert-2048" in said and "auto_map" in said and len(said) <= 600


def cached(place, commit="c0ffee"):
    """A repository as huggingface_hub keeps it: links to blobs, one of them in a folder of its own."""
    home = place / "models--org--name"
    (home / "blobs").mkdir(parents=True)
    (home / "snapshots" / commit / "1_Pooling").mkdir(parents=True)
    for name, blob, up in (("config.json", "aaa", "../../"), ("model.safetensors", "bbb", "../../"), ("1_Pooling/config.json", "ccc", "../../../")):
        (home / "blobs" / blob).write_text(name)
        (home / "snapshots" / commit / name).symlink_to(f"{up}blobs/{blob}")
    return home / "snapshots" / commit


def test_the_links_of_a_snapshot_lead_to_its_files_in_the_container(tmp_path):
    place = cached(tmp_path)
    links = reach.links(str(place))
    volumes, said = mounts.link_mounts(links, "/models/a")
    assert not said and volumes == [f"{place.parents[1]}/blobs:/blobs:ro"]
    # What the kernel makes of the links below /models/a.
    for name in ("config.json", "1_Pooling/config.json"):
        at = os.path.normpath(os.path.join("/models/a", os.path.dirname(name), os.readlink(place / name)))
        assert os.path.samefile(inside(volumes, at), place / name)


def test_an_adapter_and_a_draft_of_two_repositories_do_not_meet(tmp_path):
    one, other = cached(tmp_path / "one"), cached(tmp_path / "two")
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    reached, _named = found(tmp_path, lora_modules=[f"x={one}", f"y={other}"])
    assert not reached.mistakes and len({volume.split(":")[1] for volume in reached.volumes}) == len(reached.volumes) == 4
    for item, place in zip(reached.args["lora_modules"], (one, other), strict=True):
        where = item.partition("=")[2]
        at = os.path.normpath(os.path.join(where, os.readlink(place / "config.json")))
        assert os.path.samefile(inside(reached.volumes, at), place / "config.json")


def test_links_to_other_disks_and_links_within(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "w.safetensors").write_text("w")
    model = tmp_path / "model"
    model.mkdir()
    (model / "real.json").write_text("{}")
    (model / "config.json").symlink_to("real.json")
    (model / "w.safetensors").symlink_to(tmp_path / "disk" / "w.safetensors")
    (model / "other.safetensors").symlink_to(tmp_path / "disk" / "w.safetensors")
    assert reach.links(str(model)) == [{"at": f"{tmp_path}/disk", "real": f"{tmp_path}/disk"}]


@pytest.mark.parametrize("at", ["/usr/lib", "/etc/x", "../../../../..", "/", "../other", "/tmp/w"])
def test_nothing_of_the_box_takes_the_place_of_the_image(at):
    volumes, said = mounts.link_mounts([{"at": at, "real": "/data"}], "/models/a")
    assert not volumes and "cp -L" in said[0]


def test_a_file_that_changes_is_another_wish_and_none_is_the_one_of_before(box):
    plain = {"name": "a", "address": "127.0.0.1", "key_policy": "none"}
    before, _named = found(box, chat_template=f"{box}/etc/x.jinja")
    (box / "etc" / "x.jinja").write_text("other")
    after, _named = found(box, chat_template=f"{box}/etc/x.jinja")
    assert wanted_inputs(plain, "i", "m", {}, before.digests) != wanted_inputs(plain, "i", "m", {}, after.digests)
    assert wanted_inputs(plain, "i", "m", {}, {}) == wanted_inputs(plain, "i", "m", {})


def test_what_answered_with_these_files_is_not_refused_for_them(box):
    model = {"manifest": "m", "unreadable": "/srv/models/tiny/unused.json"}
    one = {"name": "a", "model_path": "/srv/models/tiny"}
    held = {"a": {"deployment": {"spec": "s", "manifest": "m"}, "measured": {"spec": "s"}}}
    assert mounts.files_refused([one], {"/srv/models/tiny": model}, {"servers": held}) == ""
    assert mounts.files_refused([one], {"/srv/models/tiny": {**model, "manifest": "n"}}, {"servers": held})
    held["a"]["measured"] = {}
    assert mounts.files_refused([one], {"/srv/models/tiny": model}, {"servers": held})


def test_what_a_link_of_somebody_elses_leads_to_is_refused_and_not_mounted():
    link = {"at": "/home/u/key.env", "real": "/etc/gb10-vllm/b/key.env", "astray": "/srv/models/m/chat_template.jinja"}
    volumes, said = mounts.link_mounts([link], "/models/a")
    assert volumes == [] and len(said) == 1 and "/srv/models/m/chat_template.jinja is a link to /etc/gb10-vllm/b/key.env" in said[0]
    server = {"name": "a", "model": "m", "model_path": "/srv/models/m", "args": {"chat_template": "/home/u/t.jinja"}}
    facts = {"/home/u/t.jinja": {"path": "/home/u/t.jinja", "kind": "file", "real": "/etc/shadow", "astray": "/home/u/t.jinja"}}
    found = mounts.reached(server, facts)
    assert found.volumes == [] and len(found.mistakes) == 1 and "root make the link" in found.mistakes[0]


SPECULATION = {"model": "ORG/DRAFT", "num_speculative_tokens": 1, "revision": "r1"}
PARTS = {"enable_lora": True, "lora_modules": ["a=ORG/ADAPTER", {"name": "b", "path": "ORG/ADAPTER"}, "c=/srv/loras/sql"], "speculative_config": SPECULATION}


def test_drafts_and_adapters_of_a_hub_are_fetched_like_models(box):
    one, other = server(box, **PARTS), {**server(box, lora_modules=["x=ORG/ADAPTER"]), "name": "b"}
    named = reach.named(mounts.files_named([one, other], f"{box}/models"))
    assert "ORG" not in mounts.files_refused([one, other], {}, {"named": named}), "what will be brought is not missing"
    wanted = mounts.with_parts([one, other], f"{box}/models", named)
    assert [(part["model"], part["repo_id"], part["revision"], part["model_path"]) for part in wanted[2:]] == [
        ("ORG/ADAPTER", "ORG/ADAPTER", None, f"{box}/models/ORG/ADAPTER"),
        ("ORG/DRAFT", "ORG/DRAFT", "r1", f"{box}/models/ORG/DRAFT"),
    ], "each once, and no path"
    assert set(mounts.parts_wanted([one, other], f"{box}/models")) >= {f"{box}/models/ORG/ADAPTER", f"{box}/models/ORG/DRAFT"}
    # Before it is there the plan knows it by its name, for the hub tells its size.
    assert mounts.as_mounted([one], named)[0]["args"]["speculative_config"]["model"] == "ORG/DRAFT"


@pytest.mark.parametrize("where", ["models/tiny/sql/v1", "models/sql/v1"])
def test_a_relative_path_of_the_box_is_no_repository_elsewhere(box, where):
    (box / where).mkdir(parents=True)
    one = server(box, lora_modules=["a=sql/v1"])
    named = reach.named(mounts.files_named([one], f"{box}/models"))
    assert len(mounts.with_parts([one], f"{box}/models", named)) == 1 + where.startswith("models/sql")


def test_what_was_brought_is_mounted_by_its_version_and_known_by_its_manifest(box):
    one = server(box, **PARTS)
    named = reach.named(mounts.files_named([one], f"{box}/models"))
    told = {"present": True, "ours": True, "manifest": "m1", "config": {}}
    models = {f"{box}/models/ORG/{name}": {**told, "directory": f"{box}/models/ORG/{name}@1"} for name in ("ADAPTER", "DRAFT")}
    brought = mounts.reached(one, mounts.as_it_is(named, models)["a"])
    sources = {volume.split(":")[0] for volume in brought.volumes}
    assert sources >= {f"{box}/models/ORG/ADAPTER@1", f"{box}/models/ORG/DRAFT@1"}
    assert brought.digests["ORG/DRAFT"] == brought.digests["ORG/ADAPTER"] == "m1"
    mounted = mounts.as_mounted([one], named, models)[0]
    draft = mounted["args"]["speculative_config"]["model"]
    assert inside(brought.volumes, draft) == f"{box}/models/ORG/DRAFT@1" and mounts.with_drafts(models, [one], named)[draft]["manifest"] == "m1"
    # The next run reads it on the box: the same inputs, so nothing is replaced.
    for name in ("ADAPTER", "DRAFT"):
        (box / f"models/ORG/{name}@1").mkdir(parents=True)
        (box / f"models/ORG/{name}@1/config.json").write_text("{}")
        (box / f"models/ORG/{name}").symlink_to(f"{name}@1")
    seen = reach.named(mounts.files_named([one], f"{box}/models"))
    again = mounts.reached(one, mounts.as_it_is(seen, models)["a"])
    assert again.args == brought.args and again.digests == brought.digests and set(again.volumes) == set(brought.volumes)


def test_what_another_box_will_send_is_planned_under_its_name_in_the_container(box):
    one = server(box, speculative_config=SPECULATION)
    named = reach.named(mounts.files_named([one], f"{box}/models"))
    there = {f"{box}/models/ORG/DRAFT": {"present": True, "manifest": "m1", "config": {}}}
    draft = mounts.as_mounted([one], named, there)[0]["args"]["speculative_config"]["model"]
    assert draft.startswith(mounts.HERE) and draft in mounts.with_drafts(there, [one], named)
