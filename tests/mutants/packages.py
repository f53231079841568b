# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `make mutants` changes: each package with the tests that have to find it (unit tests, and those on a machine that need no Docker)."""

from __future__ import annotations

from typing import NamedTuple

MODULES_UNIT = "tests/unit/plugins/modules"
UTILS, UNIT = "plugins/module_utils", "tests/unit/plugins/module_utils"
PLUGINS, PLUGINS_UNIT = "plugins/plugin_utils", "tests/unit/plugins/plugin_utils"


class Package(NamedTuple):
    files: list[str]
    tests: list[str]


def utils(folder: str, *more: str) -> Package:
    return Package([f"{UTILS}/{folder}/*.py"], [f"{UNIT}/{folder}", *more])


PACKAGES = {
    # What guards secrets, paths, locks, deletion and floors comes first.
    "_io/files": Package([f"{UTILS}/_io/files.py"], [f"{UNIT}/_io/test_files.py", f"{UNIT}/_io/test_files_below.py"]),
    "_io/redaction": Package([f"{UTILS}/_io/redaction.py"], [f"{UNIT}/_io/test_redaction.py", f"{UNIT}/_engine/test_readiness.py"]),
    "_box/run_lock": Package([f"{UTILS}/_box/run_lock.py"], [f"{UNIT}/_box/test_run_lock.py"]),
    "_decide/sequence": Package([f"{PLUGINS}/_decide/sequence.py"], [f"{PLUGINS_UNIT}/_decide/test_sequence.py"]),
    "_sizing/budget": Package([f"{UTILS}/_sizing/budget.py"], [f"{UNIT}/_sizing/test_budget.py", f"{UNIT}/_sizing/test_budget_of_what_runs.py"]),
    "_model/store": Package(
        [f"{UTILS}/_model/store.py"], [f"{UNIT}/_model/test_model_store.py", f"{UNIT}/_model/test_versions.py", "tests/on_machine/test_model_links.py"]
    ),
    "_transfer/index": Package([f"{UTILS}/_transfer/index.py"], [f"{UNIT}/_transfer/test_index.py", f"{UNIT}/_transfer/test_client.py"]),
    "_transfer/keys": Package([f"{UTILS}/_transfer/keys.py"], [f"{UNIT}/_transfer/test_keys.py", f"{UNIT}/_transfer/test_shares.py"]),
    "_model/record": Package(
        [f"{UTILS}/_model/record.py"], [f"{UNIT}/_model/test_record.py", f"{UNIT}/_model/test_model_store.py", f"{UNIT}/_model/test_versions.py"]
    ),
    "_io/env_file": Package([f"{UTILS}/_io/env_file.py"], [f"{UNIT}/_io/test_env_file.py"]),
    "_model/versions": Package([f"{UTILS}/_model/versions.py"], [f"{UNIT}/_model/test_versions.py", f"{UNIT}/_model/test_model_store.py"]),
    "_image/store": Package([f"{UTILS}/_image/store.py"], [f"{UNIT}/_image/test_store.py"]),
    "_model": utils("_model", "tests/on_machine/test_model_links.py"),
    "_transfer": utils("_transfer"),
    "_io": utils("_io"),
    "_box": utils("_box"),
    "_engine": utils("_engine"),
    "_image": utils("_image"),
    "_sizing": utils("_sizing"),
    "_decide": Package([f"{PLUGINS}/_decide/*.py"], [f"{PLUGINS_UNIT}/_decide", "tests/unit/roles/test_repair_seam.py"]),
    "_fleet": Package([f"{PLUGINS}/_fleet/*.py"], [f"{PLUGINS_UNIT}/_fleet"]),
    "_follow": Package([f"{PLUGINS}/_follow/*.py"], [f"{PLUGINS_UNIT}/_follow"]),
    "_report": Package([f"{PLUGINS}/_report/*.py"], [f"{PLUGINS_UNIT}/_report"]),
    "_router": utils("_router", f"{MODULES_UNIT}/test_router_config.py", f"{MODULES_UNIT}/test_router_drain_and_info.py"),
    "_removal": utils("_removal", f"{MODULES_UNIT}/test_removal.py"),
    "_fabric": utils("_fabric"),
    "_host": utils("_host", f"{MODULES_UNIT}/test_host_settings_module.py"),
    "_discovery": utils("_discovery"),
    "action": Package(["plugins/action/*.py"], ["tests/unit/plugins/action"]),
    "modules": Package(["plugins/modules/*.py"], [MODULES_UNIT]),
    "_diagnosis": Package([f"{PLUGINS}/_diagnosis/*.py"], [f"{PLUGINS_UNIT}/_diagnosis"]),
}

