# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML as people and tools write configuration in it, read on a box that may have no library for it: all scalars stay text. Pure.

Blocks, flow collections, quotes, literal and folded texts, comments, anchors and aliases; no merge keys, only the first document, and
literal texts lose their indentation.
"""

from __future__ import annotations

import json
import re
from typing import Any

_KEY = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\-?:,\[\]{}#&*!|>'"%@`].*?|[\-?:](?=\S).*?)(?=\s*:(?:\s|$))""")
_OPENS = re.compile(r"(?:^|[\[{,]|[:\-?]\s|[:\-?\s][&!]\S*\s)\s*$|(?<=[\"'\]}]):$")
_PROPERTY = re.compile(r"([&!])(\S*)(?:\s+|$)")
_TEXT = re.compile(r"(?:^|[:\-]\s+|[:\-]\s+[&!]\S*\s+)(?P<style>[|>])[-+0-9]*$")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "_": "\xa0", "N": "\x85"}

Line = tuple[int, str]


def read_yaml(text: str) -> Any:
    """Mappings, lists, texts and None (nothing is said) of the first document; ValueError for what is no YAML of this kind."""
    lines = _logical(text)
    if not lines:
        return None
    reader = _Blocks(lines)
    value = reader.block(lines[0][0])
    if reader.at < len(lines):
        raise ValueError(f"not understood: {lines[reader.at][1][:60]}")
    return value


def _logical(text: str) -> list[Line]:
    """(indent, content) of each line without comments; what is open (a bracket, a quote, a literal text) is one line with those that end it."""
    found: list[Line] = []
    raw = text.replace("\ufeff", "").splitlines()
    at = 0
    while at < len(raw):
        line = raw[at]
        at += 1
        if re.match(r"---(\s|$)", line):
            if found:
                break
            line = "   " + line[3:]
        if re.match(r"\.\.\.(\s|$)", line):
            break
        content, is_open = _without_comment(line)
        while is_open and at < len(raw):
            content, is_open = _without_comment(f"{content} {raw[at].strip()}")
            at += 1
        if is_open:
            raise ValueError("a bracket or a quote is not closed")
        if not content.strip() or line.startswith("%"):
            continue
        indent = len(content) - len(content.lstrip(" "))
        if content[indent] == "\t":
            raise ValueError("a tab indents a line")
        content = content.strip()
        literal = _TEXT.search(content)
        if literal:
            body = []
            while at < len(raw) and (not raw[at].strip() or len(raw[at]) - len(raw[at].lstrip(" ")) > indent):
                body.append(raw[at].strip())
                at += 1
            content = content[: literal.start("style")] + json.dumps(("\n" if literal["style"] == "|" else " ").join(body))
        found.append((indent, content))
    return found


def _without_comment(line: str) -> tuple[str, bool]:
    """A line without its comment, and whether a bracket or a quote is still open at its end."""
    quote, depth, at = "", 0, 0
    while at < len(line):
        sign, before = line[at], line[at - 1] if at else " "
        if quote:
            if (sign == "\\" and quote == '"') or (sign == quote == "'" and line[at + 1 : at + 2] == "'"):
                at += 1
            elif sign == quote:
                quote = ""
        elif sign == "#" and before in " \t":
            return line[:at].rstrip(), depth > 0
        elif sign in "\"'" and _OPENS.search(line, 0, at):
            quote = sign
        elif sign in "[{" and (depth or before in " \t"):
            depth += 1
        elif sign in "]}" and depth:
            depth -= 1
        at += 1
    return line.rstrip(), bool(quote) or depth > 0


