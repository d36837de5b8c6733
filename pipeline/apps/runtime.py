"""The runtime of stream workers: Faust starts and stops them, handles signals, and serves metrics and health.

Records do not pass through Faust (see docs/decisions/0002-faust-runtime.md): a worker is a ``mode.Service``
with Kafka clients of its own. ``LoopService`` makes one of anything that opens, steps and closes. A worker may have
an agent of Faust's beside it, which tells it that there is something to do.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import faust
import mode
from faust.app.base import BootStrategy

from pipeline.adapters.kafka import KafkaConnection
from pipeline.adapters.tls import client_context
from pipeline.apps.listening import Listener, ListeningBoot, add_agent, listening_settings
from pipeline.apps.pages import Health, Watchers, add_pages, page_context
from pipeline.apps.upkeep import Upkeep
from pipeline.apps.worker_end import END_TIMEOUT_S, WorkerEnd
from pipeline.config import Settings
from pipeline.core.errors import ConfigError, ConflictError, TransientError
from pipeline.services.ending import end
from pipeline.services.garbage import look_seldom
from pipeline.telemetry import metrics
from pipeline.telemetry.logs import logger

DRAIN_TIMEOUT_S: Final = 15.0
_FIRST_BACK_OFF_S: Final = 0.2
_LONGEST_BACK_OFF_S: Final = 10.0
_LONGEST_STEP_S: Final = 180.0
_NO_PORT: Final = 1  # Faust wants one though nothing is served

_log = logger(__name__)
# Else mode's services would use our module's logger, and tell what ``run_worker`` tells in one line.
_MODE_LOGGER = logging.getLogger("mode.bkdms")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker is run; without ``worker.metrics_port`` in its settings it serves no metrics and no health pages.

    ``data_dir`` is the worker's own folder; ``upkeep`` goes on beside the work; ``connection`` is for Faust's own
    Kafka client, which only a worker with a ``listener`` starts. An end takes ``end_timeout_s`` at most.
    """

    name: str
    settings: Settings
    connection: KafkaConnection
    data_dir: Path
    upkeep: Upkeep
    listener: Listener | None = None
    end_timeout_s: float = END_TIMEOUT_S


class Loop(Protocol):
    """Work that goes on for ever in bounded steps."""

    @property
    def is_ready(self) -> bool:
        """Whether it is doing its work."""

    async def open(self) -> None:
        """Get ready for the first step; repeated after a ``TransientError``."""

    async def step(self) -> object:
        """Do the next piece and leave everything consistent; repeated after a ``TransientError``."""

    async def close(self) -> None:
        """Let everything go; no step is under way."""


class DeferredLoop:
    """A loop that is made when it is opened, so that what is away then is waited for as it is later.

    ``make`` may raise ``TransientError`` until it succeeds.
    """

    def __init__(self, make: Callable[[], Loop]) -> None:
        self._make = make
        self._loop: Loop | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it was made and does its work."""
        return self._loop is not None and self._loop.is_ready

    async def open(self) -> None:
        """Make it, once, and get it ready."""
        if self._loop is None:
            self._loop = self._make()
        await self._loop.open()

    async def step(self) -> object:
        """Do the next piece of an opened loop."""
        assert self._loop is not None  # noqa: S101  opened first
        return await self._loop.step()

    async def close(self) -> None:
        """Let everything go that was made."""
        if self._loop is not None:
            await self._loop.close()


class LoopService(mode.Service):
    """Runs a loop until the worker stops: steps end in peace, passing faults are retried, others crash."""

    def __init__(self, loop: Loop, **service: Any) -> None:
        self._work = loop
        self._task: asyncio.Task[None] | None = None
        self._back_off_s = 0.0
        self._stepped_s = time.monotonic()
        super().__init__(**service)

    @property
    def is_ready(self) -> bool:
        """Whether the loop does its work and its last step succeeded."""
        return self._work.is_ready and not self._back_off_s and not self.should_stop

    @property
    def is_alive(self) -> bool:
        """Whether steps still come to an end."""
        return time.monotonic() - self._stepped_s < _LONGEST_STEP_S and not self.crashed

    async def on_start(self) -> None:
        """Begin to work; the worker is up before the first step."""
        self._task = asyncio.create_task(self._run())
        self.add_future(self._task)

    async def on_stop(self) -> None:
        """Wait for the step under way, then close."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=DRAIN_TIMEOUT_S)
            if not self._task.done():
                _log.warning("step_cut_short", after_s=DRAIN_TIMEOUT_S)
                await end({self._task})
        with contextlib.suppress(TransientError):
            await self._work.close()

    async def _run(self) -> None:
        try:
            while not self.should_stop and not await self._attempt(self._work.open):
                pass
            while not self.should_stop:
                await self._attempt(self._work.step)
        except asyncio.CancelledError:
            # That nobody asked for; mode would take it for a peaceful end and go on without us.
            if not self.should_stop:
                raise RuntimeError("a step was cancelled from inside") from None
            raise

    async def _attempt(self, action: Callable[[], Any]) -> bool:
        """Do something once; wait after a passing fault, longer each time, and say that it failed."""
        try:
            await action()
        except (TransientError, ConflictError) as error:
            metrics.WORKER_RETRIES.labels(error.code).inc()
            self._back_off_s = min(_LONGEST_BACK_OFF_S, 2 * self._back_off_s or _FIRST_BACK_OFF_S)
            _log.warning("retrying", code=error.code, reason=str(error), after_s=self._back_off_s)
            self._stepped_s = time.monotonic()
            await self.sleep(self._back_off_s)
            return False
        self._back_off_s = 0.0
        self._stepped_s = time.monotonic()
        return True


