"""The few pages that are served as plain HTML, outside Streamlit."""

import re
from html import escape

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Holdfast</title><style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
main {{ max-width: 34rem; margin: 15vh auto; padding: 0 1rem; }}
code {{ padding: .1em .35em; border: 1px solid GrayText; border-radius: .25em; }}
</style></head><body><main><h1>{title}</h1>{body}</main></body></html>"""


def link_refused(reason: str) -> str:
    """What somebody sees whose sign-in link does not open the door."""
    sentence = escape(reason[:1].upper() + reason[1:])
    body = "<p>" + re.sub("`(.+?)`", r"<code>\1</code>", sentence) + " on the machine that runs Holdfast.</p>"
    return _PAGE.format(title="This link does not sign you in", body=body)
