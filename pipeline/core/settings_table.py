"""Reading tables of settings with messages that name the key and the remedy."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.errors import ConfigError


class Table:
    """One table of plain TOML values. Every getter marks its key as known; ``done`` refuses the others."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where}: must be a table; write it as [{where}]")
        self._values: Mapping[str, Any] = values
        self._where = where
        self._known: set[str] = set()

    def error(self, key: str, problem: str) -> ConfigError:
        """The error to raise about ``key``; ``problem`` says what is wrong and what to write."""
        return ConfigError(f"{self._where}.{key}: {problem}")

    def text(self, key: str, *, default: str | None = None) -> str:
        """A string, not empty unless the default is.

        Raises:
            ConfigError: the key is missing without default, or no string.
        """
        value = self._get(key, default)
        if not isinstance(value, str) or (not value and default != ""):
            raise self.error(key, "must be text in quotes and not empty")
        return value

    def choice(self, key: str, choices: Sequence[str], *, default: str | None = None) -> str:
        """One of ``choices``.

        Raises:
            ConfigError: it is none of them.
        """
        value = self._get(key, default)
        if value not in choices:
            raise self.error(
                key, f"is {value!r}; choose one of {', '.join(repr(str(item)) for item in choices)}"
            )
        return str(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false.

        Raises:
            ConfigError: it is neither.
        """
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"is {value!r}; write true or false, without quotes")
        return value

    def whole(self, key: str, low: int, high: int) -> int | None:
        """A whole number within ``low..high``, or None where the key is absent.

        Raises:
            ConfigError: it is no whole number in the range.
        """
        self._known.add(key)
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"is {value!r}; use a whole number from {low} to {high}")
        return value

    def texts(self, key: str, *, default: Sequence[str]) -> tuple[str, ...]:
        """A list of strings.

        Raises:
            ConfigError: it is no list, or holds something else.
        """
        value = self._get(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise self.error(key, 'must be a list of texts, e.g. ["NA", "-999"]')
        return tuple(value)

    def text_lists(self, key: str) -> dict[str, tuple[str, ...]]:
        """A table of lists of strings, empty where the key is absent.

        Raises:
            ConfigError: it is no table, or holds something else.
        """
        inner = Table(self._get(key, {}), f"{self._where}.{key}")
        return {name: inner.texts(name, default=()) for name in inner._values}

    def table(self, key: str, *, optional: bool = False) -> "Table":
        """A table within this one; an optional one is empty where the key is absent.

        Raises:
            ConfigError: it is missing or no table.
        """
        return Table(self._get(key, {} if optional else None), f"{self._where}.{key}")

    def values(self, key: str) -> dict[str, Any]:
        """A table within this one, as plain values for another reader.

        Raises:
            ConfigError: it is missing or no table.
        """
        return dict(self.table(key)._values)

    def tables(self, key: str) -> "list[Table]":
        """A list of tables within this one, empty where the key is absent.

        Raises:
            ConfigError: it is no list of tables.
        """
        value = self._get(key, ())
        if not isinstance(value, list | tuple):
            raise self.error(key, f"must be a list of tables; write each as [[{self._where}.{key}]]")
        return [Table(item, f"{self._where}.{key}[{index}]") for index, item in enumerate(value)]

    def done(self) -> None:
        """Refuse keys that nothing asked for.

        Raises:
            ConfigError: there is one, likely a typing error.
        """
        if unknown := sorted(set(self._values) - self._known):
            known = ", ".join(sorted(self._known))
            raise self.error(unknown[0], f"is not a setting; the ones known here are {known}")

    def _get(self, key: str, default: object) -> Any:
        self._known.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise self.error(key, "is missing; add it")
        return value
