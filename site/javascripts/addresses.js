// Instant navigation compares links with the addresses in sitemap.xml, which begin with the site_url of the
// build. Here they are made to begin with the place that the page came from, so that the folder works on any
// host, port and path. (mkdocs-material itself corrects the host name but not the rest.)
(() => {
  const {built, base} = document.currentScript.dataset
  const here = new URL(base, location)
  const parse = DOMParser.prototype.parseFromString
  DOMParser.prototype.parseFromString = function (text, type) {
    const parsed = parse.call(this, text, type)
    for (const loc of parsed.querySelectorAll("urlset > url > loc"))
      if (built && loc.textContent.startsWith(built))
        loc.textContent = new URL(loc.textContent.slice(built.length), here)
    return parsed
  }
})()
