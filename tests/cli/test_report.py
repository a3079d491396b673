"""``report``: the page is well-formed, self-contained and whole, whatever names say."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.cli import assert_one_sentence, run
from tests.support.fakeprogs import add_prog
from tests.support.hosts import Host, host
from tests.support.owners_golden import KERNELS

FIXTURES = Path(__file__).parents[2] / "fixtures"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_VOID = {"meta", "input", "br", "path", "rect"}
_IMPLIED = {"td", "th", "tr", "li", "dt", "dd"}


class Page(HTMLParser):
    """Elements and text; fails where an element is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID and tag not in _IMPLIED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _IMPLIED:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def report(tmp_path: Path, kernel: Host | None = None, snapshot: Path | None = None) -> str:
    path = tmp_path / "page.html"
    options = ["--snapshot", str(snapshot)] if snapshot else []
    result = run(*options, "report", str(path), kernel=kernel)
    assert result.status in (0, 2), result
    assert result.out == b""
    assert (result.status == 2) == bool(result.err)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*sorted(KERNELS), "6.18"])
def test_recorded_kernels(tmp_path: Path, name: str) -> None:
    snapshot = KERNELS.get(name, FIXTURES / "kernels" / "6.18" / "snapshot.zip")
    text = report(tmp_path, snapshot=snapshot)
    page = Page(text)
    progs = run("-j", "--snapshot", str(snapshot), "owners").json
    sheets = [attrs["id"] or "" for tag, attrs in page.tags
              if tag == "details" and attrs.get("class") == "sheet"]  # fmt: skip
    assert len([id for id in sheets if id.startswith("prog-")]) == sum(p["progs"] for p in progs)
    assert len([id for id in sheets if id.startswith("map-")]) == sum(p["maps"] for p in progs)
    assert len(sheets) == len(set(sheets))
    # All that links lead to is there, once, and nothing leads out.
    names = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(names) == len(set(names))
    for tag, attrs in page.tags:
        for key in ("href", "src"):
            if attrs.get(key) is not None:
                assert tag == "a" and (attrs[key] or "")[1:] in names, (tag, attrs)
    assert len(text) < 10_000_000
    # A table without rows is none.
    tables = text.count("<th>hook<th>place")
    assert tables == (1 if run("-j", "--snapshot", str(snapshot), "attachments").json else 0)
    assert ("No program is attached" in text) == (not tables)


def test_sheets_of_a_program_and_a_map(tmp_path: Path) -> None:
    text = "".join(Page(report(tmp_path, snapshot=KERNELS["host"])).text)
    assert "if (bpf_map_lookup_elem(&flows, &key))" in text
    assert "(85) call __htab_map_lookup_elem" in text
    assert "pushq   %rbp" in text
    assert "xdp dev lo generic" in text
    assert "process 18321 (felix)" in text
    assert "keyvalue\n{'saddr': 2, 'port': 443, 'proto': 6}{'packets': 1, " in text


def test_control_flow_is_drawn(tmp_path: Path) -> None:
    page = Page(report(tmp_path, snapshot=KERNELS["host"]))
    drawings = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "flow"]
    assert drawings and all((each["aria-label"] or "").endswith(" blocks") for each in drawings)
    rows = [attrs for tag, attrs in page.tags if tag == "tr" and attrs.get("id")]
    assert rows and all((each["id"] or "").startswith("code-") for each in rows)


def test_a_page_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = report(tmp_path, snapshot=KERNELS["host"])
    assert "the code: <code>pybpftool prog dump joined" not in whole
    monkeypatch.setattr("pybpftool.page.sheets.TOTAL", 0)
    monkeypatch.setattr("pybpftool.page.sheets.LEAST", 6_000)
    part = report(tmp_path, snapshot=KERNELS["host"])
    left_out = part.count("the code: <code>pybpftool prog dump joined")
    tables = [text.count("<th>source<th>translated") for text in (whole, part)]
    assert 0 < tables[1] < tables[0]
    assert 0 < left_out < part.count('class="sheet" id="prog-')
    assert len(part) < len(whole)
    assert "map dump id" not in whole
    monkeypatch.setattr("pybpftool.page.sheets.ELEMENTS", 0)
    bare = report(tmp_path, snapshot=KERNELS["host"])
    assert "elements: <code>pybpftool map dump id" in bare


