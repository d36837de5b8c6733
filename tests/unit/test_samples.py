"""The bundled real data: every row of every file becomes the record it should be."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from connectors.records import QualityCode
from connectors.samples import SampleSite, sample_folder, sample_sites
from connectors.sources.base import START
from pipeline.core.record import decode_record, encode_record
from schemas.catalogue import catalogue
from tests.vectors import generate_samples

GOLDEN = json.loads((Path(generate_samples.__file__).with_name("samples.json")).read_text("utf-8"))
SITES = pytest.mark.parametrize("sample", sample_sites(), ids=lambda sample: sample.name)


def test_golden_vectors_are_those_of_the_independent_reader() -> None:
    assert (
        Path(generate_samples.__file__).with_name("samples.json").read_text("utf-8")
        == generate_samples.text()
    )


def test_sites_and_golden_vectors_name_the_same_sites() -> None:
    assert {sample.name for sample in sample_sites()} == set(GOLDEN)


@SITES
def test_every_row_of_a_site_normalises_to_the_independent_reading(sample: SampleSite) -> None:
    batch = sample.source().read(START, 10_000)
    found = [(record.time_ms, value.exact) for record in batch.records for value in record.values]
    golden = GOLDEN[sample.name]
    assert (batch.rejected, batch.at_end) == ((), True)
    assert batch.rows == len(batch.records) + batch.skipped
    assert len(found) == golden["count"]
    assert (found[0], found[-1]) == tuple(
        (time, Decimal(text)) for time, text in (golden["first"], golden["last"])
    )
    assert sum(value for _, value in found) == Decimal(golden["sum"])
    assert generate_samples.digest(found) == golden["sha256"]


def test_all_sites_together_give_16705_values() -> None:
    total = sum(len(r.values) for s in sample_sites() for r in s.source().read(START, 10_000).records)
    assert total == 16_705


@SITES
def test_a_record_of_a_site_survives_the_record_encoding(sample: SampleSite) -> None:
    record = sample.source().read(START, 10_000).records[0].at(sample.site)
    assert decode_record(encode_record(record)) == record


@SITES
def test_a_site_names_a_real_country_and_a_scheme_for_its_city(sample: SampleSite) -> None:
    assert sample.site.country in catalogue().countries
    assert sample.site.city.split(":")[0] in {"unlocode", "iso3166-2", "unpublished"}


def test_site_ids_are_unique_unique_local_ipv6_addresses() -> None:
    ids = [sample.site.site_id for sample in sample_sites()]
    assert len(set(ids)) == len(ids) >= 12
    assert all(site_id[0] == 0xFD for site_id in ids)


def test_sites_feed_at_least_six_indicators_all_local() -> None:
    codes = {code for sample in sample_sites() for code in sample.indicators}
    assert len(codes) >= 6
    assert all(code.startswith("LOCAL:") for code in codes)


def test_sites_whose_unit_is_assumed_say_so_in_the_quality_code() -> None:
    assumed = {s.name for s in sample_sites() if s.mapping.quality is QualityCode.ASSUMPTION_ESTIMATE}
    assert assumed == {"twin-cities-travel-time-387", "twin-cities-travel-time-451", "twin-cities-speed-6005"}


def test_water_readings_on_both_sides_of_the_clock_change_are_one_real_hour_apart() -> None:
    sample = next(sample for sample in sample_sites() if sample.name == "italy-water-main")
    times = [record.time_ms for record in sample.source().read(START, 10_000).records]
    # 2022-03-27T01:00+01:00 is midnight GMT; the next row says 03:00+02:00.
    before = times.index(1_648_339_200_000)
    assert times[before + 1] == 1_648_342_800_000


def test_every_bundled_file_has_an_entry_in_the_attribution() -> None:
    attribution = (sample_folder() / "ATTRIBUTION.md").read_text("utf-8")
    names = [
        path.name for path in sample_folder().iterdir() if path.suffix == ".csv" or "LICENSE" in path.name
    ]
    assert len(names) == 10
    assert [name for name in names if name not in attribution] == []