# What guards secrets, paths, locks, deletion and memory floors: every change to these is found, or does nothing.
GUARDS = {
    *(f"{UTILS}/_io/{name}.py" for name in ("files", "redaction", "env_file")),
    *(f"{UTILS}/_box/{name}.py" for name in ("run_lock", "memory")),
    *(f"{UTILS}/_model/{name}.py" for name in ("store", "versions", "record", "in_use")),
    *(f"{UTILS}/_transfer/{name}.py" for name in ("keys", "index")),
    *(f"{UTILS}/_removal/{name}.py" for name in ("carry_out", "found", "items", "places")),
    f"{UTILS}/_sizing/budget.py",
    f"{PLUGINS}/_decide/sequence.py",
    "roles/server/files/guard.py",
    "roles/server/files/guard_keys.py",
}


def only_words(before: str, after: str) -> bool:
    """Whether a change is only of how a text is written: mutmut puts XX around it, or changes its case."""
    return after.replace("XX", "").lower() == before.replace("XX", "").lower()


# Changes that do nothing, with the reason: the line as it was, and as it became.
EQUIVALENT: dict[tuple[str, str], str] = {}


def _equivalent(reason: str, before: str, *after: str) -> None:
    EQUIVALENT.update({(before, one): reason for one in after})


READ_JSON = 'with open(path, encoding="utf-8") as stream:'
_equivalent(
    "the locale of a box is UTF-8, and Python reads UTF-8 where there is none",
    READ_JSON,
    READ_JSON.replace('"utf-8"', "None"),
    READ_JSON.replace('encoding="utf-8"', ""),
)
SHA = 'with open(path, "rb", buffering=0, opener=plain) as stream:'
_equivalent("the same bytes are hashed through a buffer", SHA, SHA.replace("buffering=0, ", ""), SHA.replace("=0", "=1"))
SHA = 'with open(open_below(root, name), "rb", buffering=0) as stream:'
_equivalent("the same bytes are hashed through a buffer", SHA, SHA.replace("buffering=0", ""), SHA.replace("=0", "=1"))
READ_ENV = 'found.append(path.read_text(encoding="utf-8", errors="replace"))'
_equivalent("as above", READ_ENV, READ_ENV.replace('"utf-8"', "None"), READ_ENV.replace('encoding="utf-8", ', ""))
FORMS = "written = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1], repr(data)[2:-1]}"
_equivalent("None is as false as False", FORMS, FORMS.replace("=False", "=None"))
RELEASED = 'released |= set(ways[chosen["name"]])'
_equivalent(
    "no two servers come to one port, so nothing that was stopped is in anybody's way again",
    RELEASED,
    RELEASED.replace("|=", "="),
    RELEASED.replace("|=", "&="),
)
_equivalent("every server comes to a port, so the wider circle holds the nearer one", "near |= wider", "near = wider")
COUNTED = 'return str(holder.get("name", "")).startswith(("VLLM", "vllm"))'
_equivalent("None is no engine's name either", COUNTED, COUNTED.replace('""', "None"), COUNTED.replace(', ""', ", "))
USABLE = "usable = max(0, available - floor_bytes, requested_running)"
_equivalent("what was asked for is never less than nothing", USABLE, USABLE.replace("0, ", ""))
COUNT = "return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 2**60 else 0"
_equivalent("0 is 0 either way", COUNT, COUNT.replace("0 < value", "0 <= value"))
DEAD = 'if state == FAILED or (state == WORKING and not alive(int(index.get("pid") or 0))):'
_equivalent("there is always a process 1, as there is one that is meant by 0", DEAD, DEAD.replace("or 0", "or 1"))
PEM = 'with open(certificate, encoding="ascii") as stream:'
_equivalent("a certificate is ASCII, which every encoding of a box reads", PEM, PEM.replace('"ascii"', "None"), PEM.replace('encoding="ascii"', ""))
_equivalent("None is as false as False", "context.check_hostname = False", "context.check_hostname = None")
PROBE = "with socket.socket(found[0], socket.SOCK_STREAM) as probe:"
_equivalent("a stream is what a socket is unless something else is said", PROBE, PROBE.replace("socket.SOCK_STREAM", ""))
LINK = "os.link(os.path.realpath(old), target, follow_symlinks=False)"
_equivalent("a real path is no link", LINK, LINK.replace("False", "None"), LINK.replace("False", "True"), LINK.replace("follow_symlinks=False", ""))
_equivalent("no sum is as empty as an empty one", 'digest = ""', "digest = None")
LIBRARY = 'rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)'
_equivalent(
    "errno is not read",
    LIBRARY,
    LIBRARY.replace("use_errno=True", "use_errno=None"),
    LIBRARY.replace("use_errno=True", "use_errno=False"),
    LIBRARY.replace("use_errno=True", ""),
)
_equivalent("both names are absolute, so that nobody asks where they are looked up from", "at_cwd = -100", "at_cwd = None", "at_cwd = +100", "at_cwd = -101")
SWAP = "return rename is not None and rename(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), 2) == 0"
_equivalent("as above", SWAP, SWAP.replace("rename(at_cwd,", "rename(None,"), SWAP.replace("(one), at_cwd,", "(one), None,"))
VERSION = 'if entry.name.startswith(f"{name}@") and _VERSION.fullmatch(entry.name[len(name) + 1 :]) and entry.is_dir(follow_symlinks=False)'
_equivalent("None is as false as False", VERSION, VERSION.replace("=False", "=None"))
REMOVED = "if stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):"
_equivalent("None is as false as False", REMOVED, REMOVED.replace("=False", "=None"))
BEGINS = 'return Path(path).read_text(encoding="utf-8", errors="replace").startswith(mark)'
_equivalent("the mark is ASCII, and what is not is replaced", BEGINS, BEGINS.replace('"utf-8"', "None"), BEGINS.replace('encoding="utf-8", ', ""))
GUARD_WRITES = 'with open(file + ".new", "w", encoding="utf-8") as handle:'
_equivalent("JSON is written as ASCII", GUARD_WRITES, GUARD_WRITES.replace('"utf-8"', "None"), GUARD_WRITES.replace(', encoding="utf-8"', ", "))
SAID = 'with open(os.path.join(SAID_DIR, f".{name}"), "w", encoding="ascii") as handle:'
_equivalent("one of two words, in ASCII", SAID, SAID.replace('"ascii"', "None"), SAID.replace(', encoding="ascii"', ", "))
for kernel in ("meminfo", "sys/kernel/random/boot_id"):
    KERNEL = f'with open("/proc/{kernel}", encoding="ascii") as handle:'
    _equivalent("the kernel writes ASCII", KERNEL, KERNEL.replace('"ascii"', "None"), KERNEL.replace('encoding="ascii"', ""))
