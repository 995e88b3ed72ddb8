"""The answer of `deploy`: the candidates that were measured, what to deploy in words, and the figure."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from fico_utils.extras.deploy.answer import answer_text
from fico_utils.extras.deploy.result import QUALITY, Candidates

if TYPE_CHECKING:
    from fico_utils.display.picture import Picture


class Deployment(Candidates):
    """``table``, ``best(...)``, ``answer`` and ``figure()``."""

    @cached_property
    def answer(self) -> str:
        """What to deploy at each size and what it loses, in Markdown: sentences, a table, and code that builds it."""
        return answer_text(self)

    def figure(self) -> Picture:
        """Recall@1 against the time of a query and against bytes an item, with the front of all three."""
        from fico_utils.extras.deploy.figure import draw_candidates

        return draw_candidates(self.rows_at(self.n_items), QUALITY)
