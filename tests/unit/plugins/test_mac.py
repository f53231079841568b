# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller runs, on one that has neither /proc nor what only Linux offers, as a Mac."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
# What Python has on Linux and not on macOS.
MAC = r"""
import builtins, io, os, signal, socket, select, sys
ONLY = {os: ("sched_", "SCHED_", "posix_fadvise", "posix_fallocate", "POSIX_FADV", "memfd_create", "pidfd_open", "O_TMPFILE", "O_PATH", "O_DIRECT",
             "copy_file_range", "splice", "eventfd", "setns", "unshare", "getrandom", "RTLD_DEEPBIND", "listxattr", "getxattr", "setxattr"),
        signal: ("pidfd_send_signal", "sigtimedwait", "sigwaitinfo"), select: ("epoll", "EPOLL"),
        socket: ("AF_NETLINK", "AF_PACKET", "AF_VSOCK", "SO_BINDTODEVICE", "TCP_KEEPIDLE", "TCP_USER_TIMEOUT")}
for module, names in ONLY.items():
    for name in [one for one in dir(module) if one.startswith(names) and one != "O_DIRECTORY"]:
        delattr(module, name)
for name in ("spwd", "ossaudiodev"):
    sys.modules[name] = None
GONE = ("/proc", "/sys", "/dev/shm", "/etc/machine-id", "/etc/os-release")
def gone(path):
    path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    return path.startswith(GONE)
def without(function):
    def asked(path, *rest, **more):
        if gone(path):
            raise FileNotFoundError(2, "No such file or directory", path)
        return function(path, *rest, **more)
    return asked
builtins.open = io.open = without(io.open)
for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink"):
    setattr(os, name, without(getattr(os, name)))
"""
SCRIPT = r"""
import importlib, pathlib, platform, pkgutil, subprocess
platform.system = lambda: "Darwin"
import ansible_collections.gb10.vllm.plugins as plugins
import ansible.plugins.loader
tried = 0
for kind in ("action", "callback", "filter", "lookup", "plugin_utils"):
    for path in sorted((pathlib.Path(ROOT) / "plugins" / kind).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        importlib.import_module(f"ansible_collections.gb10.vllm.{name}")
        tried += 1
assert tried > 100, tried

from ansible_collections.gb10.vllm.plugins.filter.gb10 import FilterModule
config = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 2,
          "dtype": "bfloat16", "max_position_embeddings": 8192}
assert FilterModule().filters()["kv_cache_bytes"](config, max_model_len=4096)

from ansible_collections.gb10.vllm.plugins.plugin_utils._follow import controller
asked = []
def ps(command, **more):
    asked.append((command, more["env"]))
    return subprocess.CompletedProcess(command, 0, "Thu Nov 26 13:00:00 2026\n" if command[-1] == "77" else "", "")
controller.subprocess.run = ps
here = controller.this_run(77)
assert here == controller.this_run(77) and here["controller"]["pid_started"] == "Thu Nov 26 13:00:00 2026", here
assert not controller.has_ended(here, here)
assert controller.has_ended({"controller": {**here["controller"], "pid": 78}}, here)
assert all(command[0] == "ps" and (more["LC_ALL"], more["TZ"]) == ("C", "UTC") for command, more in asked)
print("done")
"""


def test_a_plan_on_a_mac(tmp_path):
    """The playbook itself, its workers and the modules that run on this machine."""
    (tmp_path / "sitecustomize.py").write_text(f"import os\nos.mkdir({str(tmp_path)!r} + f'/seen-{{os.getpid()}}')\n{MAC}")
    model = tmp_path / "model"
    model.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 4, "hidden_size": 512, "intermediate_size": 1024}
    config |= {"num_attention_heads": 8, "num_key_value_heads": 2, "torch_dtype": "bfloat16", "max_position_embeddings": 8192, "vocab_size": 1024}
    (model / "config.json").write_text(json.dumps(config))
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "BF16", "shape": [1024, 512], "data_offsets": [0, 2**20]}}).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2**20))
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".ansible/collections"),
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "gb10.vllm.plan", "-e", f"model={model}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=600)
    assert len(list(tmp_path.glob("seen-*"))) > 1, "the playbook and its modules are without it"
    assert done.returncode == 0 and "fits" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]


def test_all_of_the_controllers_code_loads_plans_and_knows_its_runs_without_linux():
    source = f"{MAC}\nROOT = {str(CHECKOUT / '.ansible/collections/ansible_collections/gb10/vllm')!r}\n{SCRIPT}"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / ".ansible/collections"), "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".ansible/collections")}
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0 and done.stdout.strip() == "done", done.stderr[-3000:]
