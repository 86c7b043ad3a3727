"""A row of thumbnails to choose from."""

from __future__ import annotations

from typing import ClassVar

import param
from panel.custom import JSComponent


class ImageStrip(JSComponent):
    """Thumbnails in a row; a click (or Enter) chooses one, a second click lets it go.

    Texts are set as text, never as HTML: class and file names are not ours.
    """

    items = param.List(default=[], doc="Dictionaries with id (int), src (URL) and title (str).")
    selected = param.List(default=[], item_type=int, doc="The chosen ids.")
    side = param.Integer(default=64, doc="Side of a thumbnail in px.")

    _esm = """
    export function render({ model, el }) {
      const strip = document.createElement("div")
      strip.className = "strip"
      function draw() {
        strip.replaceChildren(...model.items.map((item) => {
          const button = document.createElement("button")
          button.type = "button"
          button.className = "thumb"
          button.dataset.id = item.id
          button.title = item.title
          button.setAttribute("aria-label", item.title)
          const image = document.createElement("img")
          image.src = item.src
          image.loading = "lazy"
          image.alt = ""
          image.width = image.height = model.side
          button.append(image)
          button.addEventListener("click", () => {
            model.selected = model.selected.includes(item.id) ? [] : [item.id]
          })
          return button
        }))
        mark()
      }
      function mark() {
        for (const button of strip.children)
          button.setAttribute("aria-pressed", String(model.selected.includes(Number(button.dataset.id))))
      }
      model.on("items", draw)
      model.on("selected", mark)
      draw()
      return strip
    }
    """

    _stylesheets: ClassVar[list[str]] = [
        """
    .strip { display: flex; gap: 4px; overflow-x: auto; padding: 2px 2px 6px; }
    .thumb { flex: none; padding: 0; border: 3px solid transparent; border-radius: 5px;
             background: none; cursor: pointer; }
    .thumb img { display: block; object-fit: cover; border-radius: 3px; }
    .thumb[aria-pressed="true"] { border-color: #E69F00; }
    .thumb:focus-visible { outline: 2px solid #0072B2; }
    .thumb:hover { border-color: rgba(128, 128, 128, .5); }
    """
    ]
