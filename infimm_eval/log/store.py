"""The log in its SQLite file: one writer, durable answers, readers at any time."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock, Timer
from typing import TextIO

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.log import codec
from infimm_eval.log.values import Cell, Entry, Place
from infimm_eval.types import Answer, Sample, Score, Unit

SCHEMA = 1
FILE = "run.db"


# Entries and answers are long beside their keys, and keys of answers are hashes: rows that are
# appended, with the keys in an index, are written faster than tables sorted by key.
_TABLES = """
CREATE TABLE IF NOT EXISTS answer (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, logliks TEXT, notes TEXT
);
CREATE TABLE IF NOT EXISTS cell (
    task TEXT, shots INTEGER, seed INTEGER, body TEXT NOT NULL, units BLOB,
    PRIMARY KEY (task, shots, seed)
);
CREATE TABLE IF NOT EXISTS entry (
    task TEXT, shots INTEGER, seed INTEGER, position INTEGER,
    id TEXT NOT NULL, sample TEXT NOT NULL, prompt TEXT NOT NULL, shot_ids TEXT NOT NULL,
    answer TEXT NOT NULL, said TEXT, value REAL, read_as TEXT, parsed INTEGER, parts TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS entry_position ON entry (task, shots, seed, position);
CREATE UNIQUE INDEX IF NOT EXISTS entry_id ON entry (task, shots, seed, id);
CREATE TABLE IF NOT EXISTS picture (key TEXT PRIMARY KEY, webp BLOB NOT NULL);
"""

_SECONDS_UNSAVED = 0.1
_ROWS_READ = 512


class Log:
    """A run folder open for reading, or, with ``writing=True``, for this process alone to write."""

    def __init__(self, folder: Path, *, writing: bool = False) -> None:
        self.folder = folder
        self._lock = RLock()
        self._saver: Timer | None = None
        self._failed: MachineryError | None = None
        self._unheard = False
        self._guard = _claim(folder) if writing else None
        self._db = _connect(folder / FILE, writing)

    def close(self) -> None:
        """Saves.  MachineryError where that fails, or has failed and nobody was told."""
        with self._lock:
            self._saver = None
            try:
                if self._unheard or self._failed is None:
                    self.save()
            finally:
                self._db.close()
                if self._guard is not None:
                    self._guard.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what was said ---------------------------------------------------------------------------

    def known(self, key: str) -> bool:
        with self._lock:
            return (
                self._db.execute("SELECT 1 FROM answer WHERE key=?", (key,)).fetchone() is not None
            )

    def answer(self, key: str) -> Answer | None:
        with self._lock:
            row = self._db.execute(
                "SELECT key, text, finish, logliks, notes FROM answer WHERE key=?", (key,)
            ).fetchone()
        return codec.load_answer(row) if row else None

    def add_answer(self, key: str, answer: Answer) -> None:
        """Keep an answer; on disk within a tenth of a second, and before it is scored."""
        logliks = json.dumps(answer.logliks) if answer.logliks else None
        notes = json.dumps(dict(answer.notes), ensure_ascii=False) if answer.notes else None
        with self._writing():
            self._db.execute(
                "INSERT OR IGNORE INTO answer VALUES (?,?,?,?,?)",
                (key, answer.text, answer.finish, logliks, notes),
            )
            if self._saver is None:
                self._saver = Timer(_SECONDS_UNSAVED, self._save_behind)
                self._saver.daemon = True
                self._saver.start()

    def save(self) -> None:
        with self._writing():
            self._db.commit()

    def _save_behind(self) -> None:
        """Save while the model works on; what fails here is raised by whoever writes next."""
        with self._lock:
            if self._saver is None:
                return
            self._saver = None
            try:
                self.save()
            except MachineryError:
                self._unheard = True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            if self._failed is not None:
                self._unheard = False
                raise self._failed
            try:
                yield
            except sqlite3.DatabaseError as error:
                self._failed = MachineryError(
                    f"{self.folder / FILE}: {error}; what was answered before is kept"
                )
                raise self._failed from error

    # -- what was asked --------------------------------------------------------------------------

    def begin(self, place: Place) -> None:
        """Forget the entries of a cell (not its answers) before they are written anew."""
        with self._writing():
            self._db.execute("DELETE FROM entry WHERE task=? AND shots=? AND seed=?", _key(place))
            self._db.execute("DELETE FROM cell WHERE task=? AND shots=? AND seed=?", _key(place))

    def add_entry(
        self,
        place: Place,
        position: int,
        sample: Sample,
        prompt: str,
        shot_ids: Sequence[str],
        key: str,
    ) -> None:
        """``prompt`` as ``dump_prompt`` writes it; ``key`` names the answer it will have."""
        row = (
            *_key(place),
            position,
            sample.id,
            codec.dump_sample(sample),
            prompt,
            codec.dump_ids(shot_ids),
            key,
        )
        with self._writing():
            try:
                self._db.execute(
                    "INSERT INTO entry (task, shots, seed, position, id, sample, prompt, shot_ids,"
                    " answer) VALUES (?,?,?,?,?,?,?,?,?)",
                    row,
                )
            except sqlite3.IntegrityError as error:
                raise UsageError(
                    f"{place.task}: two rows have the id {sample.id}; ids must be unique"
                ) from error

    def answered(self, place: Place) -> Iterator[tuple[Sample, Answer | None]]:
        """What scoring needs of a cell: samples and answers, in the order of the split."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sample, a.key, text, finish, logliks, notes FROM entry"
                " LEFT JOIN answer a ON a.key = entry.answer WHERE task=? AND shots=? AND seed=?"
                " ORDER BY position",
                _key(place),
            )
        while chunk := rows.fetchmany(_ROWS_READ):
            samples = codec.load_samples(row[0] for row in chunk)
            yield from zip(samples, (codec.load_answer(row[1:]) for row in chunk), strict=True)

    def entries(self, place: Place) -> Iterator[Entry]:
        """The samples of a cell in the order of the split."""
        return self._entries("", place)

    def find(self, place: Place, ids: Iterable[str]) -> Iterator[Entry]:
        """The entries of the named samples, in the order of the split."""
        wanted = sorted(set(ids))
        marks = ",".join("?" * len(wanted))
        return self._entries(f" AND id IN ({marks})", place, *wanted)

    def values(self, place: Place) -> Iterator[tuple[str, float | None]]:
        """Id and score of every sample of a cell, and nothing else of it: quick on large splits."""
        query = "SELECT id, value FROM entry WHERE task=? AND shots=? AND seed=? ORDER BY position"
        yield from self._db.execute(query, _key(place))

    def size(self, place: Place) -> int:
        """How many samples a cell has."""
        query = "SELECT COUNT(*) FROM entry WHERE task=? AND shots=? AND seed=?"
        count: int = self._db.execute(query, _key(place)).fetchone()[0]
        return count

    def _entries(self, condition: str, place: Place, *more: str) -> Iterator[Entry]:
        with self._lock:
            rows = self._db.execute(
                "SELECT position, sample, prompt, shot_ids, said, value, read_as, parsed, parts,"
                " a.key, text, finish, logliks, notes FROM entry LEFT JOIN answer a"
                f" ON a.key = entry.answer WHERE task=? AND shots=? AND seed=?{condition}"
                " ORDER BY position",
                (*_key(place), *more),
            )
        while chunk := rows.fetchmany(_ROWS_READ):
            for row in chunk:
                yield codec.load_entry(place, row)

    # -- what came of it -------------------------------------------------------------------------

    def finish(
        self,
        cell: Cell,
        said: Iterable[str | None],
        scores: Iterable[Score],
        units: Iterable[Unit] = (),
    ) -> None:
        """Write scores, the cell and the units behind it together: a cell is there only when all
        of it is."""
        with self._writing():
            self._db.executemany(
                "UPDATE entry SET said=?, value=?, read_as=?, parsed=?, parts=?"
                " WHERE task=? AND shots=? AND seed=? AND position=?",
                (
                    (
                        text,
                        s.value,
                        s.read_as,
                        s.parsed,
                        json.dumps(dict(s.parts)) if s.parts else "{}",
                        *_key(cell.place),
                        i,
                    )
                    for i, (text, s) in enumerate(zip(said, scores, strict=True))
                ),
            )
            self._db.execute(
                "INSERT OR REPLACE INTO cell VALUES (?,?,?,?,?)",
                (*_key(cell.place), codec.dump_cell(cell), codec.dump_units(units)),
            )
            self.save()

    def cells(self) -> list[Cell]:
        """The finished cells by task, shots, seed."""
        rows = self._db.execute("SELECT body FROM cell ORDER BY task, shots, seed").fetchall()
        with self._reading_cells():
            return [codec.load_cell(body) for (body,) in rows]

    def units(self, place: Place) -> list[Unit]:
        """The evidence behind a finished cell."""
        query = "SELECT units FROM cell WHERE task=? AND shots=? AND seed=?"
        (packed,) = self._db.execute(query, _key(place)).fetchone()
        with self._reading_cells():
            return codec.load_units(packed)

    @contextmanager
    def _reading_cells(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, zlib.error) as error:
            where = self.folder / FILE
            raise UsageError(f"{where}: a cell cannot be read ({error}); run it again") from error

    def unfinished(self) -> list[tuple[Place, int, int]]:
        """Cells that were begun and have no figure yet: place, samples asked, samples answered."""
        rows = self._db.execute(
            "SELECT e.task, e.shots, e.seed, COUNT(*), COUNT(a.key) FROM entry e"
            " LEFT JOIN answer a ON a.key = e.answer LEFT JOIN cell c"
            " ON c.task = e.task AND c.shots = e.shots AND c.seed = e.seed"
            " WHERE c.task IS NULL GROUP BY e.task, e.shots, e.seed"
        ).fetchall()
        return [(Place(task, shots, seed), asked, said) for task, shots, seed, asked, said in rows]

    def add_picture(self, key: str, webp: bytes) -> None:
        with self._writing():
            self._db.execute("INSERT OR IGNORE INTO picture VALUES (?,?)", (key, webp))

    def has_picture(self, key: str) -> bool:
        found = self._db.execute("SELECT 1 FROM picture WHERE key=?", (key,)).fetchone()
        return found is not None

    def picture(self, key: str) -> bytes | None:
        """The WEBP thumbnail of a picture, or ``None`` where the log has none."""
        row = self._db.execute("SELECT webp FROM picture WHERE key=?", (key,)).fetchone()
        return bytes(row[0]) if row else None


