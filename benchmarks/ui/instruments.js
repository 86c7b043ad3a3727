// Put into every page before its own scripts: notes when something is drawn on which canvas, and finds marks.
//
// A reading begins with a pointer's release and ends with the last stroke on a canvas of a view. Drawing calls are
// noted by wrapping them, which costs some hundred nanoseconds a call.

globalThis.instruments = (() => {
  const TOOLBAR = 40 // px that the tools take when they lie inside the frame
  const drawn = new Map() // canvas -> time of its last stroke since the last release
  let released = 0
  let last = 0
  const frames = [] // times of animation frames, while they are recorded
  let recording = false
  let watch = null // looks at what was drawn
  let watching = false

  function noted() {
    if (!watch || watching) return
    watching = true
    setTimeout(() => {
      watching = false
      watch?.()
    })
  }
  for (const name of ["fill", "stroke", "fillRect", "strokeRect", "clearRect", "fillText", "drawImage", "putImageData"]) {
    const original = CanvasRenderingContext2D.prototype[name]
    CanvasRenderingContext2D.prototype[name] = function () {
      last = performance.now()
      drawn.set(this.canvas, last)
      noted()
      return original.apply(this, arguments)
    }
  }
  window.addEventListener("pointerup", (event) => { drawn.clear(); released = last = event.timeStamp }, true)

  // Elements around one, out of shadow roots, too.
  function* around(element) {
    for (let node = element; node; node = node.parentNode ?? node.host) if (node.matches) yield node
  }
  function within(element, selector) {
    for (const node of around(element)) if (node.matches(selector)) return true
    return false
  }
  function* everything(root = document) {
    for (const element of root.querySelectorAll("*")) {
      yield element
      if (element.shadowRoot) yield* everything(element.shadowRoot)
    }
  }

  const met = new Map() // figure -> its view, which Bokeh goes through all views to find
  function viewOf(figure) {
    if (!met.get(figure)?.el.isConnected) met.set(figure, Bokeh.index.find_one_by_id(figure.id))
    return met.get(figure)
  }
  function* figures(selector) {
    for (const doc of globalThis.Bokeh?.documents ?? [])
      for (const model of doc._all_models.values())
        if (model.type === "Figure") {
          const view = viewOf(model)
          if (view && within(view.el, selector)) yield view
        }
  }

  // A number for all that a view's plots draw: another one means that something changed.
  function mix(hash, value) {
    if (typeof value === "number") return value === value ? (Math.imul(hash, 31) + Math.fround(value) * 4096) | 0 : hash
    if (typeof value === "string") {
      for (let i = 0; i < value.length; i++) hash = (Math.imul(hash, 31) + value.charCodeAt(i)) | 0
      return hash
    }
    if (value && typeof value === "object" && typeof value.length === "number") {
      hash = (Math.imul(hash, 31) + value.length) | 0
      for (let i = 0; i < value.length; i++) hash = mix(hash, value[i])
    }
    return hash
  }
  function content(views) {
    let hash = 17
    for (const { model } of views)
      for (const { data_source } of model.renderers)
        if (data_source) for (const column of Object.values(data_source.data)) hash = mix(hash, column)
    return hash
  }

  // What the views with these selectors show now.
  function look(selectors) {
    return Object.fromEntries(selectors.map((selector) => [selector, content(figures(selector))]))
  }

  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

  // Wait until these views show something else and nothing was drawn for `quiet` ms; tell how long it took.
  async function settled(before, quiet, limit) {
    let same = Object.keys(before)
    let since = null // what is new at this moment may still have to be drawn
    while (performance.now() - released < limit) {
      await sleep(20)
      if (performance.now() - Math.max(last, since) < quiet) continue
      if (since !== null) return reading([])
      same = same.filter((selector) => content(figures(selector)) === before[selector])
      if (!same.length) since = performance.now()
    }
    return reading(same)
  }
  function reading(same) {
    const views = {}
    for (const [canvas, time] of drawn)
      for (const node of around(canvas)) {
        const name = [...node.classList].find((name) => name.startsWith("vac-") && name !== "vac-view")
        if (!name || node.localName.startsWith("vac-")) continue
        views[name] = Math.max(views[name] ?? 0, time - released)
        break
      }
    const pictures = performance.getEntriesByType("resource")
      .filter((entry) => entry.initiatorType === "img" && entry.startTime > released)
      .map((entry) => entry.responseEnd - released)
    return { total: Math.max(0, ...Object.values(views)), views, pictures: Math.max(0, ...pictures), same }
  }

  // Marks of a view: [value of the key, x, y] on the screen, those inside the frame only.
  function marks(selector, key, without) {
    for (const view of figures(selector))
      for (const { data_source, glyph } of view.model.renderers) {
        const data = data_source?.data
        if (!data || !(key in data) || without.some((name) => name in data) || data[key].length === 0) continue
        const box = view.canvas_view.el.getBoundingClientRect()
        const { left, top, bottom } = view.frame.bbox
        const right = view.frame.bbox.right - (view.model.toolbar_inner ? TOOLBAR : 0)
        const found = []
        for (let i = 0; i < data[key].length; i++) {
          const x = view.frame.x_scale.compute("left" in data ? (data.left[i] + data.right[i]) / 2 : data.x[i])
          const y = view.frame.y_scale.compute("left" in data ? (data.bottom[i] + data.top[i]) / 2 : data.y[i])
          if (x > left + 2 && x < right - 2 && y > top + 2 && y < bottom - 2)
            found.push([data[key][i], box.x + x, box.y + y])
        }
        return found
      }
    return []
  }

  // Make dragging draw a box that selects, as the tool in the toolbar does when it is chosen.
  function select_by_box(selector) {
    for (const { model } of figures(selector)) {
      const tool = model.toolbar.tools.find((tool) => tool.type === "BoxSelectTool")
      if (!tool) continue
      model.toolbar.active_drag = tool
      tool.active = true
      return true
    }
    return false
  }

  // When every one of these views had been drawn for the first time, in ms since the page was asked for; null if they are
  // not within `limit` ms. Looked at after every drawing, from within: asking again and again takes time from the page.
  function painted(selectors, limit) {
    const first = new Map()
    return new Promise((resolve) => {
      setTimeout(resolve, limit, null)
      watch = () => {
        for (const selector of selectors) {
          if (first.has(selector)) continue
          const views = [...figures(selector)]
          const canvases = [...drawn.keys()].filter((canvas) => within(canvas, selector))
          if (views.length && canvases.length && content(views) !== 17)
            first.set(selector, Math.max(...canvases.map((canvas) => drawn.get(canvas))))
        }
        if (first.size < selectors.length) return
        watch = null
        resolve(Math.max(...first.values()))
      }
      watch()
    })
  }

  // Wait until so many rows of explanations are done and their heatmaps near the screen are painted.
  async function explained(rows, quiet, limit) {
    let heatmaps = []
    while (performance.now() - released < limit) {
      await sleep(20)
      if (performance.now() - last < quiet) continue
      heatmaps = elements("vac-map[data-kind=heatmap]").filter((map) => map.near && !map.closest("dialog"))
      const done = elements("tr[data-key][data-state=done]").length
      const ready = heatmaps.length > 0 && heatmaps.every((map) => "ready" in map.dataset && drawn.has(map.canvas))
      if (done === rows && ready) {
        const times = heatmaps.map((map) => drawn.get(map.canvas) - released)
        return { total: Math.max(...times), first: Math.min(...times), maps: heatmaps.length }
      }
    }
    return null
  }
  function elements(selector) {
    return [...everything()].filter((element) => element.matches(selector))
  }

  function record(on) {
    recording = on
    if (!on) return frames.splice(0)
    const tick = (time) => {
      if (!recording) return
      frames.push(time)
      requestAnimationFrame(tick)
    }
    requestAnimationFrame(tick)
  }

  return { look, settled, marks, select_by_box, painted, explained, elements, record, last: () => last, released: () => released }
})()
