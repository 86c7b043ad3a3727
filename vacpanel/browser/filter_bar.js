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
    field.addEventListener("change", () => {
      for (const each of [low, high]) if (each.value !== "") each.value = Math.round(Number(each.value))
      model.send_msg({ bounds: [number(low), number(high)] })
    })
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
