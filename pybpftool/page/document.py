"""The whole page: graph, tables of owners and places, sheets."""

from __future__ import annotations

from itertools import islice

from pybpftool.inspect.ownership import shares
from pybpftool.inspect.why import Why
from pybpftool.output.columns import duration, size
from pybpftool.output.htmltext import POLICY, html_text
from pybpftool.page.drawing import svg
from pybpftool.page.layout import of_graph
from pybpftool.page.sheets import Sheets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pybpftool.inspect.items import Item
    from pybpftool.inspect.owners import Graph
    from pybpftool.objects.prog_code import CodeReader
    from pybpftool.page.layout import Layout

_STYLE = """\
:root{color-scheme:light dark;--bg:#fff;--fg:#1f2328;--line:#d0d7de;--dim:#59636e;--lit:#fff3bf;
--c0:#ddf4ff;--c1:#dafbe1;--c2:#fff8c5;--c3:#fbefff;--src:#0550ae;--bar:#54aeff;
--taken:#1a7f37;--loop:#0969da;--jump:#8250df}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--line:#3d444d;--dim:#9198a1;
--lit:#5c4b00;--c0:#0c2d4d;--c1:#12361f;--c2:#3b2f00;--c3:#321b45;--src:#79c0ff;--bar:#1f6feb;
--taken:#3fb950;--loop:#58a6ff;--jump:#bc8cff}}
body{margin:1.5em;font:14px/1.45 system-ui,sans-serif;background:var(--bg);color:var(--fg)}
h1{font-size:1.4em;margin:0}h2{font-size:1.15em;margin:1.8em 0 .5em}h4{margin:1em 0 .3em}
p{margin:.3em 0}.dim{color:var(--dim)}a{color:inherit}
table{border-collapse:collapse}th{text-align:left;border-bottom:2px solid var(--line)}
th,td{padding:.15em .7em .15em 0;vertical-align:top}td{border-top:1px solid var(--line)}
td.n,th.n{text-align:right}
code,pre,table.code td,table.rows td{font:12px/1.5 ui-monospace,monospace}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
table.code{width:100%;table-layout:fixed}table.code td{overflow-wrap:anywhere}
table.code td:first-child{color:var(--src);white-space:pre-wrap}
.bar{display:inline-block;height:.7em;background:var(--bar);min-width:1px}
#view{overflow:auto;max-height:85vh;border:1px solid var(--line);padding:.5em}
svg{display:block;font:12px system-ui,sans-serif}
svg text{fill:var(--fg)}svg .head{font-weight:600}
svg rect{stroke:var(--line)}
.c0 rect{fill:var(--c0)}.c1 rect{fill:var(--c1)}.c2 rect{fill:var(--c2)}.c3 rect{fill:var(--c3)}
svg path{fill:none;stroke:var(--dim);stroke-opacity:.45}
svg path.slot{stroke-dasharray:4 3}svg path.owner{stroke-opacity:.2}
svg.flow{font:11px ui-monospace,monospace;max-width:100%;height:auto;margin:.3em 0}
.flow .b rect{fill:var(--c1)}.flow .x rect{fill:var(--c3)}.flow .u{opacity:.5}
.flow path{stroke-opacity:1}.flow path.t{stroke:var(--taken)}.flow path.i{stroke:var(--jump)}
.flow path.l{stroke:var(--loop);stroke-width:2}tr:target>td{background:var(--lit)}
.off{opacity:.12}.node.on rect{stroke:var(--fg);stroke-width:2}
svg path.on{stroke:var(--fg);stroke-opacity:1;stroke-width:1.6}
details.sheet{border:1px solid var(--line);border-radius:4px;margin:.4em 0;padding:.3em .7em}
details.sheet>summary{cursor:pointer;font-weight:600;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content auto;gap:0 1em;margin:.5em 0}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
#find{display:none;gap:.7em;align-items:center;margin:.6em 0;flex-wrap:wrap}
#find input[type=search]{width:20em;max-width:100%}
.scripted #find{display:flex}
.gone{display:none}
@media print{#view{max-height:none}details.sheet{break-inside:avoid}}
"""

