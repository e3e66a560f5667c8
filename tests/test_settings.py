"""Settings from options and the environment."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from index.errors import InvalidValue
from index.searching.gpu_resources import SCRATCH
from service.settings import PREFIX, Settings, read_settings


def read(*options: str) -> Settings:
    return read_settings(list(options), prog="vehicle-search serve")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)


def test_defaults() -> None:
    settings = read()
    assert (settings.host, settings.port, settings.loopback) == ("127.0.0.1", 8000, True)
    assert settings.model == Path("models/default.onnx")
    assert settings.gpu_scratch_memory == SCRATCH


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PORT", "9000")
    monkeypatch.setenv(f"{PREFIX}QUEUE_SIZE", "3")
    monkeypatch.setenv(f"{PREFIX}ACCESS_LOG", "true")
    settings = read("--port", "9001", "--data-dir=/srv/v", "--log-level", "debug")
    assert (settings.port, settings.queue_size, settings.access_log) == (9001, 3, True)
    assert (settings.data_dir, settings.log_level) == (Path("/srv/v"), "debug")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        read().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "abc"), ("port", "'abc'")), (("--port", "0"), ("port", "'0'")), (("--port", "70000"), ("port",)),
        (("--port",), ("--port", "--help")), (("--nope", "1"), ("--nope", "--help")), (("word",), ("word", "--help")),
        (("--device", "gpu"), ("device", "'gpu'", "cuda")), (("--queue-size", "0"), ("queue_size", "'0'")),
        (("--grace-seconds", "nan"), ("grace_seconds", "'nan'")), (("--max-pixels", "-1"), ("max_pixels",)),
        (("--crops-url", "s3://cars"), ("crops_url", "milvus_uri", "database_url_file")),
        (("--crops-endpoint", "http://store"), ("crops_endpoint", "crops_url")),
        (("--access-log=maybe",), ("access",)), (("--trusted-proxies", "10.0.0.1, *"), ("trusted_proxies", "'*'")),
        (("--trusted-proxies", ""), ("trusted_proxies", "''")),
        (("--trusted-proxies", "10.0.0.1/8"), ("trusted_proxies", "host bits")),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_line_that_names_it(options: tuple[str, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidValue) as caught:
        read(*options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("key", ["VEHICLE_SEARCH_NOPE", "vehicle_search_prot", "VEHICLE_SEARCH_"])
def test_an_unknown_key_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(key, "1")
    with pytest.raises(InvalidValue, match=key):
        read()


def test_a_wrong_value_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}MAX_IMAGES", "many\nmore")
    with pytest.raises(InvalidValue, match=r"max_images = 'many\\nmore'"):
        read()


@pytest.mark.parametrize(
    ("host", "loopback"), [("localhost", True), ("127.0.0.9", True), ("::1", True), ("0.0.0.0", False), ("cars", False)]
)
def test_loopback(host: str, loopback: bool) -> None:
    assert Settings(host=host, allow_unauthenticated_remote=True).loopback is loopback
