"""Pydantic models derived from signatures: a config value is a keyword argument of the thing it configures."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable
from functools import cache, partial, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from lopgym.kinds import KindOf
from lopgym.registry import Registry, nearest
from lopgym.schedules import Schedule, schedules
from lopgym.yaml_scalars import scalar


def _number(value: Any) -> Any:
    """Refuse what Python takes for a number and a person does not."""
    if isinstance(value, bool):
        raise PydanticCustomError("not_a_number", "Input should be a number, not a bool")
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("not_finite", "Input should be a finite number")
    if isinstance(value, str) and _is_number(value):
        raise PydanticCustomError("not_a_number", "Input should be a number, not text; write it without quotes")
    return value


def _is_number(text: str) -> bool:
    try:
        value = scalar(text)
    except ValueError:
        return True  # one that does not fit
    return isinstance(value, int | float) and math.isfinite(value)


Int = Annotated[int, BeforeValidator(_number)]
Float = Annotated[float, BeforeValidator(_number)]
Bool = Annotated[bool, Strict()]
_STRICT: dict[Any, Any] = {int: Int, float: Float, bool: Bool}


class Options(BaseModel):
    """Base of every derived model: strict about names, frozen, and helpful about misspelt ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False, protected_namespaces=())

    def plain(self) -> dict[str, Any]:
        """Return the options as JSON and YAML know them: lists for tuples, strings for paths."""
        return self.model_dump(mode="json")

    @model_validator(mode="wrap")
    @classmethod
    def _explain_faults(cls, data: Any, validate: ModelWrapValidatorHandler[Options]) -> Options:
        """Say in each error what was probably meant; their places are kept."""
        try:
            return validate(data)
        except ValidationError as error:
            faults = [_explained(fault, set(cls.model_fields) - {"kind"}) for fault in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, faults) from None


class Kind(Options):
    """Options of a registered thing: `kind` is its name."""

    kind: str


def _explained(fault: Any, known: set[str]) -> InitErrorDetails:
    kind, message = _MEANINGS.get(fault["type"], _as_it_is)(fault, known)
    return InitErrorDetails(
        type=PydanticCustomError(kind, "{message}", {"message": message}), loc=fault["loc"], input=fault["input"]
    )


def _as_it_is(fault: Any, known: set[str]) -> tuple[Any, str]:
    return fault["type"], fault["msg"]


def _unknown_option(fault: Any, known: set[str]) -> tuple[Any, str]:
    # Deeper faults of this type were explained by the model that they are in.
    return "unknown_option", f"unknown option; {nearest(str(fault['loc'][-1]), known)}"


def _unknown_kind(fault: Any, known: set[str]) -> tuple[Any, str]:
    kinds = re.findall(r"'([^']*)'", fault["ctx"]["expected_tags"])
    return "unknown_kind", f"no kind {fault['ctx']['tag']!r}; {nearest(str(fault['ctx']['tag']), kinds)}"


def _no_kind(fault: Any, known: set[str]) -> tuple[Any, str]:
    return "no_kind", "it has no `kind`, which says what the other options are for"


def _unknown_word(fault: Any, known: set[str]) -> tuple[Any, str]:
    words = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
    return "unknown_word", f"not allowed; {nearest(str(fault['input']), words)}"


def _refused(fault: Any, known: set[str]) -> tuple[Any, str]:
    return "refused", str(fault["ctx"]["error"])


def _not_text(fault: Any, known: set[str]) -> tuple[Any, str]:
    return "not_text", "Input should be text"


def _missing(fault: Any, known: set[str]) -> tuple[Any, str]:
    return "not_given", "needed; it has no default"


_MEANINGS: dict[str, Callable[[Any, set[str]], tuple[Any, str]]] = {
    "extra_forbidden": _unknown_option,
    "union_tag_invalid": _unknown_kind,
    "union_tag_not_found": _no_kind,
    "literal_error": _unknown_word,
    "value_error": _refused,
    "missing": _missing,
    "path_type": _not_text,
}


