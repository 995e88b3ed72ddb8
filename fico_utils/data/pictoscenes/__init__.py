"""PictoScenes: the embedded corpora, made by seed and index, with their truth known.

Scene i of a corpus depends on (corpus, seed, i) alone, so any worker makes any slice and no two scenes are
alike. A split is a range of indices: test starts at 0, val at 10 000 000, train at 20 000 000, so the size of
one changes no scene of another.

The parts: `tables` (what can be drawn and said), `scene` (scene graphs), `draw` (pictures), `captions` (sentences and
what they state), `truth` (what is true of what), `corpus` (all of it as a `Corpus`).
"""

# ruff: noqa: F401
from fico_utils.data.pictoscenes.captions import Caption, captions_of
from fico_utils.data.pictoscenes.corpus import DrawnReader, drawn_corpus, labels_of, make_corpus
from fico_utils.data.pictoscenes.draw import render
from fico_utils.data.pictoscenes.scene import SPECS, SPLIT_START, Scene, make_scene, spec_of
from fico_utils.data.pictoscenes.tables import BACKGROUND_NAMES, CATEGORY_NAMES, COLOUR_NAMES, SIZE_NAMES
from fico_utils.data.pictoscenes.truth import perfect_retriever, perfect_similarity, true_rows, truth_matrix

#: Version of what is drawn and written: scenes, pictures, captions, labels, truth; part of every drawn corpus's key.
VERSIONS = {"pictoscenes": 1}
