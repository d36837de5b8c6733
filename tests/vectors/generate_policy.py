"""Policy files with what they accept and refuse, written by hand from the text of C2SP tlog-policy.

Imports nothing of the pipeline. ``python -m tests.vectors.generate_policy`` writes the file. In it a policy's octets
are code points 0 to 255. Of a good policy, ``met`` and ``unmet`` are sets of witnesses (by the names of ``keys``); of a
bad one, ``line`` is the first wrong line, 0 where it is the file as a whole.
"""

import json
from base64 import b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vectors import generate_certificate as plain

FOLDER = plain.FOLDER
ORIGIN = plain.ORIGIN
LOG_SEED = bytes([7]) * 32
OTHER_LOG = ("other.example/log", bytes([8]) * 32)
SEEDS = {name: bytes([0x40 + i]) * 32 for i, name in enumerate("ABCDEF", 1)}
TIME = 1_700_000_000
BODY = f"{ORIGIN}\n1\n{b64encode(bytes(range(32))).decode()}\n"

Case = dict[str, Any]


def name_of(witness: str) -> str:
    """Return the key name of a witness."""
    return f"{witness.lower()}.example/witness"


def _keys() -> dict[str, str]:
    keys = {witness: plain.verifier_key(name_of(witness), 4, seed) for witness, seed in SEEDS.items()}
    return {
        "log": plain.verifier_key(ORIGIN, 1, LOG_SEED),
        "other": plain.verifier_key(OTHER_LOG[0], 1, OTHER_LOG[1]),
        **keys,
    }


KEYS = _keys()


def unassigned(witness: str) -> str:
    """Return a witness's key string under a signature type that nobody assigned."""
    public = Ed25519PrivateKey.from_private_bytes(SEEDS[witness]).public_key().public_bytes_raw()
    name = name_of(witness)
    return f"{name}+{plain.key_id(name, 9, public).hex()}+{b64encode(bytes([9]) + public).decode()}"


def weak() -> str:
    """Return a key string whose key is a point of small order."""
    public = bytes([1]) + bytes(31)
    name = name_of("A")
    return f"{name}+{plain.key_id(name, 4, public).hex()}+{b64encode(bytes([4]) + public).decode()}"


def text(*lines: str, witnesses: str = "", log: bool = True) -> str:
    """Return a policy: the log, these witnesses, then these lines."""
    head = [f"log {KEYS['log']}"] if log else []
    return "".join(f"{line}\n" for line in [*head, *(f"witness {w} {KEYS[w]}" for w in witnesses), *lines])


def good(comment: str, policy: str, met: list[str], unmet: list[str]) -> Case:
    """Return a case of a policy that is accepted."""
    return {"comment": comment, "policy": policy, "met": met, "unmet": unmet}


def bad(comment: str, policy: str, line_number: int) -> Case:
    """Return a case of a policy that is refused."""
    return {"comment": comment, "policy": policy, "line": line_number}


def good_cases() -> list[Case]:
    """Return policies and the sets of witnesses that meet them."""
    two_levels = text(
        "group X 2 A B C", "group Y any D E", "group both all X Y", "quorum both", witnesses="ABCDEF"
    )
    voices = text(
        "group one any A B", "group two any C D", "group three any E F", "group nodes 2 one two three", "quorum nodes",
        witnesses="ABCDEF",
    )  # fmt: skip
    deep = text(
        "group g1 any A",
        "group g2 all g1 B",
        "group g3 1 g2 C",
        "group g4 2 g3 D",
        "quorum g4",
        witnesses="ABCD",
    )
    loose = (
        f"\t # a comment\n\n  \t \nquorum none\n \tlog\t{KEYS['log']} \t https://x.example/\xe9 \n"
        f"witness \xe2\x84\xaa {KEYS['A']} http://127.0.0.1:1/\n#\xff\x80\nwitness K {KEYS['B']}\n"
    )
    return [
        good("quorum none", text("quorum none"), ["", "A"], []),
        good("a single witness", text("quorum A", witnesses="AB"), ["A", "AB"], ["", "B"]),
        good("one of two", text("group g any A B", "quorum g", witnesses="AB"), ["A", "B", "AB"], ["", "C"]),
        good("two of two", text("group g all A B", "quorum g", witnesses="AB"), ["AB"], ["", "A", "B"]),
        good(
            "two of three",
            text("group g 2 A B C", "quorum g", witnesses="ABC"),
            ["AB", "BC", "AC"],
            ["A", "C"],
        ),
        good("two levels", two_levels, ["ABD", "BCE", "ABCDEF"], ["AB", "AD", "DE", "ADEF", "ABCF"]),
        good("two keys are one voice", voices, ["AC", "BF", "DE"], ["AB", "CD", "EF", "A"]),
        good("groups in groups in groups", deep, ["ABD", "CD"], ["ABC", "AD", "BD", "D"]),
        good(
            "a group that the quorum does not name",
            text("group g all A B", "quorum A", witnesses="AB"),
            ["A"],
            ["B"],
        ),
        good(
            "names that look like keywords",
            text("group 1 1 A", "group all all 1 B", "quorum all", witnesses="AB"),
            ["AB"],
            ["A", "B"],
        ),
        good(
            "a quorum before what it does not need",
            text("quorum A", f"witness B {KEYS['B']}", witnesses="A"),
            ["A"],
            ["B"],
        ),
        good("blanks, comments, octets, any order", loose, ["", "A", "B"], []),
        good("no log listed", text("quorum A", witnesses="A", log=False), ["A"], ["B"]),
        good(
            "the key of the log as a witness of another type",
            text(f"witness L {plain.verifier_key(ORIGIN, 4, LOG_SEED)}", "quorum none"),
            [""],
            [],
        ),
    ]


