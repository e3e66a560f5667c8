"""HTTPS with the real server, and certificates that are renewed under it."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.gate import tls_files as module
from service.gate.tls_files import TlsError, TlsFiles
from tests.server_process import refused as refused_start
from tests.server_process import serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make certificates with")


def pair(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2",
        *(more or ["-nodes"]), "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return certificate, key


def name_of(address: str) -> str:
    """The name in the certificate that a server shows."""
    where = urlsplit(address)
    pem = ssl.get_server_certificate((str(where.hostname), where.port or 0), timeout=20)
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"], input=pem, capture_output=True, text=True, check=True
    )
    return told.stdout.strip().rpartition("=")[2].strip()


def test_https_and_nothing_older_than_tls_1_2(tiny_model: Path, tmp_path: Path) -> None:
    certificate, key = pair(tmp_path / "tls", "first")
    options = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with serving(tmp_path / "data", tiny_model, *options) as address:
        server = address.replace("http:", "https:")
        trusting = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(verify=trusting, base_url=server) as client:
            assert client.get("/livez").status_code == 200
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            trusting.minimum_version = trusting.maximum_version = version
            where = urlsplit(server)
            with (
                socket.create_connection((str(where.hostname), where.port or 0), timeout=20) as plain,
                trusting.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
            ):
                assert secured.version() == version.name.replace("_", ".", 1).replace("v1.", "v1.")
                suite = secured.cipher()
                assert suite is not None
                assert "GCM" in suite[0] or "CHACHA20" in suite[0]
            trusting.minimum_version = ssl.TLSVersion.TLSv1_2
            trusting.maximum_version = ssl.TLSVersion.TLSv1_3
        old = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{where.port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            input="", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "BEGIN CERTIFICATE" not in old.stdout
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{address}/livez")


def test_a_renewed_pair_is_taken_into_use_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOKED_AT_EVERY", 0.01)
    certificate, key = pair(tmp_path / "tls", "first")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    files = TlsFiles(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    files.watch(context)
    try:
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert name_of(address) == "first"
        new = pair(tmp_path / "new", "second")
        shutil.copy(new[0], certificate)  # half of it
        while "the former certificate stays in use" not in caplog.text:
            time.sleep(0)
        assert name_of(address) == "first"
        shutil.copy(new[1], key)
        while name_of(address) != "second":
            time.sleep(0)
        key.unlink()
        while "cannot be read" not in caplog.text:
            time.sleep(0)
        assert name_of(address) == "second"
    finally:
        files.close()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_what_cannot_be_used_ends_the_start_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    first, second = pair(tmp_path / "a", "first"), pair(tmp_path / "b", "second")
    locked = pair(tmp_path / "c", "locked", "-passout", "pass:secret")
    (tmp_path / "noise.pem").write_text("no certificate")
    for certificate, key, word in (
        (first[0], second[1], "MISMATCH"), (tmp_path / "none.pem", first[1], "none.pem"), locked_of(locked),
        (tmp_path / "noise.pem", first[1], "noise.pem"), (first[0], tmp_path, str(tmp_path)),
    ):  # fmt: skip
        with pytest.raises(TlsError) as caught:
            TlsFiles(certificate, key)
        assert word in str(caught.value)
        assert "\n" not in str(caught.value)
    model = ("--model", str(tiny_model), "--data-dir", str(tmp_path / "data"))
    line = refused_start(*model, "--tls-certificate", str(first[0]), "--tls-key", str(second[1]))
    assert "tls_certificate" in line
    assert "tls_certificate and tls_key go together" in refused_start(*model, "--tls-key", str(first[1]))
    assert "is not an origin" in refused_start(*model, "--cors-origins", "*")


def locked_of(files: tuple[Path, Path]) -> tuple[Path, Path, str]:
    """A key that asks for a password."""
    return (*files, "cannot be used")
