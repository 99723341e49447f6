/* One item, large: its views in step or under a slider, its figures, and what was told of it. */

const SHORTCUTS_OF_DETAIL = [["← →", "the face before, the next"], ["+ − 0", "zoom in, out, all"],
  ["Shift + arrows", "move the cursor by a pixel"], ["s", "slider or side by side"],
  ["f", "full size: the pictures as their files are"], ["1", "one pixel as one of the screen"]];
const LEFT_OUT = "This face is not here in full size: the page holds the worst ones, up to a number "
  + "of pixels that `cycada report --full-size` sets. `cycada view` shows any, under All faces.";
const NO_MORE = "Its files hold no more than these pictures.";

class Detail {
  /** `marks` changes are told by the marks themselves; `onmove` hears which item is shown. */
  constructor(set, { onmove, onclose, onhelp }) {
    Object.assign(this, { set, onmove, onclose, onhelp, order: [], place: 0, overlaid: "",
      wanted: false }); // whether pictures are wanted in full size
    this.mode = "beside";
    this.pair = defaultPair(set);
    this.stage = new Stage();
    this.stage.onchange = () => this.showZoom();
    this.stage.onslide = (share) => { this.range.value = Math.round(share * 1000); };
    this.element = make("dialog", { class: "detail", "aria-labelledby": `${set.identity}-name`,
      keydown: (event) => this.onKey(event), close: () => this.onClosed() });
    this.build();
  }

  build() {
    const { set } = this;
    this.title = make("h2", { id: `${set.identity}-name`, tabindex: -1, autofocus: true });
    this.subtitle = make("p", { class: "detail-about", role: "status" });
    this.markButton = makeButton("Mark", () => this.mark(), { class: "button mark", title: "m" });
    this.before = makeButton("‹", () => this.step(-1), { class: "button sign", label: "Previous (left arrow)" });
    this.after = makeButton("›", () => this.step(1), { class: "button sign", label: "Next (right arrow)" });
    const head = make("header", { class: "detail-head" }, this.before, this.after,
      make("div", { class: "detail-title" }, this.title, this.subtitle), this.markButton,
      makeButton("✕", () => this.element.close(), { class: "button sign", label: "Close (Esc)" }));
    this.figures = make("dl", { class: "detail-figures" });
    this.units = make("div", { class: "units" });
    this.reason = make("input", { type: "text", maxlength: 200, input: () => this.explain() });
    this.reasonField = make("label", { class: "reason" }, make("span", {}, "Reason for the mark"),
      this.reason);
    const aside = make("div", { class: "detail-side", tabindex: 0, role: "region",
      "aria-label": "Figures" }, this.reasonField, this.figures, this.units);
    this.message = make("p", { class: "detail-message", role: "status" });
    this.range = make("input", { type: "range", min: 0, max: 1000, value: 500, class: "slider",
      "aria-label": "Slider between the two pictures",
      input: () => this.stage.split(this.range.value / 1000) });
    this.slider = make("div", { class: "pair" }, this.range);
    this.element.append(head, make("div", { class: "detail-body" },
      make("div", { class: "detail-main" }, this.tools(), this.message, this.stage.element,
        this.slider), aside));
    palette.listeners.add(() => this.repaint());
    marks.listeners.add(() => this.showMark());
  }

