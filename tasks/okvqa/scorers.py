"""OK-VQA's accuracy against what people typed, or against the stems that the data set publishes.

OK-VQA (Marino et al. 2019) publishes each answer as typed (``raw_answer``) and stemmed
(``answer``: "race" for "racing").  ``raw`` is for the first, ``published`` for the second with the
prediction as it is, ``stemmed`` for the second with the prediction stemmed too.

Knows the rule by which OpenFlamingo stems, and asks NLTK for tokens, tags and lemmas; without
NLTK and its data there is no such figure, rather than one that is nearly right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module

from infimm_eval.errors import UsageError
from infimm_eval.packed import Packed
from infimm_eval.scorers import fixed, vqa
from infimm_eval.types import CorpusFunction, Record, Score, Scorer, Scoring

accuracy = vqa.accuracy(vqa.normalised)


def against_stems(record: Record) -> Score:
    """VQA accuracy with the stems for references, where a row has both forms."""
    stems = record.sample.tags.get("stems")
    if stems is None:
        return accuracy(record)
    return accuracy(
        replace(record, sample=replace(record.sample, references=tuple(stems.split("\n"))))
    )


def stemming(grammar_of: Callable[[], Grammar]) -> CorpusFunction:
    """The same of stemmed predictions; the grammar is opened when answers are to be scored."""

    def by(grammar: Grammar, records: Iterable[Record]) -> Scoring:
        stem_once = cache(lambda text: stem(text, grammar))
        stemmed = (replace(record, text=stem_once(record.text)) for record in records)
        return Scoring(Packed(Score, map(against_stems, stemmed)))

    return CorpusFunction(
        score=lambda records, _: by(grammar_of(), records),
        probe=lambda records: by(_PLAIN_GRAMMAR, records),
        require=grammar_of,
    )


@dataclass(frozen=True, slots=True)
class Grammar:
    """What stemming has to know of English."""

    tagged: Callable[[str], list[tuple[str, str]]]
    """A text's tokens with their Penn Treebank tags."""
    verb: Callable[[str], str]
    """An inflected verb's lemma."""
    singular: Callable[[str], str]


def stem(text: str, grammar: Grammar) -> str:
    """OpenFlamingo's rule, word by word: exceptions of the data set first, then the lemma of what
    ends in "ing", then the singular of what is tagged as a plural noun."""
    return " ".join(_stem(word, tag, grammar) for word, tag in grammar.tagged(text))


def _stem(word: str, tag: str, grammar: Grammar) -> str:
    if word in _EXCEPTIONS:
        return _EXCEPTIONS[word]
    if word.endswith("ing"):
        return grammar.verb(word)
    return grammar.singular(word) if tag in ("NNS", "NNPS") else word


def nltk_grammar() -> Grammar:
    """Tokens, tags and lemmas of NLTK, singulars of inflection, as OpenFlamingo uses them."""
    try:
        nltk, inflection = import_module("nltk"), import_module("inflection")
    except ImportError as missing:
        raise UsageError(
            f"stemming OK-VQA answers takes the package {missing.name}; "
            "pip install 'infimm-eval[okvqa]'"
        ) from missing
    lemmatiser = nltk.stem.WordNetLemmatizer()
    grammar = Grammar(
        tagged=lambda text: nltk.pos_tag(nltk.word_tokenize(text)),
        verb=lambda word: lemmatiser.lemmatize(word, "v"),
        singular=inflection.singularize,
    )
    try:
        stem("racing", grammar)
    except LookupError as missing:
        raise UsageError(
            "stemming OK-VQA answers takes data of NLTK; python -m nltk.downloader "
            "punkt_tab averaged_perceptron_tagger_eng wordnet"
        ) from missing
    return grammar


_UNCHANGED = """
    are christmas las married police tennis vegas yes
"""

_IRREGULAR = """
    adhesives:adhesive alertness:alert alpes:alp apartments:apart awning:awn backpackers:backpack
    badness:bad baldness:bald bases:base batter's:batter belongings:belong blindness:blind
    boy's:boy braves:brave brightness:bright browsing:brows buildings:build casings:case
    caves:cave charioteering:chariot childrens:children circuses:circus clothes:cloth
    clothing:cloth coding:code conducter:conduct conferences:confer coniferous:conifer
    containers:contain controllers:control corgie:corgi couponing:coupon creame:cream crepte:crept
    cumulis:cumuli curiousity:curious dangerous:danger daughter's:daughter decorations:decor
    designers:design dining:dine directions:direct domino's:domino doves:dove drives:drive
    drunkenness:drunken earing:ear earnings:earn eatting:eat electicity:elect electronics:electron
    elevators:elev emirates:emir expressions:express farmer's:farmer firefighters:firefight
    firefighting:firefight glaced:glace gloves:glove gondoliere:gondolier graves:grave
    haircutting:haircut hamburgers:hamburg hawke:hawk hearding:heard hell's:hell hornes:horn
    illness:ill jeans:jean kid's:kid kindergartener:kindergarten kiting:kite leaves:leaf
    lenses:lens lowes:low markings:mark mating:mate meetings:meet men's:men microwaves:microwave
    minerals:miner mopeds:mope morning:morn mountainous:mountain mustange:mustang nationals:nation
    overseas:oversea oxygenize:oxygen paintings:paint paned:pane paring:pare pease:peas
    personals:person pies:pie piping:pipe plating:plate playfulness:play polarizing:polar
    pooping:poop porche:porch potatoe:potato professionals:profession projections:project
    propellers:propel protesters:protest pudding:pud purring:pure quantas:quanta rabbies:rabbi
    raines:rain reflections:reflect regent's:regent reminders:remind reporters:report
    revelations:revel riding:ride ringe:ring ripeness:ripe rodeoing:rodeo routes:rout sadness:sad
    sautee:saute scrapbooking:scrapbook settings:set shelves:shelve sickness:sick
    skateboarders:skateboard smugness:smug socializing:social sometimes:sometime staring:stare
    stockings:stock striping:stripe sunbathing:sunbath sunblocker:sunblock suspenders:suspend
    swining:swine teasing:teas teething:teeth tenning:ten texting:text ties:tie toileting:toilet
    tomatoe:tomato toppings:top transitions:transit travelers:travel travellers:travel
    urinating:urine vacationing:vacate vandalizers:vandal vastness:vast veteran's:veteran
    wading:wade walle:wall waves:wave weddings:wed wetness:wet wilderness:wilder womens:women
"""

_EXCEPTIONS = {word: word for word in _UNCHANGED.split()} | {
    word: stem for word, _, stem in (pair.partition(":") for pair in _IRREGULAR.split())
}
"""Words that OK-VQA's own stems treat otherwise than the rule, as OpenFlamingo lists them."""

_PLAIN_GRAMMAR = Grammar(
    tagged=lambda text: [(word, "NNS" if word.endswith("s") else "NN") for word in text.split()],
    verb=lambda word: word.removesuffix("ing"),
    singular=lambda word: word.removesuffix("s"),
)
"""Stands for NLTK's where the scorer's behaviour is digested."""

_cases = fixed.beside(__file__)
raw = replace(vqa.always, name="raw")
published = Scorer(name="published", function=against_stems, cases=_cases)
stemmed = Scorer(name="stemmed", function=stemming(nltk_grammar), cases=_cases)
