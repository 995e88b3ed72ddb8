"""X-VLM and X-VLM NF (Zeng et al., ICML 2022): two encoders, and fusion layers that read the best candidates again.

A vision transformer and the lower layers of a BERT are trained contrastively (ITC). The upper layers also attend to
the vision tokens and say whether picture and caption belong together (ITM); at query time they re-score the first k
candidates by the logit of "belongs". NF, no fusion, is the cosine alone. Fusion self-attention is bidirectional.

Scaled down: widths, depths, epochs, batch; a shallow ViT on the cells of a trained backbone for Swin-B. Other
differences: differences.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import Batch, restores
from fico_utils.models.layers import each_image, encode_by_length, narrow_states, trim_padding, word_mask
from fico_utils.models.losses import contrastive, matching_pairs, soft_contrastive
from fico_utils.models.serving import Embeds, Reranks
from fico_utils.models.vlp import (
    FUSION_RECIPE,
    FusionConfig,
    PatchViT,
    PhasedFusion,
    Temperature,
    TowerHead,
    widen_attention,
)
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
ROWS = (
    System(
        id="xvlm", name="X-VLM", paper_names=("X-VLM",), order=4, model="Xvlm", serving=Reranks(),
        family="vlp", approach="Dual+Fusion", attention="Fusion Rerank", shade=2, marker="D",
    ),
    System(
        id="xvlm_nf", name="X-VLM NF", paper_names=("X-VLMNF",), order=5, model="Xvlm", serving=Embeds("cosine"),
        family="vlp", approach="Dual", attention="None", shade=2, marker="D", line="--", hollow=True, weights="xvlm",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class XvlmConfig(FusionConfig):
    """Sizes of the three stacks; the two encoders learn alone before `fusion_epoch`."""

    n_text_layers: int = 2  # 6 originally, as the fusion layers
    n_fusion_layers: int = 2


class Xvlm(PhasedFusion):
    """Patches (B, R, d_patch) and tokens (B, L) -> unit vectors (B, d_embed); cosine, then the match of the best."""

    image_input, text_input = "patches", "tokens"
    recipe = replace(FUSION_RECIPE, weight_decay=0.01)
    Config = XvlmConfig

    def __init__(self, config: XvlmConfig) -> None:
        from transformers import BertConfig, BertModel  # what reads kept embeddings needs none of it

        super().__init__(config)
        c = config
        self.vision = PatchViT(c)
        bert = {"type_vocab_size": 1, **c.text_layers}
        if c.d_states:
            self.word = narrow_states(c.d_states, c.width, c.dropout)
            self.whole_image, self.whole_text = (TowerHead(wide, c.width) for wide in (c.d_patch, c.d_states))
        self.text = BertModel(BertConfig(num_hidden_layers=c.n_text_layers, **bert), add_pooling_layer=False)
        crossed = BertConfig(num_hidden_layers=c.n_fusion_layers, is_decoder=True, add_cross_attention=True, **bert)
        self.fusion = BertModel(crossed, add_pooling_layer=False).encoder  # it goes on from the states of `text`
        widen_attention(self.text)
        widen_attention(self.fusion)
        self.image_projection = c.projection()
        self.text_projection = c.projection()
        self.itm = nn.Sequential(
            nn.Linear(c.width, 2 * c.width), nn.LayerNorm(2 * c.width), nn.GELU(), nn.Linear(2 * c.width, 2)
        )
        self.temperature = Temperature() if restores(c.original, "temperature") else Temperature(0.001, 0.5)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        self.fusing = epoch >= self.config.fusion_epoch
        if self.phase(epoch):
            self.learn_alone("fusion.", "itm.")

    def image_context(self, features: Tensor) -> Tensor:
        """Vision tokens (B, 1 + R, width) of patches, their mean first."""
        tokens = self.vision(features)[:, 1:]
        whole = tokens.mean(1, keepdim=True)
        if self.config.d_states:
            whole = self.whole_image(features.mean(1, keepdim=True), whole)
        return torch.cat([whole, tokens], 1)

    def text_context(self, features: Tensor) -> Tensor:
        """Word states (B, L, width) of tokens (B, L), zero where padded."""

        def read(words: Tensor) -> Tensor:
            mask = word_mask(words)
            given = {"inputs_embeds": self.word(words)} if self.config.d_states else {"input_ids": words}
            hidden = self.text(**given, attention_mask=mask).last_hidden_state * mask[..., None]
            if self.config.d_states:
                hidden = torch.cat([self.whole_text(words[:, :1], hidden[:, :1]), hidden[:, 1:]], 1)
            return F.pad(hidden, (0, 0, 0, features.shape[1] - words.shape[1]))

        return encode_by_length(read, features)

    def embed_image(self, context: Tensor) -> Tensor:
        """Unit vectors (B, d_embed) from `image_context`."""
        return F.normalize(self.image_projection(context[:, 0]), dim=-1)

    def embed_text(self, context: Tensor) -> Tensor:
        """Unit vectors (B, d_embed) from `text_context`: the start token speaks for the caption."""
        return F.normalize(self.text_projection(context[:, 0]), dim=-1)

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        return self._fuse(image, text)[:, 1]

    def _fuse(self, image: Tensor, text: Tensor) -> Tensor:
        """Logits (P, 2), of "does not belong" and "belongs", of pairs of contexts (P, T, width) and (P, L, width).

        The head reads the first word alone, so that the last layer computes no other.
        """

        def read(words: Tensor, seen: Tensor) -> Tensor:
            mask = word_mask(words)[:, None, None]
            for layer in self.fusion.layer:
                asking = words[:, :1] if layer is self.fusion.layer[-1] else words
                asking = _attend(layer.attention, asking, words, mask)
                words = layer.feed_forward_chunk(_attend(layer.crossattention, asking, seen))
            return words[:, 0]

        return self.itm(encode_by_length(read, text, image))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        first, place = each_image(batch["image"])
        image = self.image_context(batch["patches"][first])[place]
        text = self.text_context(trim_padding(batch["tokens"]))
        logits = self.similarity(self.embed_image(image), self.embed_text(text)) / self.temperature()
        itc = (soft_contrastive if restores(self.config.original, "targets") else contrastive)(logits, batch["image"])
        if not self.fusing:
            return {"loss": itc, "itc": itc, "itm": torch.zeros(())}
        among_all = restores(self.config.original, "negatives")
        pictures, captions, belong = matching_pairs(logits, batch["image"], first, 1e-5, among_all)
        itm = F.cross_entropy(self._fuse(image[pictures], text[captions]), belong)
        return {"loss": itc + itm, "itc": itc, "itm": itm}  # of a head that learns alone, itc has no gradient


def _attend(attention: nn.Module, asking: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
    """What a `BertAttention` makes of states (P, n, width) that attend to others (P, m, width), unless masked."""
    own = attention.self
    query, key, value = (
        part(states).unflatten(-1, (own.num_attention_heads, -1)).transpose(1, 2)
        for part, states in ((own.query, asking), (own.key, seen), (own.value, seen))
    )
    found = F.scaled_dot_product_attention(query, key, value, mask)
    return attention.output(found.transpose(1, 2).flatten(2), asking)
