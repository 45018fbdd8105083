"""The tables of a log, and how a log of the first schema is read as one of today's.

Knows tables and columns; what stands in them is the codec's business.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.logs import codec

SCHEMA = 2

# Entries and answers are long beside their keys, and keys of answers are hashes: rows that are
# appended, with the keys in an index, are written faster than tables sorted by key.
TABLES = """
CREATE TABLE IF NOT EXISTS answer (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, logliks TEXT, notes TEXT,
    frame INTEGER
);
CREATE TABLE IF NOT EXISTS roster (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, task TEXT NOT NULL, shots INTEGER, seed INTEGER
);
CREATE TABLE IF NOT EXISTS entry (
    roster INTEGER NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, sample TEXT NOT NULL,
    prompt TEXT NOT NULL, shot_ids TEXT NOT NULL, answer TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS entry_at ON entry (roster, position);
CREATE UNIQUE INDEX IF NOT EXISTS entry_of ON entry (roster, id);
CREATE TABLE IF NOT EXISTS cell (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, roster INTEGER NOT NULL,
    body TEXT NOT NULL, units BLOB
);
CREATE TABLE IF NOT EXISTS score (
    cell INTEGER NOT NULL, position INTEGER NOT NULL, said TEXT, value REAL, read_as TEXT NOT NULL,
    parsed INTEGER NOT NULL, parts TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS score_at ON score (cell, position);
CREATE TABLE IF NOT EXISTS learned (digest TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS picture (
    key TEXT PRIMARY KEY, webp BLOB NOT NULL, pixels INTEGER
);
"""
_LATER = (
    "shot (roster INTEGER, id TEXT, sample TEXT NOT NULL, PRIMARY KEY (roster, id))",
    "frame (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE)",
)
"""
answer    what a model said, under the key of exactly what it was asked; never rewritten
roster    one attempt at asking a cell's questions; without a cell it is a draft
entry     one line a sample of a roster: the sample, its prompt and shots, which answer is its own
cell      one figure: settings, metrics, the evidence behind it
score     one line a sample of a cell: what was read and what it is worth
shot      the answers that the shots of a roster show, once each
frame     how the model's format frames prompts (``frames``); answers name theirs
learned   what scorers learned of whole splits
picture   thumbnails of the pictures that a report shows

Logs of earlier versions lack ``shot``, ``frame`` and the columns ``frame`` and ``pixels``.
"""

_PAGES_AHEAD = 4000
"""Pages that commits put into the write-ahead log before they are copied into the file itself: four
times SQLite's own, since a page that many commits touch is then copied once."""

_NEEDED = {1: {"answer", "cell", "entry"}, 2: {"answer", "roster", "entry", "cell", "score"}}

# Rows of the first schema as today's tables have them.  ``rosters`` and ``figures`` are temporary
# tables that number what had no number then.
_FIRST = {
    "roster": "SELECT id, name, task, shots, seed FROM temp.rosters",
    "entry": "SELECT r.id AS roster, e.position, e.id, e.sample, e.prompt, e.shot_ids, e.answer"
    " FROM temp.rosters r JOIN {entry} e ON e.task = r.task AND e.shots = r.shots"
    " AND e.seed = r.seed",
    "cell": "SELECT f.id, f.name, f.roster, f.body, c.units FROM temp.figures f JOIN {cell} c"
    " ON c.rowid = f.id",
    "score": "SELECT f.id AS cell, e.position, e.said, e.value, e.read_as, e.parsed, e.parts"
    " FROM temp.figures f JOIN temp.rosters r ON r.id = f.roster JOIN {entry} e"
    " ON e.task = r.task AND e.shots = r.shots AND e.seed = r.seed WHERE e.read_as IS NOT NULL",
}


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """Open a log; to write, one that is new is laid out and one of the first schema migrated.
    ``UsageError`` where it is no log, or of a schema that nobody here knows."""
    if not writing and not path.is_file():
        raise UsageError(f"{path.parent} is not a run folder: it has no {path.name}")
    try:
        db = sqlite3.connect(path, check_same_thread=False)
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{path} is not a readable run log ({error})") from error
    try:
        _prepare(db, path, writing=writing)
    except sqlite3.DatabaseError as error:
        db.close()
        if writing and isinstance(error, sqlite3.OperationalError) and _no_room(error):
            raise MachineryError(
                f"{path} cannot be written ({error}); is the disk full? what it held is kept"
            ) from error
        raise UsageError(f"{path} is not a readable run log ({error})") from error
    except UsageError:
        db.close()
        raise
    return db


def _no_room(error: sqlite3.OperationalError) -> bool:
    """Whether a write failed; a damaged file is another ``DatabaseError``."""
    return any(word in str(error) for word in ("disk I/O error", "is full"))


def _prepare(db: sqlite3.Connection, path: Path, *, writing: bool) -> None:
    if writing:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(f"PRAGMA wal_autocheckpoint={_PAGES_AHEAD}")
    schema: int = db.execute("PRAGMA user_version").fetchone()[0]
    if writing and schema == 0:
        db.executescript(f"{TABLES}PRAGMA user_version={SCHEMA};")
        schema = SCHEMA
    _check(db, path, schema)
    if schema == 1:
        _number(db)
        (_migrate if writing else _view)(db)
    _complete(db, writing=writing)


def _complete(db: sqlite3.Connection, *, writing: bool) -> None:
    """What logs of earlier versions lack: added to the file, or shown as empty."""
    for table in _LATER:
        if writing:
            db.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        elif not _has(db, table.split()[0]):
            db.execute(f"CREATE TEMP TABLE {table}")
    for table, column in (("answer", "frame"), ("picture", "pixels")):
        if column in {row[1] for row in db.execute(f"PRAGMA main.table_info({table})")}:
            continue
        if writing:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER")
        else:
            old = f"SELECT *, NULL AS {column} FROM main.{table}"
            db.execute(f"CREATE TEMP VIEW {table} AS {old}")


def _has(db: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type='table' AND name=?"
    return db.execute(query, (table,)).fetchone() is not None


def _check(db: sqlite3.Connection, path: Path, schema: int) -> None:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    if schema not in _NEEDED or not _NEEDED[schema] <= tables:
        have = f"schema {schema}" if schema else "no schema"
        raise UsageError(
            f"{path} has {have}, this version reads 1 to {SCHEMA}; use another --output"
        )


def _number(db: sqlite3.Connection) -> None:
    """Number the rosters and figures of a log of the first schema."""
    db.execute(
        "CREATE TEMP TABLE rosters AS SELECT min(rowid) AS id, task || shots || seed AS name,"
        " task, shots, seed FROM main.entry GROUP BY task, shots, seed"
    )
    db.execute("CREATE TEMP TABLE figures (id INTEGER, name TEXT, roster INTEGER, body TEXT)")
    cells = db.execute(
        "SELECT c.rowid, r.id, c.body FROM main.cell c JOIN temp.rosters r"
        " USING (task, shots, seed)"
    ).fetchall()
    for number, roster, body in cells:
        name, body = _named(body)
        db.execute("INSERT INTO temp.figures VALUES (?,?,?,?)", (number, name, roster, body))
    db.commit()


def _named(body: str) -> tuple[str, str]:
    """A cell's name and its body in today's words; a damaged one is passed on, for whoever reads
    it to say so."""
    try:
        cell = codec.load_cell_of_schema_1(body)
    except (ValueError, TypeError, KeyError, AttributeError):
        return body, body
    return cell.key.name, codec.dump_cell(cell)


def _view(db: sqlite3.Connection) -> None:
    """Show the old rows as today's; the file stays as it is."""
    for table, rows in _FIRST.items():
        rows = rows.format(entry="main.entry", cell="main.cell")
        db.execute(f"CREATE TEMP VIEW {table} AS {rows}")
    db.execute("CREATE TEMP TABLE learned (digest TEXT PRIMARY KEY, body BLOB NOT NULL)")


def _migrate(db: sqlite3.Connection) -> None:
    """Copy the old rows into today's tables, all of them or none."""
    aside = "".join(f"ALTER TABLE {table} RENAME TO {table}_1;" for table in ("entry", "cell"))
    copied = "".join(
        f"INSERT INTO {table} {rows.format(entry='main.entry_1', cell='main.cell_1')};"
        for table, rows in _FIRST.items()
    )
    dropped = "DROP TABLE entry_1; DROP TABLE cell_1;"
    done = f"PRAGMA user_version={SCHEMA};COMMIT;"
    db.executescript(f"BEGIN IMMEDIATE;{aside}{TABLES}{copied}{dropped}{done}")
