/* A set on the page: what is chosen above, the grid, and the dialogs. */

const SIZES = [["s", "S", "Small pictures"], ["m", "M", "Middle"], ["l", "L", "Large pictures"]];
const SIDES = { s: 64, m: 96, l: 150 }; // px of one picture
const PADDING = 7; // px around the pictures of a tile, as in gallery.css
const CAPTIONS = [26, 46]; // px below the pictures, without and with Action Units
const MOST_BADGES = 3;
const BINS = 36; // of a histogram
const SHORTCUTS = [["arrows", "move"], ["Enter", "open"], ["Esc", "close"], ["m", "mark"],
  ["/", "filter"], ["p", "palette"], ["?", "these keys"]];

/** Return the switch between palettes, which follows the palette of the page. */
function makePaletteSwitch() {
  const group = makeSwitch("Palette", PALETTES.map(([name, text]) => [name, text, `${text} (p)`]),
    palette.name, (name) => palette.choose(name));
  palette.listeners.add((name) => group.choose(name));
  return group;
}

class Gallery {
  constructor(root, set, all) {
    Object.assign(this, { root, set, all, size: "m", opened: undefined });
    this.slots = slotsOf(set);
    this.shown = defaultSlots(this.slots);
    this.detail = new Detail(set, {
      onmove: (number, place) => { this.opened = number; this.keep(); this.grid.focus(place, { quiet: true }); },
      onclose: (place) => { this.opened = undefined; this.keep(); this.grid.focus(place); },
      onhelp: () => this.help.showModal(),
    });
    this.grid = new Grid({ label: `Pictures: ${root.querySelector("h3")?.textContent ?? ""}`,
      fill: (cell, place) => this.fill(cell, place), shape: (width) => this.shape(width) });
    this.build();
    marks.listeners.add(() => this.onMarks());
    this.restore();
  }

  build() {
    const { grid } = this;
    const warm = this.set.views.some(({ kind }) => kind === "thermal");
    this.palettes = warm ? makePaletteSwitch() : null;
    this.help = makeHelp();
    this.count = make("p", { class: "count", role: "status" });
    this.empty = make("p", { class: "empty", hidden: true }, "No face is like that. ",
      makeButton("Show all", () => this.showAll(), { class: "link" }));
    this.tools = make("div", { class: "tools" });
    this.filters = make("div", { class: "filters-panel", id: `${this.set.identity}-filters`, hidden: true });
    this.message = make("p", { class: "message", role: "status" });
    grid.element.addEventListener("click", (event) => this.onClick(event));
    grid.element.addEventListener("keydown", (event) => this.onKey(event));
    const bar = make("div", { class: "grid-bar" }, this.count,
      warm ? makeColourBar(this.set.window) : null);
    this.root.append(this.tools, this.filters, bar, this.message, this.empty, grid.element,
      this.help, this.detail.element);
  }

  /* --- what is chosen ------------------------------------------------------------------- */

  /** Take what the address says. */
  restore() {
    const parameters = fragment.read(this.set.identity) ?? new URLSearchParams();
    const shown = parameters.get("show")?.split(",").filter((key) =>
      this.slots.some((slot) => slot.key === key));
    this.shown = shown?.length ? shown : defaultSlots(this.slots);
    this.size = parameters.get("size") in SIDES ? parameters.get("size") : "m";
    if (parameters.has("palette")) palette.choose(parameters.get("palette"));
    this.choose(fromParameters(this.set, parameters));
    const opened = parameters.get("open");
    const place = opened === null ? -1 : this.order.indexOf(Number(opened));
    if (place >= 0) this.detail.open(this.order, place);
  }

  /** Show a selection. */
  choose(selection) {
    this.selection = selection;
    this.buildTools();
    this.buildFilters();
    this.select();
  }

  showAll() {
    this.choose(wholeSelection(this.set));
    this.grid.focus(0); // the button is gone, and with it the focus
  }

  /** Change parts of the selection; the fields themselves stay. */
  change(parts) {
    Object.assign(this.selection, parts);
    this.select();
  }

  select() {
    this.order = selected(this.set, this.selection, marks);
    const [found, all] = [this.order.length, this.set.count].map(formatCount);
    this.count.textContent = found === all ? `${all} faces` : `${found} of ${all} faces`;
    this.empty.hidden = this.order.length > 0;
    this.grid.element.hidden = this.order.length === 0;
    this.grid.current = 0;
    this.grid.element.scrollTop = 0;
    this.grid.show(this.order.length);
    this.showActive();
    this.keep();
  }

