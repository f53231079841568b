# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes to the code that do harm and that no test found once, each with the test that finds it now; run.py makes them.

``old`` stands exactly once in ``file``. When the code moves on, write the same change for the code as it is then.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change: ``tests`` (a file, or one test of it) has to fail with it. ``why`` says what makes an equivalent one harmless."""

    name: str
    harm: str  # high | medium | low
    file: str
    old: str
    new: str
    tests: str
    why: str = ""


PLUGINS = "plugins/plugin_utils/"
UTILS = "plugins/module_utils/"
UNIT = "tests/unit/plugins/"
GUARD = "roles/server/files/guard.py"
PAGE = PLUGINS + "_fleet/status.html.j2"

WANTED_TEST = UNIT + "plugin_utils/_decide/test_wanted.py"
SOLVER_TEST = UNIT + "module_utils/_sizing/test_solver.py"
BUDGET_TEST = UNIT + "module_utils/_sizing/test_budget.py"
RULES_TEST = UNIT + "module_utils/_sizing/test_rules.py"
CONFIG_TEST = UNIT + "module_utils/_sizing/test_model_config.py"
FINDINGS_TEST = UNIT + "module_utils/_box/test_findings.py"
FACTS_TEST = UNIT + "module_utils/_box/test_facts.py"
READINESS_TEST = UNIT + "module_utils/_engine/test_readiness.py"
LOG_TEST = UNIT + "module_utils/_engine/test_log.py"
PAGE_TEST = UNIT + "plugin_utils/_fleet/test_status_page.py"
VULNERABILITIES_TEST = UNIT + "plugin_utils/_diagnosis/test_vulnerabilities.py"
GUARD_TEST = "tests/unit/roles/test_guard.py"

MUTANTS = [
    # what the user writes
    Mutant("wanted-name-anchor", "high", PLUGINS + "_decide/wanted.py", "if not NAME.fullmatch(name)", "if not NAME.match(name)", WANTED_TEST),
    # memory
    Mutant("solver-util-limit", "high", UTILS + "_sizing/solver.py", "<= max(limit_bytes, needed_bytes):", "<= total_bytes * 2:", SOLVER_TEST),
    Mutant(
        "budget-running",
        "high",
        UTILS + "_sizing/budget.py",
        "max(0, available - floor_bytes, requested_running)",
        "max(0, available - floor_bytes)",
        BUDGET_TEST,
    ),
    Mutant(
        "budget-cap",
        "medium",
        UTILS + "_sizing/budget.py",
        "available = min(available_now + returned, max(mem_total - GIB, available_now))",
        "available = available_now + returned",
        BUDGET_TEST,
    ),
    Mutant("lay-batch-min", "low", UTILS + "_sizing/layout.py", "max(1, min(tokens, self.max_num_seqs * max_model_len))", "max(1, tokens)", RULES_TEST),
    Mutant("cap-dcp", "low", UTILS + "_sizing/capacity.py", " * smallest * layout.engine.decode_context_parallel_size", " * smallest", RULES_TEST),
    Mutant("cap-round", "low", UTILS + "_sizing/capacity.py", "-floor(-requests * per_request)", "floor(requests * per_request)", RULES_TEST),
    Mutant("mc-cwm", "low", UTILS + "_sizing/layer_types.py", "SLIDING if index % 4 else FULL", "SLIDING if (index + 1) % 4 else FULL", CONFIG_TEST),
    Mutant("mc-gptoss", "low", UTILS + "_sizing/layer_types.py", '"gpt_oss": Pattern(SLIDING, 2)', '"gpt_oss": Pattern(SLIDING, 3)', CONFIG_TEST),
    # the command line
    Mutant("flags-secret-token", "high", UTILS + "_sizing/flags.py", '("api_key", "hf_token", "ssl', '("api_key", "ssl', SOLVER_TEST),
    Mutant("flags-secret-ssl", "high", UTILS + "_sizing/flags.py", '"hf_token", "ssl_keyfile_password")', '"hf_token")', SOLVER_TEST),
    Mutant(
        "flags-none", "low", UTILS + "_sizing/flags.py", "        if value is not None:\n            done", "        if True:\n            done", SOLVER_TEST
    ),
    # the box
    Mutant("find-swap-ports", "medium", UTILS + "_box/findings.py", "if owner in wanted_names:", "if owner in ():", FINDINGS_TEST),
    Mutant("find-disk", "medium", UTILS + "_box/findings.py", '["free_bytes"] < least:', '["free_bytes"] < least / 2:', FINDINGS_TEST),
    Mutant("find-driver", "low", UTILS + "_box/findings.py", "int(major) == DEADLOCKING", "int(major) >= DEADLOCKING", FINDINGS_TEST),
    Mutant(
        "find-sort", "low", UTILS + "_box/findings.py", 'return sorted(found, key=lambda finding: finding["level"] != ERROR)', "return found", FINDINGS_TEST
    ),
    Mutant("box-rss", "medium", UTILS + "_box/facts.py", ' + status.get("RssShmem", 0)', "", FACTS_TEST),
    Mutant("box-least", "low", UTILS + "_box/facts.py", "if held >= least_bytes:", "if held >= 2 * least_bytes:", FACTS_TEST),
    Mutant("box-group-readable", "low", UTILS + "_box/facts.py", "if status.st_mode & 0o077:", "if status.st_mode & 0o007:", FACTS_TEST),
    # a start
    Mutant("ready-unit", "medium", UTILS + "_engine/readiness.py", "model_bytes / 40e6", "model_bytes / 400e6", READINESS_TEST),
    Mutant(
        "ready-redact-key",
        "medium",
        UTILS + "_engine/readiness.py",
        r'return _KEY_ARGUMENT.sub(r"\1********", _HF_TOKEN.sub("hf_********", text))',
        'return _HF_TOKEN.sub("hf_********", text)',
        READINESS_TEST,
    ),
    Mutant("ready-redact-hf", "medium", UTILS + "_engine/readiness.py", '_HF_TOKEN.sub("hf_********", text))', "text)", READINESS_TEST),
    Mutant("elog-rounds", "low", UTILS + "_engine/log.py", "for _round in range(3):", "for _round in range(1):", LOG_TEST),
    Mutant(
        "vu-fixed",
        "low",
        PLUGINS + "_diagnosis/vulnerabilities.py",
        'number < _version(advisory["fixed_in"])',
        'number <= _version(advisory["fixed_in"])',
        VULNERABILITIES_TEST,
    ),
    # the page of a fleet
    Mutant("sp-drift", "medium", PAGE, '<li class="warn">{{ one }}</li>', '<li class="warn">{{ one | safe }}</li>', PAGE_TEST),
    Mutant("sp-repairs", "medium", PAGE, "repaired: {{ one }}", "repaired: {{ one | safe }}", PAGE_TEST),
    Mutant("sp-history", "medium", PAGE, "<li>{{ one.model }} on", "<li>{{ one.model | safe }} on", PAGE_TEST),
    Mutant("sp-endpoint", "low", PAGE, "at <code>{{ server.endpoint }}", "at <code>{{ server.endpoint | safe }}", PAGE_TEST),
    Mutant("sp-version", "low", PAGE, '{{ server.vllm_version or "-" }}', '{{ (server.vllm_version or "-") | safe }}', PAGE_TEST),
    Mutant("sp-title", "low", PAGE, "<h1>{{ title }}</h1>", "<h1>{{ title | safe }}</h1>", PAGE_TEST),
    Mutant("sp-all", "high", PLUGINS + "_fleet/status_page.py", "autoescape=True", "autoescape=False", PAGE_TEST),
    Mutant("sp-colour", "low", PAGE, '"good" if server.answers else "bad"', '"good" if server.server else "bad"', PAGE_TEST),
    # the guard
    Mutant("guard-memfree", "medium", GUARD, 'line.startswith("MemAvailable:")', 'line.startswith("MemFree:")', GUARD_TEST),
    Mutant("guard-floor", "medium", GUARD, "if free - needed < floor:", "if free < needed:", GUARD_TEST),
    Mutant("guard-floor-edge", "low", GUARD, "if free - needed < floor:", "if free - needed <= floor:", GUARD_TEST),
    Mutant("guard-sentinel-any", "medium", GUARD, 'if sentinel and sentinel.get("boot_id") != boot_id():', "if sentinel:", GUARD_TEST),
    Mutant(
        "guard-http-500",
        "medium",
        GUARD,
        "                return False\n        except (OSError",
        "                return error.code == 500\n        except (OSError",
        GUARD_TEST,
    ),
    Mutant("guard-500-embeds", "medium", GUARD, "(400, 404, 405, 501)", "(400, 404, 405, 500, 501)", GUARD_TEST),
    Mutant(
        "guard-401-ok",
        "low",
        GUARD,
        "                return False\n        except (OSError",
        "                return error.code == 401\n        except (OSError",
        GUARD_TEST,
    ),
]

EQUIVALENT = [
    Mutant(
        "find-own-port",
        "low",
        UTILS + "_box/findings.py",
        'if port not in listening or owner == server["name"]:',
        "if port not in listening:",
        FINDINGS_TEST,
        "its owner is one of the wanted servers then, which the next condition lets pass all the same",
    ),
]
