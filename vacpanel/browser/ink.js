// Axes and titles are painted on a canvas, where no style sheet reaches: give them the colour of the text around them.
globalThis.vacpanelInk ??= (figure) => {
  const view = Bokeh.index.find_one_by_id(figure.id)
  if (!view) return
  const ink = getComputedStyle(view.el.parentNode?.host ?? view.el).color
  if (view.vacpanelInk !== ink) {
    view.vacpanelInk = ink
    for (const axis of [...figure.left, ...figure.below])
      if ("axis_label_text_color" in axis.attributes)
        axis.setv({ axis_label_text_color: ink, major_label_text_color: ink }, { sync: false })
  }
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
  // Whenever the page is laid out, a toolbar takes its buttons out and measures them one by one: once a size is enough.
  const toolbar = view.renderer_views.get(view._toolbar)?.toolbar_view
  if (toolbar?._items && !toolbar.vacpanelMeasured) {
    const measure = toolbar._after_render
    toolbar._after_render = function () {
      this.update_bbox()
      const { width, height } = this.bbox, [first] = this._items
      const [w, h, button, count] = this.vacpanelMeasured ?? []
      if (w === width && h === height && button === first && count === this._items.length) return
      this.vacpanelMeasured = [width, height, first, this._items.length]
      measure.call(this)
    }
  }
  // An axis whose labels get another length makes Bokeh lay the whole plot out again: it keeps the room that it has.
  for (const axis of view.axis_views) {
    if (axis.vacpanelRoom) continue
    axis.vacpanelRoom = axis.get_size()
    if (axis.model.tags.length) axis.vacpanelRoom.height = axis.model.tags[0]
    axis.get_size = () => axis.model.visible ? axis.vacpanelRoom : { width: 0, height: 0 }
  }
}
globalThis.vacpanelInk(figure)
