"""The tables by name: `TABLES`, filled by the modules of this folder. Row groups are those of the paper's table."""

from fico_utils.display.catalogue import TABLES, make_table

__all__ = ["TABLES", "make_table"]

TABLES.load_modules("table", __name__)