  /** Return what is chosen above the pictures. */
  tools() {
    const { set } = this;
    this.modes = makeSwitch("Arrangement", [["beside", "Side by side", "Side by side (s)"],
      ["slider", "Slider", "Before and after (s)"]], this.mode, (mode) => this.arrange(mode));
    this.zoomText = make("output", { class: "zoom-text" });
    const zoom = make("div", { class: "zoom", role: "group", "aria-label": "Zoom" },
      makeButton("−", () => this.stage.zoomBy(1 / ZOOM_STEP), { class: "button sign", label: "Zoom out (-)" }),
      this.zoomText,
      makeButton("+", () => this.stage.zoomBy(ZOOM_STEP), { class: "button sign", label: "Zoom in (+)" }),
      makeButton("Fit", () => this.stage.reset(), { class: "button", title: "Whole picture (0)" }),
      makeButton("1:1", () => this.zoomToPixels(), { class: "button one-to-one",
        label: "One pixel of the picture as one of the screen (1)" }));
    this.fullSize = makeButton("Full size", () => this.toggleFullSize(), { class: "button",
      title: "The pictures as their files are: whole, with all of their pixels (f)",
      "aria-pressed": "false", hidden: !/[12]/.test(set.wholes) });
    this.tool = make("div", { class: "detail-tools" }, this.modes, this.fullSize, zoom);
    if (set.views.some(({ kind }) => kind === "thermal")) {
      this.tool.append(makePaletteSwitch(), makeColourBar(set.window));
    }
    return this.tool;
  }

  /** Show the item at a place of an order. */
  open(order, place) {
    this.order = order;
    if (!this.element.open) {
      this.element.showModal();
      this.stage.reset();
    }
    this.show(place);
  }

  /** Let go of what takes memory. */
  onClosed() {
    this.number = undefined;
    this.set.forgetWhole();
    this.stage.show([]);
    this.onclose(this.place);
  }

  step(by) {
    const place = this.place + by;
    if (place >= 0 && place < this.order.length) this.show(place);
  }

  async show(place) {
    this.place = place;
    const { set } = this;
    const number = this.order[place];
    this.number = number;
    this.title.textContent = set.name(number);
    const words = ["subject", "split", "domain"].map((key) => set.word(key, number)).filter(Boolean);
    this.subtitle.textContent = [...words,
      `${formatCount(place + 1)} of ${formatCount(this.order.length)}`].join(" · ");
    // Not `disabled`: a button that has the focus would lose it, and keys with it.
    this.before.setAttribute("aria-disabled", String(place === 0));
    this.after.setAttribute("aria-disabled", String(place === this.order.length - 1));
    this.showMark();
    this.showFigures();
    this.onmove(number, place);
    const full = await set.full(number).catch((error) => error);
    if (this.number !== number) return; // another one was asked for meanwhile
    if (full instanceof Error) { this.fail(full); return; }
    this.full = full;
    this.showUnits();
    await this.showPictures();
    for (const next of [place + 1, place - 1]) { // so that the next key shows at once
      if (next in this.order) set.full(this.order[next]).catch(() => {});
    }
  }

  /** Show the pictures of the item: as they were added, or as their files are. */
  async showPictures() {
    const { set, number } = this;
    const found = set.wholeness(number);
    const whole = this.wanted && found === "there";
    this.whole = whole;
    this.message.textContent = whole ? "Reading …"
      : this.wanted ? { "left out": LEFT_OUT, "no more": NO_MORE }[found] : "";
    if (!whole) set.forgetWhole();
    const shown = whole ? await set.whole(number).catch((error) => error) : this.full;
    if (this.number !== number || this.whole !== whole) return; // something else was asked for
    if (shown instanceof Error || !shown.pictures.size) {
      this.fail(shown instanceof Error ? shown : new Error("cannot be read"));
      return;
    }
    if (whole) this.message.textContent = scaledNote(shown);
    this.layers = layersOf(set, shown);
    this.showPairs();
    this.arrange(this.mode);
  }

  fail(error) {
    this.layers = undefined;
    this.stage.show([]);
    this.message.textContent = `The large pictures cannot be shown: the file of this face ${
      error.message}. The folder beside the page has to be there as it was written.`;
  }

  toggleFullSize() {
    this.wanted = !this.wanted;
    this.fullSize.setAttribute("aria-pressed", String(this.wanted));
    this.stage.reset();
    if (this.full) this.showPictures();
  }

