// The filter answers while one types, and arrow keys walk the cells. Without this the form has a button, and the list is the way.
"use strict";
(() => {
  const form = document.getElementById("fleet-filter");
  const part = form.dataset.part;
  const WAIT_MS = 300;
  let timer = 0;

  const show = () => {
    const said = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const query = said.size ? "?" + said : "";
    history.replaceState(null, "", "/fleet" + query);
    htmx.ajax("GET", `/parts/${part}${query}`, { source: `#${part}`, target: `#${part}`, swap: "outerMorph" });
  };

  form.classList.add("by-script");
  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(show, event.target.type === "search" ? WAIT_MS : 0);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    show();
  });

  const STEPS = { ArrowRight: 1, ArrowLeft: -1 };
  const below = (cell, down) => {
    const here = cell.getBoundingClientRect();
    const cells = [...document.querySelectorAll(".comb a")];
    const distance = (other) => {
      const there = other.getBoundingClientRect();
      const rows = (there.top - here.top) * down;
      return rows < 2 ? Infinity : rows * 4 + Math.abs(there.left - here.left);
    };
    return cells.reduce((best, other) => (distance(other) < distance(best) ? other : best), cell);
  };
  document.addEventListener("keydown", (event) => {
    const cell = event.target.closest?.(".comb a");
    if (!cell) return;
    const cells = [...document.querySelectorAll(".comb a")];
    if (event.key in STEPS) cells[cells.indexOf(cell) + STEPS[event.key]]?.focus();
    else if (event.key === "ArrowDown") below(cell, 1).focus();
    else if (event.key === "ArrowUp") below(cell, -1).focus();
    else return;
    event.preventDefault();
  });

  // One cell is a stop of the tab key: the first, or the one that was visited last.
  const stop = () => {
    if (document.querySelector('.comb a[tabindex="0"]')) return;
    document.querySelector(".comb a")?.setAttribute("tabindex", "0");
  };
  document.addEventListener("focusin", (event) => {
    if (!event.target.matches?.(".comb a")) return;
    document.querySelector('.comb a[tabindex="0"]')?.setAttribute("tabindex", "-1");
    event.target.setAttribute("tabindex", "0");
  });
  document.addEventListener("htmx:after:swap", stop);
  stop();
})();
