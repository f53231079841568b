# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recipe that people share is not its user: its author neither loads code nor names places and addresses, and each such thing is said."""

from __future__ import annotations

import pytest
import recipe_corpus
from ansible_collections.gb10.vllm.plugins.module_utils._sizing.arguments import ARGUMENTS, PLUGIN
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import trust
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import Document, read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import imported


def taken(arguments="", env="", own=False):
    text = f"recipe_version: '2'\nmodel: a/b\nruntime: vllm\nenv: {{{env}}}\ncommand: |\n  vllm serve a/b {arguments}\n"
    return imported(read(text, "a.yaml"), own=own)


ARGUMENTS_OF_AN_AUTHOR = [
    "--middleware os.system",
    "--worker-extension-cls x.y",
    "--worker-cls x.Y",
    "--logits-processors a.b c.d",
    "--tool-parser-plugin /x/y.py",
    "--tool-parser-plugin y.py",
    "--reasoning-parser-plugin=/x.py",
    "--structured-outputs-config.reasoning_parser_plugin x.py",
    "--config /x.yaml",
    "--config x.yaml",
    "--log-config-file /x.json",
    "--allowed-local-media-path /",
    "--allowed-local-media-path models",
    "--chat-template /etc/shadow",
    "--chat-template /run/gb10/key.env",
    "--chat-template ../../etc/shadow",
    "--chat-template /opt/../etc/shadow",
    "--otlp-traces-endpoint http://evil",
    "--otlp-traces-endpoint evil:4317",
    "--download-dir /",
    "--tokenizer /srv/x",
    "--hf-config-path /srv/x",
    "--lora-modules a=/srv/x b=c/d",
    """--lora-modules '{"name":"a","path":"/srv/x"}'""",
    """--speculative-config '{"method":"eagle","model":"/srv/x"}'""",
    """--kv-transfer-config '{"kv_connector":"X","kv_connector_module_path":"a.b"}'""",
    """--kv-transfer-config '{"kv_connector":"X","kv_ip":"10.0.0.9"}'""",
    """--kv-events-config '{"publisher":"zmq","endpoint":"tcp://*:5557"}'""",
    """--compilation-config '{"backend":"os.system"}'""",
    "--compilation-config.cache_dir /srv/x",
    """--profiler-config '{"torch_profiler_dir":"/srv"}'""",
    "--allowed-origins '[\"*\"]'",
    "--ssl-keyfile /etc/shadow",
    "--model-loader-extra-config.path s3://x",
]


@pytest.mark.parametrize("given", ARGUMENTS_OF_AN_AUTHOR)
def test_such_an_argument_is_left_out_and_said(given):
    found = taken(given)
    assert found.server == {"model": "a/b"} and not found.refused()
    (row,) = [row for row in found.rows if row.field.startswith("command -")]
    assert row.state == "changed" and "say it yourself" in row.why


@pytest.mark.parametrize("given", [one for one in ARGUMENTS_OF_AN_AUTHOR if "shadow" not in one])
def test_who_wrote_it_himself_may(given):
    assert taken(given, own=True).server.get("args")


def test_every_argument_that_loads_code_is_one():
    for name, row in ARGUMENTS.items():
        assert row.part != PLUGIN or trust.of_argument(name, "x")


def test_a_file_of_the_image_stays_one_and_nothing_of_the_box_is_mounted():
    found = taken("--chat-template /workspace/x.jinja")
    assert found.server["args"] == {"chat_template": "image:/workspace/x.jinja"}
    assert [row.state for row in found.rows if row.field == "command --chat-template"] == ["changed"]


@pytest.mark.parametrize(
    "given",
    [
        "--chat-template x.jinja",
        "--generation-config vllm",
        '--compilation-config \'{"backend":"inductor","mode":3}\'',
        "--lora-modules a=org/name",
        '--speculative-config \'{"method":"eagle3","model":"org/name"}\'',
        "--attention-backend FLASHINFER",
        "--tokenizer org/name",
        "--limit-mm-per-prompt '{\"image\":2}'",
        "--quantization fp8",
        "--mamba-ssm-cache-dtype float16",
    ],
)
def test_what_only_says_how_a_model_is_served_is_taken_over(given):
    found = taken(given)
    assert found.server.get("args") and {row.state for row in found.rows if row.field.startswith("command -")} == {"mapped"}


@pytest.mark.parametrize(
    "name, value",
    [
        *((name, "x") for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PATH", "BASH_ENV", "VLLM_PLUGINS", "CC")),
        ("NCCL_NET_PLUGIN", "/x.so"),
        *((name, "x") for name in ("CUDA_INJECTION64_PATH", "VLLM_NCCL_SO_PATH", "VLLM_LOGGING_CONFIG_PATH", "VLLM_ALLOW_INSECURE_SERIALIZATION", "HOME")),
        *((name, "x") for name in ("HF_ENDPOINT", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "PIP_INDEX_URL", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")),
        *((name, "x") for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "AWS_ENDPOINT_URL", "VLLM_USE_MODELSCOPE", "GIT_SSH_COMMAND")),
        *((name, "1") for name in ("VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "GB10_KEY")),
        ("ANYTHING", "http://evil/x"),
    ],
)  # fmt: skip
def test_such_a_variable_is_left_out_and_said(name, value):
    found = taken(env=f"{name}: '{value}'")
    (row,) = [row for row in found.rows if row.field == f"env.{name}"]
    assert row.state == "changed" and "say it yourself" in row.why and "env" not in found.server
    assert taken(env=f"{name}: '{value}'", own=True).server["env"] == {name: value}
    before = imported(Document("a", "1", {"command": f"{name}={value} vllm serve a/b"}, {}))
    assert "env" not in before.server, "so is one that stands before the command"


def test_no_public_recipe_of_the_corpus_lost_a_variable_by_it():
    for one in recipe_corpus.corpus():
        for name, value in (one["fields"].get("env") or {}).items():
            assert trust.of_variable(name, str(value)) == "", (one["path"], name)
    assert trust.of_variable("NCCL_NET_PLUGIN", "none") == trust.of_variable("PYTHONUNBUFFERED", "1") == trust.of_variable("OMP_NUM_THREADS", "4") == ""
