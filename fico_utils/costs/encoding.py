"""Time to turn a collection into embeddings, in bounded memory (Table 5, left half).

Images and texts are timed apart. A batch is fetched (rendered, read) outside the clock, encoded inside it and
dropped, so memory does not grow with the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fico_utils.costs.clock import Loading, Timing, measure
from fico_utils.costs.growth import cell_rows, sweep
from fico_utils.errors import InputError

#: A system's encoder: takes an iterator of batches, returns the embeddings, or yields them batch by batch.
Encoder = Callable[[Iterator[Any]], Any]


def batches(items: Sequence[Any], n: int, size: int) -> Iterator[Any]:
    """The first `n` items as slices of at most `size`.

    Raises
    ------
    InputError
        Fewer than `n` items, or a batch size below 1.
    """
    if n > len(items):
        raise InputError(
            f"{n} items were asked to be encoded and {len(items)} given; ask for fewer, or extrapolate to that size"
        )
    if size < 1:
        raise InputError(f"a batch size of {size} was given; expected at least 1")
    return (items[start : min(start + size, n)] for start in range(0, n, size))


def time_encoder(
    encode: Encoder, items: Sequence[Any], n: int, *, batch: int = 128, device: str = "cpu", **protocol: Any
) -> Timing:
    """The `Timing` of encoding the first `n` items.

    Parameters
    ----------
    encode : callable taking an iterator of batches; what it returns is dropped, a generator is drained first.
    items : sliceable; a slice is a batch, and may be made on demand.
    n : int, items to encode.
    batch : int, items a batch.
    **protocol : of `measure`: repeats, warmup, budget_s.
    """
    loading = Loading(device)
    batches(items, n, batch)  # bad sizes are refused before the clock starts

    def run() -> None:
        encoded = encode(loading.over(batches(items, n, batch)))
        if isinstance(encoded, Iterator):
            for _ in encoded:
                pass

    return measure(run, loading=loading, device=device, **protocol)


def together(first: Timing, second: Timing) -> Timing:
    """The `Timing` of both, one after the other: samples added pairwise."""
    peaks = [t.peak_bytes for t in (first, second) if t.peak_bytes is not None]
    extras = [t.extra_bytes for t in (first, second) if t.extra_bytes is not None]
    return Timing(
        samples=tuple(a + b for a, b in zip(first.samples, second.samples, strict=False)),
        warm=first.warm and second.warm,
        threads=max(first.threads, second.threads),
        device=first.device,
        peak_bytes=max(peaks, default=None),
        extra_bytes=max(extras, default=None),
    )


def encoding_rows(
    encode_images: Encoder,
    images: Sequence[Any],
    encode_texts: Encoder,
    texts: Sequence[Any],
    *,
    scales: Sequence[tuple[int, int]],
    batch: int = 128,
    phase: str = "encode",
    limit_s: float | None = None,
    extrapolate_to: Sequence[tuple[int, int]] = (),
    device: str = "cpu",
    repeats: int = 5,
    warmup: int = 1,
    budget_s: float | None = None,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows ``seconds_image``, ``seconds_text`` and ``seconds`` (their sum) at each scale.

    Parameters
    ----------
    encode_images, encode_texts : callables taking an iterator of batches (see `Encoder`).
    images, texts : sliceable; the batches are slices of them.
    scales : (n_img, n_txt) to measure.
    batch : int, items a batch.
    phase : ``encode``, or ``features`` for what an extractor does before the system's own encoder.
    limit_s : float or None, s; a scale that the fit of smaller ones puts above it is extrapolated, not run.
    extrapolate_to : (n_img, n_txt) that are only extrapolated.
    device : ``cpu`` or ``cuda``.
    repeats, warmup, budget_s : of `measure`; the budget is of one side at one scale.
    **columns : of `row`: system, corpus, run.

    Raises
    ------
    InputError
        A scale beyond the items given, a batch, repeat or budget that makes no sense.

    Examples
    --------
    >>> import numpy as np
    >>> double = lambda batches: [2 * b for b in batches]
    >>> rows = encoding_rows(double, np.ones((8, 4)), double, np.ones((40, 4)), scales=[(8, 40)])
    >>> [r["quantity"] for r in rows]
    ['seconds_image', 'seconds_text', 'seconds']
    """
    protocol = {"batch": batch, "device": device, "repeats": repeats, "warmup": warmup, "budget_s": budget_s}
    # a scale beyond the items is refused now, not after the smaller scales have run
    batches(images, max((n for n, _ in scales), default=0), batch)
    batches(texts, max((n for _, n in scales), default=0), batch)

    def time_at(n_img: int, n_txt: int) -> dict[str, Timing]:
        image = time_encoder(encode_images, images, n_img, **protocol)
        text = time_encoder(encode_texts, texts, n_txt, **protocol)
        return {"seconds_image": image, "seconds_text": text, "seconds": together(image, text)}

    quantities = ("seconds_image", "seconds_text", "seconds")
    cells = sweep(scales, time_at, limit_s=limit_s, extrapolate_to=extrapolate_to)
    return [r for cell in cells for r in cell_rows(cell, phase, quantities, device=device, **columns)]
