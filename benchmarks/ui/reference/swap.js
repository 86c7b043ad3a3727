// What a tap does when everything is in the browser already: other arrays are put into the plots.

const state = (globalThis.swapped ??= { model: 0, root: 0, kept: null, chosen: [] })
const { images, right, x, y } = facts.data
const M = models, N = classes, R = spokes.length
const keeps = (c) => state.kept === null || state.kept.has(c)
const rate = (m, c) => (images[m * N + c] ? right[m * N + c] / images[m * N + c] : 0)

function rank(ids, rates) {
  const order = ids.sort((a, b) => rates[b] - rates[a] || a - b)
  const of = (f) => Float32Array.from(order, f)
  return {
    class_id: Int32Array.from(order),
    root: Uint8Array.from(order, (c) => root[c]),
    left: of((_, i) => i - half), right: of((_, i) => i + half), bottom: of(() => 0), top: of((c) => rates[c]),
    top1: of((c) => rates[c]),
  }
}
function polygon(m) {
  const seen = new Float64Array(R), hit = new Float64Array(R)
  for (let c = 0; c < N; c++) if (keeps(c)) {
    seen[root[c]] += images[m * N + c]
    hit[root[c]] += right[m * N + c]
  }
  const at = [...spokes.keys(), 0]
  return {
    xs: at.map((r) => (hit[r] / seen[r]) * Math.sin(spokes[r])),
    ys: at.map((r) => (hit[r] / seen[r]) * Math.cos(spokes[r])),
    seen,
  }
}
// Triangles over the chosen classes among some bars.
function marked({ class_id, top }) {
  const at = [...class_id.keys()].filter((i) => state.chosen.includes(class_id[i]))
  return { x: at, y: at.map((i) => Math.min(top[i] + 0.05, 1.05)) }
}

function show_model() {
  const m = state.model
  show_bars()
  graph.data = { ...graph.data, x: x.slice(m * N, (m + 1) * N), y: y.slice(m * N, (m + 1) * N), top1: rates_of(m) }
  show_pinned()
  show_own()
  show_rings()
  if (state.chosen.length) show_models()
}
function rates_of(m) {
  return Float32Array.from({ length: N }, (_, c) => rate(m, c))
}
function show_bars() {
  bars.data = rank([...Array(N).keys()].filter(keeps), rates_of(state.model))
  marks.data = marked(bars.data)
}
function show_pinned() {
  const m = state.model, { xs, ys } = polygon(m)
  pinned.data = { x: xs, y: ys }
  corners.data = { x: xs.slice(0, R), y: ys.slice(0, R) }
  ring.data = { x: [scatter.data.x[m]], y: [scatter.data.y[m]] }
}
function show_own() {
  const ids = rootbars.data.class_id
  own.data = { x: [...ids.keys()], y: Array.from(ids, (c) => rate(state.model, c)) }
}
function show_root() {
  const ids = [...Array(N).keys()].filter((c) => root[c] === state.root && keeps(c))
  const mean = new Float32Array(N), low = new Float32Array(N), high = new Float32Array(N)
  for (const c of ids) {
    const rates = Array.from({ length: M }, (_, m) => rate(m, c))
    mean[c] = rates.reduce((sum, one) => sum + one, 0) / M
    low[c] = Math.min(...rates)
    high[c] = Math.max(...rates)
  }
  rootbars.data = rank(ids, mean)
  const order = [...rootbars.data.class_id], at = [...order.keys()]
  ranges.data = { x0: at, y0: order.map((c) => low[c]), x1: at, y1: order.map((c) => high[c]) }
  rootmarks.data = marked(rootbars.data)
  show_own()
  graph.data = {
    ...graph.data,
    alpha: Float32Array.from(root, (r, c) => (keeps(c) ? (r === state.root ? 0.95 : 0.35) : 0.1)),
    size: Float32Array.from(root, (r) => (r === state.root ? 8 : 6)),
  }
  spoke.data = { xs: [[0, Math.sin(spokes[state.root])]], ys: [[0, Math.cos(spokes[state.root])]] }
  dots.data = { ...dots.data, size: spokes.map((_, r) => (r === state.root ? 15 : 9)) }
}
function show_rings() {
  point.data = {
    x: state.chosen.map((c) => graph.data.x[c]),
    y: state.chosen.map((c) => graph.data.y[c]),
  }
}
// E: the models on the newest of the chosen classes, the best on top.
function show_models() {
  const few = state.chosen.slice(-most)
  const rates = Array.from({ length: M }, (_, m) => few.map((c) => rate(m, c)))
  const mean = rates.map((each) => each.reduce((sum, one) => sum + one, 0))
  const order = [...rates.keys()].sort((a, b) => mean[a] - mean[b])
  const of = (f) => order.flatMap((m, i) => few.map((c, j) => f(m, i, j)))
  lines.data = {
    x0: order.map((m) => (few.length < 2 ? 0 : Math.min(...rates[m]))), y0: [...order.keys()],
    x1: order.map((m) => Math.max(...rates[m])), y1: [...order.keys()],
  }
  onclasses.data = {
    x: of((m, _, j) => rates[m][j]), y: of((_, i) => i), color: of((_, __, j) => palette[j % palette.length]),
    edge: of((m, _, j) => (m === state.model ? "#E69F00" : palette[j % palette.length])),
  }
}
function show_chosen() {
  marks.data = marked(bars.data)
  rootmarks.data = marked(rootbars.data)
  show_rings()
  show_models()
}
function show_kept() {
  const all = Array.from({ length: M }, (_, m) => polygon(m))
  radar.data = { ...radar.data, xs: all.map(({ xs }) => xs), ys: all.map(({ ys }) => ys) }
  names.data = { ...names.data, text: roots.map((name, r) => `${name}\n${all[state.model].seen[r]}`) }
  const top = Float64Array.from({ length: M }, (_, m) => {
    let seen = 0, hit = 0
    for (const c of state.kept) { seen += images[m * N + c]; hit += right[m * N + c] }
    return hit / seen
  })
  scatter.data = { ...scatter.data, y: top }
  labels.data = { ...labels.data, y: top }
  show_bars()
  show_pinned()
  show_root()
  show_rings()
  show_models()
}

const index = [...cb_obj.indices]
if (index.length) {
  cb_obj.indices = []
  if (what === "model") { state.model = index.at(-1); show_model() }
  else if (what === "root") { state.root = index.at(-1); show_root() }
  else if (index.length <= one_tap) { state.chosen = index.slice(-1); show_chosen() }
  else { state.kept = new Set(index); state.chosen = index; show_kept() }
}
