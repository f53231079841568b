# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does a vLLM write the API key into its compile cache? It would: what its environment holds goes there (vllm/envs.py compile_factors).

The collection's own start command is run with a key file, and the function of that vLLM on the environment that comes out of it. What it returns is what
compilation/backends.py writes to CACHE/torch_compile_cache/HASH/.../cache_key_factors.json.
python key_in_compile_cache.py CHECKOUT [PATH/TO/vllm ...], without a vLLM the environment alone is judged; ends with 1 where there is a hole.
"""

import ast
import logging
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

found = {}
for n in ast.parse(Path(sys.argv[1], "plugins/plugin_utils/_decide/deployment.py").read_text()).body:
    if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") in ("START", "ENTRYPOINT"):
        found[n.targets[0].id] = n.value
start = ast.literal_eval(found.get("START") or found["ENTRYPOINT"].elts[2])
keys = tempfile.mkdtemp(prefix="gb10-keys-")
Path(keys, "key.env").write_text("VLLM_API_KEY=the-secret-key\n")
environment = subprocess.run(
    ["/bin/sh", "-c", start.replace("/run/gb10", keys), "gb10-vllm", "env", "-0"],
    env={"PATH": os.environ["PATH"], "GB10_KEY": "required"},
    capture_output=True,
    text=True,
    check=True,
).stdout
os.environ.update(one.split("=", 1) for one in environment.split("\0") if "=" in one)
bad = "the-secret-key" in environment
print("the environment that vLLM gets:", "holds the key" if bad else "holds no key")
for place in map(Path, sys.argv[2:]):
    source = (place / "envs.py").read_text()
    tree = ast.parse(source)
    keep = [n for n in tree.body if not isinstance(n, ast.If) or "TYPE_CHECKING" in ast.dump(n.test)]
    for name in ("vllm", "vllm.config", "vllm.config.utils", "vllm.logger", "vllm.utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["vllm.config.utils"].normalize_value = lambda x: (
        x if x is None or isinstance(x, (bool, int, float, str)) else repr(x)
    )  # strings pass unchanged there too
    sys.modules["vllm.logger"].init_logger = logging.getLogger
    space = {"__name__": "vllm.envs", "__file__": str(place / "envs.py")}
    sys.modules["vllm.envs"] = types.ModuleType("vllm.envs")
    logging.disable()
    exec(compile(ast.Module(tree.body, []), str(place / "envs.py"), "exec"), space)
    factors = space["compile_factors"]()
    version = next((l.split("'")[1] for l in (place / "_version.py").read_text().splitlines() if l.startswith("__version__ = ")), "?")
    seen = [k for k, v in factors.items() if "the-secret-key" in str(v)]
    print(version, "->", seen or "not in it")
    bad |= bool(seen)
sys.exit(bad)
