"""An ML-DSA-44 cosigner's key and the message that it signs, from the C2SP texts with hashlib and FIPS 204 alone.

Imports nothing of the pipeline. ``python -m tests.vectors.generate_mldsa44`` writes the file. Signatures are
randomised: one is made when the file is first written and kept from then on.
"""

import json
from base64 import b64encode
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.vectors.generate_certificate import ENTRIES, FOLDER, ORIGIN, key_id
from tests.vectors.generate_merkle import root

FILE = FOLDER / "cosignature_mldsa44.json"
NAME = "node1.city1.example"
SEED = bytes([9]) * 32
TIME = 1_700_000_001


def fixed() -> dict[str, Any]:
    """Return what the seed fixes: key, message, note text."""
    public = MLDSA44PrivateKey.from_seed_bytes(SEED).public_key().public_bytes_raw()
    tree_root = root([sha256(b"\x00" + entry).digest() for entry in ENTRIES])
    numbers = [number.to_bytes(8, "big") for number in (TIME, 0, len(ENTRIES))]
    message = b"subtree/v1\n\x00" + bytes([len(NAME)]) + NAME.encode() + numbers[0]
    message += bytes([len(ORIGIN)]) + ORIGIN.encode() + numbers[1] + numbers[2] + tree_root
    identifier = key_id(NAME, 6, public)
    return {
        "name": NAME,
        "seed": SEED.hex(),
        "time": TIME,
        "key": f"{NAME}+{identifier.hex()}+{b64encode(bytes([6]) + public).decode()}",
        "text": f"{ORIGIN}\n{len(ENTRIES)}\n{b64encode(tree_root).decode()}\n",
        "message": message.hex(),
    }


def main() -> None:
    """Write the vector, with the signature that is there already where it fits."""
    vector = fixed()
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    if {name: kept.get(name) for name in vector} == vector:
        vector["signature"] = kept["signature"]
    else:
        signed = MLDSA44PrivateKey.from_seed_bytes(SEED).sign(bytes.fromhex(vector["message"]))
        vector["signature"] = (TIME.to_bytes(8, "big") + signed).hex()
    FILE.write_text(json.dumps(vector, indent=1) + "\n")


if __name__ == "__main__":
    main()
