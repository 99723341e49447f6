// The page of `cycada view`: looks at trainings again and again, and sends images to be tried.
"use strict";
(() => {
const settings = JSON.parse(document.body.dataset.settings);
const POLL = 2000; // ms between two looks
const LOST = 5000; // ms between two tries to reach a server that does not answer
const KEPT = 24; // images that were tried and stay on the page
const find = (selector, root = document) => root.querySelector(selector);
const make = (name, classes = "", text = "") => {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  if (text) made.textContent = text;
  return made;
};
const number = (value) => value.toLocaleString("en");

// Palettes: 256 colours each, from cold to warm.
const tables = Object.fromEntries(Object.entries(settings.palettes).map(([name, channels]) => {
  const table = new Uint8ClampedArray(256 * 3);
  channels.forEach((stops, channel) => {
    for (let i = 0; i < 256; i += 1) {
      const place = (i / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(place), stops.length - 2);
      const share = place - low;
      table[3 * i + channel] = 255 * (stops[low] * (1 - share) + stops[low + 1] * share);
    }
  });
  return [name, table];
}));
const palette = () => tables[find("#palette").value];
const repaint = new Set(); // functions that colour what is shown
find("#palette").addEventListener("change", () => repaint.forEach((paint) => paint()));

function paintCounts(canvas, counts, width, height) {
  const colours = palette();
  const picture = new ImageData(width, height);
  for (let i = 0; i < counts.length; i += 1) {
    const at = 3 * (counts[i] >> 8);
    picture.data.set([colours[at], colours[at + 1], colours[at + 2], 255], 4 * i);
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function paintRamp(canvas) {
  const counts = Uint16Array.from({ length: 256 }, (_, i) => i * 257);
  paintCounts(canvas, counts, 256, 1);
}

// Tabs: the address tells which one is shown.
const TABS = [...document.querySelectorAll(".tabs a")].map((link) => link.hash.slice(1));
function showTab() {
  const wanted = TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "live";
  for (const tab of TABS) {
    find(`#view-${tab}`).hidden = tab !== wanted;
    const link = find(`.tabs a[href="#${tab}"]`);
    if (tab === wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  find(".choice").hidden = wanted === "faces" || wanted === "report"; // they have their own
  if (wanted === "report") showReport();
  if (wanted === "faces" && !find("#faces-frame").src) find("#faces-frame").src = "faces/faces.html";
  window.scrollTo(0, 0);
}
window.addEventListener("hashchange", showTab);

// Live.
const WORDS = {
  training: "training", still: "stands still", waiting: "begins", ended: "ended",
  stopped: "stopped", broken: "cannot be read",
};
const cards = new Map(); // by the key of the run
let state = null;

function cardOf(run) {
  if (cards.has(run.key)) return cards.get(run.key);
  const root = find("#run-template").content.cloneNode(true).firstElementChild;
  const card = { root, version: "", samples: [], at: 0, follows: true, image: null };
  const slider = find("input[type=range]", root);
  slider.addEventListener("input", () => {
    card.at = Number(slider.value);
    card.follows = card.at === card.samples.length - 1;
    showSamples(card);
  });
  find(".newest", root).addEventListener("click", () => {
    card.follows = true;
    card.at = card.samples.length - 1;
    showSamples(card);
  });
  repaint.add(() => paintSamples(card));
  cards.set(run.key, card);
  find("#runs").append(root);
  return card;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showRun(run) {
  const card = cardOf(run);
  const { root } = card;
  card.key = run.key;
  root.className = `run is-${run.state}`;
  root.style.order = ["training", "waiting", "still"].includes(run.state) ? 0 : 1;
  setText(find("h2", root), run.name);
  setText(find(".kind-of", root), run.kind || "");
  setText(find(".word", root), WORDS[run.state]);
  setText(find(".told", root), ["training", "ended"].includes(run.state) ? "" : run.told);
  find(".track", root).hidden = !run.steps;
  if (run.steps) {
    const share = Math.min(run.step / run.steps, 1);
    const track = find(".track", root);
    track.setAttribute("aria-valuemax", run.steps);
    track.setAttribute("aria-valuenow", run.step);
    find(".fill", root).style.width = `${100 * share}%`;
    setText(find(".steps", root), `Step ${number(run.step)} of ${number(run.steps)}`);
    setText(find(".rate", root), run.rate);
    setText(find(".left", root), run.left ? `${run.left} left` : "");
  }
  if (run.version && run.version !== card.version) {
    card.version = run.version;
    showCurves(card);
  }
  if (run.samples.join() !== card.samples.join()) {
    card.samples = run.samples;
    if (card.follows) card.at = card.samples.length - 1;
    showSamples(card);
  }
}

async function showCurves(card) {
  const answer = await ask(`runs/${card.key}/curves`);
  const plots = find(".plots", card.root);
  // Drawn by the server, which escapes all texts; the page's policy lets no script of it run.
  if (answer && answer.plots) plots.innerHTML = answer.plots.map((svg) => `<div>${svg}</div>`).join("");
}

const ROWS = [
  [["RGB", 0, false], ["As thermal", 1, true], ["Back in RGB", 2, false]],
  [["Thermal", 3, true], ["As RGB", 4, false], ["Back in thermal", 5, true]],
];

function showSamples(card) {
  const part = find(".samples", card.root);
  part.hidden = card.samples.length === 0;
  if (part.hidden) return;
  const slider = find("input[type=range]", part);
  slider.max = card.samples.length - 1;
  slider.value = card.at;
  slider.setAttribute("aria-valuetext", `step ${number(Number(card.samples[card.at]))}`);
  find(".scrub", part).hidden = card.samples.length < 2;
  setText(find("output", part), `Step ${number(Number(card.samples[card.at]))}`);
  find(".newest", part).setAttribute("aria-pressed", card.follows);
  const image = new Image();
  image.onload = () => { card.image = image; paintSamples(card); };
  image.src = `runs/${card.key}/samples/${card.samples[card.at]}.png`;
  card.wanted = image;
}

function paintSamples(card) {
  const { image } = card;
  if (!image || image !== card.wanted) return;
  const grids = find(".grids", card.root);
  const side = image.naturalHeight / 6;
  if (!Number.isInteger(side) || image.naturalWidth % side) {
    image.className = "whole-grid";
    image.alt = "Samples";
    grids.replaceChildren(image);
    return;
  }
  grids.replaceChildren(...ROWS.map((rows) => {
    const block = make("div", "grid-rows");
    for (const [label, row, thermal] of rows) {
      const canvas = make("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = side;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${label}, step ${card.samples[card.at]}`);
      const pen = canvas.getContext("2d");
      pen.drawImage(image, 0, row * side, canvas.width, side, 0, 0, canvas.width, side);
      if (thermal) {
        const pixels = pen.getImageData(0, 0, canvas.width, side).data;
        const counts = new Uint16Array(canvas.width * side);
        for (let i = 0; i < counts.length; i += 1) counts[i] = pixels[4 * i] * 257;
        paintCounts(canvas, counts, canvas.width, side);
      }
      block.append(make("span", "", label), canvas);
    }
    return block;
  }));
}

async function ask(path, options = {}) {
  try {
    const answer = await fetch(path, options);
    find("#lost").hidden = true;
    return await answer.json();
  } catch {
    if (!options.signal || !options.signal.aborted) find("#lost").hidden = false;
    return null;
  }
}

async function look() {
  const found = document.hidden ? state : await ask("state");
  if (found && found !== state) {
    state = found;
    show();
  }
  setTimeout(look, found ? POLL : LOST);
}

function show() {
  const there = new Set(state.runs.map((run) => run.key));
  for (const [key, card] of cards) {
    if (!there.has(key)) {
      card.root.remove();
      cards.delete(key);
    }
  }
  state.runs.forEach(showRun);
  const busy = state.runs.filter((run) => run.state === "training" || run.state === "waiting");
  find("#any-lamp").hidden = busy.length === 0;
  const count = state.runs.length;
  setText(find("#live-told"), count === 0
    ? "No run among what is shown. A training that begins in these folders appears here."
    : `${count === 1 ? "One run" : `${count} runs`}, ${busy.length === 0 ? "none of them" : busy.length} training now.`
      .replace("One run, none of them training now", "One run, which is not training now")
      .replace("One run, 1 training now", "One run, training now"));
  showChoices();
  showReport();
}

// Which checkpoint: the newest of a run, whichever that is at the time, or that of a step.
function showChoices() {
  for (const kind of ["translator", "detector"]) {
    const select = find(`#${kind}`);
    const runs = state.runs.filter((run) => run.kind === kind && run.checkpoints.length);
    const shape = JSON.stringify(runs.map((run) => [run.key, run.name, run.checkpoints]));
    if (select.dataset.shape === shape) continue;
    const before = select.dataset.shape ? select.value : null;
    const newest = select.dataset.newest;
    select.replaceChildren(new Option("none", ""));
    for (const run of runs) {
      const group = make("optgroup");
      group.label = run.name;
      const last = run.checkpoints[run.checkpoints.length - 1];
      const live = run.state === "training" ? ", follows the training" : "";
      group.append(new Option(`${run.name}: newest (step ${number(last)}${live})`, `${run.key}@`));
      for (const step of [...run.checkpoints].reverse()) {
        group.append(new Option(`${run.name}: step ${number(step)}`, `${run.key}@${step}`));
      }
      select.append(group);
    }
    const values = [...select.options].map((option) => option.value);
    const first = runs.length ? `${runs[kind === "detector" ? runs.length - 1 : 0].key}@` : "";
    select.value = before !== null && values.includes(before) ? before : first;
    select.dataset.shape = shape;
    select.dataset.newest = resolved(select.value);
    if (before === null || (before && newest !== select.dataset.newest)) again();
  }
  find("#no-checkpoint").hidden = state.runs.some((run) => run.checkpoints.length);
}

function resolved(value) {
  const [key, step] = value.split("@");
  if (!value || step) return value;
  const run = state.runs.find((each) => each.key === key);
  return run ? `${key}@${run.checkpoints[run.checkpoints.length - 1]}` : "";
}

// Try: one image at a time; what was chosen anew is done with all that are on the page.
const tried = []; // {file, root, stale}
let working = false;

function add(files) {
  for (const file of files) {
    const root = find("#tried-template").content.cloneNode(true).firstElementChild;
    const entry = { file, root, stale: true, paints: [] };
    find("h2", root).textContent = file.name || "Pasted image";
    find(".remove", root).addEventListener("click", () => {
      forget(entry);
      find("#drop input").focus();
    });
    find("#tried").prepend(root);
    tried.unshift(entry);
    wait(entry);
    while (tried.length > KEPT) forget(tried[tried.length - 1]);
  }
  document.body.classList.toggle("tried-once", tried.length > 0);
  work();
}

function forget(entry) {
  entry.paints.forEach((paint) => repaint.delete(paint));
  if (entry.saved) URL.revokeObjectURL(entry.saved);
  entry.root.remove();
  tried.splice(tried.indexOf(entry), 1);
  document.body.classList.toggle("tried-once", tried.length > 0);
}

function wait(entry) {
  if (!find(".shots", entry.root)) find(".body", entry.root).replaceChildren(make("p", "wait", "Working …"));
  entry.root.classList.add("working");
  entry.root.setAttribute("aria-busy", "true");
}

function again() {
  for (const entry of tried) {
    entry.stale = true;
    wait(entry);
  }
  work();
}

async function work() {
  if (working || !state) return;
  working = true;
  let entry;
  while ((entry = [...tried].reverse().find((each) => each.stale))) {
    entry.stale = false;
    const answer = await send(entry);
    if (!tried.includes(entry) || entry.stale) continue;
    entry.root.classList.remove("working");
    entry.root.removeAttribute("aria-busy");
    if (answer.error) showFault(entry, answer.error);
    else showResult(entry, answer);
  }
  working = false;
}

async function send(entry) {
  const { file } = entry;
  if (file.size > settings.largest) {
    return { error: `The file is larger than ${settings.largest >> 20} MB; translate it with cycada translate.` };
  }
  const wanted = new URLSearchParams({
    name: file.name || "The image",
    translator: resolved(find("#translator").value), detector: resolved(find("#detector").value),
    shows: find("#shows").value, unit: find("#unit").value, face: find("#face").checked ? "1" : "0",
  });
  try {
    const answer = await fetch(`try?${wanted}`, {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
    });
    return await answer.json();
  } catch {
    return { error: "The server did not answer; has it ended, or was the file changed or moved?" };
  }
}

function showFault(entry, text) {
  const note = make("p", "warns fault", text);
  note.setAttribute("role", "alert");
  find(".body", entry.root).replaceChildren(note);
  find(".size", entry.root).textContent = "";
  find(".save", entry.root).hidden = true;
}

function decoded(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
}

function showResult(entry, result) {
  entry.paints.forEach((paint) => repaint.delete(paint));
  entry.paints = [];
  const { root } = entry;
  root.dataset.shows = result.shows;
  find(".size", root).textContent = `${result.width} × ${result.height}`;
  const shots = make("div", "shots");
  const row = make("div", "shots-row");
  const panes = result.pictures.map((picture) => pane(entry, picture, result));
  if (result.difference) panes.push(differencePane(entry, result));
  row.style.setProperty("--shots", panes.length);
  row.append(...panes.map((each) => each.figure));
  follow(panes);
  shots.append(row, scale(entry, result));
  const parts = [shots];
  if (result.readings.length) parts.push(unitsTable(result));
  if (result.notes.length) {
    const notes = make("ul", "notes");
    notes.append(...result.notes.map((text) => make("li", "", text)));
    parts.push(notes);
  }
  find(".body", root).replaceChildren(...parts);
  const save = find(".save", root);
  save.hidden = !result.file;
  if (entry.saved) URL.revokeObjectURL(entry.saved);
  entry.saved = "";
  if (result.file) {
    const bytes = Uint8Array.from(atob(result.file), (letter) => letter.charCodeAt(0));
    entry.saved = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    save.href = entry.saved;
    save.download = `${result.name.replace(/\.[^.]*$/, "")}_${result.shows === "rgb" ? "thermal" : "rgb"}.png`;
  }
}

function emptyPane(label, name) {
  const figure = make("figure", "shot");
  const frame = make("div", "frame");
  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", `${label} of ${name}; arrow keys read single places`);
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  const cross = make("span", "cross");
  cross.hidden = true;
  frame.append(canvas, cross);
  const caption = make("figcaption");
  const read = make("span", "read");
  caption.append(make("span", "", label), read);
  figure.append(frame, caption);
  return { figure, frame, canvas, cross, read };
}

function pane(entry, picture, result) {
  const made = emptyPane(picture.label[0].toUpperCase() + picture.label.slice(1), result.name);
  made.figure.dataset.key = picture.key;
  const { width, height } = picture;
  if (picture.kind === "thermal") {
    const counts = decoded(picture.counts);
    const paint = () => paintCounts(made.canvas, counts, width, height);
    entry.paints.push(paint);
    repaint.add(paint);
    paint();
    made.at = (x, y) => {
      const share = counts[place(x, width) + width * place(y, height)] / 65535;
      if (!result.window) return `${(100 * share).toFixed(1)} % of white`;
      const [low, high] = result.window;
      return `${(low + share * (high - low)).toFixed(2)} °C`;
    };
  } else {
    made.canvas.width = width;
    made.canvas.height = height;
    const pen = made.canvas.getContext("2d", { willReadFrequently: true });
    const image = new Image();
    image.onload = () => pen.drawImage(image, 0, 0);
    image.src = picture.uri;
    made.at = (x, y) => [...pen.getImageData(place(x, width), place(y, height), 1, 1).data]
      .slice(0, 3).join(" ");
  }
  return made;
}

function differencePane(entry, result) {
  const { width, height, counts: text, largest, unit } = result.difference;
  const made = emptyPane("Difference", result.name);
  made.figure.dataset.key = "difference";
  const counts = decoded(text);
  const paint = () => paintCounts(made.canvas, counts, width, height);
  entry.paints.push(paint);
  repaint.add(paint);
  paint();
  made.at = (x, y) => {
    const value = (counts[place(x, width) + width * place(y, height)] / 65535) * largest;
    return unit === "K" ? `${value.toFixed(2)} K` : `${value.toFixed(0)} of 255`;
  };
  return made;
}

const place = (share, side) => Math.min(side - 1, Math.max(0, Math.floor(share * side)));

// One cursor for all pictures of an image.
function follow(panes) {
  let at = [0.5, 0.5];
  const show = (x, y) => {
    at = [Math.min(1, Math.max(0, x)), Math.min(1, Math.max(0, y))];
    for (const each of panes) {
      each.cross.hidden = false;
      each.cross.style.left = `${100 * at[0]}%`;
      each.cross.style.top = `${100 * at[1]}%`;
      each.read.textContent = each.at(...at);
    }
  };
  const hide = () => panes.forEach((each) => {
    each.cross.hidden = true;
    each.read.textContent = "";
  });
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  for (const { frame } of panes) {
    const move = (event) => {
      const box = frame.getBoundingClientRect();
      show((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
    frame.addEventListener("pointermove", move);
    frame.addEventListener("pointerdown", move);
    frame.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && document.activeElement !== frame) hide();
    });
    frame.addEventListener("focus", () => { if (frame.matches(":focus-visible")) show(...at); });
    frame.addEventListener("blur", hide);
    frame.addEventListener("keydown", (event) => {
      const arrow = ARROWS[event.key];
      if (!arrow) return;
      event.preventDefault();
      const far = event.shiftKey ? 1 / 8 : 1 / 64;
      show(at[0] + arrow[0] * far, at[1] + arrow[1] * far);
    });
  }
}

function scale(entry, result) {
  const line = make("p", "scale");
  const ramp = make("canvas");
  ramp.setAttribute("role", "img");
  ramp.setAttribute("aria-label", "Colours from cold to warm");
  const paint = () => paintRamp(ramp);
  entry.paints.push(paint);
  repaint.add(paint);
  paint();
  const [low, high] = result.window
    ? result.window.map((value) => `${value.toFixed(1).replace(/\.0$/, "")} °C`) : ["cold", "warm"];
  line.append(make("span", "", low), ramp, make("span", "", high));
  if (result.difference) {
    const { mean, largest, unit } = result.difference;
    const said = (value) => (unit === "K" ? `${value.toFixed(2)} K` : `${value.toFixed(1)} of 255`);
    line.append(make("span", "mean", `There and back: ${said(mean)} off on average, ${said(largest)} at most`));
  }
  return line;
}

function unitsTable(result) {
  const part = make("div", result.readings.length > 1 ? "units" : "units alone");
  const table = make("table");
  const head = make("tr");
  const first = make("th", "", result.thresholds.length ? "Action Unit" : "Class");
  first.scope = "col";
  head.append(first);
  for (const reading of result.readings) {
    const cell = make("th", "", reading.side === "made" ? "In its translation" : `In ${reading.label}`);
    cell.scope = "col";
    head.append(cell);
  }
  if (result.readings.length > 1) {
    const cell = make("th");
    cell.scope = "col";
    cell.append(make("span", "hidden", "Changed by the translation"));
    head.append(cell);
  }
  const top = make("thead");
  top.append(head);
  const rows = make("tbody");
  result.names.forEach((name, i) => {
    const row = make("tr");
    const title = make("th", "", name);
    title.scope = "row";
    if (result.meanings[i]) title.append(make("small", "", result.meanings[i]));
    row.append(title);
    row.dataset.unit = name;
    for (const reading of result.readings) row.append(meter(reading, i, result.thresholds[i]));
    if (result.readings.length > 1) {
      const cell = make("td");
      const [one, other] = result.readings.map((reading) => reading.present[i]);
      if (one !== other) cell.append(make("span", "flips", "changes"));
      row.append(cell);
    }
    rows.append(row);
  });
  table.append(top, rows);
  part.append(table);
  if (result.thresholds.length) {
    part.append(make("p", "key", "The mark is the probability from which an Action Unit counts as present."));
  }
  return part;
}

function meter(reading, i, threshold) {
  const cell = make("td");
  const value = reading.probabilities[i];
  if (value === null) {
    cell.append(make("span", "said", "not seen"));
    return cell;
  }
  const bar = make("div", reading.present[i] ? "meter present" : "meter");
  const rail = make("div", "rail");
  const fill = make("div", "value");
  fill.style.width = `${100 * value}%`;
  rail.append(fill);
  if (threshold !== undefined) {
    const cut = make("div", "cut");
    cut.style.left = `${100 * threshold}%`;
    rail.append(cut);
  }
  const said = make("span", "said", `${(100 * value).toFixed(0)} %`);
  said.append(make("span", "hidden", reading.present[i] ? ", present" : ", absent"));
  bar.append(rail, said);
  const grade = reading.intensities[i];
  if (grade !== undefined && grade !== null) bar.append(make("span", "grade", `${grade.toFixed(1)} of 5`));
  cell.append(bar);
  return cell;
}

for (const name of ["translator", "detector"]) {
  find(`#${name}`).addEventListener("change", (event) => {
    event.target.dataset.newest = resolved(event.target.value);
    again();
  });
}
for (const name of ["shows", "unit", "face"]) find(`#${name}`).addEventListener("change", again);
find("#shows").addEventListener("change", (event) => {
  find("#unit-choice").hidden = event.target.value !== "thermal";
});
find("#files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
const drop = find("#drop");
window.addEventListener("dragover", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault(); // or the browser would leave the page for the image
  if (location.hash !== "#try") location.hash = "#try";
  drop.classList.add("over");
});
window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
window.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  add(event.dataTransfer.files);
});
window.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  location.hash = "#try";
  add(files);
});

// Report.
let shown = "";
function showReport() {
  if (!state || location.hash !== "#report") return;
  const { report } = state;
  const frame = find("#report-frame");
  const there = Boolean(report.ready);
  find("#report-again").hidden = report.making;
  find("#report-alone").hidden = !there;
  const told = [];
  if (report.making) told.push(`The page is being made, since ${report.seconds} s${report.doing ? `: ${report.doing}` : ""} …`);
  else if (report.fault) told.push(report.fault);
  if (there) told.push(`Made at ${report.at}.`);
  setText(find("#report-told"), told.join(" "));
  if (there && shown !== report.ready) {
    shown = report.ready;
    frame.src = `report/${report.page}?${report.ready}`;
    find("#report-alone").href = `report/${report.page}`;
    frame.hidden = false;
  }
}
find("#report-again").addEventListener("click", async () => {
  const answer = await ask("report", { method: "POST" });
  if (answer) state.report = answer;
  showReport();
});

showTab();
look();
})();
