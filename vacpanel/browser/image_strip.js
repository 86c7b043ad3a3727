// Thumbnails to choose from, one or several; more come when they are asked for.

export function render({ model }) {
  const strip = document.createElement("div")
  strip.className = "strip"
  strip.setAttribute("role", "group")
  strip.setAttribute("aria-label", "Images of the selected classes")
  const more = Object.assign(document.createElement("button"), { type: "button", className: "more", textContent: "show more" })
  more.addEventListener("click", () => model.send_msg("more"))
  let thumbs = [], anchor = null

  function thumb(item) {
    const button = document.createElement("button")
    button.type = "button"
    button.className = "thumb"
    button.dataset.id = item.id
    const image = Object.assign(new Image(), { loading: "lazy", alt: "" })
    const mark = document.createElement("span")
    mark.className = "mark"
    button.append(image, mark)
    button.addEventListener("click", (event) => choose(item.id, event))
    return Object.assign(button, { item })
  }

  function choose(id, event) {
    const chosen = model.selected
    if (event.shiftKey && anchor !== null) {
      const ids = model.items.map((item) => item.id)
      const [from, to] = [ids.indexOf(anchor), ids.indexOf(id)].sort((a, b) => a - b)
      if (from >= 0) {
        model.selected = ids.slice(from, to + 1)
        return
      }
    }
    anchor = id
    if (event.ctrlKey || event.metaKey)
      model.selected = chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id]
    else model.selected = chosen.length === 1 && chosen[0] === id ? [] : [id]
  }

  function draw() {
    const { items } = model
    // What is there stays, so that its pictures need not load again and the strip does not jump.
    const same = thumbs.length <= items.length && thumbs.every(({ item }, i) => item.src === items[i].src)
    const kept = same ? thumbs : []
    const added = items.slice(kept.length).map(thumb)
    thumbs = [...kept, ...added]
    // The plots are painted first: pictures would be fetched, made and decoded while they are.
    requestAnimationFrame(() => setTimeout(() => {
      for (const { item, firstChild } of added) firstChild.src = item.src
    }))
    strip.style.setProperty("--side", `${model.side}px`)
    if (same && strip.children.length) more.before(...thumbs.slice(kept.length))
    else {
      strip.replaceChildren(...thumbs, more)
      strip.scrollLeft = 0
      anchor = null
    }
    mark()
  }

  function mark() {
    const chosen = new Set(model.selected)
    for (const button of thumbs) {
      const { id, title } = button.item
      const right = model.marks[id]
      button.setAttribute("aria-pressed", String(chosen.has(id)))
      const [sign, says] = right == null ? ["", ""] : right ? ["✓", "the pinned model is right"]
        : ["✗", "the pinned model is wrong"]
      button.lastChild.textContent = sign
      button.lastChild.className = right ? "mark right" : "mark wrong"
      button.lastChild.hidden = !sign
      button.title = says ? `${title}\n${says}` : title
      button.setAttribute("aria-label", says ? `${title}, ${says}` : title)
    }
    more.hidden = !model.more
    focusable(thumbs.find(({ item }) => chosen.has(item.id)) ?? thumbs[0])
  }

  // One of them can be reached by Tab, the others from there by arrows.
  function focusable(one) {
    for (const button of thumbs) button.tabIndex = button === one ? 0 : -1
  }

  strip.addEventListener("keydown", (event) => {
    const at = thumbs.indexOf(event.target.closest(".thumb"))
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: thumbs.length - 1 }[event.key]
    if (at < 0 || to === undefined) return
    event.preventDefault()
    const next = thumbs[Math.max(0, Math.min(thumbs.length - 1, to))]
    focusable(next)
    next.focus()
  })
  // A click changes several properties: it is drawn once.
  let due = ""
  const soon = (what) => () => {
    if (!due) queueMicrotask(() => {
      const wanted = due
      due = ""
      wanted === "all" ? draw() : mark()
    })
    if (due !== "all") due = what
  }
  for (const name of ["items", "side"]) model.on(name, soon("all"))
  for (const name of ["selected", "marks", "more"]) model.on(name, soon("marks"))
  draw()
  return strip
}
