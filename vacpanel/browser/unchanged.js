// What Bokeh does again whenever a plot is painted or laid out, although nothing has changed, is done once.
globalThis.vacpanelUnchanged ??= (figure) => {
  const view = Bokeh.index.find_one_by_id(figure.id)
  if (!view) return
  // Painting writes the place of every part of a plot into a style sheet, moved or not, and in between asks the style
  // sheets for colours: each time the browser worked out the styles of the whole page.
  const sheet = view.axis_views[0]?.position, { replace } = sheet ?? {}
  if (replace && "css" in sheet && !replace.vacpanel) {
    const kept = function (css, ...more) {
      if (more.length || this.css !== css) replace.call(this, css, ...more)
    }
    kept.vacpanel = true
    sheet.constructor.prototype.replace = kept
  }
  // At every layout of the page a toolbar takes its buttons out and measures them one by one.
  const toolbar = view.renderer_views.get(view._toolbar)?.toolbar_view, measure = toolbar?._after_render
  if (toolbar?._items && !measure.vacpanel) {
    toolbar._after_render = function () {
      this.update_bbox()
      const { width, height } = this.bbox, now = [width, height, this._items.length, this._items[0]]
      if (this.vacpanelMeasured?.every((value, i) => value === now[i])) return
      this.vacpanelMeasured = now
      measure.call(this)
    }
    toolbar._after_render.vacpanel = true
  }
  // Glyphs for marks that are selected, not selected, muted or many are told of all data, too, and of all looks, and are
  // never painted otherwise than the glyph itself: they let it paint.
  for (const marks of view.renderer_views.values())
    for (const name of ["selection_glyph", "nonselection_glyph", "muted_glyph", "decimated_glyph"]) {
      const other = marks[name]
      if (!other || other.vacpanelIdle) continue
      other.vacpanelIdle = true
      for (const told of ["set_data", "set_visuals", "after_visuals", "after_lazy_visuals", "map_data"]) other[told] = () => {}
      other.paint = (context, indices) => marks.glyph.paint(context, indices)
    }
  // An axis whose labels get another length makes Bokeh lay the whole plot out again: it keeps the room that it has.
  for (const axis of view.axis_views) {
    if (axis.vacpanelRoom) continue
    axis.vacpanelRoom = axis.get_size()
    if (axis.model.tags.length) axis.vacpanelRoom.height = axis.model.tags[0]
    axis.get_size = () => axis.model.visible ? axis.vacpanelRoom : { width: 0, height: 0 }
  }
}
globalThis.vacpanelUnchanged(figure)
