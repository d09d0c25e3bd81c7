// The value of the point that is nearest to the pointer, as pygal has written it beside each dot.
const NEAR = 28; // pixels
const tip = document.body.appendChild(Object.assign(document.createElement("div"), { className: "tip", hidden: true }));
let marked = null;

function nearest(chart, x, y) {
  let best = null, least = NEAR;
  for (const dot of chart.querySelectorAll(".dot")) {
    const box = dot.getBoundingClientRect();
    const far = Math.hypot(box.x + box.width / 2 - x, box.y + box.height / 2 - y);
    if (far <= least) { best = dot; least = far; } // of dots in one place the last is drawn on top
  }
  return best;
}

function show(chart, dot) {
  marked?.classList.remove("marked");
  marked = dot;
  tip.hidden = !dot;
  if (!dot) return;
  dot.classList.add("marked");
  const number = /serie-(\d+)/.exec(dot.closest(".series").getAttribute("class"))[1];
  const name = chart.closest(".plot").querySelectorAll(".key li")[number].textContent;
  const label = dot.parentNode.querySelector("desc.x_label")?.textContent;
  const value = dot.parentNode.querySelector("desc.value").textContent;
  tip.textContent = `${name}, ${label ? `${label}: ` : ""}${value}`;
  const box = dot.getBoundingClientRect();
  const left = Math.min(box.x + 12, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${box.y - tip.offsetHeight - 8 + scrollY}px`;
}

for (const chart of document.querySelectorAll(".pygal-chart")) {
  chart.addEventListener("pointermove", event => show(chart, nearest(chart, event.clientX, event.clientY)));
  chart.addEventListener("pointerdown", event => show(chart, nearest(chart, event.clientX, event.clientY)));
  chart.addEventListener("pointerleave", () => show(chart, null));
}

// Paper has no mouse: what is folded is printed open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));
