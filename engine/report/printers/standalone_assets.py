"""The look of a run's own page, light and dark, and the script that draws its charts."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c2127; --quiet: #59626d; --line: #dfe3e8; --paper: #fff; --raised: #f5f6f8; --link: #1b5e9e;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e3e7ec; --quiet: #a0abb8; --line: #2e353f; --paper: #14181d; --raised: #1b2027; --link: #7db8f3;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1, h2 { font-family: Charter, "Iowan Old Style", Georgia, serif; line-height: 1.2; text-wrap: balance; }
h1 { font-size: 1.8rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.7rem; }
a { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.scroll, pre { overflow-x: auto; }
.chart, .chart.vega-embed { display: block; overflow-x: auto; }
.picture { display: block; max-width: 100%; height: auto; }
@media screen { .chart.vega-embed + .picture { display: none; } }
@media print {
  .chart:has(+ .picture) { display: none !important; }
  h1, h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .scroll, pre { overflow: visible; }
  table { width: 100%; font-size: 0.75rem; }
  th, td { padding-right: 0.6rem; overflow-wrap: anywhere; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  figcaption a, [download] { display: none; }
}
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 1.6rem 0.35rem 0; }
th, td { border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; white-space: nowrap; }
.right { text-align: right; }
pre { background: var(--raised); padding: 0.9rem 1rem; border-radius: 0.4rem; font-size: 0.85rem; }
mark { color: inherit; }
mark { background: color-mix(in srgb, #e69f00 calc(var(--mech-strength, 60%) * 0.7), transparent); }
figure { margin: 1.5rem 0; }
figcaption { color: var(--quiet); font-size: 0.875rem; }
.mech-facts { display: grid; gap: 0.3rem; margin: 0; }
.mech-facts div { display: grid; grid-template-columns: 9rem 1fr; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
"""

SCRIPT = """
const specs = JSON.parse(document.getElementById("charts").textContent)
const dark = matchMedia("(prefers-color-scheme: dark)")
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
const draw = () => {
  const ink = colour("--ink"), quiet = colour("--quiet"), line = colour("--line")
  const text = {labelColor: quiet, titleColor: ink}
  const axis = {...text, gridColor: line, domainColor: line, tickColor: line}
  const config = {axis, legend: text, header: text, title: {color: ink}}
  const tooltip = {theme: dark.matches ? "dark" : "light"}
  document.querySelectorAll(".chart").forEach((place, i) =>
    vegaEmbed(place, specs[i], {ast: true, config, renderer: "svg", actions: false, tooltip}))
}
draw()
dark.addEventListener("change", draw)
"""
