// The asset's windows over time: how unusual each was, and its channels below on the same axis. What is shown is in the address.
"use strict";
(() => {
  const { alpha, axis, bands, clock, colour, fixed, follow, hatched, ruled, heading, level, line, number, ticks } = tocsinPlots;
  const place = document.getElementById("plot");
  const channelsPlace = document.getElementById("channels");
  const ranges = document.querySelector(".ranges");
  const measure = document.getElementById("measure");
  const select = measure.querySelector("select");
  const ODDS = ["usual", "1 in 10", "1 in 100", "1 in 1,000", "1 in 10⁴", "1 in 10⁵", "1 in 10⁶", "1 in 10⁷", "1 in 10⁸", "1 in 10⁹"];
  const MIN_S = 30;
  const SIDE = 78;
  const sync = uPlot.sync("asset");
  let query = new URLSearchParams(place.dataset.query);
  let feature = new URLSearchParams(location.search).get("feature") ?? "";
  let data = null;
  let plots = [];
  let asked = 0;

  document.getElementById("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone || "local";

  // What follows the present begins with the first window there is: a fresh asset does not hide in a corner.
  const xRange = () => [query.has("span") ? Math.max(data.from, data.t[0] - 0.01 * (data.to - data.t[0])) : data.from, data.to];
  // What is asked for, which may be on its way, else what was answered.
  const shown = () => (query.has("from") ? { from: Number(query.get("from")), to: Number(query.get("to")) } : { from: data.from, to: data.to });
  const spans = (marks) => marks.map(({ from, to }) => [from, to]);
  const contributing = (name) => data.alerts.map((alert) => ({ ...alert, share: (alert.top.find(([channel]) => channel === name) ?? [0, 0])[1], first: alert.top[0]?.[0] === name }));

  const select_ = (u) => {
    const { left, width } = u.select;
    if (width < 4) return;
    const from = u.posToVal(left, "x");
    const to = u.posToVal(left + width, "x");
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    between(from, Math.max(to, from + MIN_S));
  };

  const open = (u, event) => {
    if (Math.abs(event.clientX - pressedAt) > 3) return; // that was a drag
    const t = u.posToVal(event.clientX - u.over.getBoundingClientRect().left, "x");
    const found = data.alerts.find(({ from, to }) => t >= from && t <= (to ?? Infinity));
    if (found) location.href = place.dataset.alerts + encodeURIComponent(found.id);
  };
  let pressedAt = 0;

  // What arrives while somebody drags is drawn once they let go, and had their click: nothing is pulled from under the mouse.
  let pressed = false;
  let late = false;
  const drawSoon = () => {
    if (pressed) late = true;
    else draw();
  };
  addEventListener("mouseup", () => {
    pressed = false;
    if (late) setTimeout(draw);
    late = false;
  });

  const shared = (target, height) => ({
    width: target.clientWidth,
    height,
    legend: { show: false },
    cursor: { y: false, sync: { key: sync.key }, drag: { x: true, y: false, setScale: false } },
    hooks: {
      setSelect: [select_],
      ready: [(u) => {
        u.over.addEventListener("mousedown", (event) => { pressedAt = event.clientX; pressed = true; });
        u.over.addEventListener("click", (event) => open(u, event));
      }],
    },
  });

  const scores = () => {
    const options = shared(place, 300);
    const top = Math.max(7, Math.ceil(Math.max(0, ...data.decades) + 0.2));
    const faults = spans(data.faults);
    return new uPlot({
      ...options,
      scales: { x: { time: true, range: xRange }, y: { range: [0, top] } },
      axes: [axis({ values: clock, size: 28 }), axis({ size: SIDE, splits: () => ODDS.map((_, k) => k).filter((k) => k <= top), values: (u, at) => at.map((k) => ODDS[k]) })],
      series: [{}, {
        stroke: colour("--accent"), width: 1.5, spanGaps: false, fill: colour("--accent-soft"),
        points: { show: data.t.length < 200, size: 4, fill: colour("--accent") },
      }],
      hooks: {
        ...options.hooks,
        drawClear: [(u) => { bands(u, data.learning, colour("--learning-soft")); ruled(u, data.unjudged, alpha("--not-judged", 0.5)); bands(u, spans(data.alerts), colour("--alarm-soft")); hatched(u, faults, alpha("--warn", 0.35)); }],
        draw: [(u) => line(u, data.threshold, "y", colour("--warn"), [6, 4])],
      },
    }, [data.t, data.decades], place);
  };

  const channel = (each) => {
    const figure = document.createElement("figure");
    const usual = each.normal ? `usually ${each.normal.map(fixed((each.normal[1] - each.normal[0]) / 10 || 1)).join(" to ")}` : "";
    figure.append(heading(each.name, each.unit, usual));
    const target = document.createElement("div");
    const known = each.mean.filter((value) => value !== null);
    target.setAttribute("role", "img");
    target.setAttribute("aria-label", known.length ? `${each.name} over time: ${number(Math.min(...known))} to ${number(Math.max(...known))} ${each.unit}` : `${each.name}: no values`);
    figure.append(target);
    channelsPlace.append(figure);
    const values = [data.t, each.mean];
    const series = [{}, { stroke: colour("--accent"), width: 1.5, spanGaps: false, points: { show: false } }];
    if (each.low) {
      values.push(each.low, each.high);
      series.push({ stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } });
    }
    const faults = spans(data.faults.filter((fault) => fault.channel === each.name || fault.channel === ""));
    const marked = contributing(each.name);
    const options = shared(target, 118);
    return new uPlot({
      ...options,
      scales: { x: { time: true, range: xRange }, y: { range: (u, min, max) => reach(min, max, each.normal) } },
      axes: [axis({ values: clock, size: 24 }), axis({ size: SIDE, space: 24, values: ticks })],
      series,
      bands: each.low ? [{ series: [3, 2], fill: colour("--accent-soft") }] : [],
      hooks: {
        ...options.hooks,
        drawClear: [(u) => {
          if (each.normal) level(u, each.normal[0], each.normal[1], alpha("--normal", 0.12));
          bands(u, data.learning, colour("--learning-soft"));
          ruled(u, data.unjudged, alpha("--not-judged", 0.25));
          for (const { from, to, share } of marked) bands(u, [[from, to]], alpha("--alarm", 0.05 + 0.35 * share));
          hatched(u, faults, alpha("--warn", 0.6));
        }],
        draw: [(u) => marked.filter(({ first }) => first).forEach(({ from, to }) => rail(u, from, to))],
      },
    }, values, target);
  };

  // A bar along the top of the span in which this channel contributed most.
  const rail = (u, from, to) => {
    const x = Math.max(u.bbox.left, u.valToPos(from, "x", true));
    const end = Math.min(u.bbox.left + u.bbox.width, u.valToPos(to ?? u.scales.x.max, "x", true));
    u.ctx.save();
    u.ctx.fillStyle = colour("--alarm");
    if (end > u.bbox.left && x < end) u.ctx.fillRect(x, u.bbox.top, Math.max(2, end - x), 4 * devicePixelRatio);
    u.ctx.restore();
  };

  // The plot's values, and of the normal band as much as keeps them readable.
  const reach = (min, max, normal) => {
    if (min === null || max === null) return normal ?? [0, 1];
    const room = Math.max(max - min, normal ? (normal[1] - normal[0]) / 4 : 0) || Math.abs(max) || 1;
    const low = normal ? Math.max(Math.min(min, normal[0]), min - room) : min;
    const high = normal ? Math.min(Math.max(max, normal[1]), max + room) : max;
    const margin = (high - low || room) * 0.06;
    return [low - margin, high + margin];
  };

  const draw = () => {
    plots.forEach((u) => { sync.unsub(u); u.destroy(); });
    plots = [];
    place.replaceChildren();
    const before = channelsPlace.childElementCount;
    channelsPlace.style.minHeight = before ? `${channelsPlace.clientHeight}px` : ""; // the page must not jump while it is drawn anew
    channelsPlace.replaceChildren();
    place.classList.toggle("nothing-drawn", !data.t.length);
    document.getElementById("plot-legend").hidden = !data.t.length;
    if (!data.t.length) {
      place.textContent = query.has("span") ? "The lake has no windows of this asset yet." : "The lake has no windows of this asset in this time.";
      say("Channels are drawn of windows: without any there is nothing to draw.");
    } else {
      plots = [scores(), ...data.channels.map(channel)];
      if (!data.channels.length) say("Windows of this time hold other features than the hub's profile says: their channels cannot be told.");
    }
    channelsPlace.style.minHeight = "";
    document.getElementById("channels-legend").hidden = !data.channels.length;
    measure.hidden = data.features.length < 2;
    select.replaceChildren(...data.features.map(([name, words]) => new Option(words, name, false, name === data.feature)));
    place.dataset.drawn = `${data.from}-${data.to}`;
  };

  const say = (text) => {
    const note = document.createElement("p");
    note.className = "calm";
    note.textContent = text;
    channelsPlace.append(note);
  };

  const load = async () => {
    const mine = ++asked;
    const wanted = new URLSearchParams(query);
    if (feature) wanted.set("feature", feature);
    const response = await fetch(`${place.dataset.src}?${wanted}`, { headers: { Accept: "application/json" } });
    if (!response.ok || mine !== asked) return;
    data = await response.json();
    ranges.hidden = false;
    drawSoon();
  };

  const show = (next) => {
    query = new URLSearchParams(next);
    const address = new URLSearchParams(query);
    if (feature) address.set("feature", feature);
    history.replaceState(null, "", `${location.pathname}?${address}`);
    mark();
    return load();
  };

  // The plots share their axis: each of them tells what was selected in one.
  const between = (from, to) => {
    const next = { from: from.toFixed(0), to: Math.max(to, from + MIN_S).toFixed(0) };
    if (next.from !== query.get("from") || next.to !== query.get("to")) show(next);
  };

  const move = (how) => {
    if (!data) return;
    const { from, to } = shown();
    const length = to - from;
    if (how === "earlier") between(from - length / 2, to - length / 2);
    else if (how === "later") between(from + length / 2, to + length / 2);
    else if (how === "in") between(from + length / 4, to - length / 4);
    else between(from - length / 2, to + length / 2);
  };

  const mark = () => {
    for (const button of ranges.querySelectorAll("[data-span]")) button.setAttribute("aria-pressed", button.dataset.span === query.get("span"));
  };

  ranges.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.span) show({ span: button.dataset.span });
    else if (button?.dataset.move) move(button.dataset.move);
  });
  place.addEventListener("keydown", (event) => {
    const how = { ArrowLeft: "earlier", ArrowRight: "later", "+": "in", "=": "in", "-": "out" }[event.key];
    if (!how || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(how);
  });
  select.addEventListener("change", () => { feature = select.value; show(query); });

  let waiting = 0;
  const soon = () => {
    // The lake commits every few seconds: one fetch for a run of changes is enough.
    if (waiting) return;
    waiting = setTimeout(() => {
      waiting = 0;
      const story = document.getElementById("story");
      if (story && !story.contains(document.activeElement)) htmx.trigger(story, "refresh"); // nobody loses what they type
      if (query.has("span")) load();
    }, 3000);
  };
  document.addEventListener("tocsin:changed", soon);
  setInterval(() => { if (!document.hidden) soon(); }, 15000);
  follow(() => plots, () => data && draw());
  mark();
  load();
})();
