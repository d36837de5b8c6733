"""Topics and rights on a running Kafka, made to agree with the tables. Calling it again changes nothing."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from ops.access_table import Quota
from ops.kafka.acl_table import grants
from ops.kafka.quotas import NONE_GIVEN, keep_quotas
from ops.kafka.topic_table import TopicSpec
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal, Role
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.topics import Topics

REQUEST_TIMEOUT_S = 30
POLL_S = 0.02
RELOAD_PAUSE_S = 0.2
# The controller refuses requests that make more than some thousands of records.
BINDINGS_PER_REQUEST = 1000


def client_settings(bootstrap: str, files: CertificateFiles) -> dict[str, Any]:
    """Settings that make a confluent-kafka client connect with ``files``."""
    return {
        "bootstrap.servers": bootstrap,
        "security.protocol": "ssl",
        "ssl.ca.location": str(files.ca),
        "ssl.certificate.location": str(files.certificate),
        "ssl.key.location": str(files.key),
        "ssl.endpoint.identification.algorithm": "https",
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "log_level": 2,
    }


class KafkaAdmin:
    """Creates topics and grants rights with the admin's certificate; ``quotas`` go before the table of access."""

    def __init__(
        self, bootstrap: str, files: CertificateFiles, quotas: Mapping[Role, Quota] = NONE_GIVEN
    ) -> None:
        self._client = AdminClient(client_settings(bootstrap, files))
        self._bootstrap, self._files, self._quotas = bootstrap, files, quotas
        # Each question about quotas is a connection.
        self._with_quota: set[Principal] = set()

    def is_ready(self, timeout_s: float, node: int | None = None) -> bool:
        """Whether a broker answers within ``timeout_s`` seconds, and tells that broker ``node`` is there, if named."""
        try:
            found = self._client.list_topics(timeout=timeout_s).brokers
        except KafkaException:
            return False
        return bool(found) if node is None else node in found

    def is_whole(self, timeout_s: float) -> bool:
        """Whether every partition has a leader and all of its replicas are up to date."""
        try:
            topics = self._client.list_topics(timeout=timeout_s).topics.values()
        except KafkaException:
            return False
        partitions = [partition for topic in topics for partition in topic.partitions.values()]
        return all(found.leader >= 0 and len(found.isrs) == len(found.replicas) for found in partitions)

    def apply_topics(self, table: Iterable[TopicSpec], *, replicas: int = 1) -> None:
        """Create what is missing, each partition on ``replicas`` brokers, and set what differs.

        Raises:
            TransientError: Kafka did not answer in time.
            ConfigError: Kafka refuses a setting.
        """
        specs = tuple(table)
        made = self._client.create_topics(
            [
                NewTopic(
                    spec.name,
                    num_partitions=spec.partitions,
                    replication_factor=replicas,
                    config=spec.settings,
                )
                for spec in specs
            ],
            request_timeout=REQUEST_TIMEOUT_S,
        )
        present = [spec for spec in specs if not _created(made[spec.name], spec.name)]
        if present:
            self._set_again(present)
        names = {spec.name for spec in specs}
        _until(lambda: names <= self._client.list_topics(timeout=REQUEST_TIMEOUT_S).topics.keys(), "topics")

    def grant(self, principals: Iterable[Principal], topics: Iterable[Topics]) -> None:
        """Give each principal the rights of its role on each deployment's topics, and its quota if it has none.

        Raises:
            TransientError: Kafka did not answer in time.
            ConfigError: Kafka refuses a binding.
        """
        deployments, holders = tuple(topics), tuple(principals)
        # Before the rights: nobody is let in without a limit that it should have.
        self._keep_quotas(holders)
        bindings = {
            binding
            for principal in holders
            for deployment in deployments
            for binding in bindings_of(principal, deployment)
        }
        self.add(bindings)

    def _keep_quotas(self, principals: Iterable[Principal]) -> None:
        new = set(principals) - self._with_quota
        if new:
            keep_quotas(self._bootstrap, self._files, new, self._quotas)
            self._with_quota |= new

    def add(self, bindings: Collection[AclBinding]) -> None:
        """Grant or deny what these bindings say; those that are there already stay.

        Raises:
            TransientError: Kafka did not answer in time.
            ConfigError: Kafka refuses a binding.
        """
        if bindings:
            ordered = list(bindings)
            for start in range(0, len(ordered), BINDINGS_PER_REQUEST):
                part = ordered[start : start + BINDINGS_PER_REQUEST]
                done = self._client.create_acls(part, request_timeout=REQUEST_TIMEOUT_S)
                _wait_all({str(binding): future for binding, future in done.items()})
            # The controller answers before the broker has heard of it.
            _until(lambda: set(bindings) <= self._bindings(), "rights")

    def reload_stores(self, listeners: Iterable[str], is_done: Callable[[], bool], *, node: int = 1) -> None:
        """Have a broker read the key and trust stores of its listeners again, until ``is_done``.

        Taking away a setting that nobody made changes nothing, but makes the broker look whether its files did.

        Raises:
            TransientError: Kafka did not answer in time.
            ConfigError: Kafka refuses the files.
        """
        resource = ConfigResource(
            ConfigResource.Type.BROKER,
            str(node),
            incremental_configs=[
                ConfigEntry(
                    f"listener.name.{name}.ssl.keystore.location",
                    "",
                    incremental_operation=AlterConfigOpType.DELETE,
                )
                for name in listeners
            ],
        )

        def is_taken_over() -> bool:
            done = self._client.incremental_alter_configs([resource], request_timeout=REQUEST_TIMEOUT_S)
            _wait_all({str(one): future for one, future in done.items()})
            return is_done()

        _until(is_taken_over, "certificate", pause_s=RELOAD_PAUSE_S)

    def bindings(self, kafka_principal: str | None = None) -> set[AclBinding]:
        """Return what is granted to and denied to one principal (``User:role:name``), or to all.

        Raises:
            TransientError: Kafka did not answer in time.
        """
        with _answered("rights"):
            return self._bindings(kafka_principal)

    def remove(self, bindings: Collection[AclBinding]) -> None:
        """Take these bindings away, where they are.

        Raises:
            TransientError: Kafka did not answer in time.
            ConfigError: Kafka refuses.
        """
        if bindings:
            filters = [_filter_of(binding) for binding in bindings]
            done = self._client.delete_acls(filters, request_timeout=REQUEST_TIMEOUT_S)
            _wait_all({str(item): future for item, future in done.items()})
            _until(lambda: not set(bindings) & self._bindings(), "rights")

    def _bindings(self, kafka_principal: str | None = None) -> set[AclBinding]:
        everything = AclBindingFilter(
            ResourceType.ANY,
            None,  # type: ignore[arg-type]  # here and below None means any; the type hints forgot it
            ResourcePatternType.ANY,
            kafka_principal,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        return set(self._client.describe_acls(everything).result(timeout=REQUEST_TIMEOUT_S))

    def _set_again(self, specs: Iterable[TopicSpec]) -> None:
        resources = [
            ConfigResource(
                ConfigResource.Type.TOPIC,
                spec.name,
                incremental_configs=[
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, value in spec.settings.items()
                ],
            )
            for spec in specs
        ]
        done = self._client.incremental_alter_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
        _wait_all({str(resource): future for resource, future in done.items()})


def bindings_of(principal: Principal, topics: Topics) -> tuple[AclBinding, ...]:
    """The rows of the table for ``principal`` as Kafka takes them; from any host."""
    return tuple(
        AclBinding(
            ResourceType[grant.resource.upper()],
            grant.name,
            ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
            principal.kafka,
            "*",
            AclOperation[operation.value],
            AclPermissionType.ALLOW,
        )
        for grant in grants(principal.role, topics)
        for operation in grant.operations
    )


def _filter_of(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


@contextmanager
def _answered(what: str) -> Iterator[None]:
    """Turn Kafka's silence into a passing fault."""
    try:
        yield
    except (TimeoutError, KafkaException) as error:
        raise TransientError(f"Kafka did not answer about {what}: {error}") from error


def _until(is_so: Callable[[], bool], what: str, *, pause_s: float = POLL_S) -> None:
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TransientError(f"Kafka did not take over new {what} within {REQUEST_TIMEOUT_S} s")
        time.sleep(pause_s)


def _created(future: "Future[Any]", name: str) -> bool:
    try:
        _wait(future, name)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise ConfigError(f"Kafka refuses topic {name}: {error.args[0].str()}") from error
    return True


def _wait_all(futures: Mapping[str, "Future[Any]"]) -> None:
    for name, future in futures.items():
        try:
            _wait(future, name)
        except KafkaException as error:
            raise ConfigError(f"Kafka refuses {name}: {error.args[0].str()}") from error


def _wait(future: "Future[Any]", name: str) -> None:
    try:
        future.result(timeout=REQUEST_TIMEOUT_S)
    except TimeoutError as error:
        raise TransientError(f"Kafka did not answer about {name} within {REQUEST_TIMEOUT_S} s") from error
    except KafkaException as error:
        if error.args[0].retriable() or error.args[0].code() == KafkaError._TIMED_OUT:
            raise TransientError(f"Kafka could not do it now ({name}): {error.args[0].str()}") from error
        raise
