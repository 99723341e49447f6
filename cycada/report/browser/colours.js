/* Colours of temperatures and of differences. The palettes are the tables of the SVG filters that
   colour small pictures, so that large ones look the same. */

const PALETTES = [["inferno", "Inferno"], ["ironbow", "Ironbow"], ["grey", "Grey"]];
const LARGEST_CODE = 65535;
const LEVELS = 1024; // of a table of colours
const DIFFERENCE_SHARE = 0.25; // of the window: the difference that has the strongest colour
const DIFFERENCE_GAIN = 3; // of differences of colour
const COLDER = [[16, 16, 18], [40, 130, 255], [214, 236, 255]];
const WARMER = [[16, 16, 18], [255, 122, 40], [255, 232, 206]];

/** Return `LEVELS` colours, four bytes each, along colours at even places. */
function tableThrough(stops) {
  const table = new Uint8ClampedArray(4 * LEVELS);
  for (let level = 0; level < LEVELS; level += 1) {
    const place = (level / (LEVELS - 1)) * (stops.length - 1);
    const lower = Math.min(Math.floor(place), stops.length - 2);
    for (let channel = 0; channel < 3; channel += 1) {
      const [low, high] = [stops[lower][channel], stops[lower + 1][channel]];
      table[4 * level + channel] = low + (high - low) * (place - lower);
    }
    table[4 * level + 3] = 255;
  }
  return table;
}

/** The palette of the whole page. */
const palette = {
  name: "inferno",
  tables: new Map(),
  listeners: new Set(),

  /** Colour everything by another palette. */
  choose(name) {
    if (!PALETTES.some(([known]) => known === name)) return;
    this.name = name;
    document.documentElement.dataset.palette = name;
    const grey = document.getElementById("grey"); // the switch that works without a script
    if (grey) grey.checked = name === "grey";
    this.listeners.forEach((listener) => listener(name));
  },

  next() {
    const place = PALETTES.findIndex(([name]) => name === this.name);
    this.choose(PALETTES[(place + 1) % PALETTES.length][0]);
  },

  table() {
    if (!this.tables.has(this.name)) this.tables.set(this.name, tableThrough(this.stops()));
    return this.tables.get(this.name);
  },

  stops() {
    const filter = document.querySelector(`filter#${this.name}`); // grey has none
    if (!filter) return [[0, 0, 0], [255, 255, 255]];
    const planes = ["feFuncR", "feFuncG", "feFuncB"].map((name) =>
      filter.querySelector(name).getAttribute("tableValues").split(" ").map(Number));
    return planes[0].map((_, place) => planes.map((plane) => plane[place] * 255));
  },
};

/** Paint codes of 16 bits, from 0 to 1 of `span`, by the palette, whose colours span `window`. */
function paintCodes(pixels, codes, { span, window }) {
  const table = new Uint32Array(palette.table().buffer);
  const target = new Uint32Array(pixels.data.buffer);
  const [low, high] = span && window ? span.map((end) =>
    (end - window[0]) / (window[1] - window[0])) : [0, 1];
  const [first, scale] = [low * (LEVELS - 1), ((high - low) * (LEVELS - 1)) / LARGEST_CODE];
  for (let i = 0; i < codes.length; i += 1) {
    target[i] = table[Math.min(LEVELS - 1, Math.max(0, Math.round(first + codes[i] * scale)))];
  }
}

/** Paint how much warmer (orange) or colder (blue) `codes` are than `others`. */
function paintWarmth(pixels, codes, others, { span, window }) {
  const target = new Uint32Array(pixels.data.buffer);
  const tables = [COLDER, WARMER].map((stops) => new Uint32Array(tableThrough(stops).buffer));
  const stretch = span && window ? (span[1] - span[0]) / (window[1] - window[0]) : 1;
  for (let i = 0; i < codes.length; i += 1) {
    const step = (stretch * (codes[i] - others[i])) / LARGEST_CODE / DIFFERENCE_SHARE;
    const level = Math.round(Math.min(Math.abs(step), 1) * (LEVELS - 1));
    target[i] = tables[step < 0 ? 0 : 1][level];
  }
}

/** Paint the mean difference of three channels, amplified. */
function paintContrast(pixels, colours, others) {
  const { data } = pixels;
  for (let i = 0; i < colours.length; i += 4) {
    const level = DIFFERENCE_GAIN * meanStep(colours, others, i);
    for (let channel = 0; channel < 3; channel += 1) data[i + channel] = level;
    data[i + 3] = 255;
  }
}

/** Return the mean absolute difference of the three channels of one pixel, of 255. */
function meanStep(colours, others, i) {
  return (Math.abs(colours[i] - others[i]) + Math.abs(colours[i + 1] - others[i + 1])
    + Math.abs(colours[i + 2] - others[i + 2])) / 3;
}

const celsius = (code, window) => window[0] + (code / LARGEST_CODE) * (window[1] - window[0]);

/** Return what a code of 16 bits says: a temperature, or without a scale a share of the range. */
function formatCode(code, { span, window }) {
  if (!window) return `${Math.round((100 * code) / LARGEST_CODE)} %`;
  if (span) return `${celsius(code, span).toFixed(2)} °C`; // holds all that there are
  const beyond = code === 0 ? "≤ " : code === LARGEST_CODE ? "≥ " : "";
  return `${beyond}${celsius(code, window).toFixed(2)} °C`;
}

/** Return what a step between two codes says. */
function formatStep(step, { span, window }) {
  const sign = step < 0 ? "−" : "+";
  const size = Math.abs(step) / LARGEST_CODE;
  const [low, high] = span ?? window ?? [];
  return window ? `${sign}${(size * (high - low)).toFixed(2)} K`
    : `${sign}${Math.round(100 * size)} %`;
}

/** Return the bar that tells what the colours of temperatures mean. */
function makeColourBar(window) {
  const texts = window
    ? [0, 0.25, 0.5, 0.75, 1].map((share) => {
      const value = window[0] + share * (window[1] - window[0]);
      return `${Number(value.toFixed(1))}`;
    })
    : ["cold", "warm"];
  return make("div", { class: "colour-bar" },
    make("span", { class: "ramp warm", role: "img",
      "aria-label": window ? `Colours from ${window[0]} to ${window[1]} degrees Celsius`
        : "Colours from cold to warm" }),
    make("span", { class: "ticks", "aria-hidden": "true" },
      ...texts.map((text) => make("span", {}, text))),
    window ? make("span", { class: "unit", "aria-hidden": "true" }, "°C") : null);
}
