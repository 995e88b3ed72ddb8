"""What pretrained dual encoders have in common: prepared pictures, tokens, unit vectors, one device.

Pictures are cut to size on the CPU, as whole numbers, and normalised on the device.
Tokens are the tokenizer's ids plus one, so that 0 is padding whatever the vocabulary, as everywhere here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.pictures import file_images, read_picture
from fico_utils.extras.corpora.reading import first_line
from fico_utils.files import key_of
from fico_utils.models.contract import FusionModel
from fico_utils.models.encoding import encode_side
from fico_utils.models.layers import word_mask
from fico_utils.models.training import Inputs

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pictures or texts that `encode_images` and `encode_texts` encode at once.
BATCH = 32


class Preparation:
    """An image processor of transformers, in its Pillow form, in two halves: one cuts, one normalises."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        scale = getattr(processor, "rescale_factor", 1 / 255) if processor.do_rescale else 1.0
        mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
        # (x * scale - mean) / std in one multiplication and one addition
        self.gain, self.shift = scale / torch.tensor(std), -torch.tensor(mean) / torch.tensor(std)

    def cut(self, pictures: list) -> np.ndarray:
        """Whole numbers (b, 3, H, W); or, where pictures keep their shape, patches (b, 1 + P, 3 p p) int16.

        The first of those patches begins with how many rows and columns of them are real.
        """
        cut = self.processor(images=pictures, do_rescale=False, do_normalize=False, return_tensors="np")
        values = cut["pixel_values"]
        if "spatial_shapes" not in cut:
            return values
        packed = np.zeros((len(values), values.shape[1] + 1, values.shape[2]), np.int16)
        packed[:, 0, :2], packed[:, 1:] = cut["spatial_shapes"], values
        return packed

    def pixels(self, values: Tensor) -> dict[str, Tensor]:
        """What a vision tower takes, float32 on the device of `values`, from what `cut` made."""
        gain, shift = self.gain.to(values.device), self.shift.to(values.device)
        if values.ndim == 4:
            return {"pixel_values": values.float().mul_(gain[:, None, None]).add_(shift[:, None, None])}
        shapes, patches = values[:, 0, :2].long(), values[:, 1:].float()
        mask = torch.arange(patches.shape[1], device=values.device) < shapes.prod(1, keepdim=True)
        pixels = patches.shape[2] // len(gain)  # of a patch; its channels stand side by side
        patches = patches.mul_(gain.repeat(pixels)).add_(shift.repeat(pixels)) * mask[..., None]
        return {"pixel_values": patches, "pixel_attention_mask": mask.int(), "spatial_shapes": shapes}


class Pictures(Sequence):
    """Pictures cut to size when asked for: ``pictures[i:j]`` as `Preparation.cut` returns them.

    `read` gives the pictures of some rows as Pillow has them; `key` is that of the files they come from.
    """

    #: Whole numbers: nothing has to be read to know that they are finite.
    dtype = np.dtype(np.int16)

    def __init__(
        self, n: int, read: Callable[[np.ndarray], list[Image]], preparation: Preparation, key: str = ""
    ) -> None:
        self.n, self.read, self.preparation, self.key = n, read, preparation, key

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.preparation.cut(self.read(np.atleast_1d(np.arange(self.n)[rows])))


def corpus_pictures(corpus: Corpus, preparation: Preparation) -> Pictures:
    """The pictures of a corpus: files in their own size; arrays as they are, whose key is the corpus's own."""
    from PIL import Image

    if corpus.images is None:
        raise InputError(f"Corpus {corpus.name!r} has no pictures; read it with its image folder to encode them")
    try:
        files, index = file_images(corpus)
    except InputError:
        return Pictures(corpus.n_img, lambda rows: [Image.fromarray(p) for p in corpus.images[rows]], preparation)
    return Pictures(corpus.n_img, lambda rows: [files.original(int(i)) for i in index[rows]], preparation, files.key)