def bad_cases() -> list[Case]:
    """Return policies that are refused."""
    a, b = f"witness A {KEYS['A']}", f"witness B {KEYS['B']}"
    a_again = f"witness again {plain.verifier_key('renamed.example/a', 4, SEEDS['A'])}"
    log_again = f"log {plain.verifier_key('renamed.example/log', 1, LOG_SEED)}"
    changed = KEYS["A"].replace("a.example", "x.example")
    return [
        bad("nothing", "", 0),
        bad("no quorum", text(witnesses="A"), 0),
        bad("two quorums", text("quorum A", "quorum A", witnesses="A"), 4),
        bad("a quorum nobody defined", text("quorum B", witnesses="A"), 3),
        bad("a quorum defined below", text("quorum A", a), 2),
        bad("a quorum without a name", text("quorum"), 2),
        bad("a quorum of two names", text("quorum A B", witnesses="AB"), 4),
        bad("the log as quorum", text(f"quorum {ORIGIN}"), 2),
        bad("a word nobody knows", text("signer A", "quorum none"), 2),
        bad("a keyword in capitals", text("Quorum none"), 2),
        bad("a last line that does not end", text("quorum none")[:-1], 2),
        bad("a carriage return", text("quorum none\r"), 2),
        bad("a NUL in a comment", text("# \0", "quorum none"), 2),
        bad("a DEL in a name", text(f"witness \x7f {KEYS['A']}", "quorum none"), 2),
        bad("a no-break space is no blank", text(f"witness\xc2\xa0A {KEYS['A']}", "quorum none"), 2),
        bad("a form feed is no blank", text("quorum\x0cnone"), 2),
        bad("a log without a key", text("log", "quorum none"), 2),
        bad("a log with two addresses", text(f"log {KEYS['other']} a b", "quorum none"), 2),
        bad("a witness without a key", text("witness A", "quorum none"), 2),
        bad("a witness with two addresses", text(f"{a} u v", "quorum none"), 2),
        bad("a comment after a line", text(f"{a} u # here", "quorum none"), 2),
        bad("a key of another id", text(f"witness A {changed}", "quorum none"), 2),
        bad("a cut key", text(a[:-4], "quorum none"), 2),
        bad("a raw key in hex", text(f"witness A {SEEDS['A'].hex()}", "quorum none"), 2),
        bad("a key name that is not UTF-8", text(f"witness A \xff{KEYS['A']}", "quorum none"), 2),
        bad("a signature type nobody assigned", text(f"witness A {unassigned('A')}", "quorum none"), 2),
        bad("a witness with a key for notes", text(f"witness A {KEYS['other']}", "quorum none"), 2),
        bad("a key of small order", text(f"witness A {weak()}", "quorum none"), 2),
        bad("the same log twice", text(f"log {KEYS['log']}", "quorum none"), 2),
        bad("the same log under another name", text(log_again, "quorum none"), 2),
        bad("the same witness twice", text(a, a_again, "quorum none"), 3),
        bad("two witnesses of one name", text(a, f"witness A {KEYS['B']}", "quorum none"), 3),
        bad("a witness called none", text(f"witness none {KEYS['A']}", "quorum none"), 2),
        bad("a group called none", text(a, "group none any A", "quorum none"), 3),
        bad("a group of a witness's name", text(a, "group A any A", "quorum A"), 3),
        bad("two groups of one name", text(a, b, "group g any A", "group g any B", "quorum g"), 5),
        bad("none as a member", text(a, "group g any A none", "quorum g"), 3),
        bad("a member nobody defined", text(a, "group g any A B", "quorum g"), 3),
        bad("a member defined below", text(a, "group g any A B", b, "quorum g"), 3),
        bad("a group in itself", text(a, "group g any A g", "quorum g"), 3),
        bad("a member twice in a group", text(a, "group g 2 A A", "quorum g"), 3),
        bad("a member of two groups", text(a, "group g any A", "group h any A", "quorum h"), 4),
        bad(
            "a member of a group and of the one above",
            text(a, b, "group g any A", "group h 2 g A B", "quorum h"),
            5,
        ),
        bad("a group without members", text("group g any", "quorum g"), 2),
        bad("a threshold of nothing", text(a, "group g 0 A", "quorum g"), 3),
        bad("a threshold above the members", text(a, "group g 2 A", "quorum g"), 3),
        bad("a threshold with a sign", text(a, "group g +1 A", "quorum g"), 3),
        bad("a threshold with a leading zero", text(a, "group g 01 A", "quorum g"), 3),
        bad("a threshold in hex", text(a, "group g 0x1 A", "quorum g"), 3),
        bad("a threshold of many digits", text(a, f"group g {'9' * 5000} A", "quorum g"), 3),
        bad("a threshold in capitals", text(a, "group g ANY A", "quorum g"), 3),
    ]


def files() -> dict[str, str]:
    """Return the vector file's name and contents."""
    message = f"cosignature/v1\ntime {TIME}\n{BODY}".encode()
    cosignatures = {
        witness: plain.line(name_of(witness), 4, seed, message, TIME.to_bytes(8, "big"))
        for witness, seed in SEEDS.items()
    }
    vector = {
        "keys": KEYS,
        "body": BODY,
        "time": TIME,
        "signatures": {
            "log": plain.line(ORIGIN, 1, LOG_SEED, BODY.encode()),
            "other": plain.line(OTHER_LOG[0], 1, OTHER_LOG[1], BODY.encode()),
            **cosignatures,
        },
        "good": good_cases(),
        "bad": bad_cases(),
    }
    return {"tlog_policy.json": json.dumps(vector, indent=1) + "\n"}


if __name__ == "__main__":
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content)
