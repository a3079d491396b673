"""The joined view as one HTML page that needs nothing else.

Each row of a function's table is the code of one line record: source, translated
instructions, machine code. With scripts, pointing at a row lights up all code of the
same source line and its blocks in the control-flow graph, and pointing at a block its
instructions. Without, all is there but the lights.
"""

from __future__ import annotations

from html import escape

from pybpftool.cfg.graph import FIRST_BLOCK
from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.joined.model import Group, Joined, JoinedFunction

# A drawing of more blocks makes a page that browsers handle badly.
_MANY_BLOCKS = 1500

# Nothing may be loaded, whatever names and source lines of a program hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

_STYLE = """\
:root{color-scheme:light dark;--line:#d0d7de;--dim:#59636e;--lit:#fff3bf;--src:#0550ae}
@media(prefers-color-scheme:dark){:root{--line:#3d444d;--dim:#9198a1;--lit:#5c4b00;--src:#79c0ff}}
body{margin:1.5em;font:14px/1.45 system-ui,sans-serif}
h1{font-size:1.3em;margin:0}h2{font-size:1.05em;margin:1.6em 0 .4em}
p{margin:.2em 0;color:var(--dim)}
table{border-collapse:collapse;width:100%;table-layout:fixed}
th{text-align:left;font-weight:600;border-bottom:2px solid var(--line);padding:.2em .6em}
td{vertical-align:top;border-top:1px solid var(--line);padding:.15em .6em;overflow-wrap:anywhere}
td,code{font:12px/1.5 ui-monospace,monospace}
td:first-child{color:var(--src);white-space:pre-wrap}
.w,.n,.o{color:var(--dim)}.w{display:block;font-size:11px}
.i{white-space:pre-wrap;padding-left:4.6em;text-indent:-4.6em}
.n{display:inline-block;width:4em;text-align:right;margin-right:.6em;text-indent:0}
.o{font-size:11px}
a{color:inherit}
.lit,tr.lit>td{background:var(--lit)}
.cfg{overflow:auto;border:1px solid var(--line);background:#fff;max-height:90vh}
.cfg svg{display:block;max-width:none}
.cfg .lit polygon{fill:#ffd43b}
"""

_SCRIPT = """\
'use strict';
const all=(q,e=document)=>[...e.querySelectorAll(q)];
const rows=all('tr[data-k]'),insns=all('[data-b]'),nodes=new Map();
for(const g of all('.cfg g.node')){const t=g.querySelector('title');
 if(t)nodes.set(t.textContent,g);}
const by=(list,key)=>{const m=new Map();
 for(const e of list){const k=key(e);m.has(k)?m.get(k).push(e):m.set(k,[e]);}return m;};
const ofLine=by(rows,e=>e.dataset.k),ofBlock=by(insns,e=>e.dataset.b);
let lit=[];
const light=list=>{for(const e of lit)e.classList.remove('lit');
 lit=list;for(const e of lit)e.classList.add('lit');};
for(const r of rows){r.addEventListener('mouseenter',()=>{
 const same=ofLine.get(r.dataset.k),found=new Set(same);
 for(const s of same)for(const i of all('[data-b]',s)){
  const g=nodes.get(i.dataset.b);if(g)found.add(g);}
 light([...found]);});
 r.addEventListener('mouseleave',()=>light([]));}
for(const [name,g] of nodes){const list=ofBlock.get(name)||[];
 g.addEventListener('mouseenter',()=>light([g,...list]));
 g.addEventListener('mouseleave',()=>light([]));
 g.addEventListener('click',()=>{if(list[0])list[0].scrollIntoView({block:'center'});});}
"""

# What HTML has no place for, spelt out.
_CONTROLS = {c: f"\\x{c:02x}" for c in (*range(9), *range(11, 32), *range(127, 160))}
_CONTROLS.update({0xDC00 + byte: f"\\x{byte:02x}" for byte in range(128, 256)})
_CONTROLS.update({c: f"\\u{c:04x}" for c in (*range(0xD800, 0xDC80), *range(0xDD00, 0xE000))})


