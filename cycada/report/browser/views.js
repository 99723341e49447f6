/* Large pictures of one item that are looked at together: zoom, place and cursor are shared. */

const LARGEST_ZOOM = 16; // or more, until the pixels of a large picture are squares
const ZOOM_STEP = 1.4;
const SHARP_FROM = 6; // px of the screen for one of a magnified picture: pixels become squares
const OVERLAY_STRENGTH = 0.5; // the face has to be seen through it
const OVERLAY = [0, 235, 255]; // a colour that no palette and no face has

/** One picture, whatever it shows: it paints itself, and tells what is at a place. */
class Layer {
  constructor({ key, label, title = label, width, height, paint, read, scale = "" }) {
    Object.assign(this, { key, label, title, width, height, paint, read, scale });
  }
}

/** Return the layers of an item: its views in their order, and differences after both of theirs. */
function layersOf(set, full) {
  const layers = [];
  const scale = { window: set.window, span: full.span };
  set.views.forEach((view, place) => {
    const picture = full.pictures.get(view.key);
    if (picture) layers.push(pictureLayer(view, picture, scale));
    for (const { view: other, model } of set.differences) {
      if (Math.max(other, model) !== place) continue;
      const pair = [other, model].map((each) => full.pictures.get(set.views[each].key));
      if (pair.every(Boolean) && pair[0].width === pair[1].width
          && pair[0].height === pair[1].height) {
        layers.push(differenceLayer(set, set.views[other], ...pair, scale));
      }
    }
  });
  return layers;
}

function pictureLayer(view, { width, height, of, codes, colours }, scale) {
  return new Layer({ key: view.key, label: view.label, width, height, scale: of ? formatSize(of) : "",
    paint: (pixels) => {
      if (codes) paintCodes(pixels, codes, scale);
      else pixels.data.set(colours);
    },
    read: (i) => codes ? formatCode(codes[i], scale)
      : `${colours[4 * i]} ${colours[4 * i + 1]} ${colours[4 * i + 2]}` });
}

const formatSize = ([height, width]) => `${width} × ${height}`;

function differenceLayer(set, view, picture, model, scale) {
  const { width, height, codes, colours } = picture;
  const span = DIFFERENCE_SHARE * (set.window ? set.window[1] - set.window[0] : 100);
  return new Layer({ key: `${view.key}-difference`, width, height,
    label: `Δ ${view.label}`, title: `${view.label} − ${set.label(view.of)}`,
    scale: codes ? `±${Number(span.toFixed(2))} ${set.window ? "K" : "%"}` : `×${DIFFERENCE_GAIN}`,
    paint: (pixels) => {
      if (codes) paintWarmth(pixels, codes, model.codes, scale);
      else paintContrast(pixels, colours, model.colours);
    },
    read: (i) => codes ? formatStep(codes[i] - model.codes[i], scale)
      : `${Math.round(meanStep(colours, model.colours, 4 * i))} of 255` });
}

/** A panel of the stage: one layer, or two with a slider between them. */
class Panel {
  constructor(layers) {
    this.layers = layers;
    this.sheets = layers.map((layer) => {
      const canvas = make("canvas", { width: layer.width, height: layer.height });
      const overlay = make("canvas", { class: "overlay", width: 1, height: 1 });
      const sheet = make("div", { class: "sheet" }, make("div", { class: "moved" }, canvas, overlay));
      return { layer, canvas, overlay, sheet, moved: sheet.firstChild };
    });
    this.cross = make("span", { class: "cross", hidden: true });
    const { width, height } = layers[0];
    this.frame = make("div", { class: layers.length > 1 ? "panel-frame halves" : "panel-frame", role: "img",
      "aria-label": layers.map(({ title }) => title).join(" and "),
      style: `--ratio:${width / height}` }, ...this.sheets.map(({ sheet }) => sheet), this.cross);
    this.readings = layers.map(() => make("span", { class: "reading" }));
    this.element = make("figure",
      { class: "panel", "data-view": layers.map(({ key }) => key).join(" ") }, this.frame,
      make("figcaption", {}, ...layers.flatMap((layer, place) => [
        make("span", { class: "panel-label", title: layer.title }, layer.label,
          layer.scale ? make("small", {}, ` ${layer.scale}`) : null),
        this.readings[place],
      ])));
    this.paint();
  }

