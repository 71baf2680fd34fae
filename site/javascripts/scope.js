// What mkdocs-material's scripts keep in the browser from page to page (the colour scheme), by the place that
// the site lies at: several sites may share a host. Names and arguments are those of the theme.
(() => {
  window.__md_scope = new URL(document.currentScript.dataset.scope, location)
  window.__md_hash = text => [...text].reduce((hash, c) => (hash << 5) - hash + c.charCodeAt(0), 0)
  const place = (scope, key) => `${(scope ?? window.__md_scope).pathname}.${key}`
  window.__md_get = (key, storage = localStorage, scope) => JSON.parse(storage.getItem(place(scope, key)))
  window.__md_set = (key, value, storage = localStorage, scope) => {
    try { storage.setItem(place(scope, key), JSON.stringify(value)) }
    catch { /* a private window may have no storage */ }
  }
})()
