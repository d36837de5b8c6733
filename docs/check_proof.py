"""Check a portable proof of bkdms offline: python check_proof.py PROOF --policy POLICY

A second opinion, to be read in one sitting: it follows docs/formats.md and C2SP's tlog-proof, tlog-policy, signed-note
and tlog-cosignature, shares no code with bkdms, and needs Python 3.11 and cryptography 50. Exit code 1: proves nothing.
"""
import json
import re
import sys
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
P, Y8 = 2**255 - 19, 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL = {0, 1, P - 1, Y8, P - Y8}  # Ed25519 points of small order: no key, and no R of a signature
ALGORITHMS, NAMES = {"ed25519": 1, "ecdsa_p256": 2}, {"xwing": 1, "light": 2, "p256": 3}
SUITES = {1: (1, 4), 2: (1, 3), 3: (2, 5)}  # algorithms of signing and of sealing
# Avro records, field:type; l is a long, s a string, b bytes, a number so many bytes, […] an array of records.
SITE = "country:s city:s site_id:16 "
PACKET = ("version:l chain:32 " + SITE + "site_key:32 module_id:s sequence:l previous:32 from:l to:l count:l suite:l "
          "digest:32 recipients:[key:32,sealed:b] encrypted:b signature:64")
CONTROL = "version:l chain:32 issuer:32 sequence:l previous:32 action:l body:b signatures:[key:32,signature:64]"
RIGHTS = "algorithm:l key:b possession:64 suites:[suite:l] indicators:[code:s] equipment:[site_id:16]"
ENROL, AMEND, KEYS = SITE + RIGHTS, SITE + "former:32 until:l " + RIGHTS, "keys:[algorithm:l,key:b] end:0"
OFFER, GRANT = SITE + "epoch:l algorithm:l key:b valid_to:l", SITE + "from:l to:l expires:l"
RULES = "version period_ms max_packet max_entries max_block max_sequence_jump skew_ms max_age_ms"
HEADER = ("version:l rules:l chain:32 chain_id:s height:l start:l end:l part:l previous:32 first_index:l entries:l "
          "entries_root:32 incarnation:l topic:s partition:l first:l next:l log_digest:32 contract:32")
RECORD = SITE + "time:l values:[indicator:s,point:s,unscaled:l,scale:l,unit:s] extending:b"

def need(holds, reason):
    if not holds:
        raise ValueError(reason)
def base64(text):
    data = b64decode(text, validate=True)
    return data if b64encode(data).decode() == text else need(False, "base64 is not in its one form")
def sha(*parts): return sha256(b"".join(parts)).digest()
def u64(number): return number.to_bytes(8, "big")
def varint(number): return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)
def fingerprint(use, algorithm, key): return sha(b"bkdms/key/v1\0", bytes([use, algorithm]), key)
def named(use, keys): return {fingerprint(use, *key): key for key in keys}

def read(kind, data):
    """Read an Avro value in the one form that is accepted of it; return it and the bytes after it."""
    if kind[0] == "[":
        (count, data), items = read("l", data), []
        while len(items) < count:
            item, data = read(kind[1:-1], data)
            items.append(item)
        end, data = read("l", data) if items else (count, data)
        return (items, data) if end == 0 else need(False, "Avro: an array is not in its one form")
    if ":" in kind:
        found = {}
        for name, inner in (field.split(":", 1) for field in kind.split(" " if " " in kind else ",")):
            found[name], data = read(inner, data)
        need(not data or " " not in kind, "Avro: bytes after the end")
        return found, data
    size = 1 + [byte < 128 for byte in data[:10]].index(True) if kind in "lsb" else 0
    number = (zigzag := sum((byte & 127) << 7 * place for place, byte in enumerate(data[:size]))) >> 1 ^ -(zigzag & 1)
    end = size + {"l": 0, "s": number, "b": number}.get(kind, 0 if size else int(kind))
    need(size <= end <= len(data) and (size < 2 or data[size - 1]), "Avro: too short, or a number longer than needed")
    return number if kind == "l" else data[size:end].decode() if kind == "s" else data[size:end], data[end:]

