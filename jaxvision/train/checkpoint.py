"""Checkpoints that are whole or absent: orbax writes the state, a SHA-256 manifest proves it, an older step stands in for a damaged one.

A folder ``<step>/`` exists only once everything in it, the manifest included, is on disk: orbax writes into ``unfinished-<step>/``,
which is renamed last. On loading every byte is checked; a damaged step is renamed to ``damaged-<step>`` and the step before it is taken.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jaxvision.train import sharding

MANIFEST = "MANIFEST.sha256"


class DamagedCheckpoint(ValueError):
    """No checkpoint of a run can be trusted."""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sealed(lines: list[str]) -> str:
    """Manifest text: a line a file and, last, the digest of the lines above, so that the manifest vouches for itself as well."""
    body = "".join(f"{line}\n" for line in lines)
    return f"{body}{hashlib.sha256(body.encode()).hexdigest()}  {MANIFEST}\n"


def _manifest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return _sealed([f"{_digest(path)}  {path.relative_to(folder).as_posix()}" for path in files])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def verify(folder: Path) -> list[str]:
    """What is wrong with a checkpoint folder, a phrase a file; an empty list when every byte is as it was written."""
    path = folder / MANIFEST
    if not path.is_file():
        return [f"{MANIFEST}: missing"]
    stored, found = path.read_bytes().decode("utf-8", "replace"), _manifest(folder)
    if stored == found:
        return []
    lines = stored.splitlines()[:-1]
    if stored != _sealed(lines):
        return [f"{MANIFEST}: its contents are not what was written"]
    recorded = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    present = {name: digest for digest, _, name in (line.partition("  ") for line in found.splitlines()[:-1])}
    missing = [f"{name}: missing" for name in sorted(recorded.keys() - present.keys())]
    surplus = [f"{name}: not in the manifest" for name in sorted(present.keys() - recorded.keys())]
    changed = [f"{name}: its contents are not what was written" for name in recorded if present.get(name, recorded[name]) != recorded[name]]
    return missing + surplus + changed


class Checkpoints:
    """The checkpoints of one run folder. ``keep``: how many of the newest stay, beside the best."""

    def __init__(self, folder: Path, *, keep: int = 2):
        self.folder, self.keep = Path(folder).absolute(), keep
        self._checkpointer = ocp.StandardCheckpointer()
        self._finish: threading.Thread | None = None
        self._error: BaseException | None = None

    def steps(self) -> list[int]:
        """The steps that are there, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def clean(self) -> None:
        """Remove what an interrupted save left behind."""
        if sharding.is_primary() and self.folder.is_dir():
            for path in self.folder.glob("unfinished-*"):
                shutil.rmtree(path)

    def save(self, state, *, step: int, best: int = -1) -> None:
        """Start saving ``state`` as ``step`` and return; an earlier save is finished first. The step ``best`` is kept in any case."""
        self.wait()
        if (self.folder / str(step)).exists():
            return
        if jax.default_backend() == "cpu":  # there the host sees the device's own buffers, which the next step overwrites
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
                    if old != best:  # renamed first: a kill in the middle of removing must not leave half a step
                        shutil.rmtree((self.folder / str(old)).rename(self.folder / f"unfinished-{old}"))
        except BaseException as error:  # handed to the main thread by wait()
            self._error = error

    def wait(self) -> None:
        """Return once nothing is being saved; raises what the save raised."""
        if self._finish is not None:
            self._finish.join()
            self._finish = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """Finish what is being saved and let go of orbax's threads."""
        try:
            self.wait()
        finally:
            self._checkpointer.close()

    def latest(self, *, report: Callable[[str], None], set_aside: bool = True) -> int | None:
        """The newest step whose every byte is sound, None when nothing was ever saved.

        Damaged steps on the way are reported, with the damaged file, and set aside as ``damaged-<step>`` unless the folder is only read.
        Raises DamagedCheckpoint when there are steps and none is sound.
        """
        chosen = self._newest_sound(report, set_aside) if sharding.is_primary() else 0
        chosen = int(sharding.agree(chosen))
        if chosen == -2:
            raise DamagedCheckpoint(f"{self.folder}: no checkpoint is sound; move the folder away to train again from the start")
        return None if chosen == -1 else chosen

    def _newest_sound(self, report: Callable[[str], None], set_aside: bool) -> int:
        steps = self.steps()
        aside = any(self.folder.glob("damaged-*")) if self.folder.is_dir() else False
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
        return -2 if steps or aside else -1

    def _set_aside(self, step: int) -> None:
        target = self.folder / f"damaged-{step}"
        if target.exists():
            shutil.rmtree(target)
        (self.folder / str(step)).rename(target)

    def restore(self, step: int, template):
        """The state of ``step``, placed as ``template`` is (any number of devices).

        Raises DamagedCheckpoint where a byte has changed, ValueError where checkpoint and template are different trees or shapes.
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
            there, here = (" of ".join(map(str, tree[name])) if name in tree else "absent" for tree in (saved, wanted))
            raise ValueError(
                f"checkpoint {folder}: {name} is {there} there and {here} here; it belongs to other settings: give another run folder"
            )
        return self._checkpointer.restore(folder, target)


def _shapes(tree) -> dict[str, tuple[tuple, str]]:
    """{path: (shape, type)} of a tree's leaves; a NamedTuple's field, a dict's key and a list's position are written alike."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
