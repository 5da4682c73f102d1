"""Checks of a prompt, alone or against its sheet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from castsheet.errors import PromptError
from castsheet.lint.findings import Fault, Finding, family, rule
from castsheet.prompt import HEADINGS, Prompt, mentions, parse
from castsheet.sheet.manifest import ElementNote, Sheet

ENCODER_TOKENS = 1024  # the text encoder reads no further; English takes about 1.3 tokens a word
LONG_WORDS = 700
MAX_PEOPLE = 2

_IDENTIFIER = re.compile(
    r"(?<![\w@.-])(?:@[A-Za-z][\w-]*"  # @hero
    r"|[a-z][a-z0-9-]*_[a-z0-9_-]*[a-z0-9]"  # old_man
    r"|[a-z]{3,}-?[0-9]+)(?![\w-])"  # hero2, hero-2; mp4 and f-16 are words
)
_NAME = re.compile(r"[A-ZÀ-Þ][a-zß-ÿ]{2,}")
# Endings of adjectives of place and time: "Victorian" is nobody's name.
_ADJECTIVE = re.compile(r"(ian|ean|ese|ish|ic)$")
_NO_NAMES = re.compile(
    r"((mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|june|july|august"
    r"|(septem|octo|novem|decem)ber|christmas|easter|halloween"
    r"|the|and|but|for|with|she|they|his|her|its|sun|moon|earth"
    r"|close|closeup|wide|medium|long|shot|camera|static|tracking|slow|motion|scene|cut)",
    re.IGNORECASE,
)
# Words by which an action can mean a character of the sheet without its name.
_ANYBODY = re.compile(
    r"\b(he|she|they|it|him|hers?|them|his|their|its|who|every(one|body)|both|all|m[ae]n|wom[ae]n|boys?|girls?"
    r"|person|people|child|children|characters?|figures?|couple|crowd|group|duo|trio)\b",
    re.IGNORECASE,
)
_LINKS = frozenset(("the", "and", "with", "for", "from", "over", "under", "into", "that", "who", "has"))
_TYPOGRAPHY = re.compile(
    r"\b(text|logos?|watermarks?|captions?|subtitles?|typography|lettering)\b", re.IGNORECASE
)
_CUT = re.compile(
    r"\b(?:hard |smash |jump |match )?cuts? (?:back )?to\b|\bcut\s*[:.]"
    r"|\b(?:next|second|third|new|another) shot\b|\b(?:shot|scene) [2-9]\b",
    re.IGNORECASE,
)
_SOMEBODY = re.compile(
    r"\b(?:he|she|him|her|his|hers|the (?:wo)?man|the boy|the girl|the person|the hero(?:ine)?)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"\*\*|^[ \t]*#{1,6}[ \t]|^[ \t]*[-*][ \t]", re.MULTILINE)
_POSITION = re.compile(
    r"\b(?:top|middle|bottom|upper|lower|first|second|third)[ -]row\b"
    r"|\b(?:top|middle|bottom|upper|lower|left|right|first|second|third)[ -]panel\b"
    r"|\b(?:panel|cell)[ #]*\d+\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Subject:
    prompt: Prompt
    sheet: Sheet | None

    @property
    def notes(self) -> tuple[ElementNote, ...]:
        """The elements that the sheet shows; none for a bare picture."""
        if self.sheet is None:
            return ()
        shown = {p.element for p in self.sheet.panels}
        return tuple(n for n in self.sheet.elements if n.id in shown or not shown)


def lint_prompt(prompt: Prompt | str, sheet: Sheet | None = None) -> list[Finding]:
    """Run every prompt rule.

    Args:
        prompt: a prompt, or a text that is meant to be one; a text that cannot be read is one P01 error.
        sheet: the sheet of the prompt. Without it (or with a bare picture) the first half is believed.
    """
    if isinstance(prompt, str):
        try:
            prompt = parse(prompt)
        except PromptError as error:
            return [Finding("P01", "error", error.what, error.remedy)]
    subject = _Subject(prompt, sheet)
    return [finding for check in family("P") for finding in check(subject)]


@rule("P01", "both headings stand in order and as the format writes them", "error")
def headings_are_exact(subject: _Subject) -> Iterator[Fault]:
    """A prompt that could be read has both headings; another spelling is a warning."""
    prompt = subject.prompt
    canonical = Prompt(prompt.reference, prompt.action, prompt.format).text
    for heading in HEADINGS[prompt.format]:
        if heading not in prompt.text:
            yield Fault(
                f"the prompt spells the heading {heading!r} in another way",
                f"write it as {heading!r}: the adapter was trained on these words",
                severity="warning",
            )
    if prompt.format == "prose" and "\n\n" in canonical and "\n\n" not in prompt.text:
        yield Fault(
            "no blank line parts the two halves",
            f"put a blank line before {HEADINGS['prose'].target!r}",
            severity="warning",
        )


def _plain(name: str) -> str:
    """A name without case, separators and @, so that Old-Man, old_man and @oldman are one."""
    return re.sub(r"[@_\-\s]", "", name).lower()


def _words(text: str) -> set[str]:
    return {_plain(word) for word in re.findall(r"[\w@-]+", text)}


def _unknown_identifiers(subject: _Subject) -> Iterator[Fault]:
    notes = subject.notes
    known = {_plain(n.id) for n in notes}
    stems = {name.rstrip("0123456789") for name in known}
    trusted = " ".join(n.description for n in notes) if notes else subject.prompt.reference
    known |= _words(trusted)
    where = f"the sheet has {', '.join(n.id for n in notes)}" if notes else "the first half names none such"
    spoken = f"{subject.prompt.reference}\n{subject.prompt.action}" if notes else subject.prompt.action
    for name in dict.fromkeys(_IDENTIFIER.findall(spoken)):
        if _plain(name) in known:
            continue
        # "covid-19" may be a word. "hero-2" is certainly an element if there is a hero-1.
        doubtful = re.fullmatch(r"[a-z]+-[0-9]+", name) and _plain(name).rstrip("0123456789") not in stems
        yield Fault(
            f"the prompt names {name!r}, but {where}",
            "use an identifier of the sheet, or add the element to the scene and compose again",
            element=name.lstrip("@"),
            severity="warning" if doubtful else "error",
        )


def _unknown_names(subject: _Subject) -> Iterator[Fault]:
    """Capitalised words that are no name on the sheet. Words that start a sentence do not count."""
    action = subject.prompt.action
    known = _words(subject.prompt.reference)
    for note in subject.notes:
        known |= _words(note.description) | {_plain(note.id)} | _words(note.id.replace("_", " "))
    known |= set(re.findall(r"\b[a-zß-ÿ]+\b", action))
    sentences = re.split(r"[.!?:;\n\"()\u2013\u2014\u201c\u201d]+", action)
    inside = [word for sentence in sentences for word in re.findall(r"@?[\w]+", sentence)[1:]]
    if sum(word[0].isupper() for word in inside) > len(inside) / 2:
        return  # a headline: its capitals say nothing
    for name in dict.fromkeys(w for w in inside if _NAME.fullmatch(w) and not _ADJECTIVE.search(w)):
        if _plain(name) not in known and not _NO_NAMES.fullmatch(name):
            yield Fault(
                f"the action names {name!r}, which neither the sheet nor the first half knows: "
                f"the model makes up its looks",
                f"add {name} to the scene, or call it by its identifier",
                severity="warning",
            )


def _nobody_of_the_sheet(subject: _Subject) -> Iterator[Fault]:
    """An action whose people are all strangers ("Ann waves"): nobody's identifier, description or pronoun."""
    people = [note for note in subject.notes if note.kind == "character"]
    spoken = set(re.findall(r"[^\W\d_]+", subject.prompt.action.lower()))
    for note in people:
        told = re.findall(r"[^\W\d_]{3,}", f"{note.id} {note.description}".lower().replace("_", " "))
        if spoken & (set(told) - _LINKS) or _plain(note.id) in _words(subject.prompt.action):
            return
    if people and not _ANYBODY.search(subject.prompt.action):
        names = ", ".join(note.id for note in people)
        yield Fault(
            f"the action names none of the sheet's characters ({names})",
            f"say what they do by their identifiers, for example {people[0].id!r}",
        )


