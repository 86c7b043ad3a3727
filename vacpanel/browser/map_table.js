// A table of explanations: one row a map; sorted, filtered and searched here, restyled with the threshold, opened large.

const ROWS_AT_ONCE = 200
const FIRST_IN_SIGHT = 8
const NOTHING = "\u2013"

let tables = 0

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes))
    if (name === "text") element.textContent = value
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (value === true) element.setAttribute(name, "")
    else if (value !== false && value != null) element.setAttribute(name, value)
  element.append(...children)
  return element
}

// Names may be written from right to left; they must not turn what stands beside them.
const name = (text) => make("bdi", { text })

const NUMBER = new Set(["percent", "area"])
const TEXT = new Set(["text", "model", "answer"])

export function render({ model }) {
  const group = maps.group(model.group)
  const id = `vac-table-${tables++}`
  const rows = new Map()
  const lines = new Map() // table rows by key, made once
  const filters = {}
  let order = [], shown = [], search = "", sort = null, limit = ROWS_AT_ONCE, dialog = null
  let side = null // of the heatmaps that were shown last

  // Frame ----------------------------------------------------------------------------------------------------------

  const legend = make("canvas", { role: "img", "aria-label": "Colours of attention from 0 to 1" })
  const counted = make("span", { class: "counted", role: "status" })
  const finder = make("input", { type: "search", placeholder: "search all columns", "aria-label": "Search the rows" })
  finder.addEventListener("input", () => { search = finder.value; arrange() })
  const head = make("thead"), body = make("tbody"), sizes = make("colgroup")
  const table = make("table", {}, sizes, head, body)
  const more = make("button", { type: "button", class: "more", hidden: true })
  more.addEventListener("click", () => { limit += ROWS_AT_ONCE; arrange() })
  const root = make("div", { class: "frame" },
    make("div", { class: "tools" },
      make("span", { class: "legend" }, make("span", { text: "attention 0" }), legend, make("span", { text: "1" }),
        make("span", { class: "fine", text: `lines at ${LOOK.levels.map((l) => l.toFixed(2)).join(", ")}` })),
      counted, finder),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Explanations" }, table, more))

  function drawHead() {
    sizes.replaceChildren(...model.columns.map(({ weight }) => make("col", { style: `width: ${weight}%` })))
    const titles = make("tr"), fields = make("tr", { class: "filters" })
    for (const column of model.columns) {
      const title = make("th", { scope: "col", "data-field": column.name, "data-kind": column.kind })
      const field = make("th", { "data-kind": column.kind })
      if (NUMBER.has(column.kind) || TEXT.has(column.kind)) {
        title.append(make("button", { type: "button", text: column.title, title: column.help || null,
          onclick: () => sortBy(column) }))
        const input = make("input", {
          type: "text", "data-field": column.name, spellcheck: "false", autocomplete: "off",
          placeholder: NUMBER.has(column.kind) ? "≥ %" : "find",
          "aria-label": NUMBER.has(column.kind) ? `${column.title}: at least, in percent` : `${column.title}: contains`,
        })
        input.value = filters[column.name] ?? ""
        input.addEventListener("input", () => { filters[column.name] = input.value; arrange() })
        field.append(input)
      } else title.append(make("span", { text: column.title, title: column.help || null }))
      titles.append(title)
      fields.append(field)
    }
    head.replaceChildren(titles, fields)
  }

  // Sorting and filtering ------------------------------------------------------------------------------------------

  function value(row, column) {
    if (column.kind === "area") return area(row)
    return row.values?.[column.name] ?? null
  }

  function area(row) {
    if (!row.areas) return null
    return (100 * row.areas[Math.min(100, Math.ceil(100 * group.threshold - 1e-6))]) / row.areas[0]
  }

  function sortBy(column) {
    const first = NUMBER.has(column.kind) ? "descending" : "ascending"
    const second = first === "ascending" ? "descending" : "ascending"
    if (sort?.column.name !== column.name) sort = { column, direction: first }
    else if (sort.direction === first) sort = { column, direction: second }
    else sort = null
    arrange()
  }

  // "40" and ">= 40" are the same; "< 40" and "= 40" are understood, too.
  function numberTest(text) {
    const found = /^\s*(>=|<=|≥|≤|>|<|=)?\s*([\d.,]+)\s*%?\s*$/.exec(text)
    const bound = found && Number(found[2].replace(",", "."))
    if (!found || Number.isNaN(bound)) return null
    const compare = {
      ">": (v) => v > bound, "<": (v) => v < bound, "≤": (v) => v <= bound, "<=": (v) => v <= bound,
      "=": (v) => Math.abs(v - bound) < 0.05,
    }[found[1]] ?? ((v) => v >= bound)
    return (v) => v !== null && compare(Math.round(10 * v) / 10) // as it is printed
  }

  const contains = (text, words) => words.every((word) => text.includes(word))
  const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean)

  function tests() {
    const found = []
    for (const column of model.columns) {
      const text = filters[column.name]?.trim()
      const input = head.querySelector(`input[data-field="${column.name}"]`)
      input?.removeAttribute("aria-invalid")
      if (!text) continue
      if (NUMBER.has(column.kind)) {
        const test = numberTest(text)
        if (test) found.push((row) => test(value(row, column)))
        else input?.setAttribute("aria-invalid", "true")
      } else {
        const words = wordsOf(text)
        found.push((row) => contains(String(value(row, column) ?? "").toLowerCase(), words))
      }
    }
    const words = wordsOf(search)
    if (words.length) found.push((row) => contains(everything(row), words))
    return found
  }

  function everything(row) {
    const texts = model.columns.filter(({ kind }) => TEXT.has(kind)).map((column) => value(row, column) ?? "")
    return [...texts, row.title, row.note, row.says].join("\n").toLowerCase()
  }

  function arrange() {
    const all = tests()
    shown = order.map((key) => rows.get(key)).filter((row) => all.every((test) => test(row)))
    if (sort) {
      const sign = sort.direction === "ascending" ? 1 : -1
      const values = new Map(shown.map((row) => [row, value(row, sort.column)]))
      shown.sort((a, b) => {
        const [x, y] = [values.get(a), values.get(b)]
        if (x === null || y === null) return (x === null) - (y === null) // what is not known stands last
        return sign * (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y)
      })
    }
    for (const title of head.querySelectorAll("th[scope]")) {
      if (sort?.column.name === title.dataset.field) title.setAttribute("aria-sort", sort.direction)
      else title.removeAttribute("aria-sort")
    }
    const wanted = shown.slice(0, limit).map(lineOf)
    if (!wanted.length && order.length) wanted.push(nothingFits())
    // Elements that stay where they are are not touched: that would make their pictures load again.
    if (wanted.length !== body.children.length || wanted.some((line, i) => line !== body.children[i])) {
      const focused = root.getRootNode().activeElement
      body.replaceChildren(...wanted)
      if (body.contains(focused)) focused.focus({ preventScroll: true })
    }
    more.hidden = shown.length <= limit
    more.textContent = `Show ${Math.min(ROWS_AT_ONCE, shown.length - limit)} more of ${shown.length} rows`
    counted.textContent = shown.length === order.length
      ? `${order.length} ${order.length === 1 ? "row" : "rows"}` : `${shown.length} of ${order.length} rows`
  }

  function nothingFits() {
    return make("tr", { class: "nothing" }, make("td", { colspan: model.columns.length },
      "No row fits what is asked for. ",
      make("button", { type: "button", text: "Show all rows", onclick: () => {
        for (const field of Object.keys(filters)) delete filters[field]
        search = finder.value = ""
        for (const input of head.querySelectorAll("input")) input.value = ""
        arrange()
      } })))
  }

  // Rows -----------------------------------------------------------------------------------------------------------

  function lineOf(row) {
    if (!lines.has(row.key)) lines.set(row.key, new Line(row))
    return lines.get(row.key).element
  }

  class Line {
    constructor(row) {
      this.element = make("tr", { "data-key": row.key })
      this.cells = {}
      for (const column of model.columns) {
        const cell = (this.cells[column.name] = make("td", { "data-field": column.name, "data-kind": column.kind }))
        fill[column.kind](cell, row, column)
        this.element.append(cell)
      }
      this.update(row)
    }

    update(row) {
      this.element.dataset.state = row.state
      for (const column of model.columns) refresh[column.kind]?.(this.cells[column.name], row, column)
      // The reason why there is no map needs the room of all the pictures that there are not.
      const pictures = model.columns.filter(({ kind }) => MAP.has(kind))
      const spread = row.state === "failed" || (row.state === "done" && !row.layers)
      pictures.forEach(({ name }, i) => {
        this.cells[name].hidden = spread && i > 0
        this.cells[name].colSpan = spread && i === 0 ? pictures.length : 1
      })
    }
  }

  const MAP = new Set(["heatmap", "region", "colours"])
  const opener = (row, what, ...children) => make("button", { type: "button", class: "open", title: row.title,
    "aria-label": `${what} of ${row.title}: open large`, onclick: () => open(row.key) }, ...children)

  const fill = {
    picture(cell, row) {
      cell.append(opener(row, "Picture", make("img", { src: row.picture, alt: "", loading: "lazy" })))
    },
    heatmap(cell, row) {
      cell.append(opener(row, "Heatmap", maps.element("heatmap", model.group)), make("span", { class: "badge" }))
    },
    region(cell, row) {
      cell.append(opener(row, "Region", maps.element("region", model.group)))
    },
    colours(cell, row) {
      cell.append(opener(row, "Colours of the region", maps.element("colours", model.group)))
    },
    model(cell, row, column) {
      cell.append(make("button", { type: "button", class: "pin", title: `Pin ${row.values[column.name]}`,
        onclick: () => model.send_msg({ pin: row.key }) }, name(row.values[column.name])), make("small"))
    },
    text(cell, row, column) {
      cell.append(name(row.values[column.name] ?? ""))
    },
    answer(cell, row, column) {
      if (row.right != null) cell.append(sign(row.right), " ")
      cell.append(name(row.values[column.name] ?? ""))
    },
    percent() {},
    area() {},
  }

  function sign(right) {
    return make("span", { class: right ? "sign right" : "sign wrong", role: "img",
      "aria-label": right ? "right" : "wrong", text: right ? "✓" : "✗" })
  }

  const write = (cell, text) => { if (cell.textContent !== text) cell.textContent = text }
  const number = (cell, v) => write(cell, v === null ? NOTHING : `${v.toFixed(1)}\u00a0%`)

  const refresh = {
    heatmap(cell, row) {
      refresh.region(cell, row)
      const badge = cell.querySelector(".badge")
      badge.className = row.layers ? "badge" : "badge says"
      badge.textContent = badge.title = row.says
      badge.hidden = !row.says
      badge.style.setProperty("--done", `${100 * row.fraction}%`)
    },
    region(cell, row) {
      cell.querySelector("vac-map").show(row.layers ? { picture: row.picture, layers: row.layers } : null)
      cell.querySelector(".open").hidden = !row.layers
    },
    colours(cell, row) {
      refresh.region(cell, row)
    },
    model(cell, row) {
      write(cell.querySelector("small"), row.note ?? "")
    },
    percent(cell, row, column) {
      number(cell, value(row, column))
    },
    area(cell, row) {
      number(cell, area(row))
    },
  }

  // One row large ---------------------------------------------------------------------------------------------------

  function open(key) {
    dialog ??= new Large()
    dialog.show(key)
  }

  class Large {
    constructor() {
      const button = (label, text, action) =>
        make("button", { type: "button", "aria-label": label, title: label, text, onclick: action })
      this.title = make("h2", { id: `${id}-title` })
      this.place = make("span", { class: "place" })
      this.original = make("img", { alt: "The original picture" })
      const figure = (caption, content) => make("figure", {}, content, make("figcaption", { text: caption }))
      this.maps = ["heatmap", "region", "colours"].map((kind) => maps.element(kind, model.group))
      this.says = make("p", { class: "says" })
      this.facts = make("dl")
      this.slider = make("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": "Threshold" })
      this.percent = make("output")
      this.slider.addEventListener("input", () => group.drag(this.slider.value / 100))
      this.slider.addEventListener("change", () => group.commit(this.slider.value / 100))
      this.element = make("dialog", { "aria-labelledby": `${id}-title` },
        make("header", {}, this.title, this.place,
          button("Row before (arrow up)", "↑", () => this.step(-1)),
          button("Next row (arrow down)", "↓", () => this.step(1)),
          button("Close (Escape)", "×", () => this.element.close())),
        make("div", { class: "pictures" }, figure("Original", this.original), figure("Heatmap", this.maps[0]),
          figure("Region of interest", this.maps[1]), figure("Colours of the region, dark to bright", this.maps[2])),
        this.says,
        make("label", { class: "slide" }, "Threshold ", this.slider, this.percent),
        this.facts)
      this.element.addEventListener("keydown", (event) => {
        if (event.target === this.slider) return
        const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key]
        if (!step) return
        event.preventDefault()
        this.step(step)
      })
      this.element.addEventListener("click", (event) => { if (event.target === this.element) this.element.close() })
      this.element.addEventListener("close", () => {
        const back = lines.get(this.key)?.element.querySelector(".open:not([hidden])")
        this.key = null
        back?.focus()
      })
      root.append(this.element)
    }

    show(key) {
      this.key = key
      this.update()
      if (!this.element.open) this.element.showModal()
    }

    step(by) {
      const next = shown.findIndex(({ key }) => key === this.key) + by
      if (shown[next]) this.show(shown[next].key)
    }

    update() {
      const row = rows.get(this.key)
      if (!row) {
        this.element.close()
        return
      }
      this.title.replaceChildren(name(row.title))
      this.place.textContent = `${shown.indexOf(row) + 1} of ${shown.length}`
      const address = row.large || row.picture
      if (this.original.getAttribute("src") !== address) this.original.src = address
      for (const map of this.maps) {
        map.show(row.layers ? { picture: row.picture, layers: row.layers } : null)
        map.parentElement.hidden = !row.layers
      }
      this.says.textContent = row.says || row.note || ""
      this.says.hidden = !this.says.textContent
      const facts = model.columns.filter(({ kind }) => NUMBER.has(kind) || TEXT.has(kind)).map((column) => {
        const v = value(row, column), known = make("dd", { "data-field": column.name })
        if (NUMBER.has(column.kind)) number(known, v)
        else {
          if (column.kind === "answer" && row.right != null) known.append(sign(row.right), " ")
          known.append(name(v ?? ""))
        }
        return [column.full || column.title, known]
      })
      for (const [label, text] of row.details ?? []) facts.push([label, make("dd", {}, name(text))])
      this.facts.replaceChildren(...facts.map(([label, known]) => make("div", {}, make("dt", { text: label }), known)))
      this.follow()
    }

    follow() {
      const row = rows.get(this.key)
      if (!row) return
      this.slider.value = Math.round(100 * group.threshold)
      this.percent.textContent = maps.percent(group.threshold)
      const known = this.facts.querySelector("[data-field='roi_area']")
      if (known) number(known, area(row))
    }
  }

  // What comes ------------------------------------------------------------------------------------------------------

  function follow(threshold, settled) {
    maps.legend(legend, threshold)
    const column = model.columns.find(({ kind }) => kind === "area")
    if (column)
      for (const { key } of shown.slice(0, limit)) {
        const line = lines.get(key)
        if (line) number(line.cells[column.name], area(rows.get(key)))
      }
    dialog?.follow()
    // Rows do not change places under a dragging hand.
    if (settled && (sort?.column.kind === "area" || filters[column?.name])) arrange()
  }

  function receive(message) {
    if (message.expected) {
      maps.expect(message.expected, side)
      return
    }
    if (message.order) {
      side = [...lines.values()][0]?.element.querySelector("vac-map[data-kind=heatmap]")?.side ?? side
      order = message.order
      limit = ROWS_AT_ONCE
      for (const key of rows.keys()) if (!order.includes(key)) { rows.delete(key); lines.delete(key) }
      // On their way while the table is arranged; what is near the screen is known only when that is done.
      for (const key of order.slice(0, FIRST_IN_SIGHT)) maps.begin(message.rows[key])
    }
    for (const [key, row] of Object.entries(message.rows)) {
      const before = message.order ? {} : rows.get(key) // a new table forgets what the one before found
      rows.set(key, { key, says: "", fraction: 0, ...before, ...row })
      lines.get(key)?.update(rows.get(key))
    }
    arrange()
    if (dialog?.key) dialog.update()
  }

  function columnsChanged() {
    lines.clear()
    drawHead()
    arrange()
  }

  model.on("msg:custom", receive)
  model.on("columns", columnsChanged)
  drawHead()
  group.join(model, follow)
  follow(group.threshold, false)
  model.send_msg({ ready: true })
  return root
}
