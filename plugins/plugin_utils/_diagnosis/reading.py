# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a log is before anybody explains it: of a build or of a server, how far it came, and which of its lines is the first cause. Pure.

A failure is reported many times over: by the worker, by the engine, by the API server, by the shell, by Docker. Only the first of these
says what happened; the others (``WRAPPERS``) are never the cause.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ansible_collections.gb10.vllm.plugins.module_utils._engine import log as engine_log
from ansible_collections.gb10.vllm.plugins.module_utils._io.lines import clean_lines, levelled, split_lines

HEAD_LINES, LAST_LINES = 400, 2000
"""Lines of a longer log that are looked at: a server says at its beginning what it is, and at its end why it ended."""

BUILD, SERVER, OTHER, EMPTY, BINARY = "build", "server", "other", "empty", "binary"

_BUILD_MARKS = re.compile(
    r"^#\d+ \[|load build definition|failed to solve|^Dockerfile[\w.-]*:\d+|^(?:Step|STEP) \d+/\d+ ?:|naming to \S+|exporting to image"
    r"|^ ?=> |did not complete successfully: exit code|Building wheels? for|Building editable|Getting requirements to build"
    r"|Preparing metadata \("
    r"|^(?:Collecting|Downloading) \S+|Resolved \d+ packages in|No solution found when resolving|^ *× (?:Failed|No solution)"
    r"|\buv (?:pip|sync)\b"
    r"|^E: |^(?:Get|Hit|Ign|Err):\d+ |^Cloning into |^fatal: (?:unable to access|[Rr]emote|could not read)|apt-get (?:update|install)|build-and-copy\.sh"
    r"|^-- (?:Configuring|Build|Found|Check)|^\[\d+/\d+\] (?:Building|Linking)"
    r"|^ninja: |^make(?:\[\d+\])?: \*\*\*|nvcc (?:fatal|error)|CMake Error|docker pull"
    r"|^(?:[0-9a-f]{12}: )?Pull(?:ing| complete)|error during connect",
    re.MULTILINE,
)
_SERVER_MARKS = re.compile(
    r"vLLM API server version|Initializing an? (?:V[01] )?LLM engine|non-default args|vllm serve\b|vllm[./]entrypoints"
    r"|vllm/v1/|vllm/engine|vllm/executor"
    r"|EngineCore|Starting to load model|Loading (?:safetensors|pt) checkpoint|Model loading took|KV cache size"
    r"|Resolved architecture|Automatically detected platform"
    r"|Uvicorn running|Application startup complete|Avg prompt throughput"
    r"|/v1/(?:(?:chat/)?completions|audio/tran|embeddings|rerank|score|responses\b)|WorkerProc|vllm: error:"
    r"|vllm\.(?:v1|engine|entrypoints|executor|worker|model_executor)\b|api_server\.py"
    r"| NCCL (?:WARN|INFO) |UCX +(?:ERROR|WARN) |\bProcessGroupNCCL|\(raylet\)|\bray::|gcs_(?:client|server|rpc)"
)
_RUNNING = re.compile(
    r"Application startup complete|Uvicorn running on |Avg prompt throughput: \d|\"(?:POST|GET) /v1/\S* HTTP/1\.\d\" [245]"
    r"|Received request \S+|Added request \S+|entrypoints/openai/(?:\w{1,40}/){0,6}serving\w*\.py\", line \d+, in (?!__init__)"
)
_FAMILIAR = re.compile(r"(?i)vllm|docker|cuda|nvidia|torch|python|traceback|error|nccl|kernel|model|warning|gpu|container|ray\b|systemd")

