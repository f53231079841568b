# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HAProxy's configuration for a fleet, in what 2.6 to 3.0 have in common, and the files beside it. Pure.

No secret is in the configuration: keys lie in map files, those of clients as digests. Files are named relative to the configuration.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._router.haproxy import BACKEND, MARK, SOCKET, STATE_FILE
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.deployment import endpoint
from ansible_collections.gb10.vllm.plugins.plugin_utils._router.servers import Behind, model_names

OLDEST = (2, 6)
HEADROOM = 65536
"""Bytes of a buffer beside the body: HAProxy's own and the headers of a request."""
CLIENT_KEYS, BOX_KEYS, MODELS, LIST = "gb10-keys.map", "gb10-boxes.map", "gb10-models.map", "gb10-models.json"
CERTIFICATE = "gb10-router.pem"
ROUTES = (
    "/v1/", "/v2/", "/inference/", "/cohere/", "/invocations", "/tokenize", "/detokenize", "/pooling", "/classify", "/score", "/rerank",
    "/generative_scoring",
)  # fmt: skip
"""What may be asked with a body that names its model: what guard_keys.py of the role server lets a router's key open."""
BUSY = {
    400: "This is no request that HTTP knows.",
    408: "The request did not arrive in time.",
    500: "The router failed.",
    502: "The server of this model ended while it answered.",
    503: "No server of this model can take the request now; try again later.",
    504: "The server of this model did not answer in time.",
}


class Metrics(TypedDict):
    """Where a router tells Prometheus how it is; port 0: nowhere."""

    metrics_address: str
    metrics_port: int


class Settings(Metrics):
    """What the user decides of a router; keys are secrets, the rest is not."""

    address: str
    port: int
    port_offset: int
    body_bytes: int
    timeout_s: int
    queue_timeout_s: int
    connections: int
    affinity: str  # `none`, `key` or the name of a header
    ca: str
    agent_port: int
    open: bool
    client_keys: Mapping[str, str]
    box_key: str


def error(message: str, kind: str = "invalid_request_error", code: Any = None) -> str:
    """An error as OpenAI's API gives it, without a single quote, which would end it in a configuration."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).replace("'", "\\u0027")


def size(count: int) -> str:
    """Bytes as people read them: whole MiB or KiB."""
    return f"{count // 2**20} MiB" if count % 2**20 == 0 else f"{count // 1024} KiB"


def model_ports(servers: Iterable[Behind], settings: Settings) -> dict[int, str]:
    """{a port of the router: the server that it leads to, and no other}, over which bodies of any size pass; nothing with offset 0.

    A port that would lead to two servers, or that the router has for itself, leads to none: while a rollout changes ports boxes differ. What an inventory
    must not ask for says ``check_ports``.
    """
    return {port: names[0] for port, names in _claims(servers, settings).items() if len(names) == 1 and 0 < port < 65536 and names[0] not in OWN_PORTS}


OWN_PORTS = ("gb10_router_port", "gb10_router_metrics_port")


def _claims(servers: Iterable[Behind], settings: Settings) -> dict[int, list[str]]:
    """{port: whoever is to have it}, servers by their names, the router's own ports by those of their variables."""
    found: dict[int, list[str]] = {}
    own = ((settings["port"], OWN_PORTS[0]), (settings["metrics_port"], OWN_PORTS[1]))
    models = ((one["port"] + settings["port_offset"], one["server"]) for one in servers if settings["port_offset"])
    for port, name in [*own, *models]:
        if name not in found.setdefault(port, []) and (port or name not in OWN_PORTS):
            found[port].append(name)
    return found


def check_ports(servers: Iterable[Behind], settings: Settings, others: Mapping[int, str]) -> None:
    """GB10Error where two things would have the same port of a router. ``others``: what listens on its host besides, {port: what}."""
    for port, names in _claims(servers, settings).items():
        names = names + ([others[port]] if port in others else [])
        if len(names) > 1:
            raise GB10Error(
                f"Port {port} of the router would be of {names[0]} and of {names[1]}: a model has the port of its servers plus gb10_router_port_offset "
                f"({settings['port_offset']}) for itself. Give one of them another port, choose another gb10_router_port_offset, or 0 for no such ports."
            )
        if names and not 0 < port < 65536:
            raise GB10Error(
                f"Port {port} of the router, for {names[0]}, is none: a model has the port of its servers plus gb10_router_port_offset "
                f"({settings['port_offset']}); choose another one, or 0 for no such ports."
            )


