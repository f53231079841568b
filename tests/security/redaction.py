# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is taken out of a log before people see it.   PYTHONPATH=DIR python redaction.py

1 follow   a start that fails: its log goes to the controller with the API key taken out; what the server's `env` holds is not (collect() of the
           playbook diagnose does take it out)
2 shapes   usual shapes of secrets in a log whose keys are not known (diagnose -e log=FILE)
"""

import sys
import tempfile
from pathlib import Path

from ansible_collections.gb10.vllm.plugins.module_utils._engine import probe, readiness

try:
    from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import redact
except ImportError:
    redact = readiness.redact
keys = Path(tempfile.mkdtemp(prefix="gb10-keys-"), "a")
keys.mkdir()
(keys / "key.env").write_text("VLLM_API_KEY=the-api-key\n")
(keys / "server.env").write_text("DB=pa55-of-the-env\nHF_TOKEN=tok-of-the-env\n")
f = probe.Follower(
    container="c", base_url="http://127.0.0.1:9", key_file=str(keys / "key.env"), served_model_name=None, kind="auto", prompt="1", stall_s=1, answer_timeout_s=1
)
probe.kernel_log = lambda since: []
result = {}
f._fail(
    result,
    "it exited with code 1",
    ["RuntimeError: login failed: the-api-key", "psycopg.OperationalError: password=pa55-of-the-env user=x", "HF_TOKEN=tok-of-the-env"],
    1.0,
)
print("1", [line for line in result["log"]])
bad = [secret for secret in ("the-api-key", "pa55-of-the-env", "tok-of-the-env") if secret in str(result)]
for text in (
    "Authorization: Bearer sk-live-1234567890",
    '{"api_key": "sk-live-1234567890"}',
    "VLLM_API_KEY='it''s'",
    "--api-key=sk-live-1234567890",
    "api_key=['a', 'b']",
    "AWS_SECRET_ACCESS_KEY=abcd1234",
    "https://user:pass@proxy:3128",
):
    bad += [text] if redact(text, []) == text else []
    print("2", "kept  " if redact(text, []) == text else "hidden", text)
sys.exit(bool(bad))
