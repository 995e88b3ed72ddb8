"""The answer in words: what to deploy at each size, what it loses, how to build it, and whether codes are worth it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fico_utils.errors import InputError
from fico_utils.escaping import markdown_text
from fico_utils.extras.deploy.candidates import A_CENTROID, EXACT, GRAPH, LISTS
from fico_utils.extras.deploy.codes import BITS, LEAST_PAIRS
from fico_utils.extras.deploy.lance import NAME, table_code
from fico_utils.extras.deploy.result import GIB, QUALITY, Candidates, budget_text, quality_of

if TYPE_CHECKING:
    import pandas as pd

#: Direction -> who asks, and for what; and the files that hold their vectors.
SIDES = {"t2i": ("caption", "image"), "i2t": ("image", "caption")}
FILES = {"caption": "texts.npy", "image": "images.npy"}
#: What the times of the table are.
TIMES = (
    "Times are of one thread. In brackets are the times between which 95 % of the rounds lay, or, where they are "
    "extrapolated, between which a new measurement is expected."
)
#: Beyond so many times the gallery an extrapolation is a guess.
FAR = 100
#: Below this share a candidate is named as losing too much.
MUCH = 0.5


def answer_text(found: Candidates) -> str:
    """The whole answer, in Markdown."""
    chosen: dict[int, Any] = {}
    for n in dict.fromkeys([found.n_items, *found.grow_to]):
        try:
            chosen[n] = found.best(items=n)
        except InputError as error:
            chosen[n] = str(error)
    told = [_of_exact(found), *(_of_size(found, n, row) for n, row in chosen.items())]
    told += [_of_codes(found, n) for n in dict.fromkeys([found.n_items, *found.grow_to[-1:]])]
    told.append(_of_left_out(found))
    listed = "\n".join(f"- {sentence}" for sentence in told if sentence)
    parts = ["# What to deploy", listed, _size_table(chosen), TIMES]
    for row in [row for row in chosen.values() if not isinstance(row, str)][:1]:
        lead = f"To build {row['name']} of {row['items']:,} items and ask it, where images.npy and texts.npy are given:"
        parts.append(f"{lead}\n\n```python\n{build_code(found, row)}```")
    return "\n\n".join(parts) + "\n"


def _of_exact(found: Candidates) -> str:
    asks, asked = SIDES[found.direction]
    exact = found.rows_at(found.n_items).set_index("name").loc[EXACT]
    low, high = exact[f"{QUALITY}_ci_low"], exact[f"{QUALITY}_ci_high"]
    text = (
        f"Exhaustive search of the {found.n_items:,} {asked}s as float32 vectors ({EXACT}) finds the right {asked} "
        f"first for {exact[QUALITY]:.1%} of the {asks}s (95 % interval {low:.1%} to {high:.1%}, {found.n_query:,} "
        f"{asks}s asked); it takes {_ms(exact['query_ms'])} a query on one thread and {_size(exact['memory_bytes'])}."
    )
    if low <= found.chance:
        text += (
            f" A random order finds {found.chance:.2%} first, so these embeddings do not tell which {asked} belongs to "
            f"a {asks}, and no index repairs that: the candidates below are ranked by their neighbour recall alone."
        )
    return text


def _of_size(found: Candidates, n: int, row: pd.Series | str) -> str:
    if isinstance(row, str):
        return f"{row[0].upper()}{row[1:]}."
    within = budget_text(found.memory_gib, found.latency_ms)
    sure = "measured" if row["status"] == "measured" else f"extrapolated from {found.n_items:,} items and fewer"
    if n > FAR * found.n_items:
        sure += f", {n / found.n_items:,.0f} times as many: measure a larger part before you rely on it"
    share = row["share_of_exact"]
    loses = f"its first item is an exact nearest one for {row['neighbour_recall@1']:.1%} of the queries"
    if row["name"] == EXACT:
        loses = "it is exact and loses nothing"
    elif share == share:
        lost = f"{1 - share:.1%}" if share < 1 else "nothing"
        loses = f"it loses {lost} of the {QUALITY} of exhaustive search and finds {row[QUALITY]:.1%} first"
    if (row["neighbour_recall@1"] if share != share else share) < MUCH:
        loses += ", which is too little to be of use: allow more time or memory"
    within, costs = f"Within {within}" if within else "Without a limit", f"{_ms(row['query_ms'])} a query"
    made = "lancedb.index:" if NAME in row["name"] else "factory string"
    what = f"{row['name']} ({made} {row['factory']}) for {n:,} items"
    return f"{within}, deploy {what}: {loses}, in {costs} and {_size(row['memory_bytes'])} ({sure})."


def _of_codes(found: Candidates, n: int) -> str:
    """Whether codes are worth their loss, beside the fastest index of vectors that finds as much: one sentence."""
    compared = found.codes_and_rival(n)
    if compared is None:
        return ""
    rows, items = found.rows_at(n), f"at {n:,} items"
    quality = quality_of(rows)
    exact = rows.loc[rows["name"] == EXACT, quality].iloc[0]
    kept = [
        f"{row['name']} keeps {min(1.0, row[quality] / exact):.1%} of the {quality} of exhaustive search in "
        f"{_ms(row['query_ms'])} and {row['bytes_per_item']:,.0f} bytes an item"
        for row in compared[:3]
    ]
    if not compared[3]:
        why = f"among codes {kept[0]}, while without codes {kept[1]}"
        return f"Hashing is the wrong idea {items} unless memory decides: {why}; of codes without vectors {kept[2]}."
    return (
        f"Codes are worth having {items}: {kept[0]}, while the fastest index of vectors as good is slower: {kept[1]}."
    )


def _of_left_out(found: Candidates) -> str:
    """What was not measured at the whole gallery, and why: one sentence, or none."""
    out, largest, here = [], {}, [row for row in found.records if row["items"] == found.n_items]
    for row in found.records:
        if row["law"] == GRAPH:
            name = row["name"].removesuffix(f", {row['search']}")
            largest[name] = max(largest.get(name, 0), row["items"])
    for name, n in largest.items():
        if n < found.n_items:
            out.append(f"{name} of more than {n:,} items, which takes long to build (its numbers are extrapolated)")
    if not any(row["law"] == LISTS for row in here):
        out.append(f"inverted lists, which need {A_CENTROID**2:,} items")
    if found.quick:
        out.append("learned codes and many settings, as this is a quick run")
    elif not any(row["codes"].startswith("learned") for row in here):
        out.append(f"learned codes, which need {BITS[0]} dimensions and {LEAST_PAIRS} pairs that nobody asks about")
    over = {row["codes"]: True for row in here if row["factory"].startswith(("BIVF", "BHNSW", "BHash"))}
    if over:
        names = " and ".join(f"{codes} bits" for codes in over)
        out.append(f"lists, graphs and hash tables of codes but {names}, which find most of their kind")
    return f"Left out: {'; '.join(out)}." if out else ""


def _size_table(chosen: Mapping[int, Any]) -> str:
    """A row for each size: what to deploy, and its numbers."""
    head = ("items", "deploy", "factory string", QUALITY, "share of exact", "ms a query", "memory", "status")
    lines = [head, ("---",) * len(head)]
    for n, row in chosen.items():
        if isinstance(row, str):
            lines.append((f"{n:,}", "nothing fits", *[""] * 6))
            continue
        time, share = _ms(row["query_ms"]), row["share_of_exact"]
        if row["query_ms_low"] == row["query_ms_low"]:
            time += f" ({_ms(row['query_ms_low'])} to {_ms(row['query_ms_high'])})"
        recall = f"{row[QUALITY]:.1%} ({row[f'{QUALITY}_ci_low']:.1%} to {row[f'{QUALITY}_ci_high']:.1%})"
        cells = row["name"], row["factory"], recall, "" if share != share else f"{share:.1%}", time
        lines.append((f"{n:,}", *map(markdown_text, (*cells, _size(row["memory_bytes"]), row["status"]))))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def build_code(found: Candidates, row: Mapping[str, Any]) -> str:
    """Python that builds the index of one row from images.npy and texts.npy, and asks it."""
    asks, asked = SIDES[found.direction]
    lines = ["import faiss, numpy as np"]
    for name, file in (("gallery", FILES[asked]), ("queries", FILES[asks])):
        lines.append(f"{name} = np.load('{file}').astype('float32'); faiss.normalize_L2({name})")
    searches = [part.split("=") for part in row["search"].split(",") if part]
    if NAME in row["name"] and not row["codes"]:
        return "\n".join([*lines, *table_code(row, "gallery", "queries"), ""])
    if not row["codes"]:
        lines.append(f"index = faiss.index_factory({found.dim}, '{row['factory']}', faiss.METRIC_INNER_PRODUCT)")
        lines.append("index.train(gallery); index.add(gallery)")
        if searches:
            lines.append(f"faiss.ParameterSpace().set_index_parameters(index, '{row['search']}')")
        return "\n".join([*lines, "scores, ids = index.search(queries, 10)", ""])
    method, bits = row["codes"].split()
    both = "codes, asked = (np.packbits({} > 0, axis=1) for x in (gallery, queries))"
    lines += {
        "sign": [both.format("x")],
        "rotation": [f"turn = faiss.RandomRotationMatrix({found.dim}, {bits}); turn.init(1338)"],
        "itq": [f"turn = faiss.ITQTransform({found.dim}, {bits}, True); turn.train(gallery)"],
        "learned": [
            f"from safetensors.numpy import load_file; head = load_file('learned_{bits}.safetensors')  # in out",
            "code = lambda x, side: np.packbits(x @ head[side + '.weight'].T + head[side + '.bias'] > 0, axis=1)",
            "codes, asked = code(gallery, 'items'), code(queries, 'asking')",
        ],
        "own": ["codes, asked = np.load('gallery_codes.npy'), np.load('query_codes.npy')  # your own, packed"],
    }[method]
    lines += [both.format("turn.apply(x)")] if method in ("rotation", "itq") else []
    if NAME in row["name"]:
        lines += table_code(row, "codes", "asked")
    else:
        lines.append(f"index = faiss.index_binary_factory({bits}, '{row['factory']}')")
        lines.append("index.train(codes); index.add(codes)")
        lines += [f"index.{'hnsw.' if name == 'efSearch' else ''}{name} = {value}" for name, value in searches]
        lines.append(f"distances, ids = index.search(asked, {row['depth'] or 10})")
    if row["depth"]:
        lines.append("vectors = gallery.astype('float16')  # rank what was found again")
        again = "i[np.argsort(-(vectors[i].astype('float32') @ q))][:10]"
        lines.append(f"ids = np.stack([{again} for i, q in zip(ids, queries)])")
    return "\n".join([*lines, ""])


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:,.3g} s"


def _size(value: float) -> str:
    return f"{value / GIB:,.3g} GiB" if value >= GIB / 10 else f"{value / 2**20:,.3g} MiB"
