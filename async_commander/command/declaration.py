"""What a command class declares, as one value: its arguments, its options, its hooks; built and checked once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from weakref import WeakKeyDictionary

from async_commander.engine.limits import BOUNDS, Batches, Limits, Retry
from async_commander.exceptions import InvalidCommand

from .annotations import is_ours, label_of
from .arguments import Argument, arguments_of
from .cached import Caching, cached_of
from .dependencies import ALLOWED, DependsOn, dependencies_in
from .hooks import Declaring, Hook, HookSpec, Stages, check_hooks, hooks_of, specs_of
from .options import (
    ALWAYS_GIVEN,
    BRINGS_ARGUMENTS,
    BY_NAME,
    CACHED,
    DELETES,
    GIVEN_BY_DJANGO,
    ITEMS,
    KEPT,
    KEPT_ITEMS,
    ON_THE_LINE,
    SHARED,
    TURNS,
)
from .parser import ExtraOption, extra_options, spelt_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A command class, read. Whoever needs to know what a class declares asks here."""

    arguments: Mapping[str, Argument]
    """From its annotations, those of its bases first."""
    extra: Mapping[str, ExtraOption]
    """From `add_arguments()`, by the names of the values."""
    spelt: Mapping[str, str]
    """What those values may be called in a call, with their names."""
    specs: Mapping[str, HookSpec]
    """The hooks that its shape knows."""
    hooks: Mapping[str, Hook]
    """Those that its author wrote."""
    stages: Stages | None
    """The way of its items; None where it has none, and does one job in `handle()`."""
    dependencies: tuple[DependsOn, ...]
    """Runs that must have succeeded before."""
    test_values: Mapping[str, Any]
    """What stands for what is not given, in a trial run: `test_parameters` and `test_options` together."""
    has_test_values: bool
    """Whether its author said what a trial run is, were it that nothing has to be given."""
    cached: Mapping[str, Caching]
    """The methods whose results are kept."""
    keeps_history: bool
    """Whether its items have rows in the ledger."""
    claims: frozenset[str]
    """What its kind takes in any case, whether or not it has it."""
    deletes: bool
    """Whether it deletes rows, where `--delete` says so."""
    takes_turns: bool
    """Whether runs of it keep each other out: it says `run_once` or `single_instance`."""
    lives_by: frozenset[str]
    """Shared options that are rare elsewhere, and that its class has to do with: `force` where it is to run once."""

    @property
    def names(self) -> set[str]:
        """What the class takes by itself; no shared options."""
        return {*self.arguments, *self.spelt}

    @property
    def has_items(self) -> bool:
        """Whether it hands out items."""
        return self.stages is not None

    @property
    def features(self) -> frozenset[str]:
        """What it has, of what shared options need."""
        has = {
            ITEMS: self.has_items,
            KEPT: self.keeps_history,
            KEPT_ITEMS: self.has_items and self.keeps_history,
            CACHED: self.cached,
            TURNS: self.takes_turns,
            DELETES: self.deletes,
        }
        return self.claims | {name for name, there in has.items() if there}


_TEST_VALUES = {"test_parameters", "test_options"}

_declarations: WeakKeyDictionary[type, Declaration] = WeakKeyDictionary()


