"""Making assessments: the figures of series and sites in a cell, each with what it rests on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from pipeline.core.assess.formulas import FORMULAS
from pipeline.core.assess.model import PERCENT, Assessment, Cell, Finding, Kind
from pipeline.core.assess.nano import decimal_of, percent
from pipeline.core.assess.plan import CityPlan
from pipeline.core.assess.readings import unit_of, worst_quality
from pipeline.core.assess.summary import SeriesSummary, Share
from pipeline.core.assess.traces import traces_of

KIND_OF_SHARE: Final[Mapping[str, Kind]] = {
    "filled_slots": Kind.COMPLETENESS,
    "in_time": Kind.TIMELINESS,
    "meets_definition": Kind.VALIDITY,
    "stated_source": Kind.TRACEABILITY,
    "plausible_range": Kind.PLAUSIBILITY,
    "plausible_step": Kind.PLAUSIBILITY,
    "usable_slots": Kind.AVAILABILITY,
}
_OF_VALID: Final = (Kind.PLAUSIBILITY, Kind.AVAILABILITY)
"""Kinds that rest on valid values only."""


@dataclass(frozen=True, slots=True)
class Support:
    """What a figure rests on: sets of tracing codes, the worst quality code, and whether all of it is verified."""

    codes: tuple[frozenset[str], ...]
    quality: int
    verified: bool


def joined(parts: Iterable[Support]) -> Support:
    """Return what figures that rest on several parts rest on."""
    known = tuple(parts)
    return Support(
        tuple(codes for part in known for codes in part.codes),
        worst_quality(part.quality for part in known),
        bool(known) and all(part.verified for part in known),
    )


def of_valid(summary: SeriesSummary) -> Support:
    """Return the support that a series' valid values give."""
    return Support((summary.valid_codes,), summary.valid_quality, summary.sound)


def of_all(summary: SeriesSummary) -> Support:
    """Return the support that all rows of a series give."""
    return Support((summary.codes,), summary.quality, summary.sound and summary.all_valid)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a figure is about: a site (empty: the city), an indicator (empty: all) and its data point."""

    site_id: str = ""
    indicator: str = ""
    data_point: str = ""


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the assessments of one cell."""

    plan: CityPlan
    chain_id: str
    cell: Cell

    def value(
        self,
        subject: Subject,
        kind: Kind,
        formula: str,
        *,
        value: Fraction,
        unit: str,
        share: Share,
        support: Support,
        finding: Finding = Finding.NONE,
    ) -> Assessment:
        """Return one figure; ``value`` is rounded here and nowhere before."""
        return Assessment(
            self.chain_id,
            self.cell.country,
            self.cell.city,
            subject.site_id,
            subject.indicator,
            subject.data_point,
            kind,
            formula,
            self.cell.window,
            decimal_of(value),
            unit,
            share.achieved,
            share.possible,
            support.quality,
            support.verified,
            finding,
            traces_of(support.codes),
        )

    def share(
        self,
        subject: Subject,
        kind: Kind,
        formula: str,
        *,
        share: Share,
        support: Support,
        finding: Finding = Finding.NONE,
    ) -> Assessment:
        """Return a figure that is so many of so many in per cent, noting where it is below the plan's limit."""
        value = percent(share.achieved, share.possible)
        limit = self.plan.limit(kind)
        if finding is Finding.NONE and limit is not None and value < Fraction(limit):
            finding = Finding.BELOW_LIMIT
        return self.value(
            subject,
            kind,
            formula,
            value=value,
            unit=PERCENT,
            share=share,
            support=support,
            finding=finding,
        )


def series_figures(make: Maker, summary: SeriesSummary) -> Iterator[Assessment]:
    """Return quality, availability and values of one series."""
    subject = Subject(*summary.series[2:])
    for formula, share in summary.shares.items():
        kind = KIND_OF_SHARE[formula]
        support = of_valid(summary) if kind in _OF_VALID else of_all(summary)
        yield make.share(subject, kind, formula, share=share, support=support)
    counts = summary.shares.get("meets_definition", Share(0, 0))
    for formula, value in summary.values.items():
        unit = FORMULAS[formula].unit or unit_of(summary.series)
        yield make.value(
            subject, Kind.VALUE, formula, value=value, unit=unit, share=counts, support=of_valid(summary)
        )


def availability_figures(make: Maker, summaries: Sequence[SeriesSummary]) -> Iterator[Assessment]:
    """Return the availability of each site and of the city: all its series' slots together."""
    slotted = [summary for summary in summaries if "usable_slots" in summary.shares]
    for site_id in sorted({summary.series.site_id for summary in slotted}):
        yield _availability(
            make, Subject(site_id), [item for item in slotted if item.series.site_id == site_id]
        )
    if slotted:
        yield _availability(make, Subject(), slotted)


def _availability(make: Maker, subject: Subject, summaries: Sequence[SeriesSummary]) -> Assessment:
    shares = [summary.shares["usable_slots"] for summary in summaries]
    total = Share(sum(share.achieved for share in shares), sum(share.possible for share in shares))
    support = joined(map(of_valid, summaries))
    return make.share(subject, Kind.AVAILABILITY, "usable_slots", share=total, support=support)