def test_code_has_what_room_all_else_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(total: int) -> int:
        monkeypatch.setattr("pybpftool.page.sheets.TOTAL", total)
        return len(report(tmp_path, snapshot=KERNELS["host"]).encode())

    whole = written(1_000_000)
    monkeypatch.setattr("pybpftool.page.sheets.LEAST", 0)
    without = written(0)
    between = (whole + without) // 2
    assert without < written(between) < whole
    # The sentences that stand in place of code, and what is around the sheets, are small.
    assert written(between) < between + 1_500


HOSTILE = "</text></svg><script>alert(1)</script>\" onload='x' \x1b[2J\u202e&lt;"


def test_names_stay_text(tmp_path: Path) -> None:
    kernel = host()
    raw = HOSTILE.encode()[:15]
    add_prog(kernel, 40, b"", name=raw, type=6)
    kernel.map(41, type=1, key_size=4, value_size=8, max_entries=1, name=b"<b>'\"&\x07")
    kernel.elems[41] = {bytes(4): b"<script>"}
    kernel.held["prog"][40] = [(70, HOSTILE)]
    kernel.files["/proc/70/cgroup"] = b"0::/<img src=x onerror=alert(1)>.service\n"
    kernel.pins["prog"] = {40: ["/sys/fs/bpf/" + HOSTILE]}
    kernel.names[2] = "<iframe>"
    text = report(tmp_path, kernel)
    page = Page(text)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"iframe", "img", "b", "object", "link"}
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert "\x1b" not in text and "\u202e" not in text
    assert "alert(1)" in "".join(page.text)
    assert "default-src 'none'" in text


def test_without_scripts_all_is_there(tmp_path: Path) -> None:
    text = report(tmp_path, snapshot=KERNELS["host"])
    bare = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    words = "".join(Page(bare).text)
    for word in ("cali_entry", "flows", "cgroup_inet_egress", "count_drop", "comm:felix"):
        assert word in words
    assert "display:none" in bare  # the search field, which only scripts can answer


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    text = report(tmp_path, snapshot=KERNELS["host"])
    path = tmp_path / "search.html"
    script = "search.value='drops';apply();\n</script>"
    path.write_text(text.replace("</script>", script), encoding="utf-8")
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*words, f"file://{path}"], capture_output=True, text=True, check=False, timeout=120
    )
    if "<html" not in done.stdout:
        pytest.skip("Chromium does not run here")
    assert 'class="scripted"' in done.stdout
    assert re.search(r'<details class="sheet gone" id="map-30038"', done.stdout)
    assert re.search(r'<details class="sheet" id="map-30039"', done.stdout)
    assert 'id="count" class="dim">1 of 8<' in done.stdout


def test_what_could_not_be_seen_stands_there(tmp_path: Path) -> None:
    text = report(tmp_path, snapshot=KERNELS["debian-6.1"])
    assert "Not seen" in text and "holders(map)" in text


def test_errors_leave_no_page(tmp_path: Path) -> None:
    kernel = host()
    missing = str(tmp_path / "no" / "page.html")
    assert_one_sentence(run("report", missing, kernel=kernel), missing)
    assert_one_sentence(run("report", kernel=kernel), "the path of the page")
    assert_one_sentence(run("report", "a", "b", kernel=kernel), "unexpected argument 'b'")
    assert run("-j", "report", str(tmp_path / "p.html"), kernel=kernel).json is None
    assert list(tmp_path.iterdir()) == [tmp_path / "p.html"]