  paint() {
    for (const { layer, canvas } of this.sheets) {
      const context = canvas.getContext("2d");
      const pixels = context.createImageData(layer.width, layer.height);
      layer.paint(pixels);
      context.putImageData(pixels, 0, 0);
    }
  }

  /** Lay an activation over the view that it is of: `{ size, shares }`, or nothing. */
  lay(found) {
    for (const { layer, overlay } of this.sheets) {
      const given = found(layer.key);
      overlay.hidden = !given;
      if (!given) continue;
      [overlay.height, overlay.width] = given.size;
      const context = overlay.getContext("2d");
      const pixels = context.createImageData(overlay.width, overlay.height);
      bytesOf(given.shares).forEach((share, i) =>
        pixels.data.set([...OVERLAY, share * OVERLAY_STRENGTH], 4 * i));
      context.putImageData(pixels, 0, 0);
    }
  }

  /** Show the part of the pictures that `zoom` magnifies around the place `x`, `y`. */
  move({ zoom, x, y }) {
    const shift = (place) => `${(0.5 - place * zoom) * 100}%`;
    const size = this.frame.clientWidth;
    for (const { layer, moved } of this.sheets) {
      moved.style.transform = `translate(${shift(x)},${shift(y)}) scale(${zoom})`;
      moved.classList.toggle("sharp", zoom > 1 && (size * zoom) / layer.width >= SHARP_FROM);
    }
  }

  /** Tell what is at a place of the picture, `u` and `v` in [0, 1], or nothing. */
  probe(place, { zoom, x, y }) {
    this.cross.hidden = !place;
    this.layers.forEach((layer, number) => {
      this.readings[number].textContent = place ? layer.read(pixelAt(layer, place)) : "";
    });
    if (!place) return;
    this.cross.style.left = `${((place.u - x) * zoom + 0.5) * 100}%`;
    this.cross.style.top = `${((place.v - y) * zoom + 0.5) * 100}%`;
  }

  /** Show the second layer to the right of a share of the width. */
  split(share) {
    if (this.sheets.length < 2) return;
    this.sheets[1].sheet.style.clipPath = `inset(0 0 0 ${share * 100}%)`;
    this.frame.style.setProperty("--split", `${share * 100}%`);
  }
}

function pixelAt({ width, height }, { u, v }) {
  const column = Math.min(width - 1, Math.floor(u * width));
  return Math.min(height - 1, Math.floor(v * height)) * width + column;
}

