// Bokeh lays out the whole page, at once, for every property of any part that may change a size (`LayoutDOMView`
// says itself that it would be better not to). A click changes several, and building the page some fifty; each time is
// a quarter of a second in a page of ours. So the page notes that it is to be laid out, and is so once, before the
// browser's next frame: nobody sees anything in between.
{
  const due = new Set()
  const LATEST = 100 // ms; a page in the background gets no frames

  function layOut() {
    clearTimeout(layOut.timer)
    cancelAnimationFrame(layOut.frame)
    const roots = [...due]
    due.clear()
    for (const root of roots) {
      if (!root.el.isConnected) continue
      root.update_layout()
      root.compute_layout()
    }
  }

  let base = null // the class that all parts of a page derive from
  for (let at = Bokeh.Models.get("Column").prototype.default_view.prototype; at; at = Object.getPrototypeOf(at))
    if (Object.hasOwn(at, "invalidate_layout")) base = at
  const now = base.invalidate_layout
  base.invalidate_layout = function () {
    if (typeof this.parent?.invalidate_layout === "function") return now.call(this)
    if (!due.size) {
      layOut.timer = setTimeout(layOut, LATEST)
      layOut.frame = requestAnimationFrame(layOut)
    }
    due.add(this)
  }
}
