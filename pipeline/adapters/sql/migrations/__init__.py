"""Alembic migrations of the platform's store. Each is frozen once it was released; changes come as a new one."""
