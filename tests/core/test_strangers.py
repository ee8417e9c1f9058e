"""Files made to harm: each is refused in one sentence, at once and without much memory."""

import json
import random
import sqlite3
import tracemalloc
from contextlib import closing

import pytest
import safetensors.torch
import torch

from tests.core.random_steps import SHAPE
from tests.core.test_project import painted
from unet_core import project_edits
from unet_core.model import Model, ModelError
from unet_core.project import Project, ProjectError
from unet_core.project_rows import (
    encoded,
    get_image_record,
    set_image_record,
    set_value,
)

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "recipe",
    [
        DEEP, "[]", "7", "null", '"text"', "{}",
        '{"format_version": Infinity}', '{"format_version": 1e999}',
        '{"format_version": 2, "network": []}',
        '{"format_version": 2, "network": {"name": "compact"}, "channels": 1, "classes": {}}',
        '{"format_version": 2, "network": {"name": "compact"}, "channels": 1, "classes": [[]]}',
        '{"format_version": 2, "network": {"name": "compact"}, "channels": NaN, "classes": []}',
    ],
)  # fmt: skip
def test_a_model_with_a_strange_recipe(tmp_path, recipe):
    content = safetensors.torch.save({"x": torch.zeros(1)}, metadata={"limn": recipe})
    (tmp_path / "strange.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"\.$"):
        Model.load(tmp_path / "strange.safetensors")
    with pytest.raises(ModelError, match=r"\.$"):
        Model.from_bytes(content, "strange.limn")


@pytest.mark.parametrize(
    "header",
    [
        DEEP, "[]", "null", '{"__metadata__": []}', '{"__metadata__": 7}',
        json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        json.dumps({"x": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}),
    ],
)  # fmt: skip
def test_a_model_with_a_strange_header(tmp_path, header):
    content = len(header).to_bytes(8, "little") + header.encode()
    for strange in (content, (2**62).to_bytes(8, "little") + content[8:], content[:9]):
        (tmp_path / "strange.safetensors").write_bytes(strange)
        with pytest.raises(ModelError, match=r"\.$"):
            Model.load(tmp_path / "strange.safetensors")
        with pytest.raises(ModelError, match=r"\.$"):
            Model.from_bytes(strange, "strange.limn")


@pytest.mark.parametrize(
    "name, value",
    [
        ("image position", "seven"), ("image position", 1.5), ("image position", -1),
        ("history", "much"), ("history", None), ("writes", [1]), ("image shape", "abc"),
        ("image shape", [1, 2, 3]), ("image shape", [1, 3, -5, 7]), ("image shape", {"a": 1}),
        ("classes", 7), ("classes", []), ("classes", [{"name": "x"}]),
        ("classes", [{"name": "x", "color": "url(//evil)"}] * 2),
        ("image image", 7), ("image image", {"path": 7, "size": "x"}),
        ("image image", {"path": "a\0b"}),
    ],
)  # fmt: skip
def test_a_project_with_strange_values(tmp_path, name, value):
    path = tmp_path / "strange.limn"
    painted(path, 2)
    with closing(sqlite3.connect(path)) as stranger, stranger:
        if name.startswith("image "):
            record = get_image_record(stranger, 1)
            set_image_record(stranger, 1, {**record, name.removeprefix("image "): value})
        else:
            set_value(stranger, name, encoded(name, value))
    with (
        pytest.raises(ProjectError, match=r"strange.limn is damaged.*\.$"),
        Project.open(path) as project,
    ):
        _ = project.shape, project.classes, project.image
        project.load()


def test_a_project_whose_values_are_nested_deeply(tmp_path):
    path = tmp_path / "strange.limn"
    painted(path, 2)
    with closing(sqlite3.connect(path)) as stranger, stranger:
        set_value(stranger, "setting window", DEEP)
        stranger.execute("INSERT INTO models VALUES (1, 0, ?, '', 0, '')", (DEEP,))
    with Project.open(path) as project:
        with pytest.raises(ProjectError, match="damaged"):
            project.setting("window")
        with pytest.raises(ProjectError, match="damaged"):
            project.models()
        assert project.latest_model() is None
        assert project.shape == SHAPE


def test_an_edit_of_a_million_tiles_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(project_edits, "_BYTES_LOADED", 20 * 2**20)
    path = tmp_path / "strange.limn"
    painted(path, 3)
    with closing(sqlite3.connect(path)) as stranger, stranger:
        position = stranger.execute("SELECT max(id) FROM edits").fetchone()[0]
        stranger.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
            " INSERT INTO changes SELECT 1, ?, 0, 0, i, 0, NULL, NULL FROM n", (position,),
        )  # fmt: skip
        stranger.execute("UPDATE edits SET parts = 300000 + parts WHERE id = ?", (position,))
    with Project.open(path) as project:
        tracemalloc.start()
        project.load()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40 * 2**20


def test_random_bytes_are_no_model():
    rng = random.Random(0)
    for _ in range(200):
        with pytest.raises(ModelError):
            Model.from_bytes(rng.randbytes(rng.randrange(100)), "noise.limn")
