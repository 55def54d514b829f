// The recording: pictures are decoded when needed, outlines are drawn over them at the screen's resolution.

const study = JSON.parse(document.getElementById("study").textContent);
const numFrames = study.frames.length;
const times = study.times || study.frames.map((_, index) => (1000 * index) / study.displayRate);
const MOST_PICTURES = 240; // kept decoded or ready to be
const AHEAD = 8;

const shown = study.structures.map(() => true);
const look = { opacity: 0.2, letters: true };
const pictures = new Map(); // index -> {image, ready: promise}, the latest last
const paths = new Map(); // index -> Path2D or null of each structure

function load(index) {
  let entry = pictures.get(index);
  if (!entry) {
    const image = new Image();
    image.src = "data:image/jpeg;base64," + study.frames[index];
    entry = { image, isReady: false };
    entry.ready = image.decode().then(() => { entry.isReady = true; });
  }
  pictures.delete(index);
  pictures.set(index, entry);
  if (pictures.size > MOST_PICTURES) pictures.delete(pictures.keys().next().value);
  return entry;
}

function outlines(index) {
  if (!paths.has(index)) paths.set(index, study.outlines[index].map((data) => (data ? new Path2D(data) : null)));
  return paths.get(index);
}

function fit(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round((width * study.height) / study.width));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

// Paint a frame whose picture is ready: the picture, all areas, all outlines, letters on top.
function paint(canvas, index, { letters, weight }) {
  fit(canvas);
  const context = canvas.getContext("2d");
  const unit = canvas.width / study.width / study.units;
  const dot = canvas.width / canvas.clientWidth; // one CSS pixel
  const drawn = outlines(index).map((path, s) => ({ path, s })).filter(({ path, s }) => path && shown[s]).reverse();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(load(index).image, 0, 0, canvas.width, canvas.height);
  context.setTransform(unit, 0, 0, unit, 0, 0);
  context.lineJoin = "round";
  for (const { path, s } of drawn) {
    context.globalAlpha = look.opacity;
    context.fillStyle = study.structures[s].color;
    context.fill(path, "evenodd");
  }
  context.globalAlpha = 0.5; // a dark edge keeps light colors visible on bright air
  context.strokeStyle = "#000";
  context.lineWidth = ((weight + 1.5) * dot) / unit;
  for (const { path } of drawn) context.stroke(path);
  context.globalAlpha = 1;
  context.lineWidth = (weight * dot) / unit;
  for (const { path, s } of drawn) {
    context.strokeStyle = study.structures[s].color;
    context.stroke(path);
  }
  if (letters) paintLetters(context, index, drawn.map(({ s }) => s), unit, dot);
}

function paintLetters(context, index, structures, unit, dot) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.font = `700 ${12 * dot}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 3.5 * dot;
  context.strokeStyle = "rgba(0, 0, 0, 0.8)";
  const placed = [];
  for (const s of structures) {
    const [x, anchorY] = study.anchors[index][s].map((value) => value * unit);
    let y = anchorY;
    while (placed.some((other) => Math.abs(other.x - x) < 17 * dot && Math.abs(other.y - y) < 13 * dot)) y += 4 * dot;
    placed.push({ x, y });
    context.strokeText(study.structures[s].code, x, y);
    context.fillStyle = study.structures[s].letter;
    context.fillText(study.structures[s].code, x, y);
  }
}

function inWords(index) {
  const place = `frame ${index + 1} of ${numFrames}`;
  return study.times ? `${place} · ${(times[index] / 1000).toFixed(3)} s` : place;
}
