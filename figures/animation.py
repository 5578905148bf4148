"""Draw the animation of the README: `python -m figures.animation`.

What to see: the outputs of the model form a torus, and the target (a star) is outside it. The model
is given in its two angles, and again in coordinates that stretch and shear them. The outputs of
Gauss-Newton move with `f' = -P grad g(f)`, the Riemannian gradient flow on the torus, and take one
path in both charts. Gradient flow, `f' = -J A A^T J^T grad g(f)`, takes one path per chart.

What it does not show: which flow is faster. The speed of gradient flow depends on its chart.

Reference: Cayci, arXiv:2412.14031v4; Statement C3.
"""

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from mpl_toolkits.mplot3d import proj3d
from PIL import Image

import riemgn as rg
from riemgn.experiment.storage import read_json, write_json, write_picture
from riemgn.experiment.verdict import check, judge
from riemgn.plot import figure, style, surface

PLACE = Path(__file__).resolve().parent / "animation"
MAJOR, MINOR, START = 2.0, 0.7, (2.2, 1.9)
SHEAR = np.array([[0.5, 0.6], [-0.1, 1.6]])  # w = w0 + A v, the second chart
HORIZON = 5.0
FLOWS = {"gn": rg.GaussNewtonFlow(), "gf": rg.GradientFlow()}
TITLES = {"gn": "Gauss-Newton flow: one path", "gf": "gradient flow: one path per chart"}
LOOKS = {
    "angles": {"color": "#0072B2", "linewidth": 4.5, "linestyle": "-"},
    "sheared": {"color": "#D55E00", "linewidth": 2.0, "linestyle": (0, (3, 1.5))},
}
HEADS = {"angles": {"marker": "o", "markersize": 11}, "sheared": {"marker": "D", "markersize": 5.5}}
STARTS = {"marker": "o", "markersize": 8, "markerfacecolor": "white", "color": "black", "linestyle": "none"}
STAR = {"marker": "*", "markersize": 15, "color": "black", "linestyle": "none"}
LABELS = {"angles": "parameters: the two angles", "sheared": "parameters: sheared coordinates"}
FRAMES, MOVING, HELD = 72, 70, 2000  # number of frames; time of each one and of the first and last in ms
SIZE, DPI = (7.0, 3.6), 100  # inches
VIEW = (46.0, 62.0)  # elevation and azimuth in degrees; no path is hidden


def data(frames=FRAMES):
    """Compute the outputs of both flows in both charts over time, with their checks."""
    rg.enable_x64()
    torus = rg.task.torus(MAJOR, MINOR, start=START)
    charts = {"angles": torus.reparametrise(np.eye(2)), "sheared": torus.reparametrise(SHEAR)}
    times = HORIZON * np.linspace(0.0, 1.0, frames) ** 1.6  # both flows are fast at first
    paths = {
        name: {chart: path(problem, flow, times) for chart, problem in charts.items()} for name, flow in FLOWS.items()
    }
    gaps = {name: float(np.linalg.norm(both["angles"] - both["sheared"], axis=1).max()) for name, both in paths.items()}
    every = np.concatenate([one for both in paths.values() for one in both.values()])
    off = float(np.abs(np.hypot(np.hypot(every[:, 0], every[:, 1]) - MAJOR, every[:, 2]) - MINOR).max())
    checks = [
        check(
            "gap between Gauss-Newton's paths in the two charts (unit of the outputs)", gaps["gn"], "at_most", 0.0, 1e-8
        ),
        check(
            "gap between gradient flow's paths in the two charts (unit of the outputs)",
            gaps["gf"],
            "at_least",
            0.5,
            0.0,
        ),
        check("distance of all paths from the torus (unit of the outputs)", off, "at_most", 0.0, 1e-12),
    ]
    return {
        "times": times,
        "paths": paths,
        "target": np.asarray(torus.y),
        "radii": (MAJOR, MINOR),
        "checks": [judge(one) for one in checks],
    }


def path(problem, flow, times):
    """The outputs (t, 3) of a flow; steps end at the saved times, which is more accurate."""
    return np.asarray(rg.solve(problem, flow, t1=times[-1], ts=times, rtol=1e-10, atol=1e-12, step_to_ts=True).outputs)


