"""Every setting of the service: environment variables ``VEHICLE_SEARCH_*`` and options of ``vehicle-search serve``."""

import ipaddress
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from index.errors import InvalidValue
from index.milvus.collection_name import PREFIX as MILVUS_PREFIX
from index.milvus.milvus_server import is_address
from index.model_path import DEFAULT_MODEL, model_path
from service.access.cross_origin import read_origins
from service.trails.map_tiles import check_map_tiles

PREFIX = "VEHICLE_SEARCH_"
API_KEY = f"{PREFIX}API_KEY"  # what `vehicle-search query` sends; no setting of the service


class Settings(BaseSettings):
    """Serve galleries over HTTP until SIGTERM or Ctrl-C.

    Every option can also be set in the environment: --data-dir is VEHICLE_SEARCH_DATA_DIR. An option wins over the
    environment, which wins over the default.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")
    data_dir: Path = Field(default=Path("data"), description="folder of the galleries; one process owns it")
    milvus_uri: str | None = Field(
        default=None,
        description="address of a Milvus server, http://HOST:PORT, that has the galleries in place of the data folder, "
        "for any number of services",
    )
    milvus_token_file: Path | None = Field(
        default=None, description="file with the token that the server asks for, USER:PASSWORD"
    )
    milvus_prefix: str = Field(
        default=MILVUS_PREFIX, description="what the names of our collections on that server begin with"
    )
    model: Path = Field(default=DEFAULT_MODEL, description="ONNX file that vehicle-model export wrote")
    previous_model: Path | None = Field(
        default=None,
        description="ONNX file that filled galleries which have not moved to the model yet; they answer by it",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where the model runs; cuda is never replaced silently"
    )
    gpu_model_memory: int = Field(
        default=0, ge=0, description="bytes of the GPU that each model may take; 0: as many as it asks for"
    )
    index_device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="where galleries of the kinds flat and auto, vectors fp32 or fp16, are searched; cuda is never "
        "replaced silently",
    )
    gpu_index_memory: int = Field(
        default=0, ge=0, description="bytes of the GPU that all indexes together may take; 0: what is free"
    )
    gpu_scratch_memory: int = Field(
        default=256 * 2**20,
        ge=2**20,
        le=1536 * 2**20,  # FAISS takes no more
        description="bytes of the GPU that FAISS keeps to compute in",
    )
    threads: int = Field(
        default=0, ge=0, le=1024, description="pictures worked on at a time; 0: the cores this process may use"
    )
    model_batch: int = Field(
        default=0, ge=0, le=1024, description="pictures of different requests that go through the model together where "
        "they wait for it; 0: 1 on a CPU, where it gains nothing, and 32 on a GPU",
    )  # fmt: skip
    queue_size: int = Field(default=64, ge=1, le=100_000, description="requests that may wait; one more is told 429")
    max_requests: int = Field(
        default=1000, ge=1, le=100_000, description="requests of any kind in progress; one more is told 429"
    )
    max_body_bytes: int = Field(default=128 * 2**20, ge=1024, description="largest request body in bytes")
    max_buffered_bytes: int = Field(
        default=512 * 2**20, ge=1024, description="bytes that all bodies in memory may take; one more is told 429"
    )
    max_pixels: int = Field(default=50_000_000, ge=1, description="largest picture in pixels")
    max_images: int = Field(default=256, ge=1, le=10_000, description="pictures in one batch ingestion")
    max_queries: int = Field(
        default=64, ge=1, le=10_000, description="pictures in one batch search or embeddings request"
    )
    query_hours: float = Field(
        default=168,
        ge=0,
        le=87_600,
        description="hours that pictures are kept which searches name by an id; 0: none",
    )
    max_query_bytes: int = Field(
        default=2 * 2**30, ge=1024, description="bytes that these may take together; the oldest make room"
    )
    max_feedback: int = Field(
        default=100_000, ge=0, le=1_000_000, description="answers of feedback that are kept of one gallery"
    )
    max_feedback_bytes: int = Field(
        default=2 * 2**30, ge=0, description="bytes that pictures of queries with the feedback of one gallery may take"
    )
    import_root: Path | None = Field(
        default=None, description="folder below which import jobs may name paths; not set: archives are sent only"
    )
    max_import_bytes: int = Field(default=16 * 2**30, ge=1024, description="largest archive of an import job in bytes")
    body_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="time within which a head, then a body must have arrived; an archive, or a client that takes a "
        "large answer, may not stall longer",
    )
    request_seconds: float = Field(
        default=300,
        gt=0,
        le=86_400,
        description="time within which pictures must be searched for or embedded; past it a request is told 503, and "
        "what is not begun is not done. The header X-Request-Timeout-Ms asks for less",
    )
    stuck_seconds: float = Field(
        default=60, ge=1, le=3600, description="time after which a worker is thought to hang, and replaced"
    )
    grace_seconds: int = Field(
        default=20, ge=0, le=3600, description="time that running requests get when the service stops"
    )
    sweep_seconds: float = Field(
        default=300, gt=0, le=86_400, description="time between two erasures of what retention no longer returns"
    )
    read_only: bool = Field(
        default=False, description="only search: nothing is written to the data folder, which others may read, too"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is logged"
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="lines for people, or JSON lines for programs"
    )
    access_log: bool = Field(default=False, description="log a line for every request")
    audit: bool = Field(default=False, description="keep an audit log: who searched, wrote or erased what, and when")
    audit_dir: Path | None = Field(
        default=None, description="folder of the audit log; not set: audit in the data folder"
    )
    audit_days: int = Field(default=90, ge=0, le=36_500, description="days that its entries are kept; 0: for ever")
    audit_required: bool = Field(
        default=False, description="refuse what cannot be written to the audit log, as on a full disk"
    )
    cors_origins: str | None = Field(
        default=None, description="origins of web pages that may call, with commas: https://cars.example"
    )
    database_url_file: Path | None = Field(
        default=None,
        description="file with the URL of a PostgreSQL database, postgresql://USER:PASSWORD@HOST/DATABASE, where "
        "replicas share keys, cameras, feedback, kept queries, import jobs and the audit log; not set: they are in the "
        "data folder",
    )
    crops_url: str | None = Field(
        default=None,
        description="where replicas share crops and archives that are being imported: a folder, or s3://BUCKET/PREFIX; "
        "not set: objects in the data folder",
    )
    crops_endpoint: str | None = Field(
        default=None, description="address of an S3-compatible store that is not Amazon's: https://store.example"
    )
    crops_access_key_file: Path | None = Field(
        default=None, description="file with its access key; not set: the machine's own identity"
    )
    crops_secret_key_file: Path | None = Field(default=None, description="file with the secret key to it")
    map_tiles: str | None = Field(
        default=None,
        description="address of a map's pictures, https://HOST/{z}/{x}/{y}.png, that browsers fetch for the page "
        "/trail; not set: none are fetched",
    )
    record_font: Path | None = Field(
        default=None, description="TrueType font for names in trails' PDFs whose letters ours lack, as Chinese ones"
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate and its chain, to serve HTTPS; renewed ones are followed"
    )
    tls_key: Path | None = Field(default=None, description="PEM file of its key, without a password")
    trusted_proxies: str | None = Field(
        default=None,
        description="addresses and networks of proxies, with commas, whose X-Forwarded-For is believed",
    )
    console: bool = Field(default=True, description="serve the pages for people: /, /trail, /gallery, /model")
    max_galleries: int = Field(default=1000, ge=1, le=100_000, description="galleries that may be made")
    max_uploads: int = Field(default=4, ge=1, le=1000, description="archives of import jobs that may arrive at once")
    metrics_open: bool = Field(default=False, description="answer GET /metrics without a key, and by any name")
    allow_unauthenticated_remote: bool = Field(
        default=False,
        description="listen on a non-loopback host without keys, although anybody who reaches it may read and erase",
    )
    loopback_names_only: bool = Field(
        default=False,
        description="answer only to names of this machine, as on loopback: for a container published on loopback",
    )

    @field_validator("model")
    @classmethod
    def _model(cls, named: Path) -> Path:
        return model_path(named)

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, text: str | None) -> str | None:
        read_origins(text)
        return text

    @field_validator("milvus_uri")
    @classmethod
    def _server(cls, text: str | None) -> str | None:
        if text is not None and not is_address(text):
            raise ValueError("must be http://HOST:PORT or https://HOST:PORT; the token has a file of its own")
        return text

    @field_validator("map_tiles")
    @classmethod
    def _tiles(cls, text: str | None) -> str | None:
        return None if text is None else check_map_tiles(text)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, text: str | None) -> str | None:
        for each in (text or "").split(","):
            if text is not None:
                ipaddress.ip_network(each.strip())  # what says ValueError is told
        return text

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.tls_certificate is None) is not (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together: set both, or neither")
        return self

    @model_validator(mode="after")
    def _both_keys(self) -> Self:
        if (self.crops_access_key_file is None) is not (self.crops_secret_key_file is None):
            raise ValueError("crops_access_key_file and crops_secret_key_file go together: set both, or neither")
        if self.crops_url is None and (self.crops_endpoint is not None or self.crops_access_key_file is not None):
            raise ValueError("crops_endpoint and the keys of crops are for crops_url, which is not set")
        if self.crops_url is not None and self.milvus_uri is None and self.database_url_file is None:
            raise ValueError(
                "crops_url is for what services share (milvus_uri, database_url_file), and neither is set: crops of "
                "galleries in the data folder stay there"
            )
        return self

    @model_validator(mode="after")
    def _one_home(self) -> Self:
        if self.milvus_uri is None and self.milvus_token_file is not None:
            raise ValueError("milvus_token_file is for milvus_uri, which is not set")
        if self.milvus_uri is not None and self.index_device != "cpu":
            raise ValueError("index_device is for galleries in the data folder: leave it out where milvus_uri is set")
        return self

    @model_validator(mode="after")
    def _one_fits(self) -> Self:
        if self.max_buffered_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_buffered_bytes = {self.max_buffered_bytes:,} is less than max_body_bytes = "
                f"{self.max_body_bytes:,}, so that no body of that size could be taken"
            )
        return self

    @property
    def audit_folder(self) -> Path:
        """Where the audit log is, or would be."""
        return self.audit_dir or self.data_dir / "audit"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_settings(options: list[str], *, prog: str) -> Settings:
    """Settings from options and the environment; raises InvalidValue naming the key and the value."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {API_KEY}
    for key in sorted(os.environ):
        if key.upper().startswith(PREFIX) and key.upper() not in known:
            raise InvalidValue(f"environment variable {key} is not a setting; see {prog} --help")
    try:
        source: Any = CliSettingsSource(
            Settings, cli_parse_args=options, cli_prog_name=prog, cli_kebab_case=True, cli_implicit_flags=True,
            cli_hide_none_type=True, cli_avoid_json=True, cli_exit_on_error=False,
        )  # fmt: skip
        return Settings(_cli_settings_source=source)
    except SettingsError as error:
        reason = str(error).removeprefix("error parsing CLI: ")
        raise InvalidValue(f"{reason}; see {prog} --help") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidValue(f"setting {name} = {first['input']!r}: {message}" if name else message) from error
