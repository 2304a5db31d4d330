/* What is wrong with the page for a keyboard, a screen reader or weak eyes; a list of sentences. */
(() => {
  const faults = [], pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const ground = (e) => {
    if (!e) return [255, 255, 255];
    const own = rgba(getComputedStyle(e).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, ground(e.parentElement));
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const name = (e) => (e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || e.title || "").trim();

  for (const root of document.querySelectorAll("#head, #rail, #stage")) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
      const e = node.parentElement;
      if (!node.textContent.trim() || !seen(e) || e.closest(".cells, .unseen, #said, dialog")) continue;
      const under = ground(e), text = over(rgba(getComputedStyle(e).color), under);
      const [low, high] = [luminance(text), luminance(under)].sort((a, b) => a - b);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)} of “${node.textContent.trim().slice(0, 30)}” (${e.className})`);
    }
    for (const e of root.querySelectorAll("button, a, input, select, textarea, [role=region], meter, summary"))
      if (seen(e) && !name(e)) faults.push(`no name: ${e.outerHTML.slice(0, 90)}`);
    for (const e of root.querySelectorAll("img"))
      if (!e.alt) faults.push(`no alt: ${e.className}`);
    for (const e of root.querySelectorAll("#stage *, #rail *")) {
      const box = e.getBoundingClientRect();
      if (seen(e) && box.width && box.right > innerWidth + 1 && !e.closest(".scroll, .unseen"))
        faults.push(`clipped: ${e.tagName} ${e.className} ends at ${Math.round(box.right)}`);
    }
  }
  const ids = [...document.querySelectorAll("#head [id], #rail [id], #stage [id]")].map((e) => e.id).filter(Boolean);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) faults.push(`id twice: ${id}`);
  if (!document.documentElement.lang) faults.push("no lang");
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`scrolls sideways: ${document.documentElement.scrollWidth}`);
  return [...new Set(faults)];
})();