@rule("P02", "every element is described once, and the prompt names no other", "warning")
def elements_are_bound(subject: _Subject) -> Iterator[Fault]:
    """Explicit identifiers (@name, old_man, hero2) that are on no sheet are errors; capitalised names,
    missing and doubled descriptions are warnings."""
    items = subject.prompt.items
    for note in subject.notes:
        heads = [i for i in items if re.match(rf"@?{re.escape(note.id)}(?![\w-])", i, re.IGNORECASE)]
        told = [i for i in items if mentions(i, note.id) or (note.description and note.description in i)]
        if not told:
            yield Fault(
                f"the first half does not name {note.id!r}, which the sheet shows",
                f"add the item {f'{note.id}: {note.description}'.strip(': ')!r}",
                element=note.id,
            )
        elif len(heads) > 1:
            yield Fault(
                f"the first half describes {note.id!r} {len(heads)} times (wanted once)",
                "merge these items into one",
                element=note.id,
            )
    yield from _unknown_identifiers(subject)
    yield from _unknown_names(subject)
    yield from _nobody_of_the_sheet(subject)


def _called(action: str, ids: Sequence[str]) -> list[int]:
    """The places where the action names one of the identifiers; spaces may stand for underscores."""
    names = "|".join(re.escape(id).replace("_", r"[_\s]") for id in sorted(ids, key=len, reverse=True))
    return [m.start() for m in re.finditer(rf"(?<![\w-])@?(?:{names})(?![\w-])", action, re.IGNORECASE)]


