"""Real site agents for benchmarks: let in with keys of their own, and the rows that they read."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

from ops.tls.site_principal import site_principal
from pipeline.apps.bench.plan import INDICATOR, MODULE
from pipeline.apps.desk import open_desk
from pipeline.apps.local.deployment import LocalDeployment
from pipeline.apps.local.settings_file import write_settings
from pipeline.config import load_settings
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS, SiteName, site_id_text
from pipeline.core.sealing import SEALING_ALGORITHM, SIGNING_ALGORITHM, Suite
from pipeline.services.access import NONCE_BYTES, Moment, read_request, write_answer, write_request
from pipeline.services.registrar import enrolment, key_offer
from pipeline.services.registration import Reply, answer_for

_ANSWER_VALID_MS: Final = 86_400_000
_VALUES: Final = 8_000
_MS_PER_S: Final = 1000
COLUMNS: Final = "time,speed"
MAPPING: Final = {
    "sensor": "sensor-1",
    "source": "bench",
    "quality": "accurate_measurement",
    "time": {"column": "time", "format": "iso8601"},
    "values": [{"column": "speed", "indicator": INDICATOR, "unit": "HM"}],
}


@dataclass(frozen=True, slots=True)
class LiveSite:
    """A site that was let in: the settings file of its agent, and its folder with keys, answer, source and spool."""

    name: SiteName
    settings: Path

    @property
    def source(self) -> Path:
        """The CSV file that the agent reads."""
        return self.settings.with_name("source.csv")

    @property
    def spool(self) -> Path:
        """The agent's spool, there once the agent has begun."""
        return self.settings.with_name("spool.sqlite")

    def tell(self, rows: str) -> None:
        """Append rows to the source."""
        with self.source.open("a", encoding="ascii") as file:
            file.write(rows)


async def let_in(
    deployment: LocalDeployment, names: Sequence[SiteName], values: int, suite: Suite
) -> list[LiveSite]:
    """Enrol sites whose packets are full with ``values`` records; their sources hold a head line alone."""
    algorithm = SIGNING_ALGORITHM[suite]
    async with open_desk(load_settings(deployment.settings_file)) as desk:
        now_ms = time.time_ns() // 1_000_000
        moment = Moment(token_bytes(NONCE_BYTES), now_ms)
        requests = []
        for name in names:
            folder = _folder(deployment, name)
            signer = deployment.keys.signer_or_new(folder / "key.json", Use.SITE, algorithm)
            raw = write_request(
                desk.genesis, name, signer, suites=(suite,), indicators=(INDICATOR,), moment=moment
            )
            request = read_request(raw, desk.genesis)
            key = desk.make_key(SEALING_ALGORITHM[suite])
            await desk.desk.issue(enrolment(request), key_offer(name, 1, key, MAX_TIME_MS))
            requests.append((name, request))
        state = await desk.desk.settle()
        for name, request in requests:
            reply = Reply(request.digest, now_ms, now_ms + _ANSWER_VALID_MS)
            answer = write_answer(answer_for(state, name, reply), desk.signer)
            (_folder(deployment, name) / "access.json").write_bytes(answer)
    return [_site(deployment, name, values) for name in names]


def source_rows(begins_ms: int, first: int, count: int) -> str:
    """Return ``count`` rows of a source from row ``first`` on, one a second from ``begins_ms`` on, as text."""
    numbers = range(first, first + count)
    times = (datetime.fromtimestamp(begins_ms // _MS_PER_S + number, UTC).isoformat() for number in numbers)
    return "".join(
        f"{time_text},{number % _VALUES / 100:.2f}\n"
        for time_text, number in zip(times, numbers, strict=True)
    )


def _folder(deployment: LocalDeployment, name: SiteName) -> Path:
    folder = deployment.data_dir / "sites" / name.site_id.hex()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _site(deployment: LocalDeployment, name: SiteName, values: int) -> LiveSite:
    folder = _folder(deployment, name)
    site = LiveSite(name, write_settings(folder / "bkdms.toml", _settings(deployment, name, folder, values)))
    site.source.write_text(COLUMNS + "\n", "ascii")
    return site


def _settings(deployment: LocalDeployment, name: SiteName, folder: Path, values: int) -> dict[str, Any]:
    principal = site_principal(name)
    certificate = deployment.table(deployment.stack.credentials(principal.role, principal.name))
    return {
        "data_dir": folder,
        "genesis": deployment.chain.genesis_file,
        "keys": deployment.keys_table(),
        "kafka": deployment.kafka_table(principal.role, principal.name),
        "api": {"url": deployment.api_url, **certificate},
        "site": {
            "country": name.country,
            "city": name.city,
            "site_id": site_id_text(name.site_id),
            "module_id": MODULE,
            "key": folder / "key.json",
            "access": folder / "access.json",
            "spool": folder / "spool.sqlite",
            "source": folder / "source.csv",
            "packet_records": values,
            "mapping": MAPPING,
        },
    }
