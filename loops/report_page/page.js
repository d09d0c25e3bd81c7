// The value of the point that is nearest to the pointer, as pygal has written it beside each dot.
const NEAR = 28; // pixels
const tip = document.body.appendChild(Object.assign(document.createElement("div"), { className: "tip", hidden: true }));
let marked = [];

// The dots of a chart that lie nearest, and those that lie under them.
function nearest(chart, x, y) {
  const far = [...chart.querySelectorAll(".dot")].map(dot => {
    const box = dot.getBoundingClientRect();
    return [Math.hypot(box.x + box.width / 2 - x, box.y + box.height / 2 - y), dot];
  });
  const least = Math.min(NEAR, ...far.map(([distance]) => distance));
  return far.filter(([distance]) => distance < least + 0.5 && distance < NEAR).map(([, dot]) => dot);
}

function said(chart, dot) {
  const number = /serie-(\d+)/.exec(dot.closest(".series").getAttribute("class"))[1];
  const name = chart.closest(".plot").querySelectorAll(".key li")[number].textContent;
  const label = dot.parentNode.querySelector("desc.x_label")?.textContent;
  return `${name}, ${label ? `${label}: ` : ""}${dot.parentNode.querySelector("desc.value").textContent}`;
}

function show(chart, dots) {
  marked.forEach(dot => dot.classList.remove("marked"));
  marked = dots;
  tip.hidden = !dots.length;
  if (!dots.length) return;
  dots.forEach(dot => dot.classList.add("marked"));
  tip.textContent = dots.map(dot => said(chart, dot)).join("\n");
  const box = dots[0].getBoundingClientRect();
  const left = Math.min(box.x + 12, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${box.y - tip.offsetHeight - 8 + scrollY}px`;
}

for (const chart of document.querySelectorAll(".pygal-chart")) {
  chart.addEventListener("pointermove", event => show(chart, nearest(chart, event.clientX, event.clientY)));
  chart.addEventListener("pointerdown", event => show(chart, nearest(chart, event.clientX, event.clientY)));
  chart.addEventListener("pointerleave", () => show(chart, []));
}

// Paper has no mouse: what is folded is printed open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));
