"""A smooth surface through scattered measurements, as NVIDIA Dynamo's planner interpolates them.

It is the piecewise cubic, continuously differentiable interpolant of Clough and Tocher on the
Delaunay triangles of the points, with the gradients that bend the edges least (Nielson, Math. Comp.
40, 1983; Alfeld, CAGD 1, 1984; Farin, CAGD 3, 1986): what SciPy calls `griddata(method="cubic")`,
written here because the operator does without SciPy.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Triangle = tuple[int, int, int]

_FLAT = 1e-9
"""Share of its bounding box below which a triangle has no area."""
_MEDIAN = -0.5
"""The direction across an edge at the rim, from its middle to the centre of its triangle."""


class Surface:
    """z over points (x, y) in rows of equal y, which lie much farther apart than they are wide."""

    def __init__(self, x: Sequence[float], y: Sequence[float], z: Sequence[float]) -> None:
        self._points = np.array([x, y]).T
        self._values = np.array(z)
        self._triangles = triangles(x, y)
        self._slopes = _slopes(self._points, self._values, self._triangles)
        self._sides: dict[frozenset[int], list[Triangle]] = {}
        for triangle in self._triangles:
            for i in range(3):
                self._sides.setdefault(frozenset((triangle[i], triangle[i - 1])), []).append(
                    triangle
                )

    def along(self, x: Vector, y: float) -> Vector:
        """Return z at each (x, y), and that of the nearest point outside the triangles."""
        apart = (x[:, None] - self._points[:, 0]) ** 2 + (y - self._points[:, 1]) ** 2
        found: Vector = self._values[np.argmin(apart, axis=1)]
        for triangle in self._triangles:
            corners = self._points[list(triangle)]
            shares = np.linalg.solve(
                np.vstack([corners.T, np.ones(3)]),
                np.vstack([x, np.full_like(x, y), np.ones_like(x)]),
            )
            inside = shares.min(axis=0) >= -_FLAT
            if inside.any():
                found[inside] = self._patch(triangle, shares[:, inside])
        return found

    def _patch(self, triangle: Triangle, shares: Vector) -> Vector:
        """Return z inside `triangle`, which its centre splits into three cubic Bezier patches.

        `shares` are barycentric coordinates, one row for each corner.
        """
        f, at, slope = (v[list(triangle)] for v in (self._values, self._points, self._slopes))
        # A third of the way from corner i to corner j, and from corner i to the centre.
        edge = np.array(
            [[f[i] + slope[i] @ (at[j] - at[i]) / 3.0 for j in range(3)] for i in range(3)]
        )
        inner = edge.mean(axis=1)
        middle = np.zeros(3)
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            turn = self._turn(triangle, i, j)
            twist = f[j] - 3.0 * edge[j, i] + 3.0 * edge[i, j] - f[i]
            bend = inner[i] + inner[j] - f[i] + 2.0 * edge[i, j] - edge[j, i]
            middle[k] = (bend + turn * twist) / 2.0
        core = np.array([(inner[i] + middle.sum() - middle[i]) / 3.0 for i in range(3)])
        least = shares.min(axis=0)
        b, c = shares - least, 3.0 * least
        z = c**3 * core.mean()
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            z += b[i] ** 3 * f[i] + 3.0 * b[i] ** 2 * (b[j] * edge[i, j] + b[k] * edge[i, k])
            z += 3.0 * b[i] * c * (b[i] * inner[i] + c * core[i])
            z += 6.0 * b[j] * b[k] * c * middle[i]
        return np.asarray(z)

    def _turn(self, triangle: Triangle, i: int, j: int) -> float:
        """Return how far the way to the neighbour's centre leans along the edge from i to j."""
        names = (triangle[i], triangle[j])
        others = [other for other in self._sides[frozenset(names)] if other != triangle]
        if not others:
            return _MEDIAN
        centre = self._points[list(triangle)].mean(axis=0)
        start, end = self._points[list(names)]
        across = self._points[list(others[0])].mean(axis=0) - centre
        scale, lean = np.linalg.solve(np.array([centre - start, end - start]).T, across)
        return float(lean / scale)


