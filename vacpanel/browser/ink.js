// Axes and titles are painted on a canvas, where no style sheet reaches: give them the colour of the text around them.
globalThis.vacpanelInk ??= (figure) => {
  const view = Bokeh.index.find_one_by_id(figure.id)
  if (!view) return
  const ink = getComputedStyle(view.el.parentNode?.host ?? view.el).color
  if (view.vacpanelInk === ink) return
  view.vacpanelInk = ink
  for (const axis of [...figure.left, ...figure.below])
    if ("axis_label_text_color" in axis.attributes)
      axis.setv({ axis_label_text_color: ink, major_label_text_color: ink }, { sync: false })
}
globalThis.vacpanelInk(figure)
