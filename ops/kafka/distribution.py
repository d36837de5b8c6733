"""Where Kafka's jars and a Java come from. Standard library only: the set-up runs it before anything else.

The jars are those of ``pom.xml`` beside this module, resolved once by Maven into a cache folder, or those of
an unpacked Kafka folder that ``BKDMS_KAFKA_HOME`` names.
"""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ConfigError

KAFKA_HOME_VARIABLE = "BKDMS_KAFKA_HOME"
CACHE_VARIABLE = "BKDMS_CACHE"
OLDEST_JAVA = 17
OLDEST_KAFKA = (4, 1)
MAVEN_TIMEOUT_S = 900
JAVA_TIMEOUT_S = 30

_POM = Path(__file__).with_name("pom.xml")
_COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_BROKER_JAR = re.compile(r"kafka_2\.\d+-(\d+)\.(\d+)[.\d]*\.jar")


@dataclass(frozen=True, slots=True)
class Distribution:
    """A Java program and the folder of jars that it runs."""

    java: Path
    libs: Path

    @property
    def classpath(self) -> str:
        """What ``java -cp`` takes; the JVM expands the star itself."""
        return f"{self.libs}/*"


def kafka_version() -> str:
    """The version that ``pom.xml`` asks for.

    Raises:
        ConfigError: the file names none.
    """
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", _POM.read_text("utf-8"))
    if found is None:
        raise ConfigError(f"{_POM} names no kafka.version")
    return found.group(1)


def cache_folder() -> Path:
    """``BKDMS_CACHE``, else ``.cache`` of the checkout, else the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").exists():
        return root / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bkdms"


def find() -> Distribution:
    """Java and jars that are here already.

    Raises:
        ConfigError: one of them is missing; the message says how to get it.
    """
    return Distribution(find_java(), _find_libs())


def ensure() -> Distribution:
    """As ``find``, but Maven fetches the jars when they are missing.

    Raises:
        ConfigError: Java or Maven is missing, or Maven failed.
    """
    java = find_java()
    if not os.environ.get(KAFKA_HOME_VARIABLE) and not _cached_libs().is_dir():
        _fetch(_cached_libs())
    return Distribution(java, _find_libs())


def find_java() -> Path:
    """The program of ``JAVA_HOME``, else the one on the path.

    Raises:
        ConfigError: there is none, or it is older than 17.
    """
    home = os.environ.get("JAVA_HOME")
    candidate = Path(home) / "bin" / "java" if home else Path(shutil.which("java") or "java")
    remedy = f"install Java {OLDEST_JAVA} or later: apt-get install openjdk-17-jre-headless, or set JAVA_HOME"
    try:
        # The argument list is ours: no shell, no user input beyond the path of the program.
        answer = subprocess.run(  # noqa: S603
            [candidate, "-version"], capture_output=True, text=True, timeout=JAVA_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"Kafka needs Java and {candidate} does not run: {remedy}") from error
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    if found is None or int(found.group(1)) < OLDEST_JAVA:
        raise ConfigError(f"{candidate} is too old for Kafka: {remedy}")
    return candidate


def _cached_libs() -> Path:
    return cache_folder() / "kafka" / kafka_version() / "libs"


def _find_libs() -> Path:
    home = os.environ.get(KAFKA_HOME_VARIABLE)
    libs = Path(home) / "libs" if home else _cached_libs()
    versions = [m for jar in libs.glob("kafka_2.*.jar") if (m := _BROKER_JAR.fullmatch(jar.name))]
    if not versions:
        raise ConfigError(
            f"no Kafka jars in {libs}: run `make setup` (or `bkdms up`, which fetches them by Maven), "
            f"or set {KAFKA_HOME_VARIABLE} to an unpacked Kafka folder"
        )
    if (int(versions[0].group(1)), int(versions[0].group(2))) < OLDEST_KAFKA:
        raise ConfigError(f"{libs} holds {versions[0].group(0)}: use Kafka 4.1 or later")
    return libs


def _fetch(libs: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigError(
            "Kafka's jars are fetched by Maven and there is no mvn: apt-get install maven, "
            f"or set {KAFKA_HOME_VARIABLE} to an unpacked Kafka folder"
        )
    libs.parent.mkdir(parents=True, exist_ok=True)
    # Copied aside and renamed, so that a folder named libs is whole; two set-ups at once do no harm.
    with tempfile.TemporaryDirectory(dir=libs.parent) as aside:
        answer = subprocess.run(  # noqa: S603
            [
                maven,
                "--batch-mode",
                "--quiet",
                "--file",
                _POM,
                _COPY_GOAL,
                "-DincludeScope=runtime",
                f"-DoutputDirectory={aside}/libs",
            ],
            capture_output=True,
            text=True,
            timeout=MAVEN_TIMEOUT_S,
            check=False,
        )
        if answer.returncode != 0:
            reason = next((line for line in answer.stdout.splitlines() if "ERROR" in line), "no reason given")
            raise ConfigError(f"Maven could not fetch Kafka {kafka_version()}: {reason}")
        if not libs.is_dir():
            Path(aside, "libs").rename(libs)