  zoomToPixels() {
    this.stage.zoomBy(this.stage.pixelZoom() / this.stage.view.zoom);
  }

  /** Put the layers side by side, or two of them under a slider. */
  arrange(mode) {
    this.mode = mode;
    this.modes.choose(mode);
    const slides = mode === "slider";
    this.slider.hidden = !slides;
    if (!this.layers) return;
    this.stage.show(slides ? [new Panel(this.chosenPair())] : this.layers.map((layer) => new Panel([layer])));
    this.lay();
  }

  /** Return the two layers that were chosen for the slider; others where they are not there. */
  chosenPair() {
    const [left, right] = this.pair.map((key) => this.layers.find((layer) => layer.key === key));
    const first = left ?? this.layers.find((layer) => layer !== right) ?? right;
    return [first, right ?? this.layers.find((layer) => layer !== first) ?? first];
  }

  /** Let the two pictures of the slider be chosen at its ends. */
  showPairs() {
    const options = this.layers.map(({ key, label }) => [key, label]);
    const [left, right] = ["Left", "Right"].map((label, side) =>
      makeSelect(label, options, this.chosenPair()[side].key, (key) => {
        this.pair[side] = key;
        this.arrange("slider");
      }));
    this.slider.replaceChildren(left, this.range, right);
  }

  showFigures() {
    const { set, number } = this;
    this.figures.replaceChildren(...set.columns.map(({ key, label, worst, note }) => {
      const values = set.figures.get(key);
      return make("div", { title: note },
        make("dt", {}, label, note ? make("small", {}, note) : null),
        make("dd", {}, formatFigure(values[number]),
          make("small", {}, rankOf(values, number, worst))));
    }));
    this.units.replaceChildren();
  }

  showUnits() {
    const { set, number } = this;
    if (!set.units) return;
    const { names, meanings, sides, exclusive } = set.units;
    const laid = Object.values(this.full.activation).flatMap(Object.keys);
    const rows = names.map((name, unit) => {
      const truth = set.truth(number, unit);
      const flips = set.flips(number, unit);
      const wrong = sides.some((side) => set.isWrong(side, number, unit));
      const title = make("span", { class: "unit-title" }, make("b", {}, name), ` ${meanings[unit]}`);
      return make("tr", { class: flips ? "flips" : undefined },
        make("th", { scope: "row" }, laid.includes(name)
          ? makeButton(title, () => this.overlay(name), { class: "unit-button", "data-unit": name,
            "aria-pressed": String(this.overlaid === name), title: `Show what spoke for ${name}` })
          : title,
        make("span", { class: "unit-badges" },
          flips ? make("span", { class: "badge" }, "flips") : null,
          wrong ? make("span", { class: "badge wrong" }, "wrong") : null)),
        make("td", {}, ...sides.map((side) => this.bar(side, unit))),
        make("td", { class: "truth" }, truth === null ? "" : truth ? "yes" : "no"));
    });
    this.units.replaceChildren(
      make("h3", {}, exclusive ? "Classes" : "Action Units"),
      make("p", { class: "unit-legend" }, ...sides.map((side, place) =>
        make("span", { class: `side-${place}` }, set.label(side))),
      exclusive ? null : make("span", { class: "tick" }, "threshold")),
      make("table", {}, make("thead", {}, make("tr", {},
        make("th", { scope: "col" }, exclusive ? "Class" : "Unit"),
        make("th", { scope: "col" }, "Probability"), make("th", { scope: "col" }, "True"))),
      make("tbody", {}, ...rows)),
      laid.length ? make("p", { class: "hint" },
        "Choose one to see which parts of the face spoke for it (Grad-CAM).") : "");
  }