WRAPPERS = re.compile(
    r"failed to solve: (?:process|executor|rpc error: code = Unknown desc = (?:process|executor))|did not complete successfully"
    r"|executor failed running|subprocess-exited-with-error|metadata-generation-failed"
    r"|Encountered error while (?:generating|trying)|Failed building wheel for|Could not build wheels"
    r"|Failed to build (?:installable wheels|`|\S+$)"
    r"|Engine core initialization failed|Engine process failed to start|WorkerProc (?:initialization|failed|hit)"
    r"|Engine loop (?:has died|is not running)"
    r"|EngineDeadError|EngineGenerateError|Background loop has errored|Failed core proc"
    r"|EngineCore (?:failed to start|encountered a fatal error|hit an exception)"
    r"|AsyncLLM output_handler failed"
    r"|EngineCore encountered an issue|Worker (?:failed with error (?!'[^']{8})|proc \S+ died)|died unexpectedly|Error executing method"
    r"|Exception in worker|Executor failed"
    r"|\d{1,6} validation errors? for|ExceptionGroup|unhandled errors? in a TaskGroup"
    r"|(?<!check the )[Ss]ee (?:the )?(?:stack ?trace|root cause|error log)|See above for"
    r"|The above exception was|During handling of the above|Traceback \(most recent call last\)|For further information visit"
    r"|Ninja build failed|Error raised in subprocess|Error compiling objects"
    r"|failed to be inspected\. Please check|exit(?:ed with)?(?: code| status)?:? ?-?\d+\b|exitcode|returned non-zero exit status|SystemExit|KeyboardInterrupt"
    r"|CancelledError|GeneratorExit"
    r"|ChildFailedError|RayTaskError|RayActorError|ActorDiedError|WorkerCrashedError|torch\.distributed\.elastic"
    r"|Root Cause \(first observed|main process exited"
    r"|^make(?:\[\d+\])?: \*\*\*|ninja: build stopped|^FAILED: |error: command .{0,400} failed|Command .{0,400} (?:failed|died)|raise \w+"
    r"|note: This error originates|ERROR conda|resource_tracker: |leaked (?:semaphore|shared_memory)"
    r"|destroy_process_group\(\) was not called"
    r"|Error in (?:preprocessing prompt inputs|applying chat template from request|(?:chat )?completion stream generator)"
    r"|^error: (?:while searching for|patch failed):|unhandled (?:system|cuda) error|NCCL error in: |run with NCCL_DEBUG="
    r"|^Killed$|^Aborted|^(?!.*[Ss]egmentation fault).*core dumped\)?$"
    r"|Extension modules:|Current thread 0x|Thread 0x\w+ \(most recent|Shutting down|shutting down"
    r"|^\s*(?:raise|return|await|yield|self\.|super\(\)|with |if |for |from |import |\^+|~+)"
)
"""Words that report a failure which is explained elsewhere: never the cause."""

_NATIVE = re.compile(
    r"terminate called|^\s*what\(\): |c10::\w*Error|^Fatal Python error|Assertion [`'\"]?.{0,400} failed|[Ss]egmentation fault"
    r"|SIGSEGV|[Ii]llegal instruction|SIGILL"
    r"|\*\*\* (?:SIG|stack smashing)|double free or corruption|free\(\): invalid|bus error|SIGBUS|^Bus error|LLVM ERROR"
    r"|PassManager::run failed|Pass(?:es)? manager"
)
_EXCEPTION = re.compile(
    r"^(?:E\s+)?(?:(?:[A-Za-z_][\w.]*\.)?[A-Z]|(?:[a-z_]\w*\.)+[a-z])\w*(?:Error|Exception|Interrupt|Exit|Warning|Timeout|Failure)\b(?::|$| \()"
    r"|^(?:[a-z_]\w*\.)+[A-Z]\w+: "
)
_TOOL = re.compile(
    r"^\s*(?:fatal|FATAL|error|ERROR|Error|E|panic|nvcc fatal|ptxas[\w-]* (?:fatal|error)|ld|/usr/bin/ld|g?cc|g\+\+|collect2|CMake Error)\b"
    r" ?(?:\[\w+\])?:? |^\s*(?:docker|git|uv|pip|curl|wget|tar): "
    r"|: (?:fatal )?error:? |: error \w*\d+|Error response from daemon|^× |^\s*[├╰]─▶ |: No such file or directory$"
    r"|: [Pp]ermission denied$|: not found$|cannot stat|No space left on device"
    r"|Out of memory|(?:CUDA|[Ee]rror).{0,400}out of memory|NCCL WARN |oom-kill(?!:constraint)|Killed process|\bXid\b"
    r"|undefined symbol|cannot open shared object|option requires BuildKit|^(?:[\w-]+\[\d+\]: )?Killed \S+ due to memory"
)
_STATUS_ONLY = re.compile(
    r"^(?:\w{1,60}\.){0,6}(?:HTTPError|HTTPStatusError|ClientResponseError|APIStatusError|BadRequestError|NotFoundError|UnprocessableEntityError|RetryError)"
    r"(?:: (?:[45]\d\d (?:Client|Server) Error: [^\n]{0,60} for url|(?:Client|Server) error '[45]\d\d [^\n]{0,60} for url|[45]\d\d, message="
    r"|HTTP Error [45]\d\d|RetryError\[|Error code: [45]\d\d$|[45]\d\d$)|\[)"
)
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\)|^\s+File \"")
_CHAIN = re.compile(r"^(?:During handling of the above exception|The above exception was the direct cause)")
_DEEPER = re.compile(r"^\s*(?:[├╰]─▶ |Caused by: |│ |hint: )")
_PINNED = re.compile(r"^\s+\S{1,100} \S{1,60} depends on \S")
"""pip's list of who wants what, below its error."""
_SOFT = re.compile(
    r"NCCL INFO|running out of memory|\b(?:User|Future|Deprecation|Setuptools\w{1,40})Warning: "
    r"|(?i:(?<!NCCL )\bwarn(?:ing)?\b|deprecat|will be (?:removed|ignored)|falling back|fallback|ignored|ignoring|skipp"
    r"|retrying|optional|\b(?:level|lvl)=(?:debug|info|warn(?:ing)?)\b|not installed, |msg=.?collector failed)"
    r"|error: (?:kex_exchange_identification|maximum authentication attempts exceeded|PAM: Auth)|^Error Information Log Entries"
)
"""Words of lines that tell of a failure which the program got over."""
_TRIED = re.compile(r"Skipping tactic\b|falling back to default tactic|Trying to resume (?:the )?download\b|not supported in this platform but nogds is False")
"""Of lines in which a program says itself that it leaves out what failed, or tries it again, in whatever words the failure is told."""


