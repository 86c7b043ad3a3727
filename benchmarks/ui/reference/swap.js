// What a tap does when everything is in the browser already: other arrays are put into the plots.

const state = (globalThis.swapped ??= { model: 0, root: 0, kept: null })
const { images, right, x, y } = facts.data
const M = models, N = classes, R = spokes.length
const keeps = (c) => state.kept === null || state.kept.has(c)

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
function rates_of(m) {
  return Float32Array.from({ length: N }, (_, c) => (images[m * N + c] ? right[m * N + c] / images[m * N + c] : 0))
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
  }
}

function show_model() {
  const m = state.model, rates = rates_of(m)
  const ids = [...Array(N).keys()].filter(keeps)
  bars.data = rank(ids, rates)
  graph.data = { ...graph.data, x: x.slice(m * N, (m + 1) * N), y: y.slice(m * N, (m + 1) * N), top1: rates }
  const { xs, ys } = polygon(m)
  pinned.data = { x: xs, y: ys }
  ring.data = { x: [scatter.data.x[m]], y: [scatter.data.y[m]] }
}
function show_root() {
  const ids = [...Array(N).keys()].filter((c) => root[c] === state.root && keeps(c))
  const mean = new Float32Array(N)
  for (const c of ids) {
    let sum = 0
    for (let m = 0; m < M; m++) sum += right[m * N + c] / images[m * N + c]
    mean[c] = sum / M
  }
  rootbars.data = rank(ids, mean)
  graph.data = { ...graph.data, alpha: Float32Array.from(root, (r) => (r === state.root ? 0.95 : 0.35)) }
}
function show_class(c) {
  const rank = bars.data.class_id.indexOf(c)
  marks.data = { x: [rank], y: [bars.data.top[rank] + 0.05] }
  point.data = { x: [graph.data.x[c]], y: [graph.data.y[c]] }
}
function show_kept() {
  const lines = Array.from({ length: M }, (_, m) => polygon(m))
  radar.data = { ...radar.data, xs: lines.map(({ xs }) => xs), ys: lines.map(({ ys }) => ys) }
  const top = Float64Array.from({ length: M }, (_, m) => {
    let seen = 0, hit = 0
    for (const c of state.kept) { seen += images[m * N + c]; hit += right[m * N + c] }
    return hit / seen
  })
  scatter.data = { ...scatter.data, y: top }
  show_model()
  show_root()
}

const chosen = [...cb_obj.indices]
if (chosen.length) {
  cb_obj.indices = []
  if (what === "model") { state.model = chosen.at(-1); show_model() }
  else if (what === "root") { state.root = chosen.at(-1); show_root() }
  else if (chosen.length <= one_tap) show_class(chosen.at(-1))
  else { state.kept = new Set(chosen); show_kept() }
}
