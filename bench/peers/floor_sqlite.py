"""The floor on SQLite: the standard library's driver on the event loop, on Handover's tables."""

import os
import secrets
import sqlite3

from bench.peers.floor import Floor, Row

COLUMNS = "id, name, description, price, owner_id, created_at, version"
USERNAME = "(SELECT username FROM users WHERE users.id = owner_id) AS username"
ITEM = f"SELECT {COLUMNS}, {USERNAME} FROM items WHERE id = ?"
AFTER = f"SELECT {COLUMNS}, {USERNAME} FROM items WHERE id > ? ORDER BY id LIMIT 11"
IN_RANGE = "FROM items WHERE price BETWEEN ? AND ?"
DEAREST = f"SELECT {COLUMNS}, {USERNAME} {IN_RANGE} ORDER BY price DESC, id DESC LIMIT 11"
COUNT = f"SELECT count(*) FROM (SELECT 1 {IN_RANGE} LIMIT 10000)"
ADD = f"""
INSERT INTO items (id, name, description, price, owner_id, created_at, version, transfers)
VALUES (?, ?, ?, ?, ?, unixepoch() * 1000, 1, 0) RETURNING {COLUMNS}
"""
MOVE = f"""
UPDATE items SET owner_id = ?, version = version + 1, transfers = transfers + 1
WHERE id = ? AND owner_id = ? RETURNING {COLUMNS}, transfers
"""
NOTE = "INSERT INTO transfers VALUES (?, ?, ?, ?, ?, ?, unixepoch() * 1000)"
USER = "SELECT id, password_hash FROM users WHERE username = ?"


def plain(id: str) -> str:
    """As Handover's tables have it."""
    return id.replace("-", "")


class SqliteFloor(Floor):
    connection: sqlite3.Connection

    async def open(self) -> None:
        self.connection = sqlite3.connect(os.environ["BENCH_URL"].removeprefix("sqlite:///"), isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        for pragma in "journal_mode = WAL", "synchronous = FULL":
            self.connection.execute(f"PRAGMA {pragma}")

    def rows(self, statement: str, *arguments: object) -> list[Row]:
        return [dict(row) for row in self.connection.execute(statement, arguments).fetchall()]

    async def item(self, id: str) -> Row:
        return self.rows(ITEM, plain(id))[0]

    async def after(self, id: str) -> list[Row]:
        return self.rows(AFTER, plain(id))

    async def dearest(self, least: int, most: int) -> list[Row]:
        return self.rows(DEAREST, least, most)

    async def count(self, least: int, most: int) -> int:
        number: int = self.connection.execute(COUNT, (least, most)).fetchone()[0]
        return number

    async def add(self, item: Row) -> Row:
        values = item["name"], item["description"], item["cents"], plain(item["owner_id"])
        return self.rows(ADD, secrets.token_hex(16), *values)[0]

    async def transfer(self, id: str, giver: str, taker: str) -> Row | None:
        self.connection.execute("BEGIN IMMEDIATE")
        moved = self.rows(MOVE, plain(taker), plain(id), plain(giver))
        for row in moved:
            sides = plain(giver), plain(taker)
            self.connection.execute(NOTE, (secrets.token_hex(16), row["id"], row["transfers"], *sides, row["version"]))
        self.connection.execute("COMMIT")
        return moved[0] if moved else None

    async def user(self, username: str) -> Row:
        return self.rows(USER, username)[0]


app = SqliteFloor()
