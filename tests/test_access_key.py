"""Tokens and what is kept of them."""

from datetime import UTC, datetime, timedelta

import pytest

from index.access_key import PREFIX, AccessKey, check_burst, check_key_name, check_rate, digest_of, key_id_of, new_token
from index.errors import InvalidValue
from tests.key_holder import a_key


def test_a_token_is_256_random_bits_behind_a_prefix_and_an_id() -> None:
    tokens = [new_token() for _ in range(100)]
    assert len({token for token, _ in tokens}) == len({key_id for _, key_id in tokens}) == 100
    for token, key_id in tokens:
        assert token.startswith(f"{PREFIX}{key_id}_")
        assert len(bytes.fromhex(token.rpartition("_")[2])) == 32
        assert key_id_of(token) == key_id
        assert key_id not in digest_of(token).hex()


@pytest.mark.parametrize("change", [str.upper, lambda t: t + "0", lambda t: t[:-1], lambda t: t[4:], lambda t: f" {t}",
                                    lambda t: t.replace("_", "-"), lambda t: t[:-1] + "é", lambda t: t + "\n", lambda t: ""])  # fmt: skip
def test_what_is_no_token_has_no_id(change: object) -> None:
    token, _ = new_token()
    assert callable(change)
    assert key_id_of(change(token)) is None


def test_only_its_own_token_fits() -> None:
    key, token = a_key("read")
    last = "0" if token[-1] != "0" else "1"
    assert key.fits(token)
    assert not key.fits(token[:-1] + last)
    assert not key.fits(new_token()[0])


def test_admin_includes_the_others_and_they_not_each_other() -> None:
    for scopes, allowed in {("read",): "read", ("write",): "write", ("admin",): "read write admin"}.items():
        key, _ = a_key(*scopes)  # type: ignore[arg-type]
        assert [scope for scope in ("read", "write", "admin") if key.allows(scope)] == allowed.split()


def test_galleries() -> None:
    assert a_key("read")[0].reaches("yard")
    key, _ = a_key("read", galleries=("yard",))
    assert (key.reaches("yard"), key.reaches("yard2"), key.reaches("default")) == (True, False, False)
    assert not a_key("read", galleries=())[0].reaches("yard")


def test_the_end_of_a_key() -> None:
    end = datetime(2027, 1, 1, tzinfo=UTC)
    key, _ = a_key("read", expires_at=end)
    assert key.ended(end - timedelta(microseconds=1)) is None
    assert key.ended(end) == "expired"
    assert a_key("read", revoked_at=end, expires_at=end)[0].ended(end) == "revoked"


@pytest.mark.parametrize("name", ["", "x" * 81, "a\nb", " a", "a\x1b[0m"])
def test_a_name_that_would_spoil_a_table_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="1–80 printable"):
        check_key_name(name)
    assert check_key_name("Tor 3, Kamera") == "Tor 3, Kamera"


END = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("holder", "other", "why"),
    [
        (a_key("admin"), a_key("read", "write", "admin", rate=9, burst=9, expires_at=END), None),
        (a_key("read", "write"), a_key("write"), None),
        (a_key("read"), a_key("write"), "scopes read only"),
        (a_key("write"), a_key("write", "admin"), "scopes write only"),
        (a_key("admin", galleries=("a", "b")), a_key("admin", galleries=("b",)), None),
        (a_key("admin", galleries=("a", "b")), a_key("admin", galleries=("c",)), "some galleries"),
        (a_key("admin", galleries=("a",)), a_key("read"), "some galleries"),
        (a_key("admin", rate=5, burst=3), a_key("read", rate=5, burst=3), None),
        (a_key("admin", rate=5, burst=3), a_key("read", rate=5, burst=4), "5 requests a second itself, 3 at once"),
        (a_key("admin", rate=5, burst=3), a_key("read", rate=5.1), "5 requests a second itself, 3 at once"),
        (a_key("admin", rate=5, burst=3), a_key("read"), "5 requests a second itself, 3 at once"),
        (a_key("admin", expires_at=END), a_key("read", expires_at=END), None),
        (a_key("admin", expires_at=END), a_key("read", expires_at=END + timedelta(seconds=1)), "2027-01-01T00:00:00Z"),
        (a_key("admin", expires_at=END), a_key("read"), "2027-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_what_another_key_gives_beyond_one(
    holder: tuple[AccessKey, str], other: tuple[AccessKey, str], why: str | None
) -> None:
    told = holder[0].exceeded_by(other[0])
    assert told is None if why is None else why in (told or "")


@pytest.mark.parametrize("rate", [0, -1, 0.0009, 1_000_001, float("nan"), float("inf"), 10**400])
def test_a_rate_that_means_nothing_is_refused(rate: float) -> None:
    with pytest.raises(InvalidValue, match=r"--rate .*a number from 0\.001 to 1,000,000"):
        check_rate(rate, prefix="--")


def test_as_many_may_come_at_once_as_in_a_second() -> None:
    assert [check_burst(None, rate) for rate in (None, 0.001, 1, 2.5)] == [1, 1, 1, 3]
    assert check_burst(7, check_rate(2)) == 7
    with pytest.raises(InvalidValue, match="burst 7 goes with rate") as refused:
        check_burst(7, None)
    assert refused.value.pointer == "/burst"
    for burst in (0, 1_000_001):
        with pytest.raises(InvalidValue, match=f"burst {burst}: .* from 1 to 1,000,000"):
            check_burst(burst, 1)
