"""Every format in which people hold arrays gives the array that was written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat
from scipy.sparse import csc_array

from fico_utils.evaluation.embeddings import as_array
from fico_utils.extras.corpora.arrays import read_array
from tests.faults.arrays import forked_readers

X = np.random.default_rng(0).standard_normal((4, 3)).astype("f4")
ROUNDED = torch.tensor(X).bfloat16().float().numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder with X in every format."""
    h5py, pa = pytest.importorskip("h5py"), pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder, tensor = tmp_path_factory.mktemp("arrays"), torch.tensor(X)
    np.save(folder / "c.npy", X)
    with (folder / "f.NPY").open("wb") as file:
        np.save(file, np.asfortranarray(X))
    np.savez_compressed(folder / "x.npz", x=X, y=X + 1)
    save_file({"e": torch.empty(0), "b": tensor.bfloat16(), "x": tensor}, folder / "x.safetensors")
    savemat(folder / "x.mat", {"x": X, "s": csc_array(X)}, do_compression=True)
    with h5py.File(folder / "m.mat", "w", userblock_size=512) as file:
        file["x"] = X.T
    with (folder / "m.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    with h5py.File(folder / "x.h5", "w") as file:
        file["group/x"] = X
    (folder / "x.hdf5").write_bytes((folder / "x.h5").read_bytes())
    torch.save(torch.nn.Parameter(tensor), folder / "x.pt")
    torch.save({"x": tensor, "b": tensor.bfloat16().requires_grad_(), "epoch": 3}, folder / "x.pth")
    rows = pa.array(X.tolist(), pa.list_(pa.float32()))
    parquet.write_table(pa.table({"id": list("abcd"), "x": rows, "k": [3, 1, 2, 0]}), folder / "x.parquet")
    parquet.write_table(pa.table({f"{i}": X[:, i] for i in range(3)}), folder / "columns.parquet")
    return folder


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        *(
            (place, X)
            for place in ("c.npy", "f.NPY", "x.npz:x", "x.safetensors:x", "x.mat:x", "x.mat:s", "m.mat", "x.h5")
        ),
        *(
            (place, X)
            for place in ("x.h5:group/x", "x.hdf5:group/x", "x.pt", "x.pth:x", "x.parquet", "columns.parquet")
        ),
        *((place, ROUNDED) for place in ("x.safetensors:b", "x.pth:b")),
        ("x.parquet:k", np.array([3, 1, 2, 0])),
    ],
)
def test_every_format_gives_the_array_that_was_written(folder, place, expected) -> None:
    with forked_readers():
        array = read_array(folder / place)
    np.testing.assert_array_equal(array, expected, strict=True)
    assert isinstance(array, np.memmap) == place.startswith(("c.npy", "f.NPY", "x.safetensors:x"))


def test_whatever_holds_numbers_becomes_an_array() -> None:
    tensor = torch.tensor(X)
    given = {
        "gradients": tensor.clone().requires_grad_(),
        "sparse": tensor.to_sparse(),
        "scipy": csc_array(X),
        "list": X.tolist(),
    }
    for name, values in given.items():
        np.testing.assert_array_equal(as_array(values, name), X)
    np.testing.assert_array_equal(as_array(tensor.bfloat16(), "b"), ROUNDED, strict=True)
    assert as_array(X, "x") is X
    with pytest.raises(ValueError, match="images cannot be read as an array"):
        as_array([[1, 2], [3]], "images")
