// Every component that opens, and every plot, asks for its view by the id of its model, and Bokeh goes through all views
// of the page for each. Here the views of the page are noted by their ids, once for all who ask.
{
  const met = new Map() // id of a model -> its view, if that is on the page
  const seek = Bokeh.index.find_one_by_id
  Bokeh.index.find_one_by_id = (id) => {
    const view = met.get(id)
    if (view?.el.isConnected) return view
    met.clear()
    for (const other of Bokeh.index.all_views())
      if (other.el?.isConnected && !met.has(other.model.id)) met.set(other.model.id, other)
    return met.get(id) ?? seek.call(Bokeh.index, id)
  }
}
