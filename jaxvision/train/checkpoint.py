"""Checkpoints: orbax writes the state, a SHA-256 manifest protects it, and a damaged checkpoint is replaced by the one before it.

orbax writes into ``unfinished-<step>/``. Once all files and the manifest are on disk, this folder is renamed to ``<step>/``, so a
checkpoint is complete or absent. Loading verifies every byte. A damaged step is renamed to ``damaged-<step>/``, and the step before it is
loaded.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jaxvision.train import sharding

MANIFEST = "MANIFEST.sha256"
_NONE_SAVED, _ALL_DAMAGED = -1, -2  # in the place of a step, as a number that processes can share


class DamagedCheckpoint(ValueError):
    """Raised when the checkpoint to load, or every checkpoint of a run, is damaged.

    >>> import jaxvision as jv
    >>> issubclass(jv.train.DamagedCheckpoint, ValueError)
    True
    """


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_own_digest(lines: list[str]) -> str:
    """Manifest text: one line for each file, and last the digest of these lines, which protects the manifest itself."""
    body = "".join(f"{line}\n" for line in lines)
    return f"{body}{hashlib.sha256(body.encode()).hexdigest()}  {MANIFEST}\n"


def _manifest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return _with_own_digest([f"{_digest(path)}  {path.relative_to(folder).as_posix()}" for path in files])


def _sync(path: Path) -> None:
    """Return once the file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def verify(folder: Path) -> list[str]:
    """The damage of a checkpoint folder, one phrase for each file; an empty list when every byte is as it was written."""
    path = folder / MANIFEST
    if not path.is_file():
        return [f"{MANIFEST}: missing"]
    stored, found = path.read_bytes().decode("utf-8", "replace"), _manifest(folder)
    if stored == found:
        return []
    lines = stored.splitlines()[:-1]
    if stored != _with_own_digest(lines):
        return [f"{MANIFEST}: its contents changed after it was written"]
    recorded = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    present = {name: digest for digest, _, name in (line.partition("  ") for line in found.splitlines()[:-1])}
    missing = [f"{name}: missing" for name in sorted(recorded.keys() - present.keys())]
    surplus = [f"{name}: not in the manifest" for name in sorted(present.keys() - recorded.keys())]
    changed = [
        f"{name}: its contents changed after it was written" for name in recorded if present.get(name, recorded[name]) != recorded[name]
    ]
    return missing + surplus + changed