def files(servers: Sequence[Behind], settings: Settings, version: Sequence[int]) -> dict[str, str]:
    """Every file of a router by its name below /etc/haproxy; GB10Error for what cannot be routed.

    ``version``: of the HAProxy that is to read them, (major, minor).
    """
    if tuple(version[:2]) < OLDEST:
        raise GB10Error(
            f"HAProxy {'.'.join(map(str, version))} is too old for a router: 2.6 or newer is needed (Debian 12, Ubuntu 24.04). Upgrade the distribution."
        )
    names = model_names(servers)
    maps = {
        CLIENT_KEYS: "".join(f"{hashlib.sha256(key.encode()).hexdigest().upper()} {name}\n" for name, key in sorted(settings["client_keys"].items())),
        BOX_KEYS: f"boxes {settings['box_key']}\n" if settings["box_key"] else "",
        MODELS: "".join(f"{spelled} {BACKEND}{server}\n" for model, server in sorted(names.items()) for spelled in spellings(model)),
        LIST: json.dumps({"object": "list", "data": [_model(model, servers) for model in sorted(names)]}) + "\n",
    }
    lines = [*_global(settings), *_defaults(settings), *_front(servers, settings), *_model_fronts(servers, settings), *_metrics(settings)]
    for name in dict.fromkeys(one["server"] for one in servers):
        lines += _backend(name, [one for one in servers if one["server"] == name], settings)
    text = "\n".join(lines) + "\n"
    said = hashlib.sha256(json.dumps([text, maps], sort_keys=True).encode()).hexdigest()[:16]
    return {"haproxy.cfg": f"{MARK}\n{text.replace('@DIGEST@', said)}", **maps}


def spellings(model: str) -> list[str]:
    """How a model's name may arrive: as it is, and with letters beyond ASCII as JSON escapes them (`%u00f6`, for HAProxy reads no such escape)."""
    escaped = json.dumps(model)[1:-1].replace("\\u", "%u")
    return list(dict.fromkeys([model, escaped, re.sub(r"%u([0-9a-f]{4})", lambda found: f"%u{found[1].upper()}", escaped)])) if "%u" in escaped else [model]


def _model(model: str, servers: Sequence[Behind]) -> dict[str, Any]:
    lengths = [one["max_model_len"] for one in servers if model in one["models"] and one["max_model_len"]]
    return {"id": model, "object": "model", "created": 0, "owned_by": "vllm", **({"max_model_len": min(lengths)} if lengths else {})}


def _global(settings: Settings) -> list[str]:
    return [
        "global",
        "    # Files are named relative to this one.",
        "    default-path config",
        "    description gb10 @DIGEST@",
        "    log /dev/log local0",
        "    chroot /var/lib/haproxy",
        "    user haproxy",
        "    group haproxy",
        f"    stats socket {SOCKET} user root group haproxy mode 660 level admin",
        "    stats timeout 30s",
        f"    server-state-file {STATE_FILE}",
        f"    maxconn {settings['connections']}",
        "    # A body is read whole to find its model.",
        f"    tune.bufsize {settings['body_bytes'] + HEADROOM}",
        "    # After a reload the former process ends with its last request, or then.",
        f"    hard-stop-after {settings['timeout_s'] * 2}s",
        "    ssl-default-bind-options ssl-min-ver TLSv1.2",
        "",
    ]


def _defaults(settings: Settings) -> list[str]:
    errors = [f"    http-error status {code} content-type application/json string '{error(text, 'server_error', code)}'" for code, text in BUSY.items()]
    return [
        "defaults",
        "    mode http",
        "    log global",
        "    # No header, no query, no body: keys and prompts do not belong into a log.",
        '    log-format "%ci %[var(txn.client)] %HM %HPO %ST %b/%s %Tw/%Tc/%Tr/%Ta %B %ts %sc/%rc %sq/%bq"',
        "    option dontlognull",
        "    load-server-state-from-file global",
        "    # vLLM closes idle connections after some seconds: a request on one that is just being closed would be lost.",
        "    option http-server-close",
        "    http-reuse never",
        "    # Only where nothing was sent: what was sent may have begun to count, to bill or to act.",
        "    retries 3",
        "    retry-on conn-failure",
        "    option redispatch 1",
        "    timeout connect 3s",
        "    timeout check 60s",
        "    timeout http-request 60s",
        "    timeout http-keep-alive 60s",
        f"    timeout queue {settings['queue_timeout_s']}s",
        f"    timeout client {settings['timeout_s']}s",
        f"    timeout server {settings['timeout_s']}s",
        "    # A box without power says nothing: TCP finds out, also while a long prompt is read.",
        "    option srvtcpka",
        "    srvtcpka-idle 20s",
        "    srvtcpka-intvl 5s",
        "    srvtcpka-cnt 4",
        "    option clitcpka",
        *errors,
        "",
    ]


