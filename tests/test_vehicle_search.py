"""The service's door: what ends the start, and how a running service ends."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import faiss
import httpx
import onnx
import pytest

from index.contract import METADATA_KEY
from service.vehicle_search import main
from tests.http_client import exchange
from tests.pictures import jpeg
from tests.server_process import COMMAND, free_port, refused, serving


def options(model: Path, data_dir: Path, *more: str) -> list[str]:
    return ["--port", str(free_port()), "--model", str(model), "--data-dir", str(data_dir), *more]


def test_a_missing_model(tmp_path: Path) -> None:
    line = refused(*options(tmp_path / "none.onnx", tmp_path / "data"))
    assert "none.onnx" in line


@pytest.mark.parametrize("content", [b"", b"no ONNX at all", b"\x08\x07" * 50])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert "model.onnx" in refused(*options(tmp_path / "model.onnx", tmp_path / "data"))


def test_a_folder_as_model(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(*options(tmp_path, tmp_path / "data"))


def test_a_model_without_contract(tiny_model: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_model)
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "bare.onnx")
    line = refused(*options(tmp_path / "bare.onnx", tmp_path / "data"))
    assert "no contract" in line
    assert "vehicle-model export" in line


@pytest.mark.parametrize("data", ["root", "root/data", "root/../root/linked/data", ".", "inner"])
def test_clients_may_not_import_what_galleries_hold(tiny_model: Path, tmp_path: Path, data: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(root)
    (tmp_path / "inner").symlink_to(root / "inside")
    line = refused(*options(tiny_model, tmp_path / data, "--import-root", str(root)))
    assert "lie in each other" in line
    assert str(root) in line


@pytest.mark.parametrize("where", ["file", "file/data"])
def test_a_data_folder_that_cannot_be_written(tiny_model: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("no folder")
    line = refused(*options(tiny_model, tmp_path / where))
    assert "data folder" in line
    assert "choose another" in line


def test_a_data_folder_of_a_newer_release(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "layout").write_text("99\n")
    assert "layout '99'" in refused(*options(tiny_model, tmp_path))


def test_a_data_folder_that_another_holds(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path, tiny_model):
        line = refused(*options(tiny_model, tmp_path))
    assert "in use by process" in line


def test_a_port_in_use(tiny_model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused("--port", port, "--model", str(tiny_model), "--data-dir", str(tmp_path))
    assert f"port {port}" in line
    assert "--port" in line


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is a GPU")
def test_an_index_on_a_gpu_that_is_not_there(tiny_model: Path, tmp_path: Path) -> None:
    line = refused(*options(tiny_model, tmp_path / "data"), "--index-device", "cuda")
    assert line.startswith("vehicle-search: index_device is cuda, but ")
    assert "use index_device cpu" in line


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--index-device", "gpu"), "index_device"), (("--gpu-scratch-memory", "99999999999"), "gpu_scratch_memory"),
        (("--gpu-index-memory", "-1"), "gpu_index_memory"), (("--gpu-model-memory", "-1"), "gpu_model_memory"),
        (("--prot", "9000"), "--prot"), (("--port", "x"), "port"), (("--device", "cuda"), "cuda"),
        (("--host", "0.0.0.0"), "keys create"), (("--host", "::"), "ALLOW_UNAUTHENTICATED_REMOTE"),
        (("--host", "example.org"), "proxy"), (("--host", ""), "proxy"), (("--host", "192.0.2.1", "--allow-unauthenticated-remote"), "192.0.2.1"),
        (("--host", "x" * 300, "--allow-unauthenticated-remote"), "listen"), (("surplus",), "surplus"),
    ],
)  # fmt: skip
def test_a_wrong_option(tiny_model: Path, tmp_path: Path, more: tuple[str, ...], word: str) -> None:
    assert word in refused(*options(tiny_model, tmp_path / "data"), *more)


def test_an_unknown_key_of_the_environment(tiny_model: Path, tmp_path: Path) -> None:
    line = refused(*options(tiny_model, tmp_path), env={**os.environ, "VEHICLE_SEARCH_PROT": "9000"})
    assert "VEHICLE_SEARCH_PROT" in line


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "vehicle-search serve" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "vehicle-search serve" in capsys.readouterr().out


def test_help_names_every_option() -> None:
    run = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60, check=True)
    for option in ("--host", "--port", "--data-dir", "--model", "--device", "--max-body-bytes", "--grace-seconds"):
        assert option in run.stdout
    assert run.stderr == ""


def test_what_is_stored_is_there_after_a_second_start(tiny_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(tmp_path / "data", tiny_model, log=log) as address:
        assert httpx.put(f"{address}/v1/galleries/default/images/own", content=jpeg(0)).status_code == 201
    with serving(tmp_path / "data", tiny_model, log=log) as address:
        assert httpx.get(f"{address}/readyz").status_code == 200
        match = httpx.post(f"{address}/v1/galleries/default/search", content=jpeg(0)).json()["matches"][0]
        assert (match["image_id"], match["distance"] <= 1e-3) == ("own", True)
    assert log.read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_frees_the_folder(tiny_model: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [*COMMAND, *options(tiny_model, tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        greeting = process.stdout.readline()
        assert greeting.startswith("vehicle-search is ready"), process.stderr.read()
        process.send_signal(number)
        rest = process.stdout.read()  # not communicate(), which loses what readline() has read ahead
        assert process.stderr.read() == ""
        assert process.wait(60) == 0
    assert "curl --data-binary @" in rest
    assert "/docs" in rest
    with serving(tmp_path / "data", tiny_model):
        pass


def test_a_request_that_never_ends_does_not_hold_the_stop(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model, "--grace-seconds", "1") as address:
        port = int(address.rpartition(":")[2])
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        waiting = socket.create_connection(("127.0.0.1", port), timeout=60)
        waiting.sendall(head)
        assert waiting.recv(100).startswith(b"HTTP/1.1 100")  # the body is being waited for
    waiting.close()


def test_it_listens_on_ipv6(tiny_model: Path, tmp_path: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    command = [*COMMAND, *options(tiny_model, tmp_path / "data"), "--host", "::1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this machine has no IPv6 loopback")
        process.terminate()
        assert "http://[::1]:" in process.stdout.read()
        assert process.wait(60) == 0


def test_bytes_that_are_no_request_leave_one_line_in_the_log(tiny_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(tmp_path / "data", tiny_model, log=log) as address:
        exchange(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", end=True)  # TLS
    assert len(log.read_text().splitlines()) == 1
