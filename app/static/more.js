/* Keys of votes, and a page that draws itself anew while a run trains. */
document.addEventListener("keydown", (event) => {
  const names = { 1: "left", 2: "right", 3: "tie", 4: "both_wrong", n: "next", p: "previous" };
  const writing = event.target.closest("input, textarea, select, [contenteditable]");
  if (writing || event.ctrlKey || event.metaKey || event.altKey || !names[event.key]) return;
  const button = document.getElementById(`judge-${names[event.key]}`);
  if (button?.offsetParent) button.click();
});
setInterval(() => {
  const drawn = document.querySelector("#stage [data-refresh]"), button = document.getElementById("runs-refresh");
  if (!drawn || !button?.offsetParent || document.hidden) return;
  const now = Date.now(), due = Number(drawn.dataset.refresh) * 1000;
  if (now - (window.drawnAt ?? 0) < due) return;
  window.drawnAt = now;
  button.click();
}, 1000);