def _json(status: int, text: str, when: str, kind: str = "string", header: str = "") -> str:
    return f"    http-request return status {status} content-type application/json {header}{kind} '{text}' {when}"


def _who(settings: Settings) -> list[str]:
    """Who asks: with which key, as `Authorization: Bearer KEY` or `X-Api-Key: KEY`."""
    lines = ["    http-request return status 200 content-type text/plain string ok if { path /health }"]
    if not settings["open"]:
        lines += [
            "    http-request set-var(txn.key) http_auth_bearer",
            "    http-request set-var(txn.key) req.fhdr(x-api-key) if !{ var(txn.key) -m found }",
            f"    http-request set-var(txn.client) var(txn.key),sha2(256),hex,map_str({CLIENT_KEYS})",
            "    http-request unset-var(txn.key)",
            _json(
                401,
                error("This address asks for a key: send `Authorization: Bearer KEY` with one that opens it.", code="invalid_api_key"),
                "unless { var(txn.client) -m found }",
                header="hdr WWW-Authenticate Bearer ",
            ),
        ]
    return lines


def _list(servers: Sequence[Behind]) -> list[str]:
    routes = " ".join(f"-m beg {route}" if index == 0 else route for index, route in enumerate(ROUTES))
    return [
        f"    http-request return status 200 content-type application/json file {LIST} if METH_GET {{ path /v1/models }}",
        f"    acl is_route path {routes}",
        _json(404, error("No model is asked at this path; /v1/models lists the models."), "unless is_route"),
    ]


def _onwards(settings: Settings) -> list[str]:
    """The client's key ends here; the box gets the router's."""
    key = [f'    http-request set-header Authorization "Bearer %[str(boxes),map_str({BOX_KEYS})]"'] if settings["box_key"] else []
    return ["    http-request del-header X-Api-Key", "    http-request del-header Authorization", *key, "    option forwardfor"]


def _bind(settings: Settings, port: int) -> str:
    return f"    bind {endpoint(settings['address'], port)} ssl crt {CERTIFICATE} alpn http/1.1"


def _front(servers: Sequence[Behind], settings: Settings) -> list[str]:
    limit = settings["body_bytes"]
    ways = _ways(servers, settings)
    gives = "gb10_router_port_offset gives each model a port of its own."
    other = f"Send it to the port of its model, where bodies of any size pass: {ways}." if ways else gives
    large = error(f"This body is larger than {size(limit)}, up to which this address looks for the model. {other}", code="request_too_large")
    asked = f", or ask at the port of the model: {ways}" if ways else ""
    missing = error(
        "No `model` is found in the body; /v1/models lists the models. JSON that nests deeper than 15 levels is not read here: put `model` before it"
        + asked
        + "."
    )
    unknown = error("The model MODEL does not exist here; /v1/models lists the models.", code="model_not_found").replace("%", "%%")
    return [
        "frontend router",
        _bind(settings, settings["port"]),
        *_who(settings),
        *_list(servers),
        _json(404, error("This path names no model in a body, so its server cannot be told; ask at the port of the model."), "unless METH_POST"),
        _json(413, large, f"if {{ req.fhdr(content-length) -m int gt {limit} }}"),
        f"    http-request wait-for-body time 60s at-least {limit + 1}",
        _json(413, large, f"if {{ req.body_len gt {limit} }}"),
        *_which(),
        _json(400, missing, "unless { var(txn.model) -m found }"),
        _json(404, unknown.replace("MODEL", "%[var(txn.model),bytes(0,200),json(utf8s)]"), "unless { var(txn.server) -m found }", kind="lf-string"),
        *_onwards(settings),
        "    use_backend %[var(txn.server)]",
        "",
    ]


def _ways(servers: Sequence[Behind], settings: Settings) -> str:
    """The ports of the models in words."""
    return ", ".join(sorted(f"{server} on port {port}" for port, server in model_ports(servers, settings).items()))


