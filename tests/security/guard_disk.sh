#!/bin/sh
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The guard on a full disk: may a server start, and is a hung one seen?     sh guard_disk.sh CHECKOUT PYTHON
d=$(mktemp -d); mkdir -p $d/servers/a $d/bin; printf '#!/bin/sh\necho "$@" >> %s/log\n' $d > $d/bin/systemctl; chmod +x $d/bin/systemctl
echo '{"requested_bytes": 1, "floor_bytes": 1, "served_model_name": "m", "probe_url": "http://127.0.0.1:9"}' > $d/servers/a/deployment.json
ln -s /dev/full $d/servers/a/starts.json.new; ln -s /dev/full $d/servers/a/starting.json.new; ln -s /dev/full $d/servers/a/failures.json.new      # every write ends in ENOSPC
export GB10_STATE_DIR=$d GB10_MEMORY_DIR=$d/run GB10_SAID_DIR=$d/said PATH=$d/bin:$PATH
echo "before-start:"; "$2" $1/roles/server/files/guard.py before-start a >$d/said 2>&1; started=$?; tail -2 $d/said
"$2" $1/roles/server/files/guard.py after-stop a >/dev/null 2>&1
for n in 1 2 3 4 5 6; do "$2" $1/roles/server/files/guard.py watch a >/dev/null 2>&1; done
echo "six silent looks; systemctl was asked to:"; grep -v is-active $d/log || echo "  nothing (the count of failures could not be kept)"
[ $started = 0 ] && grep -q restart $d/log || exit 1      # hole: it may not start, or a hung one is not seen
