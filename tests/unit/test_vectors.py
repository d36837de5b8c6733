"""Every golden vector file is what its generator makes, and every one has a generator."""

import json
import re

import pytest

from tests.determinism import derive
from tests.vectors import (
    generate_assessments,
    generate_certificate,
    generate_changes,
    generate_core,
    generate_documents,
    generate_export,
    generate_merkle,
    generate_messages,
    generate_mldsa44,
    generate_policy,
    generate_proofs,
    generate_reanchor,
    generate_samples,
)
from tests.vectors.core_world import FOLDER

GENERATORS = (
    generate_assessments,
    generate_certificate,
    generate_core,
    generate_documents,
    generate_export,
    generate_merkle,
    generate_messages,
    generate_policy,
    generate_proofs,
)
STORED = sorted({path.name for path in FOLDER.glob("*.json")} - {derive.GOLDEN.name})
"""All but the digests that ``test_determinism`` makes again."""


def generated() -> dict[str, str]:
    """Return names and contents of all files that are the same in every run."""
    found = {name: content for generator in GENERATORS for name, content in generator.files().items()}
    return found | {
        generate_changes.NAME: generate_changes.content(),
        generate_reanchor.NAME: generate_reanchor.content(),
        "samples.json": generate_samples.text(),
    }


@pytest.fixture(scope="module")
def contents() -> dict[str, str]:
    return generated()


def test_every_vector_file_has_a_generator(contents: dict[str, str]) -> None:
    """One structure a file; nothing is left from a generator that is gone."""
    assert set(STORED) == contents.keys() | {generate_mldsa44.FILE.name}


def test_the_documentation_names_every_vector_file() -> None:
    text = (FOLDER.parents[1] / "docs" / "formats.md").read_text("utf-8")
    table = text.split("## Golden vectors")[1].split("\n## ")[0]
    assert set(re.findall(r"`(\w+\.json)`", table)) == {path.name for path in FOLDER.glob("*.json")}


@pytest.mark.parametrize("name", STORED)
def test_a_stored_file_is_what_its_generator_makes(name: str, contents: dict[str, str]) -> None:
    stored = (FOLDER / name).read_text()
    if name == generate_mldsa44.FILE.name:  # its signature is random, so it is kept and checked elsewhere
        fixed = generate_mldsa44.fixed()
        assert {key: json.loads(stored)[key] for key in fixed} == fixed
    else:
        assert stored == contents[name]
