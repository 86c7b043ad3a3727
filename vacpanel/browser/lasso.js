// What lies in a box or lasso, once it is drawn. Bokeh's own selection is undone: what is selected is ours to show.
if (cb_obj.final && cb_obj.geometry.type !== "point") {
  const { selected } = renderer.data_source
  const rows = selected.indices
  selected.setv({ indices: [] }, { sync: false })
  if (rows.length) pick.tags = [(pick.tags[0] ?? 0) + 1, ...rows]
}
