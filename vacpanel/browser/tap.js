// Of the marks below the pointer the nearest is meant. Bokeh selects all of them, which then look like a lasso's.
const { source, geometries } = cb_data
const { x, y } = source.data
const away = (i) => x == null || y == null ? 0 :
  ((x[i] - geometries.x) / (figure.x_range.end - figure.x_range.start)) ** 2 +
  ((y[i] - geometries.y) / (figure.y_range.end - figure.y_range.start)) ** 2
const hits = [...source.inspected.indices].sort((i, j) => away(i) - away(j))
if (hits.length) source.selected.indices = [hits[0]]
