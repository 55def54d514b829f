// The page: one current frame, which recording, plots, scrubber and key frames follow.

const byId = (id) => document.getElementById(id);
const canvas = byId("picture"), scrubber = byId("scrubber"), play = byId("play");
const switchBoxes = [...document.querySelectorAll("[data-structure]")];
const keyFrames = [...document.querySelectorAll(".key-frame")];
const isStill = window.matchMedia("(prefers-reduced-motion: reduce)");
let current = 0; // the frame on the screen
let wanted = 0; // the frame asked for, whose picture may still be decoded
let followers = []; // what moves with the frame

document.documentElement.style.setProperty("--aspect", study.width / study.height);

function show(index) {
  wanted = Math.min(numFrames - 1, Math.max(0, index));
  const target = wanted, entry = load(target);
  if (entry.isReady) present(target);
  else entry.ready.then(() => { if (wanted === target) present(target); });
  for (let ahead = 1; ahead <= AHEAD && target + ahead < numFrames; ahead += 1) load(target + ahead);
}

function present(index) {
  current = index;
  paint(canvas, index, { letters: look.letters, weight: 1.75 });
  scrubber.value = index;
  scrubber.setAttribute("aria-valuetext", inWords(index));
  byId("moment").textContent = inWords(index);
  switchBoxes.forEach((box, s) => box.closest(".switch").classList.toggle("absent", !study.outlines[index][s]));
  keyFrames.forEach((button) => button.setAttribute("aria-current", String(Number(button.dataset.frame) === index)));
  followers.forEach((follow) => follow(index));
}

function paintThumbnails() {
  for (const button of keyFrames) {
    const index = Number(button.dataset.frame);
    load(index).ready.then(() => paint(button.querySelector("canvas"), index, { letters: false, weight: 1.25 }));
  }
}

function repaint() {
  if (load(current).isReady) present(current);
  paintThumbnails();
}

function layOut() {
  const figures = [...document.querySelectorAll("[data-plot]")];
  followers = [drawEventNames(byId("events")), ...figures.map(drawPlot), ...(byId("path") ? [drawPath(byId("path"))] : [])];
  repaint();
}

// Playing, by the clock of the recording

const clock = { isRunning: false, at: 0, last: 0 };
const lastStep = numFrames > 1 ? times[numFrames - 1] - times[numFrames - 2] : 0;

function frameAt(time) {
  let index = times[wanted] <= time ? wanted : 0;
  while (index + 1 < numFrames && times[index + 1] <= time) index += 1;
  return index;
}

function tick(now) {
  if (!clock.isRunning) return;
  clock.at += (now - clock.last) * Number(byId("speed").value);
  clock.last = now;
  if (clock.at >= times[numFrames - 1] + lastStep) {
    if (isStill.matches) { setRunning(false); return; }
    clock.at = 0;
  }
  const index = frameAt(clock.at);
  if (index !== wanted) show(index);
  requestAnimationFrame(tick);
}

function setRunning(isRunning) {
  clock.isRunning = isRunning && numFrames > 1;
  play.setAttribute("aria-label", clock.isRunning ? "Pause" : "Play");
  play.firstElementChild.textContent = clock.isRunning ? "❚❚" : "▶";
  if (!clock.isRunning) return;
  clock.at = wanted === numFrames - 1 ? 0 : times[wanted];
  clock.last = performance.now();
  requestAnimationFrame(tick);
}

function go(index) {
  setRunning(false);
  show(index);
}

// Controls

scrubber.addEventListener("input", () => go(Number(scrubber.value)));
play.addEventListener("click", () => setRunning(!clock.isRunning));
byId("previous").addEventListener("click", () => go(wanted - 1));
byId("next").addEventListener("click", () => go(wanted + 1));
byId("letters").addEventListener("change", (event) => { look.letters = event.target.checked; repaint(); });
byId("opacity").addEventListener("input", (event) => { look.opacity = event.target.value / 100; repaint(); });
for (const button of document.querySelectorAll(".key-frame, .go")) {
  button.addEventListener("click", () => go(Number(button.dataset.frame)));
}

function setSwitches(isOn) {
  switchBoxes.forEach((box, s) => { box.checked = isOn; shown[s] = isOn; });
  repaint();
}
byId("all").addEventListener("click", () => setSwitches(true));
byId("none").addEventListener("click", () => setSwitches(false));
switchBoxes.forEach((box, s) => box.addEventListener("change", () => { shown[s] = box.checked; repaint(); }));

for (const holder of document.querySelectorAll(".plot[data-plot], .events")) {
  const follow = (event) => {
    const svg = event.target.closest("svg:not(.line)");
    if (svg && (event.type === "pointerdown" || event.buttons)) go(nearestFrame(svg, event));
  };
  holder.addEventListener("pointerdown", (event) => {
    if (event.target.closest("svg:not(.line)")) event.target.setPointerCapture(event.pointerId);
    follow(event);
  });
  holder.addEventListener("pointermove", follow);
}

const KEYS = { ArrowLeft: () => wanted - 1, ArrowRight: () => wanted + 1, Home: () => 0, End: () => numFrames - 1 };
document.addEventListener("keydown", (event) => {
  const on = event.target;
  if (event.ctrlKey || event.altKey || event.metaKey || on.closest("select") || on.id === "opacity") return;
  if (event.key === " " && (on === scrubber || !on.closest("button, input, a"))) {
    event.preventDefault();
    setRunning(!clock.isRunning);
  } else if (KEYS[event.key]) {
    event.preventDefault();
    go(KEYS[event.key]());
  }
});

let width = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  layOut();
}).observe(document.body);
show(0);
