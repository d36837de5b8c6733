"""Measures Tessera's log in a POSIX file system, by a small program around its Go module, on the packets of a plan.

Tessera orders entries and publishes a signed tree of them. It checks no signature, agrees with nobody and stores one
copy: what it takes is the cost of a log alone.
"""

import hashlib
import json
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pipeline.core.errors import ConfigError, TransientError

MODULE: Final = "github.com/transparency-dev/tessera"
VERSION: Final = "v1.0.4"
_SOURCE: Final = Path(__file__).with_name("tessera.go")
_LENGTH: Final = struct.Struct(">I")
_TIMEOUT_S: Final = 900
_TAIL_CHARS: Final = 300
_US: Final = 1e6


def built(cache: Path) -> Path:
    """Return the program, built into ``cache`` by the machine's Go unless it is there.

    Raises:
        ConfigError: Go is missing, or can't build it.
    """
    source = _SOURCE.read_bytes()
    program = cache.resolve() / f"tessera-{VERSION}-{hashlib.sha256(source).hexdigest()[:8]}"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise ConfigError(
            "to measure Tessera, Go 1.25 or newer is needed: install it, or leave --peer tessera out"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        draft = Path(name)
        (draft / "main.go").write_bytes(source)
        (draft / "go.mod").write_text(f"module peer\n\ngo 1.25\n\nrequire {MODULE} {VERSION}\n")
        argv = [go, "build", "-mod=mod", "-o", "program", "."]
        ran = subprocess.run(  # noqa: S603  our own arguments
            argv, cwd=draft, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
        if ran.returncode:
            raise ConfigError(f"{MODULE} can't be built: {ran.stderr.strip()[-_TAIL_CHARS:]}")
        (draft / "program").replace(program)
    return program


def measure_tessera(program: Path, packets: Iterable[bytes], folder: Path) -> dict[str, Any]:
    """Let Tessera take packets as entries of a new log in ``folder``; return what an entry took.

    Raises:
        TransientError: the program failed.
    """
    folder.mkdir(parents=True)
    file = folder / "entries"
    with file.open("wb") as output:
        for raw in packets:
            output.write(_LENGTH.pack(len(raw)) + raw)
    with file.open("rb") as entries:
        argv = [str(program), str(folder / "log")]
        ran = subprocess.run(  # noqa: S603  our own program
            argv, stdin=entries, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    if ran.returncode:
        raise TransientError(f"Tessera failed: {ran.stderr.strip()[-_TAIL_CHARS:]}", code="bench_tessera")
    found = json.loads(ran.stdout)
    return {
        "packets": found["entries"],
        "cpu_us_per_packet": round(found["cpu_seconds"] * _US / found["entries"], 1),
        "packets_per_second": round(found["entries"] / found["seconds"]),
    }
