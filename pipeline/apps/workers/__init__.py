"""One module a stream worker: puts a service together with its adapters and runs it."""
