"""The documentation names files, commands, settings, metrics and codes that exist, and none is left out."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import typer
from pydantic import BaseModel

from ops.conformance import __main__ as conformance
from ops.conformance.results import read_results
from ops.postgres.role_table import ADMIN_ROLE, DatabaseRole
from pipeline.apps.cli.root import app
from pipeline.config import Settings
from pipeline.core.outcome import Outcome
from pipeline.core.topics import Topics

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("pipeline", "schemas", "connectors", "ops", "tests", "docs")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A table and a schema of the store: no metrics either.
STORE_NAMES = {"bkdms_store_version", "bkdms_rebuilt"}
METRIC_SUFFIX = re.compile(r"_(total|created|bucket|sum|count)$")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def inline(text: str) -> list[str]:
    """Return what stands in backticks outside of code blocks."""
    return INLINE.findall(FENCED.sub("", text))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as they are made of their words."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[str]:
    """Yield the command lines of ``bkdms`` in code blocks and in backticks; ``a b · c`` stands for a b and a c."""
    lines = [line for _, block in FENCED.findall(text) for line in block.splitlines()]
    for line in [*lines, *inline(text)]:
        found = re.match(r"(?:BKDMS_\w+=\S+ )*bkdms (.+)", line.partition("#")[0].strip())
        if found:
            first, *others = found[1].split(" · ")
            group = first.rpartition(" ")[0]
            yield from (first, *(f"{group} {other}".strip() for other in others))


def resolved(line: str) -> tuple[Any, list[str]]:
    """Return the command that a line calls, and what follows its name."""
    words = shlex.split(line.replace("[", "").replace("]", ""))
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "resolve_command"):
        if words[0] == "--config":
            del words[:2]
        elif words[0].startswith("-") or words[0] == "…":
            break
        else:
            _, command, _ = command.resolve_command(
                command.make_context("bkdms", [], resilient_parsing=True), words[:1]
            )
            del words[0]
    return command, words


def settings() -> set[str]:
    """Return every setting's dotted name."""
    found: set[str] = set()
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= {f"{name}.{key}" for key in kind.model_fields}
        else:
            found.add(name)
    return found


def halting_codes() -> set[str]:
    """Return the codes of every IntegrityError and of what a site calls a contradiction."""
    found: set[str] = set()
    for file in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                codes = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                if node.func.id == "Contradiction":
                    codes = node.args[:1]
                if node.func.id in ("IntegrityError", "Contradiction"):
                    found |= {str(code.value) for code in codes if isinstance(code, ast.Constant)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_path_in_backticks_is_there(page: Path) -> None:
    for name in inline(page.read_text("utf-8")):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./*-]*", name):
            assert any(ROOT.glob(name.rstrip("/"))), f"{page_id(page)} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page_id(page)} links to {link}"
        assert not anchor or anchor in anchors(target.read_text("utf-8")), f"{page_id(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_and_option_exists(page: Path) -> None:
    for line in commands(page.read_text("utf-8")):
        command, rest = resolved(line)
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {
            "--help",
            "-h",
        }
        wrong = [word for word in rest if word.startswith("-") and word not in known]
        assert not wrong, f"{page_id(page)}: bkdms {line}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make (\w+)", page.read_text("utf-8"), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_in_code_blocks_parses_and_imports_what_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    for language, block in FENCED.findall(text):
        for node in ast.walk(ast.parse(block)) if language == "python" else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                assert find_spec(node.module) is not None, f"{page_id(page)} imports {node.module}"
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert find_spec(module) is not None, f"{page_id(page)} runs {module}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_topic_is_one_of_ours(page: Path) -> None:
    assert set(re.findall(r"kpi\.\w+\.v\d", page.read_text("utf-8"))) <= set(Topics().all())


def test_the_settings_table_is_complete() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)?)`", row)}
    sections = {name.partition(".")[0] for name in settings()}
    assert settings() <= named
    assert {name for name in named if name.partition(".")[0] in sections} <= settings()


def test_the_list_of_metrics_is_complete() -> None:
    for file in (ROOT / "pipeline" / "telemetry").glob("*metrics.py"):
        __import__(f"pipeline.telemetry.{file.stem}")
    ours = {
        family.name for family in prometheus_client.REGISTRY.collect() if family.name.startswith("bkdms_")
    }
    pages = [page.read_text("utf-8") for page in PAGES]
    operations = (ROOT / "docs" / "operations.md").read_text("utf-8")

    def named(text: str) -> set[str]:
        found = {METRIC_SUFFIX.sub("", name) for name in re.findall(r"bkdms_(?:\w+)", text)}
        return found - set(DatabaseRole) - {ADMIN_ROLE} - STORE_NAMES

    assert ours == named(operations)
    assert all(named(text) <= ours for text in pages)


def test_every_log_event_is_told() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "pipeline").rglob("*.py"))
    events = set(re.findall(r"\b_log\.(?:debug|info|warning|error)\(\s*\"(\w+)\"", source))
    logs = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## Logs")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in logs.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == events


def test_every_halt_has_a_remedy() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named = {code for row in rows for code in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert halting_codes() - named == set()


def test_every_outcome_has_its_number() -> None:
    text = (ROOT / "docs" / "formats.md").read_text("utf-8")
    assert [str(o.value) for o in Outcome if f"{o.value} {o.label}" not in " ".join(text.split())] == []


def test_the_conformance_page_is_what_its_program_makes_of_claims_and_results() -> None:
    made = conformance.text(conformance.claims(), read_results(conformance.RESULTS.read_text("utf-8")))
    assert conformance.PAGE.read_text("utf-8") == made, "run make conformance"


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    files = {file.name for file in (ROOT / "docs" / "decisions").glob("*.md")}
    assert files == set(re.findall(r"decisions/([\w-]+\.md)", index))
