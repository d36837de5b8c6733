"""The supervisor's children: ready, restarted, ended, never orphaned."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ops.child import ChildSpec, ChildState, ChildStatus
from ops.supervisor import Supervisor, read_children
from pipeline.core.errors import ConfigError, TransientError

PATIENCE_S = 20.0
SLEEPER = (sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(600)")


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.02)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor that ends with the test."""
    made = Supervisor(tmp_path)
    yield made
    made.close()


def spec(tmp_path: Path, name: str = "sleeper", argv: tuple[str, ...] = SLEEPER, **more: object) -> ChildSpec:
    """A child that logs to the test's folder and is ready when it has said something."""
    log = tmp_path / f"{name}.log"
    settings = {"probe": lambda: log.exists() and b"awake" in log.read_bytes()} | more
    return ChildSpec(name=name, argv=argv, log_file=log, **settings)  # type: ignore[arg-type]  # as the caller gives


def only(supervisor: Supervisor) -> ChildStatus:
    """The status of the only child."""
    (status,) = supervisor.children()
    return status


def test_a_killed_child_stays_dead_until_it_is_restarted(supervisor: Supervisor, tmp_path: Path) -> None:
    """What a demonstration kills does not come back by itself, and comes back when asked."""
    supervisor.start(spec(tmp_path))
    first = only(supervisor).pid
    supervisor.kill("sleeper")
    assert only(supervisor).state is ChildState.STOPPED
    supervisor.restart("sleeper")
    second = only(supervisor).pid
    assert second not in {None, first}


def test_a_crashed_child_is_run_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """A child that others kill is restarted, and counted."""
    supervisor.start(spec(tmp_path))
    pid = only(supervisor).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: only(supervisor).restarts == 1 and only(supervisor).state is ChildState.RUNNING)
    assert only(supervisor).pid != pid


def test_a_child_that_is_not_restarted_is_reported_as_crashed(supervisor: Supervisor, tmp_path: Path) -> None:
    """Its exit code is kept, for whoever asks."""
    failing = (sys.executable, "-c", "raise SystemExit(3)")
    supervisor.start(spec(tmp_path, argv=failing, probe=None, is_restarted=False))
    until(lambda: only(supervisor).state is ChildState.CRASHED)
    assert only(supervisor).exit_code == 3


def test_a_child_that_never_gets_ready_names_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    """The message holds the last line of the log and the file."""
    silent = spec(tmp_path, probe=lambda: False, ready_timeout_s=0.5)
    with pytest.raises(TransientError, match=r"sleeper was not ready.*sleeper\.log"):
        supervisor.start(silent)


def test_a_program_that_is_not_there_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    """A child that ends before it was ready is reported at once with what it said."""
    absent = spec(tmp_path, argv=("/no/such/program",), is_restarted=False)
    with pytest.raises(TransientError, match=r"cannot run /no/such/program"):
        supervisor.start(absent)


def test_an_unknown_name_is_answered_with_the_known_ones(supervisor: Supervisor, tmp_path: Path) -> None:
    """A typing error in a name says what there is."""
    supervisor.start(spec(tmp_path))
    with pytest.raises(ConfigError, match="there are: sleeper"):
        supervisor.kill("slepper")


def test_a_deaf_child_is_killed_with_what_it_started(supervisor: Supervisor, tmp_path: Path) -> None:
    """Ending in order has a limit; then the whole process group goes."""
    deaf = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True);"
        "print('awake', flush=True); time.sleep(600)"
    )
    supervisor.start(spec(tmp_path, argv=(sys.executable, "-c", deaf), stop_timeout_s=0.5))
    grandchild = int((tmp_path / "sleeper.log").read_text().split()[0])
    pid = only(supervisor).pid
    supervisor.stop("sleeper")
    until(lambda: not is_alive(grandchild))
    assert pid is not None
    assert not is_alive(pid)


def test_higher_stages_end_first(supervisor: Supervisor, tmp_path: Path) -> None:
    """Workers say good-bye while what they work with still runs."""
    polite = (
        "import pathlib, signal, sys, time;"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('{0}').open('a').write('{1} '), sys.exit()));"
        "print('awake', flush=True); time.sleep(600)"
    )
    order = tmp_path / "order"
    for name, stage in (("server", 0), ("worker", 1)):
        code = polite.format(order, name)
        supervisor.start(spec(tmp_path, name=name, argv=(sys.executable, "-c", code), stage=stage))
    supervisor.close()
    assert order.read_text().split() == ["worker", "server"]


def test_other_programs_can_read_what_runs(supervisor: Supervisor, tmp_path: Path) -> None:
    """The file beside the children agrees with the supervisor."""
    supervisor.start(spec(tmp_path))
    (told,) = read_children(tmp_path)
    assert (told.name, told.pid) == ("sleeper", only(supervisor).pid)


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    """SIGKILL gives no chance to clean up; the kernel ends the children."""
    # The probe waits until the child itself runs: one that is only about to start would notice by itself.
    code = (
        "import sys, time; from pathlib import Path; from ops.child import ChildSpec;"
        "from ops.supervisor import Supervisor; folder = Path(sys.argv[1]); log = folder / 'log';"
        "argv = (sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)');"
        "s = Supervisor(folder); s.start(ChildSpec('c', argv, log, probe=lambda: log.stat().st_size > 0));"
        "print(s.children()[0].pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    until(lambda: not is_alive(child))


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.faults
def test_a_log_does_not_grow_for_ever(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor moves a long log aside while its writer goes on."""
    monkeypatch.setattr("ops.supervisor.LOOK_AT_LOGS_S", 0.1)
    talker = "import time\nwhile True: print('awake', 'x' * 1_000_000, flush=True); time.sleep(0.01)"
    supervisor.start(spec(tmp_path, argv=(sys.executable, "-c", talker)))
    old = tmp_path / "sleeper.log.1"
    until(old.exists)
    assert only(supervisor).state is ChildState.RUNNING
