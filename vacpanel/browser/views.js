// Every component that opens, and every plot, asks for its view by the id of its model, and Bokeh goes through all views
// of the page for each. Here the views are noted by their ids, once for all who ask. Whether one is still there is seen
// by its element: what is drawn inside a plot has none, and is looked for every time.
{
  const met = new Map() // id of a model -> its first view
  Bokeh.index.find_one_by_id = (id) => {
    if (!met.get(id)?.el?.isConnected) {
      met.clear()
      for (const view of Bokeh.index.all_views()) if (!met.has(view.model.id)) met.set(view.model.id, view)
    }
    return met.get(id) ?? null
  }
}
