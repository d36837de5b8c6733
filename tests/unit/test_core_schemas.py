"""Published schemas: fixed for ever, self-contained, and of shapes that can't be abused."""

import json
from hashlib import sha256
from io import BytesIO
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema as ConfluentSchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer

from pipeline.core import avro
from pipeline.core.block import bytes_value
from schemas import Schema, ids, schema, schema_by_id

# Name, id and SHA-256 of the canonical text. A published schema never changes in place: add a name and an id.
PUBLISHED = {
    "Packet": (1, "b29d283424f9aa0d5b8acaf46c19498d0a26769764c7497f3cfd1497329e7d2e"),
    "UnifiedRecord": (2, "fd8a1568426cefa3a87cd0deb09dbe31ddfaabf2ea8e8798451d9dd88d3e7546"),
    "Extending": (3, "03d8650b07abdf9032afde381ba2c3d714c03b932fe30d741745e4a87b401150"),
    "Control": (4, "5b93b53e585c238180eec8ae965d0ab0ec97b43ec5ec49e0061c828b6465ce17"),
    "Tick": (5, "403608816a7b4ef69a54a646f7a27e4ce6923ab63777265c0deb623a5a1683ff"),
    "Header": (6, "de761b4ba5f95b3f3eb264dd88c091bdcc8faedd5f536d9d336fbc9d8dbf2f49"),
    "CertifiedBlock": (7, "1242513fd917b704da45bcaebd81ec4af372e542d6e614c999b8fdbfe16f89b8"),
    "StorageRecord": (8, "9d094f6c97016ccda1b5ca2eeb138c585ae08fa48d34ba8f34971b2f3bc3a270"),
    "Rejection": (9, "056a454b149409bc6c15c893a823d98f8ef9c2554d5f8502aab5f7b1ae21f7b5"),
    "Cosignature": (10, "13a321e8011febf25dc83ef696df991710ad416f0f300ac11cf0b4d9e4c7ac3d"),
    "SiteRegistration": (11, "f642d1826f7fd511907e45215260d161c10d393a08ec6d77907be622dae3e69c"),
    "Observations": (12, "8e57354f9060d2b2164474a08ee7688707805bb500de3aebeb03252db70f8713"),
    "Assessment": (13, "4faa9f565cb7dc0cea4db913669a2cafefcf3f30e7154cc9d7e503100d518ad7"),
    "Contract": (14, "6e8a9060e5dc159ffacb843c0347c1899ab29a45883f90d4cb4872704a7d5112"),
    "Enrol": (15, "32fe3ad81defbe0f4842f1c7f15ead708ceba91b61e81cfbce418f501a057a92"),
    "Revoke": (16, "050c4c73515dbe78d737df58b58d94da7ef5514fc7ee70d7066a9174ca028863"),
    "BackfillGrant": (17, "cba9384c1d7d3a9f2d733a18402392921a69dca6e1bae4ba1f38078c06cb6186"),
    "KeyOffer": (18, "82526a69060ecc3ef25bfc9a04ae5b1e8a56e1cf40baeec70605c89edfb85b3d"),
    "Block": (19, "30ffb4145ef99cfe077a09342d7f7ef1f6b9390caa866cbf0d89623da4ebc97a"),
    "Reanchor": (20, "5ce3888e521cdcd08cfb0d069740fed25e705d754ae65b0dce82656bca909644"),
    "Suspend": (21, "85730b25ff8ba14ac4a8bed87556bd2236209da872688a72365754be5960d535"),
    "Resume": (22, "b4affa55e7549c60d9cf224338e723b65860b609f260a1ca1e31b9a96e3e358d"),
    "Amend": (23, "b5be7ee8e286ed778b01ee08801977bdcd6578cf026f094f6ce5681c12cfe2fa"),
    "Registrars": (24, "08e6ef0d243978904039ab6baa580ace9cb4ba8ea7d756f3ecdc65f1c68377a2"),
    "Nodes": (25, "fefc3e560099057a7f53fbded921152a0465605b743b7f000789b9e46b7222aa"),
    "Rules": (26, "1556fe943a187e3b29ababaac25eb394366ff0a390523be3c677079dd35e934e"),
    "AccessLogKey": (27, "908070fd2a3bf903ac0f33f421165220c5c6e89e5ba439392c84666304ba8189"),
    "AccessLogHead": (28, "634ceaa33acf8e8fd25a718475aa91fa2834970e3dc01e48f816fc2901fb674a"),
    "AuthorityRegistration": (29, "cf252bf67510addb7c7bc27b269641dd78284b591ffacab406ffb6d049bf4dc5"),
}
SIGNED = {
    "Packet", "UnifiedRecord", "Extending", "Control", "Enrol", "Revoke", "BackfillGrant", "KeyOffer", "Reanchor",
    "Contract", "Header", "Block", "CertifiedBlock", "Tick", "StorageRecord", "Cosignature", "Suspend", "Resume",
    "Amend", "Registrars", "Nodes", "Rules", "AccessLogKey", "AccessLogHead",
}  # fmt: skip
ALL = pytest.mark.parametrize("described", [schema(name) for name in ids()], ids=list(ids()))


