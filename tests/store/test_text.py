"""Text from outside: nothing that a terminal obeys gets through `clean` or the log parser, whatever comes in."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
import unicodedata

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui_store.text import (
    MAX_MARKS,
    MAX_SGR_PARAMETERS,
    MAX_STATES_KEPT,
    LogLine,
    LogParser,
    SafeText,
    StyleSpan,
    TextStyle,
    cell_width,
    clean,
    cut_text,
    fit_text,
    join_text,
    parse_line,
    raw,
)

FORBIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\ufe00\ufe0e\ufe0f\uffa0\U000e0100\U000e01ef"

HOSTILE = {
    "clipboard": b"\x1b]52;c;cm0gLXJmIH4=\x07",
    "hyperlink": b"\x1b]8;;http://evil.example/\x1b\\click\x1b]8;;\x1b\\",
    "title": b"\x1b]0;owned\x07",
    "clear": b"\x1b[2J\x1b[3J",
    "cursor": b"\x1b[1;1H\x1b[5A\x1b7\x1b8",
    "device query": b"\x1b[6n\x1b[c\x1b[>c\x05",
    "DCS": b'\x1bP$q"p\x1b\\',
    "APC": b"\x1b_Gf=100;AAAA\x1b\\",
    "PM": b"\x1b^private\x1b\\",
    "SOS": b"\x1bXstring\x1b\\",
    "C1 as UTF-8": "\x9b31m\x9d0;owned\x9c\x90q\x9c\x9fG\x9c\x85".encode(),
    "C1 as bytes": b"\x9b31m\x9d0;owned\x9c",
    "carriage return": b"FAILED\rpassed",
    "backspace": b"FAILED\b\b\b\b\b\bpassed",
    "alternate screen": b"\x1b[?1049h",
    "mouse": b"\x1b[?1000h\x1b[?1006h",
    "paste mode": b"\x1b[?2004h",
    "bell": b"\x07\x07",
    "character set": b"\x1b(0\x0elqqqk\x0f",
    "reset": b"\x1bc\x1b[!p",
    "bidi": "\u202egpj.exe\u202c\u2066x\u2069\u200f".encode(),
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg".encode(),
    "tags": "\U000e0041\U000e007f".encode(),
    "invisible letters": INVISIBLE.encode(),
    "line separators": "a\u2028b\u2029c".encode(),
    "private use": "\ue000\U000f0000".encode(),
    "invalid UTF-8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "markup": b"[bold red]x[/] [link=http://evil.example]y[/link]",
    "torn": b"\x1b[31",
    "endless string": b"\x1b]0;" + b"A" * 10_000,
    "endless parameters": b"\x1b[" + b"1;" * 10_000 + b"m",
}
"""One or more strings for each class of SAFETY section 4, as bytes that a script may print."""

Chunks = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.text(max_size=8).map(str.encode),
        st.sampled_from(list(HOSTILE.values())[:-2]),
        st.sampled_from(
            [b"\x1b", b"[", b"m", b"\r", b"\n", b"\r\n", b"\x1b[1;31m", b"\x1b[0m", b"\x1b]", b"\x1b\\", b"\t"]
        ),
    ),
    max_size=12,
)
"""Output in pieces: arbitrary bytes, arbitrary text, and what real sequences are made of."""


def harmless(text: str, *, multiline: bool = False) -> bool:
    """Whether a terminal would show the text as it stands: the property that everything here must have."""
    return not any(
        unicodedata.category(character) in FORBIDDEN_CATEGORIES or character in INVISIBLE
        for character in text
        if not (multiline and character == "\n")
    )


def parsed(data: bytes) -> list[LogLine]:
    parser = LogParser()
    lines = parser.feed(data)
    last = parser.finish()
    return lines if last is None else [*lines, last]


def shown_by_a_terminal(text: str) -> list[str]:
    """Rows of an 80-column terminal that was sent the text."""
    screen = pyte.Screen(80, 3)
    pyte.Stream(screen).feed(text)
    return [row.rstrip() for row in screen.display]


# clean


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_class_of_hostile_text_gets_through_clean(kind: str) -> None:
    assert harmless(clean(HOSTILE[kind]))
    assert harmless(clean(HOSTILE[kind].decode("utf-8", "surrogateescape")))
    assert harmless(clean(HOSTILE[kind], multiline=True), multiline=True)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_terminal_shows_a_cleaned_text_in_one_row_as_wide_as_it_claims(kind: str) -> None:
    text = clean(HOSTILE[kind], limit=60)
    rows = shown_by_a_terminal(text)
    assert rows[1:] == ["", ""]
    assert cell_width(rows[0]) == cell_width(text.rstrip())


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=80)), st.booleans(), st.integers(1, 60))
def test_any_text_comes_out_of_clean_harmless_and_within_the_limit(
    value: str | bytes, multiline: bool, limit: int
) -> None:
    text = clean(value, multiline=multiline, limit=limit)
    assert type(text) is SafeText
    assert harmless(text, multiline=multiline)
    assert len(text) <= limit
    assert clean(text, multiline=multiline, limit=limit) == text


@given(st.characters())
@settings(deadline=None)
def test_every_character_is_replaced_by_one_cell_or_keeps_its_own(character: str) -> None:
    text = clean(f"a{character}")
    # A tab is filled up to its stop, a selector or mark is part of the cell before it.
    assert cell_width(text) == 8 if character == "\t" else cell_width(text) in (1, 2, 3)
    assert len(text) == 8 if character == "\t" else len(text) == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "␛[31mred"),
        ("\x00\x07\x08\r\x1f\x7f", "␀␇␈␍␟␡"),
        ("a\nb", "a␊b"),
        ("\x9b31m", "�31m"),
        ("\u202eabc", "�abc"),
        ("a\u200bb", "a�b"),
        ("a\tb", "a       b"),
        ("12345678\tb", "12345678        b"),
        ("漢\tb", "漢      b"),
        ("naïve – 漢字 ✓ 🎉", "naïve – 漢字 ✓ 🎉"),
        ("e\u0301", "e\u0301"),
        ("\u0301e", "�e"),
        ("⚠\ufe0f", "⚠"),
        ("a\ufe0f", "a�"),
        ("⚠\ufe0f\ufe0f", "⚠�"),
        ("", ""),
    ],
)
def test_what_is_shown_for_what(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_newline_stays_only_where_lines_are_wanted() -> None:
    assert clean("a\r\nb\n", multiline=True) == "a\nb\n"
    assert clean("a\rb", multiline=True) == "a␍b"
    assert clean(clean("a\nb", multiline=True)) == "a␊b"


def test_a_long_text_ends_in_an_ellipsis() -> None:
    assert clean("x" * 5000) == "x" * 4095 + "…"
    assert clean("\x1b" * 5000) == "␛" * 4095 + "…"
    assert clean("x" * 4096) == "x" * 4096
    assert clean("⚠\ufe0f" * 3000) == "⚠" * 3000
    assert clean("abc", limit=2) == "a…"


def test_a_pile_of_combining_marks_is_cut_down() -> None:
    text = clean("o" + "\u0300" * 50)
    assert text.count("\u0300") == MAX_MARKS


def test_any_value_is_shown_by_its_text() -> None:
    assert clean(3.5) == "3.5"
    assert clean(None) == "None"
    assert clean(ValueError("bad \x1b[2J")) == "bad ␛[2J"
    assert clean(bytearray(b"x\xff")) == "x�"
    assert clean(10**5000) == "<int>"


def test_safe_text_cannot_be_made_by_accident() -> None:
    with pytest.raises(TypeError, match="clean"):
        SafeText("\x1b[2J")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no subclasses"):
        type("Worse", (SafeText,), {})
    assert type(clean("a") + "\x1b") is str


def test_a_pickle_that_was_edited_is_cleaned_again() -> None:
    stored = pickle.dumps(clean("harmless")).replace(b"harmless", b"h\x1b[2Jarm")
    assert pickle.loads(stored) == "h␛[2Jarm"
    assert type(copy.deepcopy(clean("a\nb", multiline=True))) is SafeText
    assert type(copy.copy(clean("a"))) is SafeText


def test_joining_takes_safe_text_only() -> None:
    joined = join_text(clean(", "), [clean("a"), clean("b")])
    assert joined == "a, b"
    assert type(joined) is SafeText
    with pytest.raises(TypeError, match="clean"):
        join_text(clean(", "), [clean("a"), "\x1b"])  # type: ignore[list-item]


def test_raw_gives_exact_bytes_back() -> None:
    assert raw(b"\x1b\xff") == b"\x1b\xff"
    assert raw(b"a\xff".decode("utf-8", "surrogateescape")) == b"a\xff"
    with pytest.raises(TypeError, match="exact bytes"):
        raw(clean("a"))


# Widths


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("漢字", 4),
        ("e\u0301", 1),
        ("ｱ", 1),
        ("Ａ", 2),
        ("🎉", 2),
        ("각", 2),
        ("\u1100\u1161\u11a8", 2),
        ("", 0),
    ],
)
def test_cells_of_a_text(text: str, width: int) -> None:
    assert cell_width(text) == width


@given(st.text(max_size=30), st.integers(0, 40), st.booleans())
@settings(deadline=None)
def test_a_fitted_text_has_exactly_the_width_asked_for(text: str, width: int, right: bool) -> None:
    safe = clean(text)
    assert cell_width(cut_text(safe, width)) <= width
    fitted = fit_text(safe, width, right=right)
    assert cell_width(fitted) == width
    assert type(fitted) is SafeText
    if cell_width(safe) <= width:
        assert fitted.strip() == safe.strip()
    elif width > 0:
        assert "…" in fitted


def test_a_text_is_cut_between_cells_not_through_them() -> None:
    assert cut_text(clean("漢字漢字"), 4) == "漢…"
    assert cut_text(clean("abcdef"), 4) == "abc…"
    assert fit_text(clean("ab"), 4, right=True) == "  ab"
    with pytest.raises(TypeError, match="clean"):
        cut_text("a\x1b", 1)  # type: ignore[arg-type]


# Log parser


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_class_of_hostile_text_gets_through_the_log_parser(kind: str) -> None:
    for line in parsed(b"before" + HOSTILE[kind] + b"after\nnext\n"):
        assert harmless(line.text)
    assert parsed(b"before" + HOSTILE[kind] + b"after\nnext\n")[-1].text == "next"


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("hyperlink", "click"),
        ("clear", ""),
        ("device query", "␅"),
        ("DCS", ""),
        ("APC", ""),
        ("PM", ""),
        ("SOS", ""),
        ("C1 as UTF-8", "�"),
        ("C1 as bytes", "�31m�0;owned�"),
        ("alternate screen", ""),
        ("bell", ""),
        ("character set", "lqqqk"),
        ("reset", ""),
        ("bidi", "�gpj.exe��x��"),
        ("private use", "��"),
    ],
)
def test_what_the_log_parser_leaves_of_a_hostile_text(kind: str, left: str) -> None:
    (line,) = parsed(b"<" + HOSTILE[kind] + b">\n")
    assert line.text == f"<{left}>"


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(Chunks, st.data())
def test_any_bytes_split_anywhere_come_out_harmless_and_as_if_whole(chunks: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(chunks)
    parser = LogParser(limit=40, keep_states=True)
    lines = parser.feed(whole)
    last = parser.finish()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    split_parser = LogParser(limit=40, keep_states=True)
    split = [line for part in parts for line in split_parser.feed(part)]
    assert split == lines
    assert split_parser.finish() == last
    for line in lines:
        assert harmless(line.text)
        assert all(map(harmless, line.earlier))
        assert len(line.text) <= 40 + len(f"…+{line.hidden}")
        ends = [0, *(place for span in line.spans for place in (span.start, span.end)), len(line.text)]
        assert ends == sorted(ends)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_sequence_cut_at_every_place_is_the_same_sequence(data: bytes) -> None:
    data = b"a" + data[:200] + b"b\n"
    for cut in range(len(data)):
        parser = LogParser()
        assert [*parser.feed(data[:cut]), *parser.feed(data[cut:])] == LogParser().feed(data)


def test_sequences_are_dropped_and_colours_become_spans() -> None:
    (line,) = parsed(b"\x1b]0;title\x07step \x1b[1;31mloss\x1b[0m=\x1b[2K0.3\x1b[?25l\x07\n")
    assert line.text == "step loss=0.3"
    assert line.spans == (StyleSpan(5, 9, TextStyle(foreground=1, bold=True)),)


def test_colours_go_on_into_the_next_line_until_they_are_reset() -> None:
    first, second, third = parsed(b"\x1b[32mok\nstill\x1b[m\nplain\n")
    green = TextStyle(foreground=2)
    assert first.spans == (StyleSpan(0, 2, green),)
    assert second.spans == (StyleSpan(0, 5, green),)
    assert third.spans == ()


@pytest.mark.parametrize(
    ("parameters", "style"),
    [
        ("38;5;208", TextStyle(foreground=208)),
        ("48;2;1;2;3", TextStyle(background=(1, 2, 3))),
        ("38:2::1:2:3", TextStyle(foreground=(1, 2, 3))),
        ("38:5:9", TextStyle(foreground=9)),
        ("94;103", TextStyle(foreground=12, background=11)),
        ("3;4;7;9", TextStyle(italic=True, underline=True, reverse=True, strike=True)),
        ("1;22", TextStyle()),
        ("31;39", TextStyle()),
        ("4:3", TextStyle(underline=True)),
        ("58;5;1;31", TextStyle(foreground=1)),
        ("5;6;8;200", TextStyle()),
        ("38;5;999", TextStyle()),
        ("38;2;1", TextStyle()),
        ("38", TextStyle()),
        ("", TextStyle()),
        (";".join(["0"] * (MAX_SGR_PARAMETERS - 1) + ["1", "31"]), TextStyle(bold=True)),
        ("?31", TextStyle()),
        (">4;1", TextStyle()),
        ("1" * 300, TextStyle()),
    ],
)
def test_parameters_of_a_colour_sequence(parameters: str, style: TextStyle) -> None:
    (line,) = parsed(f"\x1b[{parameters}mx\n".encode())
    assert line.text == "x"
    assert line.spans == (() if style == TextStyle() else (StyleSpan(0, 1, style),))


def test_an_overwritten_line_shows_its_last_state_and_how_many_there_were() -> None:
    (line,) = parsed(b"FAILED\rpassed\n")
    assert (line.text, line.states) == ("passed", 2)
    (line,) = parsed(b"long text\rshort\n")
    assert (line.text, line.states) == ("short", 2)


def test_a_carriage_return_at_the_end_of_a_line_overwrites_nothing() -> None:
    (line,) = parsed(b"kept\r\n")
    assert (line.text, line.states) == ("kept", 1)
    (line,) = parsed(b"\r\r 50%\r100%\r\r\n")
    assert (line.text, line.states) == ("100%", 2)


def test_overwritten_states_are_kept_when_asked_for() -> None:
    line = parse_line(b"a\rb\r\x1b[31mc\n", keep_states=True)
    assert line.earlier == ("a", "b")
    assert parse_line(b"a\rb\n").earlier == ()
    many = parse_line(b"\r".join(b"%d" % number for number in range(5000)), keep_states=True)
    assert many.states == 5000
    assert len(many.earlier) == MAX_STATES_KEPT
    assert many.earlier[-1] == "4998"


def test_a_backspace_never_hides_what_was_written() -> None:
    (line,) = parsed(b"FAILED\b\b\b\b\b\bpassed\n")
    assert line.text == "FAILEDpassed"


def test_a_newline_ends_a_torn_sequence() -> None:
    torn, after = parsed(b"a\x1b]0;never closed\nshown\n")
    assert (torn.text, after.text) == ("a", "shown")


def test_a_long_line_is_cut_and_says_how_much_is_missing() -> None:
    line = parse_line(b"x" * 10_000, limit=100)
    assert line.text == "x" * 100 + "…+9900"
    assert line.hidden == 9900
    line = parse_line(b"ab\tcd\x1b[31m\tef", limit=12)
    assert line.text == "ab      cd…+3"
    assert line.spans == ()


def test_a_sequence_without_end_takes_no_memory() -> None:
    parser = LogParser()
    parser.feed(b"\x1b[")
    tracemalloc.start()
    for _ in range(100):
        parser.feed(b"1;" * 10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000


def test_pieces_of_one_colour_stay_apart_when_something_is_between_them() -> None:
    red = TextStyle(foreground=1)
    line = parse_line(b"\x1b[31ma\x1b[31mb\x1b[0mc\x1b[31md")
    assert line.spans == (StyleSpan(0, 2, red), StyleSpan(3, 4, red))


def test_tabs_move_the_spans_along() -> None:
    line = parse_line(b"a\t\x1b[31mb\tc\x1b[0md")
    assert line.text == "a       b       cd"
    assert line.spans == (StyleSpan(8, 17, TextStyle(foreground=1)),)


def test_an_unfinished_line_can_be_seen_while_it_grows() -> None:
    parser = LogParser()
    assert parser.pending() is None
    assert parser.feed("50% é".encode()[:-1]) == []
    pending = parser.pending()
    assert pending is not None
    assert pending.text == "50% "
    assert parser.feed("é".encode()[-1:]) == []
    last = parser.finish()
    assert last is not None
    assert last.text == "50% é"
    assert parser.finish() is None
