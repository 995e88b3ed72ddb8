"""The answer in words: what to deploy at each size, what it loses, how to build it, and whether codes are worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fico_utils.errors import InputError
from fico_utils.escaping import markdown_text
from fico_utils.extras.deploy.candidates import EXACT
from fico_utils.extras.deploy.result import GIB, QUALITY, Deployment

if TYPE_CHECKING:
    import pandas as pd

SIDES = {"t2i": ("caption", "image"), "i2t": ("image", "caption")}
#: Shares of the exhaustive search's recall@1 from which a candidate counts as losing little.
LITTLE = 0.98


def answer_text(found: Deployment) -> str:
    """The whole answer, in Markdown."""
    sizes = [found.n_items, *(n for n in found.grow_to if n != found.n_items)]
    chosen: dict[int, Any] = {}
    for n in sizes:
        try:
            chosen[n] = found.best(items=n)
        except InputError as error:
            chosen[n] = str(error)
    told = [_of_exact(found), *(_of_size(found, n, row) for n, row in chosen.items()), _of_codes(found), *found.notes]
    first = next((row for row in chosen.values() if not isinstance(row, str)), None)
    parts = ["# What to deploy", " ".join(filter(None, told)), _size_table(chosen)]
    if first is not None:
        lead = f"This builds and asks {first['name']} for {first['items']:,} items (images.npy and texts.npy are the arrays):"
        parts.append(f"{lead}\n\n```python\n{build_code(found, first)}```")
    return "\n\n".join(parts) + "\n"


def _of_exact(found: Deployment) -> str:
    asks, asked = SIDES[found.direction]
    exact = found.rows_at(found.n_items).set_index("name").loc[EXACT]
    text = (
        f"Exhaustive search of the {found.n_items:,} {asked}s as float32 vectors ({EXACT}) finds the right {asked} first "
        f"for {exact[QUALITY]:.1%} of the {asks}s (95 % interval {exact[f'{QUALITY}_ci_low']:.1%} to "
        f"{exact[f'{QUALITY}_ci_high']:.1%}, {found.n_query:,} {asks}s asked), takes {_ms(exact['query_ms'])} a query on "
        f"one thread and {_size(exact['memory_bytes'])}."
    )
    if exact[f"{QUALITY}_ci_low"] <= found.chance:
        text += (
            f" A random order would find {found.chance:.2%}: these embeddings do not tell which {asked} belongs to a "
            f"{asks}, and no index repairs that, so judge the candidates by their neighbour recall alone."
        )
    return text


def _of_size(found: Deployment, n: int, row: pd.Series | str) -> str:
    if isinstance(row, str):
        return f"{row[0].upper()}{row[1:]}."
    limits = [] if found.memory_gib is None else [f"{found.memory_gib:g} GiB"]
    limits += [] if found.latency_ms is None else [f"{found.latency_ms:g} ms a query"]
    within = f"Within {' and '.join(limits)}, deploy" if limits else "Without a limit, deploy"
    sure = "measured" if row["status"] == "measured" else f"extrapolated from {found.n_items:,} items and fewer"
    return f"{within} {row['name']} (factory string {row['factory']}) for {n:,} items: {_lost(row)}, takes " \
        f"{_ms(row['query_ms'])} a query and {_size(row['memory_bytes'])} ({sure})."  # fmt: skip


def _lost(row: pd.Series) -> str:
    if row["name"] == EXACT:
        return "it is exact and loses nothing"
    share = row["share_of_exact"]
    if share != share:
        return f"its nearest item is the exact one for {row['neighbour_recall@1']:.1%} of the queries"
    lost = f"loses {1 - share:.1%} of" if share < 1 else "loses nothing of"
    return f"it {lost} the recall@1 of exhaustive search ({row[QUALITY]:.1%} are found first)"


def _of_codes(found: Deployment) -> str:
    """Whether codes are worth their loss, beside the best index of vectors in the same time: one sentence."""
    rows = found.rows_at(max([found.n_items, *found.grow_to]))
    coded, floats = rows[rows["codes"] != ""], rows[(rows["codes"] == "") & (rows["name"] != EXACT)]
    if coded.empty or floats.empty:
        return ""
    n = int(rows["items"].iloc[0])
    quality = QUALITY if rows["share_of_exact"].notna().any() else "neighbour_recall@1"
    exact = rows.loc[rows["name"] == EXACT, quality].iloc[0]
    good = coded[coded[quality] >= LITTLE * exact]
    code = coded.loc[coded[quality].idxmax()] if good.empty else good.loc[good["query_ms"].idxmin()]
    rivals = floats[floats[quality] >= min(code[quality], LITTLE * exact)]
    rival = floats.loc[floats[quality].idxmax()] if rivals.empty else rivals.loc[rivals["query_ms"].idxmin()]
    numbers = [
        f"{r['name']} keeps {min(1.0, r[quality] / exact):.1%} in {_ms(r['query_ms'])} and "
        f"{r['bytes_per_item']:,.0f} bytes an item"
        for r in (code, rival)
    ]
    beaten = rival[quality] >= code[quality] - 0.01 * exact and rival["query_ms"] <= code["query_ms"]
    smallest = coded.loc[coded["bytes_per_item"].idxmin()]
    if beaten or good.empty:
        return (
            f"Hashing is the wrong idea at {n:,} items unless memory is all that counts: of exhaustive search's "
            f"{quality}, {numbers[0]}, while {numbers[1]}, without codes; the smallest codes, {smallest['name']}, take "
            f"{smallest['bytes_per_item']:,.0f} bytes an item and keep {min(1.0, smallest[quality] / exact):.1%}."
        )
    return f"Codes are worth their loss at {n:,} items: of exhaustive search's {quality}, {numbers[0]}, while {numbers[1]}."


def _size_table(chosen: dict[int, Any]) -> str:
    """A row for each size: what to deploy, and its numbers."""
    head = ("items", "deploy", "factory string", "recall@1", "share of exact", "ms a query", "memory", "status")
    lines = [head, tuple("---" for _ in head)]
    for n, row in chosen.items():
        if isinstance(row, str):
            lines.append((f"{n:,}", "nothing fits", *[""] * 6))
            continue
        time = _ms(row["query_ms"])
        if row["query_ms_low"] == row["query_ms_low"]:
            time += f" ({_ms(row['query_ms_low'])} to {_ms(row['query_ms_high'])})"
        recall = f"{row[QUALITY]:.1%} ({row[f'{QUALITY}_ci_low']:.1%} to {row[f'{QUALITY}_ci_high']:.1%})"
        share = "" if row["share_of_exact"] != row["share_of_exact"] else f"{row['share_of_exact']:.1%}"
        cells = (row["name"], row["factory"], recall, share, time, _size(row["memory_bytes"]), row["status"])
        lines.append((f"{n:,}", *map(markdown_text, cells)))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def build_code(found: Deployment, row: pd.Series) -> str:
    """Python that builds the index of one row from images.npy and texts.npy, and asks it."""
    gallery, asking = ("images", "texts") if found.direction == "t2i" else ("texts", "images")
    lines = ["import faiss, numpy as np"]
    load = "np.load('{0}.npy').astype('float32'); {1} /= np.linalg.norm({1}, axis=1, keepdims=True)"
    lines += [f"gallery = {load.format(gallery, 'gallery')}", f"queries = {load.format(asking, 'queries')}"]
    if not row["codes"]:
        lines.append(f"index = faiss.index_factory({found.dim}, '{row['factory']}', faiss.METRIC_INNER_PRODUCT)")
        lines.append("index.train(gallery); index.add(gallery)")
        if row["search"]:
            lines.append(f"faiss.ParameterSpace().set_index_parameters(index, '{row['search']}')")
        return "\n".join([*lines, "scores, ids = index.search(queries, 10)", ""])
    bits = int(row["codes"].split()[-1])
    lines += encoder_code(row["codes"], found.dim)
    lines.append(f"index = faiss.index_binary_factory({bits}, '{row['factory']}')")
    lines.append("index.train(codes); index.add(codes)")
    for name, value in (part.split("=") for part in row["search"].split(",") if part):
        lines.append(f"index.{'hnsw.' if name == 'efSearch' else ''}{name} = {value}")
    lines.append(f"distances, ids = index.search(asked, {row['depth'] or 10})")
    if row["depth"]:
        lines.append("ids = np.stack([i[np.argsort(-(gallery[i] @ q))][:10] for i, q in zip(ids, queries)])")
    return "\n".join([*lines, ""])


def encoder_code(codes: str, dim: int) -> list[str]:
    """Python that makes ``codes`` of the gallery and ``asked`` of the queries."""
    method, bits = codes.split()
    if method == "sign":
        return ["codes, asked = np.packbits(gallery > 0, axis=1), np.packbits(queries > 0, axis=1)"]
    if method == "own":
        return ["codes, asked = np.load('gallery_codes.npy'), np.load('query_codes.npy')  # packed, your own"]
    if method == "learned":
        return [
            f"from safetensors.numpy import load_file; head = load_file('learned_{bits}.safetensors')  # from --out",
            "codes, asked = (np.packbits(x @ head[f'{s}.weight'].T + head[f'{s}.bias'] > 0, axis=1)",
            "    for x, s in ((gallery, 'items'), (queries, 'asking')))",
        ]
    if method == "itq":
        made = [f"turn = faiss.ITQTransform({dim}, {bits}, True); turn.train(gallery)"]
    else:
        made = [f"turn = faiss.RandomRotationMatrix({dim}, {bits}); turn.init(1338)"]
    return [*made, "codes, asked = (np.packbits(turn.apply(x) > 0, axis=1) for x in (gallery, queries))"]


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:,.3g} s"


def _size(value: float) -> str:
    return f"{value / GIB:,.3g} GiB" if value >= GIB / 10 else f"{value / 2**20:,.3g} MiB"
