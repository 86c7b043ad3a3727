// Bokeh lays out the whole page, at once, for every property of any part that may change a size (`LayoutDOMView`
// says itself that it would be better not to). A click may change several, and building the page some fifty; each time
// is a quarter of a second in a page of ours. So the page notes that it is to be laid out, and is so once, before the
// browser's next frame: nobody sees anything in between. Plots that are new on a page must not wait: one may be painted
// or pointed at as soon as it is there, and needs its layout for that.
{
  const LATEST = 100 // ms; a page in the background gets no frames
  const due = new Set()
  let timer, frame

  function layOut() {
    clearTimeout(timer)
    cancelAnimationFrame(frame)
    const roots = [...due]
    due.clear()
    for (const root of roots) {
      if (!root.el.isConnected) continue
      root.update_layout()
      root.compute_layout()
    }
  }

  const isPlot = ({ model }) => model instanceof Bokeh.Models.get("Plot")
  const isNew = (view) => (isPlot(view) ? view.layout == null : (view.child_views ?? []).some(isNew))

  let base = null // the class that all parts of a page derive from
  for (let at = Bokeh.Models.get("Column").prototype.default_view.prototype; at; at = Object.getPrototypeOf(at))
    if (Object.hasOwn(at, "invalidate_layout")) base = at
  const up = base.invalidate_layout
  let asksPlot = false
  base.invalidate_layout = function () {
    asksPlot ||= isPlot(this)
    if (typeof this.parent?.invalidate_layout === "function") return up.call(this)
    due.add(this)
    const now = asksPlot || (this._layout_computed && isNew(this))
    asksPlot = false
    if (now) layOut()
    else if (due.size === 1) {
      timer = setTimeout(layOut, LATEST)
      frame = requestAnimationFrame(layOut)
    }
  }
}
