# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules of a router on a host with the distribution's HAProxy, whose /etc/haproxy and /run are those of a namespace; systemctl is a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import real_router

ROOT = Path(__file__).parents[2]
INSIDE = ROOT / "tests/support/router_host/inside"
pytestmark = pytest.mark.skipif(not real_router.installed() or os.geteuid() != 0, reason="needs root and HAProxy (tests/setup --router)")

BEGIN = """
import json, os, pathlib, subprocess, sys
sys.path[:0] = [{collections!r}, {support!r}]
import real_router
from real_router import behind, settings
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router import apply, drain, haproxy, look
from ansible_collections.gb10.vllm.plugins.plugin_utils._router import configuration

engines = [real_router.StubEngine(name, "tiny", "127.0.0.%d" % number) for number, name in ((2, "spark-01"), (3, "spark-02"))]
servers = [behind(one.name, "tiny", one.server.server_address[0], one.port, ["tiny"]) for one in engines]
given = settings()
version = [int(part) for part in look.version().split(".")[:2]]
# Where nothing listens for a syslog, and the package's user may not be there.
files = lambda servers=servers, **more: configuration.files(servers, given | more, version)
cfg = pathlib.Path("/etc/haproxy/haproxy.cfg")
def refused(call):
    try:
        call()
    except GB10Error as error:
        return str(error)
    raise SystemExit("it was not refused")
def pem(**paths):
    return apply.certificate(paths, ["localhost", "127.0.0.1"])
try:
{body}
finally:
    subprocess.run(["systemctl", "stop", "haproxy"])
"""


