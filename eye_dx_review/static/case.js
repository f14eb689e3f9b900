// The viewer, the keyboard and the saving of drafts. Without this script the page shows plain photographs, and the form works.
"use strict";
const body = document.body, form = document.getElementById("review"), saved = document.getElementById("saved");
const viewers = new Map();
let current = "right";

function startViewer(box) {
  const tools = box.nextElementSibling, card = box.closest(".viewer-card");
  box.replaceChildren();
  const viewer = OpenSeadragon({
    element: box, showNavigationControl: false, maxZoomPixelRatio: 6, animationTime: 0.3, gestureSettingsMouse: { clickToZoom: false },
    // The canvas honours the layer's transparency, which the default drawer does not.
    drawer: "canvas", keyboardNavEnabled: false, tileSources: { type: "image", url: box.dataset.photo },
  });
  const state = { viewer, layer: null, isRedFree: false, brightness: 100, tools };
  if (box.dataset.evidence) {
    viewer.addOnceHandler("open", () => viewer.addTiledImage({
      tileSource: { type: "image", url: box.dataset.evidence }, x: 0, y: 0, width: 1, opacity: 0,
      success: (event) => { state.layer = event.item; box.dataset.layer = "ready"; },
    }));
  }
  viewer.addHandler("open-failed", () => { box.textContent = box.dataset.alt; });
  viewer.addHandler("zoom", (event) => { box.dataset.zoom = event.zoom.toFixed(2); });
  tools.hidden = false;
  tools.addEventListener("click", (event) => act(state, event.target.dataset.do));
  tools.addEventListener("input", (event) => slide(state, event.target));
  card.addEventListener("pointerdown", () => makeCurrent(card.dataset.eye));
  if (!viewers.has(card.dataset.eye)) viewers.set(card.dataset.eye, state);
}
function act(state, what) {
  const port = state.viewer.viewport;
  if (what === "in" || what === "out") { port.zoomBy(what === "in" ? 1.4 : 1 / 1.4); port.applyConstraints(); }
  if (what === "whole") port.goHome();
  if (what === "redfree") {
    state.isRedFree = !state.isRedFree;
    state.tools.querySelector("[data-do=redfree]").setAttribute("aria-pressed", String(state.isRedFree));
    tint(state);
  }
}
function slide(state, input) {
  if (input.dataset.do === "brightness") { state.brightness = Number(input.value); tint(state); }
  if (input.dataset.do === "evidence" && state.layer) state.layer.setOpacity(Number(input.value) / 100);
}
function tint(state) {
  // Set here and not in the style sheet: a reference to the page's own filter would be looked up in the sheet.
  state.viewer.canvas.style.filter = (state.isRedFree ? "url(#red-free) " : "") + "brightness(" + state.brightness / 100 + ")";
}
function makeCurrent(eye) {
  current = eye;
  for (const one of document.querySelectorAll(".viewer-card, .eye-form")) one.classList.toggle("is-current", one.dataset.eye === eye);
}

const help = document.getElementById("help");
document.getElementById("help-close").addEventListener("click", () => help.close());
const helpButton = document.getElementById("help-button");
helpButton.hidden = false;
helpButton.addEventListener("click", () => help.showModal());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "Enter" && document.getElementById("to-sign")) {
    event.preventDefault();
    form.requestSubmit(document.getElementById("to-sign"));
    return;
  }
  const isTyping = /^(TEXTAREA|SELECT)$/.test(event.target.tagName) || (event.target.tagName === "INPUT" && event.target.type !== "checkbox");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const state = viewers.get(current);
  if (event.key === "?") help.showModal();
  else if (event.key === "q") makeCurrent("right");
  else if (event.key === "w") makeCurrent("left");
  else if (event.key === "g" && state) act(state, "redfree");
  else if ((event.key === "+" || event.key === "=") && state) act(state, "in");
  else if (event.key === "-" && state) act(state, "out");
  else if (event.key === "h" && state) {
    const slider = state.tools.querySelector("[data-do=evidence]");
    if (slider) { slider.value = Number(slider.value) > 0 ? 0 : 70; slide(state, slider); }
  } else if (/^[1-9]$/.test(event.key) && form) {
    const box = form.querySelectorAll("[name=" + current + "_labels]")[Number(event.key) - 1];
    if (box) { box.checked = !box.checked; box.dispatchEvent(new Event("input", { bubbles: true })); }
  } else return;
  event.preventDefault();
});

function post(path, content) {
  return fetch("/cases/" + body.dataset.case + path, {
    method: "POST", body: content, credentials: "same-origin", redirect: "manual",
    headers: { "x-csrf-token": body.dataset.csrf, accept: "application/json" },
  });
}
let timer = null, isStale = false, saving = Promise.resolve();
async function save() {
  if (isStale) return;
  const answer = await post("/draft", new FormData(form));
  if (answer.status === 409) { isStale = true; saved.textContent = "⚠ " + body.dataset.stale; return; }
  if (answer.ok) { form.elements.version.value = (await answer.json()).version; saved.textContent = "✓ " + body.dataset.saved; }
}
if (form) {
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { saving = save().catch(() => {}); }, 1200); });
  // What is sent must carry the version that the last saving gave.
  form.addEventListener("submit", (event) => {
    clearTimeout(timer);
    if (form.dataset.ready) return;
    event.preventDefault();
    const by = event.submitter;
    // In a task of its own: a form that is being submitted takes no second submission.
    saving.finally(() => setTimeout(() => { form.dataset.ready = "yes"; form.requestSubmit(by); }));
  });
  const snippets = document.getElementById("snippets");
  snippets.closest("label").hidden = false;
  snippets.addEventListener("change", () => {
    const text = form.elements.recommendation;
    text.value = [text.value.trim(), snippets.value].filter(Boolean).join("");
    snippets.value = "";
    text.dispatchEvent(new Event("input", { bubbles: true }));
  });
  setInterval(() => { if (!document.hidden) post("/hold", new FormData()).catch(() => {}); }, 60000);
  makeCurrent("right");
}
document.querySelectorAll(".viewer").forEach(startViewer);
