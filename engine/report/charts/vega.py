"""Vega, Vega-Lite and vega-embed as one script, served from the site itself so that it works offline."""

from __future__ import annotations

from functools import cache

VEGA_LITE = "6.4"
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.4.1.json"

MIME_TYPE = "application/vnd.vegalite.v6+json"
"""What notebooks call a Vega-Lite 6 chart that they draw themselves."""


def vega_bundle_name() -> str:
    """The file name of the bundle with its versions in it; cheap, so that a site writes the file once."""
    import vl_convert

    vega = vl_convert.get_vega_version()
    embed = vl_convert.get_vega_embed_version()
    return f"vega-{vega}-lite-{VEGA_LITE}-embed-{embed}.js"


@cache
def vega_bundle() -> str:
    """One classic script (0.9 MB, made in 3 s) that sets `window.vegaEmbed`; safe to load twice.

    The bundle declares hundreds of top-level constants. Inside a function they neither reach the page
    nor clash when instant navigation runs the script again.
    """
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return f"if (!window.vegaEmbed) (() => {{\n{script}\n}})();\n"
