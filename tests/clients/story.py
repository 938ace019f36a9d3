"""The README's story, told by the client that openapi-python-client generates: `python story.py URL`."""

import sys

from handover_python import AuthenticatedClient, Client
from handover_python.api.items import create_item, list_items, list_transfers, read_item, transfer_item
from handover_python.api.signing_in import sign_in
from handover_python.api.users import create_user
from handover_python.models import (
    AccountOut,
    ItemIn,
    ItemOut,
    PageOutItemOut,
    PageOutTransferOut,
    Problem,
    SignInIn,
    TokensOut,
    TransferIn,
    UserIn,
)

PASSWORD = "analytical engine"


def sign_up(client: Client, name: str) -> AccountOut:
    body = UserIn(email=f"{name}@example.org", username=name, password=PASSWORD)
    account = create_user.sync(client=client, body=body)
    assert isinstance(account, AccountOut), account
    return account


def tell(url: str) -> None:
    open_client = Client(base_url=url)
    sign_up(open_client, "ada-python")
    grace = sign_up(open_client, "grace-python")
    tokens = sign_in.sync(client=open_client, body=SignInIn(username="ada-python", password=PASSWORD))
    assert isinstance(tokens, TokensOut), tokens
    client = AuthenticatedClient(base_url=url, token=tokens.access_token)

    items = [create_item.sync(client=client, body=ItemIn(name=f"Note {n}", price=12.5)) for n in range(5)]
    notes = items[0]
    assert isinstance(notes, ItemOut), notes
    assert (notes.name, notes.price, notes.version) == ("Note 0", 12.5, 1)

    def transfer(key: str) -> tuple[ItemOut | Problem | None, str | None]:
        answer = transfer_item.sync_detailed(
            notes.id, client=client, body=TransferIn(to_user_id=grace.id), if_match='"1"', idempotency_key=key
        )
        return answer.parsed, answer.headers.get("Idempotency-Replayed")

    first, replayed = transfer("notes-to-grace")
    assert isinstance(first, ItemOut), first
    assert (first.version, first.owner.username, replayed) == (2, "grace-python", None)
    assert transfer("notes-to-grace") == (first, "true")
    refusal, _ = transfer("notes-to-grace-once-more")
    assert isinstance(refusal, Problem), refusal
    assert (refusal.status, refusal.type_) == (403, "/problems/item-not-owned")

    history = list_transfers.sync(notes.id, client=client)
    assert isinstance(history, PageOutTransferOut), history
    assert [(row.number, row.to_user_id) for row in history.items] == [(1, grace.id)]

    assert read_item.sync_detailed(notes.id, client=client, if_none_match='"2"').status_code == 304

    walked: list[str] = []
    page = list_items.sync(client=client, limit=2)
    while isinstance(page, PageOutItemOut):
        walked += [item.name for item in page.items]
        if page.next_cursor is None:
            break
        page = list_items.sync(client=client, limit=2, cursor=page.next_cursor)
    assert len(walked) == len(set(walked)) >= 5, walked


if __name__ == "__main__":
    tell(sys.argv[1])
