"""The losses of all systems, over B pairs in a batch: row i of both sides is a pair.

``image`` (B,) is the index of each pair's image, and captions of one image are no negatives of each other. Where it
may be None, they are, as in some originals.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def same_image(image: Tensor) -> Tensor:
    """Which pairs of a batch share an image: (B, B) bool, the diagonal left out."""
    mask = image[:, None] == image[None, :]
    return mask & ~torch.eye(len(image), dtype=torch.bool, device=image.device)


def _no_negative(scores: Tensor, image: Tensor | None) -> Tensor:
    """Which cells (B, B) are no negatives: the diagonal, and captions of the same image."""
    diagonal = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return diagonal if image is None else diagonal | same_image(image)


def hinge_loss(scores: Tensor, image: Tensor | None, margin: float = 0.2, negatives: str = "hardest") -> Tensor:
    """Hinge loss of scores (B, B), images in rows and captions in columns, summed over the batch and both directions.

    Parameters
    ----------
    negatives : str, those of a pair that count: ``hardest``, one alone (VSE++, Faghri et al. 2018); ``tenth``, all of
        them, a tenth of each; ``violating``, the mean over those that violate the margin, nearly all of them at the
        start of a training and often the hardest alone at its end.
    """
    positive, no_negative = scores.diagonal(), _no_negative(scores, image)
    by_image = (margin + scores - positive[:, None]).clamp_min(0).masked_fill(no_negative, 0)
    by_caption = (margin + scores - positive[None, :]).clamp_min(0).masked_fill(no_negative, 0)
    if negatives == "hardest":
        return by_image.amax(1).sum() + by_caption.amax(0).sum()
    if negatives == "tenth":
        return (by_image + by_caption).sum() / 10
    sides = [
        (cost.sum(axis) / (cost > 0).sum(axis).clamp_min(1)).sum() for axis, cost in ((1, by_image), (0, by_caption))
    ]
    return sides[0] + sides[1]


def angular_loss(image: Tensor, text: Tensor, index: Tensor | None) -> Tensor:
    """Angular loss at 45 degrees with the hardest negative (Wang et al., ICCV 2017), summed over both directions.

    Parameters
    ----------
    image, text : Tensor (B, bits), unit vectors.
    index : Tensor (B,) or None, the image of each pair.
    """
    scores = image @ text.T
    pair, no_negative = scores.diagonal()[:, None], _no_negative(scores, index)

    def side(across: Tensor, within: Tensor) -> Tensor:
        worst = (4 * (across + within) - 4 * pair).masked_fill(no_negative, -1e4).amax(1)
        return F.softplus(worst).sum()

    return side(scores, text @ text.T) + side(scores.T, image @ image.T)


def contrastive(logits: Tensor, image: Tensor | None) -> Tensor:
    """Symmetric cross entropy of scaled logits (B, B) with diagonal targets (CLIP, Radford et al. 2021), mean."""
    if image is not None:
        logits = logits.masked_fill(same_image(image), float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def smooth_contrastive(logits: Tensor, image: Tensor, smoothing: float) -> Tensor:
    """As `contrastive`, with the share `smoothing` of each target spread evenly over the row."""
    same = same_image(image)

    def side(scores: Tensor) -> Tensor:
        told = scores.masked_fill(same, float("-inf")).log_softmax(1)
        spread_out = told.masked_fill(same, 0).sum(1) / (~same).sum(1)
        return -((1 - smoothing) * told.diagonal() + smoothing * spread_out).mean()

    return (side(logits) + side(logits.T)) / 2


def soft_contrastive(logits: Tensor, image: Tensor, smoothing: float = 0.0) -> Tensor:
    """Symmetric cross entropy whose targets are shared by all pairs of one image (ITC of X-VLM and BLIP-2), mean.

    The share `smoothing` of each target is spread evenly over the batch.
    """
    by_text = logits.T
    target = (image[:, None] == image[None, :]).float()
    target = target / target.sum(1, keepdim=True)
    target = (1 - smoothing) * target + smoothing / len(image)
    return (F.cross_entropy(logits, target) + F.cross_entropy(by_text, target)) / 2


def negative_weights(logits: Tensor, same: Tensor, floor: float = 0.0, among_all: bool = False) -> Tensor:
    """How often each column (B, B) is drawn as the negative of its row, up to a factor; 0 where both are the `same`.

    The softmax of a row runs over its negatives, so that it always has weight left; with `among_all` over all pairs, as
    in X-VLM, so that a row whose own pair stands out draws nearly evenly, by the `floor` that is added.
    """
    among = logits if among_all else logits.masked_fill(same, float("-inf"))
    return (among.softmax(1) + floor).masked_fill(same, 0)


@torch.no_grad()
def hard_negatives(logits: Tensor, image: Tensor, floor: float = 0.0, among_all: bool = False) -> tuple[Tensor, Tensor]:
    """One negative text for each image and one negative image for each text, drawn by `negative_weights`.

    Parameters
    ----------
    logits : Tensor (B, B), images in rows, already scaled.

    Returns
    -------
    texts, images : Tensor (B,) int64, positions in the batch.
    """
    same = image[:, None] == image[None, :]
    assert not same.all(), f"a batch of {len(image)} pairs shows one image only; hard negatives need two"

    def draw(scores: Tensor) -> Tensor:
        return torch.multinomial(negative_weights(scores, same, floor, among_all), 1).squeeze(1)

    return draw(logits), draw(logits.T)


def matching_pairs(
    logits: Tensor, image: Tensor, first: Tensor, floor: float = 0.0, among_all: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs that a fusion head learns from: the `first` of each image, and each side of them with a hard negative.

    Returns
    -------
    pictures, captions : Tensor (3 n,) int64, positions in the batch.
    belong : Tensor (3 n,) int64, 1 where the two are a pair.
    """
    captions, pictures = hard_negatives(logits, image, floor, among_all)
    pictures, captions = torch.cat([first, pictures[first], first]), torch.cat([first, first, captions[first]])
    return pictures, captions, (pictures == captions).long()