class Checkpoints:
    """The checkpoints of one run. ``keep``: how many of the newest are kept, in addition to the best.

    >>> import tempfile, jax.numpy as jnp, jaxvision as jv
    >>> checkpoints = jv.train.Checkpoints(tempfile.mkdtemp(), keep=2)
    >>> checkpoints.save({"weight": jnp.arange(3.0)}, step=10)
    >>> checkpoints.wait(); checkpoints.latest(report=print)
    10
    >>> checkpoints.restore(10, {"weight": jnp.zeros(3)})["weight"].tolist(); checkpoints.close()
    [0.0, 1.0, 2.0]
    """

    def __init__(self, folder: str | Path, *, keep: int = 2):
        self.folder, self.keep = Path(folder).absolute(), keep
        self._checkpointer = ocp.StandardCheckpointer()
        self._finish: threading.Thread | None = None
        self._error: BaseException | None = None

    def steps(self) -> list[int]:
        """The steps with a checkpoint, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def clean(self) -> None:
        """Remove the remains of an interrupted save."""
        if sharding.is_primary() and self.folder.is_dir():
            for path in self.folder.glob("unfinished-*"):
                shutil.rmtree(path)

    def save(self, state: Any, *, step: int, best: int = -1) -> None:
        """Start to save ``state`` (a tree of arrays) as ``step`` and return. Waits for an earlier save. The step ``best`` is never removed.

        The save runs in a thread. ``wait`` returns once it is complete, and raises the errors of it.
        """
        self.wait()
        if (self.folder / str(step)).exists():
            return
        if jax.default_backend() == "cpu":  # the host would read the device's own buffers, and the next step overwrites those
            state = jax.tree.map(jnp.copy, state)
        unfinished = self.folder / f"unfinished-{step}"
        self._checkpointer.save(unfinished / "state", state, force=True)
        self._finish = threading.Thread(target=self._complete, args=(unfinished, step, best), name=f"checkpoint-{step}")
        self._finish.start()

    def _complete(self, unfinished: Path, step: int, best: int) -> None:
        try:
            self._checkpointer.wait_until_finished()
            if sharding.is_primary():
                (unfinished / MANIFEST).write_text(_manifest(unfinished), encoding="utf-8")
                for path in [*unfinished.rglob("*"), unfinished]:
                    _sync(path)
                unfinished.rename(self.folder / str(step))
                _sync(self.folder)
                for old in self.steps()[: -self.keep]:
                    if old != best:  # renamed first: a kill during the removal must not leave a partial step
                        shutil.rmtree((self.folder / str(old)).rename(self.folder / f"unfinished-{old}"))
        except BaseException as error:  # wait() raises it in the main thread
            self._error = error

    def wait(self) -> None:
        """Return once no save is in progress. Raises the error of the save, if there was one."""
        if self._finish is not None:
            self._finish.join()
            self._finish = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """Wait for the save in progress and stop orbax's threads."""
        try:
            self.wait()
        finally:
            self._checkpointer.close()

    def latest(self, *, report: Callable[[str], None], set_aside: bool = True) -> int | None:
        """The newest intact step, or None when nothing was ever saved.

        ``report`` gets one line for each damaged step on the way, with the damaged file. With ``set_aside`` the folder of a damaged step
        is renamed to ``damaged-<step>``. Raises DamagedCheckpoint when there are checkpoints and all are damaged.
        """
        chosen = self._newest_intact(report, set_aside) if sharding.is_primary() else 0
        chosen = int(sharding.agree(chosen))
        if chosen == _ALL_DAMAGED:
            raise DamagedCheckpoint(f"{self.folder}: all checkpoints are damaged; move the folder away to train again from the start")
        return None if chosen == _NONE_SAVED else chosen

    def _newest_intact(self, report: Callable[[str], None], set_aside: bool) -> int:
        steps = self.steps()
        earlier_damage = any(self.folder.glob("damaged-*")) if self.folder.is_dir() else False
        for step in reversed(steps):
            damage = verify(self.folder / str(step))
            if not damage:
                return step
            older = [other for other in steps if other < step]
            report(
                f"checkpoint {step} is damaged ({damage[0]}{f' and {len(damage) - 1} more' if len(damage) > 1 else ''}): "
                + (f"falling back to step {older[-1]}" if older else "there is none before it")
            )
            if set_aside:
                self._set_aside(step)
        return _ALL_DAMAGED if steps or earlier_damage else _NONE_SAVED

    def _set_aside(self, step: int) -> None:
        target = self.folder / f"damaged-{step}"
        if target.exists():
            shutil.rmtree(target)
        (self.folder / str(step)).rename(target)

    def restore(self, step: int, template: Any) -> Any:
        """The state of ``step``, on the devices and with the shardings of ``template`` (a tree of arrays or ``jax.ShapeDtypeStruct``).

        Raises DamagedCheckpoint where a byte has changed, ValueError where checkpoint and template differ in structure, shapes or types.
        """
        self.wait()
        if damage := verify(self.folder / str(step)):
            raise DamagedCheckpoint(f"{self.folder / str(step)}: {damage[0]}")
        target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None)), template)
        folder = self.folder / str(step) / "state"
        saved = _shapes(self._checkpointer.metadata(folder).item_metadata.tree)
        wanted = _shapes(target)
        if saved != wanted:
            name = min(name for name in saved.keys() | wanted.keys() if saved.get(name) != wanted.get(name))
            found, expected = (" of ".join(map(str, tree[name])) if name in tree else "absent" for tree in (saved, wanted))
            raise ValueError(
                f"checkpoint {folder}: {name}: found {found}, expected {expected}; the run had other settings: give another run folder"
            )
        return self._checkpointer.restore(folder, target)


def _shapes(tree) -> dict[str, tuple[tuple, str]]:
    """{path: (shape, type)} of a tree's leaves. Fields of a NamedTuple, keys of a dict and positions of a list look the same."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
