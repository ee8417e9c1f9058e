"""Limits are told with the way to lift them, and somebody who trusts a file can do that."""

import numpy as np
import pytest

from unet_core import annotation as annotation_module
from unet_core import limits, project_edits
from unet_core.annotation import Annotation, AnnotationError
from unet_core.limits import ADVICE, LimitError
from unet_core.project import Project, ProjectError
from unet_core.stack import PlaneIndex, StackError, refuse_absurd

HUGE = 2**40


@pytest.fixture
def many(tmp_path):
    """A project of nine label tiles."""
    path = tmp_path / "many.limn"
    with Project.create(path, (1, 1, 700, 700)) as project:
        annotation, _ = project.load()
        project.record(annotation.write(PlaneIndex(0, 0), np.ones((700, 700), np.uint8)))
    return path


@pytest.fixture(params=["the window", "the environment"])
def lifted(request, monkeypatch):
    """Limits are lifted in this test, when it is called."""

    def lift():
        if request.param == "the window":
            monkeypatch.setattr(limits, "_lifted", False)  # and back, at the end
            limits.lift()
        else:
            monkeypatch.setenv("LIMN_LIMITS", "off")

    return lift


def test_an_absurd_header(lifted):
    refuse_absurd("small.tif", 2**20, 1000)
    with pytest.raises(StackError, match=r"small.tif.*1,024 GiB.*4,096 times") as error:
        refuse_absurd("small.tif", HUGE, 1000)
    assert isinstance(error.value, LimitError) and str(error.value).endswith(f"{ADVICE}.")
    lifted()
    refuse_absurd("small.tif", HUGE, 1000)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(project_edits, "MAX_TILES", 8), (annotation_module, "MAX_MEMORY", 100)],
    ids=["tiles", "memory"],
)
def test_more_labels_than_may_be_loaded(many, lifted, monkeypatch, module, name, value):
    monkeypatch.setattr(module, name, value)
    with Project.open(many) as project:
        with pytest.raises(ProjectError, match="many.limn.*more than") as error:
            project.load()
        assert isinstance(error.value, LimitError) and ADVICE in str(error.value)
        assert "damaged" not in str(error.value)
        lifted()
        labels, _ = project.load()
    assert labels.read(PlaneIndex(0, 0)).all()


def test_they_count_unless_somebody_says_otherwise(monkeypatch):
    monkeypatch.delenv("LIMN_LIMITS", raising=False)
    assert not limits.lifted()
    monkeypatch.setenv("LIMN_LIMITS", "on")
    assert not limits.lifted()


def test_what_may_be_lifted_is_no_damage():
    assert issubclass(annotation_module.AnnotationLimitError, AnnotationError)
    assert Annotation((1, 1, 5, 5)).counts() == {}
