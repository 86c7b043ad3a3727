// A plot that comes into sight has to be laid out for the place that it gets there. Bokeh does so when it sees the place
// change, which it does not where a part around the plot has measured it first: the plot would stay as it was made, out
// of sight and without a size.
if (!globalThis.vacpanelPlots) {
  globalThis.vacpanelPlots = true
  const views = Bokeh.Models.get("Plot").prototype.default_view.prototype
  const resized = views.after_resize
  views.after_resize = function () {
    resized.call(this)
    const place = this.bbox, made = this.layout?.bbox
    if (!this.is_displayed || !place.width) return
    if (!made) this.invalidate_layout()
    else if (made.width !== place.width || made.height !== place.height) this.compute_layout()
  }
}
