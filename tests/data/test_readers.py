"""Readers of idx, CIFAR and npz files, on small files in the real formats, damaged ones, and real data sets where they are."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from jaxvision import data
from tests.data.errors import one_line

RANDOM = np.random.default_rng(0)


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def mnist(tmp_path):
    """(folder, images, labels) of a tiny MNIST: the training files gzipped, the test files plain and dotted."""
    images, labels = RANDOM.integers(0, 256, (7, 5, 4), np.uint8), np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx_bytes(images[:3]))
    (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(idx_bytes(labels[:3]))
    return tmp_path, images, labels


def test_idx_files(mnist):
    folder, images, labels = mnist
    train, test = data.idx(folder, "train"), data.idx(str(folder), "test", classes=[f"class {number}" for number in range(10)])
    np.testing.assert_array_equal(train.images[..., 0], images)
    assert train.labels.tolist() == labels.tolist() and train[5]["label"] == 9 and train[0]["image"].shape == (5, 4, 1)
    assert len(test) == 3 and test.classes[4] == "class 4" and train.classes == [str(digit) for digit in range(10)]


def test_idx_errors(mnist, tmp_path):
    folder, images, labels = mnist
    one_line(lambda: data.idx(folder, "val"), ValueError, "split")
    plain = folder / "t10k-images.idx3-ubyte"
    plain.write_bytes(idx_bytes(images[:3])[:-5])
    one_line(lambda: data.idx(folder, "test"), ValueError)
    plain.write_bytes(idx_bytes(images))
    one_line(lambda: data.idx(folder, "test"), ValueError)
    plain.write_bytes(b"")
    one_line(lambda: data.idx(folder, "test"), ValueError)
    plain.write_bytes(idx_bytes(labels))
    one_line(lambda: data.idx(folder, "test"), ValueError)
    plain.unlink()
    one_line(lambda: data.idx(folder, "test"), FileNotFoundError)
    packed = folder / "train-images-idx3-ubyte.gz"
    whole = packed.read_bytes()
    for damaged in (whole[:-20], whole[:40] + bytes(8) + whole[48:], b"no gzip"):
        packed.write_bytes(damaged)
        one_line(lambda: data.idx(folder, "train"), ValueError)


def test_a_wrong_path_lists_what_exists(mnist):
    folder, _, _ = mnist
    one_line(lambda: data.idx(folder / "a" / "b", "train"), FileNotFoundError, "a/b", "t10k-images", "train-images")
    (folder / "empty").mkdir()
    one_line(lambda: data.idx(folder / "empty", "train"), FileNotFoundError, "empty", "train-images")
    one_line(lambda: data.idx(folder / "t10k-images.idx3-ubyte", "train"), NotADirectoryError, "folder: ")
    one_line(lambda: data.npz(folder, "train"), IsADirectoryError, "file: ", ".npz")


@pytest.mark.parametrize(("name", "mean"), [("mnist", 0.1307), ("fashion_mnist", 0.2860)])
def test_real_idx_files(data_folder, name, mean):
    train, test = data.idx(data_folder / name, "train"), data.idx(data_folder / name, "test")
    assert (len(train), len(test)) == (60_000, 10_000) and train[0]["image"].shape == (28, 28, 1)
    assert abs(train.images.mean() / 255 - mean) < 1e-4
    assert np.bincount(test.labels).tolist() == (
        [1000] * 10 if name == "fashion_mnist" else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )


def cifar_files(hundred: bool, binary: bool) -> tuple[str, dict[str, bytes], dict[str, tuple]]:
    """(folder name, {file: bytes}, {split: (images, fine, coarse)}) of a tiny CIFAR in its real format."""
    files, truth, fine_count = {}, {}, 100 if hundred else 10
    names = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    names = {"train": ["train"], "test": ["test"]} if hundred else names
    for split, batches in names.items():
        rows = []
        for name in batches:
            pixels = RANDOM.integers(0, 256, (3, 3072), np.uint8)
            fine, coarse = RANDOM.integers(0, fine_count, 3), RANDOM.integers(0, 20, 3)
            rows.append((pixels, fine, coarse))
            if binary:
                heads = np.stack([coarse, fine], 1) if hundred else fine[:, None]
                files[f"{name}.bin"] = np.concatenate([heads.astype(np.uint8), pixels], 1).tobytes()
            else:
                labels = {b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()} if hundred else {b"labels": fine.tolist()}
                files[name] = pickle.dumps({b"data": pixels, b"batch_label": b"x"} | labels, protocol=2)
        pixels, fine, coarse = (np.concatenate(part) for part in zip(*rows, strict=True))
        truth[split] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), fine, coarse
    fine_names, coarse_names = [f"fine_{number}" for number in range(fine_count)], [f"coarse_{number}" for number in range(20)]
    if binary and hundred:
        files |= {"fine_label_names.txt": "\n".join(fine_names).encode(), "coarse_label_names.txt": "\n".join(coarse_names).encode()}
    elif binary:
        files["batches.meta.txt"] = ("\n".join(fine_names) + "\n\n").encode()
    elif hundred:
        files["meta"] = pickle.dumps({"fine_label_names": fine_names, "coarse_label_names": coarse_names}, protocol=2)
    else:
        files["batches.meta"] = pickle.dumps({"label_names": fine_names, "num_vis": 3072}, protocol=2)
    folder = {(0, 0): "cifar-10-batches-py", (0, 1): "cifar-10-batches-bin", (1, 0): "cifar-100-python", (1, 1): "cifar-100-binary"}
    return folder[hundred, binary], files, truth


def write_cifar(root, hundred=False, binary=False):
    name, files, truth = cifar_files(hundred, binary)
    (root / name).mkdir()
    for file, content in files.items():
        (root / name / file).write_bytes(content)
    return root / name, files, truth


@pytest.mark.parametrize("binary", [False, True], ids=["python", "binary"])
@pytest.mark.parametrize("hundred", [False, True], ids=["10", "100"])
def test_cifar_in_all_its_forms(tmp_path, hundred, binary):
    folder, files, truth = write_cifar(tmp_path, hundred, binary)
    archive = tmp_path / "elsewhere" / f"{folder.name}.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as members:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{folder.name}/{name}")
            entry.size = len(content)
            members.addfile(entry, io.BytesIO(content))
    for place in (folder, tmp_path, archive):
        for split, (images, fine, coarse) in truth.items():
            source = data.cifar(place, split)
            np.testing.assert_array_equal(source.images, images)
            assert source.labels.tolist() == fine.tolist()
            assert source.classes == [f"fine_{number}" for number in range(100 if hundred else 10)]
            if hundred:
                rough = data.cifar(place, split, coarse=True)
                assert rough.labels.tolist() == coarse.tolist() and rough.classes[3] == "coarse_3" and len(rough.classes) == 20
    if not hundred:
        one_line(lambda: data.cifar(folder, "train", coarse=True), ValueError)
    archive.write_bytes(archive.read_bytes()[:200])
    one_line(lambda: data.cifar(archive, "test"), ValueError)
    assert data.cifar(archive.parent.parent, "test").classes[0] == "fine_0"


def test_cifar_errors(tmp_path):
    folder, files, _ = write_cifar(tmp_path)
    one_line(lambda: data.cifar(folder, "val"), ValueError, "split")
    (folder / "data_batch_3").unlink()
    one_line(lambda: data.cifar(folder, "train"), FileNotFoundError)
    (folder / "data_batch_3").write_bytes(files["data_batch_3"][:-100])
    one_line(lambda: data.cifar(folder, "train"), ValueError)
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": np.zeros((2, 7), np.uint8), "labels": [0, 1]}, protocol=2))
    one_line(lambda: data.cifar(folder, "train"), ValueError)
    (folder / "data_batch_3").write_bytes(pickle.dumps({"pixels": 1}))
    one_line(lambda: data.cifar(folder, "train"), ValueError)
    (folder / "batches.meta").unlink()
    one_line(lambda: data.cifar(folder, "test"), FileNotFoundError)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    one_line(lambda: data.cifar(tmp_path / "other", "test"), FileNotFoundError, "notes.txt")
    binary, files, _ = write_cifar(tmp_path / "other", binary=True)
    (binary / "test_batch.bin").write_bytes(files["test_batch.bin"][:-1])
    one_line(lambda: data.cifar(binary, "test"), ValueError)


def test_a_pickle_that_would_run_a_program_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return eval, ("open('pwned', 'w')",)

    folder, _, _ = write_cifar(tmp_path)
    (folder / "test_batch").write_bytes(pickle.dumps({"data": Attack(), "labels": []}))
    one_line(lambda: data.cifar(folder, "test"), ValueError, "builtins.eval")


def test_npz_with_the_keys_of_medmnist_and_keras(tmp_path):
    images, column = RANDOM.integers(0, 256, (5, 4, 4, 3), np.uint8), np.array([[0], [1], [2], [1], [0]], np.uint8)
    validation = {"val_images": images[:2, ..., 0], "val_labels": np.eye(2, 6)}
    np.savez_compressed(tmp_path / "med.npz", train_images=images, train_labels=column, **validation)
    np.savez(tmp_path / "keras.npz", x_train=images, y_train=column[:, 0], x_test=images[:1] / 255, y_test=column[:1])
    med, keras = data.npz(tmp_path / "med.npz", "train"), data.npz(tmp_path / "keras.npz", "train", classes=["a", "b", "c"])
    for source in (med, keras):
        np.testing.assert_array_equal(source.images, images)
        assert source.labels.tolist() == [0, 1, 2, 1, 0]
    assert keras.classes == ["a", "b", "c"] and data.npz(tmp_path / "keras.npz", "test")[0]["image"].dtype == np.float32
    several = data.npz(tmp_path / "med.npz", "val")
    assert several[1]["image"].shape == (4, 4, 1) and several[1]["label"].tolist() == [0, 1, 0, 0, 0, 0] and len(several.classes) == 6
    one_line(lambda: data.npz(tmp_path / "med.npz", "test"), ValueError, "train_images", "test_images", "x_test")


def test_npz_errors(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, train_images=np.zeros((3, 8, 8), np.uint8), train_labels=np.zeros(2, int))
    one_line(lambda: data.npz(path, "train"), ValueError, "images", "labels", "3", "2")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"hello", whole[:180] + b"\xff" * 9 + whole[189:]):
        path.write_bytes(damaged)
        one_line(lambda: data.npz(path, "train"), ValueError, "a.npz")
    np.savez(path, train_images=np.array([{}, 1], object), train_labels=np.zeros(2, int))
    one_line(lambda: data.npz(path, "train"), ValueError)
    np.save(tmp_path / "b.npy", np.zeros(3))
    one_line(lambda: data.npz(tmp_path / "b.npy", "train"), ValueError, "b.npy")
    one_line(lambda: data.npz(tmp_path / "c.npz", "train"), FileNotFoundError, "c.npz")
