"""Just enough of edwards25519 to make a public key that is a good one plus a point of order 8."""

import secrets
from typing import Final

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_BASE_Y: Final = 4 * pow(5, -1, _P) % _P
_ORDER_8_Y: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022

Point = tuple[int, int]


def mixed_order() -> tuple[bytes, bytes]:
    """Return such a public key, and 64 bytes in place of a signature."""
    factor = int.from_bytes(secrets.token_bytes(31), "little")
    x, y = _add(_times(factor, _point(_BASE_Y)), _point(_ORDER_8_Y))
    return (y | (x & 1) << 255).to_bytes(32, "little"), bytes(64)


def _point(y: int) -> Point:
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    root = pow(square, (_P + 3) // 8, _P)
    x = root if root * root % _P == square else root * pow(2, (_P - 1) // 4, _P) % _P
    return x, y


def _add(one: Point, two: Point) -> Point:
    (x1, y1), (x2, y2) = one, two
    product = _D * x1 * x2 * y1 * y2 % _P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, _P) % _P
    return x, (y1 * y2 + x1 * x2) * pow(1 - product, -1, _P) % _P


def _times(factor: int, point: Point) -> Point:
    found: Point = (0, 1)
    while factor:
        if factor & 1:
            found = _add(found, point)
        point, factor = _add(point, point), factor >> 1
    return found