def _which() -> list[str]:
    """Which model a body names, and its server: `txn.model` and `txn.server`."""
    multipart = "{ req.fhdr(content-type) -m beg -i multipart/form-data }"
    served = "{ var(txn.server) -m found }"
    # HAProxy's JSON knows neither `\\/` nor letters beyond Latin-1 (HAProxy: src/mjson.c, mjson_unescape), which many clients write.
    plain = 'req.body,regsub("\\\\x5c/","/",g),regsub("\\\\x5cu","%u",g),json_query("$.model")'
    return [
        f"    http-request set-var(txn.model) req.body,json_query('$.model') unless {multipart}",
        # A form, as for transcriptions: the part named model.
        "    acl is_form req.body -m reg -i name=.model.[[:space:]]+[^[:space:]]",
        "    http-request set-var(txn.model) " + f'\'req.body,regsub("(?s)^.*name=.model.[[:space:]]+([^[:cntrl:]]*).*$","\\1",i)\' if {multipart} is_form',
        f"    http-request set-var(txn.server) var(txn.model),map_str({MODELS})",
        "    # Escaped in one of the ways that the first look does not know.",
        f"    http-request set-var(txn.plain) '{plain}' if !{multipart} !{served}",
        f"    http-request set-var(txn.server) var(txn.plain),map_str({MODELS}) if !{served} {{ var(txn.plain) -m found }}",
        "    http-request set-var(txn.model) var(txn.plain) if !{ var(txn.model) -m found } { var(txn.plain) -m found }",
    ]


def _model_fronts(servers: Sequence[Behind], settings: Settings) -> list[str]:
    lines: list[str] = []
    ports = model_ports(servers, settings)
    for server in sorted(set(ports.values())):
        lines += [
            f"frontend router_only_{server}",
            *(_bind(settings, port) for port in sorted(ports) if ports[port] == server),
            *_who(settings),
            *_list(servers),
            *_onwards(settings),
            f"    default_backend {BACKEND}{server}",
            "",
        ]
    return lines


def _metrics(settings: Settings) -> list[str]:
    if not settings["metrics_port"]:
        return []
    return [
        "frontend router_metrics",
        f"    bind {endpoint(settings['metrics_address'], settings['metrics_port'])}",
        "    http-request set-log-level silent",
        "    http-request use-service prometheus-exporter if { path /metrics }",
        "    http-request deny deny_status 404",
        "",
    ]


def server_id(box: str) -> int:
    """The number by which consistent hashing knows a box: the same however many others come and go."""
    return zlib.crc32(box.encode()) % (2**31 - 1) + 1


def _balance(affinity: str) -> list[str]:
    if affinity in ("", "none"):
        return ["    balance leastconn"]
    return [f"    balance hash {'var(txn.client)' if affinity == 'key' else f'req.fhdr({affinity})'}", "    hash-type consistent"]


def _backend(name: str, servers: Sequence[Behind], settings: Settings) -> list[str]:
    return [
        f"backend {BACKEND}{name}",
        *_balance(settings["affinity"]),
        "    # The process: a refused connection counts at once, a slow answer only after minutes. Whether it answers for real says the agent.",
        "    option httpchk",
        "    http-check send meth GET uri /health",
        "    http-check expect status 200",
        f"    default-server init-addr libc,last,none inter 5s fastinter 2s downinter 2s fall 3 rise 1 agent-inter 3s agent-port {settings['agent_port']}",
        "    # An engine that is gone has the fewest connections, so each retry would go there again: the first refused connection takes it out.",
        "    default-server observe layer4 error-limit 1 on-error mark-down",
        *(_server(one, settings) for one in servers),
        "",
    ]


def _server(one: Behind, settings: Settings) -> str:
    tls = f" ssl verify required ca-file {settings['ca']} verifyhost {one['tls_name']} sni str({one['tls_name']})" if one["tls_name"] else ""
    # Whether a box hears us: what was sent and stays without an answer of its TCP for so long.
    # The agent is asked at the server's own address unless another is named; one that is named has to be known when HAProxy starts.
    elsewhere = f"agent-addr {one['agent']} " if one["agent"] != one["address"] else ""
    agent = f'agent-check {elsewhere}agent-send "{one["server"]}\\n"'
    return f"    server {one['box']} {endpoint(one['address'], one['port'])} id {server_id(one['box'])} check {agent} maxconn {one['maxconn']} tcp-ut 30s{tls}"
