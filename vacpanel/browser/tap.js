// Of the marks below the pointer the nearest is meant. Bokeh's own tool would select all of them, and paint for it.
const view = Bokeh.index.find_one_by_id(renderer.id)
const { sx, sy, x, y } = cb_obj
const at = renderer.data_source.data
const away = (i) => at.x == null || at.y == null ? 0 :
  ((at.x[i] - x) / (figure.x_range.end - figure.x_range.start)) ** 2 +
  ((at.y[i] - y) / (figure.y_range.end - figure.y_range.start)) ** 2
const hits = [...(view?.hit_test({ type: "point", sx, sy })?.indices ?? [])].sort((i, j) => away(i) - away(j))
if (hits.length) {
  // Until the pointer moves again, what hover says stays as it is: Bokeh would lay it out anew at every paint.
  for (const tool of view.plot_view.tool_views.values()) if ("_current_sxy" in tool) tool._current_sxy = null
  pick.tags = [(pick.tags[0] ?? 0) + 1, hits[0]]
}
