"""The terminal in the README shows what its commands print now."""

from scripts.record import PICTURE, draw


async def test_the_recording_is_that_of_a_run() -> None:
    assert await draw() == PICTURE.read_text(), "to renew it: make recording"


def test_the_picture_loads_nothing() -> None:
    picture = PICTURE.read_text()
    assert len(picture) < 30_000
    assert [word for word in ("url(http", "href", "@font-face", "@import") if word in picture] == []
