// Keeps the list up to date while nobody is using it: the rows alone are fetched, and only while the page is seen.
"use strict";
const rows = document.getElementById("rows");
async function refresh() {
  if (document.hidden || rows.contains(document.activeElement)) return;
  const answer = await fetch("/rows" + location.search, { credentials: "same-origin" });
  if (answer.redirected) { location.reload(); return; }
  if (answer.ok) rows.innerHTML = await answer.text();
}
setInterval(() => refresh().catch(() => {}), 5000);
