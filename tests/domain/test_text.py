from unicodedata import is_normalized

import pytest

from domain.errors import Invalid
from domain.text import checked_name, checked_text, normalize_identifier


@pytest.mark.parametrize(
    "text", ["", " ", "Lamp", "ä" * 10, "👩‍👩‍👧 💡", "e\u0301", "\u202eevil", "new\nline\t", "\ufffd", "\U0010ffff"]
)
def test_a_text_comes_back_as_it_was(text: str) -> None:
    assert checked_text("name", text, max_length=10) == text


def test_a_text_may_be_as_long_as_allowed() -> None:
    assert checked_text("name", "💡" * 200, max_length=200) == "💡" * 200


@pytest.mark.parametrize("text", ["x" * 11, "💡" * 11, "a\0b", "\0", "\ud800", "a\udfff"])
def test_what_not_every_engine_can_store_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_text("description", text, max_length=10)
    assert (refusal.value.code, refusal.value.field) == ("invalid-text", "description")


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0", "\u2003\u3000"])
def test_a_name_is_not_blank(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_name("name", text, max_length=10)
    assert (refusal.value.code, refusal.value.field) == ("invalid-text", "name")


def test_a_name_keeps_its_spaces() -> None:
    assert checked_name("name", " Lamp ", max_length=10) == " Lamp "


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ADA", "ada"),
        ("É", "e\u0301"),
        ("straße", "STRASSE"),
        ("ﬁ", "FI"),
        ("ς", "Σ"),
        ("\u212b", "å"),  # the ångström sign
        ("İ", "i\u0307"),
        ("\u0345\u0301", "\u0301\u0345"),
    ],
)
def test_spellings_that_differ_in_case_or_composition_are_one(one: str, other: str) -> None:
    assert normalize_identifier(one) == normalize_identifier(other)


@pytest.mark.parametrize(("one", "other"), [("e", "é"), ("\u0131", "i"), ("ﬀi", "fi"), ("\u0430", "a"), ("o", "0")])
def test_other_letters_stay_apart(one: str, other: str) -> None:
    assert normalize_identifier(one) != normalize_identifier(other)


@pytest.mark.parametrize("text", ["ÅÉ", "ŉ", "ΐ", "ᾳ\u0301", "İSTANBUL", "\u03d3", "\u1fb7"])
def test_the_one_spelling_is_stable_and_composed(text: str) -> None:
    assert normalize_identifier(normalize_identifier(text)) == normalize_identifier(text)
    assert is_normalized("NFC", normalize_identifier(text))
