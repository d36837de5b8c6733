"""The conformance page: requirements, what we say of each, and how its tests last ended, put together by a program."""
