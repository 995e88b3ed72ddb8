"""Figures of what is not in the paper's notebooks 00 to 04; `fico_utils.display.figures` finds them by this folder."""
