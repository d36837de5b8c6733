"""The tables of ``bkdms.toml``. Every description is also what an error message tells the user to write."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipeline.adapters.tls import TlsFiles
from pipeline.config.naming import required
from pipeline.core.names import SiteName, is_country, is_text, parse_site_id


def _is(check: Any, problem: str) -> AfterValidator:
    def validate(value: str) -> str:
        if not check(value):
            raise ValueError(problem)
        return value

    return AfterValidator(validate)


def _site_id(value: str) -> str:
    parse_site_id(value)
    return value


FilePath = Annotated[Path, AfterValidator(Path.expanduser)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Text = Annotated[str, _is(is_text, "use 1 to 64 printable ASCII characters without spaces")]
Country = Annotated[str, _is(is_country, "use the two capital letters of ISO 3166-1, such as US")]
SiteId = Annotated[str, AfterValidator(_site_id)]


class Section(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KeysSettings(Section):
    """Private keys at rest."""

    passphrase_file: FilePath = Field(
        description="file with the passphrase that key files are sealed under, outside of the data folder"
    )
    generations_dir: FilePath = Field(
        description="folder of what opens the platform's vault of keys, outside of the data folder and of backups"
    )
    mounted_dir: FilePath | None = Field(
        None,
        description="folder in which the system mounts secrets: key files in it are plain, and read only",
    )
    scrypt_log2_n: int = Field(
        17, ge=10, le=20, description="cost of guessing the passphrase: 2^n KiB of memory; below 14 for tests"
    )
    insecure_plain_files: bool = Field(
        False, description="true to read key files that are not sealed; for tests alone"
    )


class KafkaSettings(Section):
    """Kafka and the certificate that we show it."""

    bootstrap: str | None = Field(None, description="host:port of Kafka, several with commas")
    ca: FilePath | None = Field(None, description="PEM file of the CA that Kafka's certificate is from")
    certificate: FilePath | None = Field(None, description="PEM file of our certificate")
    key: FilePath | None = Field(None, description="PEM file of our certificate's private key")

    def tls_files(self) -> TlsFiles:
        """The three files of mutual TLS.

        Raises:
            ConfigError: one of them is not set.
        """
        return TlsFiles(
            required(self.ca, "kafka.ca"),
            required(self.certificate, "kafka.certificate"),
            required(self.key, "kafka.key"),
        )


class RedisSettings(Section):
    """Redis: a Unix socket, or host and port with TLS."""

    unix_socket: FilePath | None = Field(None, description="path of Redis' Unix socket")
    host: str | None = Field(None, description="host of Redis")
    port: Port = Field(6379, description="TLS port of Redis")
    ca: FilePath | None = Field(None, description="PEM file of the CA that Redis' certificate is from")
    certificate: FilePath | None = Field(None, description="PEM file of our certificate")
    key: FilePath | None = Field(None, description="PEM file of our certificate's private key")
    username: str | None = Field(None, description="Redis ACL user")
    password_file: FilePath | None = Field(None, description="file that holds that user's password")

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.unix_socket is not None and self.host is not None:
            raise ValueError("set unix_socket or host, not both")
        return self

    def tls_files(self) -> TlsFiles:
        """The three files of mutual TLS, for a host.

        Raises:
            ConfigError: one of them is not set.
        """
        return TlsFiles(
            required(self.ca, "redis.ca"),
            required(self.certificate, "redis.certificate"),
            required(self.key, "redis.key"),
        )


class StoreSettings(Section):
    """The platform's store."""

    url: str = Field(
        description="SQLAlchemy URL of the Table 10-3 store, such as sqlite:////var/lib/store.db"
    )


