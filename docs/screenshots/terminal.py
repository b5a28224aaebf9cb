"""A terminal's text with its colours (ECMA-48 SGR) as an HTML page."""

import html
import re

COLORS = ["#1d2125", "#ff7a74", "#7fd1a1", "#f0c674", "#7cb7ff", "#d6a3ff", "#5cc4b5", "#e8e6e1"]
STYLE = """
body { margin: 0; background: #15181b; color: #d9d7d2; }
pre { margin: 16px; font: 15px/20px "DejaVu Sans Mono", "Liberation Mono", monospace; }
"""


def page(text, rows):
    lines = text.rstrip().splitlines()[:rows]
    body = "\n".join(spans(line) for line in lines)
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><pre>{body}</pre>"


def spans(line):
    out, style = [], {}
    for part in re.split(r"(\x1b\[[0-9;:]*m)", line):
        if part.startswith("\x1b"):
            apply(style, [int(code or 0) for code in re.split("[;:]", part[2:-1])])
        elif part:
            css = ";".join(f"{name}:{value}" for name, value in style.items())
            out.append(f"<span style='{css}'>{html.escape(part)}</span>")
    return "".join(out)


def apply(style, codes):
    while codes:
        code = codes.pop(0)
        if code == 0:
            style.clear()
        elif code == 1:
            style["font-weight"] = "bold"
        elif code == 2:
            style["opacity"] = "0.65"
        elif code == 7:
            style["filter"] = "invert(1)"
        elif code in (22, 39, 49):
            for name in {22: ("font-weight", "opacity"), 39: ("color",), 49: ("background",)}[code]:
                style.pop(name, None)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style["color"] = COLORS[code % 10]
        elif code in (38, 48):
            name = "color" if code == 38 else "background"
            kind = codes.pop(0)
            if kind == 5:
                style[name] = indexed(codes.pop(0))
            elif kind == 2:
                style[name] = "rgb({},{},{})".format(*codes[:3])
                del codes[:3]


def indexed(number):
    """Of the palette of 256."""
    if number < 16:
        return COLORS[number % 8]
    if number >= 232:
        return "rgb({0},{0},{0})".format(8 + 10 * (number - 232))
    number -= 16
    return "rgb({},{},{})".format(*(0 if n == 0 else 55 + 40 * n for n in (number // 36, number // 6 % 6, number % 6)))