/** The panels, and the gestures that move all of them in step. */
class Stage {
  constructor() {
    this.element = make("div", { class: "stage" });
    this.panels = [];
    this.pointers = new Map();
    this.share = 0.5; // of the slider
    this.reset();
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  show(panels) {
    this.panels = panels;
    this.element.replaceChildren(...panels.map((panel) => panel.element));
    for (const panel of panels) this.listen(panel);
    this.fit();
    this.split(this.share);
    this.update();
  }

  /** Make the panels as large as the stage allows. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const count = this.panels.length;
    if (!width || !count) return;
    const [gap, caption] = [14, 30];
    // Of the highest, so that all fit.
    const ratio = Math.min(...this.panels.map(({ layers: [{ width: w, height: h }] }) => w / h));
    const across = (columns) => (width - gap * (columns - 1)) / columns;
    let best = { columns: Math.min(2, count), size: 0 };
    if (getComputedStyle(this.element).overflowY === "visible") {
      best.size = across(best.columns); // the page scrolls: see gallery.css
    } else {
      for (let columns = 1; columns <= count; columns += 1) {
        const rows = Math.ceil(count / columns);
        const down = ((height - gap * (rows - 1)) / rows - caption) * ratio;
        const size = Math.min(across(columns), down);
        if (size > best.size) best = { columns, size };
      }
    }
    this.element.style.setProperty("--panel", `${Math.floor(best.size)}px`);
    this.element.style.setProperty("--columns", best.columns);
    this.update();
  }

  reset() {
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.update();
  }

  /** Return the zoom that shows a pixel of the first picture as one of the screen. */
  pixelZoom() {
    const [panel] = this.panels;
    return panel ? panel.layers[0].width / (panel.frame.clientWidth * devicePixelRatio || 1) : 1;
  }

  largestZoom() {
    return Math.max(LARGEST_ZOOM, 2 * SHARP_FROM * this.pixelZoom());
  }

  /** Magnify, with a place of the panel (in [0, 1]) staying where it is. */
  zoomBy(factor, place = { left: 0.5, top: 0.5 }) {
    const { zoom, x, y } = this.view;
    const target = Math.min(this.largestZoom(), Math.max(1, zoom * factor));
    const stay = (at, side) => at + (side - 0.5) * (1 / zoom - 1 / target);
    this.view = { zoom: target, x: stay(x, place.left), y: stay(y, place.top) };
    this.update();
  }

  /** Move by shares of a panel. */
  panBy(across, down) {
    this.view.x -= across / this.view.zoom;
    this.view.y -= down / this.view.zoom;
    this.update();
  }

  update() {
    const { zoom } = this.view;
    const inside = (place) => Math.min(1 - 0.5 / zoom, Math.max(0.5 / zoom, place));
    this.view.x = inside(this.view.x);
    this.view.y = inside(this.view.y);
    this.element.classList.toggle("zoomed", zoom > 1);
    for (const panel of this.panels) {
      panel.move(this.view);
      panel.probe(this.place, this.view);
    }
    this.onchange?.(this.view);
  }

  /** Read at a place of the pictures, or nowhere. */
  probe(place) {
    this.place = place;
    for (const panel of this.panels) panel.probe(place, this.view);
  }

  /** Move the cursor by pixels of the first picture. */
  probeBy(across, down) {
    const { width, height } = this.panels[0].layers[0];
    const centre = (share, size) => (Math.floor(share * size) + 0.5) / size;
    const { u, v } = this.place ?? { u: this.view.x, v: this.view.y };
    const move = (share, by, size) => Math.min(1 - 0.5 / size, Math.max(0.5 / size, share + by / size));
    this.probe({ u: move(centre(u, width), across, width), v: move(centre(v, height), down, height) });
  }

  split(share) {
    this.share = Math.min(1, Math.max(0, share));
    for (const panel of this.panels) panel.split(this.share);
  }

  listen(panel) {
    const { frame } = panel;
    const slides = panel.layers.length > 1;
    const at = (event) => {
      const box = frame.getBoundingClientRect();
      return { left: (event.clientX - box.left) / box.width,
        top: (event.clientY - box.top) / box.height };
    };
    const read = (event) => {
      const { left, top } = at(event);
      const { zoom, x, y } = this.view;
      const place = { u: x + (left - 0.5) / zoom, v: y + (top - 0.5) / zoom };
      const inside = left >= 0 && left <= 1 && top >= 0 && top <= 1;
      this.probe(inside ? place : undefined);
    };
    frame.addEventListener("pointerdown", (event) => {
      frame.setPointerCapture(event.pointerId);
      const sliding = slides && (this.view.zoom === 1 || Math.abs(at(event).left - this.share) < 0.06);
      this.pointers.set(event.pointerId, { ...at(event), sliding });
      if (sliding) this.slide(at(event).left);
      read(event);
    });
    frame.addEventListener("pointermove", (event) => {
      this.follow(event, at(event));
      read(event);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      frame.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    frame.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") this.probe(undefined);
    });
    frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      const unit = event.deltaMode === 1 ? 16 : 1; // lines or px
      this.zoomBy(Math.exp(-event.deltaY * unit * 0.0022), at(event));
      read(event);
    }, { passive: false });
    frame.addEventListener("dblclick", (event) => {
      if (this.view.zoom > 1) this.reset(); else this.zoomBy(3, at(event));
    });
  }

  /** Drag with one pointer, pinch with two. */
  follow(event, now) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (before.sliding && this.pointers.size === 1) this.slide(now.left);
    else if (this.pointers.size === 1) this.panBy(now.left - before.left, now.top - before.top);
    else {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId)
        .map(([, place]) => place);
      const apart = (place) => Math.hypot(place.left - other.left, place.top - other.top) || 1e-3;
      const middle = { left: (now.left + other.left) / 2, top: (now.top + other.top) / 2 };
      this.panBy((now.left - before.left) / 2, (now.top - before.top) / 2);
      this.zoomBy(apart(now) / apart(before), middle);
    }
    this.pointers.set(event.pointerId, { ...now, sliding: before.sliding });
  }

  slide(share) {
    this.split(share);
    this.onslide?.(this.share);
  }
}
