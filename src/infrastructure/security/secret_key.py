"""The secret key that signs tokens: which keys are too weak for production, and how development makes its own."""

import os
import re
import secrets
from pathlib import Path

MIN_BYTES = 32
MIN_DISTINCT_CHARACTERS = 10
PLACEHOLDERS = re.compile("change|secret|default|password|example|insecure|replace|handover|your", re.IGNORECASE)


def weakness(secret: str) -> str | None:
    """Return why the key is too weak, such as `shorter than 32 bytes`; None if it is strong enough.

    It is too weak if it is shorter than MIN_BYTES, has fewer than MIN_DISTINCT_CHARACTERS different characters, or
    contains a word such as `secret` or `change`. The text that is returned does not quote it.
    """
    if len(secret.encode()) < MIN_BYTES:
        return f"shorter than {MIN_BYTES} bytes"
    if len(set(secret)) < MIN_DISTINCT_CHARACTERS or PLACEHOLDERS.search(secret):
        return "not a random one"
    return None


def new_secret() -> str:
    """Return a new random key: MIN_BYTES random bytes in URL-safe base64."""
    return secrets.token_urlsafe(MIN_BYTES)


def read_or_create_secret(path: Path) -> str:
    """Return the key in this file, without surrounding white space; create the file with a new key if it is missing.

    Its content is not checked otherwise. Only the owner may read and write a new file. Raise OSError if the file cannot
    be read or created, ValueError if it is not text.

    The key is written to another file that is then linked, so that the file is never seen incomplete, and only one of
    several processes creates it.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(new_secret())
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
