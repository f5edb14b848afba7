"""Folders and zip archives as the same kind of storage: names, contents, and everything that can be wrong with them."""

import os
import pickle
import struct
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest

from jaxvision.data import storage
from jaxvision.data.decoding import BrokenImage
from jaxvision.data.storage import open_files
from tests.data.errors import one_line

CONTENTS = {"a/x.jpg": b"one", "a/deep/y z.png": b"two" * 1000, "b/ü.png": b"", "top.txt": b"three"}
HIDDEN = ("__MACOSX/a/._x.jpg", ".hidden/x.jpg", "a/.x.jpg", "a/.DS_Store")


def filled(folder):
    for name, content in [*CONTENTS.items(), *((name, b"no") for name in HIDDEN)]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zipped(path, contents, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents:
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "stored", "deflated", "with something in front"])
def files(request, tmp_path):
    if request.param == "folder":
        return open_files(filled(tmp_path / "data"), "folder", "data")
    kind = zipfile.ZIP_STORED if request.param == "stored" else zipfile.ZIP_DEFLATED
    path = zipped(tmp_path / "data.zip", [*CONTENTS.items(), *((name, b"no") for name in HIDDEN), ("empty/", b"")], kind)
    if request.param == "with something in front":
        path.write_bytes(b"#!/bin/sh\n" * 10 + path.read_bytes())
    return open_files(str(path), "folder", "data")


def test_names_and_contents(files):
    assert files.names == sorted(CONTENTS) and files.folders == ["a", "b"] and list(files.top()) == ["top.txt"]
    assert {name: files.read(name) for name in files.names} == CONTENTS
    inside = files.within("a").within("deep")
    assert inside.names == ["y z.png"] and inside.folders == [] and inside.read("y z.png") == CONTENTS["a/deep/y z.png"]
    assert inside.path("y z.png") == files.path("a/deep/y z.png") and files.within("a").folders == ["deep"]
    assert files.holds("a/x.jpg") and files.within("a").holds("x.jpg") and not files.holds("a") and not files.holds("a/none.jpg")
    copied = pickle.loads(pickle.dumps(files))
    assert copied.names == files.names and copied.read("top.txt") == b"three"
    error = one_line(lambda: files.read("a/none.jpg"), BrokenImage, "a/none.jpg")
    assert error.reason == "gone"


def test_many_threads_read_what_is_there(tmp_path):
    random = np.random.default_rng(0)
    contents = {f"{i:03d}": random.bytes(int(random.integers(1, 60_000))) for i in range(60)}
    files, wrong = open_files(zipped(tmp_path / "a.zip", contents.items()), "folder", "data"), []

    def work(seed):
        for i in np.random.default_rng(seed).permutation(60):
            name = f"{i:03d}"
            if files.read(name) != contents[name]:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg", "C:/x.jpg", "..\\x.jpg", "C:\\x.jpg", "a/.."])
def test_names_that_lead_out_of_an_archive(tmp_path, name):
    path = zipped(tmp_path / "a.zip", [("a/x.jpg", b"x"), (name, b"x")])
    one_line(lambda: open_files(path, "folder", "data"), ValueError, "folder", "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a/x.jpg", b"x"), ("a/x.jpg", b"y")])
    one_line(lambda: open_files(path, "folder", "data"), ValueError, "a/x.jpg")


def test_backslashes_are_folders(tmp_path):
    assert open_files(zipped(tmp_path / "a.zip", [("a\\x.jpg", b"x")]), "folder", "data").folders == ["a"]


def test_files_that_are_not_archives_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    opened = lambda name: lambda: open_files(tmp_path / name, "folder", "data")  # noqa: E731
    for content in (b"", b"hello", zipped(path, CONTENTS.items()).read_bytes()[:-30]):
        path.write_bytes(content)
        one_line(opened("a.zip"), ValueError, "a.zip")
    zipped(path, [])
    one_line(opened("a.zip"), FileNotFoundError, "a.zip")
    (tmp_path / "a.tar").write_bytes(b"hello")
    one_line(opened("a.tar"), NotADirectoryError, "a.tar")
    one_line(opened("none.zip"), FileNotFoundError, "none.zip", "a.tar", "a.zip")


