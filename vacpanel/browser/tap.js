// Of the marks below the pointer the nearest is meant. Bokeh's own tool would select all of them, and paint for it.
const { sx, sy, x, y } = cb_obj
const at = renderer.data_source.data
const away = (i) => at.x == null || at.y == null ? 0 :
  ((at.x[i] - x) / (figure.x_range.end - figure.x_range.start)) ** 2 +
  ((at.y[i] - y) / (figure.y_range.end - figure.y_range.start)) ** 2
const hits = [...(view?.hit_test({ type: "point", sx, sy })?.indices ?? [])].sort((i, j) => away(i) - away(j))
if (hits.length) tell(hits[0])
