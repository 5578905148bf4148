"""Figures as SVG inside the page: identifiers that no two share, shapes drawn once, no style that leaks out of its figure."""

import base64
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}href"
NUMBER = re.compile(r"-?\d*\.\d{3,}")
URL = re.compile(r"url\(#([^)]+)\)")
LEGIBLE = 1.35  # times its size on paper a figure is shown at most
PNG_INCH = 200.0  # dots of the PNG files that the store writes


@dataclass
class Sheet:
    """The vector figures of one page; glyphs and markers that several of them use are kept once, in `definitions`."""

    shared: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def add(self, document: str) -> Markup:
        """An SVG document of matplotlib as an element of the page; `definitions()` must be on the page too.

        Raises: `ValueError` for text that is no SVG.
        """
        try:
            root = ElementTree.fromstring(document)
        except ElementTree.ParseError as trouble:
            raise ValueError(f"The picture is no SVG: {trouble}.") from None
        self.count += 1
        names = self._share(root)
        self._rename(root, names)
        _round(root)
        box = root.get("viewBox", "0 0 504 187")
        inside = "".join(_text(child) for child in root)
        return _frame(box, inside, "stroke-linejoin:round;stroke-linecap:butt")

    def add_png(self, path: Path) -> Markup:
        """A PNG file as an image in an SVG element.

        Raises: `ValueError` for a file that is no PNG, `OSError` for one that cannot be read.
        """
        content = path.read_bytes()
        if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 24:
            raise ValueError(f"The picture '{path.name}' is no PNG.")
        width, height = (72 * size / PNG_INCH for size in struct.unpack(">II", content[16:24]))
        self.count += 1
        data = base64.b64encode(content).decode()
        image = f'<image width="{width:g}" height="{height:g}" href="data:image/png;base64,{data}"/>'
        return _frame(f"0 0 {width:g} {height:g}", image, "")

    def definitions(self) -> Markup:
        """The shapes that figures share, in an element that takes no room."""
        inside = "".join(shape.replace("<path", f'<path id="{name}"', 1) for shape, name in self.shared.items())
        return (
            Markup('<svg class="shapes" aria-hidden="true" width="0" height="0"><defs>')
            + Markup(inside)
            + Markup("</defs></svg>")
        )

    def _share(self, root: Any) -> dict[str, str]:
        """Take single shapes out of the figure; their new names under the old ones."""
        names = {}
        for parent in list(root.iter()):
            for child in list(parent):
                if parent.tag == f"{SVG}defs" and child.tag == f"{SVG}path" and child.get("id"):
                    old = child.attrib.pop("id")
                    _round(child)
                    names[old] = self.shared.setdefault(_text(child), f"s{len(self.shared)}")
                    parent.remove(child)
                elif child.tag in (f"{SVG}metadata", f"{SVG}style"):
                    parent.remove(child)
        return names

    def _rename(self, root: Any, names: dict[str, str]) -> None:
        """Give every identifier that something refers to a name of this page, and drop the others."""
        wanted = {name for element in root.iter() for value in element.attrib.values() for name in URL.findall(value)}
        wanted |= {element.get(XLINK, "")[1:] for element in root.iter()}
        names = {**{name: f"f{self.count}-{place}" for place, name in enumerate(sorted(wanted - {""}))}, **names}
        for element in root.iter():
            old = element.attrib.pop("id", None)
            if old in names:
                element.set("id", names[old])
            link = element.attrib.pop(XLINK, None)
            if link is not None:
                element.set("href", f"#{names.get(link[1:], link[1:])}" if link.startswith("#") else link)
            for key, value in element.attrib.items():
                element.set(key, URL.sub(lambda match: f"url(#{names.get(match[1], match[1])})", value))


def _round(root: Any) -> None:
    """Five figures of each coordinate: a hundredth of a point, below what a screen shows when enlarged twentyfold."""
    for element in root.iter():
        element.tail = element.text = None if not (element.text or "").strip() else element.text
        element.tail = None
        for key in ("d", "x", "y", "points", "width", "height", "transform"):
            value = element.get(key)
            if value is not None:
                element.set(key, " ".join(NUMBER.sub(lambda match: f"{float(match[0]):.5g}", value).split()))
        style = element.get("style")
        if style is not None:
            element.set("style", style.replace("; ", ";").replace(": ", ":"))


def _text(element: Any) -> str:
    """The element as text without a name space: the page's parser knows SVG."""
    for part in element.iter():
        part.tag = part.tag.removeprefix(SVG) if isinstance(part.tag, str) else part.tag
    return ElementTree.tostring(element, encoding="unicode")


def _frame(box: str, inside: str, style: str) -> Markup:
    width, height = (float(part) for part in box.split()[2:])
    most = f"max-width:{LEGIBLE * width * 96 / 72:.0f}px"
    look = ";".join(part for part in (most, style) if part)
    head = f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" style="{look}" aria-hidden="true" focusable="false">'
    return Markup(head) + Markup(inside) + Markup("</svg>")
