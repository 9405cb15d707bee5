// The asset's windows over time: how unusual each was, in powers of ten, with the spans in which an alert was open.
"use strict";
(() => {
  const place = document.getElementById("plot");
  const ranges = document.querySelector(".ranges");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const ODDS = ["usual", "1 in 10", "1 in 100", "1 in 1,000", "1 in 10⁴", "1 in 10⁵", "1 in 10⁶", "1 in 10⁷", "1 in 10⁸", "1 in 10⁹"];
  const HEIGHT = 320;
  let plot = null;
  let data = null;
  let spanS = 3600;

  const bands = (u, spans, fill) => {
    const { left, top, width, height } = u.bbox;
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    u.ctx.fillStyle = fill;
    for (const [from, to] of spans) {
      const x = u.valToPos(from, "x", true);
      u.ctx.fillRect(x, top, Math.max(2, u.valToPos(to ?? u.scales.x.max, "x", true) - x), height);
    }
    u.ctx.restore();
  };

  const threshold = (u) => {
    const y = u.valToPos(data.threshold, "y", true);
    u.ctx.save();
    u.ctx.strokeStyle = colour("--warn");
    u.ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    u.ctx.lineWidth = 1.5 * devicePixelRatio;
    u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, y);
    u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
    u.ctx.stroke();
    u.ctx.restore();
  };

  const clock = (u, at, _axis, _space, stepS) => at.map((t) => {
    const when = new Date(t * 1000);
    const [hour, minute, second] = [when.getHours(), when.getMinutes(), when.getSeconds()].map((n) => String(n).padStart(2, "0"));
    if (stepS >= 86400 || (hour === "00" && minute === "00" && second === "00")) {
      return when.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
    }
    return stepS < 60 ? `${hour}:${minute}:${second}` : `${hour}:${minute}`;
  });

  const options = () => {
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      width: place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false },
      scales: { x: { time: true }, y: { range: [0, Math.max(7, Math.ceil(Math.max(0, ...data.decades) + 0.2))] } },
      axes: [{ ...axis, values: clock, size: 28 }, { ...axis, size: 78, splits: (u) => ODDS.map((_, k) => k).filter((k) => k <= u.scales.y.max), values: (u, at) => at.map((k) => ODDS[k]) }],
      series: [
        {},
        {
          stroke: colour("--accent"), width: 1.5, spanGaps: false,
          fill: colour("--accent-soft"), points: { show: data.t.length < 200, size: 4, fill: colour("--accent") },
        },
      ],
      hooks: {
        drawClear: [(u) => bands(u, data.learning, colour("--learning-soft")), (u) => bands(u, data.alerts, colour("--alarm-soft"))],
        draw: [threshold],
      },
    };
  };

  const range = () => {
    const end = data.t[data.t.length - 1];
    const start = Math.max(data.t[0], end - spanS);
    return { min: Math.min(start, end - 10), max: end };
  };

  const draw = () => {
    plot?.destroy();
    plot = null;
    place.replaceChildren();
    if (!data.t.length) {
      place.textContent = "The lake has no windows of this asset from the last week yet.";
      return;
    }
    plot = new uPlot(options(), [data.t, data.decades], place);
    plot.setScale("x", range());
  };

  const load = async () => {
    const response = await fetch(place.dataset.src, { headers: { Accept: "application/json" } });
    if (!response.ok) return;
    data = await response.json();
    const spanAllS = data.t.length ? data.t[data.t.length - 1] - data.t[0] : 0;
    ranges.hidden = spanAllS < 600;
    draw();
  };

  ranges.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    spanS = Number(button.dataset.span);
    mark();
    draw();
  });
  const mark = () => {
    for (const button of ranges.querySelectorAll("button")) button.setAttribute("aria-pressed", Number(button.dataset.span) === spanS);
  };

  let waiting = 0;
  const soon = () => {
    // The lake commits every few seconds: one fetch for a run of changes is enough.
    if (!waiting) waiting = setTimeout(() => { waiting = 0; load(); }, 3000);
  };
  document.addEventListener("tocsin:changed", soon);
  setInterval(() => { if (!document.hidden) soon(); }, 15000);
  addEventListener("resize", () => plot?.setSize({ width: place.clientWidth, height: HEIGHT }));
  dark.addEventListener("change", () => data && draw());
  mark();
  load();
})();