def declaration_of(cls: type[Declaring]) -> Declaration:
    """What a class declares.

    Raises InvalidCommand, with what was found, what is allowed and what to do, for the first thing that is wrong.
    """
    found = _declarations.get(cls)
    if found is not None:
        return found
    check_hooks(cls)
    if abstract := getattr(cls, "__abstractmethods__", ()):
        raise InvalidCommand(f"{label_of(cls)} leaves {', '.join(sorted(abstract))} abstract: write what is missing")
    arguments, extra, specs = arguments_of(cls), extra_options(cls), specs_of(cls)
    options = [*(name for name, each in arguments.items() if not each.in_identity), *extra]
    found = Declaration(
        arguments=arguments,
        extra=extra,
        spelt=spelt_names(cls),
        specs=specs,
        hooks=hooks_of(cls),
        stages=cls._stages,
        dependencies=_dependencies(cls),
        test_values=_test_values(cls),
        has_test_values=any(vars(base).keys() & _TEST_VALUES for base in cls.__mro__ if not is_ours(base)),
        cached=cached_of(cls, specs, options),
        keeps_history=keeps_history(cls),
        claims=cls._features,
        deletes=bool(cls.deletes),
        takes_turns=bool(cls.run_once or cls.single_instance),
        lives_by=frozenset(
            {
                *(["force"] if cls.run_once else []),
                *(["run_dependencies", "ignore_dependencies"] if cls.dependencies else []),
                *(cls.limits.given if isinstance(cls.limits, Limits) else []),
                *cls.option_defaults,
            }
        ),
    )
    # A hook that takes values by their names asks for such as there are.
    known = [*found.arguments, *found.extra, *sorted(GIVEN_BY_DJANGO), *sorted(ALWAYS_GIVEN)]
    for name, hook in found.hooks.items():
        for parameter in hook.named.required if hook.named else ():
            if parameter not in known:
                raise InvalidCommand(
                    f"{label_of(cls)}.{name}() asks for {parameter!r}, which is neither an argument nor an option; "
                    f"allowed: `{name}(self)`, `{name}(self, *args, **options)`, and as parameters {', '.join(known)}"
                )
    for name, (allowed, fits) in _ATTRIBUTES.items():
        value = getattr(cls, name)
        if not fits(value):
            raise InvalidCommand(f"{label_of(cls)}: {name} is {value!r:.80}; allowed: {allowed}")
    gathers = "parse_and_save_many" in found.hooks
    has_batches = any("batches" in vars(base) for base in cls.__mro__ if not is_ours(base))
    if not gathers and ("batch_key" in found.hooks or has_batches):
        what = "batch_key()" if "batch_key" in found.hooks else "batches"
        raise InvalidCommand(f"{label_of(cls)}: {what} has no effect without parse_and_save_many(): write that, too")
    if cls.always_on and cls.run_once:
        raise InvalidCommand(f"{label_of(cls)}: always_on has no end that run_once could count; leave one of them out")
    _check_shared(cls, "option_defaults", cls.option_defaults, found.features)
    _check_test_values(cls, found)
    _declarations[cls] = found
    return found


def keeps_history(cls: type[Declaring]) -> bool:
    """Whether the items of a class have rows in the ledger: asked for each item, and so not of its declaration."""
    return not cls.always_on if cls.keep_history is None else cls.keep_history


def filled_in(cls: type[Declaring], given: Mapping[str, Any], *, own: bool = True) -> dict[str, Any]:
    """What was asked of a run, by name: given, else, in a trial run, its test values, else its `option_defaults`.

    Without `own` the command has its own arguments from elsewhere: only shared options are filled in.
    """
    asked = {**cls.option_defaults, **given}
    if any(given.get(name) is not None for name in BRINGS_ARGUMENTS):
        asked["resume"] = bool(given.get("resume"))  # the class may go on with any run: not where one is named
    if asked.get("dry_run"):
        asked["resume"] = bool(given.get("resume"))  # it is refused where somebody asks for both
    if given.get("retry_failed") is not None and given.get("max_items") is None:
        asked.pop("max_items", None)  # of new items, of which there are none
    if not asked.get("test"):
        return asked
    declared = declaration_of(cls)
    named = {declared.spelt.get(name, name) for name in given}
    fitting = {
        name: value
        for name, value in declared.test_values.items()
        if name not in named and (own or name not in declared.names)
    }
    return {**asked, **fitting}


def check_acting(cls: type[Declaring], given: Mapping[str, Any]) -> None:
    """InvalidCommand for a shared option that was given and has no effect: the command has no items, or the like."""
    features = declaration_of(cls).features
    for option in SHARED:
        value = given.get(option.name)
        if not option.acts_on(features) and value is not None and value is not False:
            raise InvalidCommand(
                f"{option.name}={value!r:.80} has no effect here: {label_of(cls)} has no {option.needs}"
            )


_NEAR = 0.88
"""How alike a name and its misspelling are, as difflib counts: `commited` and `committed` are .94."""


def idle_names(cls: type[Declaring]) -> Iterator[tuple[type, str, str]]:
    """What an author's class defines and nothing reads, and what was probably meant: the class, the name, the remedy.

    Only what looks like a misspelt optional hook or attribute, or is a bound outside of `limits`: a helper, or a
    constant, of the author's own may have any other name.
    """
    declared = declaration_of(cls)
    own = [base for base in cls.__mro__ if not is_ours(base)]
    given = {name for base in own for name in vars(base)} | declared.arguments.keys()
    methods = {each.replace("_", ""): each for each in {*declared.specs, "add_arguments"} - given}
    attributes = {each.replace("_", ""): each for each in _ATTRIBUTES.keys() - given}
    for base in own:
        for name, value in vars(base).items():
            if name.startswith("_") or name in declared.arguments or name in declared.specs or name in _ATTRIBUTES:
                continue
            known = methods if callable(value) or isinstance(value, staticmethod | classmethod) else attributes
            near = get_close_matches(name.replace("_", "").lower(), known, n=1, cutoff=_NEAR)
            if near:
                yield base, name, known[near[0]]
            elif name in BOUNDS and known is attributes:
                yield base, name, f"limits = ac.Limits({name}=…)"