_SHOWS_A_LOG = re.compile(r"^\S{0,80} ?[$#] (?:sudo )?(?:docker|podman|nerdctl|kubectl|sparkrun)\b[^\n]{0,60}? logs?\b")
"""A shell's prompt and a command that prints another program's log: what stands above it is of whoever started that program."""
_PROMPT = re.compile(r"^(?:\[[^\]\n]{1,40}\] )?(?:\([^)\n]{1,40}\) )?(?:\$|[\w.-]{1,60}@[\w.-]{1,60}[^$#\n]{0,80}[$#]) \S")
_RAISES = re.compile(r"^\s{0,40}raise [A-Za-z_][\w.]{0,80}\(f?[\"']")
_ENDED_WITH = re.compile(r"^(?:ERROR|Error|error|fatal|E): |^docker: ")
_LOOKS = re.compile(
    r"[$#] (?:sudo )?(?:ssh (?:-\w{1,3} (?:\d{1,5} )?)?[\w.@-]{1,80} ['\"]?(?:sudo )?)?"
    r"(?:(?:docker|podman|nerdctl|kubectl)(?: compose)? exec (?:-\S{1,20} ){0,4}[\w./-]{1,80} (?:-- )?)?"
    r"(?:(?:docker|podman|nerdctl|kubectl)(?: compose| container| image| system)? "
    r"(?:ps|logs?|inspect|info|images?|ls|stats|version|context|df|config|get|describe|top|port)"
    r"|nvidia-smi|dmesg|journalctl|systemctl (?:status|show|is-|list|cat)|cat|grep|egrep|zgrep|ls|lspci|lsmod|modinfo|head|tail|find|ip|ss|df|du|free|id"
    r"|ausearch|aa-status|getenforce|sestatus|mokutil --sb-state|smartctl|nvme (?:list|smart-log)|lsblk|lsusb|findmnt|getent|groups|whoami|namei|getfacl"
    r"|dkms status|ldconfig -p|nmcli(?! \w{1,10} (?:up|down|add|mod|del))|networkctl|resolvectl|hostnamectl|loginctl|nslookup|dig|traceroute|netstat|ps|last"
    r"|wc|md5sum|readlink|realpath|type|command -v|whereis|lsb_release|coredumpctl|crontab -l|ufw status|nft list|iptables -[LS]|sysctl -a|ulimit -|sudo -l"
    r"|snap (?:list|changes)|fwupdmgr get-\w{3,20}|nvidia-ctk (?:cdi list|--version)|ansible(?:-playbook)? --version|ansible-galaxy \w{4,10} list"
    r"|ansible-inventory"
    r"|uname|uptime|last|which|env|printenv|stat|file|ping|hostname|date|timedatectl|echo|export|cd|python3? -m (?:json|pip)|pip3? (?:show|list|check|freeze)"
    r"|uv pip (?:list|show)|git (?:log|status|diff|pull|show)|apt(?:-cache)? (?:list|policy|show)|dpkg|sha256sum|ibstat|ibv_devinfo|ethtool|rdma)\b"
)
"""A command that only shows how things stand: what it shows may explain a failure that came before it, and its own failure keeps nothing from working."""
_REPEATED_BY_ENGINE = re.compile(r"Worker failed with error ['\"](?=.{8})(.{1,4000}?)['\"], please check the stack trace.*")
_ROUTINE = re.compile(r'Avg prompt throughput: |SpecDecoding metrics: |"(?:GET|POST) /\S* HTTP/1\.\d" 200|(?:Received|Added|Finished) request ')


