"""The secret that signs tokens: which ones production refuses, and the one that development makes for itself."""

import os
import re
import secrets
from pathlib import Path

FEWEST_BYTES = 32
FEWEST_DIFFERENT = 10
PLACEHOLDERS = re.compile("change|secret|default|password|example|insecure|replace|handover|your", re.IGNORECASE)


def weakness(secret: str) -> str | None:
    """What is wrong with it, never what it is."""
    if len(secret.encode()) < FEWEST_BYTES:
        return f"shorter than {FEWEST_BYTES} bytes"
    if len(set(secret)) < FEWEST_DIFFERENT or PLACEHOLDERS.search(secret):
        return "not a random one"
    return None


def new_secret() -> str:
    return secrets.token_urlsafe(FEWEST_BYTES)


def kept_secret(path: Path) -> str:
    """The secret in this file, which is made if it is not there. Raise OSError if neither is possible.

    Written elsewhere and then linked: whoever finds the file finds all of it, and of two that make it one wins.
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
