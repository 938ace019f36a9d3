"""What all texts have in common that people give us."""

from unicodedata import normalize

from domain.errors import Invalid

DESCRIPTION_LENGTH = 2_000


def checked_text(field: str, text: str, *, at_most: int) -> str:
    """The text, if every engine can store it and give it back as it was."""
    if len(text) > at_most:
        raise Invalid("invalid-text", f"at most {at_most} characters", field)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid("invalid-text", "NUL characters and lone surrogates are not text", field)
    return text


def checked_name(field: str, text: str, *, at_most: int) -> str:
    """A text that people will look for: not empty, not blank."""
    if not text.strip():
        raise Invalid("invalid-text", "must not be blank", field)
    return checked_text(field, text, at_most=at_most)


def caseless(text: str) -> str:
    """The one spelling that stores compare bytes of: `lower()` differs between stores and locales."""
    return normalize("NFC", normalize("NFC", text).casefold())


def checked_description(description: str | None) -> str | None:
    return None if description is None else checked_text("description", description, at_most=DESCRIPTION_LENGTH)
