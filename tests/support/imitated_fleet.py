# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two imitated boxes that serve what is wanted, made once for all tests of a run and put back before each of them."""

from __future__ import annotations

import contextlib
import os
import sys

import imitation
import pytest

ONE, TWO = "spark-01", "spark-02"
OTHER = dict(imitation.SERVER, model="other")
KEY, TOKEN = "key-that-nobody-may-see", "token-that-nobody-may-see"
LOGS = {
    "no-graphs": """\
(EngineCore pid=120) ERROR 11-20 08:04:06 [core.py:1136] torch.AcceleratorError: CUDA error: operation not permitted when stream is capturing
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
""",
    "unknown": "(EngineCore pid=1) ERROR 11-20 08:04:06 [core.py:1] ValueError: an odd thing happened\n",
    "tells": f"(EngineCore pid=1) ERROR 11-20 08:04:06 [core.py:1] ValueError: an odd thing happened with {TOKEN} of VLLM_API_KEY={KEY}\n",
}
needs_root = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="imitated boxes are namespaces of Linux, which root makes")


@contextlib.contextmanager
def seeded(folder):
    """Boxes that serve, and are kept so."""
    for name, text in LOGS.items():
        (folder / f"{name}.log").write_text(text)
    with imitation.boxes(folder, 2) as up:
        first = up.play("site", "-l", ONE)
        assert "1 box: 1 ok" in first, first
        up.alike()
        up.play("report")
        up.save()
        yield up


@contextlib.contextmanager
def watched(fleet):
    """The boxes as they were kept; what their runs say meanwhile holds no secret."""
    fleet.restore()
    fleet.said = ""
    secret = fleet.key(ONE)
    yield fleet
    assert [one for one in (secret, KEY, TOKEN) if one in fleet.said] == [], "a secret was shown"


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    with seeded(tmp_path_factory.mktemp("imitated")) as up:
        yield up


@pytest.fixture
def boxes(fleet):
    with watched(fleet) as up:
        yield up


def dies(boxes, log, **when):
    """An engine that prints a log and ends; ``only`` and ``unless`` as in imitated/world.py."""
    return {"log": str(boxes.folder / f"{log}.log"), "exit": 1, **when}


def flat(text):
    return " ".join(text.split())
