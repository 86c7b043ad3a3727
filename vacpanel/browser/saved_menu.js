export function render({ model }) {
  const bar = document.createElement("div")
  bar.className = "saved"
  bar.innerHTML = `<details><summary>Saved views</summary><div class="menu"><ul></ul>
    <form><input type="text" maxlength="60" placeholder="name of this view" aria-label="Name of this view">
    <button type="submit">save</button></form></div></details><button type="button" class="copy">Copy link</button>`
  const [details, copy] = bar.children
  const list = bar.querySelector("ul"), form = bar.querySelector("form"), name = bar.querySelector("input")
  copy.addEventListener("click", () => copyText(location.href, copy, "Copied"))
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    if (name.value.trim()) model.send_msg({ save: name.value })
    name.value = ""
  })
  details.addEventListener("toggle", () => { if (details.open) model.send_msg({ look: true }) })
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { details.open = false; details.firstElementChild.focus() }
  })
  function draw() {
    list.replaceChildren(...model.names.map((text) => {
      const row = document.createElement("li")
      const go = document.createElement("button")
      go.type = "button"
      go.textContent = text
      go.addEventListener("click", () => { details.open = false; model.send_msg({ go: text }) })
      const gone = document.createElement("button")
      gone.type = "button"
      gone.textContent = "×"
      gone.setAttribute("aria-label", `Delete the saved view ${text}`)
      gone.addEventListener("click", () => model.send_msg({ delete: text }))
      row.append(go, gone)
      return row
    }))
    if (!model.names.length) list.textContent = "None yet: give this one a name."
  }
  model.on("names", draw)
  draw()
  return bar
}
