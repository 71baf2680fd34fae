// Which texts of the page have less contrast than WCAG AA asks: 4.5:1, or 3:1 for large ones.

const channels = colour => {
  const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d")
  context.fillStyle = colour
  context.fillRect(0, 0, 1, 1)
  return [...context.getImageData(0, 0, 1, 1).data]
}

const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a / 255 + under[i] * (1 - a / 255))

const ground = element => {
  const own = channels(getComputedStyle(element).backgroundColor)
  return own[3] === 255 || !element.parentElement ? own : over(own, ground(element.parentElement))
}

const luminance = colour => colour
  .map(c => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)

const contrast = element => {
  const under = ground(element), text = over(channels(getComputedStyle(element).color), under)
  const [dark, light] = [luminance(text), luminance(under)].sort((a, b) => a - b)
  return (light + 0.05) / (dark + 0.05)
}

const isRead = element =>
  [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()) &&
  !element.closest("svg, noscript, .headerlink") &&
  element.checkVisibility({visibilityProperty: true})

const needed = element => {
  const {fontSize, fontWeight} = getComputedStyle(element), size = parseFloat(fontSize)
  return size >= 24 || (size >= 18.66 && fontWeight >= 700) ? 3 : 4.5
}

return [...document.querySelectorAll("article *, .md-tabs *, .md-nav *, .md-footer *")]
  .filter(element => isRead(element) && contrast(element) < needed(element))
  .map(element => `${contrast(element).toFixed(2)}: ${element.outerHTML.slice(0, 100)}`)
