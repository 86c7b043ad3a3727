const PAGE = "vacpanel-page"
const KEPT = "vacpanel-theme"

// Axes are painted on canvases, where no style sheet reaches: they get the colour of the text around them.
function inkAll() {
  for (const document of globalThis.Bokeh?.documents ?? [])
    for (const model of document._all_models.values()) if (model.type === "Figure") globalThis.vacpanelInk?.(model)
}

export function render({ model }) {
  if (!document.getElementById(PAGE)) {
    const style = document.createElement("style")
    style.id = PAGE
    style.textContent = PAGE_CSS
    document.head.append(style)
  }
  const bar = document.createElement("header")
  bar.innerHTML = `<button type="button" class="fold" aria-label="Show or hide the task sidebar">☰</button>
    <h1>vacpanel</h1><span class="facts" role="status"></span>
    <button type="button" class="reset" title="Show what a first visit shows">Reset</button>
    <button type="button" class="theme" aria-label="Toggle theme"></button>`
  const $ = (name) => bar.querySelector(name)

  function theme(name) {
    document.documentElement.dataset.theme = name
    $(".theme").textContent = name === "dark" ? "☾" : "☀"
    requestAnimationFrame(inkAll)
  }
  const asked = new URLSearchParams(location.search).get("theme") ?? localStorage.getItem(KEPT)
  theme(asked ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"))
  $(".theme").addEventListener("click", () => {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark"
    localStorage.setItem(KEPT, other)
    theme(other)
  })

  const fold = $(".fold")
  fold.addEventListener("click", () => { model.sidebar = !model.sidebar })
  $(".reset").addEventListener("click", () => model.send_msg("reset"))
  function draw() {
    $(".facts").textContent = model.facts
    fold.setAttribute("aria-expanded", String(model.sidebar))
  }
  model.on("facts", draw)
  model.on("sidebar", draw)
  draw()
  return bar
}
