// Keeps a page true: refetches the parts whose digest has changed (see hub/web/live.py), and keeps ages counting.
"use strict";
(() => {
  const chip = document.getElementById("link");
  const hubAheadMs = Number(document.body.dataset.nowMs) - Date.now();

  const show = (state, text) => {
    chip.hidden = false;
    if (chip.textContent !== text) chip.textContent = text;
    chip.className = "link " + state;
  };

  const span = (seconds) => {
    if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400).toLocaleString("en")} days`;
  };

  const age = () => {
    const now = Date.now() + hubAheadMs;
    for (const time of document.querySelectorAll("time[datetime]")) {
      const text = span((now - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const refresh = (digests) => {
    for (const part of document.querySelectorAll("[data-live]")) {
      const digest = digests[part.dataset.live];
      if (digest === undefined || digest === part.dataset.digest) continue;
      if ("reload" in part.dataset) return location.reload();
      htmx.trigger(part, "refresh");
      document.dispatchEvent(new CustomEvent("tocsin:changed", { detail: part.dataset.live }));
    }
  };

  const source = new EventSource(document.body.dataset.events);
  source.addEventListener("state", (event) => {
    show("up", "live");
    refresh(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) show("down", "not live: sign in again");
    else show("down", "hub not reachable, trying again");
  });
  document.addEventListener("htmx:after:swap", () => {
    age();
    const titled = document.querySelector("[data-title]");
    if (titled) document.title = titled.dataset.title;
  });
  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  addEventListener("pagehide", () => source.close());
  setInterval(age, 1000);
})();
