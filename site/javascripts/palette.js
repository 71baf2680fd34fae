// The colour scheme that a reader chose, before anything of the page is seen.
(() => {
  const palette = __md_get("__palette")
  if (!palette?.color) return
  const {color} = palette
  if (color.media === "(prefers-color-scheme)") {
    const light = matchMedia("(prefers-color-scheme: light)").matches
    const media = `(prefers-color-scheme: ${light ? "light" : "dark"})`
    const input = document.querySelector(`[data-md-color-media='${media}']`)
    for (const name of ["media", "scheme", "primary", "accent"])
      color[name] = input.getAttribute(`data-md-color-${name}`)
  }
  for (const [name, value] of Object.entries(color)) document.body.setAttribute(`data-md-color-${name}`, value)
})()
