// Maps painted in the page: `<vac-map>` draws a heatmap, a region of interest or the colours in it from two pictures,
// what the model saw and the map's layers, so that another threshold needs nobody but the browser.
//
// Every component that shows maps brings this text; the first to come makes `vacpanelMaps`, all others share it.
// LOOK, constants of vacpanel/render.py and layers.py, stands before it.

const maps = (globalThis.vacpanelMaps ??= makeMaps())

function makeMaps() {
  const PIXELS_KEPT = 6e6 // of decoded maps, 13 bytes each
  const DURATIONS_KEPT = 600
  const BINS = 32, CHANNELS = 3
  const SHADES = ["230, 60, 50", "40, 170, 70", "70, 120, 250"]

  // What the last repaints for a changed threshold took, in ms: for tests and benchmarks.
  const frames = (globalThis.vacpanelFrames ??= { count: 0, pictures: 0, durations: [] })

  // By step of attention: what its colour adds to the grey picture, above the threshold and below.
  const STEPS = LOOK.steps
  const [bright, dim] = [LOOK.color, LOOK.color * LOOK.dim].map((strength) => {
    const colors = new Float32Array(CHANNELS * (STEPS + 1))
    for (let step = 0; step <= STEPS; step++) {
      const at = Math.round(255 * Math.min(1, (step + 0.5) / STEPS))
      for (let channel = 0; channel < CHANNELS; channel++) {
        const from = 2 * (CHANNELS * at + channel)
        colors[CHANNELS * step + channel] = strength * parseInt(LOOK.scale.slice(from, from + 2), 16)
      }
    }
    return colors
  })
  const grayAbove = 1 - LOOK.color
  const grayBelow = LOOK.shadow * (1 - LOOK.color * LOOK.dim)
  const outside = 0xff000000 | (LOOK.outside * 0x010101)

  // Attention is sent rounded down to steps: it reaches the threshold where its step reaches this one.
  const stepOf = (threshold) => Math.ceil(STEPS * threshold - 1e-6)

  // One threshold for all pictures of a session; two dashboards in one notebook do not disturb each other.
  class Group {
    threshold = 0.5
    held = false // by a hand on a slider: what the server says meanwhile is old
    pictures = new Set()
    followers = new Set() // called with (threshold, settled) after the pictures
    sliders = new Set() // take a threshold to the server; what the server says comes through them, too
    others = new Set() // take it there where there is no slider

    drag(threshold) {
      this.move(threshold, false)
    }

    commit(threshold) {
      this.move(threshold, true)
      const [first] = [...this.sliders, ...this.others]
      first?.(threshold)
    }

    settle(threshold) {
      if (!this.held) this.move(threshold, true)
    }

    // For what shows maps and may be on the page without a slider.
    join(model, follow) {
      const settle = () => this.sliders.size || this.settle(model.threshold)
      const commit = (threshold) => model.send_msg({ threshold })
      this.followers.add(follow)
      this.others.add(commit)
      model.on("threshold", settle)
      model.on("remove", () => {
        this.followers.delete(follow)
        this.others.delete(commit)
      })
      settle()
    }

    move(threshold, settled) {
      this.settled = this.settled || settled
      if (threshold === this.threshold && !settled) return
      this.threshold = threshold
      this.frame ??= requestAnimationFrame(() => this.repaint())
    }

    repaint() {
      const started = performance.now()
      this.frame = null
      let painted = 0
      for (const picture of this.pictures) painted += picture.follow()
      const settled = this.settled
      this.settled = false
      for (const follow of this.followers) follow(this.threshold, settled)
      if (!painted) return
      frames.count++
      frames.pictures = painted
      frames.durations.push(performance.now() - started)
      if (frames.durations.length > DURATIONS_KEPT) frames.durations.shift()
    }
  }

  const groups = new Map()
  const group = (name) => groups.get(name) ?? groups.set(name, new Group()).get(name)

  // Decoding -------------------------------------------------------------------------------------------------------

  async function picture(address) {
    const image = new Image()
    image.src = address
    await image.decode()
    return image
  }

  // Maps that are likely to be shown next, fetched and decoded while nobody waits; the pictures are held, so that the
  // browser keeps them. `side` as for `decode`, if it is known.
  let expected = []

  async function expect(sources, side) {
    const images = (expected = [...new Set(sources.flatMap(({ picture, layers }) => [picture, layers]))].map(
      (address) => Object.assign(new Image(), { fetchPriority: "low", src: address })))
    for (const source of sources) {
      await idle()
      if (expected !== images) return
      await decode(source, side).catch(() => {}) // whoever shows it will find out
    }
  }

  const idle = () => new Promise((go) => (globalThis.requestIdleCallback ?? setTimeout)(() => go()))

  // The browser asks for an address once, however many want it.
  function begin({ picture, layers }) {
    if (!layers) return
    for (const address of [picture, layers]) new Image().src = address
  }

  function pixels(image, width, height) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height })
    const context = canvas.getContext("2d", { willReadFrequently: true })
    context.imageSmoothingQuality = "high"
    context.drawImage(image, 0, 0, width, height)
    return context.getImageData(0, 0, width, height).data
  }

  class Decoded {
    constructor(seen, layers, width, height) {
      Object.assign(this, { width, height })
      const count = width * height
      this.steps = new Uint8Array(count)
      this.seen = new Uint32Array(seen.buffer.slice(0))
      this.above = new Uint32Array(count)
      this.below = new Uint32Array(count)
      const above = new Uint8ClampedArray(this.above.buffer), below = new Uint8ClampedArray(this.below.buffer)
      for (let i = 0, at = 0; i < count; i++, at += 4) {
        const step = (this.steps[i] = Math.min(layers[at], STEPS))
        const keep = 1 - layers[at + 1] / 255, add = layers[at + 2]
        const gray = (seen[at] * 19595 + seen[at + 1] * 38470 + seen[at + 2] * 7471 + 0x8000) >> 16
        for (let channel = 0; channel < CHANNELS; channel++) {
          const color = CHANNELS * step + channel
          above[at + channel] = Math.round(grayAbove * gray + bright[color]) * keep + add
          below[at + channel] = Math.round(grayBelow * gray + dim[color]) * keep + add
        }
        above[at + 3] = below[at + 3] = 255
      }
    }

    // (3, 32) pixels of the region by channel and intensity; counted once for all thresholds.
    tones(step) {
      const size = CHANNELS * BINS
      if (!this.counts) {
        const counts = (this.counts = new Uint32Array((STEPS + 1) * size))
        const bytes = new Uint8Array(this.seen.buffer)
        for (let i = 0; i < this.steps.length; i++)
          for (let channel = 0; channel < CHANNELS; channel++)
            counts[this.steps[i] * size + channel * BINS + (bytes[4 * i + channel] >> 3)]++
        for (let at = STEPS * size - 1; at >= 0; at--) counts[at] += counts[at + size]
      }
      return step > STEPS ? new Uint32Array(size) : this.counts.subarray(step * size, (step + 1) * size)
    }
  }

  // The maps that were decoded last; those on the page hold theirs themselves.
  const decoded = new Map()

  // A map in as many pixels as it is wide on the screen, `side`, or in its own if these are hardly more or `side` is
  // missing. Here and not by the style sheet, which would draw thin lines as rows of dots. Layers can be reduced as
  // they are: attention is smooth, and what lines add to a pixel is a sum.
  function decode(source, side) {
    const name = `${side}\n${source.picture}\n${source.layers}`
    let found = decoded.get(name)
    decoded.delete(name)
    if (!found) {
      found = Promise.all([picture(source.picture), picture(source.layers)]).then(([seen, layers]) => {
        const { naturalWidth, naturalHeight } = layers
        const scale = side && side < 0.8 * naturalWidth ? side / naturalWidth : 1
        const [width, height] = [naturalWidth, naturalHeight].map((length) => Math.max(1, Math.round(scale * length)))
        return new Decoded(pixels(seen, width, height), pixels(layers, width, height), width, height)
      })
      found.then((map) => { found.size = map.width * map.height }, () => decoded.delete(name))
    }
    decoded.set(name, found)
    let kept = 0
    for (const [key, map] of [...decoded].reverse()) if ((kept += map.size ?? 0) > PIXELS_KEPT) decoded.delete(key)
    return found
  }

  // Painting -------------------------------------------------------------------------------------------------------

  const scratch = new Map() // one ImageData by size, for all

  function canvasPixels(width, height) {
    const name = `${width}x${height}`
    if (!scratch.has(name)) {
      const image = new ImageData(width, height)
      scratch.set(name, { image, words: new Uint32Array(image.data.buffer) })
    }
    return scratch.get(name)
  }

  function sized(canvas, width, height) {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
  }

  const painters = {
    heatmap(element, map, step) {
      select(element.canvas, map, step, map.above, map.below)
    },
    region(element, map, step) {
      select(element.canvas, map, step, map.seen, null)
    },
    colours(element, map, step) {
      element.counts = map.tones(step)
      chart(element.canvas, element.box, element.counts)
    },
  }

  function select(canvas, map, step, above, below) {
    const { image, words } = canvasPixels(map.width, map.height)
    const { steps } = map
    if (below) for (let i = 0; i < words.length; i++) words[i] = steps[i] >= step ? above[i] : below[i]
    else for (let i = 0; i < words.length; i++) words[i] = steps[i] >= step ? above[i] : outside
    sized(canvas, map.width, map.height)
    canvas.getContext("2d").putImageData(image, 0, 0)
  }

  // Intensity to the right, share of the region's pixels upwards.
  function chart(canvas, box, counts) {
    const scale = globalThis.devicePixelRatio || 1
    const [width, height] = [box?.width || 100, box?.height || 80].map((side) => Math.max(1, Math.round(scale * side)))
    sized(canvas, width, height)
    const context = canvas.getContext("2d")
    context.clearRect(0, 0, width, height)
    const top = counts.reduce((a, b) => Math.max(a, b), 1)
    context.lineWidth = 1.2 * scale
    for (let channel = 0; channel < CHANNELS; channel++) {
      context.beginPath()
      for (let bin = 0; bin < BINS; bin++) {
        const y = height - 1 - (counts[channel * BINS + bin] / top) * (height - 3)
        context.lineTo((bin / BINS) * width, y)
        context.lineTo(((bin + 1) / BINS) * width, y)
      }
      context.strokeStyle = `rgb(${SHADES[channel]})`
      context.stroke()
      context.lineTo(width, height)
      context.lineTo(0, height)
      context.fillStyle = `rgba(${SHADES[channel]}, .22)`
      context.fill()
    }
    context.fillStyle = "rgba(128, 128, 128, .7)"
    context.fillRect(0, height - scale, width, scale)
  }

  // The scale of a heatmap's colours over a grey picture, dimmed below the threshold.
  function legend(canvas, threshold) {
    const width = STEPS, height = 12, { image, words } = canvasPixels(width, height), bytes = image.data
    const at = stepOf(threshold)
    for (let step = 0; step < STEPS; step++) {
      const inside = step >= at
      for (let channel = 0; channel < CHANNELS; channel++) {
        const color = CHANNELS * step + channel
        bytes[4 * step + channel] = inside ? grayAbove * 150 + bright[color] : grayBelow * 150 + dim[color]
      }
      bytes[4 * step + 3] = 255
    }
    for (const level of LOOK.levels) {
      const shade = Math.trunc(120 + 135 * level)
      words[Math.round(level * STEPS)] = 0xff000000 | (shade * 0x010101)
    }
    for (let row = 1; row < height; row++) words.copyWithin(row * width, 0, width)
    sized(canvas, width, height)
    canvas.getContext("2d").putImageData(image, 0, 0)
  }

  // What is near the screen is loaded and painted; what is not waits.
  const watcher = new IntersectionObserver(
    (entries) => entries.forEach(({ target, isIntersecting }) => target.come(isIntersecting)),
    { rootMargin: "30%", scrollMargin: "300px" },
  )
  const measure = new ResizeObserver((entries) => entries.forEach(({ target, contentRect }) => target.fit(contentRect)))

  class VacMap extends HTMLElement {
    near = false

    connectedCallback() {
      this.canvas ??= this.appendChild(document.createElement("canvas"))
      this.group = group(this.dataset.group)
      this.group.pictures.add(this)
      watcher.observe(this)
      measure.observe(this)
    }

    disconnectedCallback() {
      this.group.pictures.delete(this)
      watcher.unobserve(this)
      measure.unobserve(this)
      this.near = false
      this.map = null
    }

    // What it shows before stays until the new map can be painted; one that comes too late is dropped.
    show(source) {
      if (this.source?.layers === source?.layers && this.source?.picture === source?.picture) return
      this.source = source
      this.map = null
      if (source) this.load()
      else {
        this.painted = this.turn = (this.turn ?? 0) + 1
        this.canvas?.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height)
        this.removeAttribute("data-ready")
      }
    }

    come(near) {
      this.near = near
      if (!near) this.map = null
      else this.load()
    }

    fit(box) {
      const before = this.side
      this.box = box
      // In steps: neighbours share what is decoded, and a window that is resized does not decode at every pixel.
      this.side = 16 * Math.ceil((box.width * (globalThis.devicePixelRatio || 1)) / 16)
      if (this.dataset.kind === "colours") this.redraw()
      else if (this.side !== before) this.load()
    }

    async load() {
      if (!this.near || !this.source || !this.side) return
      const turn = (this.turn = (this.turn ?? 0) + 1)
      const { source } = this
      let map = null
      try {
        map = await decode(source, this.dataset.kind === "colours" ? null : this.side)
      } catch {
        // The map went, or the way to the server did; what was painted is better than nothing.
        if (this.source === source) this.dataset.lost = ""
        return
      }
      if (turn <= (this.painted ?? 0)) return
      this.painted = turn
      this.removeAttribute("data-lost")
      this.map = map
      this.redraw()
      if (!this.near) this.map = null
      this.dataset.ready = ""
    }

    // Paint if the threshold moved; tell whether there was something to paint.
    follow() {
      const step = stepOf(this.group.threshold)
      if (!this.map || this.shown === step) return false
      this.shown = step
      painters[this.dataset.kind](this, this.map, step)
      return true
    }

    redraw() {
      this.shown = null
      this.follow()
    }
  }

  customElements.define("vac-map", VacMap)

  function element(kind, name) {
    const made = document.createElement("vac-map")
    Object.assign(made.dataset, { kind, group: name })
    return made
  }

  const percent = (fraction, digits = 0) => `${(100 * fraction).toFixed(digits)}\u00a0%`

  return { group, element, begin, expect, legend, percent, stepOf, frames }
}
