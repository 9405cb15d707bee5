// What the plots of assets and alerts share: colours by the sheet's names, time axes, bands, and how numbers are written.
"use strict";
const tocsinPlots = (() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const alpha = (name, share) => colour(name) + Math.round(255 * share).toString(16).padStart(2, "0");

  const clipped = (u, draw) => {
    const { left, top, width, height } = u.bbox;
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    draw(u.ctx, { left, top, width, height });
    u.ctx.restore();
  };

  // `spans`: [[from, to], …], `to` null while open.
  const bands = (u, spans, fill) => clipped(u, (ctx, { top, height }) => {
    ctx.fillStyle = fill;
    for (const [from, to] of spans) {
      const x = u.valToPos(from, "x", true);
      ctx.fillRect(x, top, Math.max(2 * devicePixelRatio, u.valToPos(to ?? u.scales.x.max, "x", true) - x), height);
    }
  });

  // Told by slanted lines, not by colour alone.
  const hatched = (u, spans, stroke) => clipped(u, (ctx, { top, height }) => {
    ctx.strokeStyle = stroke;
    ctx.lineWidth = devicePixelRatio;
    for (const [from, to] of spans) {
      const start = u.valToPos(from, "x", true);
      const end = Math.max(start + 3 * devicePixelRatio, u.valToPos(to ?? u.scales.x.max, "x", true));
      ctx.save();
      ctx.beginPath();
      ctx.rect(start, top, end - start, height);
      ctx.clip();
      ctx.beginPath();
      const first = Math.max(start, u.bbox.left) - height;
      const last = Math.min(end, u.bbox.left + u.bbox.width);
      for (let x = first; x < last; x += 8 * devicePixelRatio) {
        ctx.moveTo(x, top + height);
        ctx.lineTo(x + height, top);
      }
      ctx.stroke();
      ctx.restore();
    }
  });

  // Told by level lines, unlike what is hatched.
  const ruled = (u, spans, stroke) => clipped(u, (ctx, { top, height }) => {
    ctx.strokeStyle = stroke;
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    for (const [from, to] of spans) {
      const start = u.valToPos(from, "x", true);
      const end = Math.max(start + 2 * devicePixelRatio, u.valToPos(to, "x", true));
      for (let y = top + 4 * devicePixelRatio; y < top + height; y += 7 * devicePixelRatio) {
        ctx.moveTo(start, y);
        ctx.lineTo(end, y);
      }
    }
    ctx.stroke();
  });

  // A band between two values of y.
  const level = (u, low, high, fill) => clipped(u, (ctx, { left, width }) => {
    const from = u.valToPos(high, "y", true);
    ctx.fillStyle = fill;
    ctx.fillRect(left, from, width, Math.max(1, u.valToPos(low, "y", true) - from));
  });

  const line = (u, value, scale, stroke, dash = []) => clipped(u, (ctx, { left, top, width, height }) => {
    const at = u.valToPos(value, scale, true);
    ctx.strokeStyle = stroke;
    ctx.setLineDash(dash.map((n) => n * devicePixelRatio));
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    if (scale === "x") { ctx.moveTo(at, top); ctx.lineTo(at, top + height); }
    else { ctx.moveTo(left, at); ctx.lineTo(left + width, at); }
    ctx.stroke();
  });

  const clock = (u, at, _axis, _space, stepS) => at.map((t) => {
    const when = new Date(t * 1000);
    const [hour, minute, second] = [when.getHours(), when.getMinutes(), when.getSeconds()].map((n) => String(n).padStart(2, "0"));
    if (stepS >= 86400 || (hour === "00" && minute === "00" && second === "00")) {
      return when.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
    }
    return stepS < 60 ? `${hour}:${minute}:${second}` : `${hour}:${minute}`;
  });

  const axis = (more = {}) => ({ stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui", ...more });

  const number = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(1);
    return Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 });
  };

  // Numbers that differ by `step`, so that it shows.
  const fixed = (step) => {
    const digits = Math.max(0, Math.min(9, -Math.floor(Math.log10(step) + 1e-9)));
    return (value) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };

  // Of an axis: with as many digits as its steps need.
  const ticks = (u, at, _axis, _space, step) => {
    const write = fixed(step);
    return at.map(write);
  };

  // A heading of one plot: the name, its unit, and what is said of it; texts only, for names come from outside.
  const heading = (name, unit, more = "") => {
    const head = document.createElement("h3");
    head.append(name);
    const small = document.createElement("span");
    small.textContent = [unit, more].filter(Boolean).join(" · ");
    head.append(" ", small);
    return head;
  };

  // Keeps plots as wide as their places, and drawn in the colours of the scheme.
  const follow = (plots, draw) => {
    addEventListener("resize", () => plots().forEach((u) => u.setSize({ width: u.root.parentElement.clientWidth, height: u.height })));
    dark.addEventListener("change", draw);
  };

  return { alpha, axis, bands, clock, colour, fixed, follow, hatched, ruled, heading, level, line, number, ticks };
})();
