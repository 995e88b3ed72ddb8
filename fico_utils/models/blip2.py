"""BLIP-2 and BLIP-2 NF (Li et al., ICML 2023): a few learned queries read the picture, in the network that reads text.

The Q-Former is one transformer with two kinds of positions. Queries attend to the vision tokens in every second layer;
text shares their self-attention and has feed-forward layers of its own. It is used in four ways: queries alone (the
picture's embeddings), text alone (the caption's), both together (does the caption belong?), and text that sees the
queries and is read from left to right (captioning, in training only). A picture has one embedding a query, and its
similarity to a caption is the largest of their cosines. At query time the first k candidates are scored again by the
match *plus* that cosine; NF, no fusion, is the cosine alone.

The Q-Former, its text embeddings and the ViT are those of transformers, which has neither losses nor captioning for it.
The original caches the keys and values of the queries for the captioning pass. Here one pass over [queries; text], in
which queries do not see text and text sees what is before it, gives both: the same numbers.

Scaled down: widths, depths (of two layers the first has cross-attention), epochs, batch; the learning rate is that of
training from scratch, and gradients are clipped. The vision tower is the hybrid of our X-VLM, trained with the rest,
where the original has a pre-trained ViT-g; its last norm is the LayerNorm before the Q-Former. Different on purpose:
linear maps learn by Muon; the temperature learns faster than the rest (`Temperature`) and is clamped to [0.001, 0.5]
(`original=True`: not clamped); a step pairs an image, encoded once, with three of its captions, which are no negatives
of each other (`original=True`: all are right), and tells and matches the first; the matching head learns when the
embeddings have learned to find each other (`fusion_epoch`), which the original's first stage of pre-training does in
one, and for one pass it learns alone, with moments of its own: beside the other two losses, whose gradients are larger
in the layers they share, it stays at chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel
from transformers.models.blip_2.modeling_blip_2 import Blip2TextEmbeddings

from fico_utils.models.contract import Batch, FusionModel
from fico_utils.models.losses import (
    Temperature,
    by_length,
    each_image,
    hard_negatives,
    same_image,
    soft_contrastive,
    trim,
    word_mask,
)
from fico_utils.models.muon import MuonRecipe
from fico_utils.models.serving import Embeds, Reranks
from fico_utils.models.xvlm import PatchViT, listen, spread
from fico_utils.registry import System

#: Raised when the meaning of what is trained changes: equal settings and seed, other weights.
VERSION = 1
ROWS = (
    System(
        id="blip2", name="BLIP-2", paper_names=("BLIP-2",), order=1, model="Blip2", serving=Reranks(),
        family="vlp", approach="Dual+Fusion", attention="Fusion Rerank", shade=0, marker="s",
    ),
    System(
        id="blip2_nf", name="BLIP-2 NF", paper_names=("BLIP-2NF",), order=2, model="Blip2", serving=Embeds(late=True),
        family="vlp", approach="Dual", attention="None", shade=0, marker="s", line="--", hollow=True, weights="blip2",
    ),
)  # fmt: skip

VERSION = 1
SMOOTHING = 0.1  # of the contrastive and of the captioning targets


@dataclass(frozen=True)
class Blip2Config:
    """Sizes of the vision tower and of the Q-Former.

    Attributes
    ----------
    d_patch, n_patches : int, image input (n_patches, d_patch), the cells of a square grid, row by row.
    n_words, max_words : int, vocabulary and longest caption, specials included.
    width, heads : int, of every layer; 1408 for vision and 768 for the Q-Former originally, 12 heads.
    n_vision_layers, n_layers : int, of the vision tower and of the Q-Former; 39 and 12 originally.
    n_queries : int, embeddings of a picture.
    d_embed : int, width of an embedding; 256 originally.
    dropout : float
    fusion_epoch : int, first epoch in which the matching head learns, as in our X-VLM; alone, unless it is the first
        of all.
    original : bool, the temperature is free, and contrastive targets are shared by the captions of an image.
    """

    d_patch: int
    n_words: int
    n_patches: int = 36
    max_words: int = 40
    width: int = 128
    heads: int = 4
    n_vision_layers: int = 1
    n_layers: int = 2
    n_queries: int = 32
    d_embed: int = 128
    dropout: float = 0.1
    fusion_epoch: int = 0
    original: bool = False


def smooth_contrastive(logits: Tensor, image: Tensor, smoothing: float) -> Tensor:
    """Symmetric cross entropy with diagonal targets, some of each spread evenly over its row, mean over the batch.

    Parameters
    ----------
    logits : Tensor (B, B), already scaled.
    image : Tensor (B,), image of each pair; pairs of the same image are left out of each other's rows.
    smoothing : float, share of the target that is spread.
    """
    same = same_image(image)

    def side(scores: Tensor) -> Tensor:
        told = scores.masked_fill(same, float("-inf")).log_softmax(1)
        spread_out = told.masked_fill(same, 0).sum(1) / (~same).sum(1)
        return -((1 - smoothing) * told.diagonal() + smoothing * spread_out).mean()

    return (side(logits) + side(logits.T)) / 2


class Blip2(FusionModel):
    """Patches (B, R, d_patch) -> unit vectors (B, n_queries, d_embed), tokens (B, L) -> unit vectors (B, d_embed)."""

    image_input, text_input = "patches", "tokens"
    adds_cosine = True
    recipe = MuonRecipe(
        batch_size=64,
        lr=1e-3,
        weight_decay=0.05,
        betas=(0.9, 0.98),
        warmup=0.1,
        schedule="cosine",
        clip=1.0,
        captions=3,
    )
    Config = Blip2Config

    def __init__(self, config: Blip2Config) -> None:
        super().__init__(config)
        c = config
        self.vision = PatchViT(c.d_patch, c.n_patches, c.width, c.n_vision_layers, c.heads, c.dropout)
        qformer = Blip2QFormerConfig(
            vocab_size=c.n_words + 1,  # the last id starts a caption that is to be told, not read
            max_position_embeddings=c.max_words,
            hidden_size=c.width,
            intermediate_size=4 * c.width,
            num_hidden_layers=c.n_layers,
            num_attention_heads=c.heads,
            hidden_dropout_prob=c.dropout,
            attention_probs_dropout_prob=0.0,
            encoder_hidden_size=c.width,
            initializer_range=spread(c.width),
            use_qformer_text_input=True,
        )
        self.embeddings = Blip2TextEmbeddings(qformer)
        self.qformer = Blip2QFormerModel(qformer)
        self.queries = nn.Parameter(spread(c.width) * torch.randn(1, c.n_queries, c.width))
        self.image_projection = nn.Linear(c.width, c.d_embed)
        self.text_projection = nn.Linear(c.width, c.d_embed)
        self.itm = nn.Linear(c.width, 2)
        self.tell = nn.Sequential(nn.Linear(c.width, c.width), nn.GELU(), nn.LayerNorm(c.width))
        self.word_bias = nn.Parameter(torch.zeros(c.n_words + 1))
        self.temperature = Temperature() if c.original else Temperature(0.001, 0.5)
        for table in (self.embeddings.word_embeddings, self.embeddings.position_embeddings):
            nn.init.normal_(table.weight, std=spread(c.width))
        for layer in self.qformer.encoder.layer:  # the queries' feed-forward layers start as copies of the text's
            layer.intermediate_query.load_state_dict(layer.intermediate.state_dict())
            layer.output_query.load_state_dict(layer.output.state_dict())
        listen(self.qformer)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> bool:
        since = epoch - self.config.fusion_epoch
        self.fusing, self.alone = since >= 0, epoch > 0 == since
        return epoch > 0 and since in (0, 1)

    def image_context(self, features: Tensor) -> Tensor:
        """Vision tokens (B, 1 + R, width) of patches, after the last norm, the CLS first."""
        return self.vision(features)

    def text_context(self, features: Tensor) -> Tensor:
        """The tokens (B, L) themselves: the joint pass embeds them anew."""
        return features

    def embed_image(self, context: Tensor) -> Tensor:
        """Unit vectors (B, n_queries, d_embed) from `image_context`."""
        queries = self.queries.expand(len(context), -1, -1)
        states = self.qformer(query_embeds=queries, encoder_hidden_states=context).last_hidden_state
        return F.normalize(self.image_projection(states), dim=-1)

    def embed_text(self, context: Tensor) -> Tensor:
        """Unit vectors (B, d_embed) from tokens (B, L), read alone; the start token speaks for the caption."""
        parts, back = by_length(word_mask(context).sum(1))
        first = []
        for words in (trim(context[part]) for part in parts):
            embedded = self.embeddings(input_ids=words)
            states = self.qformer(query_embeds=embedded, query_length=0, attention_mask=word_mask(words))
            first.append(states.last_hidden_state[:, 0])
        return F.normalize(self.text_projection(torch.cat(first)[back]), dim=-1)

    def encode_image(self, features: Tensor) -> Tensor:
        return self.embed_image(self.image_context(features))

    def encode_text(self, features: Tensor) -> Tensor:
        return self.embed_text(self.text_context(features))

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        """Largest cosine (n, m) over the queries of embeddings (n, n_queries, d_embed) and (m, d_embed)."""
        return reduce(torch.maximum, (query @ text.T for query in image.unbind(1)))

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        return self._fuse(image, text)[:, 1]

    def _fuse(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Logits (P, 2), "does not belong" and "belongs", of pairs (P, T, width) and (P, L), mean over the queries."""
        parts, back = by_length(word_mask(tokens).sum(1))
        pooled = []
        for part in parts:
            words = trim(tokens[part])
            keys = F.pad(word_mask(words), (self.config.n_queries, 0), value=True)
            pooled.append(self._joint(image[part], words, keys[:, None, None])[0].mean(1))
        return self.itm(torch.cat(pooled)[back])  # the head is linear: of the mean, as the mean of the heads

    def _joint(self, image: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, n_queries, width) of the queries and (B, L, width) of the words, read together.

        Parameters
        ----------
        mask : Tensor (B or 1, 1, 1 or n, n) bool, n = n_queries + L: who sees whom.
        """
        n = self.config.n_queries
        both = self.embeddings(input_ids=tokens, query_embeds=self.queries.expand(len(tokens), -1, -1))
        states = self.qformer(query_embeds=both, query_length=n, attention_mask=mask, encoder_hidden_states=image)
        return states.last_hidden_state[:, :n], states.last_hidden_state[:, n:]

    def _tell(self, image: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The captioning pass: states (B, n_queries, width) of the queries, as if read alone, and the scalar loss."""
        parts, back = by_length(word_mask(tokens).sum(1))
        queries, states, targets = [], [], []
        for part in parts:
            words = trim(tokens[part]).clone()
            words[:, 0] = self.config.n_words
            n = self.config.n_queries + words.shape[1]
            mask = torch.ones(n, n, dtype=torch.bool, device=words.device).tril()
            mask[: self.config.n_queries, : self.config.n_queries] = True  # padding comes last, where no word looks
            seen, told = self._joint(image[part], words, mask[None, None])
            following = word_mask(words[:, 1:])
            queries.append(seen)
            states.append(told[:, :-1][following])
            targets.append(words[:, 1:][following])
        logits = F.linear(self.tell(torch.cat(states)), self.embeddings.word_embeddings.weight, self.word_bias)
        loss = F.cross_entropy(logits, torch.cat(targets), label_smoothing=SMOOTHING)
        return torch.cat(queries)[back], loss

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        first, place = each_image(batch["image"])
        image, tokens = self.image_context(batch["patches"][first]), trim(batch["tokens"])
        itc = itm = lm = torch.zeros((), device=image.device)
        if self.alone:
            with torch.no_grad():
                logits = self.similarity(self.embed_image(image), self.embed_text(tokens)) / self.temperature()
        else:
            queries, lm = self._tell(image, tokens[first])
            embedded = F.normalize(self.image_projection(queries), dim=-1)
            logits = self.similarity(embedded, self.embed_text(tokens)) / self.temperature()
            contrast = soft_contrastive if self.config.original else smooth_contrastive
            itc = contrast(logits[place], batch["image"], SMOOTHING)
        if self.fusing:
            captions, pictures = hard_negatives(logits[place], batch["image"])
            pictures, captions = torch.cat([first, pictures[first], first]), torch.cat([first, first, captions[first]])
            belong = (pictures == captions).long()
            itm = F.cross_entropy(self._fuse(image[place[pictures]], tokens[captions]), belong)
        return {"loss": itc + itm + lm, "itc": itc, "itm": itm, "lm": lm}