@cache
def derive(make: Callable[..., Any], kind: str, base: type[Options] = Kind, without: tuple[str, ...] = ()) -> Any:
    """Turn the keyword-only parameters of `make`, less those in `without`, into a model tagged `kind`.

    What can be made of its options alone, a schedule or a mitigation, is made once on validation: options that
    contradict each other are refused in its own words.
    """
    parameters = inspect.signature(make).parameters.values()
    chosen = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in without]
    hints = _hints(make, {p.name for p in chosen})
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)} if issubclass(base, Kind) else {}
    fields |= {p.name: (configurable(hints[p.name]), ... if p.default is p.empty else p.default) for p in chosen}
    checks = {"makes_sense": _makes_sense(make)} if len(chosen) == len(parameters) else {}
    model: Any = create_model(
        make.__name__, __base__=base, __doc__=inspect.getdoc(make), __validators__=checks, **fields
    )
    return model


@cache
def any_of(registry: Registry[Any], *more: Any) -> Any:
    """The options of any entry of the registry, told apart by their `kind`."""
    return one_of(*(derive(entry.make, entry.name) for entry in registry), *more)


def one_of(*models: Any) -> Any:
    """One of several models with different `kind`s."""
    return Annotated[reduce(or_, models), Field(discriminator="kind")] if len(models) > 1 else models[0]


def defaults(model: type[Options]) -> dict[str, Any]:
    """The options of `model` that have a default, as a config shows them."""
    fields = model.model_fields.items()
    return {name: f.get_default(call_default_factory=True) for name, f in fields if not f.is_required()}


def _hints(make: Callable[..., Any], names: set[str]) -> dict[str, Any]:
    """Resolve the annotations of some parameters; others may name things that are imported for type checkers only."""
    if dataclasses.is_dataclass(make):
        return get_type_hints(make, include_extras=True)  # each field in the module of the class that declares it
    function: Any = make.__init__ if isinstance(make, type) else make  # type: ignore[misc]  # read, never called

    def wanted() -> None:
        """Carry the annotations."""

    wanted.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if name in names}
    return get_type_hints(wanted, globalns=function.__globals__, include_extras=True)


def _makes_sense(make: Callable[..., Any]) -> Any:
    def check(options: Options) -> Options:
        make(**{name: value for name, value in options.model_dump().items() if name != "kind"})
        return options

    return model_validator(mode="after")(check)


def configurable(hint: Any) -> Any:
    """Make a type hint strict where pydantic is lax, and `Schedule`, however deep inside, a choice of schedules."""
    if hint in _STRICT:
        return _STRICT[hint]
    if hint is Schedule:
        return Annotated[Any, PlainValidator(_schedule)]
    origin, args = get_origin(hint), get_args(hint)
    if not args or origin is Literal:
        return hint
    if origin is Annotated:
        for mark in (mark for mark in hint.__metadata__ if isinstance(mark, KindOf)):
            return Annotated[Any, PlainValidator(partial(_entry, mark.registry))]
        return Annotated[(configurable(args[0]), *hint.__metadata__)]
    inner = tuple(configurable(argument) for argument in args)
    return reduce(or_, inner) if origin in (Union, UnionType) else origin[inner]


def _schedule(value: Any) -> Any:
    """Validate a schedule when it comes, not before: schedules may hold schedules. A bare number is a constant."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return _any_schedule().validate_python({"kind": "constant", "value": value} if number else value)


def _entry(registry: Registry[Any], value: Any) -> Any:
    """Validate the options of an entry when they come. A bare name stays one: it stands for the defaults."""
    checked = _any_entry(registry).validate_python({"kind": value} if isinstance(value, str) else value)
    return value if isinstance(value, str) else checked


@cache
def _any_entry(registry: Registry[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(any_of(registry))


@cache
def _any_schedule() -> TypeAdapter[Any]:
    return TypeAdapter(any_of(schedules))