def patched(path, name: str, central: int, local: int, value: bytes):
    """Write over a field of a file's central entry and of its local header."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(name)
        begin, at = archive.start_dir, entry.header_offset
    at_central = content.index(name.encode(), begin) - 46
    content[at_central + central : at_central + central + len(value)] = value
    content[at + local : at + local + len(value)] = value
    path.write_bytes(bytes(content))
    return open_files(path, "folder", "data")


@pytest.mark.parametrize(
    ("central", "local", "value", "reason"),
    [
        (8, 6, b"\1\0", "not readable"),  # encrypted
        (10, 8, b"\x0c\0", "not readable"),  # an unknown compression method
        (16, 14, b"\0\0\0\0", "damaged"),  # the checksum
        (24, 22, struct.pack("<I", 499), "damaged"),  # the size
        (24, 22, struct.pack("<I", 4_000_000_000), "too large"),
        (42, 26, struct.pack("<I", 3), "damaged"),  # the offset, and the header's length of the name
    ],
)
def test_a_broken_member_raises_when_it_is_read(tmp_path, central, local, value, reason):
    files = patched(zipped(tmp_path / "a.zip", [("x.jpg", b"x" * 500), ("y.jpg", b"y")]), "x.jpg", central, local, value)
    error = one_line(lambda: files.read("x.jpg"), BrokenImage, "a.zip/x.jpg")
    assert error.reason == reason and files.read("y.jpg") == b"y"


def test_an_archive_that_changes_or_goes(tmp_path):
    files = open_files(zipped(tmp_path / "a.zip", [("x.jpg", b"x" * 500)]), "folder", "data")
    for content in (b"", b"something else entirely", bytes(1000)):
        (tmp_path / "a.zip").write_bytes(content)
        assert one_line(lambda: files.read("x.jpg"), BrokenImage, "x.jpg").reason == "damaged"
    (tmp_path / "a.zip").unlink()
    assert one_line(lambda: files.read("x.jpg"), BrokenImage, "x.jpg").reason == "gone"


def test_a_deflated_bomb_is_not_unpacked(tmp_path, monkeypatch):
    files = open_files(zipped(tmp_path / "a.zip", [("x.jpg", bytes(10_000_000))]), "folder", "data")
    monkeypatch.setattr(storage, "_MAX_BYTES", 1_000_000)
    error = one_line(lambda: files.read("x.jpg"), BrokenImage)
    assert error.reason == "too large"
    lying = patched(tmp_path / "a.zip", "x.jpg", 24, 22, struct.pack("<I", 999))
    tracemalloc.start()
    assert one_line(lambda: lying.read("x.jpg"), BrokenImage).reason == "damaged"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    (tmp_path / "large.jpg").write_bytes(bytes(1_000_001))
    one_line(lambda: open_files(tmp_path, "folder", "data").read("large.jpg"), BrokenImage, "large.jpg")


def test_links(tmp_path):
    folder = filled(tmp_path / "data")
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "z.jpg").write_bytes(b"z")
    (folder / "b" / "up").symlink_to(folder)  # a loop
    (folder / "b" / "self").symlink_to("self")
    (folder / "b" / "gone.jpg").symlink_to("nowhere")
    (folder / "linked").symlink_to(other)
    (folder / "again").symlink_to(other)
    files = open_files(folder, "folder", "data")
    assert files.names == sorted([*CONTENTS, "again/z.jpg", "b/gone.jpg", "b/self", "linked/z.jpg"])
    assert files.folders == ["a", "again", "b", "linked"] and files.read("linked/z.jpg") == b"z"
    one_line(lambda: files.read("b/gone.jpg"), BrokenImage, "b/gone.jpg")
    assert one_line(lambda: files.read("b/self"), BrokenImage).reason == "not readable"


def test_pipes_are_left_out(tmp_path):
    filled(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    assert open_files(tmp_path, "folder", "data").names == sorted(CONTENTS)


@pytest.mark.parametrize("denied", ["", "a", "a/deep"])
def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch, denied):
    folder, scandir = filled(tmp_path / "data"), os.scandir

    def refusing(path):
        if os.fspath(path) == str(folder / denied):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    one_line(lambda: open_files(folder, "folder", "data").names, PermissionError, "folder: ", denied, "Permission denied")


def test_a_file_that_may_not_be_read(tmp_path):
    files = open_files(filled(tmp_path), "folder", "data")
    assert one_line(lambda: files.read("a"), BrokenImage).reason == "not readable"


def test_strange_names_stay_on_one_line(tmp_path):
    os.makedirs(tmp_path / "a")
    with open(os.path.join(os.fsencode(tmp_path), b"a", b"line\nbreak\xff.jpg"), "wb"):
        pass
    files = open_files(tmp_path, "folder", "data")
    (tmp_path / "a" / files.names[0].removeprefix("a/")).unlink()
    error = one_line(lambda: files.read(files.names[0]), BrokenImage, r"line\nbreak\udcff.jpg")
    str(error).encode()
