// Captioned pictures in a row, as they are or with a map over them.

export function render({ model }) {
  const root = document.createElement("div")
  root.className = "gallery"
  root.style.setProperty("--side", `${model.side}px`)

  function draw() {
    root.replaceChildren(...model.items.map(({ caption, picture, layers }) => {
      const figure = document.createElement("figure")
      const below = document.createElement("figcaption")
      below.append(Object.assign(document.createElement("bdi"), { textContent: caption }))
      if (layers) {
        const map = maps.element("heatmap", model.group)
        map.setAttribute("role", "img")
        map.setAttribute("aria-label", caption)
        map.show({ picture, layers })
        figure.append(map, below)
      } else figure.append(Object.assign(new Image(), { src: picture, alt: caption, loading: "lazy" }), below)
      return figure
    }))
  }

  model.on("items", draw)
  maps.group(model.group).join(model, () => {})
  draw()
  return root
}