class Pretrained(FusionModel):
    """A pretrained network with its image processor and tokenizer; a subclass says how `_embed_image` and `_embed_text`
    make embeddings of the states of the vision tower and of tokens.

    `key` is that of the files it was loaded from and the precision it computes in. With the measure ``rerank`` it has
    a matching head, and `image_context`, `text_context` and `match` work.
    """

    image_input, text_input = "pixels", "tokens"
    architecture: ClassVar[str]
    longest: ClassVar[int] = 1 << 20  # tokens that are read of a caption at most, if the network can read so many
    measures: ClassVar[tuple[str, ...]] = ("cosine",)  # how its embeddings may be compared: `registry.System.measure`

    def __init__(self, network: nn.Module, processor: Any, tokenizer: Any, key: str) -> None:
        super().__init__(network.config)
        self.network, self.tokenizer, self.key = network, tokenizer, key
        self.preparation = Preparation(processor)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What its vision tower computes in; parts of BLIP-2 stay in float32 whatever was asked for."""
        return next(self.network.vision_model.parameters()).dtype

    @property
    def text_config(self) -> Any:
        """Configuration of the tower that reads text."""
        return self.network.config.text_config

    @property
    def max_words(self) -> int:
        """Tokens of the longest caption that it reads, specials included."""
        return min(self.longest, int(self.text_config.max_position_embeddings))

    def move_to(self, device: str) -> Pretrained:
        """Itself, ready to encode on a device; on a GPU where there is one, if `device` is empty."""
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return self.to(place).eval()
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"the device {place!r} cannot be used ({first_line(error)}); try cpu") from None

    def encode_images(self, pictures: Iterable[str | PathLike | Image]) -> np.ndarray:
        """Unit vectors (n, d) float32 of pictures: paths, or what Pillow opened, each as `read_picture` sees it.

        Alone or among others, a picture has the same vector up to the rounding of float32, which stays below 1e-5.
        InputError names a picture that cannot be read.
        """
        given = _listed(pictures)
        read = Pictures(len(given), lambda rows: [read_picture(given[row]) for row in rows], self.preparation)
        return single_vectors(encode_side(self.encode_image, read, BATCH))

    def encode_texts(self, texts: Iterable[str]) -> np.ndarray:
        """Unit vectors (n, d) float32 of texts, alone or among others the same as said in `encode_images`.

        A text that is longer than the model reads is cut, its end token is kept, and stderr says how many were cut.
        """
        given = _listed(texts)
        for place, text in enumerate(given):
            if not isinstance(text, str):
                raise InputError(f"text {place} to encode is {text!r}; expected a text")
        return encode_side(self.encode_text, self.tokens(given), BATCH)

    def tokens(self, captions: Sequence[str], padding: str | bool = False) -> np.ndarray:
        """Ids plus one, 0 where padded: (n, L) int32; longer captions are cut, and stderr says how many."""
        captions = list(captions)
        read = self.tokenizer(captions, truncation=True, max_length=self.max_words, padding=padding)["input_ids"]
        longer = sum(len(ids) > self.max_words for ids in self.tokenizer(captions, verbose=False)["input_ids"])
        if longer:
            print(
                f"{longer} of {len(captions)} captions are longer than the {self.max_words} tokens that the model "
                "reads, and are cut there",
                file=sys.stderr,
            )
        tokens = np.zeros((len(read), max(map(len, read))), np.int32)
        for row, ids in zip(tokens, read, strict=True):
            row[: len(ids)] = np.add(ids, 1)
        if tokens.max() > self.text_config.vocab_size:
            raise InputError(
                f"the tokenizer gives the id {tokens.max() - 1} and the network knows {self.text_config.vocab_size} "
                "words; get the tokenizer of the same checkpoint"
            )
        return tokens

    def inputs(self, corpus: Corpus) -> Inputs:
        """What it reads of a corpus; pictures are read when they are asked for."""
        pictures = corpus_pictures(corpus, self.preparation)
        tokens = {self.text_input: self.tokens(corpus.captions)}
        key = key_of(corpus.key, pictures.key, self.key)
        return Inputs({self.image_input: pictures}, tokens, corpus.caption_image, key)

    def _ids(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The tokenizer's ids (B, L) and the mask (B, L) int64, on the device, without columns of padding alone.

        Padding repeats the last id, so that no padding token is needed: it is masked, or stands after the end.
        """
        tokens = tokens[:, : max(1, int(word_mask(tokens).sum(1).max()))].to(self.device, torch.int64)
        mask = word_mask(tokens)
        last = (mask.sum(1, keepdim=True) - 1).clamp(min=0)
        return torch.where(mask, tokens, tokens.gather(1, last)).sub(1).clamp(min=0), mask.long()

    def _pixels(self, features: Tensor) -> dict[str, Tensor]:
        """What the vision tower takes, from what `Pictures` gives."""
        pixels = self.preparation.pixels(features.to(self.device))
        return {n: t.to(self.dtype) if t.is_floating_point() else t for n, t in pixels.items()}

    def encode_image(self, features: Tensor) -> Tensor:
        return unit_vectors(self._embed_image(self.vision(features)))

    def encode_text(self, features: Tensor) -> Tensor:
        return unit_vectors(self._embed_text(features))

    def vision(self, features: Tensor) -> Tensor:
        """States (B, T, width) of the vision tower, on its device and in its precision."""
        return self.network.vision_model(**self._pixels(features)).last_hidden_state

    def image_context(self, features: Tensor) -> Tensor:
        if "rerank" not in self.measures:
            raise InputError(
                f"{type(self.network).__name__} has no head that reads picture and caption together; "
                "compare its embeddings with measure cosine"
            )
        return self.vision(features).float().cpu()

    def text_context(self, features: Tensor) -> Tensor:
        """The tokens (B, L) themselves: the matching head embeds them anew."""
        return features


def unit_vectors(embeddings: Tensor) -> Tensor:
    """Unit vectors float32 on the CPU, normalised in float32 whatever the network computed in."""
    return F.normalize(embeddings.float(), dim=-1).cpu()


def single_vectors(embeddings: np.ndarray) -> np.ndarray:
    """One vector an item, (n, d); of BLIP-2's (n, n_queries, d) the first query's, and stderr says so."""
    if embeddings.ndim == 2:
        return embeddings
    print(
        f"the model gives {embeddings.shape[1]} vectors a picture, of which the nearest counts; that of the first "
        "query stands for all of them here, as in MTEB",
        file=sys.stderr,
    )
    return np.ascontiguousarray(embeddings[:, 0])


def _listed(items: Any) -> list[Any]:
    """The items, or the single one, to encode; InputError where there is none."""
    items = list(items) if isinstance(items, Iterable) and not isinstance(items, str) else [items]
    if not items:
        raise InputError("nothing is given to encode; expected at least one picture or text")
    return items
