"""The list of a project's images: names that can be told apart in a narrow column."""

import pytest
from PySide6.QtCore import Qt

from app.panels.images import ImageRow, ImagesModel


def shown(names: list[str]) -> list[str]:
    """What the list says of images with these names, without their marks."""
    model = ImagesModel()
    model.show_rows([ImageRow(n, name, f"/x/{name}", ()) for n, name in enumerate(names)])
    rows = [model.index(row) for row in range(len(names))]
    assert [row.data(Qt.ItemDataRole.ToolTipRole) for row in rows] == [f"/x/{n}" for n in names]
    return [row.data().split("\n")[0] for row in rows]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["plate7_well_A01.tif", "plate7_well_A12.tif"], ["…A01.tif", "…A12.tif"]),
        (["field 1.tif", "field 2.tif"], ["field 1.tif", "field 2.tif"]),
        (["2024-11-03 dish 1.tif", "2024-11-03 dish 2.tif"], ["…1.tif", "…2.tif"]),
        (["a long name that is alone.tif"], ["a long name that is alone.tif"]),
        (["the same name.tif", "the same name.tif"], ["…name.tif", "…name.tif"]),
        (["Größe_Zellkerne_1.tif", "cells.tif"], ["Größe_Zellkerne_1.tif", "cells.tif"]),
    ],
)
def test_what_all_long_names_begin_with_is_left_out(qapp, names, expected):
    assert shown(names) == expected