@rule("P03", "people are named at first use and after every cut", "warning")
def people_are_named(subject: _Subject) -> Iterator[Fault]:
    """No "he", "she" or "the woman" in a shot before one of the sheet's characters was named in it. The rule
    sees cuts that the action announces ("cut to", "next shot", "shot 2"), not whom a pronoun means."""
    people = [note.id for note in subject.notes if note.kind == "character"]
    if not people:
        return
    starts = [0, *(cut.end() for cut in _CUT.finditer(subject.prompt.action))]
    for number, (start, stop) in enumerate(pairwise([*starts, None]), 1):
        shot = subject.prompt.action[start:stop]
        vague = _SOMEBODY.search(shot)
        named = _called(shot, people)
        if vague is None or any(at <= vague.end() for at in named):
            continue
        when = "the action" if number == 1 else f"shot {number}, after the cut,"
        yield Fault(
            f"{when} says {vague.group()!r} before it names anyone (on the sheet: {', '.join(people)})",
            f"write the identifier there, e.g. {people[0]!r}: the model does not remember whom it showed",
            element=people[0] if len(people) == 1 else None,
        )


@rule("P05", "no more than two people", "warning")
def few_people(subject: _Subject) -> Iterator[Fault]:
    """Users of this adapter report that the model mixes up the looks of three or more people."""
    people = [note.id for note in subject.notes if note.kind == "character"]
    if len(people) > MAX_PEOPLE:
        yield Fault(
            f"{len(people)} people on the sheet ({', '.join(people)}; limit {MAX_PEOPLE}): "
            f"their looks tend to be mixed up",
            "make clips with two of them at a time",
        )


@rule("P04", "plain prose without labels, and no words that ask for lettering", "warning")
def prose_is_plain(subject: _Subject) -> Iterator[Fault]:
    """Markdown, position labels and words such as "logo" draw fake lettering into the video's corner. This
    rule is for the prose and inline formats. A word that is an element's name is allowed."""
    if subject.prompt.format == "markdown":
        return
    text = f"{subject.prompt.reference}\n{subject.prompt.action}"
    named = {word for n in subject.notes for word in re.split(r"[_-]", n.id)}
    marks = dict.fromkeys(m.group().strip() for m in _MARKUP.finditer(text))
    labels = dict.fromkeys(m.group() for m in _POSITION.finditer(subject.prompt.reference))
    words = dict.fromkeys(m.group() for m in _TYPOGRAPHY.finditer(text) if m.group().lower() not in named)
    for what, found, remedy in (
        ("markdown", marks, "write plain sentences, or choose the markdown format"),
        ("position labels", labels, "describe the elements and leave out where they lie on the sheet"),
        ("words that ask for lettering", words, "leave these words out, also as `no text`"),
    ):
        if found:
            listed = ", ".join(repr(f) for f in found)
            yield Fault(f"the prompt holds {len(found)} {what}: {listed}", remedy)


@rule("P06", "the text encoder reads the prompt to its end", "error")
def length_fits(subject: _Subject) -> Iterator[Fault]:
    """More words than the encoder has tokens is an error; more than 700 words may not fit."""
    count = len(subject.prompt.text.split())
    if count > LONG_WORDS:
        yield Fault(
            f"the prompt has {count} words; the encoder reads {ENCODER_TOKENS} tokens, "
            f"about {LONG_WORDS} words",
            "shorten the descriptions: five to seven attributes an element are enough",
            severity="error" if count > ENCODER_TOKENS else "warning",
        )


# Words of a description that tell no looks.
_EMPTY = frozenset(
    ["character", "person", "figure", "prop", "thing", "object", "location", "place", "scene", "picture"]
)


# Verbs of somebody who has a thing in the hands.
_HANDLED = re.compile(
    r"\b(?:lift|lifts|lifting|carry|carries|carrying|hold|holds|holding|grab|grabs|grabbing|take|takes|"
    r"taking|throw|throws|throwing|drop|drops|dropping|raise|raises|raising|swing|swings|swinging|"
    r"push|pushes|pushing|pull|pulls|pulling)\b",
    re.IGNORECASE,
)


@rule("P07", "every element is described, in words that the action uses", "warning")
def descriptions_tell(subject: _Subject) -> Iterator[Fault]:
    """No description is empty. A description that only says what kind of thing it is, and an action that
    handles something but calls no prop by any of its words, are remarks. Synonyms are not known."""
    spoken = set(re.findall(r"[^\W\d_]{3,}", subject.prompt.action.lower()))
    named = False
    for note in subject.notes:
        told = set(re.findall(r"[^\W\d_]{3,}", note.description.lower())) - _LINKS
        if not told - _EMPTY:
            said = f"only {note.description!r}" if note.description.strip() else "no description"
            yield Fault(
                f"{note.id} has {said}: the prompt does not tell its looks",
                f"write five to seven words of its looks: castsheet describe, or elements edit {note.id} "
                f"--description",
                element=note.id,
                severity="info" if note.description.strip() else "warning",
            )
        if note.kind == "prop":
            named = named or bool(spoken & told or _called(subject.prompt.action, [note.id]))
    props = [note.id for note in subject.notes if note.kind == "prop"]
    if props and not named and _HANDLED.search(subject.prompt.action):
        yield Fault(
            f"something is handled in the action, and it names no prop of the sheet ({', '.join(props)})",
            f"say {props[0]!r} in the action, or describe the prop by the action's word",
            element=props[0],
            severity="info",
        )
