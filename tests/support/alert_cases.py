"""For each alert: series under which it fires, with what it says, and series under which it keeps quiet."""

from typing import Final

from tests.support.alert_cases_chain import CHAIN_CASES
from tests.support.alert_cases_flow import INTAKE, PLATFORM, SITES
from tests.support.alert_cases_programs import PROGRAMS, SURROUNDINGS

CASES: Final = (*PROGRAMS, *SURROUNDINGS, *CHAIN_CASES, *INTAKE, *PLATFORM, *SITES)
