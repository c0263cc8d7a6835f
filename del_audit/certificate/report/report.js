"use strict";
// Draws the plots over the still pictures, which stay for screen readers, for print, and where no script runs.
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const WIDE = 560, CONFIG = { responsive: true, displaylogo: false, doubleClick: "reset", modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d"]] };

  // Colours are names of the page's variables, and stand only under keys that plotly reads as colours.
  const painted = (value, colour, styles) => {
    if (typeof value === "string") return colour && value.startsWith("--") ? styles.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map(item => painted(item, colour, styles));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, key.endsWith("color"), styles)]));
  };

  const draw = (live, plot) => {
    const { data, layout, wide = [] } = painted(plot, false, getComputedStyle(document.documentElement));
    layout.font.family = getComputedStyle(document.body).fontFamily;
    if (live.clientWidth >= WIDE) layout.annotations = wide;
    const zooms = !layout.xaxis.fixedrange && !matchMedia("(pointer: coarse)").matches;
    return Plotly.react(live, data, { ...layout, dragmode: zooms ? "zoom" : false }, { ...CONFIG, displayModeBar: zooms });
  };

  // Arrow keys do what the pointer does: left and right along a series, up and down between series.
  const readable = (live, said) => {
    const series = live.data.map((trace, curve) => ({ trace, curve })).filter(({ trace }) => trace.text);
    let row = 0, column = -1;
    live.addEventListener("keydown", event => {
      if (event.target !== live) return;
      const last = series[row].trace.text.length - 1;
      const moves = {
        ArrowRight: [0, Math.min(column + 1, last)], ArrowLeft: [0, Math.max(column - 1, 0)],
        Home: [0, 0], End: [0, last], ArrowDown: [1, 0], ArrowUp: [-1, 0],
      };
      if (event.key === "Escape") { Plotly.Fx.unhover(live); said.textContent = ""; return; }
      if (!(event.key in moves)) return;
      event.preventDefault();
      const [by, to] = moves[event.key];
      row = (row + by + series.length) % series.length;
      column = to;
      const { trace, curve } = series[row];
      Plotly.Fx.hover(live, [{ curveNumber: curve, pointNumber: column }], (trace.xaxis || "x") + (trace.yaxis || "y"));
      said.textContent = trace.text[column].replaceAll("<br>", ", ").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    });
    live.addEventListener("blur", () => Plotly.Fx.unhover(live));
  };

  const start = async frame => {
    const plot = plots[frame.dataset.plot], still = frame.querySelector(".scroll");
    const live = document.createElement("div"), said = document.createElement("p");
    live.className = "live";
    live.style.height = `${plot.layout.height}px`;
    live.tabIndex = 0;
    live.setAttribute("role", "group");
    said.className = "hidden";
    said.setAttribute("aria-live", "polite");
    frame.append(live, said);
    frame.classList.add("drawn"); // before it is drawn: the frame's padding decides how wide the plot is
    try {
      await draw(live, plot);
    } catch (error) {
      frame.classList.remove("drawn");
      live.remove();
      throw error;
    }
    live.setAttribute("aria-label", `${frame.querySelector("title").textContent}, interactive: arrow keys read its points`);
    still.removeAttribute("tabindex");
    live.querySelectorAll(".main-svg").forEach(svg => svg.setAttribute("aria-hidden", "true"));
    readable(live, said);
    dark.addEventListener("change", () => draw(live, plot));
  };

  document.querySelectorAll("[data-plot]").forEach(start);
  const until = document.querySelector(".dates time.until");
  if (Date.parse(until.dateTime) < Date.now()) document.querySelector(".expired").hidden = false;
})();
