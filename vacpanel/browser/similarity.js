// How alike maps are: a matrix of all pairs, and the two maps of a pair side by side.

let matrices = 0

export function render({ model }) {
  const group = maps.group(model.group)
  const id = `vac-matrix-${matrices++}`
  const make = (tag, className, text) => {
    const element = document.createElement(tag)
    if (className) element.className = className
    if (text != null) element.textContent = text
    return element
  }
  const name = (text) => make("bdi", "", text)
  const root = make("div", "similarity")
  const head = make("div", "head")
  const original = Object.assign(new Image(), { alt: "The compared image", className: "original" })
  const chooser = make("select")
  chooser.setAttribute("aria-label", "Measure of similarity")
  const label = make("label", "", "compared by ")
  label.append(chooser)
  const says = make("div", "fine")
  const words = make("div", "words")
  words.append(label, says)
  head.append(original, words)
  const scale = make("div", "scale")
  const grid = make("div", "grid")
  grid.setAttribute("role", "grid")
  grid.setAttribute("aria-label", "Similarity of all pairs of maps")
  const status = make("div", "status")
  status.setAttribute("role", "status")
  root.append(head, grid, status, scale)
  let cells = [], at = [0, 1], dialog = null

  const known = () => model.measures.find((measure) => measure.name === model.measure)
  const written = (value) => value.toFixed(3)

  // Cividis (Nuñez, Anderton and Renslow 2018), bright for alike.
  function color(distance) {
    const at = (1 - distance) * (model.palette.length - 1)
    return model.palette[Math.round(at)]
  }

  function draw() {
    const { labels, values } = model
    const count = labels.length
    root.hidden = !count
    if (!count) {
      dialog?.close()
      return
    }
    original.src = model.original
    chooser.replaceChildren(...model.measures.map(({ name: measure, title }) => {
      const option = make("option", "", title)
      option.value = measure
      option.selected = measure === model.measure
      return option
    }))
    says.textContent = known()?.says ?? ""
    at = at.map((index) => Math.min(index, count - 1))
    grid.style.setProperty("--count", count)
    cells = labels.map((_, i) => labels.map((__, j) => {
      const cell = make("button", "cell")
      cell.type = "button"
      cell.dataset.row = i
      cell.dataset.column = j
      cell.setAttribute("role", "gridcell")
      return cell
    }))
    const top = make("div", "row numbers")
    top.setAttribute("role", "row")
    top.append(make("span", "name"), ...labels.map((text, j) => {
      const number = make("span", "number", j + 1)
      number.setAttribute("role", "columnheader")
      number.setAttribute("aria-label", text)
      number.title = text
      return number
    }))
    grid.replaceChildren(top, ...labels.map((text, i) => {
      const row = make("div", "row"), title = make("span", "name")
      row.setAttribute("role", "row")
      title.setAttribute("role", "rowheader")
      title.title = text
      title.append(`${i + 1} `, name(text))
      row.append(title, ...cells[i])
      return row
    }))
    paint()
    if (dialog?.open) compare(...at)
  }

  function paint() {
    const { labels, values } = model
    if (values.length !== labels.length) return
    const { best } = known()
    const far = values.flat().reduce((most, v) => (Math.abs(v - best) > Math.abs(most - best) ? v : most), best)
    values.forEach((row, i) => row.forEach((value, j) => {
      const cell = cells[i][j], distance = Math.abs(value - best) / Math.max(Math.abs(far - best), 1e-9)
      cell.dataset.value = value
      cell.style.background = color(distance)
      cell.style.color = distance > 0.5 ? "white" : "black"
      cell.textContent = labels.length <= 7 ? value.toFixed(2) : ""
      cell.setAttribute("aria-label", `${labels[i]} and ${labels[j]}: ${written(value)}`)
    }))
    scale.replaceChildren(`${written(best)} equal `, bar(), ` ${written(far)} least alike`)
    focusable(...at)
    tell(...at)
  }

  function bar() {
    const made = make("span", "bar")
    const stops = [0, 0.25, 0.5, 0.75, 1].map(color)
    made.style.background = `linear-gradient(to right, ${stops.join(", ")})`
    return made
  }

  function tell(i, j) {
    const value = model.values[i]?.[j]
    if (value === undefined) return
    status.replaceChildren(name(model.labels[i]), " and ", name(model.labels[j]), `: ${known().title} ${written(value)}`)
  }

  function focusable(i, j) {
    at = [i, j]
    for (const row of cells) for (const cell of row) cell.tabIndex = -1
    if (cells[i]?.[j]) cells[i][j].tabIndex = 0
  }

  const place = (event) => {
    const cell = event.target.closest?.(".cell")
    return cell && [Number(cell.dataset.row), Number(cell.dataset.column)]
  }
  grid.addEventListener("pointerover", (event) => { const found = place(event); if (found) tell(...found) })
  grid.addEventListener("focusin", (event) => { const found = place(event); if (found) tell(...found) })
  grid.addEventListener("click", (event) => {
    const found = place(event)
    if (!found) return
    focusable(...found)
    compare(...found)
  })
  grid.addEventListener("keydown", (event) => {
    const found = place(event)
    const step = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key]
    if (!found || !step) return
    event.preventDefault()
    const next = found.map((index, k) => Math.max(0, Math.min(cells.length - 1, index + step[k])))
    focusable(...next)
    cells[next[0]][next[1]].focus()
  })
  chooser.addEventListener("change", () => { model.measure = chooser.value })

  // Two maps side by side ------------------------------------------------------------------------------------------

  function compare(i, j) {
    if (!dialog) {
      dialog = make("dialog")
      dialog.setAttribute("aria-labelledby", `${id}-title`)
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close() })
      dialog.addEventListener("close", () => cells[at[0]]?.[at[1]]?.focus())
      root.append(dialog)
    }
    const title = make("h2")
    title.id = `${id}-title`
    title.append(name(model.labels[i]), " and ", name(model.labels[j]))
    const close = make("button", "", "×")
    close.type = "button"
    close.setAttribute("aria-label", "Close (Escape)")
    close.addEventListener("click", () => dialog.close())
    const header = make("header")
    header.append(title, close)
    const pair = make("div", "pair")
    for (const index of [i, j]) {
      const figure = make("figure"), caption = make("figcaption"), map = maps.element("heatmap", model.group)
      map.setAttribute("role", "img")
      map.setAttribute("aria-label", `Heatmap of ${model.labels[index]}`)
      map.show(model.pictures[index])
      caption.append(name(model.labels[index]))
      figure.append(map, caption)
      pair.append(figure)
    }
    const value = make("p", "value", `${known().title}: ${written(model.values[i][j])}`)
    value.append(make("span", "fine", ` ${known().says}`))
    dialog.replaceChildren(header, pair, value)
    if (!dialog.open) dialog.showModal()
  }

  for (const changed of ["labels", "pictures", "values", "measure", "original"]) model.on(changed, schedule)
  // What belongs together comes in one message; it is drawn once.
  let waiting = false
  function schedule() {
    if (waiting) return
    waiting = true
    queueMicrotask(() => {
      waiting = false
      draw()
    })
  }
  group.join(model, () => {})
  draw()
  return root
}
