"""The registry of methods: every module of a package defines one method class.

Modules named in ``NOT_METHODS`` or starting with an underscore are not methods. A module that does not
import, or defines no method or several, stops the run, because a silently missing method would
change the study.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

from rankwise.errors import RankwiseError, nearest

T = TypeVar("T")
NOT_METHODS = ("base", "factoring", "problem", "rounds", "sequential", "trials")


class Registry(Generic[T]):
    """The methods of one package by name; a method has the name of its file."""

    def __init__(self, package: str, base: type[T]) -> None:
        self.package = package
        self.base = base
        self.kind = package.rsplit(".", 1)[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self.classes())

    def __getitem__(self, name: str) -> type[T]:
        classes = self.classes()
        if name not in classes:
            raise RankwiseError(f"unknown {self.kind} method '{name}': {nearest(name, classes)}")
        return classes[name]

    def file(self, name: str) -> Path:
        """Return the source file of one method."""
        return Path(inspect.getfile(self[name]))

    @cache  # noqa: B019 (a registry lives as long as the process)
    def classes(self) -> dict[str, type[T]]:
        """Import every module of the package and return its methods; raises RankwiseError naming a broken one."""
        package = importlib.import_module(self.package)
        classes: dict[str, type[T]] = {}
        for module in pkgutil.iter_modules(package.__path__):
            if module.name in NOT_METHODS or module.name.startswith("_"):
                continue
            classes[module.name] = self._load(module.name)
        return classes

    def _load(self, name: str) -> type[T]:
        try:
            module = importlib.import_module(f"{self.package}.{name}")
        except Exception as error:
            raise RankwiseError(
                f"the {self.kind} method file {name}.py does not import: "
                f"{type(error).__name__}: {error}. Mend or remove the file."
            ) from error
        classes = [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, self.base)
            and value.__module__ == module.__name__
            and not value.__name__.startswith("_")
        ]
        if len(classes) != 1:
            raise RankwiseError(
                f"the {self.kind} method file {name}.py must define exactly one public subclass of "
                f"{self.base.__name__}, found {len(classes)}: "
                f"{', '.join(c.__name__ for c in classes) or 'none'}"
            )
        return classes[0]
