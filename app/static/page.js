/* What the reader does, in order: clicks, keys, links, Back and Forward go into one queue. While the
   server answers, more may come; they are sent together, so that none is lost. The state is the
   address, which lives here: every action that changed it is one entry of the history. */
window.ekipl = (() => {
  const queue = [], typed = {};
  let sent = [], busy = true, view = "", focused = "", copied = "", looking = false;

  const byId = (id) => document.getElementById(id);

  /* All that waits goes together. What stays in the view that is shown, and what leads to one view,
     go by ways of their own, on which the server makes the controls of that view alone. */
  function drain() {
    if (busy || !queue.length) return;
    busy = true;
    sent = queue.splice(0);
    const to = viewOf(sent[0]), same = sent.every((step) => viewOf(step) === to);
    const way = same && byId(`${to === view ? "send" : "go"}-${to}`);
    (way || byId("send")).click();
  }

  /* The view that a step stays in or leads to; null where the server decides. */
  function viewOf(step) {
    return "query" in step ? new URLSearchParams(step.query).get("view") : step.view;
  }

  function add(step) {
    queue.push(step);
    drain();
  }

  /* A control was set to a value, or a button pressed (null). */
  function act(name, action, value = null) {
    const values = (typed[name] ??= {});
    const isPicture = String(value).startsWith("data:");  // sent once, not with every later step
    if (value !== null && !isPicture) values[action] = value;
    add({ view: name, action, value, values: { ...values } });
  }

  /* What was sent, as the server takes it. */
  const take = () => JSON.stringify(sent);

  /* The server's answer: the view shown and the address after each step that was sent, and whether
     the stage is there already; one that is sampled is asked for now. */
  function done(answer) {
    const { view: shown, addresses, whole } = JSON.parse(answer);
    if (view && view !== shown) scrollTo(0, 0);
    view = shown;
    if (!whole) byId("show").click();
    addresses.forEach((query, i) => {
      const address = query ? "?" + query : location.pathname;
      const fresh = sent[i] && !sent[i].history && query !== location.search.slice(1);
      history[fresh ? "pushState" : "replaceState"](null, "", address);
    });
    if (copied !== location.href) byId("share").textContent = "Copy link";
    answered();
  }

  /* What came after what was sent goes on, also where the server could not do that and says so. */
  function answered() {
    sent = [];
    busy = false;
    if (looking) requestAnimationFrame(search);  // the view is there now
    drain();
  }

  const raw = () => document.body.classList.contains("raw");

  /* After the stage changed: raw texts as chosen, focus where it was, and a word for who listens. */
  function dress() {
    for (const text of document.querySelectorAll("#stage details.raw")) text.open = raw();
    const place = document.querySelector("#stage .where");
    if (place && byId("said").textContent !== place.textContent.trim())
      byId("said").textContent = place.textContent.trim();
    if (focused && document.activeElement === document.body) byId(focused)?.focus();
  }

  function fold() {
    const open = byId("rail").toggleAttribute("data-open");
    byId("fold").setAttribute("aria-expanded", open);
  }

  /* The address on the clipboard; where the browser forbids that, it is shown to be copied. */
  async function copy(button) {
    try {
      const address = location.href;
      await navigator.clipboard.writeText(address);
      copied = address;
      button.textContent = byId("said").textContent = "Copied";
    } catch {
      byId("address").value = location.href;
      byId("link").showModal();
      byId("address").select();
    }
  }

  /* Sampling was stopped: what stands there says so, and no longer that it goes on. */
  function stopped() {
    const going = document.querySelector("#stage [aria-busy=true]");
    if (!going) return;
    going.removeAttribute("aria-busy");
    const note = document.createElement("p");
    note.className = "fine stopped";
    note.textContent = byId("said").textContent = "Stopped: what is not here was not sampled.";
    going.after(note);
  }

  function zoom(button) {
    const dialog = byId("zoom"), image = button.querySelector("img").cloneNode();
    dialog.querySelector("figure").replaceChildren(image);
    dialog.showModal();
  }

  const keys = {
    n: () => press("next"),
    p: () => press("previous"),
    1: () => press("left"),
    2: () => press("right"),
    3: () => press("tie"),
    4: () => press("both_wrong"),
    r: () => { document.body.classList.toggle("raw"); dress(); },
    "/": search,
    "?": () => byId("keys").showModal(),
  };

  /* To the box that looks for a text in this view, if it has one; on a narrow page it is folded away.
     While the server answers the box may not be there: then as soon as it has. */
  function search() {
    looking = busy;
    if (looking) return;
    const box = document.querySelector(["search", "words"].map((name) => `#${view}-${name} :is(input, textarea)`));
    if (!box) return;
    if (!box.checkVisibility()) fold();
    box.focus();
  }

  function press(action) {
    if (byId(`${view}-${action}`)) act(view, action);
  }

  document.addEventListener("keydown", (event) => {
    const busyWith = event.target.closest("input, textarea, select, [contenteditable], dialog");
    if (busyWith || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const hit = event.target.closest("a[href^='?'], [data-action], button.zoom, #fold, #help, .copy");
    if (event.target.closest("#rail button[id$='-stop']")) return stopped();
    if (event.target.matches("dialog")) event.target.close();
    if (!hit || hit.matches("input")) return;
    if (hit.matches("#fold")) return fold();
    if (hit.matches("#help")) return byId("keys").showModal();
    if (hit.matches(".copy")) return copy(hit);
    if (hit.matches("button.zoom")) return zoom(hit);
    focused = hit.id;
    if (byId("rail").hasAttribute("data-open")) fold();
    if (hit.dataset.action) return act(view, hit.dataset.action);
    event.preventDefault();
    add({ query: hit.getAttribute("href").slice(1) });
  });

  document.addEventListener("change", (event) => {
    const control = event.target.closest("input[data-action]");
    if (!control) return;
    focused = control.id;
    act(view, control.dataset.action, Number(control.value));
  });

  window.addEventListener("popstate", () => add({ query: location.search.slice(1), history: true }));

  /* Gradio may put another element in the stage's place, so the page is watched, not the stage. */
  let dressing = false;
  new MutationObserver(() => {
    if (dressing) return;
    dressing = true;
    requestAnimationFrame(() => { dressing = false; dress(); });
  }).observe(document.documentElement, { childList: true, subtree: true });

  /* While a run trains its page draws itself anew: data-refresh says after how many seconds. */
  let drawnAt = 0;
  setInterval(() => {
    const drawn = document.querySelector("#stage [data-refresh]"), now = Date.now();
    if (!drawn || document.hidden || busy || now - drawnAt < Number(drawn.dataset.refresh) * 1000) return;
    drawnAt = now;
    press("refresh");
  }, 1000);

  return { act, add, take, done, failed: answered };
})();
