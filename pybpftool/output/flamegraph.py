"""Flame graphs: stacks as one SVG picture that needs nothing else.

The width of a box is how often its function was met, with what it called above it, in the
order of the alphabet. Without scripts it is a picture with tooltips; with them a click on a
box makes it as wide as the whole, and a search marks the boxes that fit.
"""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH = 1200
_ROW = 17
_SIDE = 10
_TOP = 58
_BOTTOM = 30
_LETTER = 6.6  # of the font, wide
_NARROWEST = 0.1  # boxes below this are not drawn
_DEEPEST = 512

# Hue, and how far it varies: kernel orange, modules brown, BPF green, user space blue.
_HUES = {"kernel": (24, 18), "module": (8, 8), "bpf": (130, 24), "user": (205, 26), "": (48, 10)}


class _Box:
    __slots__ = ("children", "count", "kind")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self.children: dict[str, _Box] = {}


def escaped(text: str) -> str:
    """Text for XML; what XML cannot hold or what turns text around is written out."""
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(mark, entity)
    return "".join([c if c.isprintable() else _code(c) for c in text])


def _code(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def svg(
    stacks: Iterable[tuple[Sequence[tuple[str, str]], int]], title: str, unit: str = "samples"
) -> str:
    """The picture of stacks: ((name, kind) from the outermost on, count) of each."""
    root = _Box("")
    for frames, count in stacks:
        box = root
        box.count += count
        for name, kind in frames[:_DEEPEST]:
            child = box.children.get(name)
            if child is None:
                child = box.children[name] = _Box(kind)
            child.count += count
            box = child
    boxes: list[str] = []
    depth = _draw(root, "all", 0, 0, root.count, boxes, unit)
    height = _TOP + (depth + 1) * _ROW + _BOTTOM
    head = _HEAD.format(
        width=_WIDTH, height=height, middle=_WIDTH // 2, title=escaped(title),
        right=_WIDTH - _SIDE, below=height - 10,
    )  # fmt: skip
    body = "".join(boxes)
    if not root.count:
        body = f'<text x="{_WIDTH // 2}" y="{_TOP}" text-anchor="middle">no stacks</text>\n'
    top = _TOP + depth * _ROW
    # Depths count from the bottom: the outermost frame lies lowest.
    return f'{head}<g id="frames" transform="translate(0 {top})">\n{body}</g>\n{_SCRIPT}</svg>\n'


def _draw(
    root: _Box, name: str, depth: int, start: int, total: int, boxes: list[str], unit: str
) -> int:
    """Append the boxes, parents before children; how deep they go."""
    deepest = depth
    waiting = [(root, name, depth, start)]
    while waiting:
        box, name, depth, start = waiting.pop()
        if total:
            width = box.count / total * (_WIDTH - 2 * _SIDE)
            if width < _NARROWEST:
                continue
            boxes.append(_box(box, name, depth, start, total, width, unit))
        deepest = max(deepest, depth)
        at = start
        following = []
        for child in sorted(box.children):
            following.append((box.children[child], child, depth + 1, at))
            at += box.children[child].count
        waiting += reversed(following)
    return deepest


def _box(box: _Box, name: str, depth: int, start: int, total: int, width: float, unit: str) -> str:
    x = _SIDE + start / total * (_WIDTH - 2 * _SIDE)
    y = -depth * _ROW
    letters = int((width - 4) / _LETTER)
    shown = name if len(name) <= letters else name[: letters - 1] + "…" if letters > 2 else ""
    told = f"{name} ({box.count:,} {unit}, {100 * box.count / total:.2f}%)"
    hue, spread = _HUES.get(box.kind, _HUES[""])
    random = zlib.crc32(name.encode("utf-8", "surrogateescape"))
    color = f"hsl({hue + random % spread - spread // 2} 75% {62 + (random >> 8) % 14}%)"
    return (
        f'<g data-x="{start}" data-w="{box.count}" data-d="{depth}">'
        f"<title>{escaped(told)}</title>"
        f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_ROW - 1}" fill="{color}"/>'
        f'<text x="{x + 3:.2f}" y="{y + 12}">{escaped(shown)}</text></g>\n'
    )


