"""A worker for tests of the runtime: ``run_loop MODE PORT FOLDER``; what is done goes to ``FOLDER/notes``."""

import asyncio
import socket
import sys
import threading
from pathlib import Path

from pipeline.adapters.kafka import KafkaConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.runtime import LoopService, WorkerOptions, run_worker
from pipeline.apps.upkeep import upkeep_of
from pipeline.apps.worker_end import END_TIMEOUT_S
from pipeline.config import Settings
from pipeline.core.errors import ConfigError, IntegrityError, TransientError
from pipeline.telemetry import logs

CRASHES: dict[str, BaseException] = {
    "integrity": IntegrityError("two certificates at height 7; run bkdms verify", code="fork"),
    "config": ConfigError("set this", code="config.setting"),
    "defect": ZeroDivisionError("a defect"),
    "stray": asyncio.CancelledError(),
}
UNENDING = ("endless", "blocked", "left thread")


class NotingLoop:
    """Writes down what is done with it, and behaves as its mode says."""

    def __init__(self, mode: str, notes: Path) -> None:
        self._mode, self._notes = mode, notes
        self._steps = 0

    @property
    def is_ready(self) -> bool:
        return self._steps > 0

    async def open(self) -> None:
        self._note("open")

    async def step(self) -> None:
        self._steps += 1
        crash = self._mode.removeprefix("endless ")
        if crash in CRASHES:
            raise CRASHES[crash]
        if self._mode == "flaky" and self._steps <= 2:
            raise TransientError("the broker is away", code="kafka")
        if self._mode == "blocked":
            self._note("blocked")
            threading.Event().wait()
        self._note("begin")
        await asyncio.sleep(0.5 if self._mode == "slow" else 0.05)
        self._note("end")

    async def close(self) -> None:
        self._note("close")
        if self._mode.startswith("endless"):
            await asyncio.Event().wait()

    def _note(self, what: str) -> None:
        with self._notes.open("a") as file:
            file.write(f"{what}\n")


def main() -> int:
    mode, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    logs.configure("info")
    stray = socket.create_server(("127.0.0.1", 0)) if mode == "stray socket" else None
    tls = TlsFiles(folder / "w/ca.pem", folder / "w/certificate.pem", folder / "w/key.pem")
    settings = Settings.model_validate(
        {
            "data_dir": folder / "unused",
            "worker": {"metrics_port": port or None},
            "kafka": {"ca": tls.ca, "certificate": tls.certificate, "key": tls.key},
            "transport": {"insecure_metrics": mode == "plain"},
            "pki": {"revoked": folder / "revoked.json"},
        }
    )
    options = WorkerOptions(
        "w",
        settings,
        KafkaConnection("127.0.0.1:1", tls, "w"),
        folder / "data",
        upkeep_of("validator", settings),
        # Short where the end does not come by itself.
        end_timeout_s=2.0 if mode.startswith(UNENDING) else END_TIMEOUT_S,
    )
    code = run_worker(lambda: LoopService(NotingLoop(mode, folder / "notes")), options)
    if stray is not None:
        stray.close()
    if mode == "left thread":
        threading.Thread(target=threading.Event().wait, name="left").start()
    return code


if __name__ == "__main__":
    sys.exit(main())
