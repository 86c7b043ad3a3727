"""Parts on disks, behind URLs, and in an S3 bucket of a real server."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import warehouse
from warehouse import files
from warehouse.errors import UserError, WarehouseError
from warehouse.folder import Folder
from warehouse.parts import PartStore
from warehouse.publish import publish
from warehouse.storage import storage_at, without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Sample

SCHEMA = pa.schema({"x": pa.int32()})


def table(value: int) -> pa.Table:
    return pa.table({"x": [value]}, schema=SCHEMA)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on an S3 server of this machine."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs (extra 's3') is not installed")
    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    s3fs.S3FileSystem().mkdir("lab")
    yield "s3://lab"
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    server.stop()


@pytest.fixture(params=["path", "file", "memory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of place, empty."""
    name = f"{tmp_path.name}-{request.param}"
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{name}"
    places = {"path": str(tmp_path / "parts"), "file": f"file://{tmp_path}/parts", "memory": f"memory://{name}"}
    return places[request.param]


def test_files_appear_once_and_stay(location: str) -> None:
    storage = storage_at(location)
    assert storage.names("kind/scope") == []
    assert storage.directories("kind") == []
    assert not storage.exists("kind/scope/a")
    assert storage.create("kind/scope/b", table(2))
    assert storage.create("kind/scope/a", table(1))
    assert not storage.create("kind/scope/a", table(3))
    other = storage_at(location)  # as another process sees it
    assert other.exists("kind/scope/a")
    assert other.names("kind/scope") == ["a", "b"]
    assert other.directories("kind") == ["scope"]
    assert other.read(["kind/scope/b", "kind/scope/a"], SCHEMA)["x"].to_pylist() == [2, 1]
    assert other.read([], SCHEMA).num_rows == 0
    assert storage.create("kind/scope/c", table(3))
    assert other.names("kind/scope") == ["a", "b", "c"]
    assert other.where("kind/scope/a").endswith("kind/scope/a.parquet")


def test_one_of_many_writers_wins(location: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda value: storage_at(location).create("a/b/c", table(value)), range(8)))
    assert sum(written) == 1
    assert storage_at(location).read(["a/b/c"], SCHEMA)["x"].to_pylist() == [written.index(True)]


def test_what_is_missing_or_damaged_is_said(location: str) -> None:
    storage = storage_at(location)
    with pytest.raises(WarehouseError, match=r"a/b/c\.parquet; run `vacpanel etl` again"):
        storage.read(["a/b/c"], SCHEMA)
    if "://" not in location:
        Path(location, "a", "b").mkdir(parents=True)
        Path(location, "a", "b", "c.parquet").write_bytes(b"PAR1")
    else:
        import fsspec

        with fsspec.open(f"{location}/a/b/c.parquet", "wb", auto_mkdir=True) as file:
            file.write(b"PAR1")
    with pytest.raises(WarehouseError, match=r"a/b/c\.parquet is damaged"):
        storage.read(["a/b/c"], SCHEMA)


def test_a_file_system_that_shows_half_written_files_never_has_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SFTP and the like: the file is written under another name, which nobody lists, and then renamed."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    class Remote(LocalFileSystem):
        protocol = "remote"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:  # type: ignore[override]
            return str(LocalFileSystem._strip_protocol(path.removeprefix("remote://")))

        def mv(self, *paths: str, **options: object) -> None:
            names = [p.name for p in tmp_path.rglob("*") if p.is_file()]
            assert len(names) == 1
            assert names[0].startswith(files.TEMPORARY)
            assert storage_at(f"remote://{tmp_path}/parts").names("a/b") == []
            super().mv(*paths, **options)

    fsspec.register_implementation("remote", Remote, clobber=True)
    storage = storage_at(f"remote://{tmp_path}/parts")
    assert storage.create("a/b/c", table(1))
    assert storage.names("a/b") == ["c"]
    assert storage.read(["a/b/c"], SCHEMA)["x"].to_pylist() == [1]


def test_an_unknown_kind_of_url_is_one_sentence() -> None:
    with pytest.raises(UserError, match="Parts cannot be kept at nonsense://x/y: "):
        storage_at("nonsense://x/y")


def test_a_place_that_cannot_be_reached_is_one_sentence_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3fs = pytest.importorskip("s3fs", reason="s3fs (extra 's3') is not installed")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    folder = Folder(tmp_path / "w").create()
    for url in ("s3://nobody-is-there/x", "nonsense://x/y"):
        with pytest.raises(UserError, match=r"cannot be (reached|kept)"):
            folder.keep_parts_at(url)
        assert folder.parts_location == folder.parts
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_that_does_not_exist_is_one_sentence(bucket: str) -> None:
    with pytest.raises(WarehouseError, match=r"The parts at s3://no-such-bucket/x cannot be reached: .*bucket"):
        storage_at("s3://no-such-bucket/x").create("a/b/c", table(1))


def test_a_relative_path_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path / "w").create()
    folder.keep_parts_at("share")
    assert folder.parts_location == str(tmp_path / "share")


def test_passwords_are_not_shown() -> None:
    assert without_password("sftp://me:secret@host/folder") == "sftp://host/folder"
    assert without_password("/a/b@c") == "/a/b@c"


def test_a_warehouse_with_its_parts_elsewhere_is_the_same(tmp_path: Path, sample: Sample, location: str) -> None:
    here, elsewhere = Folder(tmp_path / "here").create(), Folder(tmp_path / "elsewhere").create()
    elsewhere.keep_parts_at(location)
    for folder in (here, elsewhere):
        sample.write(folder)
        publish(folder)
    assert not any(elsewhere.parts.iterdir())
    query = "SELECT * FROM predictions ORDER BY model, image_id"
    with warehouse.open(here.root) as one, warehouse.open(elsewhere.root) as other:
        assert one.sql(query).fetchall() == other.sql(query).fetchall()
    # A new process finds them.
    assert PartStore(Folder(elsewhere.root)).scopes("predictions") == PartStore(here).scopes("predictions")


def test_parts_do_not_move(tmp_path: Path, sample: Sample) -> None:
    folder = Folder(tmp_path / "w").create()
    folder.keep_parts_at("memory://first")
    folder.keep_parts_at("memory://first")
    with pytest.raises(WarehouseError, match="keeps its parts at memory://first; leave out --parts"):
        folder.keep_parts_at("memory://second")
    full = Folder(tmp_path / "full").create()
    sample.write_facts(full)
    with pytest.raises(WarehouseError, match="keeps its parts at"):
        full.keep_parts_at("memory://third")
