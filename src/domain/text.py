"""Rules for all texts that users enter."""

from unicodedata import normalize

from domain.errors import Invalid

MAX_DESCRIPTION_LENGTH = 2_000


def checked_text(field: str, text: str, *, max_length: int) -> str:
    """Return the text unchanged if every storage engine can store it.

    Raise Invalid if it is longer than `max_length` characters, or has NUL characters or lone surrogates. `field` is the
    name that the error reports.
    """
    if len(text) > max_length:
        raise Invalid("invalid-text", f"at most {max_length} characters", field)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid("invalid-text", "NUL characters and lone surrogates are not text", field)
    return text


def checked_name(field: str, text: str, *, max_length: int) -> str:
    """Return the text unchanged; raise Invalid as checked_text() does, and also if it is empty or only white space."""
    if not text.strip():
        raise Invalid("invalid-text", "must not be blank", field)
    return checked_text(field, text, max_length=max_length)


def normalize_identifier(text: str) -> str:
    """Return the form in which e-mail addresses and usernames are stored and compared byte by byte.

    Unicode case folding between two NFC normalizations. Databases are not asked to ignore case, because `lower()`
    differs between engines and locales.
    """
    return normalize("NFC", normalize("NFC", text).casefold())


def checked_description(description: str | None) -> str | None:
    """Return the description unchanged; None means that there is none, and is valid.

    Raise Invalid as checked_text() does, with at most MAX_DESCRIPTION_LENGTH characters.
    """
    return None if description is None else checked_text("description", description, max_length=MAX_DESCRIPTION_LENGTH)