_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"
 viewBox="0 0 {width} {height}">
<style>
svg {{ background: #fff; }}
text {{ font: 11px monospace; fill: #111; pointer-events: none; }}
rect {{ rx: 2px; }}
#frames g {{ cursor: pointer; }}
#frames g:hover rect {{ stroke: #111; }}
.found rect {{ fill: #d24bd2; }}
.parent {{ opacity: .5; }}
.button {{ pointer-events: all; cursor: pointer; fill: #36c; }}
</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="{middle}" y="22" text-anchor="middle" style="font-size: 15px">{title}</text>
<text id="search" class="button" x="{right}" y="22" text-anchor="end"></text>
<text id="reset" class="button" x="10" y="22"></text>
<text id="told" x="10" y="{below}"></text>
<text id="matched" x="{right}" y="{below}" text-anchor="end"></text>
"""

_SCRIPT = """\
<script><![CDATA[
(function () {
  "use strict";
  var boxes = Array.prototype.slice.call(document.querySelectorAll("#frames g"));
  if (!boxes.length) return;
  var byId = function (id) { return document.getElementById(id); };
  var number = function (box, name) { return Number(box.getAttribute("data-" + name)); };
  var total = number(boxes[0], "w"), width = 1180, side = 10, letter = 6.6;
  var told = function (box) { return box.querySelector("title").textContent; };
  var name = function (box) { return told(box).replace(/ \\([^()]*\\)$/, ""); };
  byId("search").textContent = "search";
  function zoom(target) {
    var from = number(target, "x"), all = number(target, "w"), depth = number(target, "d");
    boxes.forEach(function (box) {
      var x = number(box, "x"), w = number(box, "w"), d = number(box, "d");
      var parent = d < depth && x <= from && x + w >= from + all;
      var inside = d >= depth && x >= from && x + w <= from + all;
      box.style.display = parent || inside ? "" : "none";
      box.classList.toggle("parent", parent);
      if (!parent && !inside) return;
      var left = parent ? side : side + (x - from) / all * width;
      var size = parent ? width : w / all * width;
      var rect = box.querySelector("rect"), text = box.querySelector("text");
      rect.setAttribute("x", left);
      rect.setAttribute("width", size);
      text.setAttribute("x", left + 3);
      var room = Math.floor((size - 4) / letter), label = name(box);
      text.textContent = label.length <= room ? label
        : room > 2 ? label.slice(0, room - 1) + "\\u2026" : "";
    });
    byId("reset").textContent = target === boxes[0] ? "" : "whole picture";
  }
  function search(word) {
    var count = 0, until = -1;
    boxes.forEach(function (box) {
      var fits = word !== "" && name(box).toLowerCase().indexOf(word.toLowerCase()) >= 0;
      box.classList.toggle("found", fits);
    });
    boxes.filter(function (box) { return box.classList.contains("found"); })
      .sort(function (a, b) { return number(a, "x") - number(b, "x") ||
                                     number(b, "w") - number(a, "w"); })
      .forEach(function (box) {
        var begin = number(box, "x"), end = begin + number(box, "w");
        if (begin >= until) { count += end - begin; until = end; }
      });
    byId("matched").textContent =
      word === "" ? "" : "matched: " + (100 * count / total).toFixed(2) + "%";
    byId("search").textContent = word === "" ? "search" : "search: " + word;
  }
  boxes.forEach(function (box) {
    box.addEventListener("click", function () { zoom(box); });
    box.addEventListener("mouseover", function () { byId("told").textContent = told(box); });
    box.addEventListener("mouseout", function () { byId("told").textContent = ""; });
  });
  byId("reset").addEventListener("click", function () { zoom(boxes[0]); });
  byId("search").addEventListener("click", function () {
    var word = window.prompt("Functions whose names have in them:", "");
    if (word !== null) search(word);
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { zoom(boxes[0]); search(""); }
    if (event.key === "/") { event.preventDefault(); byId("search").dispatchEvent(
      new MouseEvent("click")); }
  });
})();
]]></script>
"""
