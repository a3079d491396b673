"""The joined view as one HTML page that needs nothing else.

Each row of a function's table is a source line with its translated instructions and its
machine code; the list of functions and the control-flow graph stay beside it. With scripts,
pointing at a row lights up all code of the same source line and its blocks in the graph,
pointing at a block its instructions, and what is typed into the search box picks rows.
Without, all is there but the lights and the box.
"""

from __future__ import annotations

from pybpftool.cfg.graph import FIRST_BLOCK
from pybpftool.errors import BpfError
from pybpftool.output.htmltext import POLICY, html_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.joined.model import Group, Joined, JoinedFunction

# A drawing of more blocks makes a page that browsers handle badly.
_MANY_BLOCKS = 1500

_STYLE = """\
:root{color-scheme:light dark;--line:#d0d7de;--dim:#59636e;--lit:#fff3bf;--src:#0550ae;--bg:#fff}
@media(prefers-color-scheme:dark){
:root{--line:#3d444d;--dim:#9198a1;--lit:#5c4b00;--src:#79c0ff;--bg:#0d1117}
.cfg{background:#141414!important}.cfg svg{filter:invert(.92) hue-rotate(180deg)}}
body{margin:0;font:14px/1.45 system-ui,sans-serif;background:var(--bg);
display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr)}
header{grid-column:1/3;padding:1em 1.5em .6em;border-bottom:1px solid var(--line)}
main{padding:0 1em 3em 1.5em}
aside{position:sticky;top:0;height:100vh;box-sizing:border-box;padding:.8em 1em;
border-left:1px solid var(--line);display:flex;flex-direction:column}
nav{max-height:28vh;overflow:auto;margin-bottom:.6em}
nav ol{margin:0;padding-left:1.8em}
h1{font-size:1.3em;margin:0}h2{font-size:1.05em;margin:1.4em 0 .4em}
aside h2{margin:0 0 .3em}
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
.cfg{flex:1;overflow:auto;border:1px solid var(--line);background:#fff}
.cfg svg{display:block;max-width:none;zoom:.8}
.cfg .lit polygon{fill:#ffd43b}
#find{display:none;margin-top:.5em;font:inherit;width:min(30em,90%);padding:.2em .5em}
.js #find{display:block}
@media(max-width:60em){body{display:block}aside{position:static;height:auto;border:0}}
@media print{body{display:block}aside{position:static;height:auto}#find{display:none!important}}
"""

