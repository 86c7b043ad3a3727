const TOGETHER = 400  // ms: what follows so closely belongs to the same step

export function render({ model }) {
  let last = -Infinity
  function write() {
    if (!model.query || model.query === location.search) return
    const now = performance.now()
    // The first address was typed; what the page makes of it is no step of its own.
    const step = last > -Infinity && now - last > TOGETHER ? "pushState" : "replaceState"
    last = now
    history[step]({}, "", location.pathname + model.query + location.hash)
  }
  const gone = () => model.send_msg(location.search)
  window.addEventListener("popstate", gone)
  // After the views are painted: an entry in the history costs some milliseconds.
  model.on("query", () => setTimeout(write, 150))
  model.on("remove", () => window.removeEventListener("popstate", gone))
  write()
  return document.createElement("div")
}
