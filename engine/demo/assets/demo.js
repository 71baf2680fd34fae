// Charts, the address, and copying. Everything comes from the demo's own host.
(() => {
  const VEGA = new URL("vega.js", document.currentScript.src)

  let vega
  const loadVega = () => vega ??= new Promise((onload, onerror) =>
    document.head.append(Object.assign(document.createElement("script"), {src: VEGA, onload, onerror})))

  const isDark = () => document.body.classList.contains("dark")

  const theme = () => {
    const ink = isDark() ? "#e3e7ec" : "#1d2733"
    const quiet = isDark() ? "#a3aebb" : "#505a66"
    const line = isDark() ? "#3a434e" : "#dfe3e8"
    const {fontFamily: font} = getComputedStyle(document.querySelector(".mech-head") ?? document.body)
    const text = {
      labelColor: quiet, labelFont: font, labelFontSize: 12, labelLimit: 160,
      titleColor: ink, titleFont: font, titleFontSize: 12, titleFontWeight: 600,
    }
    return {
      aria: false, background: "transparent", font,
      axis: {...text, gridColor: line, domainColor: line, tickColor: line},
      legend: text, header: text, title: {color: ink, font}, text: {color: ink}, rule: {color: quiet},
    }
  }

  // A mark's datum has only what its row has: Vega keeps its own under symbols.
  const tell = (figure, item) => {
    if (!item?.datum) return
    const detail = Object.fromEntries(Object.entries(item.datum))
    figure.dispatchEvent(new CustomEvent("mech-mark", {bubbles: true, detail}))
  }

  const draw = async figure => {
    figure.dataset.state = "drawing"
    const drawing = figure.querySelector(".mech-drawing")
    try {
      await loadVega()
      const spec = figure.dataset.spec
      figure.chart?.finalize()
      figure.chart = await vegaEmbed(drawing, JSON.parse(spec), {
        ast: true,
        config: theme(),
        renderer: "svg",
        actions: false,
        tooltip: {theme: isDark() ? "dark" : "light"},
      })
      // What the drawing shows is told by its label: its marks are none that a screen reader could name.
      drawing.querySelector("svg")?.setAttribute("aria-hidden", "true")
      figure.chart.view.addEventListener("click", (event, item) => tell(figure, item))
      // It may be another figure by now, which is drawn in turn.
      if (figure.dataset.spec === spec) figure.dataset.state = "drawn"
      else delete figure.dataset.state
    } catch (problem) {
      figure.dataset.state = "failed"
      drawing.textContent = "This chart could not be drawn. It is told in words below."
      console.error(problem)
    }
    const scroll = drawing.parentElement
    if (scroll.scrollWidth > scroll.clientWidth) scroll.tabIndex = 0
    else scroll.removeAttribute("tabindex")
  }

  // In a tab that is not shown a chart has no width: it is drawn once it is seen.
  const seen = new IntersectionObserver(entries => {
    for (const {isIntersecting, target} of entries)
      if (isIntersecting) { seen.unobserve(target); draw(target) }
  }, {rootMargin: "400px"})

  const redraw = () => document.querySelectorAll(".mech-chart[data-state=drawn]").forEach(figure => {
    if (figure.offsetParent) draw(figure)
    else { delete figure.dataset.state; seen.observe(figure) }
  })

  let width = innerWidth
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw() } })

  // The address says what is shown; the part before its question mark, and what embeds the app, stay.
  const address = element => {
    const said = new URLSearchParams(element.dataset.address)
    for (const kept of ["__theme", "view"]) {
      const value = new URLSearchParams(location.search).get(kept)
      if (value !== null) said.set(kept, value)
    }
    history.replaceState(history.state, "", `${location.pathname}?${said}`)
  }

  // Also when a tab is chosen that holds what it showed before.
  const shown = new IntersectionObserver(entries => {
    for (const {isIntersecting, target} of entries) if (isIntersecting && target.dataset.address) address(target)
  }, {rootMargin: "100000px"})

  const look = () => {
    keepFolds()
    document.querySelectorAll(".mech-chart:not([data-state])").forEach(figure => {
      figure.dataset.state = "waiting"
      seen.observe(figure)
    })
    // Gradio changes elements in place: what an element was when it was looked at is kept beside it.
    document.querySelectorAll("[data-address]").forEach(element => {
      if (element.watched === element.dataset.address) return
      element.watched = element.dataset.address
      shown.unobserve(element)
      shown.observe(element)
    })
  }

  // A panel whose tab a reader chooses for the first time answers at once, as the first one does.
  let isChosen = false
  const runChosen = () => {
    if (!isChosen) return
    const panel = [...document.querySelectorAll("[id^=panel-][role=tabpanel]")].find(tab => tab.offsetParent)
    const status = panel?.querySelector(".mech-status"), run = panel?.querySelector(".mech-run")
    if (!run || !status || status.textContent.trim() || panel.dataset.started !== undefined) return
    panel.dataset.started = ""
    run.click()
  }

  for (const kind of ["click", "keyup"]) document.addEventListener(kind, ({target}) => {
    if (!target.closest?.("[role=tab]")) return
    isChosen = true
    requestAnimationFrame(() => requestAnimationFrame(runChosen))
  })

  let planned = false
  const plan = () => {
    if (planned) return
    planned = true
    requestAnimationFrame(() => { planned = false; look(); runChosen() })
  }

  // Copying: where the browser does not let us, the text is shown, selected, to be copied by hand.
  const announcer = Object.assign(document.createElement("div"), {className: "mech-alt"})
  announcer.setAttribute("role", "status")

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

  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-copy]")
    if (!button) return
    const holder = button.closest(".mech-links")
    const shown = holder.querySelector(button.dataset.copy === "link" ? ".mech-permalink" : "pre")
    copy(button, shown, button.dataset.copy === "link" ? shown.href : shown.textContent)
  })

  // Gradio may close its stream with what is cancelled, so that the button's own answer does not come.
  const cancelled = status => {
    const said = status?.querySelector("[role=status]")
    if (said && !said.textContent.startsWith("Done")) said.textContent = "Cancelled."
  }
  document.addEventListener("click", event => {
    const status = event.target.closest?.(".mech-cancel")?.closest("[id^=panel-]")?.querySelector(".mech-status")
    // What is under way may report once more.
    if (status) for (const wait of [100, 600, 1500]) setTimeout(cancelled, wait, status)
  })

  // A map as a table: a cell is told like the mark that it stands for; arrows go from cell to cell.
  const beside = {
    ArrowLeft: cell => cell.previousElementSibling,
    ArrowRight: cell => cell.nextElementSibling,
    ArrowUp: cell => cell.parentElement.previousElementSibling?.cells[cell.cellIndex],
    ArrowDown: cell => cell.parentElement.nextElementSibling?.cells[cell.cellIndex],
    Home: cell => cell.parentElement.cells[1],
    End: cell => [...cell.parentElement.cells].at(-1),
  }
  document.addEventListener("keydown", event => {
    const cell = event.target.closest?.(".mech-cells td")
    const next = cell && !event.ctrlKey && !event.altKey && beside[event.key]?.(cell)?.querySelector("button")
    if (!next) return
    event.preventDefault()
    event.target.tabIndex = -1
    next.tabIndex = 0
    next.focus()
  })

  // The table is written anew with each answer: its fold stays as it was, and the focus in the chosen cell.
  const folds = {}
  let choosing = false
  document.addEventListener("click", event => {
    // Not by its toggle event, which also comes where an answer closes it.
    const fold = event.target.closest?.("summary")?.parentElement
    if (fold?.dataset.fold) folds[fold.dataset.fold] = !fold.open
    const button = event.target.closest?.("[data-mark]")
    if (!button) return
    choosing = button.closest("[data-fold]")?.dataset.fold
    button.dispatchEvent(new CustomEvent("mech-mark", {bubbles: true, detail: JSON.parse(button.dataset.mark)}))
  })
  const keepFolds = () => document.querySelectorAll("[data-fold]:not([data-kept])").forEach(fold => {
    fold.dataset.kept = ""
    fold.open = folds[fold.dataset.fold] ?? false
    if (fold.dataset.fold !== choosing) return
    choosing = false
    fold.querySelector("[aria-pressed=true]")?.focus()
  })

  const start = () => {
    document.body.append(announcer)
    new MutationObserver(plan).observe(document.body, {
      childList: true, subtree: true, attributeFilter: ["data-address", "data-spec"],
    })
    new MutationObserver(redraw).observe(document.body, {attributeFilter: ["class"]})
    plan()
  }

  if (document.body) start()
  else addEventListener("DOMContentLoaded", start)
})()