def inside(place: Path, body: str) -> str:
    text = BEGIN.replace("{collections!r}", repr(str(ROOT / ".ansible/collections"))).replace("{support!r}", repr(str(ROOT / "tests/support")))
    text = text.replace("{body}", textwrap.indent(textwrap.dedent(body), "    "))
    command = ["unshare", "-m", INSIDE, place, sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
    return done.stdout


def test_from_the_package_to_a_router_and_over_changes(tmp_path):
    said = inside(
        tmp_path,
        """
        found = look.router()
        assert found["config"] == {"present": True, "stock": True, "ours": False, "digest": ""} and not found["running"], found
        text, made = pem()
        assert made and apply.apply(files(), text, {"servers": servers}) is True
        assert pem() == (text, False) and apply.apply(files(), text, {"servers": servers}) is False
        found = look.router()
        assert found["running"] == found["config"]["digest"] and found["config"]["ours"] and not found["problem"]
        assert {(one["box"], one["server"]) for one in found["servers"]} == {("spark-01", "tiny"), ("spark-02", "tiny")}
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in cfg.parent.glob("*") if path.is_file() and "made" not in path.name}
        assert modes.pop("gb10-router.pem") == "0o600" and set(modes.values()) == {"0o640"}, modes
        # Drained here stays drained over a new configuration and over a restart, and says by whom.
        drain.drain(haproxy.everybody, [("tiny", "spark-01")], {"run": "r", "owner": "anna@laptop"}, "a rollout")
        assert apply.apply(files(timeout_s=900), text, {"servers": servers}) is True
        subprocess.run(["systemctl", "restart", "haproxy"], check=True)
        haproxy.ask_at(haproxy.SOCKET)("show info")
        found = look.router()
        assert [one["status"][:5] for one in found["servers"] if one["box"] == "spark-01"] == ["DRAIN"], found["servers"]
        assert found["drains"]["tiny/spark-01"]["owner"] == "anna@laptop"
        assert drain.ready(haproxy.everybody, [("tiny", "spark-01")], 20) == {"ready": ["tiny/spark-01"], "others": [], "away": {}, "unkept": ""}
        # Killed as by a power cut, it has not heard of a drain that it was told after its last reload; what is written down says so.
        assert drain.drain(haproxy.everybody, [("tiny", "spark-01")], {"run": "r", "owner": "anna@laptop"}, "a rollout")["unkept"] == ""
        pids = [line.split()[0] for line in haproxy.ask_at(haproxy.MASTER)("show proc").splitlines() if line[:1].isdigit()]
        subprocess.run(["kill", "-KILL", *pids], check=True)
        subprocess.run(["systemctl", "restart", "haproxy"], check=True)
        haproxy.ask_at(haproxy.SOCKET)("show info")
        assert [one["held"] for one in look.router()["servers"] if one["box"] == "spark-01"] == ["drain"]
        print("done")
        """,
    )
    assert said.endswith("done\n")


def test_a_certificate_follows_the_names_and_what_is_given(tmp_path):
    inside(
        tmp_path,
        """
        text, made = pem()
        assert made and look.certificate_names("/etc/haproxy/gb10-router-made.crt") == ["localhost", "127.0.0.1"]
        apply.apply(files(), text, {"servers": servers, "certificate": {}})
        assert look.router()["certificate_names"] == ["localhost", "127.0.0.1"]
        assert apply.certificate({}, ["localhost"]) == (text, False), "one name less is no reason to make all clients learn another"
        more, made = apply.certificate({}, ["localhost", "127.0.0.1", "10.0.0.100", "fd00::100"])
        assert made and more != text and look.certificate_names("/etc/haproxy/gb10-router-made.crt")[2:] == ["10.0.0.100", "fd00::100"]
        os.mkdir("/run/own")
        real_router.make_certificate(pathlib.Path("/run/own"))
        os.chmod("/run/own/key.pem", 0o600)
        own = {"certificate": "/run/own/certificate.pem", "key": "/run/own/key.pem"}
        given_text, made = pem(**own)
        assert not made and apply.apply(files(), given_text, {"servers": servers, "certificate": own}) is True
        assert look.router()["record"]["certificate"] == own and not look.router()["stale_certificate"]
        moved = dict(own, certificate="/run/own/moved.pem")
        os.rename(own["certificate"], moved["certificate"])
        assert apply.apply(files(), pem(**moved)[0], {"servers": servers, "certificate": moved}) is False
        assert look.router()["record"]["certificate"] == moved, "the same elsewhere is remembered, or it would be new in every run"
        """,
    )


def test_what_haproxy_refuses_changes_nothing(tmp_path):
    inside(
        tmp_path,
        """
        text, _made = pem()
        apply.apply(files(), text, {"servers": servers})
        before = {path: path.read_bytes() for path in cfg.parent.glob("*") if path.is_file()}
        broken = files() | {"haproxy.cfg": files()["haproxy.cfg"] + "\\nno such word\\n"}
        assert "HAProxy refuses the new configuration, so the old one stays" in refused(lambda: apply.apply(broken, text, {}))
        assert before == {path: path.read_bytes() for path in cfg.parent.glob("*") if path.is_file()}
        # One that it takes, but cannot run: its port is somebody's.
        taken = real_router.StubEngine("taken", "tiny", "127.0.0.1", real_router.free_port())
        assert "did not take up the new configuration, so the old one is back" in refused(lambda: apply.apply(files(port=taken.port), text, {}))
        assert before == {path: path.read_bytes() for path in cfg.parent.glob("*") if path.is_file()}
        assert look.router()["running"] == look.configuration()["digest"] != ""
        """,
    )


def test_somebodys_configuration_is_never_overwritten(tmp_path):
    inside(
        tmp_path,
        """
        mine = cfg.read_text() + "\\n# mine\\n"
        cfg.write_text(mine)
        assert "/etc/haproxy/haproxy.cfg is somebody's" in refused(apply.refuse_others)
        assert cfg.read_text() == mine and not look.configuration()["stock"]
        """,
    )


def test_a_certificate_that_does_not_match_its_key_is_refused(tmp_path):
    inside(
        tmp_path,
        """
        for name in "ab":
            os.mkdir("/run/" + name)
            real_router.make_certificate(pathlib.Path("/run/" + name))
        wrong = {"certificate": "/run/a/certificate.pem", "key": "/run/b/key.pem"}
        os.chmod("/run/b/key.pem", 0o600)
        assert "/run/b/key.pem is not the key of /run/a/certificate.pem" in refused(lambda: pem(**wrong))
        os.chmod("/run/a/key.pem", 0o600)
        text, made = pem(certificate="/run/a/certificate.pem", key="/run/a/key.pem")
        assert not made and text.count("BEGIN") == 2
        """,
    )


def test_no_key_is_in_what_the_module_says(tmp_path):
    secret = "a-key-that-nobody-may-see-anywhere"
    arguments = {"files": {"haproxy.cfg": "global\n", "gb10-boxes.map": f"boxes {secret}\n"}, "names": ["localhost"]}
    arguments |= {"_ansible_check_mode": False, "_ansible_no_log": False}
    body = f"""
        done = subprocess.run([sys.executable, {str(ROOT / "plugins/modules/router_config.py")!r}], env={{**os.environ, "PYTHONPATH": sys.path[0]}},
                              input={json.dumps({"ANSIBLE_MODULE_ARGS": arguments})!r}, capture_output=True, text=True)
        assert "failed" in done.stdout and "HAProxy" in done.stdout, done
        assert {secret!r} not in done.stdout + done.stderr, done.stdout
        """
    inside(tmp_path, body)
