"""The agents of several sites in one process, until everything that they have to send is verified as committed.

``python -m pipeline.apps.demo.sites REPORT SETTINGS…`` writes what each site sent to REPORT, as JSON.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from ops.signals import interruptible
from pipeline.apps.observed import observe
from pipeline.apps.site_agent import open_site_agent
from pipeline.config import load_settings
from pipeline.telemetry import logs


async def feed(settings_file: Path) -> dict[str, Any]:
    """Run one site's agent to its end and return what it sent."""
    settings = load_settings(settings_file)
    async with open_site_agent(settings) as agent:
        status = await agent.run(until_committed=True)
    totals = status.totals
    return {
        "site": str(settings.site.name()),
        "packets": totals.confirmed_packets,
        "records": totals.confirmed_records,
        "rejected": dict(totals.rejected),
    }


async def feed_all(files: list[Path]) -> list[dict[str, Any]]:
    """Run all agents side by side."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(feed(file)) for file in files]
    return [task.result() for task in tasks]


def main() -> None:
    """Run until all is committed; nothing is lost where it is ended before, the spools go on."""
    logs.configure()
    report, *files = map(Path, sys.argv[1:])
    observe("site", load_settings(files[0]))
    with interruptible():
        found = asyncio.run(feed_all(files))
    report.write_text(json.dumps({"sites": found}), "utf-8")


if __name__ == "__main__":
    main()
