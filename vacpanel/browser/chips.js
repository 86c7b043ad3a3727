export function render({ model }) {
  const row = document.createElement("div")
  row.className = "chips"
  if (model.lines) row.style.maxHeight = `${20 * model.lines + 2}px`
  function draw() {
    row.replaceChildren(...Object.entries(model.items).map(([name, color]) => {
      const chip = document.createElement("button")
      chip.type = "button"
      chip.dataset.name = name
      const dot = document.createElement("span")
      dot.style.background = color
      chip.append(dot, document.createTextNode(name))
      chip.addEventListener("click", () => model.send_msg(name))
      return chip
    }))
    mark()
  }
  function mark() {
    for (const chip of row.children) chip.setAttribute("aria-pressed", String(chip.dataset.name === model.chosen))
  }
  model.on("items", draw)
  model.on("chosen", mark)
  draw()
  return row
}
