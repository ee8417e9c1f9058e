"""Errors in words: our own are sentences already, those of others are not taken for ours."""

import json

import pytest

from app.sentences import known_sentence, sentence
from unet_core.stack import StackError


def test_our_own_errors_are_their_own_sentence():
    assert sentence(StackError("cells.tif is truncated.")) == "cells.tif is truncated."


def test_too_little_memory_is_said_whoever_notices():
    torch_error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    for error in (MemoryError(), torch_error):
        assert "too little memory" in sentence(error)


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), KeyError("x")])
def test_a_mistake_of_ours_says_so(error):
    assert known_sentence(error) is None
    assert "your labels are safe" in sentence(error)


def test_an_error_of_a_library_is_no_sentence():
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    assert known_sentence(caught.value) is None
