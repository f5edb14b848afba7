"""Thousands of damaged files of each kind: each is read or refused by the one clear error, nothing is run, memory stays small.

Ten thousand of each kind: python -m benchmarks.full_checks weight_files
"""

import codecs
import collections
import io
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

import jaxvision as jv
from jaxvision.weights import BrokenFile, plain_files

torch = pytest.importorskip("torch", reason="PyTorch is not installed: its files are NOT damaged here")

WATCHED = {"import", "exec", "pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect"}
LARGEST = 24_000_000  # bytes; the files have about 3,000, and a compressed member may have 16 MiB
NUMBERS = (*(number.to_bytes(8, "little") for number in (0, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)), b"\xff\xff\xff\x7f")
CODECS = ("cp437", "raw-unicode-escape", "latin-1", "ascii")  # Python imports a codec when it is first used, whoever asks
seen: list[str] = []
watching = False


def watch(event: str, arguments) -> None:
    if watching and (event in WATCHED or (event == "open" and arguments[1] not in ("r", "rb", None))):
        seen.append(f"{event} {arguments}")


sys.addaudithook(watch)  # hooks stay for the life of the process; this one sleeps outside the tests below


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    found = {f"layer{index}.weight": generator.standard_normal((index + 2, 7)).astype(np.float32) for index in range(5)}
    return found | {"count": np.array(3), "half": np.ones((2, 3), np.float16), "turned": np.asfortranarray(np.ones((3, 2)))}


def saved(modern: bool) -> bytes:
    buffer, tensors = io.BytesIO(), {name: torch.tensor(array) for name, array in arrays().items()}
    tensors |= {"view": tensors["layer4.weight"].T[1:, ::2], "narrow": torch.ones(3).to(torch.bfloat16)}
    held = {"model": collections.OrderedDict(tensors), "epoch": 3, "best": np.float64(0.5)}
    torch.save(held, buffer, _use_new_zipfile_serialization=modern)
    return buffer.getvalue()


def numpys(compressed: bool) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays())
    return buffer.getvalue()


def safetensors() -> bytes:
    return plain_files.write_safetensors(arrays())


BASES = {
    "pth": lambda: saved(True),
    "legacy": lambda: saved(False),
    "safetensors": safetensors,
    "npz": lambda: numpys(True),
    # Checksums catch damage to a zip archive's members: these are damaged before they are packed, so that the readers see it.
    "pth, inside": lambda: saved(True),
    "npz, inside": lambda: numpys(False),
}


def damaged(data: bytes, generator) -> bytes:
    """One to four injuries: bytes changed, cut out, doubled, filled with one value or with a large number; the end missing."""
    data = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        size = max(len(data), 1)
        # Half of them near the beginning, where headers are.
        place = int(generator.integers(size) if generator.random() < 0.5 else generator.integers(min(size, 400)))
        length = int(generator.integers(1, 17))
        match generator.integers(7):
            case 0:
                data[place : place + 1] = bytes([generator.integers(256)])
            case 1:
                data[place : place + length] = generator.bytes(length)
            case 2:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length]
            case 4:
                data[place : place + 8] = NUMBERS[generator.integers(len(NUMBERS))]
            case 5:
                data[place : place + 1] = bytes([data[place] ^ (1 << generator.integers(8))]) if data else b""
            case 6 if generator.random() < 0.3:
                del data[place:]
    return bytes(data)


def repacked(data: bytes, generator) -> bytes:
    """The archive with one member damaged and its checksum right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        chosen = names[0] if "data.pkl" in names[0] and generator.random() < 0.9 else names[generator.integers(len(names))]
        for name in names:
            new.writestr(name, damaged(old.read(name), generator) if name == chosen else old.read(name))
    return buffer.getvalue()


def fuzz(kind: str, count: int, tmp_path) -> collections.Counter:
    """Reads ``count`` damaged files; counts what came of them."""
    global watching
    seen.clear()
    for codec in CODECS:
        codecs.lookup(codec)
    base, path, generator = BASES[kind](), tmp_path / "a.bin", np.random.default_rng(len(kind))
    path.write_bytes(base)
    assert set(jv.weights.read(path)) >= set(arrays())
    outcomes: collections.Counter = collections.Counter()
    damage = repacked if "inside" in kind else damaged
    for index in range(count):
        path.write_bytes(damage(base, generator))
        tracemalloc.start()
        watching = index > 0  # the first one may import what reading needs
        try:
            found = jv.weights.read(path)
            outcomes["read"] += 1
            assert all(isinstance(array, np.ndarray) and array.dtype.kind in "biufcV" for array in found.values())
        except BrokenFile as error:
            assert str(error).startswith(f"{path}: ") and len(str(error)) < 1000
            outcomes["refused"] += 1
            outcomes["refused for what it names"] += "nothing was run" in str(error)
        finally:
            watching = False
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        outcomes["largest"] = max(outcomes["largest"], peak)
    assert outcomes["largest"] < LARGEST and not seen
    assert outcomes["read"] + outcomes["refused"] == count and outcomes["refused"] > count // 4
    return outcomes


@pytest.mark.parametrize("kind", BASES)
def test_damaged_files(kind, tmp_path):
    fuzz(kind, 500, tmp_path)
