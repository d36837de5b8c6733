"""The control records that let the sites of a made-up chain in."""

from collections.abc import Iterator

from pipeline.apps.bench.plan import INDICATOR, BenchPlan, platform_key, site_name, site_signer
from pipeline.core.control import Body, Enrol, KeyOffer, control_id, possession_message, sign_control
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.signing import Signer


def enrolments(plan: BenchPlan, chain: bytes, registrar: Signer) -> Iterator[bytes]:
    """Yield the registrar's records, an enrolment and a key offer for each site, from its first sequence on."""
    sequence, previous = 0, bytes(32)
    for number in range(plan.sites):
        for body in _letting_in(plan, chain, number):
            sequence += 1
            raw = sign_control(chain, registrar, sequence, previous, body)
            previous = control_id(raw) or previous
            yield raw


def _letting_in(plan: BenchPlan, chain: bytes, number: int) -> Iterator[Body]:
    name, suite = site_name(number), plan.suite
    signer, offered = site_signer(number, suite), platform_key(number, suite).public
    public = signer.public
    possession = signer.sign(possession_message(chain, name, public.fingerprint))
    yield Enrol(name, public.algorithm, public.raw, possession, (suite,), (INDICATOR,))
    yield KeyOffer(name, 1, offered.algorithm, offered.raw, MAX_TIME_MS)
