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
REPAIR = PLUGINS + "_diagnosis/repair.py"
DEPLOYMENT = PLUGINS + "_decide/deployment.py"
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
MEMORY, LEARNED = "plugins/module_utils/_engine/footprint.py", "plugins/module_utils/_sizing/learned.py"
MEMORY_TEST, LEARNED_TEST = UNIT + "module_utils/_engine/test_footprint.py", UNIT + "module_utils/_sizing/test_learned.py"
REPAIR_TEST = UNIT + "plugin_utils/_diagnosis/test_repair.py"
DIAGNOSIS_TEST = UNIT + "plugin_utils/_diagnosis/test_diagnosis.py::test_a_wrapper_of_one_node_comes_after_what_the_group_says"
DEPLOYMENT_TEST = UNIT + "plugin_utils/_decide/test_deployment.py"
DISTRIBUTION_TEST = UNIT + "plugin_utils/_decide/test_distribution.py"
LOCK_TEST = UNIT + "plugin_utils/_fleet/test_lock.py"
BUNDLE_TEST = UNIT + "plugin_utils/test_bundle.py"
DIRECTORY_TEST = UNIT + "module_utils/_model/test_directory.py"
WEIGHTS_TEST = UNIT + "module_utils/_sizing/test_weights.py"
DOWNLOAD_TEST = UNIT + "module_utils/_model/test_download.py"
STORE_TEST = UNIT + "module_utils/_model/test_model_store.py"
VERSIONS_TEST = UNIT + "module_utils/_model/test_versions.py"
ENV_FILE_TEST = UNIT + "module_utils/_io/test_env_file.py"
FILES_TEST = UNIT + "module_utils/_io/test_files.py"
CLIENT_TEST = UNIT + "module_utils/_transfer/test_client.py"
INDEX_TEST = UNIT + "module_utils/_transfer/test_index.py"
SHARES_TEST = UNIT + "module_utils/_transfer/test_shares.py"
KEYS_TEST = UNIT + "module_utils/_transfer/test_keys.py"
IMAGE_STORE_TEST = UNIT + "module_utils/_image/test_store.py"
IMAGE_LOG_TEST = UNIT + "module_utils/_image/test_inputs_and_log.py"
DOCKERFILE_TEST = UNIT + "module_utils/_image/test_dockerfile.py"
WIRING_TEST = "tests/unit/roles/test_wiring.py"
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
    Mutant("find-driver", "low", UTILS + "_box/findings.py", "590\\.", "5[89]0\\.", FINDINGS_TEST),
    Mutant("find-sort", "low", UTILS + "_box/findings.py", 'return sorted(found, key=lambda one: one["level"] != ERROR)', "return found", FINDINGS_TEST),
    Mutant("box-rss", "medium", UTILS + "_box/facts.py", ' + status.get("RssShmem", 0)', "", FACTS_TEST),
    Mutant("box-least", "low", UTILS + "_box/facts.py", "if held >= least_bytes:", "if held >= 2 * least_bytes:", FACTS_TEST),
    Mutant("box-group-readable", "low", UTILS + "_box/facts.py", "if status.st_mode & 0o077 or", "if status.st_mode & 0o007 or", FACTS_TEST),
    # a start
    Mutant("ready-unit", "medium", UTILS + "_engine/readiness.py", "model_bytes / 40e6", "model_bytes / 400e6", READINESS_TEST),
    Mutant(
        "ready-redact-key",
        "medium",
        UTILS + "_io/redaction.py",
        "for pattern in (_BEARER, *_ASSIGNED):",
        "for pattern in (_BEARER,):",
        READINESS_TEST,
    ),
    Mutant("ready-redact-hf", "medium", UTILS + "_io/redaction.py", r"\bhf_[A-Za-z0-9]", r"\bhf_[A-Z]", READINESS_TEST),
    Mutant("elog-rounds", "low", UTILS + "_io/lines.py", "for _round in range(_ROUNDS):", "for _round in range(1):", LOG_TEST),
    Mutant(
        "vu-fixed",
        "low",
        PLUGINS + "_diagnosis/vulnerabilities.py",
        'number < _version(advisory["fixed_in"])',
        'number <= _version(advisory["fixed_in"])',
        VULNERABILITIES_TEST,
    ),
    # a repair
    Mutant("rep-safe", "high", REPAIR, 'if auto.get("level") != "safe":', "if not auto:", REPAIR_TEST),
    Mutant("rep-mostutil", "medium", REPAIR, "MOST_UTILIZATION = 0.85", "MOST_UTILIZATION = 0.98", REPAIR_TEST),
    Mutant("rep-leastutil", "low", REPAIR, "if 0.3 <= lower < float(now):", "if lower < float(now):", REPAIR_TEST),
    Mutant("rep-gone", "medium", REPAIR, 'if gone and len(gone) == len([word for word in refused if word.startswith("--")]):', "if gone:", REPAIR_TEST),
    Mutant("rep-nocache", "low", REPAIR, "    if kv <= step:", "    if kv < 0:", REPAIR_TEST),
    Mutant("rep-floor-once", "high", REPAIR, 'any(past.get("id") == FLOOR for past in history)', "False", REPAIR_TEST),
    Mutant("mem-others", "high", MEMORY, 'end["lowest_bytes"] - others', 'end["lowest_bytes"]', MEMORY_TEST),
    Mutant("mem-nonsense", "medium", MEMORY, "if value < -uncertainty:", "if False:", MEMORY_TEST),
    Mutant("mem-image", "high", LEARNED, 'if container.get("image") != asked.image_id:', "if False:", LEARNED_TEST),
    Mutant("mem-flags", "high", LEARNED, "return ran == wanted", "return True", LEARNED_TEST),
    Mutant("rep-shorter", "low", REPAIR, "if fits < LEAST_CONTEXT or (_is_number(now) and fits >= int(now)):", "if fits < LEAST_CONTEXT:", REPAIR_TEST),
    Mutant("rep-batch", "low", REPAIR, "max(LEAST_BATCH, int(now) // 2)", "int(now) // 2", REPAIR_TEST),
    Mutant("dia-wrapper", "low", PLUGINS + "_diagnosis/diagnosis.py", "hit.is_wrapper, hit.calm, echo, after", "False, hit.calm, echo, after", DIAGNOSIS_TEST),
    # what is made of a plan
    Mutant("deploy-offline", "medium", DEPLOYMENT, '    "HF_HUB_OFFLINE": "1",\n', "", DEPLOYMENT_TEST),
    Mutant("deploy-config-rw", "medium", DEPLOYMENT, ":/run/gb10:ro", ":/run/gb10:rw", DEPLOYMENT_TEST),
    Mutant("deploy-stop-timeout", "low", DEPLOYMENT, 'int(options["stop_timeout_s"])', "0", DEPLOYMENT_TEST),
    Mutant(
        "dist-own-model",
        "high",
        PLUGINS + "_decide/distribution.py",
        'model.get("repo_id") and model.get("revision") and',
        'model.get("repo_id") and',
        DISTRIBUTION_TEST,
    ),
    Mutant("dist-store", "low", PLUGINS + "_decide/distribution.py", 'if not layers or state.get("store") != "classic":', "if not layers:", DISTRIBUTION_TEST),
    Mutant("fleet-imageid", "low", PLUGINS + "_fleet/lock.py", ' or deployed["container"]["image"] != entry["image_id"]', "", LOCK_TEST),
    Mutant("bun-record", "low", PLUGINS + "_bundle.py", ' and not name.endswith("/" + RECORD)', "", BUNDLE_TEST),
    Mutant("bun-known-size", "low", PLUGINS + "_bundle.py", 'entry.get("sha256") if entry.get("size") == size else None', 'entry.get("sha256")', BUNDLE_TEST),
    # a model's directory
    Mutant("md-confighash", "high", UTILS + "_model/directory.py", "hashlib.sha256(config_blob).hexdigest()))", '""))', DIRECTORY_TEST),
    Mutant("md-lastshard", "medium", UTILS + "_model/directory.py", "range(1, int(total) + 1)", "range(1, int(total))", DIRECTORY_TEST),
    Mutant("md-py", "medium", UTILS + "_model/directory.py", '".jinja", ".py", ', '".jinja", ', DIRECTORY_TEST),
    Mutant("md-limit", "low", UTILS + "_model/directory.py", "if len(blob) > limit:", "if len(blob) > 2**40:", DIRECTORY_TEST),
    Mutant("w-trunc-header", "low", UTILS + "_sizing/weights.py", "if 8 + length > size_bytes:", "if length > size_bytes:", WEIGHTS_TEST),
    Mutant("ms-space", "medium", UTILS + "_model/store.py", "free < needed_bytes + GIB:", "free < needed_bytes:", STORE_TEST),
    Mutant("ms-chmod", "low", UTILS + "_model/store.py", "os.fchmod(descriptor, 0o755 if name in directories else 0o644)", "pass", STORE_TEST),
    Mutant(
        "ms-adopt-sha",
        "high",
        UTILS + "_model/store.py",
        'if digest != entry.get("sha256"):',
        "if digest is None:",
        STORE_TEST,
    ),
    Mutant("ms-adopt-size", "low", UTILS + "_model/store.py", "if not digest:", "if False:", STORE_TEST),
    Mutant("ms-name-before", "medium", UTILS + "_model/versions.py", "revision if _COMMIT.fullmatch(revision) else", "revision or", VERSIONS_TEST),
    # a download
    Mutant("dl-safename", "high", UTILS + "_model/download.py", "or not safe_name(name) or", "or", DOWNLOAD_TEST),
    Mutant(
        "dl-tls",
        "high",
        UTILS + "_model/hub.py",
        "build_opener(_Redirects)",
        "build_opener(_Redirects, urllib.request.HTTPSHandler(context=ssl._create_unverified_context()))",
        DOWNLOAD_TEST,
    ),
    Mutant(
        "dl-redirect-host",
        "high",
        UTILS + "_model/hub.py",
        "(there.scheme, there.netloc) != (here.scheme, here.netloc)",
        "there.scheme != here.scheme",
        DOWNLOAD_TEST,
    ),
    Mutant(
        "dl-redirect-clear",
        "high",
        UTILS + "_model/hub.py",
        "(there.scheme, there.netloc) != (here.scheme, here.netloc)",
        "there.netloc != here.netloc",
        DOWNLOAD_TEST,
    ),
    Mutant("dl-mode-group", "medium", UTILS + "_io/env_file.py", "status.st_mode & 0o077", "status.st_mode & 0o007", ENV_FILE_TEST),
    Mutant("safe-name-parts", "high", UTILS + "_io/files.py", 'not in ("", ".", "..")', 'not in ("", ".")', FILES_TEST),
    # from box to box
    Mutant(
        "peer-index-name", "high", UTILS + "_transfer/client.py", "or not safe_name(name) or isinstance(size, bool)", "or isinstance(size, bool)", CLIENT_TEST
    ),
    Mutant("peer-sharedir", "medium", UTILS + "_transfer/index.py", "hashlib.sha256(key.encode()).hexdigest()[:24]", "key", INDEX_TEST),
    Mutant("peer-keydir", "low", UTILS + "_transfer/keys.py", "    os.chmod(directory, 0o700)\n", "", SHARES_TEST),
    Mutant("share-rootmode", "medium", UTILS + "_transfer/share.py", "        os.chmod(self.root, 0o700)\n", "", SHARES_TEST),
    Mutant("share-identity", "medium", UTILS + "_transfer/images.py", 'if archive["identity"] != share["identity"]:', "if False:", SHARES_TEST),
    Mutant("share-space2", "medium", UTILS + "_transfer/images.py", "        check_space(self.store.root_dir(), 2 * to_come)\n", "", SHARES_TEST),
    Mutant("share-prune", "medium", UTILS + "_transfer/directories.py", "            store.prune([final], work.keep, self.docker)\n", "", SHARES_TEST),
    # images
    Mutant("is-verify", "high", UTILS + "_image/store.py", "if found is None or identity(found) !=", "if found is None or None is", IMAGE_STORE_TEST),
    Mutant("is-reverse", "medium", UTILS + "_image/store.py", "if one.startswith(mark)), reverse=True)", "if one.startswith(mark)))", IMAGE_STORE_TEST),
    Mutant("is-inuse", "medium", UTILS + "_image/store.py", "used = self.used() if excess else set()", "used = set()", IMAGE_STORE_TEST),
    Mutant(
        "is-blobmode",
        "low",
        UTILS + "_image/store.py",
        "os.makedirs(blobs, mode=0o700, exist_ok=True)",
        "os.makedirs(blobs, mode=0o777, exist_ok=True)",
        IMAGE_STORE_TEST,
    ),
    Mutant("il-tail", "low", UTILS + "_image/log.py", "log.splitlines()[-80:]", "log.splitlines()", IMAGE_LOG_TEST),
    Mutant(
        "il-min",
        "low",
        UTILS + "_image/log.py",
        "return min(len(self._done) + 1, self.steps) if self.steps else 0",
        "return len(self._done) + 1",
        IMAGE_LOG_TEST,
    ),
    Mutant("il-kb", "low", UTILS + "_image/log.py", '"kB": 10**3', '"kB": 2**10', IMAGE_LOG_TEST),
    Mutant("df-comment", "low", UTILS + "_image/dockerfile.py", 'if body and not body.startswith("#"):', "if body:", DOCKERFILE_TEST),
    # the page of a fleet
    Mutant("sp-drift", "medium", PAGE, '<li class="warn">{{ one }}</li>', '<li class="warn">{{ one | safe }}</li>', PAGE_TEST),
    Mutant("sp-repairs", "medium", PAGE, "repaired: {{ one }}", "repaired: {{ one | safe }}", PAGE_TEST),
    Mutant("sp-history", "medium", PAGE, "<li>{{ one.model }} on", "<li>{{ one.model | safe }} on", PAGE_TEST),
    Mutant("sp-endpoint", "low", PAGE, "at <code>{{ server.endpoint }}", "at <code>{{ server.endpoint | safe }}", PAGE_TEST),
    Mutant("sp-version", "low", PAGE, '{{ server.vllm_version or "-" }}', '{{ (server.vllm_version or "-") | safe }}', PAGE_TEST),
    Mutant("sp-title", "low", PAGE, "<h1>{{ title }}</h1>", "<h1>{{ title | safe }}</h1>", PAGE_TEST),
    Mutant("sp-all", "high", PLUGINS + "_fleet/status_page.py", "autoescape=True", "autoescape=False", PAGE_TEST),
    Mutant("sp-colour", "low", PAGE, '"good" if server.answers else "bad"', '"good" if server.server else "bad"', PAGE_TEST),
    # the roles
    Mutant("role-image-digest", "high", "roles/image/tasks/main.yml", '    digest: "{{ image_digest | default(omit, true) }}"\n', "", WIRING_TEST),
    Mutant("role-image-checksum", "high", "roles/image/tasks/main.yml", '    checksum: "{{ image_checksum | default(omit, true) }}"\n', "", WIRING_TEST),
    Mutant("role-image-timeout", "low", "roles/image/tasks/main.yml", '    timeout_s: "{{ image_timeout_s }}"\n', "", WIRING_TEST),
    Mutant("role-hub-no-log", "high", "roles/model/tasks/download.yml", "  no_log: true\n", "", WIRING_TEST),
    Mutant("role-hub-mode", "high", "roles/model/tasks/download.yml", 'mode: "0600"', 'mode: "0644"', WIRING_TEST),
    Mutant("role-hub-ca", "medium", "roles/model/tasks/download.yml", '    ca_bundle: "{{ model_ca_bundle }}"\n', "", WIRING_TEST),
    Mutant(
        "role-key-force",
        "medium",
        "roles/server/tasks/start.yml",
        'force: "{{ (server_key_given or server_order.new_key) and not server_order.ensure_key }}"',
        "force: true",
        WIRING_TEST,
    ),
    Mutant("role-key-none", "high", "roles/server/tasks/start.yml", "VLLM_API_KEY={{ server_random_key }}", "VLLM_API_KEY=", WIRING_TEST),
    Mutant(
        "role-restarted", "medium", "roles/server/tasks/start.yml", "{{ 'restarted' if server_restart and", "{{ 'started' if server_restart and", WIRING_TEST
    ),
    Mutant("role-soak", "medium", "roles/server/tasks/settle.yml", "server_soak_s | int if server_order.create else 0", "0", WIRING_TEST),
    Mutant("role-exposed", "high", "roles/plan/tasks/exposed.yml", "    that: not plan_exposed.refuse\n", "    that: true\n", WIRING_TEST),
    Mutant("role-exposed-warn", "medium", "roles/plan/tasks/exposed.yml", "  when: plan_exposed.warn | length > 0\n", "  when: false\n", WIRING_TEST),
    Mutant(
        "role-exposed-judge",
        "high",
        "roles/plan/tasks/main.yml",
        "  when: plan_exposed.warn | length > 0 or plan_exposed.refuse | length > 0\n",
        "  when: plan_exposed.warn | length > 0\n",
        WIRING_TEST,
    ),
    Mutant(
        "role-send-rate", "low", "roles/distribution/tasks/send.yml", '    rate_limit_mib_s: "{{ distribution_settings.rate_limit_mib_s }}"\n', "", WIRING_TEST
    ),
    Mutant("role-send-keep", "medium", "roles/distribution/tasks/send.yml", '    keep: "{{ distribution_keep }}"\n', "", WIRING_TEST),
    Mutant(
        "role-send-offer", "low", "roles/distribution/tasks/send.yml", "    - ansible_forks | int < distribution_plan | length\n", "    - false\n", WIRING_TEST
    ),
    Mutant("role-lock-planned", "high", "playbooks/supply.yml", '            planned: "{{ preflight_result.box.servers }}"\n', "", WIRING_TEST),
    Mutant("role-history", "medium", "roles/server/vars/main.yml", "'history': server_history | int", "'history': 5", WIRING_TEST),
    Mutant("role-restarts", "medium", "roles/server/templates/server.service.j2", "Burst={{ server_restarts | int +", "Burst={{ 3 +", WIRING_TEST),
    Mutant(
        "role-window",
        "low",
        "roles/server/templates/server.service.j2",
        "StartLimitIntervalSec={{ server_restart_window_s }}",
        "StartLimitIntervalSec=900",
        WIRING_TEST,
    ),
    Mutant("role-shm", "low", "roles/server/tasks/start.yml", '        shm_size: "{{ server_deployment.container.shm_size_bytes }}"\n', "", WIRING_TEST),
    # the guard
    Mutant("guard-memfree", "medium", GUARD, 'line.startswith("MemAvailable:")', 'line.startswith("MemFree:")', GUARD_TEST),
    Mutant("guard-floor", "medium", GUARD, "if free - needed < floor - COMES_AND_GOES:", "if free < needed:", GUARD_TEST),
    Mutant("guard-floor-edge", "low", GUARD, "if free - needed < floor - COMES_AND_GOES:", "if free - needed <= floor - COMES_AND_GOES:", GUARD_TEST),
    Mutant("guard-sentinel-any", "medium", GUARD, 'if sentinel and sentinel.get("boot_id") != boot_id():', "if sentinel:", GUARD_TEST),
    Mutant("guard-http-500", "medium", GUARD, "        if 200 <= status < 300:", "        if 200 <= status < 300 or status == 500:", GUARD_TEST),
    Mutant("guard-401-ok", "low", GUARD, "        if 200 <= status < 300:", "        if 200 <= status < 300 or status == 401:", GUARD_TEST),
    Mutant("guard-500-embeds", "medium", GUARD, "(400, 404, 405, 501)", "(400, 404, 405, 500, 501)", GUARD_TEST),
    Mutant("guard-401-busy", "low", GUARD, "if status in (0, 429, 503):", "if status in (0, 401, 429, 503):", GUARD_TEST),
    Mutant("guard-queue-full", "high", GUARD, "if status in (0, 429, 503):", "if status == 0:", GUARD_TEST),
    Mutant("guard-starts-3", "high", GUARD, "if starts >= STARTS_WITHOUT_ANSWER:", "if starts >= STARTS_WITHOUT_ANSWER - 1:", GUARD_TEST),
    Mutant("guard-starts-5", "high", GUARD, "if starts >= STARTS_WITHOUT_ANSWER:", "if starts > STARTS_WITHOUT_ANSWER:", GUARD_TEST),
    Mutant("guard-starts-lasting", "high", GUARD, '{"without_answer": starts + 1}, lasting=True', '{"without_answer": starts + 1}', GUARD_TEST),
    Mutant("guard-wedged-late", "medium", GUARD, 'number(mark, "at_s") >= WEDGED_S', 'number(mark, "at_s") > WEDGED_S', GUARD_TEST),
    Mutant("guard-wedged-early", "medium", GUARD, 'number(mark, "at_s") >= WEDGED_S', 'number(mark, "at_s") >= WEDGED_S - 1', GUARD_TEST),
    Mutant("guard-own-request", "high", GUARD, 'now["open"] > 1', 'now["open"] > 0', GUARD_TEST),
    Mutant("guard-one-seat", "high", GUARD, 'bool(before and before["open"] > 0)', 'bool(before and before["open"] > 1)', GUARD_TEST),
    Mutant("guard-aborted", "high", GUARD, "if kind and 'finished_reason=\"abort\"' not in series and", "if kind and", GUARD_TEST),
    Mutant("guard-long-prompt", "medium", GUARD, ' or now["cache"] != number(mark, "cache")', "", GUARD_TEST),
    Mutant("guard-others-answered", "medium", GUARD, "            forget(name, STARTING, STARTS)\n            restarts = 0\n", "", GUARD_TEST),
    Mutant("guard-patience", "medium", GUARD, 'failures if verdict == "stands still" else 0', "0", GUARD_TEST),
    Mutant("guard-old-mark", "medium", GUARD, 'keep(name, FAILURES, {**seen, "mark": {}})', "pass", GUARD_TEST),
    Mutant("guard-wall-clock", "high", GUARD, "    return clock_gettime(CLOCK_BOOTTIME)", "    import time\n    return time.time()", GUARD_TEST),
    Mutant(
        "guard-names-synced",
        "medium",
        GUARD,
        '    os.replace(file + ".new", file)\n    sync_names(file)\n',
        '    os.replace(file + ".new", file)\n',
        GUARD_TEST,
    ),
    Mutant("guard-read-only", "high", GUARD, '            keep(name, file, {"forgotten": True})\n', "", GUARD_TEST),
    Mutant("guard-no-memory", "medium", GUARD, "    if lasting or refused:", "    if lasting:", GUARD_TEST),
    Mutant("guard-proxy-key", "medium", GUARD, 'status, text = ask(base_url, "/metrics", key,', 'status, text = ask(base_url, "/metrics", "",', GUARD_TEST),
    Mutant("role-wedged", "medium", "roles/server/templates/gb10-vllm-watch@.service.j2", "{{ server_wedged_s }}", "900", WIRING_TEST),
    Mutant("role-starts", "medium", "roles/server/templates/server.service.j2", "ANSWER={{ server_restarts | int +", "ANSWER={{ 3 +", WIRING_TEST),
    Mutant("role-reload", "medium", "roles/server/tasks/guard.yml", "    daemon_reload: true\n", "    daemon_reload: false\n", WIRING_TEST),
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
    Mutant(
        "safe-name-root",
        "high",
        UTILS + "_io/files.py",
        'not name.startswith("/") and ',
        "",
        FILES_TEST,
        "the empty part in front of a leading / is refused all the same",
    ),
    Mutant(
        "peer-tls10",
        "low",
        UTILS + "_transfer/keys.py",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "",
        KEYS_TEST,
        "Python 3.10 and newer ask for TLS 1.2 by themselves",
    ),
    Mutant(
        "peer-umask",
        "low",
        UTILS + "_transfer/keys.py",
        ", umask=0o077)",
        ")",
        KEYS_TEST,
        "openssl writes private keys 0600 whatever the umask, in a directory of 0700",
    ),
]
