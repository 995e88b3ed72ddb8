"""Component 2, model encoding: one file a system; tensors in, tensors and loss out."""

from __future__ import annotations

from fico_utils import registry
from fico_utils.errors import InputError


def model_class(system: str) -> type:
    """The class of a system's model, from the file that states its row; InputError where no file of ours does."""
    model = registry.system(system).model
    if not model:
        raise InputError(f"system {system!r} has no implementation here; expected one of {', '.join(registry.SYSTEMS)}")
    return registry.load_entry(model)
