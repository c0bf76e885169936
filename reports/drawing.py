"""How plots of every report look, and how they become SVG text. Colours go with Okabe and Ito's."""

from __future__ import annotations

import base64
import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

OURS, OTHER, FAINT = "#1B1F24", "#8A929C", "#D8DCE1"
STYLE = {
    "svg.fonttype": "none",  # text stays text: small, sharp, searchable
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": OURS,
    "axes.labelcolor": "#4A525C",
    "axes.edgecolor": "#B4BAC2",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ECEEF1",
    "xtick.color": "#4A525C",
    "ytick.color": "#4A525C",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


def panels(height: float = 3.2, width: float = 4.8, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches and its (1, columns) axes."""
    return plt.subplots(1, columns, figsize=(width, height), squeeze=False)


def svg(figure: Figure) -> str:
    """The figure as SVG text; it is closed."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return buffer.getvalue()


def embedded(text: str) -> Markup:
    """SVG text as the `src` of an image: a page that needs nothing else."""
    return Markup("data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode())