_SCRIPT = """\
'use strict';
const all=(q,e=document)=>[...e.querySelectorAll(q)];
document.documentElement.classList.add('scripted');
const nodes=new Map(all('#graph .node').map(g=>[g.dataset.n,g]));
const lines=all('#graph path'),beside=new Map();
for(const p of lines){for(const [a,b] of [[p.dataset.a,p.dataset.b],[p.dataset.b,p.dataset.a]]){
 if(!beside.has(a))beside.set(a,[]);beside.get(a).push([b,p]);}}
const columns=[0,1,2,3];
const reached=start=>{const seen=new Set([start]),paths=new Set();
 const go=(n,right)=>{const c=+nodes.get(n).classList[1][1];
  for(const [m,p] of beside.get(n)||[]){const d=+nodes.get(m).classList[1][1];
   if((right?d>c:d<c)&&!paths.has(p)){paths.add(p);seen.add(m);go(m,right);}}};
 go(start,true);go(start,false);return [seen,paths];};
const light=n=>{for(const e of all('#graph .on'))e.classList.remove('on');
 if(n===null)return;const [seen,paths]=reached(n);
 for(const m of seen)nodes.get(m).classList.add('on');
 for(const p of paths)p.classList.add('on');};
for(const [n,g] of nodes){g.addEventListener('mouseenter',()=>light(n));
 g.addEventListener('mouseleave',()=>light(null));}
const search=document.getElementById('search'),kinds=all('#find input[type=checkbox]');
const apply=()=>{const words=search.value.toLowerCase().split(/\\s+/).filter(w=>w);
 const fits=t=>words.every(w=>t.toLowerCase().includes(w));
 const shown=new Set(),hit=new Set();
 for(const [n,g] of nodes)if(fits(g.dataset.t))hit.add(n);
 for(const n of hit){shown.add(n);if(words.length)for(const m of reached(n)[0])shown.add(m);}
 const on=kinds.map(k=>k.checked);
 const off=n=>!shown.has(n)||!on[+nodes.get(n).classList[1][1]];
 for(const [n,g] of nodes)g.classList.toggle('off',off(n));
 for(const p of lines)p.classList.toggle('off',off(p.dataset.a)||off(p.dataset.b));
 for(const s of all('details.sheet,tr[data-t]'))s.classList.toggle('gone',!fits(s.dataset.t));
 document.getElementById('count').textContent=words.length?hit.size+' of '+nodes.size:'';};
search.addEventListener('input',apply);for(const k of kinds)k.addEventListener('change',apply);
const open=()=>{const e=document.getElementById(decodeURIComponent(location.hash.slice(1)));
 if(e&&e.tagName==='DETAILS'){e.open=true;e.scrollIntoView();}};
addEventListener('hashchange',open);open();
"""

_TREE_LINES = 40
_TREE_BRANCHES = 2 * _TREE_LINES  # looked at for them: where there are more, the lines are cut
# Of all sheets together, and the least that a sheet has of them.
_ALL_TREE_LINES, _LEAST_TREE_LINES = 20_000, 8


def page(graph: Graph, code: CodeReader, unseen: Iterable[str], when: str) -> bytes:
    """The page about a machine; ``when`` says which kernel it is and of which time."""
    progs, maps = graph.items("prog"), graph.items("map")
    sheets = Sheets(graph, code)
    why = Why(graph, _TREE_BRANCHES)
    layout = of_graph(graph)
    most = _tree_lines(len(progs) + len(maps))
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>BPF: {html_text(when)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>BPF of a machine</h1>\n<p class="dim">{html_text(when)}; {graph.counts()}</p>\n',
        _FIND,
        f'<div id="view">\n{svg(layout)}\n</div>\n',
        _left_out(layout),
        "<h2>Memory and time by owner</h2>\n",
        _owners(graph),
        "<h2>Places, in the order of execution</h2>\n",
        _places(graph),
    ]
    of_maps = [sheets.map(item, _tree(why, item, most)) for item in maps.values()]
    heads = [sheets.head(item, _tree(why, item, most)) for item in progs.values()]
    # Code has what room all else leaves.
    rest = (*parts, *of_maps, *heads, _SCRIPT)
    sheets.leave_room(sum(len(part.encode("utf-8", "replace")) for part in rest))
    parts += [
        "<h2>Programs</h2>\n",
        *[sheets.program(item, head) for item, head in zip(progs.values(), heads)],
        "<h2>Maps</h2>\n",
        *of_maps,
    ]
    missing = "".join([f"<li>{html_text(sentence)}\n" for sentence in unseen])
    if missing:
        parts.append(f"<h2>Not seen</h2>\n<ul>{missing}</ul>\n")
    parts.append(f"<script>\n{_SCRIPT}</script>\n</body>\n</html>\n")
    return "".join(parts).encode("utf-8", "replace")


