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
  if (at >= 0) return 200 - Math.min(at, 60) + (at === 0 || /\W|_/.test(text[at - 1]) ? 60 : 0)
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
    <div id="${id}-list" class="list" role="listbox" tabindex="-1" hidden></div>`
  const [label, field, list] = root.children
  const [chips, input] = field.children
  let index = [], found = [], active = 0

  function prepare() {
    label.textContent = model.label
    list.setAttribute("aria-label", model.label)
    index = model.items.map((item) => [`${item.name} ${item.detail}`.toLowerCase(), item])
  }

  function search() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean)
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
