"""How a paper looks: the Typst template of its PDF, the style of its HTML, the preamble of its TeX.

All of them print the numbers that `cross_references` wrote into captions, and none counts by itself.
"""

TYPST = r"""
#let accent = rgb("#1f4e79")
#set document(title: $document-title$, author: $document-authors$)
#set page(
  paper: "a4",
  margin: (x: 2.5cm, top: 2.4cm, bottom: 2.4cm),
  numbering: "1",
$if(draft)$
  background: rotate(-52deg, text(150pt, weight: "bold", fill: luma(242))[DRAFT]),
$endif$
)
#set text(font: "Libertinus Serif", size: 10.5pt, lang: "en", hyphenate: true)
#set par(justify: true, leading: 0.62em, spacing: 0.95em)
$if(line-numbers)$
#set par.line(numbering: n => text(7pt, fill: luma(130))[#n])
#show figure: set par.line(numbering: none)
$endif$
#set heading(numbering: "1.1")
#show heading: it => {
  set par(justify: false)
  set text(size: if it.level == 1 { 13pt } else { 11pt }, weight: "bold")
  block(above: if it.level == 1 { 1.5em } else { 1.2em }, below: 0.7em, sticky: true, {
    if it.numbering != none { counter(heading).display(it.numbering); h(0.6em) }
    it.body
  })
}
#show link: set text(fill: accent)
#show raw: set text(font: "DejaVu Sans Mono", size: 0.82em)
#show raw.where(block: true): it => block(fill: luma(246), inset: 7pt, radius: 2pt, width: 100%, it)
#set table(inset: (x: 4pt, y: 3.6pt), stroke: none)
#show table: set align(left)
#show table: set text(size: 8.5pt, hyphenate: false)
#show table: set par(justify: false, leading: 0.5em)
#show table.cell.where(y: 0): set text(weight: "bold")
#set table.hline(stroke: 0.5pt)
#show figure.where(kind: table): set figure.caption(position: top)
// A short table stays whole, a long one may go on on the next page.
#show figure.where(kind: table): it => context {
  let is_short = measure(it.body, width: 16cm).height < 9cm
  show figure: set block(breakable: not is_short)
  block(breakable: not is_short, it)
}
#show figure: set block(above: 1.3em, below: 1.5em)
#show figure.caption: it => block(inset: (x: 1em), sticky: it.kind == table, {
  set text(size: 9pt)
  set par(justify: true, leading: 0.55em)
  set align(left)
  it.body
})
#let horizontalrule = line(length: 100%, stroke: 0.4pt + luma(150))
#let callout(title, body) = block(
  width: 100%, inset: (left: 10pt, y: 6pt, right: 6pt), above: 1.2em, below: 1.2em,
  stroke: (left: 2pt + accent), fill: luma(248), { strong(title); parbreak(); body },
)
#let numbered-equation(number, body) = block(width: 100%, grid(
  columns: (1fr, auto, 1fr), align: (left, center + horizon, right + horizon), [], body, [(#number)],
))
#show terms.item: it => block(breakable: false)[*#it.term* #it.description]
$if(highlighting-definitions)$
$highlighting-definitions$
$endif$

#align(center, {
  set par(justify: false)
  set par.line(numbering: none)
  block(below: 1.1em, text(17pt, weight: "bold", hyphenate: false)[$title$])
$if(subtitle)$
  block(below: 1.1em, text(12pt)[$subtitle$])
$endif$
  block(below: 1.6em, {
$if(author)$
    grid(
      columns: ($for(author)$auto,$endfor$), column-gutter: 2.2em,
$for(author)$
      [*$author.name$*
$if(author.affiliation)$
      \ #text(9pt)[$author.affiliation$]
$endif$
$if(author.email)$
      \ #text(9pt)[$author.email$]
$endif$
      ],
$endfor$
    )
$else$
    []
$endif$
  })
$if(date)$
  block(below: 1.6em, text(9.5pt)[$date$])
$endif$
})
$if(abstract)$
#block(width: 100%, inset: (x: 2.2em), below: 1.8em, {
  align(center, strong[Abstract])
  set text(size: 9.8pt)
  [$abstract$]
})
$endif$

$body$
"""

# Fonts of the reader's machine only: nothing is fetched.
CSS = """
:root { color-scheme: light dark;
  --ink: #1c2127; --quiet: #59626d; --line: #d5dae0; --paper: #fff; --link: #1b5e9e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7ec; --quiet: #a0abb8; --line: #39424e; --paper: #14181d; --link: #7db8f3; }
}
html { background: var(--paper); color: var(--ink); }
body { max-width: 44rem; margin: 0 auto; padding: 2rem 1rem 5rem; color: var(--ink); background: none;
  font: 17px/1.55 Charter, "Iowan Old Style", Georgia, serif; hyphens: auto; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.12rem; }
#title-block-header { text-align: center; margin-bottom: 2rem; }
#title-block-header h1.title { font-size: 1.8rem; }
.abstract { font-size: 0.95rem; margin: 1.5rem 6%; text-align: left; }
.abstract-title { font-weight: bold; text-align: center; }
a { color: var(--link); }
.header-section-number { margin-right: 0.5em; }
figure { margin: 2rem 0; } figure img { max-width: 100%; height: auto; background: #fff; }
figcaption, caption { font-size: 0.88rem; color: var(--quiet); text-align: left; }
table { border-collapse: collapse; font-size: 0.85rem; display: block; overflow-x: auto; margin: 1.5rem 0; }
caption { display: table-caption; padding-bottom: 0.5rem; }
th, td { padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.callout { border-left: 3px solid var(--link); padding: 0.2rem 1rem; margin: 1.5rem 0; }
.callout-title { font-weight: bold; }
.equation { display: flex; justify-content: center; align-items: center; }
.equation::after { content: "(" attr(data-number) ")"; margin-left: 2rem; }
.claim strong { color: #a4320b; } code { font-size: 0.85em; }
.csl-entry { margin: 0.5rem 0 0.5rem 1.5rem; text-indent: -1.5rem; }
"""

WATERMARK_CSS = """
body::before { content: "DRAFT"; position: fixed; inset: 0; display: grid; place-items: center; z-index: -1;
  font: bold min(28vw, 14rem)/1 sans-serif; transform: rotate(-35deg); color: var(--line); opacity: 0.35;
  pointer-events: none; }
"""

TEX = r"""
\usepackage[font=small]{caption}
\captionsetup{labelformat=empty,labelsep=none,justification=raggedright}
\usepackage{float}
\floatplacement{figure}{htbp}
"""
TEX_DRAFT = r"""
\usepackage{draftwatermark}
\SetWatermarkText{DRAFT}
"""
TEX_LINES = r"""
\usepackage{lineno}
\AtBeginDocument{\linenumbers}
"""
