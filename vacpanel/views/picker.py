"""Choosing some of many by typing a few letters."""

from __future__ import annotations

from typing import ClassVar

import param
from panel.custom import JSComponent


class Picker(JSComponent):
    """A field that finds items by fuzzy search and holds those that were chosen.

    What is typed is looked for in name and detail: as it stands, as letters with others in between, or with a slip in
    it. Texts are set as text, never as HTML.
    """

    items = param.List(default=[], doc="Dictionaries with value, name and detail (all str), in the order of the list.")
    value = param.List(default=[], item_type=str, doc="The values that are chosen, in the order of choice.")
    label = param.String(doc="What is chosen here.")
    placeholder = param.String(doc="What the empty field says.")
    single = param.Boolean(default=False, doc="Whether a choice replaces the one before.")

    _esm = """
    const SHOWN = 60, CHIPS = 12

    // 0 if it does not fit at all; the larger the better.
    function score(words, text) {
      let total = 1
      for (const word of words) {
        const found = one(word, text)
        if (!found) return 0
        total += found
      }
      return total
    }

    function one(word, text) {
      const at = text.indexOf(word)
      if (at >= 0) return 200 - Math.min(at, 60) + (at === 0 || /\\W|_/.test(text[at - 1]) ? 60 : 0)
      let from = 0, gaps = 0
      for (const letter of word) {
        const next = text.indexOf(letter, from)
        if (next < 0) return slip(word, text)
        gaps += from ? next - from : 0
        from = next + 1
      }
      return gaps <= 2 * word.length ? Math.max(1, 80 - 4 * gaps) : slip(word, text)
    }

    // A slip of the keys: most pairs of neighbouring letters are there.
    function slip(word, text) {
      if (word.length < 4) return 0
      let hits = 0
      for (let i = 1; i < word.length; i++) hits += text.includes(word.slice(i - 1, i + 1))
      const share = hits / (word.length - 1)
      return share >= 0.6 ? 40 * share : 0
    }

    let count = 0

    export function render({ model }) {
      const id = `picker-${count++}`
      const root = document.createElement("div")
      root.className = "picker"
      root.innerHTML = `<label for="${id}"></label><div class="field"><span class="chips"></span>
        <input id="${id}" type="text" role="combobox" autocomplete="off" spellcheck="false" aria-expanded="false"
          aria-autocomplete="list" aria-controls="${id}-list"></div>
        <div id="${id}-list" class="list" role="listbox" hidden></div>`
      const [label, field, list] = root.children
      const [chips, input] = field.children
      let index = [], found = [], active = 0

      function prepare() {
        label.textContent = model.label
        list.setAttribute("aria-label", model.label)
        index = model.items.map((item) => [`${item.name} ${item.detail}`.toLowerCase(), item])
      }

      function search() {
        const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean)
        found = words.length
          ? index.map(([text, item], i) => [score(words, text), i, item]).filter(([s]) => s)
              .sort((a, b) => b[0] - a[0] || a[1] - b[1]).map(([, , item]) => item)
          : index.map(([, item]) => item)
        active = 0
        drawList()
      }

      function drawList() {
        list.replaceChildren(...found.slice(0, SHOWN).map((item, i) => {
          const row = document.createElement("div")
          row.id = `${id}-${i}`
          row.setAttribute("role", "option")
          row.setAttribute("aria-selected", String(model.value.includes(item.value)))
          row.className = i === active ? "active" : ""
          const name = document.createElement("span")
          name.textContent = item.name
          const detail = document.createElement("small")
          detail.textContent = item.detail
          row.append(name, detail)
          row.addEventListener("mousedown", (event) => { event.preventDefault(); toggle(item.value) })
          return row
        }))
        const rest = found.length - SHOWN
        if (rest > 0 || !found.length) {
          const more = document.createElement("small")
          more.className = "more"
          more.textContent = found.length ? `${rest} more; type to find them` : "nothing fits"
          list.append(more)
        }
        input.setAttribute("aria-activedescendant", found.length ? `${id}-${active}` : "")
        list.children[active]?.scrollIntoView?.({ block: "nearest" })
      }

      function open(yes) {
        list.hidden = !yes
        input.setAttribute("aria-expanded", String(yes))
        if (yes) search()
      }

      function toggle(value) {
        const chosen = model.value.includes(value)
        model.value = chosen ? model.value.filter((v) => v !== value) : model.single ? [value] : [...model.value, value]
        if (!chosen) input.value = ""
        if (model.single && !chosen) open(false)
      }

      function drawChips() {
        const names = new Map(model.items.map((item) => [item.value, item.name]))
        const shown = model.value.slice(0, CHIPS).map((value) => {
          const chip = document.createElement("button")
          chip.type = "button"
          chip.dataset.value = value
          chip.textContent = names.get(value) ?? value
          chip.title = `Take out ${names.get(value) ?? value}`
          chip.setAttribute("aria-label", chip.title)
          chip.addEventListener("click", () => { model.value = model.value.filter((v) => v !== value) })
          return chip
        })
        const rest = model.value.length - CHIPS
        if (rest > 0) {
          const more = document.createElement("span")
          more.textContent = `and ${rest} more`
          shown.push(more)
        }
        if (model.value.length > 1) {
          const clear = document.createElement("button")
          clear.type = "button"
          clear.className = "clear"
          clear.textContent = "clear"
          clear.setAttribute("aria-label", `Clear ${model.label}`)
          clear.addEventListener("click", () => { model.value = [] })
          shown.push(clear)
        }
        chips.replaceChildren(...shown)
        input.placeholder = model.value.length ? "" : model.placeholder
        if (!list.hidden) drawList()
      }

      input.addEventListener("focus", () => open(true))
      input.addEventListener("click", () => list.hidden && open(true))
      input.addEventListener("blur", () => { input.value = ""; open(false) })
      input.addEventListener("input", () => { if (list.hidden) open(true); else search() })
      input.addEventListener("keydown", (event) => {
        const last = Math.min(found.length, SHOWN) - 1
        if (event.key === "ArrowDown" || event.key === "ArrowUp") {
          if (list.hidden) open(true)
          else active = Math.max(0, Math.min(last, active + (event.key === "ArrowDown" ? 1 : -1)))
          drawList()
        } else if (event.key === "Enter") {
          if (!list.hidden && found[active]) toggle(found[active].value)
        } else if (event.key === "Escape") {
          open(false)
        } else if (event.key === "Backspace" && !input.value && model.value.length) {
          model.value = model.value.slice(0, -1)
          return
        } else return
        event.preventDefault()
      })
      field.addEventListener("mousedown", (event) => {
        if (event.target === field) { event.preventDefault(); input.focus() }
      })
      model.on("items", () => { prepare(); drawChips() })
      model.on("value", drawChips)
      model.on("label", prepare)
      prepare()
      drawChips()
      return root
    }
    """

    _stylesheets: ClassVar[list[str]] = [
        """
    .picker { font: 13px var(--bokeh-base-font, system-ui, sans-serif); color: inherit; }
    label { display: block; font-size: 11.5px; opacity: .75; margin-bottom: 2px; }
    .field { display: flex; flex-wrap: wrap; gap: 3px; padding: 4px 6px; border: 1px solid rgba(128, 128, 128, .5);
             border-radius: 6px; cursor: text; max-height: 130px; overflow-y: auto; }
    .field:focus-within { border-color: #0072B2; box-shadow: 0 0 0 1px #0072B2; }
    .chips { display: contents; }
    .chips button { max-width: 100%; padding: 1px 7px; border: 0; border-radius: 9px; font: inherit; font-size: 12px;
             color: inherit; background: rgba(128, 128, 128, .22); cursor: pointer; overflow: hidden;
             text-overflow: ellipsis; white-space: nowrap; }
    .chips button:not(.clear)::after { content: " \\d7"; opacity: .7; }
    .chips button:hover { background: rgba(128, 128, 128, .4); }
    .chips button.clear { background: none; text-decoration: underline; }
    .chips span { font-size: 12px; align-self: center; opacity: .8; }
    .chips button:focus-visible { outline: 2px solid #0072B2; }
    input { flex: 1 1 60px; min-width: 60px; border: 0; outline: 0; background: none; color: inherit; font: inherit;
            padding: 2px 0; }
    input::placeholder { color: inherit; opacity: .6; }
    .list { max-height: 230px; overflow-y: auto; margin-top: 2px; border: 1px solid rgba(128, 128, 128, .5);
            border-radius: 6px; }
    .list [role="option"] { padding: 3px 8px; cursor: pointer; }
    .list [role="option"][aria-selected="true"] > span::before { content: "✓ "; }
    .list .active, .list [role="option"]:hover { background: rgba(0, 114, 178, .2); }
    small { display: block; font-size: 11px; opacity: .7; }
    .more { padding: 3px 8px; }
    """
    ]
