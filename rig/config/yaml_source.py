"""YAML 1.2 with a line table: text → a tree of `Node`s, each of which knows where it stands.

ruamel.yaml scans and parses; the tree is built here, because the plain data that a YAML library returns has lost its places, and
because duplicate keys, foreign tags and endless aliases are to be reported, all of them, and not raised one by one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.reader import ReaderError

from rig.errors import Problem

Loc = tuple[str | int, ...]
"""Way to a value: mapping keys and list indices."""

MAX_FILE_SIZE = 1024 * 1024
_MAX_NODES = 50_000
_MAX_DEPTH = 40
_CORE = "tag:yaml.org,2002:"
_EXCERPT_WIDTH = 110
_NO_TEXT = "text with half of a surrogate pair"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Line and column, both from 0 as ruamel.yaml counts them."""

    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class Node:
    """A value with its place.  `value` is a scalar, a dict of nodes or a list of nodes; `key_at` is where its own key stands.

    A `broken` node has been reported already; its value means nothing.
    """

    at: Position
    loc: Loc
    value: Any
    key_at: Position | None = None
    broken: bool = False

    def plain(self) -> Any:
        """The value as ordinary dicts and lists."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        """The value one step below, None when there is none."""
        if isinstance(self.value, dict):
            found = self.value.get(step)
            return found if isinstance(found, Node) else None
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            below = self.value[step]
            return below if isinstance(below, Node) else None
        return None

    def at_loc(self, loc: Sequence[str | int]) -> Node | None:
        """The value at the end of `loc`, None when the way breaks off."""
        node: Node | None = self
        for step in loc:
            node = node.child(step) if node else None
        return node

    def walk(self) -> Iterator[Node]:
        """This node and everything below it."""
        yield self
        children = self.value.values() if isinstance(self.value, dict) else self.value if isinstance(self.value, list) else ()
        for child in children:
            yield from child.walk()


@dataclass(kw_only=True)
class Document:
    """A parsed file: `root` None when there is nothing to work with.  `problems` fills as the file is read and checked."""

    file: str
    text: str = ""
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def report(self, position: Position | None, *, key: str = "", reason: str, hint: str = "") -> None:
        """Add a problem once, however many boards share the place that caused it."""
        place = {"line": position.line + 1, "column": position.column + 1, "excerpt": self.excerpt(position)} if position else {}
        problem = Problem(file=self.file, key=key, reason=reason, hint=hint, **place)  # type: ignore[arg-type]
        if problem not in self.problems:
            self.problems.append(problem)

    def excerpt(self, position: Position) -> str:
        """The line at `position`, a caret under the column."""
        lines = self.text.splitlines()
        source = lines[position.line] if position.line < len(lines) else ""
        first = max(0, min(position.column - _EXCERPT_WIDTH // 2, len(source) - _EXCERPT_WIDTH))
        shown = "".join(char if char.isprintable() else " " for char in source[first : first + _EXCERPT_WIDTH])
        number = str(position.line + 1)
        # The second line carries the indent that `Problem` gives to the first.
        return f"{number} | {shown}\n    {' ' * len(number)} | {' ' * (position.column - first)}^"


def key_path(loc: Sequence[str | int]) -> str:
    """``('boards', 1, 'supply')`` as people write it: ``boards[1].supply``."""
    text = ""
    for step in loc:
        word = f"[{step}]" if isinstance(step, int) else step if step.isprintable() else repr(step)
        text += f".{word}" if text and isinstance(step, str) else word
    return text


def read(path: Path, *, shown_as: str) -> Document:
    """Read and parse the file at `path`; whatever is wrong with it is in the document's problems, nothing is raised."""
    document = Document(file=shown_as)
    text = _read_text(path, document)
    if text is not None:
        document.text = text
        _parse(document)
    return document


def _read_text(path: Path, document: Document) -> str | None:
    try:
        if path.is_dir():
            document.report(None, reason="is a folder, not a file")
            return None
        if path.exists() and not path.is_file():
            document.report(None, reason="is not an ordinary file")
            return None
        if path.stat().st_size > MAX_FILE_SIZE:
            document.report(None, reason=f"is larger than {MAX_FILE_SIZE // 1024} KiB; that is no file for people")
            return None
        data = path.read_bytes()
    except FileNotFoundError:
        document.report(None, reason="no such file")
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        document.report(None, reason=f"cannot be read: {reason}")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        document.text = data.decode("utf-8", "replace")
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace"))
        document.report(
            Position(line=before.count(b"\n"), column=column),
            reason=f"is not UTF-8: byte 0x{data[error.start]:02x}",
            hint="save the file as UTF-8",
        )
        return None