class _Boot(BootStrategy):
    """Web, sensors and services, without Faust's own Kafka clients."""

    enable_kafka = False


class _App(faust.App):
    BootStrategy: ClassVar[type[BootStrategy]] = _Boot
    logger = _MODE_LOGGER

    def _crash(self, reason: BaseException) -> None:
        """Crash without the services below, which end in order as after a signal.

        Told to crash, the thread of Faust's consumer would end before the commit that its stop asks it for, and the
        stop would wait for that for ever.
        """
        self._crashed.set()
        self.crash_reason = reason


class _ListeningApp(_App):
    BootStrategy = ListeningBoot


class _Worker(faust.Worker):
    """Faust's worker without its banner, spinner and log set-up."""

    logger = _MODE_LOGGER

    def __init__(self, app: faust.App, options: WorkerOptions) -> None:
        super().__init__(app, quiet=True, override_logging=False, redirect_stdouts=False)
        self.spinner = None
        self.end = WorkerEnd(options.name, self.loop, options.end_timeout_s)

    def _crash(self, reason: BaseException) -> None:
        self.end.begin(reason)
        super()._crash(reason)

    def on_worker_shutdown(self) -> None:
        """Begin the end of a worker that nothing told to stop, too: one that did not start."""
        self.end.begin()
        super().on_worker_shutdown()

    def install_signal_handlers(self) -> None:
        """Take SIGINT and SIGTERM; not mode's SIGUSR1, which would write local variables, keys too, to the log."""
        for taken, handle in ((signal.SIGINT, self._on_sigint), (signal.SIGTERM, self._on_sigterm)):
            self.loop.add_signal_handler(taken, handle)
            # Heard in an event loop that is blocked, too; the loop hears of signals in its own way.
            signal.signal(taken, lambda *_: self.end.begin())
        for ignored in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(ignored, signal.SIG_IGN)


def run_worker(service_factory: Callable[[], mode.Service], options: WorkerOptions) -> int:
    """Run a service until SIGTERM, SIGINT or its own crash; return the exit code of the process.

    The service is made when the event loop runs. 0: stopped cleanly; 1: crashed; 2: a setting is wrong. The process
    is to end then: ``end_timeout_s`` after a stop or a crash began it is ended, wherever it is.

    Raises:
        ConfigError: the data folder can't be used, or the pages can't be served as the settings say.
    """
    # Faust and mode tell a crash in several lines each; one of ours says it.
    for name in ("faust", "mode"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    app = _application(options)
    running: list[mode.Service] = []

    async def start_service() -> None:
        running.append(service_factory())
        running[0].log.logger = _MODE_LOGGER
        await app.add_runtime_dependency(running[0])
        look_seldom()
        port = options.settings.worker.metrics_port
        _log.info("worker_started", worker=options.name, metrics_port=port)

    async def keep_up() -> None:
        await options.upkeep.run()

    app.task(start_service)
    app.task(keep_up)
    if options.listener is not None:
        add_agent(app, options.listener)
    if options.settings.worker.metrics_port is not None:
        health = Health(
            lambda: not app.crashed and all(getattr(one, "is_alive", not one.crashed) for one in running),
            lambda: not app.should_stop and _is_ready(running) and options.upkeep.is_good,
        )
        add_pages(app, health, Watchers.of(options.settings))
    worker = _Worker(app, options)
    with contextlib.suppress(SystemExit):
        worker.execute_from_commandline()
    return worker.end.tell()


def _application(options: WorkerOptions) -> faust.App:
    try:
        options.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the worker's folder {options.data_dir} can't be used: {error.strerror}"
        ) from error
    listener = options.listener
    make, settings = (_App, {}) if listener is None else (_ListeningApp, listening_settings())
    return make(
        f"bkdms-{options.name}" if listener is None else listener.group,
        broker=[f"kafka://{server}" for server in options.connection.bootstrap.split(",")],
        broker_credentials=faust.SSLCredentials(context=client_context(options.connection.tls)),
        datadir=str(options.data_dir),
        store="memory://",
        cache="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        **_web(options.settings),
        web_stats_enabled=False,
        web_graph_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        **settings,
    )


def _web(settings: Settings) -> dict[str, Any]:
    """Return Faust's settings of the web server."""
    worker = settings.worker
    if worker.metrics_port is None:
        return {"web_enabled": False, "web_port": _NO_PORT}
    return {
        "web_enabled": True,
        "web_bind": worker.metrics_host,
        "web_host": worker.metrics_host,
        "web_port": worker.metrics_port,
        "web_ssl_context": page_context(settings),
    }


def _is_ready(running: list[mode.Service]) -> bool:
    return bool(running) and all(getattr(service, "is_ready", service.started) for service in running)
