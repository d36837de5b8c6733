"""What ``bkdms verify --against-store`` prints of the platform's store."""

from typing import Any

from pipeline.apps.cli.context import say
from pipeline.services.audit_report import AuditReport
from pipeline.services.store_audit import StoreReport


def with_store(report: AuditReport, store: StoreReport) -> dict[str, Any]:
    """Return both reports as one JSON value; ``audit_ok`` and ``problem`` are of the whole."""
    document = report.as_json() | {"store": store.as_json()}
    if store.is_good:
        return document
    return document | {"audit_ok": False, "problem": problem_of(report, store)}


def problem_of(report: AuditReport, store: StoreReport) -> str:
    """Return what is wrong first with a store that is not good."""
    if store.findings:
        return f"store: {store.findings[0]}"
    return f"store: {_beyond(report)}"


def tell_store(report: AuditReport, store: StoreReport | None, *, is_asked: bool) -> None:
    """Print what came of the store; ``store`` is None where it was not judged."""
    if store is None:
        if is_asked:
            say("note: the store was not judged, since its blocks are not good")
        return
    if store.is_good:
        print(
            f"good: every row of the store, at height {store.height} of {report.height}:"
            f" {store.packets} packets, {store.values} values"
        )
    else:
        for finding in store.findings:
            print(f"BAD  store: {finding}")
        if store.is_beyond:
            print(f"BAD  store: {_beyond(report)}")
    if store.problems > len(store.findings):
        print(f"BAD  store: {store.problems} rows differ in all")
    if store.unverified:
        say(
            f"note: what {store.unverified} packets hold could not be judged: their keys are not in platform.keys_dir"
        )
    if not store.is_beyond and store.height < report.height:
        say(
            f"note: the store is behind: nothing of blocks {store.height + 1} to {report.height} is in it yet"
        )


def _beyond(report: AuditReport) -> str:
    return (
        f"it stands beyond the {report.height} blocks that were audited, so that nothing confirms its last rows;"
        " audit the newer blocks, too"
    )