def check_signature(algorithm, key, signature, message):
    """Raise where a signature is not good, in the one form that is accepted: 1 Ed25519, 2 P-256, 6 ML-DSA-44."""
    if algorithm == 1:
        point, r = (int.from_bytes(half, "little") & 2**255 - 1 for half in (key, signature[:32]))
        need(point < P and point not in SMALL and r % P not in SMALL, "a key or signature of small order")
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    elif algorithm == 2:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        need(len(key) == 33 and s <= ORDER // 2, "a P-256 key is not compressed, or s is not low")
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        public.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    else:
        mldsa.MLDSA44PublicKey.from_public_bytes(key).verify(signature, message)

def root_of(leaf, index, size, path):
    """Return the root that an inclusion path leads to: RFC 6962 2.1.1 read backwards."""
    if size <= 1:
        return leaf if (index, size, path) == (0, 1, []) else need(False, "a path does not fit index and tree")
    half, [*lower, sibling] = 1 << (size - 1).bit_length() - 1, path
    if index < half:
        return sha(b"\1", root_of(leaf, index, half, lower), sibling)
    return sha(b"\1", sibling, root_of(leaf, index - half, size - half, lower))

def check_note(policy, note):
    """Return origin, size and root of a checkpoint that a log of the policy signed and its quorum cosigned."""
    need(note[-1:] == policy[-1:] == b"\n" and not re.search(rb"[\0-\x08\x0b-\x1f]", note + policy)
         and b"\t" not in note and b"\x7f" not in policy, "checkpoint or policy are not lines of text")
    text, _, lines = note.decode().rpartition("\n\n")
    (origin, size, root), body = text.split("\n"), f"{text}\n".encode()
    need(re.fullmatch("[1-9][0-9]{0,18}", size) and len(base64(root)) == 32, "checkpoint: size or root")
    signatures = [(name, base64(data)) for name, data in re.findall("(?m)^— ([^\\s+]+) ([^ \n]+)$", lines)]
    need(len(signatures) == lines.count("\n") <= 64 and len(note) <= 2**18 and
         all(data[4:] and len(name.encode()) < 256 for name, data in signatures), "checkpoint: a bad line, or too long")
    keys, names, free, met, is_logged, quorum = set(), {b"none"}, set(), {b"none"}, False, None
    for line in policy.split(b"\n"):
        what, *words = re.findall(rb"[^ \t]+", line) or [b"#"]
        if what in (b"log", b"witness"):
            alias, text, *url = words if what == b"witness" else [b"", *words]
            name, key_id, material = text.decode().split("+", 2)
            kind, key = base64(material)[0], base64(material)[1:]
            need(alias not in names and len(url) < 2 and (what == b"log" or kind != 1), f"policy: {line!r}")
            need(len(key) == {1: 32, 4: 32, 6: 1312}[kind] and (what, key) not in keys, "policy: a bad key")
            need(sha(name.encode(), b"\n", base64(material))[:4].hex() == key_id, "policy: a key under another's id")
            found = [data[4:] for signer, data in signatures if (signer, data[:4].hex()) == (name, key_id)]
            for stamp, signature in ((b"", data) if kind == 1 else (data[:8], data[8:]) for data in found):
                sizes = [bytes([len(item.encode())]) + item.encode() for item in (name, origin)]
                message = {1: body, 4: b"cosignature/v1\ntime %d\n" % int.from_bytes(stamp, "big") + body, 6: b"".join(
                    (b"subtree/v1\n\0", sizes[0], stamp, sizes[1], bytes(8), u64(int(size)), base64(root)))}[kind]
                need(stamp < b"\x80", "checkpoint: a time out of bounds")
                check_signature(6 if kind == 6 else 1, key, signature, message)
            is_logged |= what == b"log" and name == origin and found != []
            keys, met, free = keys | {(what, key)}, met | {alias} if found else met, free | {alias}
            names |= {alias} - {b""}
        elif what == b"group" and words[0] not in names and free >= set(words[2:]):
            sizes = {b"%d" % number: number for number in range(len(words) - 1)} | {b"any": 1, b"all": len(words) - 2}
            need((least := sizes[words[1]]) and len(words) - 2 == len(set(words[2:])), "policy: a group's size")
            met |= {words[0]} if len(met & set(words[2:])) >= least else set()
            names, free = names | {words[0]}, free - set(words[2:]) | {words[0]}
        elif what == b"quorum" and quorum is None and len(words) == 1 and words[0] in names:
            quorum = words[0]
        else:
            need(what.startswith(b"#"), f"policy: {line!r}")
    need(is_logged and quorum in met, "checkpoint: not signed by a log of the policy, or not by its quorum")
    return origin, int(size), base64(root)

def check(policy, data):
    """Return what a proof proves; raise where anything of it does not hold."""
    lines, _, note = data.partition(b"\n\n")
    (first, extra, index, *path), (origin, size, root) = lines.decode().split("\n"), check_note(policy, note)
    evidence, (opening, dumped) = json.loads(base64(extra[6:])), (extra[:6], base64(extra[6:]))
    need((first, opening, evidence["format"]) == ("c2sp.org/tlog-proof@v1", "extra ", "bkdms-proof/v1")
         and json.dumps(evidence, sort_keys=True, separators=(",", ":")).encode() == dumped and len(evidence) == 11
         and len(evidence["header"]) == 2 and not re.search(rb":(t|f|-|[0-9]+[.eE])", dumped), "evidence: its form")
    entry, spot, raw_genesis = evidence["entry"], evidence["header"], base64(evidence["genesis"])
    chain, genesis, time = sha(raw_genesis), json.loads(raw_genesis), entry["broker_time"]
    need([index, *path] == [f"index {entry['leaf_index']}", *entry["path"]], "the evidence is of another entry")
    need(origin == f"{genesis['url'][8:].rstrip('/')}/{chain[:4].hex()}", "the genesis file is of another log")
    roots, first = ([(ALGORITHMS[key["algorithm"]], bytes.fromhex(key["public"])) for key in found]
                    for found in (genesis["roots"]["keys"], genesis["registrars"]))
    roots, registrars = (named(5, roots), genesis["roots"]["threshold"]), {-1: named(4, first)}
    def proven(item, kind, number):  # the payload of an entry that is in the tree
        leaf = bytes([number]) + u64(item["log_offset"]) + u64(item["broker_time"]) + base64(item["payload"])
        found = root_of(sha(b"\0", leaf), item["leaf_index"], size, list(map(base64, item["path"])))
        need(found == root and [item["kind"], len(item)] == [kind, 6], f"the {kind} is not in the tree")
        return leaf[17:]
    def issued(item, action, form, keys, least=1):  # the body of a control record that enough keys signed
        control, keys = read(CONTROL, raw := proven(item, "control", 2))[0], dict(keys)
        lines, said = control["signatures"], [control[name] for name in ("version", "chain", "action", "issuer")]
        need(said == [1, chain, action, lines[0]["key"]] and item["leaf_index"] < entry["leaf_index"]
             and least <= len(lines) <= (16 if action > 8 else 1), "not the record needed, of too few, or too late")
        for line in lines:  # each key signs once
            signed = b"bkdms/control/v1\0" + raw[:-96 * len(lines) - 2]
            check_signature(*keys.pop(line["key"]), line["signature"], signed)
        return read(form, control["body"])[0]
    def right(item, action, form):  # that of one about the packet's site, by who was registrar at its place
        body = issued(item, action, form, registrars[max(place for place in registrars if place < item["leaf_index"])])
        need(all(body[name] == packet[name] for name in ("country", "city", "site_id")), "a record of another site")
        return body
    def agreed(rules):  # the hash of a contract
        suites = [number for term in rules["suites"] for number in (term["suite"], term["expires_ms"])]
        numbers = [*(rules[name] for name in RULES.split()), len(rules["suites"]), *suites, 0]
        return sha(b"bkdms/contract/v1\0", *(varint(2 * number) for number in numbers))
    packet, header = read(PACKET, raw := proven(entry, "packet", 1))[0], read(HEADER, base64(spot["payload"]))[0]
    begin, end, count = header["first_index"], header["first_index"] + header["entries"], packet["count"]
    spot = {**spot, "kind": "header", "leaf_index": end, "log_offset": header["next"], "broker_time": header["end"]}
    need(proven(spot, "header", 3) and [header[name] for name in "version rules chain chain_id topic partition".split()]
         == [1, 1, chain, genesis["url"], genesis["chain_log"]["topic"], genesis["chain_log"]["partition"]]
         and begin <= entry["leaf_index"] < end and header["first"] <= entry["log_offset"] < header["next"]
         and header["start"] <= time < header["end"], "a header of another chain or version, or of another block")
    for item in evidence["registrars"]:
        keys = [(key["algorithm"], key["key"]) for key in issued(item, 9, KEYS, *roots)["keys"]]
        need(item["leaf_index"] > max(registrars), "changes of registrars are not in order")
        registrars[item["leaf_index"]] = named(4, keys)
    terms = [{**term, "suite": NAMES[term["suite"]]} for term in genesis["contract"]["suites"]]
    rules = {**genesis["contract"], "suites": terms}
    if (item := evidence["contract"]) is not None:
        need(agreed(rules) != header["contract"] and item["leaf_index"] < begin, "a needless contract, or a later one")
        rules = issued(item, 11, RULES.replace(" ", ":l ") + ":l suites:[suite:l,expires_ms:l]", *roots)
    need(agreed(rules) == header["contract"], "the block keeps to another contract")
    site = former = None
    for item in [evidence["enrolment"], *evidence["amendments"]]:
        last, site = site, right(item, *((8, AMEND) if site else (1, ENROL))) | {"place": item["leaf_index"]}
        site["name"], site["last"] = fingerprint(1, site["algorithm"], site["key"]), time
        claim = chain + site["name"] + site["site_id"] + f"{site['country']}/{site['city']}".encode()
        check_signature(site["algorithm"], site["key"], site["possession"], b"bkdms/possession/v1\0" + claim)
        need(not last or (last["name"], True) == (site["former"], last["place"] < site["place"]), "amended otherwise")
        former = former if last and last["name"] == site["name"] else {**last, "last": site["until"]} if last else site
    signer = site if packet["site_key"] == site["name"] else former
    need((packet["version"], packet["chain"], packet["site_key"]) == (1, chain, signer["name"])
         and time <= signer["last"], "another chain, or a key that is not or no longer the site's")
    check_signature(signer["algorithm"], signer["key"], packet["signature"], b"bkdms/packet/v1\0" + raw[:-64])
    offer, (signing, sealing) = right(evidence["key_offer"], 4, OFFER), SUITES[packet["suite"]]
    need(offer["algorithm"] == sealing and fingerprint(2, sealing, offer["key"]) in
         [reader["key"] for reader in packet["recipients"]], "not sealed to the key offered, as the suite says")
    [expires] = [term["expires_ms"] or time for term in rules["suites"] if term["suite"] == packet["suite"]]
    need({"suite": packet["suite"]} in site["suites"] and signing == signer["algorithm"] and time <= expires, "suite")
    need(packet["from"] <= packet["to"] <= time + rules["skew_ms"] and len(raw) <= rules["max_packet"], "too new")
    need((packet["from"] < time - rules["max_age_ms"]) == (evidence["grant"] is not None), "too old, or needless grant")
    grant = right(evidence["grant"], 3, GRANT) if evidence["grant"] else {**packet, "expires": time}
    need(grant["from"] <= packet["from"] and packet["to"] <= grant["to"] and time <= grant["expires"], "too old")
    names = packet["site_id"] + packet["site_key"]
    context = sha(b"bkdms/record-ctx/v1\0", chain, names, u64(packet["sequence"]), u64(count)[4:])
    shown = {-1: f"packet {packet['sequence']}: entry {entry['leaf_index'] - begin} of block {header['height']}"}
    for item in evidence["disclosed"]:
        data, salt, number = base64(item["record"]), base64(item["salt"]), item["index"]
        leaf = sha(b"\0bkdms/record/v1\0", context, number.to_bytes(4, "big"), salt, data)
        found = root_of(leaf, number, count, [base64(step) for step in item["path"]])
        need(found == packet["digest"] and [len(item), len(salt)] == [4, 32] and number > max(shown),
             f"record {number} is not in the packet, or not in order")
        record = read(RECORD, data)[0]
        need(all(record[name] == packet[name] for name in ("country", "city"))
             and {"site_id": record["site_id"]} in [{"site_id": packet["site_id"]}, *site["equipment"]]
             and packet["from"] <= record["time"] <= packet["to"]
             and all({"code": value["indicator"]} in site["indicators"] for value in record["values"]), "not granted")
        shown[number] = f"record {number}: {record['time']} ms, {record['values']}"
    return shown.values()

if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] != "--policy":
        sys.exit(print(__doc__, file=sys.stderr) or 2)
    try:
        print("good", *check(Path(sys.argv[3]).read_bytes(), Path(sys.argv[1]).read_bytes()), sep="\n")
    except Exception as error:
        sys.exit(f"BAD  {type(error).__name__}: {error}")
