"""Conditions on decoded records, such as ``indicator == 'X' and value > 3``: a small language without side effects.

Names are fields, with dots into inner ones (``block.header.height``). Values are texts, whole and decimal numbers,
``true``, ``false`` and ``null``. There are ``== != < <= > >= in``, ``and or not`` and brackets, written as in
Python, whose parser reads them; nothing is ever executed. A field that a record does not have is ``null``, and
things of different kinds are neither equal nor in any order.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_CONDITION_CHARS: Final = 1000
_Getter = Callable[[Mapping[str, Any]], Any]
_WORDS: Final = {"true": True, "false": False, "null": None}
_ORDERS: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read: the fields that it names, and what tells whether a record meets it. Total."""

    names: frozenset[str]
    is_met: Callable[[Mapping[str, Any]], bool]


class WhereError(ValueError):
    """The text is no condition; the message says where and what is expected."""


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        WhereError: it is none, or longer than ``MAX_CONDITION_CHARS``.
    """
    if len(text) > MAX_CONDITION_CHARS:
        raise WhereError(f"the condition is longer than {MAX_CONDITION_CHARS} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Its own messages speak of Python, which the user does not write.
        place = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise WhereError(f"{text!r} can't be read{place}") from None
    names: set[str] = set()
    getter = _truth(tree.body, names)
    return Condition(frozenset(names), lambda record: bool(getter(record)))


def _truth(node: ast.expr, names: set[str]) -> _Getter:
    """Return what tells whether a record meets a (part of a) condition."""
    match node:
        case ast.BoolOp(op, values):
            parts = [_truth(value, names) for value in values]
            every = all if isinstance(op, ast.And) else any
            return lambda record: every(part(record) for part in parts)
        case ast.UnaryOp(ast.Not(), operand):
            inner = _truth(operand, names)
            return lambda record: not inner(record)
        case ast.Compare(left, operators, comparators):
            return _comparison([left, *comparators], operators, names)
        case ast.Name() | ast.Attribute():
            value = _value(node, names)
            return lambda record: value(record) is True
    raise _refused(node)


def _comparison(operands: list[ast.expr], operators: list[ast.cmpop], names: set[str]) -> _Getter:
    """Return the truth of ``a < b <= c``: each pair holds."""
    values = [
        _texts(operand) if isinstance(operand, ast.Tuple | ast.List) else _value(operand, names)
        for operand in operands
    ]
    tests = [_test(found) for found in operators]
    pairs = list(zip(values, tests, values[1:], strict=False))
    return lambda record: all(test(left(record), right(record)) for left, test, right in pairs)


def _value(node: ast.expr, names: set[str]) -> _Getter:
    match node:
        case ast.Constant(str() | int() | float() as value) if not isinstance(value, bool):
            return lambda _: value
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)) if not isinstance(value, bool):
            return lambda _: -value
        case ast.Name(name) if name in _WORDS:
            word = _WORDS[name]
            return lambda _: word
        case ast.Name() | ast.Attribute():
            path = _path(node)
            names.add(".".join(path))
            return lambda record: field(record, path)
    raise _refused(node)


def _texts(node: ast.Tuple | ast.List) -> _Getter:
    """Return the fixed values of a list after ``in``."""
    values = tuple(
        _value(item, set())({}) for item in node.elts if isinstance(item, ast.Constant | ast.UnaryOp)
    )
    if len(values) != len(node.elts):
        raise WhereError("a list after 'in' holds texts and numbers only")
    return lambda _: values


def _path(node: ast.expr) -> tuple[str, ...]:
    match node:
        case ast.Name(name):
            return (name,)
        case ast.Attribute(inner, name):
            return (*_path(inner), name)
    raise _refused(node)


def field(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the field at a path, None where there is none."""
    found: Any = record
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _test(found: ast.cmpop) -> Callable[[Any, Any], bool]:
    match found:
        case ast.Eq():
            return _same
        case ast.NotEq():
            return lambda left, right: not _same(left, right)
        case ast.In():
            return _within
        case ast.NotIn():
            return lambda left, right: not _within(left, right)
    order = _ORDERS.get(type(found))
    if order is None:
        raise WhereError("use == != < <= > >= in, and, or, not")
    return lambda left, right: _comparable(left, right) and order(left, right)


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) if _comparable(left, right) else left is right


def _within(left: Any, right: Any) -> bool:
    """Tell whether a value is one of a list's, or a text part of another."""
    if isinstance(right, str):
        return isinstance(left, str) and left in right
    return isinstance(right, tuple) and any(_same(left, item) for item in right)


def _comparable(left: Any, right: Any) -> bool:
    return (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(node: ast.expr) -> WhereError:
    return WhereError(
        f"character {node.col_offset + 1}: expected a comparison of fields, 'texts' and numbers, "
        "such as indicator == 'X' and value > 3"
    )
