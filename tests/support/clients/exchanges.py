"""Recognizes the replies that a fault proxy may drop: to commits on PostgreSQL and MongoDB, and to POST over HTTP."""

from collections.abc import Iterator

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


class PostgresCommits:
    """Recognizes the reply to `COMMIT`, and to the one statement that is a whole optimistic transaction.

    Replies that are errors are not recognized. The messages are those of
    https://www.postgresql.org/docs/current/protocol-message-formats.html
    """

    OPTIMISTIC = b"handover: a conflict"
    """A text in each optimistic statement: see `combined.py`."""

    def __init__(self) -> None:
        self._received = b""
        self._has_started = False
        self._optimistic: set[bytes] = set()
        """The names of the prepared statements that are optimistic transactions."""
        self._commits = False

    def request(self, data: bytes) -> None:
        """Look at the next bytes from the client."""
        self._received += data
        for kind, content in self._messages():
            first, _, rest = content.partition(b"\0")
            if kind == b"P" and self.OPTIMISTIC in rest:  # Parse: the statement's name and its text
                self._optimistic.add(first)
            elif kind == b"B":  # Bind: the names of the portal and of the statement
                self._commits |= rest.partition(b"\0")[0] in self._optimistic
            elif kind == b"Q":
                self._commits |= first.startswith(b"COMMIT")

    def reply(self, data: bytes) -> bool:
        """Return whether a commit has succeeded."""
        commits, self._commits = self._commits, False
        return commits and b"SERROR\0" not in data

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the type and content of each message that has arrived in full, and forget it."""
        while len(self._received) >= 8 - 3 * self._has_started:
            header = 1 if self._has_started else 0  # the first messages have no type
            length = header + int.from_bytes(self._received[header : header + 4], "big")
            if len(self._received) < length:
                return
            message, self._received = self._received[:length], self._received[length:]
            if self._has_started:
                yield message[:1], message[5:]
            self._has_started |= int.from_bytes(message[4:8], "big") not in {SSL_REQUEST, GSS_REQUEST}


class MongoCommits:
    """Recognizes the reply to `commitTransaction` that says that it has succeeded."""

    COMMAND = b"\x10commitTransaction\x00\x01\x00\x00\x00"  # in BSON, the field of this name with the integer 1
    OK = b"\x01ok\x00\x00\x00\x00\x00\x00\x00\xf0\x3f"  # ok: 1.0

    def __init__(self) -> None:
        self._commits = False

    def request(self, data: bytes) -> None:
        """Look at the next bytes from the client."""
        self._commits |= self.COMMAND in data

    def reply(self, data: bytes) -> bool:
        """Return whether a commit has succeeded."""
        commits, self._commits = self._commits, False
        return commits and self.OK in data


class SuccessfulPosts:
    """Recognizes the answer to a POST request over HTTP that has succeeded."""

    def __init__(self) -> None:
        self._posts = False

    def request(self, data: bytes) -> None:
        """Look at the next bytes from the client."""
        self._posts |= data.startswith(b"POST ")

    def reply(self, data: bytes) -> bool:
        """Return whether a POST has succeeded."""
        posts, self._posts = self._posts, False
        return posts and data.startswith(b"HTTP/1.1 2")
