"""Tables that notebooks show for our objects.

Plain HTML, everything escaped, no script and no style sheet: they look like the notebook around
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

#: Rows a notebook shows; what is left out is counted below the table.
SHOWN_ROWS = 30


def html_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    notes: Sequence[str] = (),
) -> str:
    """An HTML table with a title above and sentences below.

    Parameters
    ----------
    title : str
    columns : sequence of str
    rows : iterable of sequence
        Cells; numbers are aligned to the right, and None and NaN are hyphens.
    notes : sequence of str

    Examples
    --------
    >>> html_table("Runs", ["head"], [["<b>"]])
    '<p><b>Runs</b></p><table><tr><th>head</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    every = list(rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in every[:SHOWN_ROWS]
    )
    if len(every) > SHOWN_ROWS:
        notes = [f"… and {len(every) - SHOWN_ROWS} more", *notes]
    if len(notes) > SHOWN_ROWS:
        notes = [*notes[:SHOWN_ROWS], f"… and {len(notes) - SHOWN_ROWS} more"]
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<p><b>{escape(title)}</b></p><table><tr>{head}</tr>{body}</table>{below}"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "<td>-</td>"
    if isinstance(value, int | float):
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        return f'<td style="text-align:right">{text}</td>'
    return f"<td>{escape(str(value))}</td>"