  bar(side, unit) {
    const { set, number } = this;
    const share = set.probability(side, number, unit);
    const place = set.units.sides.indexOf(side);
    const text = share === null ? "–" : `${Math.round(share * 100)} %`;
    return make("span", { class: `bar-line side-${place}` },
      make("span", { class: "track" },
        make("span", { class: "filled", style: `width:${(share ?? 0) * 100}%` }),
        set.units.exclusive ? null
          : make("span", { class: "threshold", style: `left:${set.units.thresholds[unit] * 100}%` })),
      make("span", { class: "share" }, make("span", { class: "heard" }, `${set.label(side)} `), text));
  }

  /** Lay the activation of a unit over the faces, or take it away. */
  overlay(name) {
    if (this.whole) this.toggleFullSize(); // places are those of the squares
    this.overlaid = this.overlaid === name ? "" : name;
    for (const button of this.units.querySelectorAll(".unit-button")) {
      button.setAttribute("aria-pressed", String(button.dataset.unit === this.overlaid));
    }
    this.lay();
  }

  lay() {
    for (const panel of this.stage.panels) {
      panel.lay((key) => this.whole ? undefined : this.full.activation[key]?.[this.overlaid]);
    }
  }

  repaint() {
    for (const panel of this.stage.panels) panel.paint();
  }

  mark() { marks.toggle(this.set, this.number); }

  explain() { marks.explain(this.set, this.number, this.reason.value); }

  showMark() {
    if (this.number === undefined) return;
    const marked = marks.has(this.set, this.number);
    this.markButton.setAttribute("aria-pressed", String(marked));
    this.markButton.textContent = marked ? "Marked" : "Mark";
    this.reasonField.hidden = !marked;
    const reason = marks.reason(this.set, this.number) ?? "";
    if (this.reason.value !== reason) this.reason.value = reason;
  }

  /** Tell the zoom: in full size that of the pixels, else that of the pictures. */
  showZoom() {
    if (!this.zoomText) return; // not built yet
    const share = this.stage.view.zoom / (this.whole ? this.stage.pixelZoom() : 1);
    this.zoomText.textContent = `${Math.round(share * 100)} %`;
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || isTyping(event.target)) return;
    const onRange = event.target === this.range && event.key.startsWith("Arrow");
    if (onRange || (event.target.matches("select") && event.key !== "Escape")) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const act = {
      ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1),
      "+": () => this.stage.zoomBy(ZOOM_STEP), "=": () => this.stage.zoomBy(ZOOM_STEP),
      "-": () => this.stage.zoomBy(1 / ZOOM_STEP), 0: () => this.stage.reset(),
      1: () => this.zoomToPixels(), f: () => { if (!this.fullSize.hidden) this.toggleFullSize(); },
      s: () => this.arrange(this.mode === "slider" ? "beside" : "slider"),
      m: () => this.mark(), p: () => palette.next(), "?": () => this.onhelp(),
    }[event.key];
    if (event.shiftKey && by[event.key] && this.stage.panels.length) {
      this.stage.probeBy(...by[event.key]);
    } else if (act) act();
    else return;
    event.preventDefault();
  }
}

/** Return a sentence where pictures are smaller than their files. */
function scaledNote({ pictures }) {
  const scaled = [...pictures.values()].some(({ of, width, height }) =>
    of[0] !== height || of[1] !== width);
  return scaled ? "Larger than a browser can hold: scaled to 16 million pixels." : "";
}

/** Return the views that one wants to compare first: the source and what was made of it. */
function defaultPair(set) {
  const keys = set.views.map(({ key }) => key);
  return keys.includes("source") && keys.includes("made") ? ["source", "made"]
    : [keys[0], keys[1] ?? keys[0]];
}

/** Return where a figure stands among all, the worst first. */
function rankOf(values, number, worst) {
  const value = values[number];
  if (Number.isNaN(value)) return "";
  let [worse, known] = [0, 0];
  for (const other of values) {
    if (Number.isNaN(other)) continue;
    known += 1;
    if (worst === "high" ? other > value : other < value) worse += 1;
  }
  return ` worst ${formatCount(worse + 1)} of ${formatCount(known)}`;
}
