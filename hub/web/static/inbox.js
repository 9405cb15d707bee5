// The inbox by keyboard: j and k walk the alerts, and the letters on the page press the buttons of the one that has the focus.
"use strict";
(() => {
  const KEPT = "tocsin.inbox.keys";
  const box = document.getElementById("keys");
  box.checked = localStorage.getItem(KEPT) !== "off";
  box.addEventListener("change", () => localStorage.setItem(KEPT, box.checked ? "on" : "off"));

  const form = document.getElementById("inbox-filter");
  let timer = 0;
  const show = () => {
    const said = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const query = said.size ? "?" + said : "";
    history.replaceState(null, "", "/alerts" + query);
    htmx.ajax("GET", `/parts/inbox${query}`, { source: "#inbox", target: "#inbox", swap: "outerMorph" });
  };
  form.classList.add("by-script");
  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(show, event.target.type === "search" ? 300 : 0);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    show();
  });

  const alerts = () => [...document.querySelectorAll(".inbox .alert")];
  const walk = (here, step) => {
    const all = alerts();
    const next = all[here ? all.indexOf(here) + step : step > 0 ? 0 : all.length - 1];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (!box.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, button, summary")) {
      if (event.key === "Escape") event.target.closest(".alert")?.focus();
      return;
    }
    const here = event.target.closest?.(".inbox .alert");
    if (event.key === "j" || event.key === "k") walk(here, event.key === "j" ? 1 : -1);
    else if (!here) return;
    else if (event.key === "n") here.querySelector(".note-text")?.focus();
    else if (event.key === "Enter" && event.target === here) here.querySelector("a.evidence").click();
    else if ("acfm".includes(event.key) && event.key.length === 1) here.querySelector(`[data-key="${event.key}"]`)?.click();
    else return;
    event.preventDefault();
  });
})();
