import pytest

from domain.errors import Invalid, Unauthenticated
from domain.user import User, UserId, checked_email, checked_password, checked_username, require_active
from interfaces.testing.builders import NOON, a_user, new_id


def test_who_signs_up_is_active_and_known_by_one_spelling() -> None:
    user_id = UserId(new_id())
    user = User.sign_up(id=user_id, email="Ada@EXAMPLE.org", username="Ada_L", password_hash="hash", at=NOON)
    assert user == User(
        id=user_id,
        email="ada@example.org",
        username="ada_l",
        password_hash="hash",
        is_active=True,
        created_at=NOON,
        version=1,
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ada@example.org", "ada@example.org"),
        ("A@B", "a@b"),
        ("STRASSE@example.org", "strasse@example.org"),
        ("straße@example.org", "strasse@example.org"),
        ("e\u0301@example.org", "é@example.org"),
        ('"a@b"@example.org', '"a@b"@example.org'),
        ("a" * 250 + "@b.c", "a" * 250 + "@b.c"),
    ],
)
def test_an_email_address_has_one_spelling(given: str, kept: str) -> None:
    assert checked_email(given) == kept


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "@",
        "ada@",
        "@example.org",
        "ada@exam ple.org",
        "a\u00a0da@example.org",
        "ada@example.org\n",
        "ada\x1b[2J@example.org",
        "ada\u202e@example.org",
        "a" * 251 + "@b.c",
    ],
)
def test_what_is_no_email_address_is_refused(email: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_email(email)
    assert refusal.value.field == "email"


def test_an_email_address_that_grows_too_long_in_folding_is_refused() -> None:
    assert len("ß" * 250 + "@b.c") == 254
    with pytest.raises(Invalid) as refusal:
        checked_email("ß" * 250 + "@b.c")
    assert refusal.value.code == "invalid-text"


@pytest.mark.parametrize("username", ["ada", "A.D-A_1", "x" * 50, "..."])
def test_a_username_is_kept_in_lower_case(username: str) -> None:
    assert checked_username(username) == username.lower()


@pytest.mark.parametrize("username", ["", "ab", "x" * 51, "a b", "ada!", "ädä", "ada\n", "\u212adam", "ada@b", "٣٣٣"])
def test_other_usernames_are_refused(username: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_username(username)
    assert (refusal.value.code, refusal.value.field) == ("invalid-username", "username")


@pytest.mark.parametrize(
    "password", ["tr0ub4do", "correct horse" * 9, " leading and trailing ", "pässwörd", "💡🕯🔦🏮🪔💡💡💡"]
)
def test_a_password_is_taken_as_it_is(password: str) -> None:
    assert checked_password(password) == password


@pytest.mark.parametrize(("password", "code"), [("short77", "invalid-password"), ("x" * 129, "invalid-password")])
def test_a_password_has_a_length(password: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_password(password)
    assert (refusal.value.code, refusal.value.field) == (code, "password")


@pytest.mark.parametrize(
    "password",
    [
        *(
            "password",
            "PASSWORD",
            "Password1",
            "password123!",
            "P@ssw0rd",
            "pa$$w0rd2024",
            "123password",
            "passwordpassword",
        ),
        *("letmein!", "Summer2024!", "iloveyou", "football", "trustno1", "changeme", "changeme123", "admin1234"),
        *("12345678", "123456789a", "a123456789", "87654321", "11223344", "147258369", "aa123456", "abcd1234"),
        *("qwertyuiop", "Qwerty123", "1q2w3e4r", "!QAZ2wsx", "q1w2e3r4", "asdfghjkl", "poiuytrewq", "1234qwer"),
        *("11111111", "aaaaaaaa", "abcabcabc", "12121212", "x" * 128, "💡" * 8, "йцукенгш", "contraseña", "asdfghjkl1"),
    ],
)
def test_what_many_others_have_too_is_no_password(password: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_password(password)
    assert (refusal.value.code, refusal.value.field) == ("common-password", "password")
    assert password not in refusal.value.detail


@pytest.mark.parametrize(
    "password",
    ["sunshine on a rainy day", "password of the year", "passwordless", "qwertyuiolp", "12345687", "dragon-1984173"],
)
def test_what_only_begins_like_one_is_not_common(password: str) -> None:
    assert checked_password(password) == password


@pytest.mark.parametrize("password", ["correct\0horse", "battery\ud800staple"])
def test_a_password_is_text(password: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_password(password)
    assert (refusal.value.code, refusal.value.field) == ("invalid-text", "password")


def test_deactivation_is_a_change() -> None:
    user = a_user(version=4)
    user.deactivate()
    assert (user.is_active, user.version) == (False, 5)


def test_an_active_user_may_act() -> None:
    user = a_user()
    assert require_active(user) is user


@pytest.mark.parametrize("user", [None, a_user(is_active=False)], ids=["deleted", "inactive"])
def test_nobody_else_may_act(user: User | None) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        require_active(user)
    assert refusal.value.code == "account-inactive"
