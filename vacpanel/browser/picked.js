// Tells which marks were picked, by their rows. Until the pointer moves again, what hover says stays as it is: Bokeh would
// lay it out anew at every paint.
const view = Bokeh.index.find_one_by_id(renderer.id)
const tell = (...rows) => {
  for (const tool of view.plot_view.tool_views.values()) if ("_current_sxy" in tool) tool._current_sxy = null
  pick.tags = [(pick.tags[0] ?? 0) + 1, ...rows]
}
