"""Pages of workers that tests run beside a stack."""

from ops.stack import EmbeddedStack
from pipeline.apps.local.probes import WATCHER, worker_page


def page(stack: EmbeddedStack, name: str, port: int, path: str = "/metrics") -> str:
    """Return what the worker with the certificate of ``name`` answers with 200; nothing where it doesn't."""
    stack.credentials(WATCHER.role, WATCHER.name)
    return (worker_page(stack.data_dir, name, port, path) or b"").decode()
