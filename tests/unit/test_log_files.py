"""Log files of programs that never reopen them."""

from pathlib import Path

from ops.log_files import rotate


def test_a_long_log_begins_anew_under_its_writer(tmp_path: Path) -> None:
    """The writer keeps its handle; what it wrote is in the files, in order, and the oldest is dropped."""
    log = tmp_path / "worker.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(5):
            writer.write(b"%d" % number * 10)
            assert rotate(log, limit_bytes=9, old_logs=2)
        writer.write(b"new")
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"worker.log": b"new", "worker.log.1": b"4" * 10, "worker.log.2": b"3" * 10}


def test_a_short_or_missing_log_is_left_alone(tmp_path: Path) -> None:
    """Nothing is moved before the limit, and no file is made."""
    log = tmp_path / "worker.log"
    assert not rotate(log, limit_bytes=9)
    log.write_bytes(b"123456789")
    assert not rotate(log, limit_bytes=9)
    assert [path.name for path in tmp_path.iterdir()] == ["worker.log"]


def test_old_logs_are_private(tmp_path: Path) -> None:
    """As the log itself."""
    log = tmp_path / "worker.log"
    log.write_bytes(b"1234567890")
    assert rotate(log, limit_bytes=9)
    assert (tmp_path / "worker.log.1").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_refuses_stops_nothing(tmp_path: Path) -> None:
    """The log stays as it is until there is room again."""
    log = tmp_path / "worker.log"
    log.write_bytes(b"1234567890")
    (tmp_path / "worker.log.1").mkdir()
    (tmp_path / "worker.log.2").mkdir()
    (tmp_path / "worker.log.2" / "full").touch()
    assert not rotate(log, limit_bytes=9)
    assert log.read_bytes() == b"1234567890"
