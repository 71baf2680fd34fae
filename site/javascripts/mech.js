// Charts, popovers and sortable tables. Without this script the pages are complete: of a chart, the picture
// that was drawn at build stays, with its words and its data.
(() => {
  const VEGA = new URL("vega.js", document.currentScript.src)
  const phone = matchMedia("(max-width: 44.9375em)")

  // From a folder (file:) no script may read a file, so that there a chart is its picture.
  const isFolder = location.protocol === "file:"

  // Charts: the library is loaded when the first chart comes near the screen, and from this site.

  let vega
  const loadVega = () => vega ??= new Promise((onload, onerror) =>
    document.head.append(Object.assign(document.createElement("script"), {src: VEGA, onload, onerror})))

  const colour = name => getComputedStyle(document.body).getPropertyValue(name).trim()

  const theme = () => {
    const ink = colour("--mech-ink"), quiet = colour("--mech-quiet"), line = colour("--mech-line")
    const font = getComputedStyle(document.body).fontFamily
    const text = {
      labelColor: quiet, labelFont: font, labelFontSize: 12, labelLimit: 240,
      titleColor: ink, titleFont: font, titleFontSize: 12, titleFontWeight: 600,
    }
    return {
      aria: false, background: "transparent", font,
      axis: {...text, gridColor: line, domainColor: line, tickColor: line},
      legend: text, header: text,
      title: {color: ink, subtitleColor: quiet, font},
      text: {color: ink}, rule: {color: quiet},
    }
  }

  const draw = async figure => {
    const view = figure.querySelector(".mech-chart-view")
    const picture = view.querySelector(".mech-picture")
    if (isFolder && picture) return figure.dataset.state = "still"
    const drawing = figure.querySelector(".mech-drawing") ?? view.appendChild(
      Object.assign(document.createElement("div"), {className: "mech-drawing"}))
    try {
      const [answer] = await Promise.all([fetch(new URL(figure.dataset.spec, location)), loadVega()])
      const spec = await answer.json()
      figure.chart?.finalize()
      figure.chart = await vegaEmbed(drawing, spec, {
        ast: true,  // expressions are interpreted: the content security policy lets nothing be compiled
        config: theme(),
        renderer: "svg",
        actions: {export: true, source: false, compiled: false, editor: false},
        downloadFileName: figure.id,
        tooltip: {theme: document.body.dataset.mdColorScheme === "slate" ? "dark" : "light"},
      })
      if (picture) {
        drawing.setAttribute("role", "img")
        drawing.setAttribute("aria-label", picture.alt)
      }
      figure.dataset.state = "drawn"
    } catch (problem) {
      figure.dataset.state = "failed"
      drawing.textContent = picture ? "" : "This chart could not be drawn. Its data can be downloaded."
      console.error(problem)
    }
    reachable(view)
  }

  const nearby = new IntersectionObserver(entries => {
    for (const {isIntersecting, target} of entries)
      if (isIntersecting) { nearby.unobserve(target); draw(target) }
  }, {rootMargin: "400px"})

  new MutationObserver(() => document.querySelectorAll(".mech-chart[data-state=drawn]").forEach(draw))
    .observe(document.body, {attributeFilter: ["data-md-color-scheme"]})

  // Printed, a chart is its picture, on white; one that has none is drawn.

  addEventListener("beforeprint", () => {
    document.querySelectorAll(".mech-picture").forEach(picture => picture.loading = "eager")
    document.querySelectorAll(".mech-chart:not([data-state]):not(:has(.mech-picture))").forEach(draw)
  })

  // The theme opens every fold to print it. On paper only those are open that the reader opened, which the
  // style sheet sees by their class. While the theme has them open, nobody can open one.

  let printing = false
  addEventListener("beforeprint", () => printing = true)
  addEventListener("afterprint", () => setTimeout(() => printing = false))
  document.addEventListener("toggle", ({target}) => {
    if (!printing && target.matches("details")) target.classList.toggle("mech-opened", target.open)
  }, true)

  // Popovers: the browser opens, closes and announces them. Here they are put beside the button that was
  // pressed, in the coordinates of the page, so that they move with the text. A phone shows a bottom sheet.

  let pressed
  addEventListener("click", event => pressed = event.target.closest("[popovertarget]") ?? pressed, true)

  const opened = ({newState, target: popover}) => {
    if (newState !== "open" || !pressed) return
    // Of a number that stands on the page several times, the place that was pressed.
    const link = popover.querySelector(".mech-permalink")
    if (link) link.hash = pressed.closest(".mech-claim")?.id || pressed.id || link.hash
    place(popover)
  }

  const place = popover => {
    const {scrollTop} = popover
    popover.style.cssText = ""
    if (!pressed || phone.matches) return
    const at = pressed.getBoundingClientRect(), {offsetWidth: width, offsetHeight: height} = popover
    const below = innerHeight - at.bottom - 14, above = at.top - 14
    const room = Math.max(below, Math.min(above, height), 240), under = height <= below || below >= above
    popover.style.maxHeight = `${room}px`
    popover.style.left = `${scrollX + Math.max(8, Math.min(at.left, document.body.clientWidth - width - 16))}px`
    popover.style.top = `${scrollY + (under ? at.bottom + 6 : at.top - Math.min(height, room) - 6)}px`
    popover.scrollTop = scrollTop
  }

  // A chart that is drawn above moves the text from under an open popover.
  new ResizeObserver(() => document.querySelectorAll(".mech-popover:popover-open").forEach(place))
    .observe(document.body)

  // An address may name a number or a claim: its evidence opens where it stands, inside of folds, too. Without
  // this script the browser scrolls there.

  const addressed = () => {
    let id
    try { id = decodeURIComponent(location.hash.slice(1)) } catch { return }
    const found = document.getElementById(id)
    return found?.matches(".mech-claim") ? found.querySelector(".mech-verdict") : found
  }

  const openAddressed = () => {
    const button = addressed(), popover = document.getElementById(button?.getAttribute("popovertarget"))
    if (!popover || popover.matches(":popover-open")) return
    for (let fold = button.closest("details"); fold; fold = fold.parentElement.closest("details"))
      fold.open = true
    // On a phone the evidence covers the lower part of the screen.
    button.scrollIntoView({block: phone.matches ? "start" : "center"})
    button.focus({preventScroll: true})
    pressed = button
    popover.showPopover({source: button})
  }

  addEventListener("hashchange", openAddressed)

  // Copying: where the browser does not let us, the text is shown, selected, to be copied by hand.

  const announcer = Object.assign(document.createElement("div"), {className: "mech-alt"})
  announcer.setAttribute("role", "status")
  document.body.append(announcer)

  const copy = async (button, shown, text) => {
    const words = button.dataset.words ??= button.textContent
    try {
      await navigator.clipboard.writeText(text)
      button.textContent = announcer.textContent = "Copied"
    } catch {
      shown.textContent = text
      getSelection().selectAllChildren(shown)
      button.textContent = announcer.textContent = "Selected, to be copied"
    }
    setTimeout(() => { button.textContent = words; announcer.textContent = "" }, 4000)
  }

  const copyable = button => {
    const code = button.parentElement.querySelector("code, pre, .mech-post-text")
    button.hidden = false
    button.onclick = () => copy(button, code, code.textContent)
  }

  const copyableLink = button => {
    const link = button.parentElement.querySelector(".mech-permalink")
    button.hidden = false
    button.onclick = () => {
      const address = new URL(link.href)
      address.search = ""
      copy(button, link, address.href)
    }
  }

  // A table's header buttons sort its rows; a cell sorts by its data-value or else by its text.

  const value = (row, column) => {
    const cell = row.cells[column], text = cell?.dataset.value ?? cell?.textContent.trim() ?? ""
    return text !== "" && !isNaN(text) ? Number(text) : text.toLowerCase()
  }

  const sort = (table, column, direction) => {
    const rows = [...table.tBodies[0].rows], sign = direction === "ascending" ? 1 : -1
    const order = (a, b) => typeof a === typeof b ? (a > b) - (a < b) : typeof a === "number" ? 1 : -1
    rows.sort((a, b) => sign * order(value(a, column), value(b, column)))
    table.tBodies[0].append(...rows)
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort")
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction)
  }

  const sortable = table => {
    for (const head of table.tHead.rows[0].cells) {
      if (head.querySelector("button")) continue
      const button = Object.assign(document.createElement("button"), {type: "button", className: "mech-sort"})
      button.append(...head.childNodes)
      button.onclick = () =>
        sort(table, head.cellIndex, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending")
      head.append(button)
    }
  }

  // What scrolls sideways can be reached and scrolled with the keyboard.

  const reachable = box => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0
    else box.removeAttribute("tabindex")
  }

  const start = () => {
    document.querySelectorAll(".mech-chart:not([data-state])").forEach(figure => nearby.observe(figure))
    document.querySelectorAll("[popover]").forEach(popover => popover.addEventListener("toggle", opened))
    document.querySelectorAll(".mech-copy").forEach(copyable)
    document.querySelectorAll(".mech-copy-link").forEach(copyableLink)
    document.querySelectorAll("table.mech-sortable").forEach(sortable)
    document.querySelectorAll(".mech-table, .md-typeset__scrollwrap").forEach(reachable)
    // While a page loads, the browser itself goes to the address, and takes the focus with it.
    if (document.readyState === "complete") openAddressed()
    else addEventListener("load", () => setTimeout(openAddressed), {once: true})
  }

  // Material announces every page it shows, the first and those of instant navigation; in a folder, none.
  if (window.document$ && !isFolder) document$.subscribe(start)
  else addEventListener("DOMContentLoaded", start)
})()
