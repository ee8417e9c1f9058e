"""What is being drawn on the image before it is carried out: a polygon, a line or a box."""

from __future__ import annotations

from dataclasses import dataclass, field

from unet_core.brush import Point


@dataclass
class Sketch:
    """Points in image coordinates, `(y, x)`, pixel centres at +0.5."""

    tool: str = ""
    """The tool that draws: polygon, merge, split, complete; empty while nothing is drawn."""
    points: list[Point] = field(default_factory=list)
    drawn_at_once: bool = False
    """Whether it was drawn with the first press, as a lasso is, and not corner by corner."""

    def begin(self, tool: str, point: Point) -> None:
        """The first press of the mouse."""
        self.tool, self.points, self.drawn_at_once = tool, [point], False

    def add(self, point: Point) -> None:
        """Another press: the next corner of a polygon."""
        self.points.append(point)

    def drag_to(self, point: Point) -> None:
        """The mouse has moved with its button down."""
        if len(self.points) == 1 or self.drawn_at_once:
            self.drawn_at_once = True
        self.points.append(point)

    def drop_last(self) -> None:
        """Take the last corner back; the first one too ends it all."""
        self.points.pop()
        if not self.points:
            self.tool = ""
