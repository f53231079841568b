# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands on a box: run one without a shell, and the docker command with one wording for what can be wrong with it."""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

MISSING, TIMED_OUT = 127, 124
DOCKER_S = 300.0
# Not "no such" alone: that is also how a missing socket, and so a Docker that is not running, is told.
_NO_SUCH = re.compile(r"no such (image|container|object)", re.IGNORECASE)
_NO_DAEMON = re.compile(r"cannot connect to the docker daemon|failed to connect to the docker api|daemon (is )?running", re.IGNORECASE)


def run(
    argv: Sequence[str], timeout_s: float = 20.0, *, env: Mapping[str, str] | None = None, given: str | None = None, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; it gets no terminal. Never raises for a command that cannot run: ``stderr`` then says why.

    A missing program has the status 127, one that is not done after ``timeout_s`` seconds 124. ``env``: the whole environment (default: ours, in
    English); ``given``: what it reads from its standard input.
    """
    try:
        return _run(argv, timeout_s, env, given, umask)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, TIMED_OUT, "", f"{argv[0]} did not answer within {timeout_s:g} s")
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, MISSING, "", f"{argv[0]} is not installed")
    except OSError as error:
        return subprocess.CompletedProcess(argv, MISSING, "", f"{argv[0]} cannot be run ({error.strerror})")


def docker(
    *arguments: str, command: str = "docker", timeout_s: float = DOCKER_S, check: bool = True, missing_ok: bool = False, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the docker command. GB10Error when there is none and when it does not answer; with ``check`` also when it fails.

    ``missing_ok``: an image or container that does not exist is no failure (its status stays other than 0). ``command``: the program.
    """
    try:
        process = _run([command, *arguments], timeout_s, None, given)
    except OSError as error:
        raise no_docker(error) from None
    except subprocess.TimeoutExpired:
        raise GB10Error(
            f"docker {arguments[0]} did not answer within {timeout_s:.0f} s on this box; look at: systemctl status docker, journalctl -u docker; "
            "a Docker that hangs is helped by: systemctl restart docker"
        ) from None
    if process.returncode and check:
        text = (process.stderr or process.stdout).strip()
        if not (missing_ok and _NO_SUCH.search(text)):
            raise GB10Error(docker_problem(text, arguments, process.returncode))
    return process


def docker_text(*arguments: str, command: str = "docker", timeout_s: float = DOCKER_S, check: bool = True, missing_ok: bool = False) -> str:
    """What the docker command prints, without the space around it; "" when it failed and that is no error."""
    process = docker(*arguments, command=command, timeout_s=timeout_s, check=check, missing_ok=missing_ok)
    return "" if process.returncode else process.stdout.strip()


def no_docker(error: OSError) -> GB10Error:
    """There is no docker command here, or it cannot be started."""
    reason = "" if isinstance(error, FileNotFoundError) else f" that can be run ({error.strerror})"
    return GB10Error(f"there is no docker command on this box{reason}; install Docker (on DGX OS it is part of the system)")


def docker_problem(text: str, arguments: Sequence[str], status: int) -> str:
    """Why a docker command failed, from what it wrote, in one sentence."""
    if "permission denied" in text and "docker.sock" in text:
        return "this user may not talk to Docker on this box; run with become: true, or add the user to the group docker"
    if _NO_DAEMON.search(text):
        return "the Docker daemon is not running on this box; start it with: systemctl enable --now docker"
    return f"docker {' '.join(arguments[:2])} failed on this box: {text.splitlines()[-1] if text else f'status {status}'}"


def _run(
    argv: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None, given: str | None = None, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL if given is None else None,
        input=given,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        env=dict(os.environ, LC_ALL="C") if env is None else env,
        umask=umask,
    )
