"""The bkdms pipeline: pure core, ports, services, adapters, telemetry, apps."""
