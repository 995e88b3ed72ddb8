"""A run that has ended: what it made is read, and nothing is made."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from fico_utils.artifacts import Store
from fico_utils.errors import InputError
from fico_utils.workspace import Run


@dataclass(frozen=True)
class FinishedRun(Run):
    """A run whose store makes nothing."""

    @classmethod
    def of_run(cls, run: Run) -> FinishedRun:
        """The same run, to be read."""
        return cls(**{field.name: getattr(run, field.name) for field in fields(Run)})

    @cached_property
    def store(self) -> Store:
        return FinishedStore(self.root)


class FinishedStore(Store):
    """A store that reads what is there; what is missing or damaged is an InputError that names the step to run."""

    def locked(self, path: Path) -> AbstractContextManager:
        """Refuse: the right to make an artefact is asked for where there is none."""
        name, *of = path.name.partition("__s")[0].split("__")
        what = f"{path.parent.name} of {name}" + (f" on {', '.join(of)}" if of else "")
        raise InputError(
            f"{self.root} holds no {what} by these settings; step 04 makes what is missing: "
            f"python -m fico_utils run --profile {self.root.name} --only 04, with the same --set and --out"
        )
