"""Profiles, atomic files, caches and `setup`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fico_utils
from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.files import atomic_path, key_of, read_arrays, read_metadata, write_arrays
from fico_utils.profiles import check_parameter


def test_setup_says_what_it_pinned(tmp_path, capsys):
    run = fico_utils.setup("mini", 3, str(tmp_path), corpora=["picto_people"])
    assert "profile mini · seed 3" in capsys.readouterr().out
    assert run.root == tmp_path / "mini"
    assert run["corpora"] == ["picto_people"]
    assert run.run_id == "mini-s3"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"profile": "maxi"}, "unknown profile 'maxi'"),
        ({"profile": "../configs/mini"}, "unknown profile"),
        ({"epoch": 3}, "unknown parameter 'epoch'"),
        ({"seed": "zero"}, "parameter seed was given 'zero' \\(str\\); expected int"),
        ({"corpora": ["picto_people", 3]}, "expected a list of str"),
    ],
)
def test_setup_refuses_in_one_sentence(arguments, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        fico_utils.setup(**{"out_dir": str(tmp_path), **arguments})


def test_a_whole_number_passes_for_a_float_and_a_bool_for_no_int():
    assert check_parameter("x", 1, 2.5) == 1
    with pytest.raises(InputError):
        check_parameter("x", True, 1)


def write_half(path):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(InputError, match=r"cannot write .* choose another folder")
    with refused, atomic_path(tmp_path / "file" / "x.csv"):
        pass


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="does not exist"):
        read_arrays(path)
    path.write_text("hello")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_arrays(path)


def test_keys_depend_on_content_alone():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of("a") != key_of("b")


def test_metadata_travels_as_json(tmp_path):
    settings = {"width": 3, "names": ["a"], "original": False}
    write_arrays(tmp_path / "x.safetensors", {"x": np.zeros(1)}, {"settings": settings})
    assert read_metadata(tmp_path / "x.safetensors")["settings"] == json.loads(json.dumps(settings))


def test_registry_refuses_unknown_ids():
    with pytest.raises(InputError, match="unknown system 'clip'"):
        registry.system("clip")
    with pytest.raises(InputError, match="unknown corpus 'imagenet'"):
        registry.corpus("imagenet")
