"""The options of the chosen explanation method, made from its ``Parameters``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import panel as pn
import param

from vacpanel import methods, notices
from vacpanel.state import Selection
from vacpanel.views.shown import is_shown, show
from vacpanel.views.text import SELECT_CSS, line
from warehouse import UserError

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.methods import Option

WIDE: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": (6, 4)}
FOLD_CSS = ".bk-btn { border: 0; padding: 2px; text-align: left; background: none; color: inherit; }"
SAY: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": (2, 6)}


class MethodOptions(pn.viewable.Viewer):
    """One widget a parameter, folded away; the state holds those that differ from the published values.

    Only a method's class can tell what its options are, and that imports torch: it is asked on a thread, once somebody
    unfolds them or a link has set some. Those are counted but stay folded, so that the button to run keeps its place.
    """

    state = param.ClassSelector(class_=Selection, doc="The selection whose method's options are shown.")

    def __init__(self, state: Selection, **params: Any) -> None:
        super().__init__(state=state, **params)
        self._shown = ""  # the method whose widgets these are
        self._widgets: dict[str, Any] = {}
        self._options: dict[str, Option] = {}
        self._following = False
        self._says = line("", **SAY)
        self._reset = pn.widgets.Button(label="Published values", variant="outline", **WIDE)
        self._reset.on_click(self._restore)
        self._fold = pn.widgets.Button(
            variant="outline", stylesheets=[FOLD_CSS], sizing_mode="stretch_width", margin=(0, 10)
        )
        self._fold.on_click(self._folded)
        self._box = pn.Column(sizing_mode="stretch_width", margin=(0, 10))
        show(self._box, False)
        self._follow()
        pn.state.onload(self._check_link)

    async def _check_link(self) -> None:
        """Drop what the method does not know of the options in a link, and say so."""
        for method, given in self.state.parameters.items():
            for name, value in given.items():
                try:
                    await asyncio.to_thread(methods.check, method, {name: value})
                except UserError as error:
                    kept = self.state.parameters.get(method, {})
                    self.state.set_parameters(method, {key: kept[key] for key in kept if key != name})
                    notices.say(f"The link has an option that was left out. {error}")

    async def _folded(self, *_: Any) -> None:
        show(self._box, not is_shown(self._box))
        self._follow()
        await self._fill()

    @property
    def _method(self) -> str:
        """The method whose options are shown: the newest of the chosen ones."""
        return str(self.state.methods[-1])

    @param.depends("state.methods", watch=True)
    async def _fill(self, *_: param.parameterized.Event) -> None:
        """Make the widgets of the newest chosen method, unless nobody looks or they are there."""
        name = self._method
        if not is_shown(self._box) or self._shown == name:
            return
        self._box[:] = [line("Reading the options", **SAY)]
        try:
            found = await asyncio.to_thread(methods.options, name)
        except UserError as error:
            self._box[:] = [line(str(error), **SAY)]
            return
        if name != self._method:  # another one was chosen meanwhile
            return
        self._shown = name
        self._options = {option.name: option for option in found}
        self._widgets = {option.name: _widget(option) for option in found}
        self._follow()
        for widget in self._widgets.values():
            widget.param.watch(self._edited, "value")
        nothing = line(f"{methods.title(name)} has no options.", **SAY)
        shown = [_with_help(option, self._widgets[option.name]) for option in found]
        self._box[:] = [self._says, *shown, self._reset] if found else [nothing]

    def _edited(self, *_: param.parameterized.Event) -> None:
        if self._following:
            return
        values = {name: _value(option, self._widgets[name].value) for name, option in self._options.items()}
        try:
            self.state.set_parameters(self._shown, methods.check(self._shown, values))
        except UserError as error:
            self._says.object = str(error)

    def _restore(self, _: Any) -> None:
        self.state.set_parameters(self._method, {})
        self._follow()  # also when only a widget differs, because its value cannot be used

    @param.depends("state.methods", "state.parameters", watch=True)
    def _follow(self) -> None:
        changed = self.state.parameters.get(self._method, {})
        arrow = "▾" if is_shown(self._box) else "▸"
        of = f"Options of {methods.title(self._method)}" if len(self.state.methods) > 1 else "Options"
        self._fold.label = f"{arrow} {of} ({len(changed)} changed)" if changed else f"{arrow} {of}"
        self._says.object = ""
        if self._shown != self._method:
            return
        self._following = True
        for name, option in self._options.items():
            with suppress(ValueError):  # a value that no widget can hold; running the task says what is wrong with it
                self._widgets[name].value = _shown(option, changed.get(name, option.default))
        self._following = False

    def __panel__(self) -> Viewable:
        """Return the button that unfolds the options, and the options."""
        return pn.Column(self._fold, self._box, sizing_mode="stretch_width", margin=0)


def _widget(option: Option) -> Any:
    common = {"label": option.name.replace("_", " "), "description": option.help or None, **WIDE}
    if option.kind is bool:
        return pn.widgets.Checkbox(label=common["label"], margin=WIDE["margin"])
    if option.choices:
        return pn.widgets.Select(
            stylesheets=[SELECT_CSS], options=[*([None] if option.may_be_none else []), *option.choices], **common
        )
    return pn.widgets.TextInput(placeholder="none" if option.may_be_none else "", **common)


def _with_help(option: Option, widget: Any) -> Any:
    """Put help beside a checkbox, which has no place for it of its own."""
    if option.kind is not bool or not option.help:
        return widget
    return pn.Row(widget, pn.widgets.TooltipIcon(value=option.help, margin=(6, 0)), margin=0)


def _shown(option: Option, value: Any) -> Any:
    """Return a parameter as its widget holds it: what is typed is text, and no text is None."""
    if option.kind is bool or option.choices:
        return value
    return "" if value is None else str(value)


def _value(option: Option, shown: Any) -> Any:
    """Return the parameter that a widget holds; text that is none is left for the method to refuse."""
    if option.kind in {int, float} and isinstance(shown, str) and not option.choices:
        with suppress(ValueError):
            return option.kind(shown)
    return None if shown == "" and option.may_be_none else shown
