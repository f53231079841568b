# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The long part of a run over an image: alone on its box, within its time, one child at a time, into one log, told as it goes on."""

# pylint: disable=ansible-bad-function
# Plain Python: nothing here has an AnsibleModule whose run_command could be called instead of subprocess.
from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image import log as image_log
from ansible_collections.gb10.vllm.plugins.module_utils._io.progress_log import ProgressLog
from ansible_collections.gb10.vllm.plugins.module_utils._io.redaction import redact

_KEEP_LOGS = 10


class Work:
    """``folder``: the build directory; ``slug``: the image's name in names of files; ``timeout_s``: seconds for all of it."""

    def __init__(self, folder: Path, slug: str, timeout_s: int) -> None:
        self.folder = folder
        self.slug = slug
        self.timeout_s = timeout_s
        self.progress_path = folder / f"progress-{slug}.jsonl"
        self.log_path: Path | None = None
        self.started = time.monotonic()
        self.steps = 0
        self.base_images: dict[str, str] = {}
        self._progress: ProgressLog | None = None
        self._lock_fd = -1

    # Alone, and within the time.

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One run per box at a time. The child inherits the lock, so one that outlives a killed run still holds it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Also where git made it. What the recipe brings keeps its modes, which become part of the image.
        self.folder.chmod(0o700)
        (self.folder / "logs").mkdir(mode=0o700, exist_ok=True)
        self._progress = ProgressLog(str(self.progress_path))
        self._lock_fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        previous = {number: signal.signal(number, _interrupted) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            self._take_lock()
            yield
        except GB10Error as error:
            self.progress("finished", str(error))
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _take_lock(self) -> None:
        while True:
            try:
                return fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.progress("wait", "another image build holds the lock on this box; waiting for it")
                self.check_time()
                time.sleep(1)

    def check_time(self) -> None:
        """GB10Error when the time is over."""
        if time.monotonic() - self.started > self.timeout_s:
            raise GB10Error(
                f"the image was not ready after {self.timeout_s} s (timeout_s) and the work was stopped. What is done is cached: "
                f"run it again, with a higher timeout_s if the box is slow. Log on the box: {self.log_path}",
                log=str(self.log_path or ""),
            )

    def tried(self, attempt: Callable[[], tuple[int, str]], retries: int, delay_s: float, worth: Callable[[str], bool]) -> tuple[int, str, int]:
        """Status and log of the last ``attempt``, and how many there were: a failure is repeated while its log is ``worth`` it.

        The pause is ``delay_s`` at first and doubles.
        """
        for count in range(1, retries + 2):
            status, log = attempt()
            if status == 0 or count > retries or not worth(log):
                break
            pause = delay_s * 2 ** (count - 1)
            why = f"the network failed ({image_log.last_error(log)[:160]})"
            self.note(f"attempt {count} of {retries + 1} failed: {why}; trying again in {pause:.0f} s")
            self._wait(pause, f"{why}; attempt {count + 1} of {retries + 1} follows")
        return status, log, count

    def _wait(self, seconds: float, text: str) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.progress("retry", text)
            self.check_time()
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))

    # Children.

    @contextlib.contextmanager
    def child(self, command: Sequence[str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A process group of its own that holds our lock; it does not outlive the block."""
        process = None
        inherited = (self._lock_fd,) if self._lock_fd >= 0 else ()
        try:
            process = subprocess.Popen(list(command), start_new_session=True, pass_fds=inherited, **streams)
            yield process
        finally:
            if process is not None and process.poll() is None:
                _stop(process)

    def follow(self, command: Sequence[str], *, phase: str, environment: Mapping[str, str], cwd: Path | None = None) -> tuple[int, str]:
        """Run a long command into the log, telling where it is; returns its status and its own part of the log."""
        path = self.log()
        begin = path.stat().st_size
        follower = image_log.BuildLog()
        with open(path, "ab") as log, open(path, "rb") as reader:
            reader.seek(begin)
            with self.child(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT) as child:
                rest = b""
                running = True
                while running:
                    running = child.poll() is None
                    *lines, rest = (rest + reader.read()).split(b"\n")
                    for line in lines:
                        follower.feed(line.decode(errors="replace"))
                    self.progress(phase, follower.text, follower.bytes, follower.total_bytes, follower.step, follower.steps)
                    if running:
                        self.check_time()
                        time.sleep(0.3)
        self.steps = max(self.steps, follower.steps)
        self.base_images.update(follower.base_images)
        with open(path, "rb") as reader:
            reader.seek(begin)
            text = reader.read().decode(errors="replace")
        told = "\n".join(redact(line, []) for line in text.split("\n"))
        if told != text:  # the log is kept, and others than root are shown it
            with open(path, "r+b") as stream:
                stream.truncate(begin)
                stream.seek(begin)
                stream.write(told.encode())
        return child.returncode, told

    # Telling.

    def progress(self, phase: str, text: str, done: int = 0, total: int = 0, step: int = 0, steps: int = 0) -> None:
        """One line for the controller, once a second at most; nothing before the run is alone on its box."""
        if self._progress is not None:
            self._progress(phase, text, done, total, step, steps)

    def log(self) -> Path:
        """The log of this run, begun when first asked for; the last ten of an image are kept."""
        if self.log_path is None:
            logs = self.folder / "logs"
            for old in sorted(logs.glob(f"*-{self.slug}.log"))[: -_KEEP_LOGS + 1]:
                old.unlink(missing_ok=True)
            self.log_path = logs / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{self.slug}.log"
            self.log_path.touch(mode=0o600)
        return self.log_path

    def note(self, text: str) -> None:
        """A line of ours in the log."""
        self.write(f"gb10.vllm: {text}\n")

    def write(self, text: str) -> None:
        """Text at the end of the log."""
        with open(self.log(), "a", encoding="utf-8") as stream:
            stream.write(text)


def _interrupted(number: int, _frame: object) -> None:
    raise GB10Error(f"the image build was stopped (signal {number}); what is done is cached, run it again to go on")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
            break
