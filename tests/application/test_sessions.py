import pytest

from application.ports import Ids, Store
from application.sessions import SignIn
from application.transact import Transact
from application.users import CreateUser
from domain.errors import Unauthenticated
from domain.user import User
from tests.application.fakes import FakePasswords, FakeTokens
from tests.builders import SetClock, a_user


@pytest.fixture
async def ada(transact: Transact, passwords: FakePasswords, ids: Ids, clock: SetClock) -> User:
    create_user = CreateUser(transact, passwords, ids, clock)
    return await create_user(email="zoë@example.org", username="Ada", password="correct horse")


@pytest.fixture
def sign_in(store: Store, passwords: FakePasswords, clock: SetClock) -> SignIn:
    return SignIn(store.users, passwords, FakeTokens(), clock)


@pytest.mark.parametrize("login", ["ada", "ADA", "zoë@example.org", "ZOE\u0308@EXAMPLE.ORG"])
async def test_a_name_is_recognised_however_it_is_spelt(login: str, sign_in: SignIn, ada: User) -> None:
    token = await sign_in(login=login, password="correct horse")
    assert token.token.startswith(str(ada.id))


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("ada", "battery staple"),
        ("zoë@example.org", "Correct horse"),
        ("nobody", "correct horse"),
        ("nobody@example.org", "correct horse"),
        ("inactive", "correct horse"),
        ("", ""),
        ("@", "correct horse"),
        ("a\0da", "correct horse"),
        ("\ud800", "correct horse"),
    ],
)
async def test_nobody_else_gets_in_or_learns_why(
    login: str, password: str, sign_in: SignIn, ada: User, store: Store, passwords: FakePasswords
) -> None:
    async with store.begin() as uow:
        await uow.users.add(a_user(username="inactive", is_active=False, password_hash="hash of correct horse"))
        await uow.commit()
    with pytest.raises(Unauthenticated) as refusal:
        await sign_in(login=login, password=password)
    assert refusal.value.code == "wrong-credentials"
    assert len(passwords.verified) == 1
