"""The log in its SQLite file: one writer, durable answers, readers at any time."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any, NamedTuple

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.logs import codec
from infimm_eval.logs.locking import claim
from infimm_eval.logs.schema import connect
from infimm_eval.logs.values import Cell, CellKey, Entry, shown
from infimm_eval.types import Answer, Sample, Score, Unit

FILE = "run.db"

_SECONDS_UNSAVED = 0.1
_ROWS_READ = 512
_ROWS_WRITTEN = 4096
"""So many answers at most wait to be handed to the database; all of them are at every commit."""
_FRAMES = 1_000_000
"""Bytes of frames that a log keeps; a model that frames every prompt in its own way fills it."""


class Draft(NamedTuple):
    """Questions that were put and have no figure yet."""

    task: str
    shots: int
    seed: int
    asked: int
    answered: int


class Extent(NamedTuple):
    """How long a scored answer is and how large its picture."""

    id: str
    group: str | None
    value: float
    letters: int | None
    pixels: int | None
    """``None`` where the log keeps no thumbnail of it."""


class Log:
    """A run folder open for reading, or, with ``writing=True``, for this process alone to write.

    Safe to use from several threads.  What scoring reads (``answered``) it reads over a connection
    of its own, so that it sees what was saved and holds up nobody who writes.
    """

    def __init__(self, folder: Path, *, writing: bool = False) -> None:
        self.folder = folder
        self._lock = RLock()
        self._closing = Event()
        self._unwritten: dict[str, tuple[Any, ...]] = {}
        self._frames: dict[str, int] = {}
        self._frame_bytes = 0
        self._failed: MachineryError | None = None
        self._unheard = False
        self._guard = claim(folder, ".lock", "run") if writing else None
        try:
            self._db = connect(folder / FILE, writing=writing)
        except UsageError:
            if self._guard is not None:
                self._guard.close()
            raise
        if writing:
            Thread(target=self._save_behind, name="log", daemon=True).start()

    def close(self) -> None:
        """Saves.  MachineryError where that fails, or has failed and nobody was told."""
        with self._lock:
            self._closing.set()
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
        """Whether there is an answer of this key."""
        with self._lock:
            found = self._db.execute("SELECT 1 FROM answer WHERE key=?", (key,))
            return key in self._unwritten or found.fetchone() is not None

    def answer(self, key: str) -> Answer | None:
        """The answer of this key, if there is one."""
        with self._lock:
            row = (
                self._unwritten.get(key)
                or self._db.execute(
                    "SELECT key, text, finish, logliks, notes, frame FROM answer WHERE key=?",
                    (key,),
                ).fetchone()
            )
        return codec.load_answer(row[:-1]) if row else None

    def add_answer(self, key: str, answer: Answer, frame: str | None = None) -> None:
        """Keep an answer; on disk within a tenth of a second, and before it is scored.  ``frame``
        says how the model read its prompt (``Frames.of``)."""
        columns = codec.dump_answer(answer)
        with self._lock:
            self._require_sound()
            if key not in self._unwritten:
                self._unwritten[key] = (key, *columns, self._frame(frame) if frame else None)
            if len(self._unwritten) >= _ROWS_WRITTEN:
                self._write_answers()

    def _write_answers(self) -> None:
        """Hand the database the answers that wait for the next commit.  Many at once and sorted:
        their keys are hashes, and neighbours in its index are then written together."""
        if not self._unwritten:
            return
        with self._writing():
            rows = sorted(self._unwritten.values())
            self._db.executemany("INSERT OR IGNORE INTO answer VALUES (?,?,?,?,?,?)", rows)
            self._unwritten.clear()

    def _frame(self, body: str) -> int | None:
        """The number of a frame, which is kept once; ``None`` where there is no room for it."""
        if body in self._frames:
            return self._frames[body]
        with self._writing():
            if not self._frames:
                self._frames.update(self._db.execute("SELECT body, id FROM frame"))
                self._frame_bytes = sum(map(len, self._frames))
            if body not in self._frames and self._frame_bytes + len(body) <= _FRAMES:
                self._frame_bytes += len(body)
                added = self._db.execute("INSERT INTO frame (body) VALUES (?)", (body,))
                assert added.lastrowid is not None
                self._frames[body] = added.lastrowid
        return self._frames.get(body)

    def save(self) -> None:
        """Everything so far is on disk when this returns; ``MachineryError`` where it cannot be."""
        with self._writing():
            self._write_answers()
            self._db.commit()

    def _save_behind(self) -> None:
        """Save while the model works on; what fails here is raised by whoever writes next."""
        while not self._closing.wait(_SECONDS_UNSAVED):
            with self._lock:
                if self._failed is not None or self._closing.is_set():
                    return
                try:
                    self.save()
                except MachineryError:
                    self._unheard = True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            self._require_sound()
            try:
                yield
            except sqlite3.DatabaseError as error:
                self._failed = MachineryError(
                    f"{self.folder / FILE}: {error}; what was answered before is kept"
                )
                raise self._failed from error

    def _require_sound(self) -> None:
        """Raise what has failed."""
        if self._failed is not None:
            self._unheard = False
            raise self._failed

    # -- what was asked --------------------------------------------------------------------------

    def begin(self, name: str, task: str, shots: int, seed: int) -> int:
        """A new roster, a draft until a cell is finished over it.  Earlier drafts of the same
        ``name`` go; finished cells and all answers stay."""
        with self._writing():
            self._forget(
                "SELECT id FROM roster WHERE name=? AND id NOT IN (SELECT roster FROM cell)", name
            )
            row = (name, task, shots, seed)
            added = self._db.execute(
                "INSERT INTO roster (name, task, shots, seed) VALUES (?,?,?,?)", row
            )
            assert added.lastrowid is not None
            return added.lastrowid

    def _forget(self, rosters: str, *of: object) -> None:
        """Drop the rosters that a query selects, with their entries."""
        for (roster,) in self._db.execute(rosters, of).fetchall():
            self._db.execute("DELETE FROM entry WHERE roster=?", (roster,))
            self._db.execute("DELETE FROM shot WHERE roster=?", (roster,))
            self._db.execute("DELETE FROM roster WHERE id=?", (roster,))

    def add_entry(
        self,
        roster: int,
        position: int,
        sample: Sample,
        prompt: str,
        shot_ids: Sequence[str],
        key: str,
    ) -> None:
        """``prompt`` as ``dump_prompt`` writes it; ``key`` names the answer it will have."""
        texts = codec.dump_sample(sample), prompt, codec.dump_ids(shot_ids)
        with self._writing():
            try:
                self._db.execute(
                    "INSERT INTO entry VALUES (?,?,?,?,?,?,?)",
                    (roster, position, sample.id, *texts, key),
                )
            except sqlite3.IntegrityError as error:
                raise UsageError(
                    f"two rows have the id {sample.id}; the ids of a benchmark must be unique"
                ) from error

    def add_shot(self, roster: int, shot: Sample) -> None:
        """Keep the answer that a shot shows, and what it takes to read it: once a roster."""
        bare = replace(shot, images=(), question=(), hint="")
        with self._writing():
            self._db.execute(
                "INSERT OR IGNORE INTO shot VALUES (?,?,?)",
                (roster, shot.id, codec.dump_sample(bare)),
            )

    def shots(self, key: CellKey) -> dict[str, Sample]:
        """The shots of a finished cell by id, without pictures and questions; nothing of a cell
        that an earlier version asked."""
        query = "SELECT sample FROM shot WHERE roster=?"
        rows = self._db.execute(query, (self.roster(key),)).fetchall()
        return {shot.id: shot for shot in codec.load_samples(row[0] for row in rows)}

    def answered(self, roster: int) -> Iterator[tuple[Sample, Answer | None]]:
        """What scoring needs of a roster: samples and saved answers, in the order of the split."""
        with closing(connect(self.folder / FILE, writing=False)) as db:
            rows = db.execute(
                "SELECT sample, a.key, text, finish, logliks, notes FROM entry"
                " LEFT JOIN answer a ON a.key = entry.answer WHERE roster=? ORDER BY position",
                (roster,),
            )
            while chunk := rows.fetchmany(_ROWS_READ):
                samples = codec.load_samples(row[0] for row in chunk)
                yield from zip(samples, (codec.load_answer(row[1:]) for row in chunk), strict=True)

    def drafts(self) -> list[Draft]:
        """Rosters at spots that have no figure yet."""
        self._write_answers()
        rows = self._db.execute(
            "SELECT r.task, r.shots, r.seed, COUNT(e.id), COUNT(a.key) FROM roster r"
            " JOIN entry e ON e.roster = r.id LEFT JOIN answer a ON a.key = e.answer"
            " WHERE NOT EXISTS (SELECT 1 FROM cell c JOIN roster o ON o.id = c.roster"
            " WHERE (o.task, o.shots, o.seed) = (r.task, r.shots, r.seed)) GROUP BY r.id"
        ).fetchall()
        return [Draft(*row) for row in rows]

    # -- what came of it -------------------------------------------------------------------------

    def finish(
        self,
        roster: int,
        cell: Cell,
        said: Iterable[str | None],
        scores: Iterable[Score],
        units: Iterable[Unit] = (),
    ) -> None:
        """Write scores, the cell and the units behind it together: a cell is there only when all
        of it is.  One of the same key makes way, whatever its roster; no other does."""
        name = cell.key.name
        packed = codec.dump_units(units)
        with self._writing():
            before = self._db.execute("SELECT id FROM cell WHERE name=?", (name,)).fetchone()
            if before:
                self._db.execute("DELETE FROM score WHERE cell=?", before)
                self._db.execute("DELETE FROM cell WHERE id=?", before)
            added = self._db.execute(
                "INSERT INTO cell (name, roster, body, units) VALUES (?,?,?,?)",
                (name, roster, codec.dump_cell(cell), packed),
            )
            self._db.executemany(
                "INSERT INTO score VALUES (?,?,?,?,?,?,?)",
                (
                    (added.lastrowid, at, text, s.value, s.read_as, s.parsed, _parts(s))
                    for at, (text, s) in enumerate(zip(said, scores, strict=True))
                ),
            )
            self._forget(
                "SELECT id FROM roster WHERE id NOT IN (SELECT roster FROM cell) AND name ="
                " (SELECT name FROM roster WHERE id=?)",
                roster,
            )
            self.save()

    def cells(self) -> list[Cell]:
        """Every finished cell, in the order in which they were finished."""
        rows = self._db.execute("SELECT body FROM cell ORDER BY id").fetchall()
        with self._reading_cells():
            return [codec.load_cell(body) for (body,) in rows]

    def shown(self) -> list[Cell]:
        """The cells that tables show: one a spot (``values.shown``)."""
        return shown(self.cells())

    def roster(self, key: CellKey) -> int:
        """The roster of a finished cell."""
        return int(self._cell(key, "roster"))

    def units(self, key: CellKey) -> list[Unit]:
        """The evidence behind a finished cell."""
        with self._reading_cells():
            return codec.load_units(self._cell(key, "units"))

    def _cell(self, key: CellKey, column: str) -> Any:
        with self._lock:
            query = f"SELECT {column} FROM cell WHERE name=?"
            row = self._db.execute(query, (key.name,)).fetchone()
        if row is None:
            raise KeyError(key)
        return row[0]

    @contextmanager
    def _reading_cells(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, zlib.error) as error:
            where = self.folder / FILE
            raise UsageError(f"{where}: a cell cannot be read ({error}); run it again") from error

    # -- samples of a finished cell --------------------------------------------------------------

    def entries(self, key: CellKey, *, prompts: bool = True) -> Iterator[Entry]:
        """The samples of a finished cell in the order of the split; without ``prompts``, which are
        long, these and the pictures in them are empty."""
        return self._entries(key, "", (), prompts=prompts)

    def find(self, key: CellKey, ids: Iterable[str]) -> Iterator[Entry]:
        """The entries of the named samples, in the order of the split."""
        wanted = sorted(set(ids))
        marks = ",".join("?" * len(wanted))
        return self._entries(key, f" AND e.id IN ({marks})", wanted)

    def values(self, key: CellKey) -> Iterator[tuple[str, float | None]]:
        """Id and score of every sample of a cell, and nothing else of it: quick on large splits."""
        with self._lock:
            rows = self._db.execute(
                "SELECT e.id, s.value FROM cell c JOIN entry e ON e.roster = c.roster"
                " LEFT JOIN score s ON s.cell = c.id AND s.position = e.position"
                " WHERE c.name=? ORDER BY e.position",
                (key.name,),
            )
        while chunk := rows.fetchmany(_ROWS_READ):
            yield from chunk

    def extents(self, key: CellKey) -> Iterator[Extent]:
        """What was scored of a cell by its size, and nothing else of it."""
        with self._lock:
            rows = self._db.execute(
                "SELECT e.id, json_extract(e.sample, '$.group'), s.value, length(s.said), p.pixels"
                " FROM cell c JOIN entry e ON e.roster = c.roster"
                " JOIN score s ON s.cell = c.id AND s.position = e.position"
                " LEFT JOIN picture p ON p.key = json_extract(e.sample, '$.images[0][0]')"
                " WHERE c.name=? AND s.value IS NOT NULL ORDER BY e.position",
                (key.name,),
            )
        while chunk := rows.fetchmany(_ROWS_READ):
            yield from map(Extent._make, chunk)

    def size(self, key: CellKey) -> int:
        """How many samples a cell has."""
        query = "SELECT COUNT(*) FROM entry WHERE roster=?"
        count: int = self._db.execute(query, (self.roster(key),)).fetchone()[0]
        return count

    def _entries(
        self, key: CellKey, condition: str, more: Sequence[str], *, prompts: bool = True
    ) -> Iterator[Entry]:
        nothing = """'["completion","",[]]'""", "NULL"
        prompt, frame = ("e.prompt", "f.body") if prompts else nothing
        with self._lock:
            self._write_answers()
            rows = self._db.execute(
                f"SELECT e.position, e.sample, {prompt}, e.shot_ids, s.said, s.value, s.read_as,"
                f" s.parsed, s.parts, {frame}, a.key, a.text, a.finish, a.logliks, a.notes"
                " FROM cell c JOIN entry e ON e.roster = c.roster"
                " LEFT JOIN score s ON s.cell = c.id AND s.position = e.position"
                " LEFT JOIN answer a ON a.key = e.answer LEFT JOIN frame f ON f.id = a.frame"
                f" WHERE c.name=?{condition} ORDER BY e.position",
                (key.name, *more),
            )
        while chunk := rows.fetchmany(_ROWS_READ):
            yield from map(codec.load_entry, chunk)

    # -- beside the cells ------------------------------------------------------------------------

    def add_learned(self, value: Any) -> str:
        """Keep what a scorer learned of a whole split (a JSON value); returns its digest."""
        packed = codec.dump_learned(value)
        digest = sha256(packed).hexdigest()[:16]
        with self._writing():
            self._db.execute("INSERT OR IGNORE INTO learned VALUES (?,?)", (digest, packed))
        return digest

    def learned(self, digest: str) -> Any:
        """What ``add_learned`` kept; ``UsageError`` where the log has no such thing."""
        with self._lock:
            row = self._db.execute("SELECT body FROM learned WHERE digest=?", (digest,)).fetchone()
        if row is None:
            raise UsageError(
                f"{self.folder / FILE} does not hold what its scorer knew of the whole split; "
                "start the run's command again, which asks nothing anew"
            )
        with self._reading_cells():
            return codec.load_learned(row[0])

    def add_picture(self, key: str, webp: bytes, pixels: int | None = None) -> None:
        """Keep a thumbnail of a picture of so many ``pixels``."""
        with self._writing():
            row = (key, webp, pixels)
            self._db.execute("INSERT OR IGNORE INTO picture VALUES (?,?,?)", row)

    def has_picture(self, key: str) -> bool:
        """Whether there is a thumbnail of a picture."""
        with self._lock:
            found = self._db.execute("SELECT 1 FROM picture WHERE key=?", (key,)).fetchone()
        return found is not None

    def picture(self, key: str) -> bytes | None:
        """The WEBP thumbnail of a picture, or ``None`` where the log has none."""
        with self._lock:
            row = self._db.execute("SELECT webp FROM picture WHERE key=?", (key,)).fetchone()
        return bytes(row[0]) if row else None


def read(folder: Path) -> list[Cell]:
    """The cells that tables show of a run folder.  ``UsageError`` where there is no readable
    run."""
    with Log(folder) as log:
        return log.shown()


def _parts(score: Score) -> str:
    return json.dumps(dict(score.parts)) if score.parts else "{}"
