// Draws every figure of a page: a ".plot" box whose next element holds the figure as JSON.
// Plotly comes packed; figures follow the reader's light or dark setting and the width at hand.
(() => {
  const DARK = {
    "#FFFFFF": "#16181C", "#E6E8EB": "#33373D", "#202124": "#E8EAED", "#222222": "#E8EAED",
    "#5F6368": "#A8ADB3", "#B5410A": "#F0824A", "#00674F": "#2FB58F", "#6A3D9A": "#B493E0",
    "#8A6D00": "#D3AE2F", "#A0186F": "#EC6FBB", "#0072B2": "#4CB1EA", "#882255": "#D0679D",
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const boxes = [...document.querySelectorAll(".plot")];
  const parsed = (box) => {
    const text = box.nextElementSibling.textContent;
    const shown = dark.matches ? text.replace(/#[0-9A-Fa-f]{6}/g, (c) => DARK[c.toUpperCase()] || c) : text;
    const figure = JSON.parse(shown);
    if (box.clientWidth < 460) {
      const title = figure.layout.title;
      if (title && title.text) {  // a title never runs out of a narrow page
        const words = title.text.split(" "), lines = [""];
        for (const word of words) {
          const line = lines[lines.length - 1];
          if ((line + " " + word).length > 38) lines.push(word);
          else lines[lines.length - 1] = (line + " " + word).trim();
        }
        title.text = lines.join("<br>");
        title.font = {...title.font, size: 13};
      }
      figure.layout.font = {...figure.layout.font, size: 11};
    }
    return figure;
  };
  const draw = (queue) => {  // one at a time: the page can be read meanwhile
    const box = queue.shift();
    if (!box) return;
    const figure = parsed(box);
    Plotly.react(box, figure.data, figure.layout, {responsive: true, displayModeBar: false});
    setTimeout(() => draw(queue));
  };
  const load = async () => {
    const packed = document.getElementById("plotly").textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    draw([...boxes]);
    dark.addEventListener("change", () => draw([...boxes]));
  };
  if (boxes.length) load();
})();