class ApiSettings(Section):
    """The HTTP API: where it listens, and where its clients find it."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(8480, description="port to listen on")
    certificate: FilePath | None = Field(None, description="PEM file of the server's or client's certificate")
    key: FilePath | None = Field(None, description="PEM file of that certificate's private key")
    ca: FilePath | None = Field(None, description="PEM file of the CA of the other side's certificate")
    url: str | None = Field(None, description="where clients find the API, such as https://127.0.0.1:8480")

    def tls_files(self) -> TlsFiles:
        """The three files of mutual TLS.

        Raises:
            ConfigError: one of them is not set.
        """
        return TlsFiles(
            required(self.ca, "api.ca"),
            required(self.certificate, "api.certificate"),
            required(self.key, "api.key"),
        )


class NodeSettings(Section):
    """One accounting node; key and state are found by its name unless set."""

    name: Text | None = Field(None, description="name of the accounting node, as in the genesis file")
    key: FilePath | None = Field(None, description="key file of the accounting node")
    mldsa44_key: FilePath | None = Field(None, description="file of the node's second key, for ML-DSA-44")
    state_dir: FilePath | None = Field(None, description="folder of the node's own state")


class PlatformSettings(Section):
    """The platform worker."""

    keys_dir: FilePath = Field(description="folder of the platform's sealing keys")


class AssessSettings(Section):
    """The assessment worker, and what `bkdms assess` goes by."""

    plan: FilePath | None = Field(
        None,
        description="TOML file of the assessment plan; without it nothing is expected and nothing scored",
    )
    rest_ms: int = Field(
        1_000,
        ge=0,
        description="least milliseconds between two rounds of assessing; changes wait for the next",
    )
    poll_ms: int = Field(
        5_000, ge=100, description="milliseconds after which the store is looked at without a message"
    )


class ExportSettings(Section):
    """The exporter, and what the API offers of it."""

    folder: FilePath | None = Field(None, description="folder of the exported tiles and checkpoint")
    key: FilePath = Field(description="file of the log's signing key")
    policy: FilePath | None = Field(
        None, description="tlog-policy file that says whose cosignatures a checkpoint needs to be published"
    )
    check_signatures: bool = Field(
        False, description="true to check the sites' signatures again, which the nodes certified"
    )


class ParquetSettings(Section):
    """The Parquet sink."""

    folder: FilePath | None = Field(None, description="folder of the Parquet files")
    flush_rows: int = Field(50_000, ge=1, le=1_000_000, description="values at which files are written")
    flush_ms: int = Field(
        60_000, ge=100, description="milliseconds after which values are written to files, however few"
    )


class SiteSettings(Section):
    """One sampling site."""

    country: Country | None = Field(None, description="country of the site, ISO 3166-1 alpha-2")
    city: Text | None = Field(None, description="city code with its scheme, such as unlocode:USMES")
    site_id: SiteId | None = Field(None, description="identifier of the equipment in IPv4 or IPv6 form")
    module_id: Text = Field("bkdms-site", description="identifier of this KPI processing module")
    key: FilePath = Field(description="file of the site's signing key")
    access: FilePath = Field(description="file with the registrar's answer to the access request")
    spool: FilePath = Field(description="file of the spool of records that are not yet committed")
    spool_key: FilePath = Field(description="file of the spool's key, in another folder than the spool")
    read_own: bool = Field(
        False,
        description="true to seal packets to a key of this site, too, so that `bkdms site open` can read them later",
    )
    reading_keys: FilePath = Field(description="folder of the site's own keys to read its packets with")
    spool_limit_mb: int = Field(1024, ge=16, description="megabytes of spool at which collecting pauses")
    packet_records: int = Field(500, ge=1, le=4096, description="records at which a packet is full")
    linger_ms: int = Field(5_000, ge=0, description="milliseconds that a record waits for its packet to fill")
    head_poll_ms: int = Field(
        2_000, ge=50, description="milliseconds between questions for the committed head"
    )
    registry_poll_ms: int = Field(
        60_000,
        ge=50,
        description="milliseconds between questions for the site's rights and the platform's keys",
    )
    key_notice_days: int = Field(
        3, ge=0, le=366, description="days before its end at which the platform's key is warned of"
    )
    suite_notice_days: int = Field(
        90, ge=0, le=3660, description="days before its end at which the site's cipher suite is warned of"
    )
    resend_after_ms: int = Field(
        60_000, ge=1_000, description="milliseconds without progress after which packets are sent again"
    )
    source: FilePath | None = Field(None, description="CSV file with the measurements")
    mapping: dict[str, Any] = Field(default_factory=dict, description="how the source's columns are read")

    def name(self) -> SiteName:
        """The registry name of the site.

        Raises:
            ConfigError: a part of it is not set.
        """
        return SiteName(
            required(self.country, "site.country"),
            required(self.city, "site.city"),
            parse_site_id(required(self.site_id, "site.site_id")),
        )


class RegistrarSettings(Section):
    """The registrar's desk."""

    key: FilePath = Field(description="file of the registrar's signing key")


class TracesSettings(Section):
    """Traces of packets by OpenTelemetry; off without an endpoint."""

    endpoint: str | None = Field(
        None, description="OTLP/HTTP address of a collector, such as http://127.0.0.1:4318/v1/traces"
    )
    ratio: float = Field(
        0.01, ge=0, le=1, description="share of packets that are traced; the same for all programs"
    )


class WorkerSettings(Section):
    """What all workers share."""

    metrics_host: str = Field("127.0.0.1", description="address to serve metrics on")
    metrics_port: Port | None = Field(None, description="port to serve metrics on; none is served without it")
