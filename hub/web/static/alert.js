// An alert's evidence: its raw samples channel by channel, the one that contributes most first, and spectra of fast channels.
"use strict";
(() => {
  const { alpha, axis, colour, follow, heading, level, line, number, ticks } = tocsinPlots;
  const place = document.getElementById("evidence");
  const facts = document.getElementById("evidence-facts");
  const spectra = document.getElementById("spectra");
  const spectrumPlace = document.getElementById("spectrum-plots");
  const sync = uPlot.sync("evidence");
  let data = null;
  let plots = [];

  const percent = (share) => `${Math.round(100 * share)} % of the score`;
  const seconds = (value) => (Math.abs(value) < 1 && value !== 0 ? `${number(value * 1000)} ms` : `${number(value)} s`);

  const figure = (target, each, more, label) => {
    const figure = document.createElement("figure");
    if (each.name === place.dataset.top) figure.className = "leading";
    figure.append(heading(each.name, each.unit, more));
    const drawing = document.createElement("div");
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", label);
    figure.append(drawing);
    target.append(figure);
    return drawing;
  };

  const samples = (each) => {
    const top = each.name === place.dataset.top;
    const known = each.values.filter((value) => value !== null);
    const range = known.length ? `${number(Math.min(...known))} to ${number(Math.max(...known))} ${each.unit}` : "no values";
    const target = figure(place, each, each.share === null ? "" : percent(each.share), `samples of ${each.name}: ${range}`);
    const t = each.t.map((value) => value - data.opened);
    return new uPlot({
      width: target.clientWidth,
      height: top ? 220 : 130,
      legend: { show: false },
      cursor: { y: false, sync: { key: sync.key } },
      scales: { x: { time: false, range: (u, min, max) => [min, Math.max(max, 0) + (max - min) * 0.02] }, y: { range: (u, min, max) => (min === null ? [0, 1] : [min - (max - min || 1) * 0.08, max + (max - min || 1) * 0.08]) } },
      axes: [axis({ size: 26, values: (...axis) => ticks(...axis).map((text) => `${text} s`) }), axis({ size: 64, space: 26, values: ticks })],
      series: [{}, { stroke: colour(top ? "--alarm" : "--accent"), width: top ? 1.75 : 1.25, spanGaps: false, points: { show: known.length < 80, size: 4 } }],
      hooks: {
        drawClear: [(u) => { if (each.usual) level(u, each.usual[0], each.usual[1], alpha("--normal", 0.14)); }],
        draw: [(u) => line(u, 0, "x", colour("--alarm"), [5, 3])],
      },
    }, [t, each.values], target);
  };

  const spectrum = (each) => {
    const { hz, amplitude } = each.spectrum;
    const peak = amplitude.indexOf(Math.max(...amplitude));
    const target = figure(spectrumPlace, each, `strongest line at ${number(hz[peak])} Hz, ${number(amplitude[peak])} ${each.unit}`, `amplitude spectrum of ${each.name}; strongest line at ${number(hz[peak])} Hz`);
    return new uPlot({
      width: target.clientWidth,
      height: 200,
      legend: { show: false },
      cursor: { y: false },
      scales: { x: { time: false }, y: { range: (u, min, max) => [0, max * 1.08 || 1] } },
      axes: [axis({ size: 26, values: (u, at) => at.map((value) => `${number(value)} Hz`) }), axis({ size: 64, space: 26, values: ticks })],
      series: [{}, { stroke: colour("--accent"), width: 1.25, fill: colour("--accent-soft"), points: { show: false } }],
    }, [hz, amplitude], target);
  };

  const draw = () => {
    plots.forEach((u) => u.destroy());
    place.replaceChildren();
    spectrumPlace.replaceChildren();
    const fast = data.channels.filter((each) => each.spectrum);
    spectra.hidden = !fast.length;
    plots = [...data.channels.map(samples), ...fast.map(spectrum)];
    place.dataset.drawn = "yes";
  };

  const tell = () => {
    document.getElementById("evidence-legend").hidden = false;
    document.getElementById("legend-usual").hidden = !data.channels.some((each) => each.usual);
    const thinned = data.channels.some((each) => each.thinned) ? ", drawn by the lowest and highest of each group of neighbours" : "";
    const slow = data.channels.some((each) => each.spectrum) ? "" : " Too slow for a spectrum.";
    facts.textContent = `${data.n_samples.toLocaleString("en")} samples a channel at ${number(data.rate_hz)} Hz, ${seconds(data.n_samples / data.rate_hz)} in all${thinned}. Zero is when the alert opened.${slow}`;
    const first = data.channels.find((each) => each.spectrum)?.spectrum;
    if (first) document.getElementById("spectra-facts").textContent = `Amplitude by FFT of the samples above (Hann window, mean of ${first.segments} overlapping parts), a line every ${number(first.step_hz)} Hz.`;
  };

  const load = async () => {
    const response = await fetch(place.dataset.src, { headers: { Accept: "application/json" } });
    if (!response.ok) return;
    const found = await response.json();
    if (found.none) {
      facts.textContent = found.none;
      place.dataset.drawn = "none";
      return;
    }
    data = found;
    tell();
    draw();
  };

  document.addEventListener("tocsin:changed", () => { if (!data) load(); });
  follow(() => plots, () => data && draw());
  load();
})();
