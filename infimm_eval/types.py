"""The words this project is written in.

Everything that flows through an evaluation is one of the values below.  They are frozen:
no stage edits what an earlier stage made, it makes the next value.

    Row -> Sample -> Prompt -> Request -> Answer -> Score -> Summary

This module imports only the standard library, and every other module may import it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol, TypeAlias

Row: TypeAlias = Mapping[str, Any]
"""One raw row of a dataset, in the columns its authors published; pictures are ``Image``s."""

Style: TypeAlias = Literal["completion", "instruct"]
"""Base models continue a text (``completion``); chat models follow a request (``instruct``)."""


class Image(ABC):
    """A picture by reference: cheap to pass on, to pickle and to compare; pixels are read late."""

    __slots__ = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """What a person calls it: a path inside the dataset, not on this machine."""

    @property
    @abstractmethod
    def key(self) -> str:
        """A cheap identity that changes when the picture is replaced (name and size, say)."""

    @abstractmethod
    def read(self) -> bytes:
        """The encoded file (JPEG, PNG, ...).  Raises ``OSError`` where it cannot be read."""

    def digest(self) -> str:
        """SHA-256 of the encoded file: equal digests, equal pictures.  Reads the file."""
        return hashlib.sha256(self.read()).hexdigest()


Content: TypeAlias = tuple[str | Image, ...]
"""Text and pictures in reading order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One item of a benchmark: what is asked, and what would answer it."""

    id: str
    """Unique within the split; the official id as text."""
    images: tuple[Image, ...] = ()
    """Pictures that stand before the question (those inside it are part of ``question``)."""
    question: Content = ()
    target: str = ""
    """The answer a shot shows."""
    references: tuple[str, ...] = ()
    """Every answer a scorer may compare with."""
    options: tuple[Content, ...] = ()
    """The choices, in order; option 0 is ``A``."""
    hint: str = ""
    group: str = ""
    """What makes samples dependent: the picture they share.  Resampled together by statistics;
    a shot never comes from the query's group.  Empty: the sample stands alone."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What results are broken down by (subject, category), and what a scorer or a submission
    needs of the row (the answer's letter, the file name)."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side of a conversation says."""

    role: Literal["user", "assistant"]
    content: Content


@dataclass(frozen=True, slots=True)
class Document:
    """What stands between the parts of an interleaved document.

    These words are a prompt format's own: special tokens in them are tokens.
    """

    before_answer: str = ""
    """Between a question and its answer (Otter's ``<answer>``)."""
    after_answer: str = "\n"
    """Between an example and what follows it; a model's end-of-chunk mark stands before it."""


Kind: TypeAlias = Literal["caption", "short answer", "yes or no", "choice", "free answer"]
"""What a benchmark wants to be told; a prompt format has a template for each kind it knows."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends where the model is to speak.

    A prompt says what is asked.  How it becomes tokens (``<image>`` and ``<|endofchunk|>``
    marks, a chat template) is the model's business: in ``completion`` style a user turn and the
    assistant turn after it are one example of an interleaved document.
    """

    style: Style
    turns: tuple[Turn, ...]
    system: str = ""
    """Text before everything: a system turn, or the head line of a completion."""
    document: Document = Document()
    """In ``completion`` style, what stands between its parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How the answer is searched for.  Part of a benchmark's definition."""

    max_new_tokens: int
    min_new_tokens: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    """Generation may end as soon as one of these appears; the answer text keeps it."""
    temperature: float = 0.0
    banned: tuple[str, ...] = field(default=(), repr=False)
    """Texts that are never generated (a line break, say).  Not in ``repr``, by which logs of
    earlier versions name what was asked."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt for a model, and what is wanted: an answer, or the ranking of ``options``."""

    id: str
    """Unique in its stream; comes back in the answer, and says nothing to the model."""
    prompt: Prompt
    decoding: Decoding
    options: tuple[str, ...] = ()
    """``rank`` only: the continuations whose log-likelihoods are wanted, as they would be said."""


Finish: TypeAlias = Literal["stop", "length", "error"]
"""Why an answer ended: the model came to its end, the limit of new tokens was reached, or it could
not be had."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, untouched."""

    id: str
    text: str
    """The new text alone; for a ranking, the best option."""
    finish: Finish = "stop"
    logliks: tuple[float, ...] = ()
    """For a ranking: the summed log-likelihood (nats) of each option, in order."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What a reader of the log should know: shots dropped, tokens used, seconds, the error."""
    prompt: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """The prompt as the model read it, special tokens spelled out, cut where its pictures stand
    (those of the request, less the first where shots were dropped); empty: the model keeps it to
    itself.  For readers of the log alone."""


class Model(Protocol):
    """Anything that answers prompts.  Never learns which benchmark it serves.

    Eight more attributes are used where a model has them: ``statistics``, counters that only grow
    (pictures encoded, seconds by stage) and can be added up over models; ``device`` and
    ``picture_tokens`` (``{"query": n, "shot": n}``), which stand beside its figures unless answers
    note those of each picture of their prompts; ``prompt_format``, the name of the format that its
    family is evaluated in (``infimm`` without one); ``picture_encoder`` (see ``shots.encoders``),
    its own eyes for retrieved shots; ``answered_by``, kind and number of the worker that gave the
    last answer, where there are several; ``one_picture``, true of a model that cannot be shown
    several, and so no shots; ``close()``, which gives back files, threads and memory when a run is
    over: it may be called twice, and a closed model may be asked again.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def style(self) -> Style:
        """The kind of prompt it was trained on; ``--prompt-style`` overrides."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything about it that can move a number, for the log and for telling runs apart:
        ``fingerprint`` (of the weights, not of the path), dtype, image processor, ..."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answer every request once, in any order, as soon as each is ready."""
        ...


class RankingModel(Model, Protocol):
    """A model that can also score given continuations; ``--choice rank`` needs one."""

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Score ``request.options`` by log-likelihood, once each, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """A sample and what came back.  ``text`` is the answer as its prompt template reads it."""

    sample: Sample
    answer: Answer
    text: str


@dataclass(frozen=True, slots=True)
class Score:
    """How good one answer is, and how the scorer read it."""

    value: float | None
    """Usually 0 to 1 (CIDEr 0 to 10).  ``None``: could not be judged.  Never counted as zero."""
    read_as: str = ""
    parsed: bool = True
    """False where the scorer found no answer in the text (and the rules count that as wrong)."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The same answer under further figures (``Bleu_4``, an expected value under guessing)."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """One score per record, in order, and the figures that only a whole corpus has."""

    scores: Sequence[Score]
    corpus: Mapping[str, float] = field(default_factory=dict)
    """Corpus-level figures in published units (BLEU, METEOR)."""
    notes: Sequence[str] = ()
    """What a person should know: a companion figure that could not be had, say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """Model-graded scoring: what to ask the judge, how to read its verdict."""

    ask: Callable[[Record, int], Prompt]
    """The prompt for the n-th try (0 first)."""
    read: Callable[[Record, str], Score]
    """``Score(None)`` where the verdict cannot be read: it is asked again while tries are left."""
    decoding: Decoding
    tries: int = 1
    heat: float = 0.0
    """Added to the temperature with every further try."""
    settled: Callable[[Record], Score | None] = lambda record: None
    """The score of an answer that rules alone can read; ``None``: the judge is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFunction:
    """Scoring over all answers together: CIDEr's document frequency, dice cast in order."""

    score: Callable[[Iterable[Record], Any], Scoring]
    """The answered records in the order of the split, and what ``learn`` made of the split."""
    learn: Callable[[Iterable[Sample]], Any] | None = None
    """What has to be known of *every* sample of the split, also of those outside ``--limit``, as a
    JSON value.  It is kept in the log, so that scoring again needs no data."""
    probe: Callable[[Iterable[Record]], Any] | None = None
    """Stands for ``score`` where its behaviour is digested, if that would start a slow program."""
    alone: CorpusFunction | None = None
    """The same scores without the figures that stand beside them (METEOR takes seconds to start),
    for ``--no-companions``."""
    warm: Callable[[], None] | None = None
    """Starts what takes seconds to start, and does not wait for it: called while the model is
    asked.  What is missing is said when it is needed, not here."""
    require: Callable[[], object] | None = None
    """Fails with ``UsageError`` where scoring takes what is not installed: called before anything
    is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A named rule that says how good an answer is.

    Raise ``version`` whenever any answer would be scored otherwise: figures of different versions
    are not compared.  A digest of the behaviour on ``cases`` stands beside it in every protocol,
    so that a change without a new version shows.
    """

    name: str
    function: Callable[[Record], Score] | CorpusFunction | Rubric
    """One answer at a time, all of them together, or a judge's rubric."""
    version: int = 1
    cases: Callable[[], Iterable[Record]] | None = None
    """Fixed answers with their samples; ``None``: the function's source is digested."""
    beside: bool = True
    """Whether the headline under it stands beside another scorer's; ``False``: it is computed only
    where a person names it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What metrics see of one sample: what it is, and how it did."""

    id: str
    group: str
    tags: Mapping[str, str]
    score: Score


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of the evidence behind a headline.

    headline = scale x sum over strata of (sum of weight x value / sum of weight)

    Every headline here has this shape: an accuracy is one stratum with a unit a question, a sum
    over sub-tasks has strata for each of them, a circular accuracy a unit a question with all its
    rotations.  Confidence intervals and comparisons need nothing else.
    """

    id: str
    """Pairs with the unit of the same id and stratum in another run."""
    cluster: str
    """Units of one cluster (a picture) are resampled together."""
    value: float
    weight: float = 1.0
    stratum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in figures, all in the units of the published tables."""

    metrics: Mapping[str, float]
    breakdown: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """``{"answer_type": {"yes/no": 81.2, ...}}``"""
    units: Collection[Unit] = ()
    """In no particular order."""
    scale: float = 100.0
    notes: Sequence[str] = ()
    """What a person should know of these figures: groups of which only a part was asked, say."""


SupportRule: TypeAlias = Callable[[Sample, Sequence[Sample], int, Random], list[Sample]]
"""From a query, every example of the benchmark, how many shots are wanted and this query's own
chance to the examples in the order of the prompt.  A shot may be several examples; one that is not
shown as it stands in the data has an id of its own."""

Metrics: TypeAlias = Callable[[Sequence[Outcome], Mapping[str, float]], Summary]
"""Outcomes and the scorer's corpus figures to a summary.  Unscored outcomes are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """How one style puts a question, and how it is answered.

    ``ask`` and ``answer`` are Jinja templates over ``images`` (the pictures before the question),
    ``question``, ``options`` (a list), ``letters``, ``hint``, ``target``, ``references`` (a list),
    ``id`` and ``tags``; pictures are values that templates place like text.
    """

    ask: str
    decoding: Decoding
    answer: str = "{{ target }}"
    system: str = ""
    read: Callable[[str], str] = str.strip
    """From the raw answer to the text that is scored (cut a run-on, drop quotes)."""
    document: Document = Document()
    """In ``completion`` style, what stands between the parts of the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A dataset of Parquet files on the hub."""

    repos: tuple[str, ...]
    """Ids that hold the same data, the first that exists is read."""
    split: str
    config: str | None = None
    revision: str | None = None
    """A commit to pin; ``None``: the newest, resolved and recorded when a run starts."""
    convert: Callable[[Row], Row | None] = dict
    """From the published columns (and ``row``, the row's number in the split) to those that
    official files yield; ``None``: leave the row out (a dataset that holds more than the split)."""
    pictures: Hub | None = None
    """Where the pictures lie, for a dataset that only names them: its converted rows hold
    ``filename`` and ``image``, and are joined by the first."""


class Reader(Protocol):
    """Rows of one split from a person's folder, in the layout the authors distribute."""

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, one line each, for the message when it does not."""
        ...

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from (not the pictures), for the record of a run.
        Raises ``FileNotFoundError`` that names the one that is missing."""
        ...

    def rows(self, root: Path) -> Iterator[Row]:
        """Every row of the split, in the published order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where one split lies, in every form it is distributed in.  All yield the same columns."""

    files: tuple[Reader, ...] = ()
    """Official layouts, the first whose files are there is read."""
    demo: Callable[[], Iterable[Row]] | None = None
    """Small rows of the same shape, made by code; every built-in benchmark has them."""
    hub: Hub | None = None
    keep: Callable[[Row], bool] = lambda row: True
    """Which rows are the split's, where a file holds more."""
    size: int | None = None
    """How many samples the published split has.  A run over fewer is a subset, whatever the
    folder holds.  ``None``: not known, or nobody's business (a set of one's own)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRecord:
    """One answer in another harness's log, in that harness's words."""

    place: str
    """Where it stands, for messages: file and line."""
    row: int | None = None
    """The row of the tool's dataset, from 0.  A row number is not an id."""
    id: str = ""
    """What the tool calls the question; often not what the authors call it."""
    prompt: str = ""
    """The text that was asked, as far as it was logged."""
    target: str = ""
    references: tuple[str, ...] = ()
    """Right answers, where the log carries them."""
    options: tuple[str, ...] = ()
    text: str = ""
    """What the model said, before the tool took an answer out of it."""
    heard: str | None = None
    """What the tool scored, where that is logged."""
    values: Mapping[str, float] = field(default_factory=dict)
    """The tool's scores by its own names."""
    error: str = ""
    """Why there is no answer."""
    sample: Sample | None = None
    """The question itself, where this program published the log."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """All that the line holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """How a benchmark stands in the logs of one other harness."""

    names: tuple[str, ...] = ()
    """What the tool calls the benchmark, as shell patterns in lower case."""
    key: Callable[[ForeignRecord], Hashable] = lambda record: record.id
    """Names the question; ``None`` or "": the log has nothing but a row number."""
    sample_key: Callable[[Sample], Hashable] = lambda sample: sample.id
    """What ``key`` is of one of our samples."""
    sample: Callable[[ForeignRecord], Sample | None] | None = None
    """The question with its right answers as the log carries them, under its official id where
    that is known; it gives ``None`` where the log does not hold them.  ``None``: the references
    and options of a record are all there is to it."""
    first_row: int = 0
    """The number of the tool's first row."""
    spoken: Callable[[str], str] = lambda question: question
    """The question as the tool's prompt has it: some take a sentence off."""
    value: tuple[str, ...] = ()
    """The tool's scores that are this headline's, the first that is there."""
    figure: tuple[str, ...] = ()
    """What the tool's table of results calls the headline, where that is another name."""
    scale: float = 1.0
    """From the tool's table to the units of ours."""
    note: str = ""
    """What a person should know of the tool's version of the benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A benchmark: its data, its question, its scorers.  Pure description; runs nothing."""

    name: str
    title: str
    version: int
    """Raise it whenever old and new results stop being comparable."""
    source: Source
    sample: Callable[[Row], Sample]
    templates: Mapping[Style, PromptTemplate]
    scorers: Sequence[Scorer]
    """The first makes the headline; it is shown under the others beside it."""
    metrics: Metrics
    headline: str
    """The metric that stands in the results table."""
    shots: Source | None = None
    """Where few-shot examples come from.  ``None``: the benchmark is zero-shot only."""
    support: SupportRule | None = None
    """How they are chosen for a query, where the benchmark has a rule of its own (a class of the
    query's, the answer by its operator).  ``None``: the usual draw."""
    rankable: bool = False
    """``--choice rank`` may ask it by log-likelihood of ``options``."""
    kind: Kind | None = None
    """What is asked, for prompt formats other than the benchmark's own templates; ``None``: it is
    asked in these alone."""
    formats: Mapping[str, Mapping[Style, PromptTemplate]] = field(default_factory=dict)
    """By prompt format, its templates where they are not those of the kind."""
    ocr: bool = False
    """Samples carry what an OCR engine read in their pictures (``tags["ocr"]``), for ``--ocr``."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the published tables, each with the metric that it shows."""
    splits: Mapping[str, Split] = field(default_factory=dict)
    """Further splits by name; ``source`` is the one that tables show."""
    withheld: bool = False
    """True of a split whose answers are not public."""
    submission: Submission | None = None
    foreign: Mapping[str, Foreign] = field(default_factory=dict)
    """By another harness's name, how the benchmark stands in its logs; ``""`` stands for all
    others, whose ids are taken for the official ones and checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A further split of a benchmark, asked for as ``task:split``."""

    source: Source
    title: str
    columns: Mapping[str, str] = field(default_factory=dict)
    withheld: bool = False
    """Its answers are not public: it is run for a submission, not for a figure."""
    filename: str = ""
    """The submission's name where it differs from the benchmark's."""
    submission: Submission | None = None
    """The submission itself, where more than its name differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A leaderboard's file: how it is written from a run, how anybody's is read for ``score``."""

    filename: str
    """Its usual name; one that ends in ``/`` is a folder."""
    write: Callable[[Sequence[Record], Path], None]
    """Every record of the full id set, in the split's order, to a file or folder."""
    read: Callable[[Path], Mapping[str, str]]
    """Anybody's results file to ``{sample id: answer}``."""
    references: Callable[[Path], Iterable[Sample]] | None = None
    """Right answers from one file of the authors', or from results that carry them."""
    grades: Callable[[Path], Mapping[str, Sequence[float]]] | None = None
    """A judge's file to ``{sample id: one score a run}``."""
    missing: Literal["refused", "wrong", "left out"] = "refused"
    """What the official script makes of a question without a prediction."""
    size: int | None = None
    """How many samples the split has, where references may hold a larger set (all of val2014):
    of a larger one, those with a prediction are the split."""
    carries_answers: Callable[[Path], bool] = lambda path: False
    """Whether a results file brings the right answers with it, so that ``references`` reads it."""
    field: Callable[[Path], str] | None = None
    """Which field of a results file ``read`` takes the answers from, where it may have several."""
    incomplete: Callable[[Sequence[Sample]], str] = lambda samples: ""
    """Why questions that count together (rotations, the pair about a picture) are not all among
    the samples, in a line; "" where they are.  Such a file is refused or scored as partial."""
    remarks: Callable[[Sequence[Record]], Iterable[str]] = lambda records: ()
    """What ``write`` has to change for the file to be one that can be opened, a line each."""
    refused: str = ""
    """Why no server takes this split by itself, and what it takes: nothing is written then."""
