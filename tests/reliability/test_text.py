"""Text from outside: whatever a YAML, JSON, JSON lines or CSV file holds, a value or one typed error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from castsheet.elements import Scene
from castsheet.errors import CastsheetError, FileError, SceneError, SettingsError, SheetError
from castsheet.jobs.shotlist import load_shots
from castsheet.machine.regular import is_file, read_regular
from castsheet.machine.text import TextReader
from castsheet.train.config import load_config, read_override
from castsheet.train.data.dataset import DatasetError
from castsheet.train.data.encode import read_table
from castsheet.train.log import read_log

FILES = TextReader(SettingsError, "correct it", limit=1 << 20)
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(10)
)

YAML = {
    "a month 13": ("2026-13-45", "no timestamp"),
    "a minute 99": ("2026-01-01 10:99:00", "no timestamp"),
    "a day 0": ("2026-01-00", "no timestamp"),
    "hexadecimal without digits": ("0x_", "no int"),
    "binary without digits": ("0b_", "no int"),
    "an int of a word": ("!!int x", "no int"),
    "an int of nothing": ("!!int ''", "no int"),
    "a float of a word": ("!!float x", "no float"),
    "a float of dots": ("!!float '..'", "no float"),
    "a bool of a word": ("!!bool x", "no bool"),
    "a timestamp of a word": ("!!timestamp x", "no timestamp"),
    "base64 that is none": ("!!binary x", "base64"),
    "a mapping that is a list": ("!!map [1]", "expected a mapping"),
    "a list that is a mapping": ("!!seq {a: b}", "expected a sequence"),
    "a text that is a list": ("!!str [1]", "expected a scalar"),
    "pairs of a word": ("!!pairs x", "expected a sequence"),
    "an ordered map of numbers": ("!!omap [1]", "expected a mapping"),
    "a Python object": ("!!python/object:os.system x", "constructor"),
    "a Python name": ("!!python/name:os.system", "constructor"),
    "an unknown tag": ("!mine x", "constructor"),
    "a number of 5,000 digits": ("9" * 5000, "5000 digits"),
    "a negative number of 200 digits": ("-" + "9" * 200, "201 digits"),
    "a fraction of 5,000 digits": ("0." + "9" * 5000, "digits"),
    "half a character": ('"\\ud800"', "Unicode|surrogate"),
    "5,000 lists": ("[" * 5000 + "]" * 5000, "60 levels"),
    "5,000 mappings": ("{a: " * 5000 + "}" * 5000, "60 levels"),
    "61 lists": ("[" * 61 + "]" * 61, "60 levels"),
    "an alias that holds itself": ("&a [*a]", "holds itself"),
    "a mapping that holds itself": ("&a {b: *a}", "holds itself"),
    "an alias of nothing": ("*a", "undefined alias"),
    "an open list": ("[1", "did not find"),
    "an open quote": ('"x', "quoted scalar"),
    "a tab": ("\n\tx: 1", "not plain YAML"),
    "a control character": ("\x1b[31m", "control characters|special"),
    "a NUL": ("\0", "control characters|special"),
    "a merge of a number": ("{<<: 1}", "merging"),
    "a merge of a list of numbers": ("{<<: [1]}", "merging"),
    "a list as a key": ("{[a]: b}", "unhashable"),
    "a key twice": ("{b: 1, c: 2, b: 3}", "'b' is given twice"),
    "a key twice, quoted once": ("{b: 1, 'b': 3}", "given twice"),
    "a key twice, far below": ("[[{b: 1, b: 2}]]", "given twice"),
    "a second document": ("1\n---\nb: 2", "another document"),
}


@pytest.mark.parametrize("case", YAML)
def test_yaml(case: str, tmp_path: Path):
    """Red: a mistake in a YAML file ends in a traceback, or says neither line nor column."""
    text, says = YAML[case]
    path = tmp_path / "f.yaml"
    path.write_text(f"first: 1\na: {text}\n", encoding="utf-8", errors="surrogatepass")
    with pytest.raises(SettingsError, match=says) as caught:
        FILES.yaml(path)
    assert str(path) in caught.value.what
    assert "line " in caught.value.what
    assert len(caught.value.what) < 600
    assert caught.value.what.isprintable()


@pytest.mark.parametrize("reader", ["scene", "shots", "config", "override"])
@pytest.mark.parametrize("case", ["a month 13", "a bool of a word", "5,000 lists", "a key twice"])
def test_every_yaml_reader_is_the_one(reader: str, case: str, tmp_path: Path):
    """Red: a kind of YAML file is read by another reader than the one that refuses."""
    text, says = YAML[case]
    path = tmp_path / "f.yaml"
    path.write_text(f"a: {text}\n")
    read = {
        "scene": lambda: Scene.load(path),
        "shots": lambda: load_shots(path),
        "config": lambda: load_config(path),
        "override": lambda: read_override(f"steps={text}"),
    }[reader]
    with pytest.raises((SceneError, SettingsError), match=says):
        read()


def test_an_alias_bomb_costs_nothing(tmp_path: Path):
    """Red: 400 bytes of aliases take all memory, in the value or in the message."""
    path = tmp_path / "f.yaml"
    path.write_text(BOMB)
    with pytest.raises(SettingsError, match="aliases counted in full"):
        FILES.yaml(path)


def test_usual_yaml_stays(tmp_path: Path):
    """Red: dates, aliases, merges or a byte order mark of usual files are refused."""
    path = tmp_path / "f.yaml"
    path.write_text("\ufeffa: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\ne: [*x, *x]\nf: 2026-01-02\n", "utf-8")
    found = FILES.yaml(path)
    assert found["d"] == {"b": 1, "c": 3}
    assert found["e"] == [{"b": 1, "c": 2}] * 2
    path.write_text("")
    assert FILES.yaml(path) is None


JSON = {
    "nothing": ("", "Expecting value"),
    "an open object": ("{", "property name"),
    "single quotes": ("{'a': 1}", "property name"),
    "a comma too many": ('{"a": [1,]}', "line 1, column"),
    "HTML": ("<html>", "Expecting value"),
    "two values": ("{} {}", "Extra data"),
    "NaN": ('{"a": NaN}', "'NaN' at line 1, column 7"),
    "infinity": ('{"a":\n-Infinity}', "'-Infinity' at line 2"),
    "1e999": ("[1, 1e999]", "'1e999' at line 1, column 5"),
    "5,000 digits": ("[" + "9" * 5000 + "]", "too large"),
    "a fraction of 5,000 digits": ("[0." + "9" * 5000 + "]", "too large"),
    "half a character": ('{"a": "\\ud800"}', "half a character"),
    "half a character as a key": ('{"\\udfff": 1}', "half a character"),
    "100,000 lists": ("[" * 100_000, "60 levels"),
    "61 lists": ("[" * 61 + "]" * 61, "60 levels"),
    "61 objects": ('{"a":' * 61 + "1" + "}" * 61, "60 levels"),
    "a key twice": ('{"a": 1,\n "b": {"a": 2},\n "a": 3}', "'a' is given twice: at line 1.*line 3"),
    "a key twice within": ('{"a": [{"b": 1, "b": 2}]}', "'b' is given twice"),
    "a key twice, escaped once": ('{"a": 1, "\\u0061": 2}', "'a' is given twice"),
    "a bare control character": ('{"a": "\x01"}', "control character"),
    "a NUL": ("\0", "Expecting value"),
}


@pytest.mark.parametrize("case", JSON)
def test_json(case: str, tmp_path: Path):
    """Red: a mistake in a JSON file ends in a traceback, or is read as something else."""
    text, says = JSON[case]
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=f"(?s){says}") as caught:
        FILES.json(path)
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < 600


@pytest.mark.parametrize("value", [[1], "a", 3, None, True])
def test_json_that_is_no_object(value: object, tmp_path: Path):
    """Red: a list where an object is due ends in an AttributeError."""
    path = tmp_path / "f.json"
    path.write_text(json.dumps(value))
    with pytest.raises(SettingsError, match="not a JSON object"):
        FILES.json_object(path)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "s.png"):
        (tmp_path / name).touch()
    return tmp_path


HEAD = "video,sheet,caption\n"
CSV = {
    "a NUL": (HEAD + "a.mp4,s.png,he\0ro\n", "line 2: a NUL"),
    "an open quote": (HEAD + 'a.mp4,s.png,"hero\nb.mp4,s.png,x\n', "quote is opened"),
    "text after a quote": (HEAD + 'a.mp4,s.png,"hero" walks\n', "line 2"),
    "a field too many": (HEAD + "a.mp4,s.png,hero, walking\n", "4 fields, the header has 3"),
    "a field too few": (HEAD + "a.mp4,s.png\n", "2 fields"),
    "a column twice": ("video,video,caption\na.mp4,s.png,x\n", "two columns are called 'video'"),
    "a caption of spaces": (HEAD + 'a.mp4,s.png,"  "\n', "no caption"),
    "a caption of line feeds": (HEAD + 'a.mp4,s.png,"\n\n"\n', "no caption"),
    "a caption with a bell": (HEAD + "a.mp4,s.png,he\x07ro\n", "control characters"),
    "a caption that never ends": (HEAD + f"a.mp4,s.png,{'x' * 200_000}\n", "letters|quote"),
    "no rows": (HEAD, "no rows"),
    "nothing": ("", "no rows"),
    "a clip twice": (HEAD + "a.mp4,s.png,x\na.mp4,s.png,y\n", "line 3: a second row"),
    "a name of 5,000 letters": (HEAD + f"{'x' * 5000}.mp4,s.png,x\n", "is not there"),
    "a folder": (HEAD + ".,s.png,x\n", "is not there"),
}


@pytest.mark.parametrize("case", CSV)
def test_tables(case: str, clips: Path):
    """Red: wrong training data is accepted in silence, or ends in a traceback."""
    text, says = CSV[case]
    path = clips / "t.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=says):
        read_table(path)


LINES = {
    "lists": ("[1, 2]", "not a mapping"),
    "texts": ('"a"', "not a mapping"),
    "null": ("null", "not a mapping"),
    "deep": ("[" * 100_000, "60 levels"),
    "half a character": ('{"video": "a.mp4", "sheet": "s.png", "caption": "\\ud800"}', "half a character"),
    "a caption that is a number": ('{"video": "a.mp4", "sheet": "s.png", "caption": 5}', "no caption"),
    "a path that is a list": ('{"video": ["a.mp4"], "sheet": "s.png", "caption": "x"}', "no video"),
    "a path of 5,000 letters": (
        json.dumps({"video": "x" * 5000, "sheet": "s.png", "caption": "x"}),
        "is not there",
    ),
    "a path with a NUL": (json.dumps({"video": "a\0", "sheet": "s.png", "caption": "x"}), "is not there"),
}


@pytest.mark.parametrize("case", LINES)
def test_json_lines(case: str, clips: Path):
    """Red: a row that is no mapping, or a caption that no UTF-8 can hold, ends in a traceback."""
    text, says = LINES[case]
    path = clips / "t.jsonl"
    path.write_text("\n" + text + "\n")
    with pytest.raises(DatasetError, match=says) as caught:
        read_table(path)
    assert "line 2" in caught.value.what


def test_captions_keep_their_line_breaks(clips: Path):
    """Red: a caption is cut or joined at a line feed, U+2028 or a form feed without a word."""
    caption = "hero\nwalks\u2028and waves"
    (clips / "t.csv").write_text(HEAD + f'a.mp4,s.png,"{caption}"\n', encoding="utf-8")
    (clips / "t.jsonl").write_text(
        json.dumps({"video": "a.mp4", "sheet": "s.png", "caption": caption}, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    for name in ("t.csv", "t.jsonl"):
        assert [row.caption for row in read_table(clips / name)] == [caption]


@pytest.mark.parametrize(
    "kind", ["fifo", "zero", "folder", "missing", "latin-1", "too large", "NUL in the name"]
)
def test_what_is_no_text_file(kind: str, tmp_path: Path):
    """Red: a pipe hangs the command, `/dev/zero` takes all memory, or a reason is missing."""
    path = tmp_path / "f"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "latin-1":
        path.write_bytes("h\xe9ro".encode("latin-1"))
    elif kind == "too large":
        path.write_bytes(b" " * (FILES.limit + 1))
    elif kind == "NUL in the name":
        path = Path(f"{path}\0")
    for read in (FILES.yaml, FILES.json, FILES.text):
        with pytest.raises(SettingsError) as caught:
            read(path)
        assert caught.value.what.isprintable()


@pytest.mark.parametrize(
    "read", [Scene.load, load_shots, load_config, read_table], ids=lambda one: one.__name__
)
def test_pipes_are_refused_at_once(read, tmp_path: Path):
    """Red: a command waits for ever for the other end of a pipe."""
    os.mkfifo(tmp_path / "f")
    with pytest.raises(CastsheetError, match="pipe"):
        read(tmp_path / "f")


def test_a_damaged_log_does_not_end_a_run(tmp_path: Path):
    """Red: NULs after a power cut stop a training run until the user deletes its record."""
    good = '{"kind": "step", "step": 1, "loss": 0.5}\n'
    damage = ['{"kind": "step"', "\0\0\0", "[1]", '{"step": "x", "kind": "step"}', "\xff", "5"]
    (tmp_path / "log.jsonl").write_bytes((good + "\n".join(damage) + "\n" + good + '{"cut').encode("latin-1"))
    with pytest.warns(UserWarning, match="damaged lines"):
        assert [line["step"] for line in read_log(tmp_path)] == [1, 1]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives its rights up and needs some to give")
def test_permissions_are_told(tmp_path: Path):
    """Red: a file that may not be read counts as missing or damaged, and the user deletes a good file."""
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "f.yaml").write_text("a: 1")
    closed.chmod(0)
    before = os.geteuid()
    tmp_path.parent.parent.chmod(0o755)
    os.seteuid(65534)
    try:
        for act in (
            lambda: read_regular(closed / "f.yaml", SheetError, limit=9),
            lambda: is_file(closed / "f"),
        ):
            with pytest.raises((SheetError, FileError), match="may not read"):
                act()
    finally:
        os.seteuid(before)
        closed.chmod(0o755)