def prompts(lines: list[str]) -> list[tuple[int, bool]]:
    """(number, whether the command does something and does not only look) of each line in which a shell's transcript shows a command."""
    return [(number, not _LOOKS.search(line)) for number, line in enumerate(lines) if ("$ " in line or "# " in line) and _PROMPT.search(line)]


def failed_before(log: Log, number: int) -> list[int]:
    """The lines with which the first command of a transcript failed that does something, where the command that printed line ``number`` does so later."""
    asked = prompts(log.lines)
    own = next(((start, acts) for start, acts in reversed(asked) if start <= number), (0, False))
    if not own[1]:
        return []
    for (start, acts), end in zip(asked, [start for start, _acts in asked[1:]], strict=False):  # nothing comes after the last one
        errors = [line for line in range(start + 1, end) if _ENDED_WITH.search(log.lines[line]) and not is_wrapper(log.lines[line])]
        if acts and errors and start < own[0]:
            return errors
    return []


def is_routine(line: str) -> bool:
    """Whether a line is one that a server which is well prints by the thousand."""
    return "Avg prompt throughput: " in line or bool(_ROUTINE.search(line))


@dataclass(frozen=True)
class Log:
    """A log as the diagnosis sees it: cleaned lines, which of them a logger called errors, what it is a log of, where the server was up (inf: never)."""

    node: str
    lines: list[str]
    errors: frozenset[int]
    kind: str
    up: float
    calm: frozenset[int] = frozenset()
    """Lines which a logger called a warning or less."""
    got_over: frozenset[int] = frozenset()
    """Lines that tell of what a program tried again, did without or did in a step that ended well, and of what passed (an entry's ``until``)."""
    typed: frozenset[int] = frozenset()
    """Lines that no program said: a command in a shell's transcript, the source of a traceback that holds the words of what it raises."""

    @property
    def words(self) -> list[str]:
        """The lines as signatures see them: what a worker raised, without the sentence in which its engine repeats it."""
        return [_REPEATED_BY_ENGINE.sub(r"\1", line) if "Worker failed with error" in line else line for line in self.lines]

    @property
    def started(self) -> int:
        """Number of the line in which the server said that it is up, 0 when it did not, or when that stands in its own log below a launcher's failure."""
        said = next((number for number, line in enumerate(self.lines) if engine_log.says_started([line])), 0)
        shown = next((number for number in range(said) if _SHOWS_A_LOG.search(self.lines[number])), 0)
        return 0 if any(number < shown for number in self.errors) else said

    @property
    def phase(self) -> tuple[str, str]:
        """(phase, in words): how far a server's start came."""
        return engine_log.where(self.lines)


