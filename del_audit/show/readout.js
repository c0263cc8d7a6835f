"use strict";
// Shows the figures of a plot where the pointer or a slider points: one .readout a panel, in the order of the data.
// A panel's place is in shares of its SVG, and a later panel lies over an earlier one; its steps are even where it names no stops.
(() => {
  const panels = JSON.parse(document.getElementById("data").textContent);
  const readouts = document.querySelectorAll(".readout"), readers = new Map();
  panels.forEach(({ plot, place: [x, y, width, height], along, stops, thick = 1, grid, unit, columns }, index) => {
    const svg = document.querySelector(`[data-plot="${plot}"] svg`), readout = readouts[index];
    const slider = readout.querySelector("input"), output = readout.querySelector("output"), rows = readout.querySelectorAll("tbody tr");
    const stop = at => stops ? stops[at] : at / (grid.length - 1);
    const guide = svg.appendChild(document.createElementNS(svg.namespaceURI, "line"));
    const show = () => {
      const at = Number(slider.value), words = grid[at] + unit, share = stop(at);
      const ends = along === "y" ? { x1: x, x2: x + width, y1: y + height * share, y2: y + height * share } : { x1: x + width * share, x2: x + width * share, y1: y, y2: y + height };
      for (const [key, value] of Object.entries(ends)) guide.setAttribute(key, `${100 * value}%`);
      output.textContent = words;
      slider.setAttribute("aria-valuetext", words);
      rows.forEach((row, r) => row.querySelectorAll("td").forEach((cell, c) => { cell.textContent = columns[r][c][at]; }));
    };
    guide.setAttribute("class", thick > 9 ? "guide band" : "guide");
    guide.setAttribute("stroke-width", thick);
    slider.addEventListener("input", show);
    show();
    readout.hidden = false;
    readers.set(svg, [(across, down) => {
      if (across < x || across > x + width || down < y || down > y + height) return false;
      const share = along === "y" ? (down - y) / height : (across - x) / width, distance = at => Math.abs(stop(at) - share);
      slider.value = grid.reduce((nearest, _, at) => distance(at) < distance(nearest) ? at : nearest, 0);
      show();
      return true;
    }, ...readers.get(svg) || []]);
  });
  readers.forEach((read, svg) => ["pointermove", "pointerdown"].forEach(kind => svg.addEventListener(kind, event => {
    const box = svg.getBoundingClientRect();
    const point = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
    read.some(reader => reader(...point));
  })));
})();
