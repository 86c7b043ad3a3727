// The head of a view. Menu and tip are made when they are opened for the first time: most never are.

const PICTURES = new Set(["png", "svg"])
const ITEMS = [
  ["enlarge", "Enlarge"], ["png", "Save as PNG"], ["svg", "Save as SVG"], ["csv", "Save data as CSV"],
  ["parquet", "Save data as Parquet"], ["sql", "Copy SQL"],
]
const LONGEST = 16384 // px; a browser makes no larger canvas, and a table may have hundreds of rows
const SVG = "http://www.w3.org/2000/svg"

// From an element to what it stands in, out of shadow trees, too.
const parent = (node) => node.parentNode ?? node.host

function within(node, ancestor) {
  for (; node; node = parent(node)) if (node === ancestor) return true
  return false
}

// The plots that can be seen in an element, as Bokeh's views of them.
function plotsIn(element) {
  const found = []
  for (const document of globalThis.Bokeh?.documents ?? [])
    for (const model of document._all_models.values()) {
      const view = model.type === "Figure" ? Bokeh.index.find_one_by_id(model.id) : null
      if (view && within(view.el, element) && view.el.getBoundingClientRect().width) found.push(view)
    }
  return found
}

function ground(element) {
  for (; element; element = parent(element)) {
    const color = element instanceof Element ? getComputedStyle(element).backgroundColor : ""
    if (color && color !== "transparent" && !/,\s*0\)$/.test(color)) return color
  }
  return "white"
}

// One picture of some plots, as they stand on the page.
function picture(plots, kind, color) {
  const boxes = plots.map((view) => view.el.getBoundingClientRect())
  const left = Math.min(...boxes.map((box) => box.left)), top = Math.min(...boxes.map((box) => box.top))
  const width = Math.max(...boxes.map((box) => box.right)) - left
  const height = Math.max(...boxes.map((box) => box.bottom)) - top
  const layers = plots.map((view) => view.export(kind, kind === "png"))
  if (kind === "svg") {
    const root = document.createElementNS(SVG, "svg")
    for (const [name, value] of Object.entries({ xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }))
      root.setAttribute(name, value)
    const back = document.createElementNS(SVG, "rect")
    for (const [name, value] of Object.entries({ width, height, fill: color })) back.setAttribute(name, value)
    root.append(back)
    layers.forEach((layer, i) => {
      layer.canvas.setAttribute("x", boxes[i].left - left)
      layer.canvas.setAttribute("y", boxes[i].top - top)
      root.append(layer.canvas)
    })
    return Promise.resolve(new Blob([new XMLSerializer().serializeToString(root)], { type: "image/svg+xml" }))
  }
  const scale = layers[0].pixel_ratio
  const canvas = Object.assign(document.createElement("canvas"), { width: scale * width, height: scale * height })
  const context = canvas.getContext("2d")
  context.fillStyle = color
  context.fillRect(0, 0, canvas.width, canvas.height)
  layers.forEach((layer, i) => context.drawImage(layer.canvas, scale * (boxes[i].left - left), scale * (boxes[i].top - top)))
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"))
}

// The keys of the rows of tables in an element, from top to bottom.
function rowsIn(element) {
  const rows = [...element.querySelectorAll("tr[data-key]")].map((row) => row.dataset.key)
  const inner = [...element.querySelectorAll("*")].filter((one) => one.shadowRoot)
  return [...rows, ...(element.shadowRoot ? rowsIn(element.shadowRoot) : []), ...inner.flatMap((one) => rowsIn(one.shadowRoot))]
}

// A drawing of the server in the colours of the page. It is read as a drawing, never put into the page.
function recoloured(bytes, element) {
  const root = new DOMParser().parseFromString(new TextDecoder().decode(bytes), "image/svg+xml").documentElement
  root.setAttribute("color", getComputedStyle(element).color)
  root.querySelector(".ground")?.setAttribute("fill", ground(element))
  return new Blob([new XMLSerializer().serializeToString(root)], { type: "image/svg+xml" })
}

async function painted(drawing) {
  const address = URL.createObjectURL(drawing), image = new Image()
  image.src = address
  await image.decode()
  const canvas = document.createElement("canvas"), { naturalWidth: width, naturalHeight: height } = image
  const scale = Math.min(Math.max(1, devicePixelRatio), LONGEST / Math.max(width, height))
  Object.assign(canvas, { width: Math.round(scale * width), height: Math.round(scale * height) })
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height)
  URL.revokeObjectURL(address)
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"))
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name })
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

