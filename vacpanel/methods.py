"""Explanation methods as a person meets them: in which order, under which name, at what price.

Their classes import torch, which takes seconds, and nobody should wait for that before asking for an explanation. So
what the page says about the built-in methods stands here, and a test compares it with the classes.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from etl.plugins import METHODS, load, plugins
from vacpanel.words import count

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPICAL_CHANNELS = 1280  # of an explained layer, for the price of a method that scores every channel
LONG = 50  # forward passes: seconds on a CPU

# Title and forward passes of the built-in methods, those of the paper first.
_BUILT_IN = {
    "grad-cam": ("Grad-CAM", 1.0),
    "grad-cam++": ("Grad-CAM++", 1.0),
    "smooth-grad-cam++": ("Smooth Grad-CAM++", 9.0),
    "score-cam": ("Score-CAM", 1.0 + TYPICAL_CHANNELS),
    "bbmp": ("BBMP", 785.0),
    "layer-cam": ("LayerCAM", 1.0),
    "integrated-gradients": ("Integrated Gradients", 126.0),
    "occlusion": ("Occlusion", 102.0),
}


def title(name: str) -> str:
    """Return a method's name as its paper prints it; plug-ins go by the name of their entry point."""
    return _BUILT_IN[name][0] if name in _BUILT_IN else name


def described(name: str, given: Mapping[str, Any]) -> str:
    """Return a method's name with the parameters that it was given."""
    return ", ".join([title(name), *(f"{parameter} {value}" for parameter, value in given.items())])


def price(name: str) -> str:
    """Say what an explanation costs; empty for a plug-in, which only its class can tell."""
    return in_words(_BUILT_IN[name][1]) if name in _BUILT_IN else ""


def in_words(passes: float) -> str:
    """Say how long so many forward passes take."""
    return "takes long" if passes > LONG else f"about {count(round(passes), 'forward pass')}"


def choices() -> dict[str, str]:
    """Return the name of every installed method by what a list shows for it."""
    known = plugins(METHODS)
    names = [name for name in _BUILT_IN if name in known] + [name for name in known if name not in _BUILT_IN]
    return {f"{title(name)} ({price(name)})" if price(name) else title(name): name for name in names}


@dataclass(frozen=True)
class Option:
    """One parameter of a method.

    Attributes
    ----------
    name, default
        As in the method's ``Parameters``.
    kind
        ``bool``, ``int``, ``float`` or ``str``.
    choices
        The values that it can have; empty where any is good.
    may_be_none
        Whether None is a value, too.
    help
        What the docstring says.
    """

    name: str
    default: Any
    kind: type
    choices: tuple[Any, ...] = ()
    may_be_none: bool = False
    help: str = ""


def options(name: str) -> list[Option]:
    """Return the parameters of a method that can be set by hand; imports the method, and torch with it.

    Parameters of other types than numbers, texts and choices are left to Python.

    Raises
    ------
    PluginError
        If there is no such method, or it cannot be loaded.
    """
    parameters = load(METHODS, name).Parameters
    hints, helps, defaults = typing.get_type_hints(parameters), _docs(parameters), parameters()
    found = []
    for entry in dataclasses.fields(parameters):
        kinds = _members(hints[entry.name])
        literals = tuple(value for kind in kinds if typing.get_origin(kind) is Literal for value in kind.__args__)
        plain = {type(value) for value in literals} or {kind for kind in kinds if kind is not types.NoneType}
        if len(plain) == 1 and plain <= {bool, int, float, str}:
            default, may_be_none = getattr(defaults, entry.name), types.NoneType in kinds
            found.append(
                Option(entry.name, default, plain.pop(), literals, may_be_none, helps.get(entry.name, "")),
            )
    return found


def check(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return those of the values that differ from the published ones.

    Raises
    ------
    UserError
        If the method has no such parameter, or the value is out of range.
    """
    from etl.explain.protocol import parameters_of

    method = load(METHODS, name)
    chosen = dataclasses.asdict(parameters_of(method, values))
    return {key: value for key, value in chosen.items() if value != getattr(method.Parameters(), key)}


def _members(hint: Any) -> tuple[Any, ...]:
    """Return what a type hint allows: ``int | None`` allows ``int`` and ``NoneType``."""
    return typing.get_args(hint) if typing.get_origin(hint) in {types.UnionType, typing.Union} else (hint,)


def _docs(parameters: type) -> dict[str, str]:
    """Return what the section "Parameters" of a NumPy-style docstring says of each name."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in inspect.cleandoc(parameters.__doc__ or "").splitlines():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.split(":")[0].split(",")]
        elif line:
            for name in names:
                found.setdefault(name, []).append(line.strip().replace("``", ""))
    return {name: " ".join(lines) for name, lines in found.items()}
