# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets what from whom: plain arithmetic on the controller, no I/O.

Every box that lacks something gets an ordered list of sources. The first one is its neighbour in a chain, which may still be
receiving: a box passes on what it has while the rest arrives, so a chain takes about as long as one transfer, whatever its
length. The rest of the list is for the case that the neighbour goes away. Sources are always boxes that hold everything, or
boxes nearer to one: nobody ever waits for somebody who waits for him.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._model.content import contradict
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import images
from ansible_collections.gb10.vllm.plugins.plugin_utils._decide.ranks import by_fabric

HELD = ("directory", "version", "content", "ours", "outside")
METHODS = ("auto", "fan_out", "build_everywhere")


def settings(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """``gb10_distribution`` with its defaults, or GB10Error for what is wrong with it."""
    given = dict(given or {})
    done: dict[str, Any] = {"method": "auto", "source": "auto", "port": 8417, "rate_limit_mib_s": 0.0, "connections": 4}
    unknown = sorted(set(given) - set(done))
    if unknown:
        raise GB10Error(f"gb10_distribution has no key {unknown[0]}; it knows {', '.join(done)}.")
    done.update(given)
    if done["method"] not in METHODS:
        raise GB10Error(f"gb10_distribution.method is {done['method']!r}; choose one of {', '.join(METHODS)}.")
    for key, least, most in (("port", 0, 65535), ("connections", 1, 32), ("rate_limit_mib_s", 0, 10**6)):
        try:
            done[key] = float(done[key]) if key == "rate_limit_mib_s" else int(done[key])
        except (TypeError, ValueError, OverflowError):
            raise GB10Error(f"gb10_distribution.{key} is {done[key]!r}, which is not a number.") from None
        if not least <= done[key] <= most:
            raise GB10Error(f"gb10_distribution.{key} is {done[key]}; it must lie between {least} and {most}.")
    return done


def choose_source(
    hosts: Sequence[str],
    having: Sequence[str] | Mapping[str, Mapping[str, Any]],
    wanted: str = "auto",
    recipes: Mapping[str, str] | None = None,
) -> str:
    """The box that builds, pulls or downloads: the one asked for, else the first that has it, else the first.

    Of several that have it the one that holds the ``recipe`` too (``recipes``: HEAD of its checkout by host): it is the one that built it, and another
    one would have to clone the recipe only to see that nothing is to be done.

    ``having``: names, or by host what it has of the image (``{id, identity, damaged}``, empty for nothing). A box whose Docker cannot read its
    copy (``damaged``) is passed over, also when it is asked for; the first choice is then one that has the same image.
    """
    if not hosts:
        raise GB10Error("No box is in this play, so there is nowhere to build or download.")
    copies = having if isinstance(having, Mapping) else {host: {"id": None} for host in having}
    damaged = [host for host in hosts if (copies.get(host) or {}).get("damaged")]
    if wanted and wanted != "auto":
        if wanted not in hosts:
            raise GB10Error(f"gb10_distribution.source is {wanted}, which is not among the boxes of this run ({', '.join(hosts)}).")
        if wanted not in damaged:
            return wanted
    sound = [host for host in hosts if host not in damaged]
    same = [host for host in sound if _has_image_of(copies, host, damaged)]
    held = sorted((host for host in sound if copies.get(host)), key=lambda host: not (recipes or {}).get(host))
    return next(iter([*same, *held, *sound, *hosts]))


def stand_in(copies: Mapping[str, Mapping[str, Any]], name: str, wanted: str = "auto") -> str:
    """Which box takes the place of those whose Docker cannot read its copy of the image, as a sentence; "" when there are none.

    ``copies``: as ``having`` in choose_source.
    """
    damaged = {host: copy["damaged"] for host, copy in copies.items() if copy.get("damaged")}
    if not damaged:
        return ""
    said = f"Docker on {', '.join(damaged)} cannot read its copy of {name} any more ({next(iter(damaged.values()))})"
    source = choose_source(list(copies), copies, wanted)
    if source in damaged:
        return f"{said}, nor has another box a sound one: remove it on {source} (docker rmi {name}, docker builder prune), so that it is made anew there."
    if _has_image_of(copies, source, list(damaged)):
        return f"{said}: {source}, which has the same image, sends it instead."
    return f"{said}: no other box has that image, so {source} makes it again."


def _has_image_of(copies: Mapping[str, Mapping[str, Any]], host: str, others: Sequence[str]) -> bool:
    mine = copies.get(host) or {}
    return bool(mine) and any(_same_image(mine, copies[other]) for other in others)


def wanted_models(servers: Sequence[Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The models a box wants and what it has of them: ``[{model, model_path, repo_id, revision, load_format, present, manifest}]``, and of those that
    are there ``{directory, version, content, ours, outside}`` too.

    ``servers`` as the filter ``servers`` returns them, ``models`` as M(gb10.vllm.model_info) does.
    """
    keys = ("model", "model_path", "repo_id", "revision", "load_format")
    found = []
    for server in servers:
        info = models.get(server["model_path"]) or {}
        present = bool(info.get("present")) and info.get("source") != "hub"
        there = {key: info[key] for key in HELD if key in info} if present else {}
        found.append({**{key: server.get(key) for key in keys}, "present": present, "manifest": info.get("manifest") if present else None, **there})
    return found


def wanted_images(known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images that a box wants, as the role preflight noted them; without it ``gb10_image``. ``known``: the box's variables."""
    noted = known.get("preflight_images") or {}
    return list(noted.get("wanted") or images.of_a_box([], known.get("gb10_image"))["wanted"])


def image_groups(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``[{key, places: {host: name}}]``: each image of a fleet once, with what it is called on the boxes that want it; the first has the key ``image``.

    Two images are one where their settings are. One that a box has under two names is two.
    """
    found: dict[tuple[str, int], dict[str, str]] = {}
    for host in hosts:
        seen: list[str] = []
        for one in wanted_images(hostvars[host]):
            same = images.content(one)
            found.setdefault((same, seen.count(same)), {})[host] = str(one["name"])
            seen.append(same)
    keys = ["image", *(f"image:{same[:12]}{f'.{again}' if again else ''}" for same, again in list(found)[1:])]
    return [{"key": key, "places": places} for key, places in zip(keys, found.values(), strict=True)]


def chosen(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], wanted: str = "auto", shared: bool = True) -> dict[str, Any]:
    """``{source, images: [{key, places, maker}], instead}``: which box builds and downloads, and which of those that want it makes each image.

    ``wanted``: the box that is asked for; of an image that it does not want another one does. ``instead``: who stands in for a damaged copy. Where
    boxes send each other nothing (``shared``), no ``maker`` is named: each makes its own.
    """
    if not hosts or (wanted != "auto" and wanted not in hosts):
        choose_source(hosts, [], wanted)
    groups, said = image_groups(hosts, hostvars), []
    for group in groups:
        places = group["places"]
        boxes = {host: (hostvars[host].get("preflight_result") or {}).get("box") or {} for host in places}
        copies = {host: ((box.get("docker") or {}).get("images") or {}).get(places[host]) or {} for host, box in boxes.items()}
        asked = wanted if wanted in places else "auto"
        group["maker"] = choose_source(list(places), copies, asked, {host: str(box.get("recipe") or "") for host, box in boxes.items()})
        said.append(stand_in(copies, next(iter(places.values())), asked))
    source = groups[0]["maker"] if wanted == "auto" or wanted in groups[0]["places"] else wanted
    if not shared:
        groups = [{**group, "maker": ""} for group in groups]
    return {"source": source, "images": groups, "instead": ". ".join(filter(None, (one.rstrip(".") for one in said))) + ("." if any(said) else "")}


def made_by(here: str, groups: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The images that box ``here`` makes of those it wants: those whose maker it is, or that have none. ``groups``: the ``images`` of ``chosen``."""
    own = {group["places"].get(here) for group in groups if group["maker"] in (here, "")}
    return [dict(one) for one in wanted if one["name"] in own]


def _groups(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], source: str) -> list[dict[str, Any]]:
    """The images of a run as ``choose`` noted them; without that, one box makes all."""
    noted = hostvars[source].get("distribution_images") or []
    return list(noted) or [{**group, "maker": source} for group in image_groups(hosts, hostvars)]


def _made(known: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The image of this name that the role image made on a box in this run; {} where it did not, or would only have."""
    several = known.get("image_results") or {}
    return dict((several.get(name) if several else known.get("image_result") or {}) or {}).get("image") or {}


def made_anew(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the role image made or brought an image in this run that its box did not have when it was read, or would have."""
    for host in hosts:
        known = hostvars[host]
        held = ((known["preflight_result"]["box"]["docker"]) or {}).get("images") or {}
        results = known.get("image_results") or ({"": known["image_result"]} if known.get("image_result") else {})
        for name, result in results.items():
            image = result.get("image") or {}
            if result.get("changed") or not image.get("id") or image["id"] != (held.get(name or str(image.get("name"))) or {}).get("id"):
                return True
    return False


def _models_of(known: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a box's models: as the role model left them, before it as they were read."""
    return dict((known.get("model_result") or known["plan_models"])["models"])


def boxes_of(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], source: str) -> dict[str, dict[str, Any]]:
    """What ``lacking`` compares, by host: ``{image: {name, id, identity, damaged}, addresses, link, way, models}``, out of what the roles before left behind.

    ``hostvars`` is Ansible's. The image that its maker just made counts, on the others the one that was there when they were read. ``link`` is the
    box's address on the fast link, the only one then: ``gb10_link_address`` where the inventory names it, else that of a fabric which all boxes are in;
    "" without. ``way`` says for all of them what was chosen, "" where nothing was. A box that wants other images than the first has them as ``others``, by
    key (``chosen``).
    """
    groups = _groups(hosts, hostvars, source)
    found: dict[str, dict[str, Any]] = {}
    links, way = links_of(hosts, hostvars)
    for host in hosts:
        known = hostvars[host]
        held = known["preflight_result"]["box"]["docker"]["images"]
        copies = {}
        for group in groups:
            name = group["places"].get(host)
            if name:
                seen = held.get(name) or {}
                image_id = (_made(known, name) if group["maker"] in (host, "") else seen).get("id") or ""
                same = seen if seen.get("id") == image_id else {}
                copies[group["key"]] = {"name": name, "id": image_id, "identity": same.get("identity") or "", "damaged": same.get("damaged") or ""}
        address = links[host] or known.get("ansible_host")
        others = {key: copy for key, copy in copies.items() if key != "image"}
        found[host] = {
            **({"image": copies["image"]} if "image" in copies else {}),
            **({"others": others} if others else {}),
            "addresses": [address] if address else [],
            "link": links[host],
            "way": way,
            "models": wanted_models(known.get("plan_models_wanted") or known["preflight_servers"], _models_of(known)),
        }
    return found


def _copies(box: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a box has of each image, by key."""
    return {**({"image": box["image"] or {}} if "image" in box else {}), **(box.get("others") or {})}


def copies_now(box: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a box has of each image, by key, with what turned out to be damaged when it was to be sent. ``given``: what M(gb10.vllm.share) told."""
    told = given.get("shares") or {}
    damage = {key: {"damaged": one["damaged"]} for key, one in told.items() if isinstance(one, Mapping) and one.get("damaged")}
    return {key: {**copy, **damage.get(key, {})} for key, copy in _copies(box).items()}


def stand_ins(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], wanted: str = "auto") -> str:
    """``stand_in`` for each image of a run. ``hostvars`` is Ansible's, with what ``copies_now`` says of each box as distribution_copies."""
    said, copies = [], {host: hostvars[host]["distribution_copies"] for host in hosts}
    for group in _groups(hosts, hostvars, hosts[0]):
        held = {host: copies[host].get(group["key"]) or {} for host in group["places"] if host in copies}
        said.append(stand_in(held, next(iter(group["places"].values())), wanted if wanted in held else "auto"))
    return " ".join(filter(None, said))


def links_of(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, str], str]:
    """(address of each box on the fast link or "", what was chosen without being stated, as a sentence); see boxes_of."""
    given = {host: str(hostvars[host].get("gb10_link_address") or "") for host in hosts}
    seen = {host: hostvars[host]["preflight_result"]["box"].get("network") or {} for host in hosts}
    network, ends = by_fabric(seen)
    taken = {host: ends[host] for host in hosts if ends and not given[host]}
    if not taken:
        return given, ""
    told = ", ".join(f"{host} {address} ({interface})" for host, (interface, address) in taken.items())
    way = f"What boxes send each other goes over the fabric, {network}: {told}. Where it is to go another way, say so with gb10_link_address."
    return {host: taken[host][1] if host in taken else given[host] for host in hosts}, way


def first_of(boxes: Mapping[str, Sequence[Mapping[str, Any]]], here: str, present: bool = True) -> list[dict[str, Any]]:
    """Models for which ``here`` answers: those it is the first box to have, or (``present=False``) the first to want while nobody has them.

    ``boxes``: by host what wanted_models returns. Each model once.
    """
    found: dict[str, dict[str, Any]] = {}
    for one in boxes.get(here) or []:
        wanting = {host: other for host, others in boxes.items() for other in others if other["model"] == one["model"]}
        having = [host for host, other in wanting.items() if other.get("present")]
        if next(iter(having if present else [] if having else wanting), None) == here:
            found[one["model"]] = dict(one)
    return list(found.values())


def elsewhere(boxes: Mapping[str, Sequence[Mapping[str, Any]]], here: str, models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Facts of the models ``here`` wants and lacks while another box has them, under the paths they will have here.

    ``boxes``: by host what wanted_models returns; ``models``: by host what M(gb10.vllm.model_info) found, by path.
    """
    found = {}
    for one in boxes.get(here) or []:
        for host, others in boxes.items():
            there = next((other for other in others if other["model"] == one["model"] and other.get("present")), None)
            if there and not one.get("present") and one["model_path"] not in found:
                found[one["model_path"]] = _as_ours(models[host][there["model_path"]], one["model_path"])
    return found


def _as_ours(facts: Mapping[str, Any], path: str, arrived: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Facts of a model on another box as they are where we bring it; ``arrived``: ``{directory, content}`` once it is there."""
    kept = {key: value for key, value in facts.items() if key not in ("directory", "version", "outside", "links", "unreadable", "ours")}
    told = {key: value for key, value in (arrived or {}).items() if key in ("directory", "content")}
    return {**kept, "path": path, **told, **({"ours": True} if told else {})}


def known_models(models: Mapping[str, Mapping[str, Any]], here: str, hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Facts of the models that box ``here`` has, and of those that another box of the run has and will send, under the paths they will have here.

    ``models``: what M(gb10.vllm.box_info) found here, by path. ``hostvars`` is Ansible's, with what the role plan noted of each box. A box that
    has all its models does not look at the others: over many boxes that would take long.
    """
    present = {path: info for path, info in models.items() if info.get("present")}
    if all(one["present"] for one in hostvars[here]["plan_wanted"]):
        return present
    readers = [host for host in hosts if "plan_wanted" in hostvars[host]]
    wanted = {host: hostvars[host]["plan_wanted"] for host in readers}
    return present | elsewhere(wanted, here, {host: hostvars[host]["plan_models"]["models"] for host in readers})


def outcome(here: str, source: str, hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What box ``here`` has after supply: {image, images, models}; ``images`` by name, of which ``image`` is the first.

    ``source`` made the image, or of several that ``choose`` noted their makers. ``hostvars`` is Ansible's, with what the roles left behind.
    """
    known = hostvars[here]
    models = _models_of(known)
    boxes = known.get("distribution_boxes") or {}
    got = (known.get("__distribution_transferred") or {}).get("shares") or {}
    found = {}
    for group in _groups(list(dict.fromkeys([source, here])), hostvars, source):
        name = group["places"].get(here)
        if not name:
            continue
        maker = group["maker"] or here
        image = dict(_made(hostvars[maker], group["places"].get(maker) or name))
        image_id = (got.get(group["key"]) or {}).get("image_id") or (_copies(boxes.get(here) or {}).get(group["key"]) or {}).get("id")
        if image_id:
            image["id"] = image_id
        if group["key"] != "image" and image:
            image["name"] = name
        found[name] = image
    if got:
        models |= arrived(known["distribution_shares"], here, got, {host: _models_of(hostvars[host]) for host in boxes})
    ordered = {str(one["name"]): found[str(one["name"])] for one in wanted_images(known) if str(one["name"]) in found}
    return {"image": next(iter(ordered.values()), {}), "images": ordered, "models": models}


def downloads(boxes: Mapping[str, Sequence[Mapping[str, Any]]], here: str, source: str, everywhere: bool = False) -> list[dict[str, Any]]:
    """What box ``here`` has to fetch from the hub: ``[{repo_id, revision, path, load_format}]``, each path once.

    ``boxes``: by host its servers with ``model``, ``model_path``, ``repo_id``, ``revision``, ``load_format`` and ``present``. A model that some box
    has is not downloaded again, except that a named revision is looked at on the one box that answers for it: the first that has
    it, else ``source`` where that wants it, else the first that wants it. With ``everywhere`` each box answers for itself.
    """
    wanted: dict[str, dict[str, Any]] = {}
    for server in boxes.get(here) or []:
        if not server.get("repo_id"):
            continue
        wanting = {here: server}
        if not everywhere:
            wanting = {host: one for host, servers in boxes.items() for one in servers if one["model"] == server["model"]}
        having = [host for host, one in wanting.items() if one.get("present")]
        answering = choose_source(list(wanting), having, source if source in wanting and not having else "auto")
        if answering == here and (not having or server.get("revision")):
            wanted[server["model_path"]] = {
                "repo_id": server["repo_id"],
                "revision": str(server.get("revision") or "main"),
                "path": server["model_path"],
                "load_format": server.get("load_format") or "auto",
            }
    return list(wanted.values())


def chains(holders: Sequence[str], targets: Sequence[str]) -> dict[str, list[str]]:
    """Sources of each target, best first.

    The targets are divided evenly into one chain per holder. A target's sources are the boxes before it in its chain, nearest
    first and ending at the holder, then the holders of other chains - or one more where there is a single chain. Other holders are not
    troubled: to offer an image a box has to save it first. Raises GB10Error when there are targets and no holder.
    """
    targets = [target for target in dict.fromkeys(targets) if target not in set(holders)]
    holders = list(dict.fromkeys(holders))
    if not targets:
        return {}
    if not holders:
        raise GB10Error(f"No box has what {', '.join(targets)} should get; build, pull or download it on one first.")
    plan: dict[str, list[str]] = {}
    ready = holders[: max(2, len(targets))]
    holders = holders[: len(targets)]
    share, extra = divmod(len(targets), len(holders))
    begin = 0
    for number, holder in enumerate(holders):
        end = begin + share + (number < extra)
        chain = [holder]
        for target in targets[begin:end]:
            plan[target] = [*reversed(chain), *(other for other in ready if other != holder)]
            chain.append(target)
        begin = end
    return plan


def lacking(boxes: Mapping[str, Mapping[str, Any]], source: str, groups: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """What has to travel, from what the plan phase already knows; an empty list means no box need be asked anything.

    ``boxes``: by host ``{image: {name, id, identity, damaged} or None, models: [as wanted_models returns them]}``, without ``image`` where it is not
    wanted. ``source``, or of each of ``groups`` (the ``images`` of ``chosen``) its maker, holds the image that counts, a damaged copy is not sent; a model
    that counts is the source's, else that of the first box that has it. A box whose model differs is left alone unless a revision of a repository is asked
    for and it was brought by us: an owner's own directory is never replaced. Nor is one sent whose files are links to elsewhere; GB10Error where nobody
    else has it. Returns shares: ``{key, kind, reference, holders, targets, places: {host: image name or path}}``.
    """
    shares: list[dict[str, Any]] = []
    makers = {group["key"]: group["maker"] for group in groups or ()} or {"image": source}
    for key, maker in makers.items():
        copies = {host: held[key] for host, box in boxes.items() if key in (held := _copies(box))}
        image = copies.get(maker) or {}
        if image.get("id"):
            names = {host: copy.get("name") or image["name"] for host, copy in copies.items()}
            has = [host for host, copy in copies.items() if _same_image(copy, image)]
            sound = [host for host in has if not copies[host].get("damaged")]
            shares.append(_share(key, "image", maker, sound, [host for host in copies if host not in has], names))
    order = [source, *(host for host in boxes if host != source)] if source in boxes else list(boxes)
    models = {host: {one["model"]: one for one in boxes[host].get("models") or []} for host in order}
    for key in dict.fromkeys(key for host in order for key in models[host]):
        wanting = {host: models[host][key] for host in order if key in models[host]}
        having = [host for host, model in wanting.items() if model.get("manifest")]
        if not having:
            continue
        reference = next((host for host in having if not wanting[host].get("outside")), having[0])
        same = [host for host in having if _same_model(wanting[host], wanting[reference])]
        has = [host for host in same if not wanting[host].get("outside")]
        takes = [host for host in boxes if host in wanting and host not in same and _may_take(wanting[host])]
        if takes and not has:
            raise GB10Error(
                f"{reference}: {wanting[reference]['model_path']} cannot be sent to {', '.join(takes)}: {wanting[reference]['outside']} is a link that leads "
                "out of it. Name the model as ORG/NAME to have it downloaded, or put a directory with the files themselves there (cp -rL)."
            )
        shares.append(_share(key, "directory", reference, has, takes, {host: model["model_path"] for host, model in wanting.items()}))
    return [share for share in shares if share["targets"]]


def _same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """By names, sizes and headers, and by the content where both boxes know it."""
    return one["manifest"] == other["manifest"] and not contradict(one.get("content"), other.get("content"))


def _may_take(model: Mapping[str, Any]) -> bool:
    """Whether a box may be sent a model that differs from its own."""
    return not model.get("manifest") or bool(model.get("repo_id") and model.get("revision") and model.get("ours", True))


def _same_image(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """By id, or by identity where stores of two kinds give one image two ids and the identity is known."""
    return one.get("id") == other["id"] or bool(one.get("identity")) and one.get("identity") == other.get("identity")


def _share(key: str, kind: str, reference: str, has: list[str], takes: list[str], places: dict[str, str]) -> dict[str, Any]:
    holders = [reference, *(host for host in has if host != reference)]
    targets = [host for host in takes if host not in holders]
    return {"key": key, "kind": kind, "reference": reference, "holders": holders, "targets": targets, "places": places}


def taking_part(shares: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By host the shares it opens: ``[{key, kind, place}]``; hosts that take no part are absent."""
    part: dict[str, list[dict[str, Any]]] = {}
    for share in shares:
        for host in [*share["holders"], *share["targets"]]:
            part.setdefault(host, []).append({"key": share["key"], "kind": share["kind"], "place": share["places"][host]})
    return part


def instructions(shares: Sequence[Mapping[str, Any]], opened: Mapping[str, Mapping[str, Any]], addresses: Mapping[str, Sequence[str]]) -> dict[str, dict]:
    """By host what M(gb10.vllm.share) has to do, from what every box answered when it opened its shares.

    ``opened``: by host ``{port, certificate, addresses, shares: {key: {identity, layers, store, content, problem}}}``. A box that turns out to have the
    reference's content under another id (another kind of image store) becomes a holder. Returns by host ``{trusted: [PEM], shares:
    [{key, kind, place, identity, content, sources: [...], give: bool, skip_layers}]}``. ``identity`` and, where the reference knows all its sums,
    ``content`` are what arrives has to be, whoever sends it; the source that is the reference says so (``reference``), for the sums it learns later.
    """
    part: dict[str, dict[str, Any]] = {host: {"trusted": [], "shares": []} for host in opened}
    for share in shares:
        key = share["key"]
        state = {host: answer["shares"].get(key) or {} for host, answer in opened.items()}
        reference = next((host for host in share["holders"] if (state.get(host) or {}).get("identity")), None)
        if reference is None:
            problem = next((found["problem"] for host in share["holders"] if (found := state.get(host) or {}).get("problem")), "")
            gone = f"{share['reference']} no longer has {share['places'][share['reference']]}; run again so that it is made or fetched anew."
            raise GB10Error(f"{share['reference']}: {problem}." if problem else gone)
        wanted = state[reference]["identity"]
        everybody = [host for host in [*share["holders"], *share["targets"]] if host in opened]
        content = state[reference].get("content")
        holders = [host for host in everybody if state[host].get("identity") == wanted and (state[host].get("content") or content) == content]
        # A holder whose files turn out to differ (one file more, say) is left alone; only a target is ever written to.
        targets = [host for host in share["targets"] if host in opened and host not in holders]
        plan = chains(holders, targets)
        giving = {source for sources in plan.values() for source in sources}
        held = [_common(state[reference].get("layers"), state[host]) for host in targets]
        for host in everybody:
            if host not in giving and host not in plan:
                continue
            part[host]["shares"].append(
                {
                    "key": key, "kind": share["kind"], "place": share["places"][host], "identity": wanted, "give": host in holders,
                    "skip_layers": min(held, default=0), **({"content": content} if content else {}),
                    "sources": [
                        {"name": source, "port": opened[source]["port"], "certificate": opened[source]["certificate"], "reference": source == reference,
                         "addresses": list(dict.fromkeys([*addresses.get(source, []), *opened[source].get("addresses", [])]))}
                        for source in plan.get(host, [])
                    ],
                }
            )  # fmt: skip
    everyone = [answer["certificate"] for answer in opened.values()]
    for one in part.values():
        one["trusted"] = everyone if one["shares"] else []
    return {host: one for host, one in part.items() if one["shares"]}


def arrived(
    shares: Sequence[Mapping[str, Any]], here: str, got: Sequence[str] | Mapping[str, Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What box ``here`` now knows of the models that reached it: the reference's facts, as it got the same files, under its own path.

    ``got``: keys of the shares that arrived, or by key what M(gb10.vllm.share) told of them. ``models``: by host what M(gb10.vllm.model_info) found, by path.
    """
    found = {}
    for share in shares:
        if share["kind"] == "directory" and here in share["targets"] and share["key"] in got:
            path = share["places"][here]
            told = got[share["key"]] if isinstance(got, Mapping) else {}
            found[path] = _as_ours(models[share["reference"]][share["places"][share["reference"]]], path, told)
    return found


def _common(layers: Sequence[str] | None, state: Mapping[str, Any]) -> int:
    """How many of the first layers a box's own images already hold; 0 where that says nothing about what its store can use."""
    if not layers or state.get("store") != "classic":
        return 0
    best = 0
    for held in state.get("layers_held") or []:
        same = 0
        while same < min(len(held), len(layers)) and held[same] == layers[same]:
            same += 1
        best = max(best, same)
    return best
