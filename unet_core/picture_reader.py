"""PNG and JPEG: decoded at once, as these are single planes, and soon wanted."""

from __future__ import annotations

from pathlib import Path

import imagecodecs

from unet_core.reading import Contents, Series
from unet_core.stack import Source, StackError, refuse_absurd

_PNG_START = b"\x89PNG\r\n\x1a\n"


def read_picture(path: Path) -> Contents:
    """The one image of a PNG or JPEG. Raises StackError."""
    data = path.read_bytes()
    kind = "PNG" if data.startswith(_PNG_START) else "JPEG"
    try:
        if kind == "PNG":
            width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
            refuse_absurd(path.name, width * height, len(data))
            image = imagecodecs.png_decode(data)
        else:
            # The decoder fills what is missing with grey: look for the end mark ourselves.
            if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
                raise ValueError("no end of image")
            image = imagecodecs.jpeg8_decode(data)
            if image.ndim == 3 and image.shape[2] == 4:
                raise StackError(
                    f"{path.name} is in CMYK (inks, for print), whose colours depend on the "
                    "printer: save it as RGB."
                )
    except StackError:
        raise
    except Exception as error:
        raise StackError(f"{path.name} is a damaged or incomplete {kind} file.") from error
    samples = image.shape[2] if image.ndim == 3 else 1
    axes = "YXS"[: image.ndim]

    def source(_axes: str) -> Source:
        return Source(
            outer_axes="",
            outer_shape=(),
            inner_axes=axes,
            inner_shape=image.shape,
            dtype=image.dtype,
            read_page=lambda number: image,
            is_rgb=samples in (3, 4),
            has_alpha=samples in (2, 4),
        )

    return Contents(path, (Series(path.stem, axes, image.shape, image.dtype, source),))