def label_gains(labels: Tensor) -> Tensor:
    """How much it matters to have item j near anchor i: (2^shared - 1) over the batch's ideal DCG of i; (B, B)."""
    gain = 2.0 ** (labels @ labels.T) - 1
    ranked = gain.sort(dim=1, descending=True).values
    ideal = ranked / torch.arange(2, len(labels) + 2, dtype=labels.dtype, device=labels.device).log2()
    return gain / ideal.sum(1, keepdim=True)


def triplet_loss(cosine: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Sum over anchors i, items j that share a label and k that share none of w_ij relu(d_ij - d_ik + margin) (DADH).

    The weight depends on j only. With the distances of the k sorted, the sum over those nearer than d_ij + margin is
    their number times that bound, less their prefix sum: B^2 log B instead of B^3.

    Parameters
    ----------
    cosine : Tensor (B, B), anchors in rows, items of the other modality in columns; d = 1 - cosine, at least 0.
    labels : Tensor (B, n_labels), multi-hot, no row empty.
    """
    distance = (1 - cosine).clamp_min(0)
    shared = labels @ labels.T > 0
    ordered = distance.masked_fill(shared, math.inf).sort(dim=1).values
    bound = distance + margin
    nearer = torch.searchsorted(ordered.detach().contiguous(), bound.detach().contiguous())
    prefix = F.pad(ordered.masked_fill(ordered.isinf(), 0).cumsum(1), (1, 0))
    hinges = nearer * bound - prefix.gather(1, nearer)
    return (label_gains(labels) * hinges).sum()


def asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    focus_positive: float = 0.0,
    focus_negative: float = 2.0,
    clip: float = 0.0,
    floor: float = 0.0,
) -> Tensor:
    """Binary cross entropy whose easy negatives count less (Ben-Baruch et al., ICCV 2021), mean over the batch.

    Positives are weighted by (1 - p)^focus_positive, negatives by p^focus_negative after p is lowered by `clip`; no
    gradient runs through the weights. Logits and labels (B, n_labels) of 0 and 1; the sum is over the labels. What a
    logarithm is taken of is `floor` at least, so that no gradient comes from below it; exact without.
    """
    p = logits.sigmoid()
    lowered = (p - clip).clamp_min(0)
    positive, negative = labels * F.logsigmoid(logits), (1 - labels) * F.logsigmoid(-logits)
    if floor > 0:
        positive = labels * p.clamp_min(floor).log()
    if clip > 0 or floor > 0:
        negative = (1 - labels) * (1 - lowered).clamp_min(floor or 1e-5).log()
    with torch.no_grad():
        weight = torch.where(labels > 0, (1 - p) ** focus_positive, lowered**focus_negative)
    return -((positive + negative) * weight).sum(1).mean()
