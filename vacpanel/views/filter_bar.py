"""The cross-filter as a person sees it: what counts, as chips and as the one SQL condition that all views share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import panel as pn
import param
from panel.custom import JSComponent
from panel.io import hold

from vacpanel.palette import root_colors
from vacpanel.state import Selection
from vacpanel.words import count, thousands
from warehouse.predicate import EVERYTHING, Predicate

if TYPE_CHECKING:
    from panel.models.esm import DataEvent
    from panel.viewable import Viewable

    from warehouse import Warehouse

ANSWERS = {"": None, "right": True, "wrong": False}


class FilterBar(pn.viewable.Viewer):
    """Chips of the filter's conditions, controls for those that no plot sets, and its SQL, to be copied.

    Parameters
    ----------
    warehouse, state
        As of a `View`.
    """

    state = param.ClassSelector(class_=Selection, doc="The selection whose filter is shown.")

    def __init__(self, warehouse: Warehouse, state: Selection, **params: Any) -> None:
        super().__init__(state=state, **params)
        self.warehouse = warehouse
        self._bar = FilterControls(sizing_mode="stretch_width", margin=(2, 4))
        self._bar.on_msg(self._asked)
        self._offer()
        self._follow()

    @param.depends("state.generation", watch=True)
    def _offer(self) -> None:
        """Offer the models and roots that there are."""
        table = self.warehouse.models()
        colors = root_colors(self.warehouse.roots())
        self._labels = dict(zip(map(str, table["model"]), map(str, table["label"]), strict=True))
        self._bar.param.update(
            models=[[model, label] for model, label in self._labels.items()],
            roots=[[root, root, colors[root]] for root in colors],
        )
        self._follow()

    @param.depends("state.filter", watch=True)
    def _follow(self) -> None:
        where: Predicate = self.state.filter
        tally = self.warehouse.tally(where)
        left = int((tally.images if where.correct is None else tally.right1).sum())
        of = int(self.warehouse.tally().images.sum())
        self._bar.param.update(
            chips=self._chips(where),
            chosen={"models": list(where.models), "roots": list(where.roots)},
            answers={None: "", True: "right", False: "wrong"}[where.correct],
            bounds=[where.min_confidence, where.max_confidence],
            sql=f"SELECT * FROM predictions WHERE {where.sql()}",
            counted=f"{thousands(left)} of {count(of, 'prediction')}" if where else count(of, "prediction"),
        )

    def _chips(self, where: Predicate) -> list[list[str]]:
        """Return (conditions to lift, text) of every condition that is set."""
        chips = []
        if where.models:
            names = [self._labels.get(model, model) for model in where.models]
            chips.append(["models", names[0] if len(names) == 1 else count(len(names), "model")])
        if where.roots:
            chips.append(["roots", ", ".join(where.roots) if len(where.roots) < 3 else f"{len(where.roots)} roots"])
        if where.classes:
            names = [str(name) for name in self.warehouse.classes()["class_name"]]
            first = where.classes[0]
            one = names[first] if len(where.classes) == 1 and first < len(names) else ""
            chips.append(["classes", one or count(len(where.classes), "class")])
        if where.images:
            chips.append(["images", count(len(where.images), "image")])
        if where.correct is not None:
            chips.append(["correct", "right answers" if where.correct else "wrong answers"])
        low, high = where.min_confidence, where.max_confidence
        if low is not None or high is not None:
            text = f"{0 if low is None else low:.0%} to {1 if high is None else high:.0%}"
            chips.append(["min_confidence max_confidence", f"confidence {text}"])
        return chips

    def _asked(self, event: DataEvent) -> None:
        """Do what the page asks for: set conditions, or lift them. Only known names and values count."""
        asked = event.data if isinstance(event.data, dict) else {}
        with hold():
            if asked.get("reset"):
                self.state.filter = EVERYTHING
            elif isinstance(asked.get("lift"), str):
                names = {name for name in asked["lift"].split() if name in Predicate.__dataclass_fields__}
                self.state.filter = self.state.filter.without(*names)
            elif asked.get("answers") in ANSWERS:
                self.state.filter = self.state.narrowed(correct=ANSWERS[asked["answers"]])
            elif isinstance(asked.get("bounds"), list) and len(asked["bounds"]) == 2:
                low, high = (
                    min(max(float(b), 0.0), 1.0) if isinstance(b, int | float) else None for b in asked["bounds"]
                )
                if low is not None and high is not None and low > high:
                    low, high = high, low
                self.state.filter = self.state.narrowed(min_confidence=low, max_confidence=high)
            elif isinstance(asked.get("models"), list):
                self.state.filter = self.state.narrowed(models=tuple(m for m in self._labels if m in asked["models"]))
            elif isinstance(asked.get("roots"), list):
                roots = tuple(root for root in self.warehouse.roots() if root in asked["roots"])
                self.state.filter = self.state.narrowed(roots=roots)

    def __panel__(self) -> Viewable:
        """Return the bar."""
        return self._bar


class FilterControls(JSComponent):
    """What `FilterBar` shows; reports what is asked for as messages."""

    chips = param.List(default=[], doc="[names of conditions, text] of every condition that is set.")
    models = param.List(default=[], doc="[value, name] of every model.")
    roots = param.List(default=[], doc="[value, name, colour] of every root class.")
    chosen = param.Dict(default={}, doc="Which models and roots are conditions.")
    answers = param.String(default="", doc="'', 'right' or 'wrong'.")
    bounds = param.List(default=[None, None], doc="Bounds of the confidence, in [0, 1], or None.")
    sql = param.String(default="", doc="The filter as a query.")
    counted = param.String(default="", doc="How much it leaves.")

    _esm = """
    export function copyText(text, button, said) {
      const done = () => { const before = button.textContent; button.textContent = said
        setTimeout(() => { button.textContent = before }, 1200) }
      const by_hand = () => { const area = document.createElement("textarea"); area.value = text
        document.body.append(area); area.select(); document.execCommand("copy"); area.remove(); done() }
      // The clipboard is there on https and localhost only.
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, by_hand)
      else by_hand()
    }

    export function render({ model }) {
      const bar = document.createElement("div")
      bar.className = "bar"
      bar.innerHTML = `
        <span class="head">Filter</span>
        <span class="answers" role="group" aria-label="Answers that count">
          <button type="button" data-answers="">all</button><button type="button" data-answers="right">right ✓</button
          ><button type="button" data-answers="wrong">wrong ✗</button></span>
        <span class="bounds">confidence <input type="number" min="0" max="100" step="5" placeholder="0"
          aria-label="Lowest confidence in percent"> to <input type="number" min="0" max="100" step="5"
          placeholder="100" aria-label="Highest confidence in percent"> %</span>
        <details data-kind="roots"><summary>root classes</summary><div class="menu"></div></details>
        <details data-kind="models"><summary>models</summary><div class="menu"></div></details>
        <span class="chips" aria-label="Conditions of the filter"></span>
        <span class="counted"></span>
        <details class="sql"><summary>SQL</summary><div class="menu"><code></code><button type="button">copy</button>
          </div></details>
        <button type="button" class="reset">clear filter</button>`
      const $ = (selector) => bar.querySelector(selector)
      const [low, high] = bar.querySelectorAll(".bounds input")

      for (const button of bar.querySelectorAll(".answers button"))
        button.addEventListener("click", () => model.send_msg({ answers: button.dataset.answers }))
      const number = (field) => (field.value === "" ? null : Number(field.value) / 100)
      for (const field of [low, high])
        field.addEventListener("change", () => model.send_msg({ bounds: [number(low), number(high)] }))
      $(".reset").addEventListener("click", () => model.send_msg({ reset: true }))
      $(".sql button").addEventListener("click", (event) => copyText(model.sql, event.target, "copied"))
      // A menu closes when something else is looked at.
      bar.addEventListener("toggle", (event) => {
        if (event.target.open)
          for (const other of bar.querySelectorAll("details[open]")) if (other !== event.target) other.open = false
      }, true)
      bar.addEventListener("keydown", (event) => {
        const menu = event.key === "Escape" && event.target.closest("details[open]")
        if (menu) { menu.open = false; menu.querySelector("summary").focus() }
      })
      bar.addEventListener("focusout", (event) => {
        const menu = event.target.closest("details[open]")
        if (menu && event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false
      })

      function drawMenu(kind) {
        $(`[data-kind="${kind}"] .menu`).replaceChildren(...model[kind].map(([value, name, color]) => {
          const row = document.createElement("label")
          const box = document.createElement("input")
          box.type = "checkbox"
          box.value = value
          box.addEventListener("change", () => {
            const boxes = [...bar.querySelectorAll(`[data-kind="${kind}"] input:checked`)]
            model.send_msg({ [kind]: boxes.map((checked) => checked.value) })
          })
          row.append(box)
          if (color) {
            const dot = document.createElement("span")
            dot.className = "dot"
            dot.style.background = color
            row.append(dot)
          }
          row.append(document.createTextNode(name))
          return row
        }))
        mark()
      }

      function mark() {
        for (const kind of ["models", "roots"])
          for (const box of bar.querySelectorAll(`[data-kind="${kind}"] input`))
            box.checked = (model.chosen[kind] ?? []).includes(box.value)
      }

      function drawChips() {
        $(".chips").replaceChildren(...model.chips.map(([lift, text]) => {
          const chip = document.createElement("button")
          chip.type = "button"
          chip.dataset.lift = lift
          chip.textContent = text
          chip.title = `Lift the condition: ${text}`
          chip.addEventListener("click", () => model.send_msg({ lift }))
          return chip
        }))
        $(".reset").hidden = !model.chips.length
      }

      function drawRest() {
        for (const button of bar.querySelectorAll(".answers button"))
          button.setAttribute("aria-pressed", String(button.dataset.answers === model.answers))
        for (const [field, bound] of [[low, model.bounds[0]], [high, model.bounds[1]]])
          field.value = bound == null ? "" : Math.round(bound * 1000) / 10
        $(".counted").textContent = model.counted
        $(".sql code").textContent = model.sql
      }

      model.on("models", () => drawMenu("models"))
      model.on("roots", () => drawMenu("roots"))
      model.on("chosen", mark)
      model.on("chips", drawChips)
      for (const name of ["answers", "bounds", "sql", "counted"]) model.on(name, drawRest)
      drawMenu("models"); drawMenu("roots"); drawChips(); drawRest()
      return bar
    }
    """

    _stylesheets: ClassVar[list[str]] = [
        """
    :host { position: relative; z-index: 5; overflow: visible; }
    .bar { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 10px; padding: 3px 6px;
           font: 12px var(--bokeh-base-font, system-ui, sans-serif); color: inherit; }
    .head { font-weight: 600; }
    button, summary { font: inherit; color: inherit; cursor: pointer; }
    .answers { display: inline-flex; border: 1px solid rgba(128, 128, 128, .5); border-radius: 6px; overflow: hidden; }
    .answers button { border: 0; background: none; padding: 2px 8px; }
    .answers button[aria-pressed="true"] { background: #0072B2; color: white; }
    .answers button[data-answers="wrong"][aria-pressed="true"] { background: #E69F00; color: black; }
    .bounds input { width: 48px; font: inherit; color: inherit; background: none; padding: 1px 3px;
                    border: 1px solid rgba(128, 128, 128, .5); border-radius: 4px; }
    details { position: relative; }
    summary { padding: 2px 6px; border: 1px solid rgba(128, 128, 128, .5); border-radius: 6px; }
    .menu { position: absolute; top: 100%; left: 0; z-index: 20; min-width: 170px; max-height: 320px; overflow-y: auto;
            margin-top: 3px; padding: 6px; border: 1px solid rgba(128, 128, 128, .5); border-radius: 6px;
            background: var(--panel-background-color, Canvas); color: var(--panel-on-background-color, CanvasText);
            box-shadow: 0 4px 14px rgba(0, 0, 0, .3); }
    .menu label { display: flex; align-items: center; gap: 5px; padding: 1px 2px; white-space: nowrap; }
    .dot { width: 9px; height: 9px; border-radius: 50%; }
    .sql .menu { left: auto; right: 0; width: 460px; max-width: 70vw; }
    .sql code { display: block; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 11.5px; margin-bottom: 6px; }
    .chips { display: contents; }
    .chips button { border: 0; border-radius: 9px; padding: 2px 8px; background: rgba(0, 114, 178, .22); }
    .chips button::after { content: " \\d7"; opacity: .7; }
    .counted { margin-left: auto; opacity: .8; font-variant-numeric: tabular-nums; }
    .reset { border: 0; background: none; text-decoration: underline; }
    [hidden] { display: none; }
    :is(button, summary, input):focus-visible { outline: 2px solid #0072B2; outline-offset: 1px; }
    """
    ]