for RUNS in (
    'shown = subprocess.run(["systemctl", "show", "--property=Job", "--value", f"gb10-vllm-{name}.service"], capture_output=True, text=True, check=False)',
    'if subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode:',
    'subprocess.run(["systemctl", "try-restart", unit], check=False)',
    'subprocess.run(["systemctl", "stop", unit], check=False)',
):
    _equivalent("what fails raises nothing unless asked to", RUNS, RUNS.replace("check=False", ""), RUNS.replace("=False", "=None"))
NAMES = "directory = os.open(os.path.dirname(file), os.O_RDONLY | os.O_DIRECTORY)"
_equivalent("what holds a file is a directory", NAMES, NAMES.replace("|", "&"))
NOTIFY = 'address = os.environ.get("NOTIFY_SOCKET", "")'
_equivalent("None is as empty", NOTIFY, NOTIFY.replace('""', "None"), NOTIFY.replace(', ""', ", "))
UNSEEN = "self._seen: list[tuple[int, int, int] | None] | None = None"
_equivalent("a list is none of them", UNSEEN, UNSEEN.replace("= None", '= ""'))
_equivalent("the first that are added come to none", "stays += kept", "stays = kept")
PROCESS = 'status = os.stat(f"/proc/{pid}/root{destination}") if pid else None'
_equivalent("there is no process 0", PROCESS, PROCESS.replace("if pid else", "if (pid) or True else"))