class _Blocks:
    """Reads the lines of a document from ``at`` on."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines, self.at = lines, 0
        self.anchors: dict[str, Any] = {}

    def block(self, indent: int) -> Any:
        """The value that begins at the next line, all of whose lines are indented by ``indent`` or more."""
        content = self.lines[self.at][1]
        held = _PROPERTY.match(content)
        if held and not _KEY.match(content[held.end() :]) and content[held.end() :]:
            return self._kept(held, self._scalar(content[held.end() :]))
        if content == "-" or content.startswith("- "):
            return self._list(indent)
        if content.startswith("? ") or _KEY.match(content):
            return self._mapping(indent)
        return self._scalar(content)

    def _scalar(self, content: str) -> Any:
        """A value that is no block; plain text goes on in the lines that follow."""
        indent = self.lines[self.at][0]
        self.at += 1
        while content[0] not in "[{\"'*" and self.at < len(self.lines) and self.lines[self.at][0] >= indent and not self._begins():
            content = f"{content} {self.lines[self.at][1]}"
            self.at += 1
        return _Flow(content, self.anchors).whole()

    def _begins(self) -> bool:
        content = self.lines[self.at][1]
        return content == "-" or content.startswith(("- ", "? ", ": ")) or bool(_KEY.match(content))

    def _list(self, indent: int) -> list[Any]:
        found = []
        while self.at < len(self.lines) and self.lines[self.at][0] == indent and re.match(r"-(\s|$)", self.lines[self.at][1]):
            found.append(self._after(indent, self.lines[self.at][1][1:], False))
        return found

    def _mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.at < len(self.lines) and self.lines[self.at][0] == indent:
            content = self.lines[self.at][1]
            if content.startswith("? "):
                key = self._after(indent, content[1:], False)
                if self.at >= len(self.lines) or not re.match(r":(\s|$)", self.lines[self.at][1]):
                    raise ValueError(f"not understood: {content[:60]}")
                content = self.lines[self.at][1]
                found[str(key)] = self._after(indent, content[1:], False)
                continue
            named = _KEY.match(content)
            if not named:
                break
            key = _Flow(named[0], self.anchors).whole()
            found[str(key)] = self._after(indent, content[named.end() :].lstrip()[1:], True)
        return found

    def _after(self, indent: int, rest: str, in_mapping: bool) -> Any:
        """The value after a key's colon or a dash: on the same line, or a block below it."""
        inner = rest.strip()
        held = _PROPERTY.match(inner)
        if held:
            return self._kept(held, self._after(indent, inner[held.end() :], in_mapping))
        if inner and in_mapping:
            at = self.lines[self.at][0]
            self.lines[self.at] = (at + 1, inner)
            return self._scalar(inner)
        if inner:
            # "- key: value": a block of its own that begins where its first word stands.
            where = indent + len(self.lines[self.at][1]) - len(inner)
            self.lines[self.at] = (where, inner)
            return self.block(where)
        self.at += 1
        if self.at < len(self.lines):
            below, content = self.lines[self.at]
            if below > indent or (in_mapping and below == indent and re.match(r"-(\s|$)", content)):
                return self.block(below)
        return None

    def _kept(self, held: re.Match[str], value: Any) -> Any:
        if held[1] == "&":
            self.anchors[held[2]] = value
        return value


class _Flow:
    """Reads one value that stands on one line."""

    def __init__(self, text: str, anchors: dict[str, Any]) -> None:
        self.text, self.at, self.anchors = text, 0, anchors

    def whole(self) -> Any:
        """The value, after which nothing may follow."""
        value = self._value("")
        self._space()
        if self.at < len(self.text):
            raise ValueError(f"not understood: {self.text[self.at : self.at + 60]}")
        return value

    def _space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _value(self, ends: str) -> Any:
        """The value here; inside a collection plain text ends before one of ``ends``."""
        self._space()
        held = _PROPERTY.match(self.text, self.at)
        if held:
            self.at = held.end()
            value = self._value(ends)
            if held[1] == "&":
                self.anchors[held[2]] = value
            return value
        sign = self.text[self.at : self.at + 1]
        if sign == "{":
            return self._collection("}")
        if sign == "[":
            return self._collection("]")
        if sign in ("'", '"') and sign:
            return self._quoted(sign)
        return self._plain(ends)

    def _collection(self, end: str) -> Any:
        self.at += 1
        mapping: dict[str, Any] = {}
        items: list[Any] = []
        while True:
            self._space()
            if self.text[self.at : self.at + 1] == end:
                self.at += 1
                return mapping if end == "}" else items
            value = self._value(",]}")
            self._space()
            if self.text[self.at : self.at + 1] == ":":
                self.at += 1
                key, value = str(value), self._value(",]}")
                mapping[key] = value
                items.append({key: value})
            else:
                mapping[str(value)] = None
                items.append(value)
            self._space()
            if self.text[self.at : self.at + 1] == ",":
                self.at += 1
            elif self.text[self.at : self.at + 1] != end:
                raise ValueError(f"not understood: {self.text[self.at : self.at + 60]}")

    def _quoted(self, quote: str) -> str:
        self.at += 1
        found = ""
        while self.at < len(self.text):
            sign = self.text[self.at]
            self.at += 1
            if sign == quote == "'" and self.text[self.at : self.at + 1] == "'":
                self.at += 1
            elif sign == quote:
                return found
            elif sign == "\\" and quote == '"':
                sign = self._escaped()
            found += sign
        raise ValueError("a quote is not closed")

    def _escaped(self) -> str:
        sign = self.text[self.at : self.at + 1]
        digits = {"x": 2, "u": 4, "U": 8}.get(sign, 0)
        self.at += 1 + digits
        number = int(self.text[self.at - digits : self.at], 16) if digits else 0
        if number > 0x10FFFF:
            raise ValueError(f"{number:x} is the number of no character")
        return chr(number) if digits else _ESCAPES.get(sign, sign)

    def _plain(self, ends: str) -> Any:
        begin = self.at
        if self.text[begin : begin + 1] in tuple("]},%@`"):
            raise ValueError(f"not understood: {self.text[begin : begin + 60]}")
        while self.at < len(self.text):
            sign, following = self.text[self.at], self.text[self.at + 1 : self.at + 2]
            if ends and (sign in ends + "[{" or (sign == ":" and (not following or following in " \t" + ends))):
                break
            self.at += 1
        said = self.text[begin : self.at].strip()
        if said.startswith("*"):
            if said[1:] not in self.anchors:
                raise ValueError(f"{said[:60]} is no anchor")
            return self.anchors[said[1:]]
        return said if said not in ("", "~", "null", "Null", "NULL") else None
