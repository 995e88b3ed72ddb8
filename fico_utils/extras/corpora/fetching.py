"""What ``python -m fico_utils fetch`` does: says what a corpus needs, downloads what may be downloaded, checks it all.

No notebook comes here; whatever is on disk is kept and never asked for again.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fico_utils import registry
from fico_utils.data.corpus import SPLITS
from fico_utils.errors import InputError
from fico_utils.extras.corpora.debian import fetch_source
from fico_utils.extras.corpora.folder import FATAL, read_problems, write_rows
from fico_utils.extras.corpora.library import find_corpora, folder_corpus
from fico_utils.extras.corpora.openclipart import OPENCLIPART
from fico_utils.extras.corpora.pictures import PROBLEMS, check_images, file_images
from fico_utils.extras.corpora.reading import first_line, path_inside, read_json_object
from fico_utils.extras.corpora.released import RELEASED, list_released
from fico_utils.extras.corpora.stamps import STAMPS
from fico_utils.extras.towers.fetching import TOWERS, fetch_towers
from fico_utils.files import refuse_unwritable, sha256_file, write_json
from fico_utils.progress import show_progress

#: Share of a corpus's pictures that may be missing or unreadable, listed and left out; more is an unpacking gone wrong.
TOLERATED = 0.01
#: Folder of the authors' released embeddings below the data folder, and what `fetch` calls it.
RELEASE = "released"


@dataclass(frozen=True)
class Part:
    """One file or folder that a published corpus is made of."""

    name: str
    ask: str  # how to get it, in words
    url: str = ""  # a zip file that may be downloaded; empty where nobody may but you
    members: str = ""  # of the zip file, what begins so is unpacked
    gib: float = 0.0  # size of the zip file


_SPLITS = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
_COCO = "http://images.cocodataset.org"
PARTS: dict[str, tuple[Part, ...]] = {
    "flickr30k": (
        Part("dataset_flickr30k.json", "Karpathy's splits", _SPLITS, "dataset_flickr30k.json", 0.04),
        Part("images", "the folder flickr30k-images, which its makers send to researchers who fill in the form at "
             "shannon.cs.illinois.edu/DenotationGraph"),
    ),
    "mscoco": (
        Part("dataset_coco.json", "Karpathy's splits", _SPLITS, "dataset_coco.json", 0.04),
        Part("annotations", "the 80 categories", f"{_COCO}/annotations/annotations_trainval2014.zip",
             "annotations/instances_", 0.24),
        Part("images/train2014", "82 783 pictures", f"{_COCO}/zips/train2014.zip", "train2014/", 12.6),
        Part("images/val2014", "40 504 pictures", f"{_COCO}/zips/val2014.zip", "val2014/", 6.2),
    ),
}  # fmt: skip
#: Corpora that packages of Debian hold.
SOURCES = {source.corpus: source for source in (OPENCLIPART, STAMPS)}


def fetch(
    names: Sequence[str],
    data_dir: str | Path,
    say: Callable[[str], None] = print,
    progress: bool = True,
    parts: dict[str, tuple[Part, ...]] = PARTS,
) -> None:
    """Have corpora below `data_dir`, whole and checked: by id, by a folder's name or path, ``released``, or ``towers``.

    `say` takes a line at a time; `parts` may give other addresses, such as those of a mirror.

    InputError where something that only you may get is missing, a download fails, or a file is not what it was.
    """
    data_dir = Path(data_dir)
    for name in names:
        if name == RELEASE:
            say(_check_release(data_dir / RELEASE))
            continue
        if name == TOWERS:
            say("Pretrained towers:")
            fetch_towers(data_dir, say)
            continue
        if Path(name).name != name:
            info = folder_corpus(name)
        else:
            info = find_corpora(data_dir).get(name) or registry.corpus(name)
        say(f"{info.name}: {info.provenance or 'your own.'}")
        if info.drawn:
            say(f"  Nothing to download: {info.id} is drawn by the package itself.")
            continue
        if info.id in PARTS:
            _get_parts(info.open_reader().place(data_dir), parts[info.id], say, progress)
        elif info.id in SOURCES and Path(name).name == name:
            fetch_source(SOURCES[info.id], data_dir)
        say(f"  {check_corpus(info, data_dir, progress)}")


def check_corpus(info: registry.CorpusInfo, data_dir: Path, progress: bool = False) -> str:
    """A sentence on what is there, after reading all of it; writes ``checksums.json`` and ``problems.csv``.

    Pictures are read once, and again when their files changed; a text or label file that changed is refused.
    """
    reader = info.open_reader()
    folder = reader.place(data_dir)
    compare_checksums(folder, [path for path in reader.files(data_dir) if path.name != "problems.csv"])
    corpus = reader.read_pictures(data_dir, size=1, whole=True)
    key, sums = file_images(corpus)[0].key, read_json_object(folder / "checksums.json")
    if sums.get("pictures") != key:
        problems = check_images(corpus, progress)
        bad = [image for kind in FATAL for image in problems[kind]]
        if len(bad) > TOLERATED * corpus.n_img:
            raise InputError(
                f"{len(bad)} of {corpus.n_img} pictures in {folder / 'images'} are missing or cannot be read (first: "
                f"{bad[0]}); expected all of them: get or unpack them again"
            )
        rows = [(image, kind) for kind, images in problems.items() for image in images]
        write_rows(folder / "problems.csv", ("image", "problem"), rows)
        write_json(folder / "checksums.json", sums | {"pictures": key})
    kinds = [problem for _, problem in read_problems(folder)]
    listed = ", ".join(f"{kinds.count(kind)} {kind}" for kind in PROBLEMS if kind in kinds)
    notes = f"; problems.csv lists {listed} (all but greyscale ones are left out)" if listed else ""
    corpus = reader.read_pictures(data_dir, size=1)
    parts = {split: corpus.subset(split) for split in SPLITS if split in corpus.split}
    counts = ", ".join(f"{split} {part.n_img:,} / {part.n_txt:,}" for split, part in parts.items())
    repeated = corpus.n_txt - len(set(zip(corpus.caption_image.tolist(), corpus.captions, strict=True)))
    if repeated:
        notes += f"; {repeated} captions stand at their image already and are kept"
    return f"images / captions: {counts} in {folder}{notes}"


def compare_checksums(folder: Path, files: Sequence[Path]) -> None:
    """Write the SHA-256 of files to ``checksums.json`` when they are first used; refuse a file that is another now."""
    path = folder / "checksums.json"
    known = read_json_object(path) if path.is_file() else {}
    sums = {file.relative_to(folder).as_posix(): sha256_file(file) for file in files}
    for name, digest in sums.items():
        if known.get(name, digest) != digest:
            raise InputError(
                f"{folder / name} is not the file that was used first (its SHA-256 is not the one in {path}); get it "
                "again, or take its line out of checksums.json if the change is yours"
            )
    if sums.keys() - known.keys():
        write_json(path, dict(sorted({**known, **sums}.items())))


def _get_parts(folder: Path, parts: Sequence[Part], say: Callable[[str], None], progress: bool) -> None:
    """Have every part in `folder`; say of each whether it is there, and how it comes."""
    # a file that stays beside a part says that its unpacking was interrupted
    begun = {part: folder / f".{part.name.replace('/', '-')}-begun" for part in parts}
    wanted = [part for part in parts if not (folder / part.name).exists() or begun[part].exists()]
    for part in parts:
        how = f"{part.gib} GiB to download from {part.url}" if part.url else "yours"
        say(f"  {part.name}: {part.ask} ({how if part in wanted else 'there'})")
    for part in wanted:
        if not part.url:
            raise InputError(f"{folder / part.name} does not exist and cannot be downloaded: it is {part.ask}")
    need = 2 * sum(part.gib for part in wanted) * 2**30  # the archive, and what is in it
    folder.mkdir(parents=True, exist_ok=True)
    if need > shutil.disk_usage(folder).free:
        raise InputError(f"{need / 2**30:.0f} GiB are needed in {folder}; free some, or choose another data_dir")
    for part in wanted:
        archive = _download(part.url, folder, progress)
        begun[part].touch()
        _unpack(archive, part, folder, progress)
        begun[part].unlink()
        say(f"  {part.name}: unpacked; {archive} is not needed any more")


def _download(url: str, folder: Path, progress: bool) -> Path:
    """The file of an address in a folder: that which is there, or else downloaded; its SHA-256 is recorded."""
    import pooch

    pooch.get_logger().setLevel("ERROR")
    path = folder / url.rsplit("/", 1)[1]
    try:
        # one step at first, as pooch sets the total, and asks before whether there is anything to do
        with show_progress(description=path.name, total=1, unit="B", shown=progress) as bar:
            pooch.retrieve(url, None, path.name, folder, progressbar=bar if progress else False)
    except Exception as error:  # whatever the network, the server or the disk does
        raise InputError(
            f"{url} cannot be downloaded ({first_line(error)[:200]}); try again, or put the file at {path} yourself"
        ) from None
    compare_checksums(folder, [path])
    return path


def _unpack(archive: Path, part: Part, folder: Path, progress: bool) -> None:
    """Unpack the members of a part; what is there in full length already stays, so a killed run goes on.

    `pooch.Unzip` takes a folder that is there for a whole one, and moves a name that would leave the folder.
    """
    base = folder / "images" if part.name.startswith("images/") else folder
    try:
        with refuse_unwritable(base), zipfile.ZipFile(archive) as zipped:
            chosen = [m for m in zipped.infolist() if m.filename.startswith(part.members) and not m.is_dir()]
            if not chosen:
                raise InputError(f"{archive} holds nothing that begins with {part.members!r}; get it again")
            for member in show_progress(chosen, archive.name, unit="file", shown=progress):
                target = Path(path_inside(base, member.filename, str(archive)))
                if not target.is_file() or target.stat().st_size != member.file_size:
                    zipped.extract(member, base)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive} is no whole zip file ({error}); delete it and run again") from None


def _check_release(folder: Path) -> str:
    """A sentence on what there is of the authors' release; its files are recorded and compared."""
    found = list_released(folder)
    if not found:
        raise InputError(
            f"{folder} has no file of the authors' release; its makers publish no address for it: ask them, and put "
            "files such as scan_f30k_sim.npy and flickr30k-karpathy-test-lall.mat there"
        )
    compare_checksums(folder, sorted(path for path in folder.iterdir() if path.suffix in (".npy", ".mat")))
    each = ", ".join(f"{sum(c == corpus for _, c in found)} systems on {corpus}" for corpus in RELEASED)
    return f"The authors' release: {each} in {folder}"
