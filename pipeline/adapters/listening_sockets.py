"""What a process listens on, as the Linux kernel tells it: TCP and UDP addresses, and Unix sockets.

Reads ``/proc`` alone, so that a site agent needs no further package for it.
"""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TCP_LISTEN: Final = "0A"
_UDP_BOUND: Final = "07"
_ACCEPTS: Final = 0x10000
_SOCKET: Final = "socket:["
_WORD_DIGITS: Final = 8


def listening(pid: int | str = "self") -> frozenset[str] | None:
    """Return ``host:port`` of each socket of a process that others can reach, and the path of each Unix socket.

    An IPv4 address within IPv6 is written as IPv4; an abstract Unix socket begins with ``@``. None where it can't be
    told: another system than Linux, another user's process, or one that has ended.
    """
    place = _PROC / str(pid)
    try:
        own = _inodes(place)
        found = {
            address
            for table, state in (
                ("tcp", _TCP_LISTEN),
                ("tcp6", _TCP_LISTEN),
                ("udp", _UDP_BOUND),
                ("udp6", _UDP_BOUND),
            )
            for address in _addresses(place / "net" / table, state, own)
        }
        return frozenset(found | set(_paths(place / "net" / "unix", own)))
    except OSError:
        return None


def _inodes(place: Path) -> set[str]:
    found = set()
    for descriptor in (place / "fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue  # closed while we looked
        if target.startswith(_SOCKET):
            found.add(target[len(_SOCKET) : -1])
    return found


def _rows(file: Path) -> list[list[str]]:
    if not file.exists():
        return []  # a kernel without IPv6
    return [line.split() for line in file.read_text("ascii", "replace").splitlines()[1:]]


def _addresses(file: Path, state: str, own: set[str]) -> list[str]:
    return [_address(row[1]) for row in _rows(file) if row[3] == state and row[9] in own]


def _address(text: str) -> str:
    digits, port = text.split(":")
    # Each word of 32 bits is in the machine's order.
    raw = b"".join(
        bytes.fromhex(digits[start : start + _WORD_DIGITS])[::-1]
        for start in range(0, len(digits), _WORD_DIGITS)
    )
    if len(raw) == 4:
        return f"{IPv4Address(raw)}:{int(port, 16)}"
    address = IPv6Address(raw)
    inside = address.ipv4_mapped
    return f"{inside}:{int(port, 16)}" if inside is not None else f"[{address}]:{int(port, 16)}"


def _paths(file: Path, own: set[str]) -> list[str]:
    return [
        row[7] if len(row) > 7 else "an unnamed Unix socket"
        for row in _rows(file)
        if row[6] in own and int(row[3], 16) & _ACCEPTS
    ]
