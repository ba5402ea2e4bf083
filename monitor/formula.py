"""Arithmetic over features, as text in a schema: what a derived feature equals, and what must hold between features.

`income / (1 + dependants)` is a formula, `paid <= billed * 1.1` a relation. Names with blanks or signs go in
backticks. Only arithmetic and a few functions are understood, and nothing else can run.
"""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.errors import BadInput

FUNCTIONS = ("abs", "sqrt", "log", "log1p", "exp", "minimum", "maximum")
_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_QUOTED = re.compile(r"`([^`]*)`")
_MOST = 500  # characters


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A parsed formula: its text, and the names of the features in it.

    >>> Formula.parse("`pay 1` / 2", ["pay 1"]).names
    ('pay 1',)
    """

    text: str
    names: tuple[str, ...]
    tree: ast.expr
    aliases: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, known: Sequence[str]) -> "Formula":
        """Parse text over known feature names.

        Raises:
            BadInput: it is no arithmetic, or names a feature that is not there.
        """
        plain, aliases = _unquoted(text)
        try:
            tree = None if "#" in plain else ast.parse(plain.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError):
            tree = None
        if tree is None:
            raise BadInput(f"expected arithmetic over features such as a / (b + 1), got {text!r}")
        names = tuple(_names(tree, aliases, text, known))
        _check_numbers(tree, text)
        return cls(text=text, names=names, tree=tree, aliases=aliases)

    def evaluate(self, columns: Mapping[str, Any], library: Any) -> Any:
        """The value for columns by name; `library` is numpy or torch, whichever holds them."""
        return _evaluate(self.tree, columns, self.aliases, library)


@dataclass(frozen=True, kw_only=True)
class Relation:
    """`left <= right`: `excess` is how far left lies above right."""

    text: str
    left: Formula
    right: Formula

    @classmethod
    def parse(cls, text: str, known: Sequence[str]) -> "Relation":
        """Parse `left <= right` or `left >= right`.

        Raises:
            BadInput: there is no such comparison, or a side does not parse.
        """
        sides = re.split(r"(<=|>=|<|>|=)", text, maxsplit=1)
        if len(sides) != 3 or sides[1] not in ("<=", ">=") or re.search(r"[<>=]", sides[2]):
            raise BadInput(
                f"expected a relation such as paid <= billed * 1.1 (one <= or >=), got {text!r}: "
                "write an equality as the formula of a derived feature"
            )
        first, second = Formula.parse(sides[0], known), Formula.parse(sides[2], known)
        left, right = (first, second) if sides[1] == "<=" else (second, first)
        if not left.names and not right.names:
            raise BadInput(f"expected a relation between features, got {text!r}")
        return cls(text=text, left=left, right=right)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.left.names, *self.right.names)))

    def excess(self, columns: Mapping[str, Any], library: Any) -> Any:
        """left − right: positive where the relation does not hold."""
        return self.left.evaluate(columns, library) - self.right.evaluate(columns, library)


def _unquoted(text: str) -> tuple[str, dict[str, str]]:
    if len(text) > _MOST:
        raise BadInput(f"expected a formula of at most {_MOST} characters, got {len(text)}")
    aliases: dict[str, str] = {}

    def alias(match: re.Match[str]) -> str:
        name = f"_quoted_{len(aliases)}"
        aliases[name] = match.group(1)
        return name

    return _QUOTED.sub(alias, text), aliases


def _names(tree: ast.expr, aliases: Mapping[str, str], text: str, known: Sequence[str]) -> list[str]:
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in functions:
            found[aliases.get(node.id, node.id)] = None
        elif not _is_allowed(node):
            raise BadInput(
                f"expected only numbers, features, + - * / ** and {', '.join(FUNCTIONS)} in {text!r}, "
                f"got {type(node).__name__.lower()}"
            )
    unknown = [name for name in found if name not in set(known)]
    if unknown:
        raise BadInput(f"{text!r} names no feature of this schema: {', '.join(unknown)}")
    return list(found)


def _check_numbers(tree: ast.expr, text: str) -> None:
    """Arithmetic of numbers alone must have a finite value: it is the same for every row."""
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and not any(isinstance(part, ast.Name) for part in ast.walk(node)):
            try:
                value = _evaluate(node, {}, {}, None)
            except ArithmeticError:
                value = None
            if not (isinstance(value, float) and math.isfinite(value)):
                raise BadInput(f"expected finite numbers in {text!r}, got {ast.unparse(node)[:40]}")


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if isinstance(node, ast.Call):
        arguments = 2 if getattr(node.func, "id", None) in ("minimum", "maximum") else 1
        known = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
        return known and len(node.args) == arguments and not node.keywords
    if isinstance(node, ast.BinOp):
        return type(node.op) in _BINARY and (not isinstance(node.op, ast.Pow) or isinstance(node.right, ast.Constant))
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub | ast.UAdd)
    return isinstance(node, ast.Name | ast.operator | ast.unaryop | ast.expr_context)


def _evaluate(node: ast.expr, columns: Mapping[str, Any], aliases: Mapping[str, str], library: Any) -> Any:
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return columns[aliases.get(node.id, node.id)]
    if isinstance(node, ast.UnaryOp):
        value = _evaluate(node.operand, columns, aliases, library)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call):
        return _call(node, columns, aliases, library)
    assert isinstance(node, ast.BinOp)
    left = _evaluate(node.left, columns, aliases, library)
    right = _evaluate(node.right, columns, aliases, library)
    return _combined(_BINARY[type(node.op)], left, right)


def _call(node: ast.Call, columns: Mapping[str, Any], aliases: Mapping[str, str], library: Any) -> Any:
    assert isinstance(node.func, ast.Name)
    arguments = [_evaluate(argument, columns, aliases, library) for argument in node.args]
    if any(isinstance(argument, float) for argument in arguments):
        like = next((value for value in columns.values()), None)
        arguments = [library.full_like(like, a) if isinstance(a, float) else a for a in arguments]
    return getattr(library, node.func.id)(*arguments)


def _combined(operator: str, left: Any, right: Any) -> Any:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if operator == "/" and isinstance(left, float) and isinstance(right, float):
        return left / right if right else float("nan")
    return left / right if operator == "/" else left**right