def read(node: str, text: str) -> Log:
    """The log of one node."""
    raw = split_lines(text)
    if len(raw) > HEAD_LINES + LAST_LINES:
        raw = raw[:HEAD_LINES] + raw[-LAST_LINES:]
    done = _steps_done(raw)
    said = [("done" if _step_of(one) in done else level, line) for one in raw for level, line in levelled([one])]
    pairs = _with_what_tasks_said(_after_a_good_play(said))
    lines = [line for _level, line in pairs]
    up = next((float(number) for number, line in enumerate(lines) if _RUNNING.search(line)), float("inf"))
    kind = _kind(text, lines)
    # What other programs call an error counts in their own logs: beside a server's it may be anything.
    wanted = ("error", "foreign") if kind == OTHER else ("error",)
    errors = frozenset(number for number, (level, _line) in enumerate(pairs) if level in wanted)
    calm = frozenset(number for number, (level, line) in enumerate(pairs) if level == "calm" or is_tried(line))
    over = _got_over(lines, kind) | {number for number, (level, _line) in enumerate(pairs) if level == "done"}
    typed = frozenset(number for number, line in enumerate(lines) if _RAISES.search(line)).union(number for number, _acts in prompts(lines))
    return Log(node, lines, errors, kind, up, calm, over, typed)


_STEP = re.compile(r"^#(\d{1,4}) (?:\d+\.\d+ |(DONE)\b)")


def _step_of(line: str) -> str:
    """The number that BuildKit gives the step which printed a line; empty for other lines."""
    step = _STEP.match(line)
    return step[1] if step else ""


def _steps_done(raw: list[str]) -> set[str]:
    """The steps of which BuildKit says that they ended well."""
    return {step[1] for line in raw if line.startswith("#") and (step := _STEP.match(line)) and step[2]}


_TRIED_AGAIN = re.compile(
    r"^ {0,12}(?:WARNING: )?Retrying \(Retry\(total=[1-9]|Retry scheduled|[Ww]ill retry (?:in|at)|\b[Rr]etrying in \d|[Tt]rying (?:again in|to resume)"
)
_BUILDS = r"^ {0,12}\[ *\d+(?:/\d+|%)\] "
"""What ninja and make say of each file they compile: whatever was missing before was not needed for that."""
_DONE_WITHOUT = (
    (
        _TRIED_AGAIN,
        re.compile(
            rf"{_BUILDS}|^\s*(?:Downloading|Using cached|Installing collected|Successfully) |checked out '|^HEAD is now|^Resolved \d"
            r"|^Fetching \d{1,6} files: {1,4}[1-9]|Loading (?:safetensors|pt) checkpoint|Model loading took|Resolved architecture"
        ),
    ),
    (re.compile(r"^(?:W|Ign:\d+|Err:\d+)[: ]"), re.compile(rf"{_BUILDS}|^(?:Unpacking|Setting up) ")),
    (re.compile(r"^ {0,12}-- (?:Could NOT find|Performing Test)"), re.compile(rf"{_BUILDS}|^ {{0,12}}-- (?:Generating done|Build files have been)")),
    (
        re.compile(r"^ {0,12}(?:fatal: (?:not a git repository|No (?:names found|tags can describe))|Command '\['git'|s?ccache: (?:error|warning): |curl: \()"),
        re.compile(rf"{_BUILDS}|^ {{0,12}}(?:-- |running (?:build|bdist|editable|develop|dist_info)|CMake Error at )"),
    ),
    (re.compile(r"^ERROR: pip's dependency resolver|requires [^,\n]{1,100}, but you have "), re.compile(rf"{_BUILDS}|^Successfully installed ")),
    (re.compile(r"^error: patch failed: "), re.compile(r"^Applied patch (?:to )?\S{1,300} cleanly")),
)
"""Words of programs that go on after them, each with those that show that they did."""


def _got_over(lines: list[str], kind: str) -> frozenset[int]:
    """Numbers of the lines that tell of what a program tried again or a build did without: its own words further below show it."""
    found: set[int] = set()
    for words, goes_on in _DONE_WITHOUT[:1] if kind == SERVER else _DONE_WITHOUT:
        told = [number for number, line in enumerate(lines) if words.search(line)]
        if not told:
            continue
        last = max((number for number, line in enumerate(lines[told[0] :], told[0]) if goes_on.search(line)), default=-1)
        over = [number for number in told if number < last]
        found.update(over)
        if words is _TRIED_AGAIN:  # what failed stands just above the words that it is tried again
            found.update(above for number in over for above in range(max(0, number - 4), number) if not goes_on.search(lines[above]))
    return frozenset(found)


_RECAP = re.compile(r"^\S{1,200} +: ok=\d+ +changed=\d+ +unreachable=(?P<unreachable>\d+) +failed=(?P<failed>\d+)")


