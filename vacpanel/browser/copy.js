// Copy a text; the button says so for a moment.
function copyText(text, button, said) {
  const done = () => {
    const before = button.textContent
    button.textContent = said
    setTimeout(() => { button.textContent = before }, 1200)
  }
  const byHand = () => {
    const area = document.createElement("textarea")
    area.value = text
    document.body.append(area)
    area.select()
    document.execCommand("copy")
    area.remove()
    done()
  }
  // The clipboard is there on https and localhost only.
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, byHand)
  else byHand()
}
