"""A system is one file: a tiny dual encoder, dropped into a copy of the package, is known, trained and tested."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fico_utils import registry
from fico_utils.provenance import PROJECT

SYSTEM = '''"""Averages: the mean of the regions against the mean of the words, one linear map each."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import Batch, RetrievalModel, TrainingRecipe
from fico_utils.models.losses import contrastive
from fico_utils.models.serving import Embeds
from fico_utils.registry import System

VERSION = 1
ROWS = (
    System(
        id="averages", name="Averages", paper_names=(), model="Averages", serving=Embeds("cosine"),
        family="fg", approach="Global", attention="None", shade=1, marker="p",
    ),
)


@dataclass(frozen=True)
class AveragesConfig:
    d_region: int
    n_words: int
    d: int = 16


class Averages(RetrievalModel):
    image_input, text_input = "regions", "tokens"
    recipe = TrainingRecipe(batch_size=16, lr=1e-2)
    Config = AveragesConfig

    def __init__(self, config: AveragesConfig) -> None:
        super().__init__(config)
        self.region = nn.Linear(config.d_region, config.d)
        self.word = nn.Embedding(config.n_words, config.d, padding_idx=0)

    def encode_image(self, features: Tensor) -> Tensor:
        return F.normalize(self.region(features).mean(1), dim=-1)

    def encode_text(self, features: Tensor) -> Tensor:
        return F.normalize(self.word(features).sum(1), dim=-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        scores = self.encode_image(batch["regions"]) @ self.encode_text(batch["tokens"]).T
        return {"loss": contrastive(10 * scores, batch["image"])}
'''
SCRIPT = """
import sys
from fico_utils import registry
assert "torch" not in sys.modules, "the registry reads the file and does not import it"
assert list(registry.SYSTEMS)[-1] == "averages"
import fico_utils
from fico_utils import experiment
from fico_utils.models import model_class
assert model_class("averages").__name__ == "Averages"
name = "picto_diverse"
run = fico_utils.setup(
    "mini", 0, sys.argv[1], corpora=[name], systems=["averages"], epochs={"averages": 1}, sizes={"averages": {"d": 8}},
    n_train={name: 40}, n_val={name: 10}, n_test={name: 12}, live_backbones=["regions"],
    backbones={kind: {"scenes": 40, "epochs": 1} for kind in ("regions", "patches")},
)
experiment.train(run, "averages", name)
stored = experiment.embed(run, "averages", name)
assert stored["img"].shape == (12, 8)
part = experiment.corpus(run, name).subset("test")
table = fico_utils.evaluate(**experiment.comparable("averages", stored), caption_image=part.caption_image)
assert len(table) and table.value.notna().all()
print("done")
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """A copy of the project with one file more, and nothing that ships."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(
        PROJECT / "fico_utils", root / "fico_utils", ignore=shutil.ignore_patterns("weights", "__pycache__")
    )
    shutil.copytree(PROJECT / "configs", root / "configs")
    shutil.copy(PROJECT / "pyproject.toml", root)
    (root / "fico_utils" / "models" / "averages.py").write_text(SYSTEM, encoding="utf-8")
    return root


def run_in(root: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True)


def test_a_file_is_a_system_that_is_trained_and_evaluated(copied):
    done = run_in(copied, "-c", SCRIPT, str(copied / "results"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")


def test_the_suite_of_all_systems_tests_the_new_one(copied):
    suite = shutil.copy(Path(__file__).with_name("test_every_system.py"), copied)
    done = run_in(copied, "-m", "pytest", "-q", suite, "-k", "averages", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_the_papers_rows_stand_in_the_order_of_its_tables():
    rows = [s.id for s in registry.SYSTEMS.values() if s.paper_names]
    assert rows == [
        *("blip2", "blip2_nf", "beit3", "xvlm", "xvlm_nf", "imram", "vsrn", "scan"),
        *("adv_2048", "adv_64", "ucch", "dadh"),
    ]
    assert rows == list(registry.SYSTEMS)[: len(rows)]
