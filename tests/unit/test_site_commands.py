"""The site's commands and how its agent is put together from settings."""

import asyncio
import json
from pathlib import Path

import pytest

from pipeline.adapters.spool import SqliteSpool
from pipeline.apps.cli import main
from pipeline.apps.site_agent import site_pace, site_terms
from pipeline.config import load_settings
from pipeline.config.sections import SiteSettings
from pipeline.core.delivery import Patience
from pipeline.core.errors import ConfigError
from pipeline.core.names import MAX_TIME_MS, site_id_text
from pipeline.core.receipt import Receipt, SiteHeadDocument, parse_site_head, verify_head
from pipeline.core.state import Offer
from pipeline.services.access import AccessAnswer
from pipeline.services.site_agent import Pace, Retry, SiteAgent
from tests.support.site_ledger import ListSource, SiteLedger, ledger_with, parts_of, terms_of
from tests.support.world import TestSite

LEDGER, SITE = ledger_with()


def site_settings(folder: Path, site: TestSite) -> SiteSettings:
    return SiteSettings.model_validate(
        {
            "country": site.name.country,
            "city": site.name.city,
            "site_id": site_id_text(site.name.site_id),
            "module_id": "module-1",
            "key": folder / "key.json",
            "access": folder / "access.json",
            "spool": folder / "spool.sqlite",
            "spool_key": folder / "keys" / "spool.key",
        }
    )


def answer(site: TestSite = SITE, *, valid_to: int = MAX_TIME_MS, key: bytes | None = None) -> AccessAnswer:
    offers = (Offer(1, site.platform_key.public, valid_to),)
    site_key = key or site.signer.public.fingerprint
    return AccessAnswer(site.chain, site.name, site_key, (site.suite,), ("LOCAL:TRAFFIC_SPEED",), (), offers)


def test_the_answer_settles_suite_and_reader(tmp_path: Path) -> None:
    terms = site_terms(site_settings(tmp_path, SITE), LEDGER.chain.world.genesis, answer(), SITE.signer)
    assert terms == terms_of(SITE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (answer(LEDGER.chain.world.site(9)), "is the answer for"),
        (answer(key=bytes(32)), "another signing key"),
        (answer(valid_to=1), "still valid"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(tmp_path: Path, given: AccessAnswer, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        site_terms(site_settings(tmp_path, SITE), LEDGER.chain.world.genesis, given, SITE.signer)


def test_the_settings_set_the_pace(tmp_path: Path) -> None:
    settings = site_settings(tmp_path, SITE).model_copy(
        update={"resend_after_ms": 5_000, "spool_limit_mb": 20, "packet_records": 9, "head_poll_ms": 250}
    )
    pace = site_pace(settings)
    assert pace.patience == Patience(5_000, 900_000)
    assert pace.collecting.budget_bytes == 20_000_000
    assert (pace.batching.max_records, pace.head_poll_s) == (9, 0.25)


def delivered(folder: Path) -> tuple[SiteLedger, TestSite, Path]:
    """Return a ledger, its site and the settings file of an agent that has delivered three records."""
    ledger, site = ledger_with()
    ledger.commits_when_asked = True
    spool = SqliteSpool(folder / "spool.sqlite", bytes(32), terms_of(site).binding)
    parts = parts_of(site, ledger, spool, ListSource([1, 2, 3]))
    agent = SiteAgent(parts, Retry(0.01, 0.02, lambda delay: delay), Pace(head_poll_s=0.01))
    asyncio.run(agent.run(until_committed=True))
    spool.close()
    (folder / "genesis.json").write_bytes(ledger.chain.world.genesis.raw)
    file = folder / "bkdms.toml"
    file.write_text(
        f'genesis = "genesis.json"\n[site]\ncountry = "{site.name.country}"\ncity = "{site.name.city}"\n'
        f'site_id = "{site_id_text(site.name.site_id)}"\nspool = "spool.sqlite"\n'
    )
    return ledger, site, file


def run_command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_verify_shows_the_receipt_and_writes_a_proof_that_needs_the_genesis_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, site, file = delivered(tmp_path)
    proof = tmp_path / "proof.json"
    assert run_command("--config", str(file), "site", "verify", "--json", "-o", str(proof)) == 0
    shown = json.loads(capsys.readouterr().out)["receipt"]
    assert (shown["site"], shown["sequence"]) == (str(site.name), 1)
    document = parse_site_head(proof.read_bytes())
    assert isinstance(document, SiteHeadDocument)
    assert isinstance(verify_head(ledger.chain.world.genesis, None, document), Receipt)


def test_verify_names_a_receipt_that_proves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, file = delivered(tmp_path)
    other = ledger_with(2)[0].chain.world
    (tmp_path / "genesis.json").write_bytes(other.genesis.raw.replace(b'"quorum": 3', b'"quorum": 4'))
    assert run_command("--config", str(file), "site", "verify") == 1
    assert "proves nothing" in capsys.readouterr().err


def test_a_run_without_its_files_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, file = delivered(tmp_path)
    assert run_command("--config", str(file), "site", "run", "--once") == 2
    error = capsys.readouterr().err
    assert "key.json" in error
    assert "Traceback" not in error
    assert load_settings(file).site.spool_key.parent != load_settings(file).site.spool.parent
