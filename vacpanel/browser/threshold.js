// A slider that every map of its group follows while it is dragged; the server hears of it when it is let go.

export function render({ model }) {
  const group = maps.group(model.group)
  const root = document.createElement("div")
  root.className = "threshold"
  const head = document.createElement("div")
  const title = document.createElement("label")
  const value = document.createElement("output")
  const input = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, step: 1 })
  input.id = title.htmlFor = value.htmlFor = `threshold-${model.group}`
  title.textContent = model.label
  input.setAttribute("aria-label", model.label)
  head.append(title, value)
  root.append(head, input)

  function say(threshold) {
    const percent = Math.round(100 * threshold)
    if (Number(input.value) !== percent) input.value = percent
    value.textContent = maps.percent(threshold)
    input.setAttribute("aria-valuetext", value.textContent)
    input.style.setProperty("--at", `${percent}%`)
  }

  const commit = (threshold) => { model.value = threshold }
  const chosen = () => Number(input.value) / 100
  input.addEventListener("pointerdown", () => { group.held = true })
  for (const end of ["pointerup", "pointercancel", "blur"]) input.addEventListener(end, () => { group.held = false })
  input.addEventListener("input", () => {
    say(chosen())
    group.drag(chosen())
  })
  input.addEventListener("change", () => {
    group.held = false
    group.commit(chosen())
  })
  const settle = () => group.settle(model.value)
  model.on("value", settle)
  model.on("label", () => { title.textContent = model.label })
  group.followers.add(say)
  group.sliders.add(commit)
  model.on("remove", () => {
    group.held = false
    group.followers.delete(say)
    group.sliders.delete(commit)
  })
  say(model.value)
  settle()
  return root
}
