# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine image of the other tests, torchvision for it, and the small models."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))
KEPT = ROOT / ".cache" / "engine-sizing"
TORCHVISION = "torchvision==0.28.0"  # the release that belongs to the torch of tests/boxes/engine-requirements.txt


def module_at(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


engine_image = module_at("engine_failures_conftest", HERE.parent / "engine_failures" / "conftest.py").engine_image


@pytest.fixture(scope="session")
def torchvision() -> Path:
    """A folder with torchvision, kept in .cache: vLLM's multimodal models import it, and the engine image does without.

    The package index has it built for CUDA only. Beside a torch for CPU its compiled operators do not load, and then describing them
    to torch fails the import: those few descriptions are left out.
    """
    folder = KEPT / TORCHVISION
    if not folder.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        place = ["--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "-d", KEPT]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", *place, TORCHVISION], check=True)
        made = KEPT / "unpacking"
        zipfile.ZipFile(next(KEPT.glob("torchvision-*.whl"))).extractall(made)
        described = made / "torchvision" / "_meta_registrations.py"
        guarded = r'@(torch.library.register_fake("\1") if torchvision.extension._has_ops() else (lambda function: function))'
        text, count = re.subn(r'^@torch\.library\.register_fake\("(torchvision::\w+)"\)$', guarded, described.read_text(), flags=re.MULTILINE)
        assert count, f"{TORCHVISION} is written differently: see {described}"
        described.write_text(text)
        made.rename(folder)
    return folder


@pytest.fixture(scope="session")
def compiled() -> Path:
    """Where Python keeps its bytecode from run to run: the image has none, and compiling vLLM and torch takes as long as ten starts."""
    folder = KEPT / "bytecode"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Directories of config.json and tokenizer, no weights: /models of the container."""
    import kinds
    from tokenizers import Tokenizer

    make_model = module_at("make_model", ROOT / "tests" / "boxes" / "make_model.py")
    folder = tmp_path_factory.mktemp("models")
    folder.chmod(0o755)
    for name, config in kinds.MODELS.items():
        model = folder / name
        model.mkdir()
        make_model.make_tokenizer(model)
        if name == "vision":
            tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
            tokenizer.add_special_tokens(["[IMG]", "[IMG_BREAK]", "[IMG_END]"])
            tokenizer.save(str(model / "tokenizer.json"))
            config = {**config, "image_token_index": tokenizer.token_to_id("[IMG]")}
            for file, content in kinds.PIXTRAL.items():
                (model / file).write_text(json.dumps(content))
        (model / "config.json").write_text(json.dumps(config))
    return folder