_FIND = """\
<div id="find"><input type="search" id="search" placeholder="name, type, hook, owner">
<label><input type="checkbox" checked> hooks</label>
<label><input type="checkbox" checked> programs</label>
<label><input type="checkbox" checked> maps</label>
<label><input type="checkbox" checked> owners</label> <span id="count" class="dim"></span></div>
"""


def _left_out(layout: Layout) -> str:
    if not layout.left_out:
        return ""
    all = layout.left_out + len(layout.lines)
    return (
        f'<p class="dim">Of {all} lines {layout.left_out} are left out: each box has its first'
        " ones. The sheets below tell more.</p>\n"
    )


def _tree_lines(sheets: int) -> int:
    """How many lines of a tree a sheet shows, where a page has so many sheets."""
    return max(min(_TREE_LINES, _ALL_TREE_LINES // max(sheets, 1)), _LEAST_TREE_LINES)


def _tree(why: Why, item: Item, most: int) -> list[str]:
    why.is_cut = False
    tree = why.of_object((item.kind, item.id))
    lines = list(islice(tree.lines(), 1, most + 2))
    if len(lines) <= most and not why.is_cut:  # many branches may be few lines
        return lines
    return [*lines[:most], f"… (pybpftool why {item.kind} id {item.id})"]


def _owners(graph: Graph) -> str:
    rows = shares(graph)
    most = max((row.bytes_memlock for row in rows), default=0) or 1
    longest = max((row.run_time_ns for row in rows), default=0) or 1
    cells = []
    for row in rows:
        owner = html_text(", ".join(row.owner))
        time = duration(row.run_time_ns) if row.run_cnt else ""
        cells.append(
            f'<tr data-t="{owner}"><td>{owner}<td class=n>{row.progs}<td class=n>{row.maps}'
            f"<td class=n>{row.links}<td class=n>{size(row.bytes_memlock)}"
            f"<td>{_bar(row.bytes_memlock, most)}<td class=n>{time}"
            f"<td>{_bar(row.run_time_ns, longest)}\n"
        )
    return (
        "<table><tr><th>owner<th class=n>programs<th class=n>maps<th class=n>links"
        f"<th class=n>memory<th><th class=n>run time<th>\n{''.join(cells)}</table>\n"
    )


def _bar(value: int, most: int) -> str:
    return f'<span class=bar style="width:{value * 12 / most:.2f}em"></span>' if value else ""


def _places(graph: Graph) -> str:
    if not graph.attachments.rows:
        return '<p class="dim">No program is attached that can be seen.</p>\n'
    rows = []
    for row in graph.attachments.rows:
        prog = f"{row.prog_id} {row.prog_name}" if row.prog_id else ""
        cells = (row.hook, row.place(), str(row.position or ""))
        rest = (str(row.link_id or ""), row.detail)
        title = html_text(" ".join((*cells, prog, row.detail)))
        link = html_text(prog)
        if row.prog_id in graph.items("prog"):
            link = f'<a href="#prog-{row.prog_id}">{link}</a>'
        rows.append(
            f'<tr data-t="{title}">'
            + "".join([f"<td>{html_text(cell)}" for cell in cells])
            + f"<td>{link}"
            + "".join([f"<td>{html_text(cell)}" for cell in rest])
            + "\n"
        )
    return (
        "<table class=rows><tr><th>hook<th>place<th>position<th>program<th>link<th>detail\n"
        f"{''.join(rows)}</table>\n"
    )
