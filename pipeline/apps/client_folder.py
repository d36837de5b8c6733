"""The folder that ``bkdms attach`` hands to a consumer: settings of the usual Kafka clients, beside the certificate.

Pure texts. All paths are relative to the folder, so that it can be carried to where the program runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import tomli_w

CA = "ca.pem"
CERTIFICATE = "certificate.pem"
KEY = "key.pem"
KEYSTORE = "keystore.pem"
GENESIS = "genesis.json"
SETTINGS = "bkdms.toml"
LIBRDKAFKA = "librdkafka.properties"
JAVA = "java.properties"
CONNECT_WORKER = "connect-worker.properties"
CONNECT_SINK = "connect-sink.properties"
README = "README.md"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A client with what it may read: its principal, Kafka's address, the API's (empty without one), its group.

    ``expires`` is the certificate's last day, ``prefix`` the start of the deployment's topic names.
    """

    principal: str
    bootstrap: str
    api: str
    group: str
    topics: tuple[str, ...]
    prefix: str
    expires: str

    @property
    def name(self) -> str:
        """Its own name, without the role."""
        return self.principal.partition(":")[2]


def texts(made: Attachment) -> dict[str, str]:
    """Return every file of the folder that is made of text and holds no secret, by name."""
    return {
        SETTINGS: _settings(made),
        LIBRDKAFKA: _properties("librdkafka: confluent-kafka, kcat, Go, .NET", _librdkafka(made)),
        JAVA: _properties("Java clients and Kafka's own tools", _java(made)),
        CONNECT_WORKER: _properties("a Kafka Connect worker (connect-standalone)", _connect_worker(made)),
        CONNECT_SINK: _properties("a sink connector; choose connector.class", _connect_sink(made)),
        README: _readme(made),
    }


def _settings(made: Attachment) -> str:
    files = {"ca": CA, "certificate": CERTIFICATE, "key": KEY}
    tables: dict[str, object] = {"topic_prefix": made.prefix} if made.prefix else {}
    tables |= {"data_dir": ".", "genesis": GENESIS, "kafka": {"bootstrap": made.bootstrap, **files}}
    return tomli_w.dumps(tables | ({"api": {"url": made.api, **files}} if made.api else {}))


def _properties(use: str, values: Mapping[str, str]) -> str:
    lines = "".join(f"{key}={value}\n" for key, value in values.items())
    return f"# For {use}. Paths are relative to this folder.\n{lines}"


def _librdkafka(made: Attachment) -> dict[str, str]:
    return {
        "bootstrap.servers": made.bootstrap,
        "security.protocol": "ssl",
        "ssl.ca.location": CA,
        "ssl.certificate.location": CERTIFICATE,
        "ssl.key.location": KEY,
        "group.id": made.group,
        "auto.offset.reset": "earliest",
    }


def _transport(prefix: str = "") -> dict[str, str]:
    values = {
        "security.protocol": "SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": KEYSTORE,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": CA,
    }
    return {f"{prefix}{key}": value for key, value in values.items()}


def _java(made: Attachment) -> dict[str, str]:
    return {
        "bootstrap.servers": made.bootstrap,
        **_transport(),
        "group.id": made.group,
        "auto.offset.reset": "earliest",
    }


def _connect_worker(made: Attachment) -> dict[str, str]:
    return {
        "bootstrap.servers": made.bootstrap,
        **_transport(),
        **_transport("consumer."),
        "key.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "offset.storage.file.filename": "connect.offsets",
        "listeners": "http://127.0.0.1:0",
    }


def _connect_sink(made: Attachment) -> dict[str, str]:
    values = {
        "name": made.name,
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
        "file": "records.out",
        "tasks.max": "1",
        "topics": ",".join(made.topics),
        # Connect would name the group after the connector, which is not the client's own.
        "consumer.override.group.id": made.group,
        "consumer.override.auto.offset.reset": "earliest",
    }
    if made.api:
        values |= {
            "value.converter": "io.confluent.connect.avro.AvroConverter",
            "value.converter.schema.registry.url": made.api,
            **{f"value.converter.schema.registry.{key}": value for key, value in _registry().items()},
        }
    return values


def _registry() -> dict[str, str]:
    transport = _transport()
    return {key: value for key, value in transport.items() if key.startswith("ssl.")}


def _readme(made: Attachment) -> str:
    topics = "".join(f"- `{topic}`\n" for topic in made.topics)
    first = made.topics[0]
    console = f"kafka-console-consumer.sh --bootstrap-server {made.bootstrap} --command-config {JAVA}"
    api = f"The API, with the schemas, is at {made.api}.\n" if made.api else ""
    return f"""# {made.principal}

The certificate in this folder may read, until {made.expires}:

{topics}
It may use the consumer group `{made.group}` and every group that begins with `{made.group}:`, and nothing else.
Kafka is at {made.bootstrap}. {api}
`{KEY}` and `{KEYSTORE}` are secret: who has them reads these topics. Carry the folder to where your program runs, as
it is, and start programs in it: the paths in its files are relative.

| file | for |
|---|---|
| `{SETTINGS}` | bkdms: `bkdms --config {SETTINGS} tail {first}` |
| `{LIBRDKAFKA}` | confluent-kafka and other clients on librdkafka: `kcat -F {LIBRDKAFKA} -C -t {first}` |
| `{JAVA}` | Java: `{console} --topic {first}` |
| `{CONNECT_WORKER}`, `{CONNECT_SINK}` | Kafka Connect: `connect-standalone.sh {CONNECT_WORKER} {CONNECT_SINK}` |
| `{CA}`, `{CERTIFICATE}`, `{KEY}` | any other TLS client; `{KEYSTORE}` is key and certificate in one, for Java |
| `{GENESIS}` | the chain's first word, public: what signatures are checked against |

On the machine of the stack: a new certificate or other topics: `bkdms attach --name {made.name} --topics … -o DIR
--renew`; take it back at once: `bkdms attach --name {made.name} --revoke`.
"""
