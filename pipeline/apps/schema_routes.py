"""Our schemas on the read-only paths of a Confluent-compatible registry, so that ordinary Avro tools find them."""

import json
from typing import Any, Final

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse

from pipeline.core.topic_rows import topic_schemas
from pipeline.core.topics import Topics
from schemas import Schema, ids, schema_by_id

_SCHEMA_NOT_FOUND: Final = 40403
_SUBJECT_NOT_FOUND: Final = 40401
_VERSION_NOT_FOUND: Final = 40402
_LATEST: Final = ("latest", "-1")


class RegistryError(HTTPException):
    """A refusal in the form that registry clients read."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code // 100, message)
        self.code = code


def subjects(topics: Topics) -> dict[str, tuple[Schema, ...]]:
    """Return the schemas of each subject (``<topic>-value``), version 1 first."""
    return {f"{topic}-value": found for topic, found in topic_schemas(topics).items()}


def schema_router(topics: Topics) -> APIRouter:
    """Return the schema paths for these topics. Parameters that registries know and we don't need are ignored."""
    router = APIRouter(tags=["schemas"])
    table = subjects(topics)

    def versions_of(subject: str) -> tuple[Schema, ...]:
        if subject not in table:
            raise RegistryError(_SUBJECT_NOT_FOUND, f"Subject '{subject}' not found.")
        return table[subject]

    def by_id(schema_id: int) -> Schema:
        found = schema_by_id(schema_id)
        if found is None:
            raise RegistryError(_SCHEMA_NOT_FOUND, f"Schema {schema_id} not found")
        return found

    @router.get("/schemas/types")
    async def types() -> list[str]:
        """The one kind of schema here."""
        return ["AVRO"]

    @router.get("/schemas/ids/{schema_id}")
    async def schema_text(schema_id: int, fetchMaxId: bool = False) -> dict[str, Any]:  # noqa: N803  the registry's spelling
        """A schema by its id."""
        found = by_id(schema_id)
        return {"schema": found.text} | ({"maxId": max(ids().values())} if fetchMaxId else {})

    @router.get("/schemas/ids/{schema_id}/schema")
    async def schema_alone(schema_id: int) -> JSONResponse:
        """A schema by its id, nothing around it."""
        return JSONResponse(json.loads(by_id(schema_id).text))

    @router.get("/schemas/ids/{schema_id}/versions")
    async def schema_versions(schema_id: int) -> list[dict[str, Any]]:
        """Where a schema is used."""
        by_id(schema_id)
        return [
            {"subject": subject, "version": number}
            for subject, found in table.items()
            for number, item in enumerate(found, 1)
            if item.id == schema_id
        ]

    @router.get("/subjects")
    async def all_subjects() -> list[str]:
        """All subjects."""
        return sorted(table)

    @router.get("/subjects/{subject}/versions")
    async def subject_versions(subject: str) -> list[int]:
        """The versions of a subject: one for each kind of record that its topic carries."""
        return list(range(1, len(versions_of(subject)) + 1))

    @router.get("/subjects/{subject}/versions/{version}")
    async def subject_version(subject: str, version: str) -> dict[str, Any]:
        """One version of a subject, or ``latest``."""
        found = versions_of(subject)
        number = (
            len(found)
            if version in _LATEST
            else int(version)
            if version.isascii() and version.isdigit()
            else 0
        )
        if not 1 <= number <= len(found):
            raise RegistryError(_VERSION_NOT_FOUND, f"Version {version} not found.")
        item = found[number - 1]
        return {
            "subject": subject,
            "version": number,
            "id": item.id,
            "schemaType": "AVRO",
            "schema": item.text,
        }

    return router
