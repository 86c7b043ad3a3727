// What lies in a box or lasso, once it is drawn. Bokeh's tool only draws it: what is selected is ours to show.
if (cb_obj.final && cb_obj.geometry.type !== "point") {
  const rows = view?.hit_test(cb_obj.geometry)?.indices ?? []
  if (rows.length) tell(...rows)
}
