"""A very small CLIP, trained on a corpus and saved as every checkpoint is: the worked example of one's own encoder.

It has what a checkpoint from the hub has, in the same files, so whatever reads this one reads those.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from fico_utils.data.corpus import Corpus
from fico_utils.data.text import END, START, Vocabulary
from fico_utils.extras.pretrained.encoders import load_encoder
from fico_utils.extras.pretrained.files import files_key
from fico_utils.files import note, read_json, write_json
from fico_utils.models import losses
from fico_utils.models.training import draw_pairs
from fico_utils.progress import show_progress

#: Version of this training.
VERSION = 1
SIDE, PATCH, WORDS = 48, 8, 40
TOWER = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}


def save_example(
    folder: str | Path, corpus: Corpus, *, seed: int, epochs: int, batch_size: int = 30, lr: float = 1e-3
) -> Path:
    """The folder of a CLIP of half a million weights, trained on the pictures of a corpus, one caption each an epoch.

    A folder that was made in the same way and is as it was made is kept; ``<folder>.json`` beside it says so.
    """
    folder = Path(folder)
    recipe = {"version": VERSION, "corpus": corpus.key, "seed": seed, "epochs": epochs, "batch": batch_size, "lr": lr}
    kept = folder.with_name(f"{folder.name}.json")
    if kept.is_file() and read_json(kept) == {**recipe, "files": files_key(folder)}:
        return folder
    kept.unlink(missing_ok=True)
    vocabulary = Vocabulary(corpus.captions)
    torch.manual_seed(seed)
    _network(len(vocabulary)).save_pretrained(folder)
    _tokenizer(vocabulary).save_pretrained(folder)
    settings = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    write_json(folder / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor", **settings})
    model = load_encoder(str(folder), device="cpu")
    inputs = model.inputs(corpus)
    pixels = torch.from_numpy(inputs.image[model.image_input][: corpus.n_img])  # cut to size once, not once an epoch
    tokens = torch.from_numpy(inputs.text[model.text_input])
    rng, scale = np.random.default_rng(seed), model.network.logit_scale
    steps = epochs * -(-corpus.n_img // batch_size)
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    with show_progress(description="a small CLIP", total=steps) as bar:
        for _ in range(epochs):
            pairs = draw_pairs(corpus.caption_image, rng)
            for rows in np.split(pairs, range(batch_size, len(pairs), batch_size)):
                images = torch.from_numpy(corpus.caption_image[rows])
                img, txt = model.encode_image(pixels[images]), model.encode_text(tokens[rows])
                loss = losses.contrastive(scale.exp() * img @ txt.T, None)  # every image of a batch comes once
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.2f}")
    model.network.save_pretrained(folder)
    for path in sorted(folder.iterdir()):
        note("wrote", path)
    write_json(kept, {**recipe, "files": files_key(folder)})
    return folder


def _network(n_words: int) -> transformers.CLIPModel:
    text = {
        "vocab_size": n_words, "max_position_embeddings": WORDS, "bos_token_id": START, "eos_token_id": END,
        "pad_token_id": 0, **TOWER,
    }  # fmt: skip
    vision = {"image_size": SIDE, "patch_size": PATCH, **TOWER}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)
    return transformers.CLIPModel(config)


def _tokenizer(vocabulary: Vocabulary) -> transformers.PreTrainedTokenizerFast:
    """Whole words to the ids of a vocabulary, between a start and an end."""
    pad, start, end, unknown = vocabulary.words[:4]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary.words)}, unknown))
    made.normalizer, made.pre_tokenizer = Lowercase(), Whitespace()
    made.post_processor = TemplateProcessing(single=f"{start} $A {end}", special_tokens=[(start, START), (end, END)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, bos_token=start, eos_token=end, unk_token=unknown
    )