  /** Keep the state in the address soon: browsers refuse who changes it at every key. */
  keep() {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => this.write(), 200);
  }

  /** Write to the address what differs from the beginning. */
  write() {
    const parameters = toParameters(this.set, this.selection);
    if (this.shown.join() !== defaultSlots(this.slots).join()) parameters.set("show", this.shown);
    if (this.size !== "m") parameters.set("size", this.size);
    if (palette.name !== "inferno") parameters.set("palette", palette.name);
    if (this.opened !== undefined) parameters.set("open", this.opened);
    fragment.write(this.set.identity, parameters);
  }

  /* --- fields ----------------------------------------------------------------------------- */

  buildTools() {
    const { set, selection } = this;
    const sorts = [...set.columns.map(({ key, label }) => [key, label]), ["", "Order of the index"]];
    this.text = make("input", { type: "search", value: selection.text, placeholder: "Filter  /",
      "aria-label": "Filter by text", input: () => this.change({ text: this.text.value }) });
    this.toggle = makeButton("Filters", () => this.showFilters(this.filters.hidden),
      { class: "button", "aria-expanded": String(!this.filters.hidden),
        "aria-controls": this.filters.id });
    const direction = makeSwitch("Direction", [["worst", "Worst first"], ["best", "Best first"]],
      selection.best ? "best" : "worst", (key) => this.change({ best: key === "best" }));
    this.tools.replaceChildren(
      make("div", { class: "tool-line" },
        makeSelect("Sort by", sorts, selection.sort, (sort) => this.change({ sort })), direction,
        make("span", { class: "search" }, this.text), this.toggle, this.marksMenu(),
        makeButton("?", () => this.help.showModal(), { class: "button sign keys", label: "Keys (?)" })),
      make("div", { class: "tool-line second" },
        make("div", { class: "chips", role: "group", "aria-label": "Pictures of each face" },
          ...this.slots.map((slot) => this.chip(slot))),
        make("span", { class: "space" }),
        makeSwitch("Size", SIZES, this.size, (size) => { this.size = size; this.redraw(); }),
        this.palettes));
  }

  chip(slot) {
    return makeButton(slot.label, (event) => {
      const shown = this.slots.map(({ key }) => key).filter((key) =>
        key === slot.key ? !this.shown.includes(key) : this.shown.includes(key));
      if (!shown.length) return; // one has to stay
      this.shown = shown;
      event.currentTarget.setAttribute("aria-pressed", String(shown.includes(slot.key)));
      this.redraw();
    }, { class: "chip", title: slot.title, "aria-pressed": String(this.shown.includes(slot.key)) });
  }

  redraw() {
    this.grid.lay();
    this.keep();
  }

  marksMenu() {
    this.marked = make("summary", { class: "button" });
    this.file = make("input", { type: "file", accept: ".csv,text/csv", class: "heard", tabindex: -1,
      "aria-label": "Marks to import", change: () => this.importMarks() });
    this.onlyMarked = make("input", { type: "checkbox", checked: this.selection.marked,
      change: () => this.change({ marked: this.onlyMarked.checked }) });
    const menu = make("details", { class: "marks-menu",
      keydown: (event) => { if (event.key === "Escape") { menu.open = false; this.marked.focus(); } } },
    this.marked,
    make("div", { class: "menu" },
      make("label", { class: "check" }, this.onlyMarked, " Show marked only"),
      makeButton("Export as CSV", () => download("marked.csv", marks.toTable(this.set.named)),
        { class: "button" }),
      makeButton("Import CSV", () => this.file.click(), { class: "button" }), this.file,
      makeButton("Remove all marks", () => this.clearMarks(), { class: "button" }),
      make("p", { class: "hint" }, "Marked faces are left out of a training by "
        + "cycada index --exclude marked.csv")));
    this.showMarked();
    return menu;
  }

  showMarked() {
    const count = marks.count();
    this.marked.textContent = count ? `Marks · ${formatCount(count)}` : "Marks";
    this.marked.classList.toggle("active", count > 0);
  }

  clearMarks() {
    const count = marks.count();
    if (count && confirm(`Remove ${formatCount(count)} marks from this page?`)) marks.clear();
  }

  async importMarks() {
    const [file] = this.file.files;
    this.file.value = "";
    if (!file) return;
    try {
      const { found, total } = marks.fromTable(await file.text(), this.all.map(({ set }) => set));
      this.message.textContent = `${formatCount(found)} of ${formatCount(total)} marks are of `
        + "faces on this page.";
    } catch (error) {
      this.message.textContent = `${file.name} cannot be imported: ${error.message}.`;
    }
  }

  onMarks() {
    this.showMarked();
    if (this.selection.marked) this.select();
    else for (const cell of this.grid.spacer.querySelectorAll(".tile")) this.showMark(cell);
  }

  showFilters(open) {
    this.filters.hidden = !open;
    this.toggle.setAttribute("aria-expanded", String(open));
  }

  buildFilters() {
    const { set, selection } = this;
    const parts = [];
    for (const [key, label] of [["split", "Split"], ["domain", "Domain"], ["subject", "Subject"]]) {
      const values = set.words[key].values.filter(Boolean);
      if (values.length < 2) continue;
      const options = [["", "all"], ...values.toSorted(byName).map((value) => [value, value])];
      parts.push(makeSelect(label, options, selection[key], (value) => this.change({ [key]: value })));
    }
    if (set.units) {
      const { names, meanings, exclusive } = set.units;
      const units = [["", "any"], ...names.map((name, i) => [name, `${name} ${meanings[i]}`])];
      parts.push(makeSelect(exclusive ? "Class" : "Action Unit", units, selection.unit,
        (unit) => this.change({ unit })));
      parts.push(makeSelect("is", [["", "anything"], ...whensOf(set)], selection.when,
        (when) => this.change({ when })));
    }
    this.filters.replaceChildren(make("div", { class: "choices" }, ...parts,
      makeButton("Clear", () => this.showAll(), { class: "button" })),
    make("div", { class: "ranges" }, ...set.columns.map((column) => this.range(column))));
  }

  /** Return a histogram of a figure, with the least and the most that is shown of it. */
  range({ key, label, note }) {
    const { selection } = this;
    const values = [...this.set.figures.get(key)].filter(Number.isFinite);
    if (!values.length) return null;
    const [low, high] = [Math.min, Math.max].map((end) => values.reduce((a, b) => end(a, b)));
    const counts = new Array(BINS).fill(0);
    for (const value of values) {
      counts[Math.min(BINS - 1, Math.floor(((value - low) / (high - low || 1)) * BINS))] += 1;
    }
    const most = Math.max(...counts);
    const bars = counts.map((count) => make("i", { style: `height:${Math.sqrt(count / most) * 100}%` }));
    const fields = ["from", "to"].map((text, side) => make("input", { type: "number", step: "any",
      placeholder: formatFigure([low, high][side]), "aria-label": `${label} ${text}`,
      value: Number.isFinite(selection.ranges[key]?.[side]) ? selection.ranges[key][side] : undefined,
      input: () => apply() }));
    const shade = () => {
      const [from, to] = selection.ranges[key] ?? [-Infinity, Infinity];
      bars.forEach((bar, i) => {
        const edge = (place) => low + ((high - low) * place) / BINS;
        bar.classList.toggle("out", edge(i + 1) < from || edge(i) > to);
      });
    };
    const apply = () => {
      const [from, to] = fields.map(({ value }) => value === "" ? NaN : Number(value));
      if (Number.isNaN(from) && Number.isNaN(to)) delete selection.ranges[key];
      else selection.ranges[key] = [Number.isNaN(from) ? -Infinity : from, Number.isNaN(to) ? Infinity : to];
      shade();
      this.select();
    };
    shade();
    return make("fieldset", { class: "range", title: note }, make("legend", {}, label),
      make("div", { class: "bars", "aria-hidden": "true" }, ...bars),
      make("div", { class: "ends" }, fields[0], make("span", {}, "to"), fields[1]));
  }

  /** Tell beside the button how many filters hold. */
  showActive() {
    const { split, domain, subject, when, ranges } = this.selection;
    const active = [split, domain, subject, when].filter(Boolean).length + Object.keys(ranges).length;
    this.toggle.textContent = active ? `Filters · ${active}` : "Filters";
    this.toggle.classList.toggle("active", active > 0);
  }

  /* --- tiles ------------------------------------------------------------------------------ */

  /** Return how many tiles stand side by side, and how high they are; pictures fill them. */
  shape(width) {
    const views = this.shown.length;
    const wanted = views * SIDES[this.size] + 2 * PADDING + 2 * (views - 1);
    const columns = Math.max(1, Math.round((width + GAP) / (wanted + GAP)));
    const tile = (width - GAP * (columns - 1)) / columns;
    const side = Math.floor((tile - 2 - 2 * PADDING - 2 * (views - 1)) / views);
    this.grid.element.style.setProperty("--side", `${side}px`);
    this.grid.element.style.setProperty("--views", this.set.views.length);
    return { columns, height: side + 2 * PADDING + 2 + CAPTIONS[this.set.units ? 1 : 0] };
  }

  fill(cell, place) {
    const { set } = this;
    const number = this.order[place];
    const column = set.columns.find(({ key }) => key === this.selection.sort) ?? set.columns[0];
    const value = column ? formatFigure(set.figures.get(column.key)[number]) : "";
    const address = `url("${set.thumbs(number)}")`;
    const pictures = this.shown.map((key) => {
      const slot = this.slots.find((each) => each.key === key);
      const there = slot.views.every((view) => set.holds(number, view));
      const picture = make("span", { class: `pic ${there ? slot.kind : "missing"}` });
      if (there) {
        picture.style.backgroundImage = slot.views.map(() => address).join();
        picture.style.backgroundPosition = slot.views
          .map((view) => `calc(var(--side) * ${-view}) 0`).join();
      }
      return picture;
    });
    const flips = set.units ? set.units.names.filter((_, unit) => set.flips(number, unit)) : [];
    const badges = flips.slice(0, MOST_BADGES).map((name) => make("span", { class: "badge" }, name));
    if (flips.length > MOST_BADGES) {
      badges.push(make("span", { class: "badge" }, `+${flips.length - MOST_BADGES}`));
    }
    cell.replaceChildren(make("span", { class: "pics", "aria-hidden": "true" }, ...pictures),
      make("span", { class: "tile-line" },
        make("span", { class: "tile-name" }, set.name(number)),
        make("span", { class: "tile-figure" }, value)),
      set.units ? make("span", { class: "tile-line badges" },
        make("span", { class: "tile-split" }, set.word("split", number)), ...badges) : "");
    cell.dataset.number = number;
    cell.title = [set.name(number), set.word("subject", number), set.word("split", number)]
      .filter(Boolean).join(" · ");
    this.spoken(cell, [set.name(number), set.word("split", number),
      column ? `${column.label} ${value}` : "", flips.length ? `flips ${flips.join(", ")}` : ""]);
    this.showMark(cell);
  }

  spoken(cell, parts) {
    cell.spoken = parts.filter(Boolean).join(", ");
  }

  showMark(cell) {
    const marked = marks.has(this.set, Number(cell.dataset.number));
    cell.classList.toggle("marked", marked);
    cell.setAttribute("aria-label", marked ? `${cell.spoken}, marked` : cell.spoken);
  }

  /* --- what is done ----------------------------------------------------------------------- */

  onClick(event) {
    const cell = event.target.closest(".tile");
    if (!cell) return;
    const place = Number(cell.dataset.place);
    this.grid.focus(place);
    if (event.ctrlKey || event.metaKey) marks.toggle(this.set, this.order[place]);
    else this.detail.open(this.order, place);
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter") this.detail.open(this.order, this.grid.current);
    else if (event.key === "m") marks.toggle(this.set, this.order[this.grid.current]);
    else return;
    event.preventDefault();
  }
}

