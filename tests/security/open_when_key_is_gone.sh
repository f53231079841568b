#!/bin/sh
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The container's own start command when the key file is missing or cannot be read: does vLLM start without a key?
# sh open_when_key_is_gone.sh CHECKOUT PYTHON; ends with 1 where there is a hole.
dir=$(mktemp -d); script=$("$2" - "$1" <<'PY'
import ast, sys
found = {}
for n in ast.parse(open(sys.argv[1] + "/plugins/plugin_utils/_decide/deployment.py").read()).body:
    if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") in ("START", "ENTRYPOINT"):
        found[n.targets[0].id] = n.value
print(ast.literal_eval(found.get("START") or found["ENTRYPOINT"].elts[2]))
PY
)
script=$(printf %s "$script" | sed "s#/run/gb10#$dir#g")
run() { GB10_KEY=required sh -c "$script" gb10-vllm sh -c 'echo "vLLM starts; VLLM_API_KEY=${VLLM_API_KEY-(unset)}"; echo "arguments: $*"' vllm 'a b' '$(id)' '"; id; "'; }
printf "VLLM_API_KEY='k'\n" > "$dir/key.env"; echo "with the file:"; run || exit 1
rm "$dir/key.env"; echo "file removed by hand, or not to be read by the container's root (userns-remap, SELinux):"; run && hole=1
: > "$dir/key.env"; echo "file cut short by a full disk:"; run && hole=1
exit ${hole-0}
