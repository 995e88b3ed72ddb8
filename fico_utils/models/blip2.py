"""BLIP-2 and BLIP-2 NF (Li et al., ICML 2023): a few learned queries read the picture, in the network that reads text.

The Q-Former, one transformer, reads queries alone (the picture's embeddings), text alone (the caption's), both together
(does the caption belong?), and text from left to right that sees the queries (captioning, in training only). A picture
is as similar to a caption as the nearest of its embeddings; at query time the first k candidates are scored again by
the match *plus* that cosine, and NF, no fusion, is the cosine alone. One pass over [queries; text] replaces the
original's cached keys: the same numbers.

Scaled down: widths, depths, epochs, batch; X-VLM's vision tower, trained with the rest, for a pre-trained ViT-g. Other
differences: differences.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel
from transformers.models.blip_2.modeling_blip_2 import Blip2TextEmbeddings

from fico_utils.models.contract import Batch, restores
from fico_utils.models.layers import (
    each_image,
    encode_by_length,
    narrow_states,
    split_by_length,
    trim_padding,
    word_mask,
)
from fico_utils.models.losses import matching_pairs, smooth_contrastive, soft_contrastive
from fico_utils.models.serving import Embeds, Reranks
from fico_utils.models.vlp import (
    FUSION_RECIPE,
    FusionConfig,
    PatchViT,
    PhasedFusion,
    Temperature,
    TowerHead,
    initial_spread,
    widen_attention,
)
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
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
SMOOTHING = 0.1  # of the contrastive and of the captioning targets


@dataclass(frozen=True)
class Blip2Config(FusionConfig):
    """Sizes of both parts; the matching head learns alone in the epoch `fusion_epoch`, unless it is the first."""

    n_layers: int = 2  # of the Q-Former; 12 originally
    n_queries: int = 32  # embeddings of a picture


class Blip2(PhasedFusion):
    """Patches (B, R, d_patch) -> unit vectors (B, n_queries, d_embed), tokens (B, L) -> unit vectors (B, d_embed)."""

    image_input, text_input = "patches", "tokens"
    adds_cosine = True
    recipe = replace(FUSION_RECIPE, weight_decay=0.05)
    Config = Blip2Config

    def __init__(self, config: Blip2Config) -> None:
        super().__init__(config)
        c = config
        self.vision = PatchViT(c)
        layers = c.text_layers
        layers["vocab_size"] += 1  # the last id starts a caption that is to be told
        qformer = Blip2QFormerConfig(
            **layers, num_hidden_layers=c.n_layers, encoder_hidden_size=c.width, use_qformer_text_input=True
        )
        if c.d_states:
            self.word = narrow_states(c.d_states, c.width, c.dropout)
            self.whole_image, self.whole_text = (TowerHead(wide, c.width) for wide in (c.d_patch, c.d_states))
        self.embeddings = Blip2TextEmbeddings(qformer)
        self.qformer = Blip2QFormerModel(qformer)
        self.queries = nn.Parameter(initial_spread(c.width) * torch.randn(1, c.n_queries, c.width))
        self.image_projection = c.projection()
        self.text_projection = c.projection()
        self.itm = nn.Linear(c.width, 2)
        self.tell = nn.Sequential(nn.Linear(c.width, c.width), nn.GELU(), nn.LayerNorm(c.width))
        self.word_bias = nn.Parameter(torch.zeros(c.n_words + 1))
        self.temperature = Temperature() if restores(c.original, "temperature") else Temperature(0.001, 0.5)
        for table in (self.embeddings.word_embeddings, self.embeddings.position_embeddings):
            nn.init.normal_(table.weight, std=initial_spread(c.width))
        for layer in self.qformer.encoder.layer:  # the queries' feed-forward layers start as copies of the text's
            layer.intermediate_query.load_state_dict(layer.intermediate.state_dict())
            layer.output_query.load_state_dict(layer.output.state_dict())
        widen_attention(self.qformer)
        if c.fusion_alone:  # begins as a copy, and reads a picture and a caption together
            self.reader = Blip2QFormerModel(qformer)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> bool:
        since = epoch - self.config.fusion_epoch
        self.fusing, self.alone = since >= 0, epoch > 0 == since
        if self.phase(epoch):
            self.alone = True
            self.learn_alone("reader.", "itm.")
            if since == 0:
                self.reader.load_state_dict(self.qformer.state_dict())
        return epoch > 0 and since in (0, 1)

    def image_context(self, features: Tensor) -> Tensor:
        """Vision tokens (B, 1 + R, width) of patches, after the last norm, first the CLS or what a TowerHead says."""
        tokens = self.vision(features)
        if self.config.d_states:
            whole = self.whole_image.say(features.mean(1, keepdim=True))
            tokens = torch.cat([whole, tokens[:, 1:]], 1)
        return tokens

    def text_context(self, features: Tensor) -> Tensor:
        """The tokens (B, L) themselves: the joint pass embeds them anew."""
        return features

    def embed_image(self, context: Tensor) -> Tensor:
        """Unit vectors (B, n_queries, d_embed) from `image_context`."""
        queries = self.queries.expand(len(context), -1, -1)
        states = self.qformer(query_embeds=queries, encoder_hidden_states=context).last_hidden_state
        if self.config.d_states:
            states = self.whole_image.add(context[:, :1], states)
        return F.normalize(self.image_projection(states), dim=-1)

    def embed_text(self, context: Tensor) -> Tensor:
        """Unit vectors (B, d_embed) from tokens (B, L), read alone; the start token speaks for the caption."""

        def read(words: Tensor) -> Tensor:
            embedded, mask = self._embed_words(words), word_mask(words)
            own = self.qformer(query_embeds=embedded, query_length=0, attention_mask=mask)[0][:, 0]
            return self.whole_text(words[:, 0], own) if self.config.d_states else own

        return F.normalize(self.text_projection(encode_by_length(read, context)), dim=-1)

    def _embed_words(self, words: Tensor) -> Tensor:
        """Vectors (B, L, width) of tokens (B, L), or of the states (B, L, d_states) of a text tower."""
        return self.word(words) if self.config.d_states else self.embeddings(input_ids=words)

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        """Largest cosine (n, m) over the queries of embeddings (n, n_queries, d_embed) and (m, d_embed)."""
        return reduce(torch.maximum, (query @ text.T for query in image.unbind(1)))

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        return self._fuse(image, text)[:, 1]

    def _fuse(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Logits (P, 2), "does not belong" and "belongs", of pairs (P, T, width) and (P, L), mean over the queries."""

        reader = self.reader if self.config.fusion_alone else self.qformer

        def read(words: Tensor, seen: Tensor) -> Tensor:
            keys = F.pad(word_mask(words), (self.config.n_queries, 0), value=True)
            return self._joint(reader, seen, words, keys[:, None, None])[0].mean(1)

        return self.itm(encode_by_length(read, tokens, image))  # the head is linear: of the mean, as the mean of heads

    def _joint(self, reader: nn.Module, image: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, n_queries, width) of the queries and (B, L, width) of the words, read together.

        `mask` (B or 1, 1, 1 or n, n) bool says who of the n = n_queries + L sees whom.
        """
        n = self.config.n_queries
        both = torch.cat([self.queries.expand(len(tokens), -1, -1), self._embed_words(tokens)], 1)
        states = reader(query_embeds=both, query_length=n, attention_mask=mask, encoder_hidden_states=image)
        return states.last_hidden_state[:, :n], states.last_hidden_state[:, n:]

    def _tell(self, image: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The captioning pass: states (B, n_queries, width) of the queries, as if read alone, and the scalar loss."""
        parts, back = split_by_length(word_mask(tokens))
        queries, states, targets = [], [], []
        for part, longest in parts:
            words = tokens[part, :longest]
            words[:, 0] = self.config.n_words
            n = self.config.n_queries + words.shape[1]
            mask = torch.ones(n, n, dtype=torch.bool, device=words.device).tril()
            mask[: self.config.n_queries, : self.config.n_queries] = True  # padding comes last, where no word looks
            seen, told = self._joint(self.qformer, image[part], words, mask[None, None])
            following = word_mask(words[:, 1:])
            queries.append(seen)
            states.append(told[:, :-1][following])
            targets.append(words[:, 1:][following])
        logits = F.linear(self.tell(torch.cat(states)), self.embeddings.word_embeddings.weight, self.word_bias)
        loss = F.cross_entropy(logits, torch.cat(targets), label_smoothing=SMOOTHING)
        return torch.cat(queries)[back], loss

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        first, place = each_image(batch["image"])
        image, tokens = self.image_context(batch["patches"][first]), trim_padding(batch["tokens"])
        itc = itm = lm = torch.zeros((), device=image.device)
        if self.alone:
            with torch.no_grad():
                logits = self.similarity(self.embed_image(image), self.embed_text(tokens)) / self.temperature()
        else:
            if self.config.d_states:  # a tower that reads both ways knows the word that would have to be told
                embedded = self.embed_image(image)
            else:
                queries, lm = self._tell(image, tokens[first])
                embedded = F.normalize(self.image_projection(queries), dim=-1)
            logits = self.similarity(embedded, self.embed_text(tokens)) / self.temperature()
            contrast = soft_contrastive if restores(self.config.original, "targets") else smooth_contrastive
            itc = contrast(logits[place], batch["image"], SMOOTHING)
        if self.fusing:
            how = {"floor": 1e-4, "among_all": True} if restores(self.config.original, "negatives") else {}
            pictures, captions, belong = matching_pairs(logits[place], batch["image"], first, **how)
            itm = F.cross_entropy(self._fuse(image[place[pictures]], tokens[captions]), belong)
        return {"loss": itc + itm + lm, "itc": itc, "itm": itm, "lm": lm}