def _parse(document: Document) -> None:
    try:
        tree = YAML(typ="safe", pure=True).compose(io.StringIO(document.text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(line=mark.line, column=mark.column) if mark else None
        document.report(position, reason=f"not valid YAML: {_sentence(error)}", hint=_syntax_hint(str(error.problem)))
    except ReaderError as error:
        before = document.text[: error.position]
        position = Position(line=before.count("\n"), column=len(before) - before.rfind("\n") - 1)
        document.report(position, reason=f"not valid YAML: control character 0x{ord(document.text[error.position]):02x}")
    except (YAMLError, ValueError) as error:
        document.report(None, reason=f"not valid YAML: {error}")
    except RecursionError:
        document.report(None, reason="not usable: nested too deeply")
    else:
        if tree is None:
            document.report(None, reason="the file is empty")
            return
        builder = _Builder(document)
        document.root = builder.build(tree, (), None)


def _sentence(error: MarkedYAMLError) -> str:
    parts = [str(part).strip() for part in (error.context, error.problem) if part]
    return ", ".join(parts)


def _syntax_hint(problem: str) -> str:
    if "'\\t'" in problem:
        return "indent with spaces; YAML forbids tabs there"
    if "another document" in problem:
        return "one file holds one document; remove the second '---'"
    return ""


class _Builder:
    """Turns ruamel.yaml's nodes into ours, and reports what YAML allows and we do not."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._above: list[int] = []
        self._count = 0

    def build(self, node: YamlNode, loc: Loc, key_at: Position | None) -> Node:
        at = Position(line=node.start_mark.line, column=node.start_mark.column)
        self._count += 1
        if cause := self._refusal(node):
            self._document.report(at, key=key_path(loc), reason=cause)
            return Node(at=at, loc=loc, value=None, key_at=key_at, broken=True)
        self._above.append(id(node))
        broken = False
        try:
            if isinstance(node, MappingNode):
                value: Any = self._mapping(node, loc)
            elif isinstance(node, SequenceNode):
                value = [self.build(item, (*loc, index), None) for index, item in enumerate(node.value)]
            else:
                try:
                    value = _scalar(node)
                except ValueError as error:
                    value, broken = None, True
                    self._document.report(at, key=key_path(loc), reason=str(error))
        finally:
            self._above.pop()
        return Node(at=at, loc=loc, value=value, key_at=key_at, broken=broken)

    def _refusal(self, node: YamlNode) -> str | None:
        """Why `node` is not looked into."""
        if id(node) in self._above:
            return "an alias that contains itself"
        if len(self._above) > _MAX_DEPTH:
            return "nested too deeply"
        return "aliases that multiply without end" if self._count > _MAX_NODES else None

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Node]:
        result: dict[str, Node] = {}
        for key_node, value_node in node.value:
            at = Position(line=key_node.start_mark.line, column=key_node.start_mark.column)
            if not isinstance(key_node, ScalarNode) or key_node.tag not in (f"{_CORE}str", f"{_CORE}merge", f"{_CORE}timestamp"):
                shown = key_node.value if isinstance(key_node, ScalarNode) else "this"
                self._document.report(at, key=key_path(loc), reason=f"{shown} is not a word that can be a key", hint="quote it")
                continue
            key = str(key_node.value)
            if not _is_text(key):
                self._document.report(at, key=key_path(loc), reason=_NO_TEXT)
                continue
            if key in result:
                first = result[key].key_at
                where = f", first in line {first.line + 1}" if first else ""
                self._document.report(at, key=key_path((*loc, key)), reason=f"the key {key!r} is given twice{where}")
                continue
            result[key] = self.build(value_node, (*loc, key), at)
        return result


def _scalar(node: YamlNode) -> Any:
    """The value of a scalar node by the core schema of YAML 1.2; dates stay text.  Raises ValueError that says what is wrong."""
    kind, text = str(node.tag).removeprefix(_CORE), str(node.value)
    if not _is_text(text):
        raise ValueError(_NO_TEXT)
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" | "float":
            try:
                return _integer(text) if kind == "int" else _real(text)
            except ValueError:
                raise ValueError(f"{text[:40]} is not a number that can be used") from None
        case "str" | "timestamp" | "merge" | "value":
            return text
    raise ValueError(f"the tag {node.tag} has no meaning here; remove it")


def _integer(text: str) -> int:
    """Core schema of YAML 1.2: decimal, 0x and 0o; underscores between digits are accepted as in Python."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    number = int(digits, 0) if digits.startswith(("0x", "0o")) else int(digits)
    if number >= 2**64:
        raise ValueError("no key of ours takes a number beyond 64 bits")
    return sign * number


def _is_text(text: str) -> bool:
    """Whether `text` can be written to a file: a YAML escape can stand for half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _real(text: str) -> float:
    named = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
    return named[text.lower()] if text.lower() in named else float(text)


def merged(default: Node, own: Node, *, whole: frozenset[str] = frozenset(), selectors: Sequence[str] = ()) -> Node:
    """`own` with what it lacks taken from `default`, key by key, each value keeping its own place.

    A mapping under a key in `whole` is never mixed; nor are two mappings that differ in one of `selectors`, since the options of one
    driver say nothing about another.
    """
    if not isinstance(default.value, dict) or not isinstance(own.value, dict):
        return own
    for selector in selectors:
        ours, theirs = own.child(selector), default.child(selector)
        if ours is not None and theirs is not None and ours.plain() != theirs.plain():
            return own
    value = dict(default.value)
    for key, child in own.value.items():
        base = value.get(key)
        value[key] = child if base is None or key in whole else merged(base, child, whole=whole, selectors=selectors)
    return replace(own, value=value)
