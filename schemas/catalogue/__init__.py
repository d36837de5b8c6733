"""The indicator catalogue: ITU-T Y.4903 indicators, our ``LOCAL:`` ones, units and countries, as bundled data.

``catalogue()`` reads and checks the files once; see ``NOTICE.md`` for where they come from.
"""

import csv
from decimal import Decimal
from functools import cache
from importlib.resources import files

from schemas.catalogue.model import Catalogue, Direction, Indicator, Limits, read_indicators
from schemas.catalogue.units import Unit, UnitTable, read_units

__all__ = ["Catalogue", "Direction", "Indicator", "Limits", "Unit", "UnitTable", "catalogue"]


def _rows(name: str) -> list[dict[str, str]]:
    text = files("schemas.catalogue").joinpath(name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines(), strict=True))


@cache
def catalogue() -> Catalogue:
    """The bundled catalogue, read and checked once per process.

    Raises:
        ValueError: a bundled file contradicts itself or another; the message names the row.
    """
    units = read_units(_rows("units.csv"), _rows("unit_factors.csv"))
    indicators = read_indicators(
        _rows("indicators.csv"), _rows("local_indicators.csv"), _rows("data_points.csv"), units
    )
    special: dict[tuple[str, str, str], Decimal] = {}
    for row in _rows("special_conversions.csv"):
        key = (row["code"], row["data_point"], row["from_unit"])
        indicator = indicators.get(row["code"])
        if (
            indicator is None
            or indicator.limits_of(row["data_point"]) is None
            or row["from_unit"] not in units.units
        ):
            raise ValueError(f"special_conversions.csv: {key} names an unknown indicator, data point or unit")
        special[key] = Decimal(row["factor"])
    countries = {row["alpha2"]: row["name"] for row in _rows("iso3166-1.csv")}
    return Catalogue(indicators, units, special, countries)