def page(
    joined: Joined,
    title: str,
    details: str,
    drawing: str,
    opcodes: bool = False,
) -> bytes:
    """The page.

    :param title: what the program is called.
    :param details: a sentence below the title.
    :param drawing: the control-flow graph as SVG, or a sentence that says why there is none.
    :param opcodes: show the bytes of each instruction.
    """
    parts: list[str] = []
    write = parts.append
    write(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_text(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_text(title)}</h1>\n<p>{_text(details)}</p>\n"
    )
    keys: dict[tuple[str, int, str], int] = {}
    for function in joined.functions:
        _function(write, joined, function, keys, opcodes)
    write("<h2>Control flow</h2>\n")
    if drawing.startswith("<"):
        begin = max(drawing.find("<svg"), 0)
        write(f'<div class="cfg">\n{drawing[begin:].strip()}\n</div>\n')
    else:
        write(f"<p>{_text(drawing)}</p>\n")
    write(f"<script>\n{_SCRIPT}</script>\n</body>\n</html>\n")
    return "".join(parts).encode("utf-8", "replace")


def _text(text: str) -> str:
    return escape(text.translate(_CONTROLS))


def _function(
    write: Callable[[str], None],
    joined: Joined,
    function: JoinedFunction,
    keys: dict[tuple[str, int, str], int],
    opcodes: bool,
) -> None:
    title = function.proto or function.name or function.symbol
    write(f"<h2><code>{_text(title)}</code></h2>\n")
    if function.symbol and function.symbol != title:
        write(f"<p><code>{_text(function.symbol)}</code></p>\n")
    write("<table>\n<tr><th>Source<th>Translated<th>Machine code</tr>\n")
    blocks = _blocks(function)
    # Names of functions are shared by nothing else: pc 0 of the second is m1-0.
    native = function.native.index if function.native is not None else -1
    for group in function.groups:
        key = ""
        if group.record is not None:
            listing = joined.listing
            line = listing.lines.number(group.record)[0]
            place = (listing.file(group.record), line, listing.source(group.record))
            key = f' data-k="{keys.setdefault(place, len(keys))}"'
        write(f"<tr{key}><td>{_source(joined, group)}<td>")
        write("".join(_xlated(joined, group, blocks, opcodes)))
        write("<td>")
        write("".join(_machine(function, group, native, opcodes)))
        write("</tr>\n")
    write("</table>\n")


def _blocks(function: JoinedFunction) -> dict[int, str]:
    """The node of the graph that each slot is in."""
    flow = function.flow
    if flow is None:
        return {}
    result = {}
    for number in range(FIRST_BLOCK, flow.node_count):
        name = f"fn_{flow.index}_bb_{number}"
        for slot in range(*flow.bounds(number)):
            result[slot] = name
    return result


def _source(joined: Joined, group: Group) -> str:
    if group.record is None:
        return ""
    listing = joined.listing
    line, column = listing.lines.number(group.record)
    file = listing.file(group.record)
    place = f'<span class="w">{_text(file)}:{line}:{column}</span>' if file or line else ""
    return place + _text(listing.source(group.record))


def _xlated(joined: Joined, group: Group, blocks: dict[int, str], opcodes: bool) -> list[str]:
    listing = joined.listing
    image = listing.cfg.image
    rows = []
    for slot in group.slots:
        code = ""
        if opcodes:
            size = 16 if image.codes[slot] == 0x18 else 8
            code = f' <span class="o">{image.data[8 * slot : 8 * slot + size].hex(" ")}</span>'
        rows.append(
            f'<div class="i" data-b="{blocks.get(slot, "")}"><span class="n">{slot}</span>'
            f"{_text(listing.texts[slot])}{code}</div>"
        )
    return rows


def _machine(function: JoinedFunction, group: Group, native: int, opcodes: bool) -> list[str]:
    insns = function.instructions
    rows = []
    for index in group.machine:
        text = _text(insns.texts[index].replace("\t", " "))
        target = function.targets.get(index)
        if target is not None:
            shown = _text(f"<{target}>")
            if target.startswith("+0x"):
                shown = f'<a href="#m{native}-{target[3:]}">{shown}</a>'
            text += f" {shown}"
        code = f' <span class="o">{insns.codes[index].hex(" ")}</span>' if opcodes else ""
        pc = f"{insns.pcs[index]:x}"
        rows.append(
            f'<div class="i" id="m{native}-{pc}"><span class="n">{pc}</span>{text}{code}</div>'
        )
    return rows


def drawing(joined: Joined) -> str:
    """The control-flow graph as SVG, or why there is none."""
    blocks = sum(len(function.heads) for function in joined.listing.cfg.functions)
    if blocks > _MANY_BLOCKS:
        return f"Left out: {blocks} blocks are too many to look at."
    from pybpftool.adapters.graphviz import picture
    from pybpftool.cfg.dot import write_dot

    parts: list[str] = []
    write_dot(parts.append, joined.listing, limit=True)
    try:
        return picture("".join(parts), "svg").decode("utf-8", "replace")
    except BpfError as error:
        return f"Left out: {error}."
