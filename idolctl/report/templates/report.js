"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const NS = "http://www.w3.org/2000/svg";
  const LEFT = 44, RIGHT = 350, BOTTOM = 30; // as in charts.py

  document.getElementById("theme").onclick = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };

  // Tables: a click on a header sorts by it, a second one the other way; empty cells stay last.
  for (const button of all("table.sortable thead button")) button.onclick = () => {
    const head = button.closest("th"), table = button.closest("table"), body = table.tBodies[0];
    const place = [...head.parentNode.children].indexOf(head);
    const up = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") !== "ascending" : place === 0;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => {
      const cell = row.cells[place], value = cell.dataset.v ?? cell.textContent;
      return cell.classList.contains("number") ? (value === "" ? null : Number(value)) : value;
    };
    const order = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
    const rows = [...body.rows].map(row => [key(row), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : (up ? 1 : -1) * order(a, b));
    body.append(...rows.map(([, row]) => row));
    const cards = document.getElementById("cards");
    if (table.id === "clip-table") for (const [, row] of rows) {
      const card = document.getElementById(row.dataset.card);
      if (card) cards.append(card);
    }
  };

  // Clips: frames are read when they are first wanted.
  for (const player of all(".player")) {
    const range = player.querySelector("input"), play = player.querySelector(".play");
    if (!range) continue;
    const image = player.querySelector("img"), output = player.querySelector("output");
    const cursor = player.closest(".card").querySelector(".cursor");
    const numbers = player.dataset.numbers.split(","), length = output.value.split("/")[1];
    let frames = null, timer = 0;
    const show = () => {
      frames ??= JSON.parse(player.querySelector(".frames").textContent).map(f => f ? "data:image/jpeg;base64," + f : image.src);
      const number = numbers[range.value];
      image.src = frames[range.value];
      output.value = number + " /" + length;
      if (cursor) cursor.setAttribute("transform", `translate(${+cursor.dataset.left + cursor.dataset.step * (number - 0.5)} 0)`);
    };
    const stop = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
    range.oninput = () => { stop(); show(); };
    play.onclick = () => {
      if (timer) return stop();
      play.textContent = "Pause";
      timer = setInterval(() => { range.value = (+range.value + 1) % frames.length; show(); }, 200);
      show();
    };
    if (cursor) cursor.setAttribute("transform", `translate(${+cursor.dataset.left + cursor.dataset.step * (numbers[range.value] - 0.5)} 0)`);
  }

  // Line charts: drawn anew for another axis, smoothing or scale.
  const short = v => {
    if (v === 0) return "0";
    for (const [limit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (Math.abs(v) >= limit) return +(v / limit).toPrecision(4) + letter;
    return Math.abs(v) < 1e-3 ? v.toExponential(1).replace(".0e", "e") : String(+v.toPrecision(4));
  };
  const ticks = (low, high) => {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    if (!(rough > 0)) return [low];
    const step = ([1, 2, 2.5, 5].find(m => m * power >= rough) ?? 10) * power, found = [];
    for (let n = Math.ceil(low / step - 1e-9); n <= high / step + 1e-9; n++) found.push(n * step);
    return found;
  };
  const logTicks = (low, high) => {
    const found = [];
    for (let n = Math.ceil(Math.log10(low)); n <= Math.log10(high); n++) found.push(10 ** n);
    return found.length > 1 ? found : ticks(low, high).filter(t => t > 0);
  };
  const smoothed = (values, share) => {
    let sum = 0, weight = 0;
    return share ? values.map(v => { sum = share * sum + (1 - share) * v; weight = share * weight + 1 - share; return sum / weight; }) : values;
  };
  const make = (name, attributes, text) => {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const shapes = new WeakMap();
  const shapeOf = svg => {
    if (!shapes.has(svg)) {
      const lines = JSON.parse(svg.dataset.lines);
      shapes.set(svg, { lines, axis: lines.length ? Object.keys(lines[0].x)[0] : "", smooth: 0, log: svg.dataset.log === "1" });
    }
    return shapes.get(svg);
  };
  const scales = svg => {
    const { lines, axis, smooth, log } = shapeOf(svg);
    const height = svg.viewBox.baseVal.height, top = +svg.dataset.top, low = height - BOTTOM;
    const drawn = lines.map(line => ({ ...line, at: line.x[axis], y: smoothed(line.y, smooth) }));
    const xs = drawn.flatMap(l => l.at), ys = drawn.flatMap(l => l.y);
    const least = v => v.reduce((a, b) => a < b ? a : b), most = v => v.reduce((a, b) => a > b ? a : b);
    let [y0, y1] = [least(ys), most(ys)];
    const fixed = JSON.parse(svg.dataset.range || "null"), logarithmic = log && y0 > 0 && !fixed;
    if (fixed) [y0, y1] = fixed;
    else if (logarithmic) [y0, y1] = y1 > y0 ? [y0 / 1.1, y1 * 1.1] : [y0 / 2, y1 * 2];
    else if (y1 === y0) [y0, y1] = y0 ? [y0 - Math.abs(y0) / 10, y1 + Math.abs(y1) / 10] : [0, 1];
    else if (y0 >= 0 && y0 < 0.35 * y1) [y0, y1] = [0, y1 * 1.05];
    else [y0, y1] = [y0 - 0.06 * (y1 - y0), y1 + 0.06 * (y1 - y0)];
    const x0 = least(xs), x1 = most(xs), f = logarithmic ? Math.log10 : v => v;
    return {
      drawn, axis, height, top, low, x0, x1, y0, y1, logarithmic,
      x: v => LEFT + (v - x0) / (x1 - x0 || 1) * (RIGHT - LEFT),
      y: v => low + (f(v) - f(y0)) / (f(y1) - f(y0) || 1) * (top - low),
    };
  };
  const draw = svg => {
    const s = scales(svg), soft = { class: "soft" };
    svg.querySelector(".ya").replaceChildren(...(s.logarithmic ? logTicks : ticks)(s.y0, s.y1).flatMap(v => [
      make("line", { x1: LEFT, x2: RIGHT, y1: s.y(v), y2: s.y(v), class: "grid" }),
      make("text", { x: LEFT - 5, y: s.y(v) + 4, "text-anchor": "end", ...soft }, short(v))]));
    svg.querySelector(".xa").replaceChildren(
      ...ticks(s.x0, s.x1).map(v => make("text", { x: s.x(v), y: s.low + 14, "text-anchor": "middle", ...soft }, short(v))),
      make("text", { x: (LEFT + RIGHT) / 2, y: s.height - 3, "text-anchor": "middle", ...soft }, s.axis));
    svg.querySelector(".curves").replaceChildren(...s.drawn.map(line => line.y.length === 1
      ? make("circle", { cx: s.x(line.at[0]), cy: s.y(line.y[0]), r: 3, class: "f" + line.c % 10 })
      : make("path", { class: "line s" + line.c % 10, d: "M" + line.y.map((v, i) => s.x(line.at[i]).toFixed(1) + " " + s.y(v).toFixed(1)).join("L") })));
  };
  const axes = document.getElementById("axes");
  if (axes) {
    const redraw = () => {
      const form = new FormData(axes), fresh = all("#training svg.lines");
      for (const svg of fresh) {
        const shape = shapeOf(svg);
        if (!shape.lines.length) continue;
        Object.assign(shape, { axis: form.get("axis"), smooth: +form.get("smooth"), log: form.has("log") || svg.dataset.log === "1" });
        draw(svg);
      }
    };
    axes.oninput = redraw;
    axes.onsubmit = event => event.preventDefault();
    axes.reset();
  }

  // Values under the pointer, or at the arrow keys' place.
  const tip = document.getElementById("tip");
  const tell = (svg, wanted, px, py) => {
    const s = scales(svg), first = s.drawn.reduce((a, b) => a.at.length >= b.at.length ? a : b);
    const nearest = at => at.reduce((best, v, i) => Math.abs(v - wanted) < Math.abs(at[best] - wanted) ? i : best, 0);
    const value = first.at[nearest(first.at)];
    const texts = s.drawn.map(line => `${s.drawn.length > 1 ? line.n + ": " : ""}${short(line.y[nearest(line.at)])}`);
    svg.querySelector(".cross")?.remove();
    svg.append(make("line", { class: "cross", x1: s.x(value), x2: s.x(value), y1: s.top, y2: s.low }));
    tip.textContent = `${s.axis} ${short(value)}\n${texts.join("\n")}`;
    tip.hidden = false;
    tip.style.left = Math.max(4, Math.min(px + 14, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = Math.max(4, Math.min(py + 14, innerHeight - tip.offsetHeight - 8)) + "px";
    return value;
  };
  const hide = svg => { tip.hidden = true; svg.querySelector(".cross")?.remove(); };
  for (const svg of all("svg.lines")) {
    let at = null;
    svg.onpointermove = event => {
      const box = svg.getBoundingClientRect(), s = scales(svg);
      const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      at = tell(svg, s.x0 + (x - LEFT) / (RIGHT - LEFT) * (s.x1 - s.x0), event.clientX, event.clientY);
    };
    svg.onpointerleave = svg.onblur = () => hide(svg);
    svg.onkeydown = event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const s = scales(svg), box = svg.getBoundingClientRect();
      at = Math.min(s.x1, Math.max(s.x0, (at ?? s.x0) + step * (s.x1 - s.x0) / 40));
      tell(svg, at, box.left + (s.x(at)) / 360 * box.width, box.top + 30);
    };
  }
})();
