"""The site's commands and how its agent is put together from settings."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.adapters.keystore import save_key
from pipeline.adapters.spool import SqliteSpool
from pipeline.apps.cli import main
from pipeline.apps.site_agent import granted_mapping, open_site_agent, site_pace, site_terms
from pipeline.config import load_settings
from pipeline.config.sections import SiteSettings
from pipeline.core.delivery import Patience
from pipeline.core.errors import ConfigError
from pipeline.core.names import MAX_TIME_MS, site_id_text
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.signing import Ed25519Signer
from pipeline.core.site_head import SiteHeadDocument, parse_site_head
from pipeline.core.state import Offer
from pipeline.services.access import AccessAnswer, write_answer
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
            "reading_keys": folder / "reading",
        }
    )


def answer(site: TestSite = SITE, *, valid_to: int = MAX_TIME_MS, key: bytes | None = None) -> AccessAnswer:
    offers = (Offer(1, site.platform_key.public, valid_to),)
    site_key = key or site.signer.public.fingerprint
    indicators = ("LOCAL:TRAFFIC_SPEED",)
    return AccessAnswer(
        site.chain, site.name, site_key, (site.suite,), indicators, (), offers, bytes(32), 0, MAX_TIME_MS
    )


def test_the_answer_settles_suite_and_reader(tmp_path: Path) -> None:
    terms = site_terms(site_settings(tmp_path, SITE), LEDGER.chain.world.genesis, answer(), SITE.signer)
    assert terms == terms_of(SITE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (answer(LEDGER.chain.world.site(9)), "is the answer for"),
        (answer(key=bytes(32)), "another signing key"),
        (replace(answer(), offers=()), "offers no key"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(tmp_path: Path, given: AccessAnswer, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        site_terms(site_settings(tmp_path, SITE), LEDGER.chain.world.genesis, given, SITE.signer)


def granted_files(folder: Path, *indicators: str) -> Path:
    """Write all that an agent opens, with a mapping that yields ``indicators``; return the settings file."""
    world = LEDGER.chain.world
    (folder / "genesis.json").write_bytes(world.genesis.raw)
    assert isinstance(SITE.signer, Ed25519Signer)
    save_key(folder / "key.json", SITE.signer)
    (folder / "access.json").write_bytes(write_answer(answer(), world.registrar))
    (folder / "rows.csv").write_text("t,u,v0,v1,v2\n")
    values = "".join(
        f'[[site.mapping.values]]\ncolumn = "v{number}"\nindicator = "{indicator}"\nunit_column = "u"\n'
        for number, indicator in enumerate(indicators)
    )
    file = folder / "bkdms.toml"
    file.write_text(
        'genesis = "genesis.json"\n[kafka]\nbootstrap = "127.0.0.1:1"\n[api]\nurl = "https://127.0.0.1:1"\n'
        f'[site]\ncountry = "{SITE.name.country}"\ncity = "{SITE.name.city}"\n'
        f'site_id = "{site_id_text(SITE.name.site_id)}"\nsource = "rows.csv"\nkey = "key.json"\n'
        'access = "access.json"\nspool = "spool.sqlite"\nspool_key = "keys/spool.key"\n'
        '[site.mapping]\nsensor = "s"\nsource = "test"\nquality = "not_traceable"\n'
        f'[site.mapping.time]\ncolumn = "t"\n{values}'
    )
    return file


def test_a_mapping_that_was_granted_is_taken(tmp_path: Path) -> None:
    site = load_settings(granted_files(tmp_path, "LOCAL:TRAFFIC_SPEED")).site
    assert [rule.indicator for rule in granted_mapping(site, answer().indicators).values] == [
        "LOCAL:TRAFFIC_SPEED"
    ]


async def test_a_mapping_that_yields_what_was_not_granted_is_refused_before_anything_is_spooled(
    tmp_path: Path,
) -> None:
    file = granted_files(tmp_path, "LOCAL:TRAVEL_TIME", "LOCAL:TRAFFIC_SPEED", "LOCAL:TRAFFIC_OCCUPANCY")
    with pytest.raises(ConfigError) as refused:
        async with open_site_agent(load_settings(file)):
            pass
    assert refused.value.code == "config.not_granted"
    assert "yields LOCAL:TRAVEL_TIME, LOCAL:TRAFFIC_OCCUPANCY, not granted" in str(refused.value)
    assert "ask the registrar" in str(refused.value)
    assert "remove its column" in str(refused.value)
    assert not (tmp_path / "spool.sqlite").exists()


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