def _dependencies(cls: type[Declaring]) -> tuple[DependsOn, ...]:
    try:
        return dependencies_in(cls.dependencies)
    except TypeError as error:
        raise InvalidCommand(f"{label_of(cls)}: dependencies cannot be read: {error}; allowed: {ALLOWED}") from None


def _test_values(cls: type[Declaring]) -> dict[str, Any]:
    """By the names that the values have, whatever the class calls them. What is no dict is named later."""
    spelt, given = spelt_names(cls), (cls.test_parameters, cls.test_options)
    together = {name: value for each in given if isinstance(each, Mapping) for name, value in each.items()}
    return {spelt.get(name, name): value for name, value in together.items()}


def _check_test_values(cls: type[Declaring], declared: Declaration) -> None:
    """Test values are of the command's own arguments, and fit; or are shared options that act on it."""
    shared = {}
    for name, value in declared.test_values.items():
        if name in declared.arguments:
            try:
                declared.arguments[name].accept(value)
            except ValueError as error:
                raise InvalidCommand(f"{label_of(cls)}: the test value of {name!r} does not fit: {error}") from None
        elif name not in declared.extra:
            shared[name] = value
    if "test" in shared:
        raise InvalidCommand(f"{label_of(cls)}: 'test' is no test value: --test says it by itself; leave it out")
    _check_shared(cls, "test_options", shared, declared.features, own=declared.names)


def _check_shared(
    cls: type[Declaring],
    attribute: str,
    values: Mapping[str, Any],
    features: frozenset[str],
    *,
    own: Collection[str] = (),
) -> None:
    """The class gives shared options that act on the command values that they can have."""
    acting = {option.name for option in SHARED if option.written is not None and option.acts_on(features)}
    for name, value in values.items():
        if name in ON_THE_LINE - acting:
            raise InvalidCommand(
                f"{label_of(cls)}: {attribute} names {name!r}, which has no effect here: this command has no "
                f"{BY_NAME[name].needs}; leave it out"
            )
        if name not in acting:
            known = {*acting, *own}
            close = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(sorted(known))}"
            raise InvalidCommand(f"{label_of(cls)}: {attribute} names {name!r}, which does not exist; {hint}")
        if value is None and BY_NAME[name].bound is None:
            problem = f"{name}=None: leave it out"
        else:
            problem = BY_NAME[name].problem(value)
        if problem:
            raise InvalidCommand(f"{label_of(cls)}: {attribute} gives {name!r} a value that does not fit: {problem}")


def _is_a(*types: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, types)


_YES_OR_NO = ("True or False", _is_a(bool))
_A_DICT = ("a dict of values by name", _is_a(Mapping))
_ATTRIBUTES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "limits": ("ac.Limits(…)", _is_a(Limits)),
    "retry": ("ac.Retry(…)", _is_a(Retry)),
    "batches": ("ac.Batches(…)", _is_a(Batches)),
    "help": ("a text", _is_a(str)),
    "option_defaults": _A_DICT,
    "dependencies": (ALLOWED, lambda value: isinstance(value, Sequence) and not isinstance(value, str)),
    "test_parameters": _A_DICT,
    "test_options": _A_DICT,
    "run_once": _YES_OR_NO,
    "single_instance": _YES_OR_NO,
    "always_on": _YES_OR_NO,
    "deletes": _YES_OR_NO,
    "keep_history": ("True, False or None", lambda value: value is None or isinstance(value, bool)),
    "keep_values": _YES_OR_NO,
    "mail_admins": ("True, False or None", lambda value: value is None or isinstance(value, bool)),
    "provenance": _YES_OR_NO,
    "requires_system_checks": (
        '"__all__" or a list of tags',
        lambda value: value == "__all__" or (isinstance(value, Sequence) and not isinstance(value, str)),
    ),
    "requires_migrations_checks": _YES_OR_NO,
}