def read(folder: Path) -> list[Cell]:
    """The finished cells of a run folder.  ``UsageError`` where there is no readable run."""
    with Log(folder) as log:
        return log.cells()


def _key(place: Place) -> tuple[str, int, int]:
    return (place.task, place.shots, place.seed)


def _connect(path: Path, writing: bool) -> sqlite3.Connection:
    if not writing and not path.is_file():
        raise UsageError(f"{path.parent} is not a run folder: it has no {FILE}")
    try:
        db = sqlite3.connect(path, check_same_thread=False)
        if writing:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
        schema: int = db.execute("PRAGMA user_version").fetchone()[0]
        if writing and schema == 0:
            db.executescript(f"{_TABLES}PRAGMA user_version={SCHEMA};")
            schema = SCHEMA
        known = {
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{path} is not a readable run log ({error})") from error
    if schema != SCHEMA or not {"answer", "cell", "entry"} <= known:
        have = f"schema {schema}" if schema else "no schema"
        raise UsageError(f"{path} has {have}, this version reads {SCHEMA}; use another --output")
    return db


def _claim(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        guard = (folder / ".lock").open("w")
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}; choose another --output"
        ) from error
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        guard.close()
        raise UsageError(
            f"{folder} is being written by another run; wait for it, or choose another --output"
        ) from error
    return guard