def _after_a_good_play(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The lines from Ansible's recap on where every host ended well: what failed above was ignored, rescued or tried again."""
    recaps = [(number, match) for number, (_level, line) in enumerate(pairs) if (match := _RECAP.search(line))]
    if not recaps or any(int(match["unreachable"]) or int(match["failed"]) for _number, match in recaps):
        return pairs
    return pairs[recaps[0][0] :]


_TASK = re.compile(r"^(?:fatal|failed): \[|^\s{1,12}\"(?:msg|module_stderr|stderr|module_stdout|stdout|exception)\": \"")
_SAID = re.compile(r"\"(?:msg|module_stderr|stderr|module_stdout|stdout|exception)\": (\"(?:[^\"\\]|\\.)*\")")
_MOST_SAID = 100
"""Lines that are taken out of one of Ansible's."""


def _with_what_tasks_said(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The lines with, behind each in which Ansible shows a failed task, what the programs of that task said: there it is one text with escapes."""
    found = []
    for level, line in pairs:
        found.append((level, line))
        if "\\" in line and _TASK.search(line):
            for said in _SAID.findall(line):
                if "\\" in said:
                    found += [("", one) for one in _unescaped(said)[:_MOST_SAID]]
    return found


def _unescaped(said: str) -> list[str]:
    try:
        return clean_lines(json.loads(said, strict=False))
    except ValueError:
        return []


def _kind(text: str, lines: list[str]) -> str:
    if not lines:
        return EMPTY
    start = text[:4096]
    if "\x00" in start or sum(one == "\ufffd" or (ord(one) < 32 and one not in "\n\r\t\x1b\x08") for one in start) > len(start) / 10:
        return BINARY
    joined = "\n".join(lines)
    builds, serves = len(_BUILD_MARKS.findall(joined)), len(_SERVER_MARKS.findall(joined))
    if not builds and not serves:
        return OTHER
    return BUILD if builds > serves else SERVER


def is_familiar(log: Log) -> bool:
    """Whether anything in it belongs to what this collection has to do with."""
    return log.kind in (BUILD, SERVER) or any(_FAMILIAR.search(line) for line in log.lines)


_OTHER_PROGRAMS = {
    "llama.cpp": re.compile(r"^main: HTTP server is listening|llama_model_load(?:er)?|^srv +\w+:|llama_context:"),
    "Ollama": re.compile(r"ollama serve|source=(?:routes|server|sched|runner)\.go|msg=\"inference compute\""),
    "SGLang": re.compile(r"sglang\.launch_server|server_args=ServerArgs\(|sglang/srt/"),
    "Text Generation Inference": re.compile(r"text_generation_(?:launcher|router|server)"),
    "TensorRT-LLM": re.compile(r"^\[TensorRT-LLM\]|tensorrt_llm/|trtllm-serve"),
}


def other_program(log: Log) -> tuple[str, int] | None:
    """Which other server's log this is, and the number of the line that says so; None for one of vLLM's, of a build or of nobody that is known."""
    if log.kind != OTHER:
        return None
    found = ((name, number) for number, line in enumerate(log.lines) for name, words in _OTHER_PROGRAMS.items() if words.search(line))
    return next(found, None)


def is_wrapper(line: str) -> bool:
    """Whether a line only reports a failure that is explained elsewhere."""
    return bool(WRAPPERS.search(line))


def is_error(line: str) -> bool:
    """Whether a line is one that a program prints when something failed."""
    return bool(_NATIVE.search(line) or re.search(r"\[type=\w+, input_value=", line) or _EXCEPTION.search(line.strip()) or _TOOL.search(line))


def is_tried(line: str) -> bool:
    """Whether a line says itself that the program left out what failed (a tuner its tactic), or tries it again."""
    return bool(_TRIED.search(line))


def is_only_a_status(line: str) -> bool:
    """Whether a client's exception tells the status of an answer and not the body, in which the server said why."""
    return bool(_STATUS_ONLY.search(line.strip()))


def is_reason(line: str) -> bool:
    """Whether a line is one of the reasons that a program lists below its error."""
    return bool(_DEEPER.search(line) or _PINNED.search(line))


_ANNOUNCES = re.compile(r"^CMake (?:Error|Warning)[^\n]{0,400}:$|(?i:error|failed)[^\n]{0,200} log:$")


def whole(lines: list[str], number: int) -> str:
    """A line as it is shown; what a program breaks into several lines (its error, and the reason listed below it) is put together again."""
    text = lines[number].strip()
    if _ANNOUNCES.search(text):  # what it says stands below, where it is set in
        said = [line.strip() for line in lines[number + 1 : number + 3] if re.match(r" {2,}\S|\t", line)]
        return " ".join([text, *said[:1]])
    if not re.match(r"[├╰]─▶ ", text):
        return text
    for later in lines[number + 1 : number + 12]:
        if not re.match(r" {4,}\w", later):
            break
        text = f"{text} {later.strip()}"
    return text


def first_cause(log: Log) -> int | None:
    """Number of the line that most likely says what happened; None when no line says that anything failed."""
    begin = _last_step(log) if log.kind == BUILD else int(log.up) + 1 if log.up != float("inf") and log.kind == SERVER else 0
    for lowest in dict.fromkeys((begin, log.started)):  # what was said before a server came up did not keep it from coming up
        found = _first_cause(log, lowest)
        if found is not None:
            return found
    return None


def raised(log: Log) -> int | None:
    """Number of the line in which a server's own traceback ends with a message, where that is the first cause; None elsewhere."""
    if log.kind != SERVER:
        return None
    number = first_cause(log)
    told = number is not None and _EXCEPTION.search(log.lines[number].strip()) and _in_traceback(log.lines, number)
    return number if told and re.search(r": .{10,}", log.lines[number or 0]) else None


# Frames that say nothing of what failed: the interpreter, libraries that only hand a call on, and vLLM's own plumbing.
_PLUMBING = re.compile(
    r'"<|/lib/python3[.\d]*/(?!site-packages/|dist-packages/)|/(?:uvloop|starlette|fastapi|uvicorn|pydantic\w*|cloudpickle|tqdm|decorator|einops)/'
    r"|/torch/(?!_inductor|_dynamo|_functorch|distributed|cuda/graphs|utils/cpp_extension|hub|_higher_order_ops|fx)"
    r"|/vllm/(?:v1/(?:executor|serial_utils|utils|engine/(?:core|core_client|async_llm|llm_engine|utils|coordinator))\b|v1/worker/(?:worker_base|gpu_worker)"
    r"|executor/|worker/worker_base|engine/(?:llm_engine|async_llm_engine|multiprocessing)|tracing|utils/|utils\.py|logger|exceptions"
    r"|entrypoints/(?:utils|logger|launcher|cli|openai/(?:api_server|utils)|serve)|_custom_ops|custom_op|model_executor/custom_op|_ops|ir/"
    r"|model_executor/utils|model_executor/layers/linear|distributed/communication_op|env_override|v1/worker/cp_utils)"
)
_FRAME = re.compile(r'^\s*File "(?P<path>[^"\n]{1,600})", line \d+(?:, in (?P<name>\S+))?')
_FRAMES_LOOKED_AT = 60
"""Lines above an error in which its traceback is looked for."""


def place_of(lines: list[str], number: int) -> str:
    """``path, in function`` of the deepest frame of the traceback that ends in line ``number`` and is more than plumbing; empty without one."""
    for above in range(number - 1, max(-1, number - _FRAMES_LOOKED_AT), -1):
        frame = _FRAME.match(lines[above])
        if frame and not _PLUMBING.search(f'"{frame["path"]}'):
            return f"{frame['path']}, in {frame['name'] or '<module>'}"
        if not frame and not lines[above].startswith(" "):
            return ""
    return ""


def frames_of(lines: list[str], number: int) -> list[str]:
    """``path, in function`` of every frame of the traceback that ends in line ``number``, the deepest first; plumbing too."""
    found = []
    for above in range(number - 1, max(-1, number - _FRAMES_LOOKED_AT), -1):
        frame = _FRAME.match(lines[above])
        if frame:
            found.append(f"{frame['path']}, in {frame['name'] or '<module>'}")
        elif not lines[above].startswith(" "):
            break
    return found


def is_chained(log: Log, earlier: int, later: int) -> bool:
    """Whether Python itself says that the error in the later line came of the one in the earlier line."""
    return any(_CHAIN.search(line) for line in log.lines[earlier + 1 : later])


def _first_cause(log: Log, begin: int) -> int | None:
    ranked: list[tuple[int, int]] = []
    for number in range(begin, len(log.lines)):
        line = log.lines[number]
        if is_tried(line):
            continue
        if _NATIVE.search(line):
            ranked.append((0, _message_of_abort(log.lines, number)))
        elif re.search(r"\d{1,6} validation errors? for", line):
            inner = _message_of_validation(log.lines, number)
            if inner is not None:
                ranked.append((1, inner))
        elif number in log.got_over or is_wrapper(line) or _SOFT.search(line):
            continue
        elif _EXCEPTION.search(line.strip()):
            ranked.append((1 if _in_traceback(log.lines, number) else 3, number))
        elif _TOOL.search(line):
            ranked.append((2 if log.kind != SERVER else 4, _deepest(log.lines, number)))
        elif number in log.errors and not _TRACEBACK.search(line) and not line.startswith(" "):
            ranked.append((5, number))
    return min(ranked)[1] if ranked else None


def _last_step(log: Log) -> int:
    """Where the step of a build begins that was running when it ended: earlier ones succeeded, whatever they printed."""
    starts = [number for number, line in enumerate(log.lines) if re.match(r"#\d+ \[[^\]]*\d+/\d+\]|Step \d+/\d+ ?:| > \[", line)]
    return starts[-1] if starts else 0


def _in_traceback(lines: list[str], number: int) -> bool:
    return any(_TRACEBACK.search(line) for line in lines[max(0, number - 6) : number])


def _deepest(lines: list[str], number: int) -> int:
    """The last of the reasons that a program lists below its error: uv, cargo and Docker name the root there."""
    last = number
    while last + 1 < len(lines) and _DEEPER.search(lines[last + 1]):
        last += 1
    while last > number and lines[last].lstrip().startswith("│"):
        last -= 1
    return last


def head_of(lines: list[str], number: int) -> int:
    """The error below which a reason is listed (see ``_deepest``); the line itself where it is none of a list."""
    while number > 0 and _DEEPER.search(lines[number]):
        number -= 1
    return number


def _message_of_abort(lines: list[str], number: int) -> int:
    """A C++ abort says what() in the next lines."""
    if "terminate called" in lines[number]:
        for later in range(number + 1, min(number + 4, len(lines))):
            if "what():" in lines[later]:
                return later
    return number


def _message_of_validation(lines: list[str], number: int) -> int | None:
    """pydantic names the field in the next line and what is wrong with it in the one after."""
    for later in range(number + 1, min(number + 6, len(lines))):
        if re.search(r"\[type=\w+", lines[later]) or re.match(r"\s+(?:Value|Assertion) error", lines[later]):
            return later
    return number + 1 if number + 1 < len(lines) else None


_PHASES = {
    "created": "Before the model is loaded a start fails for its arguments, its files, parts of the image that do not match, "
    "or a GPU that the container cannot use.",
    "loading": "While weights are loaded a start fails for damaged or missing files, an unknown format, or memory.",
    "profiling": "While memory is measured a start fails for memory, or for a kernel that this GPU does not have.",
    "compiling": "While it compiles a start fails for a missing compiler, a cache of another version, or memory.",
    "capturing": "While CUDA graphs are captured a start fails for memory, or for a kernel that cannot be captured (cuda_graphs: never tells).",
    "serving": "When the API starts it fails for a port that is taken, a certificate, a chat template or a parser.",
}

_RUNS = (
    "A server that runs fails for memory, for a kernel that a request is the first to reach, for another rank or the link to it, or because it was ended "
    "from outside (`journalctl -k` and `docker inspect NAME` tell)."
)


def what_to_look_at(log: Log) -> str:
    """What a log that holds no known failure leaves to look at, by how far it came."""
    if log.kind == BUILD:
        return "Look at the output of the last step above its first error line; the whole log of a build lies on the box, in build/logs of the state directory."
    if log.kind == OTHER:
        return "Give the log from its first line on, with what the program printed before it ended; `docker logs NAME` shows it."
    phase, words = log.phase
    usual = _RUNS if log.up != float("inf") else _PHASES.get(phase, "")
    ended = (
        ""
        if any(is_error(line) for line in log.lines)
        else " The log may have been cut off, or something outside ended it: look at the kernel's log (`journalctl -k`) and at `docker inspect NAME`."
    )
    return f"It got as far as: {words}. {usual}{ended}"
