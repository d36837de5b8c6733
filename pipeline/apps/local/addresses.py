"""What to look at in a running deployment: where each part answers, told by ``up`` and kept for ``status``."""

import json
from pathlib import Path

from ops.files import write_private
from pipeline.apps.local.deployment import LocalDeployment
from pipeline.core.errors import ConfigError

FILE_NAME = "addresses.json"


def tell_addresses(deployment: LocalDeployment) -> dict[str, str]:
    """Return what a person can open or type, by label, and keep it in the data folder."""
    store = deployment.store_command
    found = {
        "API": deployment.api_url,
        "assessments": f"{deployment.api_url}/v1/assessments, or bkdms --config {deployment.settings_file} assess",
        "Kafka": f"{deployment.stack.kafka_bootstrap} (mutual TLS)",
        "store": store if store is not None else f"{deployment.store_file} (SQLite)",
        "settings": f"bkdms --config {deployment.settings_file} …",
    }
    if deployment.prometheus_url is not None:
        found["metrics"] = f"{deployment.prometheus_url} (alerts at /alerts)"
    write_private(deployment.data_dir / FILE_NAME, json.dumps(found, indent=1).encode())
    return found


def read_addresses(data_dir: Path) -> dict[str, str]:
    """Return what ``up`` told last in a data folder; nothing before the first start.

    Raises:
        ConfigError: the file is damaged.
    """
    file = data_dir / FILE_NAME
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file} is damaged: remove it, and `bkdms up` writes it again") from error
