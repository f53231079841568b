# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Edit Dockerfiles without changing what they mean: settings into every stage.

``docker build`` forwards no environment of the host into RUN steps, so a setting such as
UV_HTTP_TIMEOUT acts only when it is written into the Dockerfile itself. Pure text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error

_KEYWORD = re.compile(r"\s*([A-Za-z]+)(?=\s|$)")
_DIRECTIVE = re.compile(r"#\s*([A-Za-z]+)\s*=\s*(\S+)\s*$")
_HEREDOC = re.compile(r"""(?<!\S)\d*<<(-?)(["']?)([A-Za-z_][\w.]*)\2(?=[\s;&|>)]|$)""")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?([-+])([^}]*))?\}|(\w+))")


@dataclass
class Segment:
    """One instruction with its continuation lines and heredocs, or one blank or comment line (keyword ``""``)."""

    keyword: str
    raw: str


@dataclass(frozen=True)
class Stage:
    """One FROM: the image it names (as written), its name (lower case, may be empty) and the segment that holds it."""

    image: str
    name: str
    segment: int


def parse(text: str) -> list[Segment]:
    """Split a Dockerfile into segments; joining their ``raw`` gives the text back unchanged."""
    lines = text.splitlines(keepends=True)
    escape = "\\"
    for line in lines:  # parser directives are comments before anything else
        directive = _DIRECTIVE.match(line.strip())
        if not directive:
            break
        if directive.group(1).lower() == "escape":
            escape = directive.group(2)
    continued = re.compile(re.escape(escape) + r"[ \t]*$")
    segments: list[Segment] = []
    index = 0
    while index < len(lines):
        start = index
        stripped = lines[index].strip()
        index += 1
        if not stripped or stripped.startswith("#"):
            segments.append(Segment("", lines[start]))
            continue
        match = _KEYWORD.match(lines[start])
        keyword = match.group(1).upper() if match else ""
        more = bool(continued.search(lines[start].rstrip("\r\n")))
        while more and index < len(lines):
            body = lines[index].strip()
            if body and not body.startswith("#"):  # comments and blank lines inside do not end an instruction
                more = bool(continued.search(lines[index].rstrip("\r\n")))
            index += 1
        if keyword in ("RUN", "COPY", "ADD"):
            for dash, _quote, word in _HEREDOC.findall("".join(lines[start:index])):
                while index < len(lines):
                    end = lines[index].rstrip("\r\n")
                    index += 1
                    if (end.lstrip("\t") if dash else end) == word:
                        break
        segments.append(Segment(keyword, "".join(lines[start:index])))
    return segments


def stages(segments: list[Segment]) -> list[Stage]:
    """The FROM instructions in order."""
    found = []
    for number, segment in enumerate(segments):
        if segment.keyword != "FROM":
            continue
        words = [w for w in segment.raw.replace("\\\n", " ").split()[1:] if not w.startswith("--")]
        name = words[2].lower() if len(words) > 2 and words[1].lower() == "as" else ""
        found.append(Stage(words[0] if words else "", name, number))
    return found


def base_images(text: str, arguments: Mapping[str, str] | None = None) -> list[str]:
    """The images from outside that a Dockerfile builds on, with ``arguments`` and else the defaults of global ARGs filled in."""
    segments = parse(text)
    found = stages(segments)
    first = found[0].segment if found else len(segments)
    args: dict[str, str] = {}
    for segment in segments[:first]:
        if segment.keyword == "ARG":
            for name, value in _arguments(segment.raw):
                if value is not None:
                    args[name] = _expand(value, args)
    args.update(arguments or {})
    names: set[str] = set()
    images: list[str] = []
    for stage in found:
        image = _expand(stage.image, args)
        if image and image != "scratch" and image.lower() not in names and image not in images:
            images.append(image)
        names.add(stage.name)
    return images


def prepare(
    text: str,
    *,
    environment: Mapping[str, str],
    copy: tuple[str, str] | None = None,
    arguments: Mapping[str, str] | None = None,
    name: str = "Dockerfile",
) -> str:
    """Return the Dockerfile with ``environment`` in force in every RUN of every stage.

    An ENV of the file that sets one of the names, and an assignment of one inside a RUN, is overridden.
    ``copy`` (source in the context, target in the image) is added to each stage that starts from an image of
    outside; ``arguments`` replace the defaults of ARGs.
    Raises GB10Error when the file has no FROM.
    """
    segments = parse(text)
    found = {stage.segment: stage for stage in stages(segments)}
    if not found:
        raise GB10Error(f"{name} has no FROM instruction, so it is not a Dockerfile that can be built; check the ref")
    env_line = "ENV " + " ".join(f"{key}={_quote(value)}" for key, value in environment.items()) + "\n"
    sets = re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, environment)) + r")(?=[=\s])") if environment else None
    inline = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, environment)) + r""")=("[^"]*"|'[^']*'|[^\s;&|\\)`]*)""") if environment else None
    names: set[str] = {"scratch"}
    out: list[str] = []
    for number, segment in enumerate(segments):
        raw = segment.raw
        if segment.keyword == "ARG" and arguments:
            raw = _replace_defaults(raw, arguments)
        if segment.keyword == "RUN" and inline:
            raw = inline.sub(lambda m: f"{m.group(1)}={environment[m.group(1)]}", raw)
        out.append(raw)
        stage = found.get(number)
        after = ""
        if stage and stage.image.lower() != "scratch":
            after = env_line if environment else ""
            if copy and stage.image.lower() not in names:
                after += f"COPY {copy[0]} {copy[1]}\n"
        elif segment.keyword == "ENV" and sets and sets.search(raw.split(None, 1)[1] if len(raw.split(None, 1)) > 1 else ""):
            after = env_line
        if after:
            if not raw.endswith("\n"):
                out.append("\n")
            out.append(after)
        if stage:
            names.add(stage.name)
    return "".join(out)


def label_lines(labels: Mapping[str, str]) -> str:
    """LABEL instructions for ``labels``."""
    return "".join(f"LABEL {key}={_quote(value)}\n" for key, value in labels.items())


def declared_arguments(text: str) -> set[str]:
    """Names of all ARGs a Dockerfile declares."""
    return {name for segment in parse(text) if segment.keyword == "ARG" for name, _value in _arguments(segment.raw)}


def _arguments(raw: str) -> list[tuple[str, str | None]]:
    body = raw.replace("\\\n", " ").split(None, 1)
    found: list[tuple[str, str | None]] = []
    for name, _eq, quoted, plain in re.findall(r"""(\w+)(=(?:"([^"]*)"|'[^']*'|(\S*)))?""", body[1] if len(body) > 1 else ""):
        found.append((name, (quoted or plain) if _eq else None))
    return found


def _replace_defaults(raw: str, arguments: Mapping[str, str]) -> str:
    for name, value in arguments.items():
        written = f"{name}={_quote(value)}".replace("\\", r"\\")  # re.sub reads backslashes in what it puts in
        raw = re.sub(rf"""(?<=\s){re.escape(name)}(?:=(?:"[^"]*"|'[^']*'|\S*))?(?=\s|$)""", written, raw)
    return raw


def _expand(text: str, values: Mapping[str, str]) -> str:
    def one(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(4)
        value = values.get(name, "")
        if match.group(2) == "-":
            return value or match.group(3)
        if match.group(2) == "+":
            return match.group(3) if value else ""
        return value

    return _VARIABLE.sub(one, text.strip("\"'"))


def _quote(value: str) -> str:
    text = str(value)
    if re.fullmatch(r"[\w./:@+,-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", " ") + '"'
