"""Access documents for tests: made at a fixed moment, without chance."""

from pipeline.core.genesis import Genesis
from pipeline.core.names import MAX_TIME_MS
from pipeline.services.access import Moment, write_request
from pipeline.services.registration import Reply
from tests.support.world import NOW_MS, TestSite, secret

MOMENT = Moment(secret("nonce"), NOW_MS)
REPLY = Reply(secret("request"), NOW_MS, MAX_TIME_MS)


def request_of(
    genesis: Genesis,
    site: TestSite,
    *indicators: str,
    moment: Moment = MOMENT,
    former: TestSite | None = None,
) -> bytes:
    """Return a site's request without a token; ``former`` has the key that it replaces."""
    wanted = indicators or ("LOCAL:TRAFFIC_SPEED",)
    return write_request(
        genesis,
        site.name,
        site.signer,
        suites=(site.suite,),
        indicators=wanted,
        moment=moment,
        former=None if former is None else former.signer,
    )
