// Fetches what has changed every two seconds, and says so when the agent does not answer. Without it the page reloads itself.
"use strict";
const EVERY_MS = 2000;
const main = document.getElementById("main");
const link = document.getElementById("link");
let heardMs = Date.now();

function told(isUp) {
  link.className = isUp ? "up" : "down";
  link.textContent = isUp ? "live" : `no answer for ${Math.round((Date.now() - heardMs) / 1000)} s`;
}

async function refresh() {
  try {
    const answer = await fetch("part", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const news = new DOMParser().parseFromString(await answer.text(), "text/html");
    main.replaceChildren(...news.body.childNodes);
    document.title = main.querySelector("h1").dataset.title;
    heardMs = Date.now();
    told(true);
  } catch {
    told(false);
  }
}

async function live() {
  if (!document.hidden) await refresh(); // nobody looks: the device has better things to do
  setTimeout(live, EVERY_MS);
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
live();