export function render({ model }) {
  const head = document.createElement("div")
  head.className = "head"
  head.innerHTML = `<h2></h2><button type="button" class="act" hidden></button>
    <button type="button" aria-label="What this view shows">?</button>
    <button type="button" aria-haspopup="menu" aria-expanded="false">⋯</button>`
  const [title, action, asks, opens] = head.children
  let menu = null, tip = null
  let asked = null, kind = null // which button waits for the server's answer; in which format its drawing is saved

  const card = () => head.getRootNode().host?.getRootNode().host

  function draw() {
    title.textContent = title.title = model.heading
    opens.setAttribute("aria-label", `Enlarge or save: ${model.heading}`)
    action.textContent = model.action
    action.hidden = !model.action
  }

  // Below a button, or above it in the lower half of the window.
  function place(popover, button) {
    const at = button.getBoundingClientRect(), low = at.bottom > innerHeight / 2
    popover.style.right = `${document.documentElement.clientWidth - at.right}px`
    popover.style.maxWidth = `${Math.min(320, at.right - 8)}px`
    popover.style.top = low ? "auto" : `${at.bottom + 2}px`
    popover.style.bottom = low ? `${innerHeight - at.top + 2}px` : "auto"
  }

  // Menu ---------------------------------------------------------------------------------------------------------------

  function makeMenu() {
    menu = document.createElement("div")
    menu.className = "menu"
    menu.popover = "auto"
    menu.setAttribute("role", "menu")
    for (const [name, text] of ITEMS) {
      const item = document.createElement("button")
      Object.assign(item, { type: "button", textContent: text, tabIndex: -1 })
      item.setAttribute("role", "menuitem")
      item.dataset.name = name
      item.addEventListener("click", () => item.ariaDisabled === "true" || choose(name, item))
      menu.append(item)
    }
    menu.addEventListener("keydown", step)
    menu.addEventListener("beforetoggle", (event) => event.newState === "open" && prepare())
    menu.addEventListener("toggle", (event) => {
      opens.setAttribute("aria-expanded", String(event.newState === "open"))
      if (event.newState === "open") menu.firstElementChild.focus()
    })
    head.append(menu)
    opens.popoverTargetElement = menu
  }

  function close() {
    menu.hidePopover()
    opens.focus()
  }

  function step(event) {
    if (event.key === "Escape") {
      event.preventDefault()
      return close()
    }
    const items = [...menu.children], at = items.indexOf(head.getRootNode().activeElement)
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key]
    if (to === undefined) return
    event.preventDefault()
    items[(to + items.length) % items.length].focus()
  }

  function prepare() {
    const plots = plotsIn(card())
    ITEMS.forEach(([name, text], i) => {
      const item = menu.children[i], without = PICTURES.has(name) && !plots.length && !model.draws
      item.textContent = name === "enlarge" && card().matches(":popover-open") ? "Back to its place" : text
      item.ariaDisabled = String(without)
      item.title = without ? "What is shown here is no plot" : ""
    })
    place(menu, opens)
  }

  async function choose(name, item) {
    if (name === "enlarge") {
      close()
      enlarge(!card().matches(":popover-open"))
      return
    }
    const plots = PICTURES.has(name) ? plotsIn(card()) : []
    if (!plots.length) return ask(name, item)
    close()
    const own = [...(card().classList)].find((one) => one.startsWith("vac-") && one !== "vac-view")
    save(await picture(plots, name, ground(card())), `${(own ?? "view").replace("vac-", "vacpanel-")}.${name}`)
  }

  // From the server ----------------------------------------------------------------------------------------------------

  function ask(name, button) {
    asked = button
    const drawn = PICTURES.has(name)
    if (drawn) kind = name
    const shown = drawn ? rowsIn(card()) : []
    model.send_msg({ do: drawn ? "svg" : name, shown, page: location.origin + location.pathname })
  }

  async function receive(answer) {
    const button = asked
    asked = null
    if (answer.sql) return copyText(answer.sql, button ?? opens, "Copied")
    if (answer.failed) {
      if (button) { button.title = answer.failed; button.textContent = "It failed" }
      return
    }
    if (menu?.matches(":popover-open")) close()
    const bytes = Uint8Array.from(atob(answer.data), (letter) => letter.charCodeAt(0))
    if (!answer.name.endsWith(".svg")) return save(new Blob([bytes], { type: answer.type }), answer.name)
    const drawing = recoloured(bytes, card())
    save(kind === "png" ? await painted(drawing) : drawing, answer.name.replace(/svg$/, kind))
  }

  // Enlarged -----------------------------------------------------------------------------------------------------------

  function enlarge(on) {
    const element = card()
    if (!on) {
      element.hidePopover()
      element.removeAttribute("popover")
      removeEventListener("keydown", leave)
      return
    }
    element.setAttribute("popover", "manual")
    element.showPopover()
    addEventListener("keydown", leave)
  }

  function leave(event) {
    if (event.key === "Escape" && !event.defaultPrevented && !menu?.matches(":popover-open")) enlarge(false)
  }

  // Tip ----------------------------------------------------------------------------------------------------------------

  function explain() {
    if (!tip) {
      tip = document.createElement("div")
      Object.assign(tip, { className: "tip", popover: "manual", id: "tip", textContent: model.help })
      tip.setAttribute("role", "tooltip")
      asks.setAttribute("aria-describedby", "tip")
      head.append(tip)
    }
    if (tip.matches(":popover-open")) return
    place(tip, asks)
    tip.showPopover()
  }

  const hush = () => tip?.matches(":popover-open") && tip.hidePopover()
  for (const name of ["pointerenter", "focus", "click"]) asks.addEventListener(name, explain)
  for (const name of ["pointerleave", "blur"]) asks.addEventListener(name, hush)
  asks.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.preventDefault(); hush() } })

  // The button shows and hides its menu by itself once it has one.
  opens.addEventListener("click", () => { if (!menu) makeMenu() })
  action.addEventListener("click", () => ask("act", action))
  model.on("msg:custom", receive)
  model.on("heading", draw)
  model.on("action", draw)
  model.on("remove", () => removeEventListener("keydown", leave))
  draw()
  return head
}
