# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vLLM's own start up to its finished configuration and no further: the program that runs inside the image in a rehearsal.

    python3 rehearsing.py vllm serve MODEL --flag value ...

It is vLLM's command line that runs, of whatever release (0.10 to 0.33): its parser, its checks of a server's arguments, and
``EngineArgs.create_engine_config``, which reads the model's configuration and judges all the rest. Where that has returned, no engine was begun, no
weight read and no cache made; there it ends. Its last line says ``passed``, ``refused`` or ``unable``; without one it was ended from outside.
A box sends it into the image as it is, so it stands alone.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import shutil
import sys
import traceback

MARK = "gb10.vllm rehearsal:"
AGAIN = "GB10_REHEARSED_BY"
"""Set where this program has begun itself anew with the Python that vLLM is installed for."""
LIMIT = "GB10_REHEARSAL_S"


def tell(verdict: str, why: object = "") -> None:
    """Say the verdict and end, whatever else runs in this process."""
    sys.stdout.write(f"{MARK} {verdict} {' '.join(str(why).split())[:500]}".rstrip() + "\n")
    sys.stdout.flush()
    os._exit(0)


def interpreter(program: str) -> str:
    """The Python that the first line of a script names; "" where it is no script of Python's."""
    try:
        with open(program, "rb") as file:
            words = file.readline(500).decode("utf-8", "replace").removeprefix("#!").split()
    except OSError:
        return ""
    if words and os.path.basename(words[0]) == "env":
        words = [shutil.which(word) or "" for word in words[1:] if not word.startswith("-")]
    return words[0] if words and "python" in os.path.basename(words[0]) and os.access(words[0], os.X_OK) else ""


def in_this_process() -> None:
    """vLLM looks at a model class in a process of its own, which takes as much memory again, so that its parent begins no CUDA: here none is begun."""
    registry = importlib.import_module("vllm.model_executor.models.registry")
    if hasattr(registry, "_run_in_subprocess"):
        setattr(registry, "_run_in_subprocess", lambda function: function())  # noqa: B010


def main(words: list[str]) -> None:
    """``words``: the command of the server's container."""
    wanted = interpreter(shutil.which(words[0]) or "")
    if wanted and wanted != sys.executable and AGAIN not in os.environ:
        os.environ[AGAIN] = wanted
        os.execv(wanted, [wanted, os.path.abspath(__file__), *words])
    os.dup2(1, 2)  # one order for all that is said
    # Ends the process from a thread that needs no Python, and says where it hung.
    faulthandler.dump_traceback_later(float(os.environ.get(LIMIT, "300")), exit=True)
    sys.path[:1] = []  # this file's own directory
    try:
        arguments = importlib.import_module("vllm.engine.arg_utils").EngineArgs
        real = arguments.create_engine_config
        in_this_process()
        start = importlib.import_module("vllm.entrypoints.cli.main").main
    except Exception as error:  # pylint: disable=broad-exception-caught
        traceback.print_exc()
        tell("unable", f"vLLM of this image cannot be asked ({type(error).__name__}: {error})")

    def configured(*given: object, **named: object) -> None:
        real(*given, **named)
        tell("passed")

    arguments.create_engine_config = configured
    sys.argv = list(words)
    try:
        start()
    except SystemExit as ended:
        tell("unable" if str(ended.code) in ("None", "0") else "refused", f"it ended with {ended.code}")
    except (MemoryError, ImportError) as error:
        traceback.print_exc()
        tell("unable", f"{type(error).__name__}: {error}")
    except BaseException as error:  # pylint: disable=broad-exception-caught
        traceback.print_exc()
        tell("refused", f"{type(error).__name__}: {error}")
    tell("unable", "it ended before it had made a configuration")


if __name__ == "__main__":
    main(sys.argv[1:])
