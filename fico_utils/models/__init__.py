"""Component 2, model encoding: one file a system; tensors in, tensors and loss out."""

from __future__ import annotations

from importlib import import_module

from fico_utils.errors import InputError

#: System id -> (module, class). The two rows of a dual + fusion system share one class, as do the two lengths of ADV.
_CLASSES = {
    "blip2": ("blip2", "Blip2"),
    "blip2_nf": ("blip2", "Blip2"),
    "beit3": ("beit3", "Beit3"),
    "xvlm": ("xvlm", "Xvlm"),
    "xvlm_nf": ("xvlm", "Xvlm"),
    "imram": ("imram", "Imram"),
    "vsrn": ("vsrn", "Vsrn"),
    "scan": ("scan", "Scan"),
    "adv_2048": ("adv", "Adv"),
    "adv_64": ("adv", "Adv"),
    "ucch": ("ucch", "Ucch"),
    "dadh": ("dadh", "Dadh"),
}


def model_class(system: str) -> type:
    """The class of a system's model.

    Raises
    ------
    InputError
        No implementation under that id.
    """
    if system not in _CLASSES:
        raise InputError(f"system {system!r} has no implementation here; expected one of {', '.join(_CLASSES)}")
    module, name = _CLASSES[system]
    return getattr(import_module(f"fico_utils.models.{module}"), name)