def stage(data, size, dpi, grid):
    """The background as pixels (h, w, 4), and for each panel a function from R^3 to pixels."""
    fig = figure(*size)
    fig.set_dpi(dpi)
    canvas, (major, minor) = FigureCanvasAgg(fig), data["radii"]
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 2 * grid), np.linspace(0, 2 * np.pi, grid), indexing="ij")
    ring = major + minor * np.cos(v)
    places = {}
    for column, name in enumerate(FLOWS, start=1):
        ax = fig.add_subplot(1, 2, column, projection="3d", computed_zorder=False)
        surface(np.stack([ring * np.cos(u), ring * np.sin(u), minor * np.sin(v)], axis=-1), ax=ax)
        ax.view_init(*VIEW)
        ax.set(xlim=(-2.6, 3.0), ylim=(-2.8, 2.8))
        ax.set_title(TITLES[name], fontsize=11, pad=10)
        ax.set_box_aspect((5.6, 5.6, 1.4), zoom=1.33)
        ax.set_axis_off()
        places[name] = ax
    ends = [Line2D([], [], label="start", **STARTS), Line2D([], [], label="target $y$", **STAR)]
    lines = [Line2D([], [], label=LABELS[chart], **LOOKS[chart], **HEADS[chart]) for chart in LOOKS]
    fig.legend(handles=[lines[0], ends[0], lines[1], ends[1]], loc="outside lower center", ncols=2, fontsize=9)
    canvas.draw()

    def projection(ax):
        return lambda points: ax.transData.transform(
            np.stack(proj3d.proj_transform(*np.asarray(points).T, ax.get_proj())[:2], axis=-1)
        )

    return np.asarray(canvas.buffer_rgba()).copy(), {name: projection(ax) for name, ax in places.items()}


def draw(data, size=SIZE, dpi=DPI, grid=48):
    """The animation as a GIF with one frame per time; the torus is drawn only once."""
    with style():
        still, places = stage(data, size, dpi, grid)
        fig = figure(*size)
        fig.set_dpi(dpi)
        fig.set_layout_engine(None)
        canvas, ax = FigureCanvasAgg(fig), fig.add_axes((0, 0, 1, 1))
        height, width = still.shape[:2]
        ax.imshow(still, extent=(0, width, 0, height), interpolation="nearest", aspect="auto")
        ax.set_axis_off()
        moving = []
        for name, place in places.items():
            for chart, points in data["paths"][name].items():
                head = {"linestyle": "none", "color": LOOKS[chart]["color"], **HEADS[chart]}
                moving.append((place(points), *ax.plot([], [], **LOOKS[chart]), *ax.plot([], [], **head)))
            ax.plot(*place(points)[0], **STARTS)
            ax.plot(*place([data["target"]])[0], **STAR)
        clock = ax.text(0.5, 0.92, "", transform=ax.transAxes, ha="center", fontsize=11)
        frames = []
        for row, t in enumerate(data["times"]):
            for pixels, line, head in moving:
                line.set_data(*pixels[: row + 1].T)
                head.set_data(*pixels[row : row + 1].T)
            clock.set_text(f"t = {t:.2f}")
            canvas.draw()
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return as_gif(frames)


def as_gif(frames):
    """The frames as one GIF with the colours of the last frame: own palettes would flicker."""
    colours = frames[-1].quantize(128)
    entries = np.reshape(colours.getpalette(), (-1, 3))
    entries[entries.min(axis=1) > 245] = 255  # pure white, as the page
    colours.putpalette(entries.ravel().tolist())
    first, *rest = (frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames)
    durations, stream = [HELD, *[MOVING] * (len(rest) - 1), HELD], io.BytesIO()
    first.save(stream, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    return stream.getvalue()


def main(place=PLACE, frames=FRAMES, **resolution):
    """Solve, store and check, then draw the stored data."""
    record = write_json(place.with_suffix(".json"), data(frames))
    stored = read_json(record)
    write_picture(place.with_suffix(".gif"), draw(stored, **resolution))
    for one in stored["checks"]:
        print(f"{one['name']}: {one['measured']:.3g}, {'holds' if one['holds'] else 'fails'}")
    return 0 if all(one["holds"] for one in stored["checks"]) else 1


if __name__ == "__main__":
    sys.exit(main())
