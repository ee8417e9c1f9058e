"""Errors in words, for the window and the command line alike. Needs neither Qt nor torch."""

from __future__ import annotations


def sentence(error: BaseException) -> str:
    """What to tell the user about `error`."""
    return known_sentence(error) or (
        f"Something went wrong in Limn ({type(error).__name__}: {error}); your labels are safe."
    )


def known_sentence(error: BaseException) -> str | None:
    """One sentence about an error that can be expected; None for what is a mistake of ours."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch for it
        return "The graphics card has too little free memory; close other programs or use the CPU."
    # torch raises a bare RuntimeError when the processor's memory runs out.
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return "There is too little memory for this; close other programs and try again."
    ours = type(error).__module__.partition(".")[0] in ("app", "unet_core")
    return str(error) if ours and isinstance(error, ValueError) else None