def _slopes(points: Vector, values: Vector, triangles: Sequence[Triangle]) -> Vector:
    """Return the gradients at the points that make the cubics along all edges bend least.

    The bending of an edge e of length L with rise d and the derivatives p, q along it at its ends
    is 4 (p p + p q + q q - 3 d (p + q) + 3 d d) / L**3.
    """
    size = len(points)
    matrix, right = np.zeros((2 * size, 2 * size)), np.zeros(2 * size)
    edges = {(t[i], t[j]) for t in triangles for i in range(3) for j in range(3) if i != j}
    for i, j in sorted(edges):
        e = points[j] - points[i]
        cube = float(e @ e) ** 1.5
        own, other = slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)
        matrix[own, own] += 2.0 * np.outer(e, e) / cube
        matrix[own, other] += np.outer(e, e) / cube
        right[own] += 3.0 * (values[j] - values[i]) * e / cube
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64).reshape(size, 2)


def triangles(x: Sequence[float], y: Sequence[float]) -> list[Triangle]:
    """Return the Delaunay triangles of points in rows, for rows that lie far apart.

    Between two rows the circle through the two ends of a row's edge and a point of the other row
    holds no third row; so the third corner is the point nearest to the middle of the edge. Where
    the ends of rows recede, triangles of ends alone fill the convex hull.
    """
    rows = [
        sorted((i for i, level in enumerate(y) if level == at), key=lambda i: x[i])
        for at in sorted(set(y))
    ]
    found = []
    for below, above in pairwise(rows):
        i = j = 0
        while i + 1 < len(below) or j + 1 < len(above):
            lower = x[below[i]] + x[below[i + 1]] if i + 1 < len(below) else np.inf
            upper = x[above[j]] + x[above[j + 1]] if j + 1 < len(above) else np.inf
            if lower <= upper:
                found.append((below[i], below[i + 1], above[j]))
                i += 1
            else:
                found.append((below[i], above[j + 1], above[j]))
                j += 1
    for side, end in ((1.0, -1), (-1.0, 0)):
        names = [row[end] for row in rows]
        chain = [(side * x[i], y[i]) for i in names]
        found += [(names[a], names[b], names[c]) for a, b, c in _filled(chain)]
    return found


def _filled(chain: Sequence[tuple[float, float]]) -> list[Triangle]:
    """Return the Delaunay triangles between a rising chain and its hull towards higher x."""
    hull: list[int] = []
    for i in range(len(chain)):
        while len(hull) > 1 and _recess(chain, (hull[-2], hull[-1], i)) > 0:
            hull.pop()
        hull.append(i)
    found, gaps = [], list(pairwise(hull))
    while gaps:
        low, high = gaps.pop()
        between = [i for i in range(low + 1, high) if _recess(chain, (low, i, high)) > 0]
        if between:
            apex = min(between, key=lambda i: _cotangent(chain, (low, i, high)))
            found.append((low, apex, high))
            gaps += [(low, apex), (apex, high)]
    return found


def _recess(chain: Sequence[tuple[float, float]], corners: Triangle) -> float:
    """Return how far the second corner lies back from the line of the others: 0 when hardly."""
    (ax, ay), (bx, by), (cx, cy) = (chain[i] for i in corners)
    area = (by - ay) * (cx - ax) - (bx - ax) * (cy - ay)
    width = max(ax, bx, cx) - min(ax, bx, cx)
    return area if abs(area) > _FLAT * width * (cy - ay) else 0.0


def _cotangent(chain: Sequence[tuple[float, float]], corners: Triangle) -> float:
    """Return the cotangent of the angle at the second corner: the least for the widest angle."""
    (ax, ay), (bx, by), (cx, cy) = (chain[i] for i in corners)
    dot = (ax - bx) * (cx - bx) + (ay - by) * (cy - by)
    return dot / abs(_recess(chain, corners))
