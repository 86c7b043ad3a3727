const TOGETHER = 400  // ms: what follows so closely belongs to the same step

export function render({ model }) {
  let last = -Infinity, turn = model.answered, settled = turn
  function write(step) {
    // While an answer is awaited, what comes belongs to a place in the history that was left.
    if (model.answered !== turn || !model.query || model.query === location.search) return
    last = performance.now()
    history[step]({}, "", location.pathname + model.query + location.hash)
  }
  // The first address was typed, others were gone back to: what the page makes of them is no step of its own.
  function settle() {
    const answers = model.answered !== settled, now = performance.now()
    settled = model.answered
    write(!answers && last > -Infinity && now - last > TOGETHER ? "pushState" : "replaceState")
  }
  const gone = () => model.send_msg({ query: location.search, turn: ++turn })
  window.addEventListener("popstate", gone)
  // After the views are painted: an entry in the history costs some milliseconds.
  for (const name of ["query", "answered"]) model.on(name, () => setTimeout(settle, 150))
  model.on("remove", () => window.removeEventListener("popstate", gone))
  write("replaceState")
  return document.createElement("div")
}
