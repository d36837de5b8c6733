"""The access log: every line hangs on the one before, across files, crashes and restarts."""

import json
from pathlib import Path

import pytest

from pipeline.adapters.access_log_files import AccessLogFiles, log_files, read_lines
from pipeline.core.access_log import Access, LogCheck, LogHead, beginning, check_all, encode_line, line_hash
from pipeline.core.errors import ConfigError, IntegrityError, TransientError

CHAIN = bytes(32)


def access(number: int, who: str = "analyst:maria") -> Access:
    return Access(
        1_790_000_000_000 + number,
        who,
        "certificate",
        "127.0.0.1",
        "GET",
        "/v1/assessments",
        {"city": "unlocode:USMES", "indicator": f"LOCAL:{number}"},
        200,
        "answered",
    )


def opened(folder: Path, *, max_bytes: int = 1_000_000, keep: int = 64) -> AccessLogFiles:
    return AccessLogFiles(folder, CHAIN, max_bytes=max_bytes, keep=keep)


def written(folder: Path, count: int, *, max_bytes: int = 1_000_000, keep: int = 64) -> list[LogHead]:
    log = opened(folder, max_bytes=max_bytes, keep=keep)
    heads = []
    for number in range(count):
        log.append(access(number))
        heads.append(log.head)
    log.close()
    return heads


def lines(folder: Path) -> list[bytes]:
    return [line for file in log_files(folder) for line in read_lines(file)]


def problem(folder: Path, known: dict[int, bytes] | None = None) -> tuple[int, str] | None:
    return check_all(lines(folder), LogCheck(beginning(CHAIN), known or {}))


def test_the_hash_of_a_line_is_in_the_next(tmp_path: Path) -> None:
    heads = written(tmp_path, 3)
    found = lines(tmp_path)
    assert [json.loads(line)["n"] for line in found] == [1, 2, 3]
    assert json.loads(found[0])["previous"] == beginning(CHAIN).hash.hex()
    assert json.loads(found[2])["previous"] == line_hash(found[1]).hex() == heads[1].hash.hex()


def test_a_whole_log_over_several_files_checks(tmp_path: Path) -> None:
    heads = written(tmp_path, 40, max_bytes=2_000)
    assert len(log_files(tmp_path)) > 3
    check = LogCheck(beginning(CHAIN), {head.count: head.hash for head in heads[::10]})
    assert check_all(lines(tmp_path), check) is None
    assert (check.head, check.confirmed, check.missing()) == (heads[-1], 31, None)


@pytest.mark.parametrize("change", ["edit", "remove", "swap", "insert", "last"])
def test_a_changed_log_is_noticed(tmp_path: Path, change: str) -> None:
    heads = written(tmp_path, 10)
    found = lines(tmp_path)
    match change:
        case "edit":
            found[4] = found[4].replace(b"analyst:maria", b"analyst:mario")
        case "remove":
            del found[4]
        case "swap":
            found[4], found[5] = found[5], found[4]
        case "insert":
            found.insert(4, encode_line(heads[3], access(99)))
        case "last":
            found[9] = found[9].replace(b"200", b"403")
    log_files(tmp_path)[0].write_bytes(b"".join(found))
    assert problem(tmp_path, {10: heads[9].hash}) is not None


def test_a_log_written_anew_from_some_line_on_differs_from_the_head_in_the_ledger(tmp_path: Path) -> None:
    heads = written(tmp_path / "true", 6)
    log = opened(tmp_path / "false")
    for number in range(6):
        log.append(access(number, "analyst:mario" if number == 4 else "analyst:maria"))
    log.close()
    assert problem(tmp_path / "false") is None
    found = problem(tmp_path / "false", {6: heads[5].hash})
    assert found is not None
    assert (found[0], "ledger" in found[1]) == (6, True)


def test_a_log_cut_at_its_end_lacks_a_head_of_the_ledger(tmp_path: Path) -> None:
    heads = written(tmp_path, 6)
    check = LogCheck(beginning(CHAIN), {5: heads[4].hash})
    assert check_all(lines(tmp_path)[:3], check) is None
    assert check.missing() == 5


def test_the_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = written(tmp_path, 3)
    assert opened_head(tmp_path) == first[-1]
    written(tmp_path, 3)
    assert problem(tmp_path) is None


def opened_head(folder: Path) -> LogHead:
    log = opened(folder)
    log.close()
    return log.head


@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_line_that_a_crash_cut_off_is_dropped(tmp_path: Path, left: int) -> None:
    heads = written(tmp_path, 3)
    file = log_files(tmp_path)[0]
    whole = file.read_bytes()
    last = whole.rfind(b"\n", 0, -1) + 1
    file.write_bytes(whole[:last] + whole[last:][:left])
    assert opened_head(tmp_path) == heads[1]
    assert file.read_bytes() == whole[:last]


def test_a_crash_between_two_files_loses_nothing(tmp_path: Path) -> None:
    heads = written(tmp_path, 3)
    (tmp_path / "access-000000000004.jsonl").touch()
    assert opened_head(tmp_path) == heads[-1]
    written(tmp_path, 1)
    assert problem(tmp_path) is None


def test_only_as_many_files_stay_as_are_asked_for(tmp_path: Path) -> None:
    written(tmp_path, 60, max_bytes=2_000, keep=3)
    assert len(log_files(tmp_path)) == 3
    assert check_all(lines(tmp_path), LogCheck(None)) is None


def test_a_folder_with_something_else_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "access-000000000001.jsonl").write_bytes(b"hello\n")
    with pytest.raises(IntegrityError, match="access log"):
        opened(tmp_path)


def test_two_processes_cannot_write_one_log(tmp_path: Path) -> None:
    log = opened(tmp_path)
    with pytest.raises(ConfigError, match="in use"):
        opened(tmp_path)
    log.close()


def test_a_line_that_does_not_fit_on_the_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    log.append(access(1))
    head = log.head
    monkeypatch.setattr("os.pwrite", lambda handle, line, size: 5)
    with pytest.raises(TransientError, match="access log"):
        log.append(access(2))
    monkeypatch.undo()
    assert log.head == head
    log.append(access(3))
    log.close()
    assert problem(tmp_path) is None


def test_lines_hold_nothing_that_steers_a_terminal(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(access(1, "analyst:\x1b[2J\u202e\n"))
    log.close()
    (line,) = lines(tmp_path)
    assert line.isascii()
    assert line[:-1].decode().isprintable()