_SCRIPT = """\
'use strict';
document.documentElement.classList.add('js');
const all=(q,e=document)=>[...e.querySelectorAll(q)];
const rows=all('tr[data-k]'),insns=all('[data-b]'),nodes=new Map();
const pane=document.querySelector('.cfg'),find=document.getElementById('find');
for(const g of all('.cfg g.node')){const t=g.querySelector('title');
 if(t)nodes.set(t.textContent,g);}
const by=(list,key)=>{const m=new Map();
 for(const e of list){const k=key(e);m.has(k)?m.get(k).push(e):m.set(k,[e]);}return m;};
const ofLine=by(rows,e=>e.dataset.k),ofBlock=by(insns,e=>e.dataset.b);
let lit=[];
const light=list=>{for(const e of lit)e.classList.remove('lit');
 lit=list;for(const e of lit)e.classList.add('lit');};
const show=g=>{const p=pane.getBoundingClientRect(),r=g.getBoundingClientRect();
 if(r.top<p.top||r.bottom>p.bottom||r.left<p.left||r.right>p.right)
  pane.scrollBy((r.left+r.right-p.left-p.right)/2,(r.top+r.bottom-p.top-p.bottom)/2);};
if(nodes.has('fn_0_bb_0'))show(nodes.get('fn_0_bb_0'));
for(const r of rows){r.addEventListener('mouseenter',()=>{
 const same=ofLine.get(r.dataset.k),found=new Set(same);let first;
 for(const s of same)for(const i of all('[data-b]',s)){
  const g=nodes.get(i.dataset.b);if(g){found.add(g);if(s===r&&!first)first=g;}}
 light([...found]);if(first)show(first);});
 r.addEventListener('mouseleave',()=>light([]));}
for(const [name,g] of nodes){const list=ofBlock.get(name)||[];
 g.addEventListener('mouseenter',()=>light([g,...list]));
 g.addEventListener('mouseleave',()=>light([]));
 g.addEventListener('click',()=>{if(list[0])list[0].scrollIntoView({block:'center'});});}
const texts=new Map(all('main tr').filter(r=>r.querySelector('td')).map(
 r=>[r,r.textContent.toLowerCase()]));
find.addEventListener('input',()=>{const want=find.value.trim().toLowerCase();
 for(const [r,t] of texts)r.hidden=want!==''&&!t.includes(want);
 for(const f of all('main section'))
  f.hidden=want!==''&&!all('tr',f).some(r=>texts.has(r)&&!r.hidden);});
addEventListener('keydown',e=>{
 if(e.key==='/'&&document.activeElement!==find){e.preventDefault();find.focus();}
 if(e.key==='Escape'){find.value='';find.dispatchEvent(new Event('input'));find.blur();}});
"""


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
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html_text(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{html_text(title)}</h1>\n<p>{html_text(details)}</p>\n"
        '<input id="find" type="search" placeholder="Find in source and code ( / )"'
        ' aria-label="Find in source and code">\n</header>\n<main>\n'
    )
    keys: dict[tuple[str, int, str], int] = {}
    for number in range(len(joined.functions)):
        _function(write, joined, number, keys, opcodes)
    write("</main>\n<aside>\n<h2>Functions</h2>\n<nav><ol>\n")
    for number, function in enumerate(joined.functions):
        name = function.name or function.symbol or "without a name"
        write(f'<li><a href="#f{number}"><code>{html_text(name)}</code></a></li>\n')
    write("</ol></nav>\n<h2>Control flow</h2>\n")
    if drawing.startswith("<"):
        begin = max(drawing.find("<svg"), 0)
        write(f'<div class="cfg">\n{drawing[begin:].strip()}\n</div>\n')
    else:
        write(f"<p>{html_text(drawing)}</p>\n")
    write(f"</aside>\n<script>\n{_SCRIPT}</script>\n</body>\n</html>\n")
    return "".join(parts).encode("utf-8", "replace")


def _function(
    write: Callable[[str], None],
    joined: Joined,
    number: int,
    keys: dict[tuple[str, int, str], int],
    opcodes: bool,
) -> None:
    function = joined.functions[number]
    title = function.proto or function.name or function.symbol
    write(f'<section id="f{number}">\n<h2><code>{html_text(title)}</code></h2>\n')
    if function.symbol and function.symbol != title:
        write(f"<p><code>{html_text(function.symbol)}</code></p>\n")
    write("<table>\n<tr><th>Source<th>Translated<th>Machine code</tr>\n")
    blocks = _blocks(function)
    # Names of functions are shared by nothing else: pc 0 of the second is m1-0.
    native = function.native.index if function.native is not None else -1
    for group in joined.rows(function):
        key = ""
        place = joined.place(group)
        if place is not None:
            key = f' data-k="{keys.setdefault(place, len(keys))}"'
        write(f"<tr{key}><td>{_source(joined, group)}<td>")
        write("".join(_xlated(joined, group, blocks, opcodes)))
        write("<td>")
        write("".join(_machine(function, group, native, opcodes)))
        write("</tr>\n")
    write("</table>\n</section>\n")


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
    place = joined.place(group)
    if place is None:
        return ""
    file, line, source = place
    if not (file or line):
        return html_text(source)
    name = html_text(file.rpartition("/")[2])
    where = f'<span class="w" title="{html_text(file)}">{name}:{line}</span>'
    return where + html_text(source)


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
            f"{html_text(listing.texts[slot])}{code}</div>"
        )
    return rows


def _machine(function: JoinedFunction, group: Group, native: int, opcodes: bool) -> list[str]:
    insns = function.instructions
    rows = []
    for index in group.machine:
        text = html_text(insns.texts[index].replace("\t", " "))
        target = function.targets.get(index)
        if target is not None:
            shown = html_text(f"<{target}>")
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