const byName = (one, other) => one.localeCompare(other, "en", { numeric: true });

/** Return what a tile can show: the views, and differences of two of them. */
function slotsOf(set) {
  const slots = set.views.map(({ key, label, kind }, view) =>
    ({ key, label, title: label, kind: kind === "thermal" ? "warm" : "", views: [view] }));
  const differences = set.differences.map(({ view, model }) => {
    const [{ key, label }, other] = [set.views[view], set.views[model]];
    return { key: `${key}-difference`, label: `Δ ${label}`, title: `${label} − ${other.label}`,
      kind: "difference", views: [view, model] };
  });
  return [...slots, ...differences];
}

/** Return what is shown at first: the source, what was made of it, and what it should be. */
function defaultSlots(slots) {
  const wanted = slots.map(({ key }) => key).filter((key) =>
    ["source", "made", "truth", "image"].includes(key));
  return wanted.length ? wanted : [slots[0].key];
}

/** Return the dialog that lists the keys. */
function makeHelp() {
  const rows = [...SHORTCUTS, ...SHORTCUTS_OF_DETAIL].map(([keys, text]) =>
    make("div", {}, make("dt", {}, make("kbd", {}, keys)), make("dd", {}, text)));
  const dialog = make("dialog", { class: "help", "aria-label": "Keys",
    click: (event) => { if (event.target === dialog) dialog.close(); } },
  make("h2", {}, "Keys"), make("dl", {}, ...rows),
  makeButton("Close", () => dialog.close(), { class: "button" }));
  return dialog;
}