def text_hash(described: Schema) -> str:
    """Return the SHA-256 of a schema's text, whatever its white space."""
    canonical = json.dumps(json.loads(described.text), sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()


def nodes(node: Any) -> list[Any]:
    """Return a schema's JSON and all types in it."""
    found = [node]
    if isinstance(node, list):
        return found + [inner for item in node for inner in nodes(item)]
    if isinstance(node, dict):
        for field in node.get("fields", []):
            found += nodes(field["type"])
        for key in ("items", "values"):
            found += nodes(node[key]) if key in node else []
        if isinstance(node["type"], dict | list):
            found += nodes(node["type"])
    return found


def test_names_and_ids_are_those_that_were_published() -> None:
    assert ids() == {name: number for name, (number, _) in PUBLISHED.items()}


def test_no_two_schemas_share_an_id() -> None:
    assert len(set(ids().values())) == len(ids())


@ALL
def test_the_text_is_the_one_that_was_published(described: Schema) -> None:
    assert (described.id, text_hash(described)) == PUBLISHED[described.name]


@ALL
def test_a_schema_is_found_by_its_id(described: Schema) -> None:
    assert schema_by_id(described.id) == described


def test_an_unknown_id_finds_nothing() -> None:
    assert schema_by_id(0) is None
    assert schema_by_id(max(ids().values()) + 1) is None


@ALL
def test_every_record_and_field_says_what_it_is(described: Schema) -> None:
    for node in nodes(json.loads(described.text)):
        if isinstance(node, dict) and node["type"] in ("record", "fixed"):
            assert node["doc"].endswith(".")
            assert all(len(field["doc"]) > 3 for field in node.get("fields", []))


@ALL
def test_signed_structures_have_plain_types_only(described: Schema) -> None:
    """No logical types, unions, maps, enums, defaults or floats: each of them has readers that disagree."""
    if described.name not in SIGNED:
        return
    for node in nodes(json.loads(described.text)):
        kind = node["type"] if isinstance(node, dict) else node
        assert kind in ("record", "array", "fixed", "long", "bytes", "string") or kind.startswith("bkdms.v1.")
        if isinstance(node, dict):
            assert not {"logicalType", "default", "aliases"} & set(node)
            assert not any({"default", "order", "aliases"} & set(field) for field in node.get("fields", []))


def smallest(node: Any, named: dict[str, Any]) -> int:
    """Return the size of the smallest encoding of a type, bytes."""
    if isinstance(node, str):
        return smallest(named[node], named) if node in named else 0 if node == "null" else 1
    if isinstance(node, list):
        return 1
    match node["type"]:
        case "record":
            return sum(smallest(field["type"], named) for field in node["fields"])
        case "fixed":
            return int(node["size"])
        case _:
            return 1


@ALL
def test_no_array_holds_items_that_take_no_bytes(described: Schema) -> None:
    """Otherwise a few bytes announce millions of items."""
    found = nodes(json.loads(described.text))
    named = {f"bkdms.v1.{n['name']}": n for n in found if isinstance(n, dict) and "name" in n}
    arrays = [node for node in found if isinstance(node, dict) and node["type"] == "array"]
    assert all(smallest(array["items"], named) >= 1 for array in arrays)


SAMPLES = {"long": 7, "bytes": b"\1\2", "string": "text", "double": 0.5, "boolean": True}


def sample(node: Any, named: dict[str, Any]) -> Any:
    """Return a value of a type."""
    if isinstance(node, str):
        return SAMPLES[node] if node in SAMPLES else sample(named[node], named)
    match node["type"]:
        case "record":
            return {field["name"]: sample(field["type"], named) for field in node["fields"]}
        case "fixed":
            return bytes(node["size"])
        case "array":
            return [sample(node["items"], named)] * 2
    raise AssertionError(node)


def sample_of(described: Schema) -> Any:
    """Return a value of a schema."""
    text = json.loads(described.text)
    return sample(
        text, {f"bkdms.v1.{n['name']}": n for n in nodes(text) if isinstance(n, dict) and "name" in n}
    )


@ALL
def test_the_text_alone_is_enough_for_another_reader(described: Schema) -> None:
    value = sample_of(described)
    encoded = avro.encode(described, value)
    alone = fastavro.parse_schema(json.loads(described.text))
    assert fastavro.schemaless_reader(BytesIO(encoded), alone, None) == value
    assert avro.decode(described, encoded) == value


class OneSchema(SchemaRegistryClient):
    """A registry client that knows one text and talks to nobody."""

    def __init__(self, text: str) -> None:
        super().__init__({"url": "http://127.0.0.1:1"})
        self._text = text

    def get_schema(self, *_: Any, **__: Any) -> ConfluentSchema:
        """Return the one schema."""
        return ConfluentSchema(self._text, "AVRO")


@pytest.mark.parametrize("name", [name for name in ids() if name != "Tick"])
def test_confluents_deserializer_reads_a_framed_value(name: str) -> None:
    """All but the tick, whose body is empty: Confluent's reader wants a sixth byte."""
    described = schema(name)
    value = sample_of(described)
    reader = AvroDeserializer(OneSchema(described.text))
    assert reader(avro.frame(described, avro.encode(described, value)), None) == value


def test_a_frame_is_a_zero_and_four_bytes_of_id() -> None:
    assert avro.frame(schema("Block"), b"body") == b"\0\0\0\0\x13body"
    assert avro.frame_id(b"\0\0\0\0\x13body") == 19
    assert [avro.frame_id(value) for value in (b"", b"\0\0\0\0", b"\1\0\0\0\x13")] == [None, None, None]


def test_a_value_behind_the_frame_of_another_schema_is_not_read() -> None:
    body = avro.encode(schema("Tick"), {})
    assert avro.unframe(schema("Tick"), avro.frame(schema("Tick"), body)) == {}
    assert avro.unframe(schema("Tick"), avro.frame(schema("Block"), body)) is None
    assert avro.unframe(schema("Tick"), avro.frame(schema("Tick"), b"\0")) is None


def test_the_compiled_reader_is_here() -> None:
    avro.require_compiled_reader()


@pytest.mark.parametrize("number", [0, 1, 63, 64, 8191, 8192, 2**31, 2**62, 2**63 - 1])
def test_the_size_of_a_number_is_what_avro_takes(number: int) -> None:
    encoded = avro.encode(schema("BackfillGrant"), _grant(number))
    assert avro.long_size(number) == len(encoded) - len(avro.encode(schema("BackfillGrant"), _grant(0))) + 1


def _grant(expires: int) -> dict[str, Any]:
    name = {"country": "US", "city": "c", "site_id": bytes(16)}
    return name | {"collected_from": 0, "collected_to": 0, "expires": expires}


@pytest.mark.parametrize("length", [0, 1, 63, 64, 8191, 8192])
def test_the_size_of_bytes_is_what_avro_takes(length: int) -> None:
    assert avro.bytes_size(length) == len(bytes_value(bytes(length)))
