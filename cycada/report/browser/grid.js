/* A grid of tiles that holds only those in view, and some above and below. */

const GAP = 10; // px between tiles
const OVERSCAN = 2; // rows beyond each edge

class Grid {
  /**
   * @param fill   `(cell, place)`: puts a tile into its cell and names it
   * @param shape  `(width) => { columns, height }`: how tiles stand in a width of px
   * @param label  what is read aloud of the whole
   */
  constructor({ fill, shape, label }) {
    Object.assign(this, { fill, shape, count: 0, current: 0, rows: new Map() });
    this.spacer = make("div", { class: "spacer", role: "presentation" });
    this.element = make("div", { class: "grid", role: "grid", "aria-label": label,
      scroll: () => this.plan(), keydown: (event) => this.onKey(event),
      focusin: (event) => this.take(event.target) }, this.spacer);
    this.width = 0;
    new ResizeObserver(() => {
      if (this.element.clientWidth !== this.width) this.lay();
      else this.plan();
    }).observe(this.element);
  }

  /** Show `count` tiles anew. */
  show(count) {
    this.count = count;
    this.current = Math.min(this.current, Math.max(0, count - 1));
    this.lay();
  }

  /** Place the rows for the width that there is, and draw those in view. */
  lay() {
    this.width = this.element.clientWidth;
    if (!this.width) return;
    const { columns, height } = this.shape(this.width);
    const first = Math.floor(this.element.scrollTop / (this.step || 1)) * (this.columns || 1);
    Object.assign(this, { columns, step: height + GAP });
    const rows = Math.ceil(this.count / columns);
    this.spacer.style.height = `${Math.max(0, rows * this.step - GAP)}px`;
    this.element.setAttribute("aria-rowcount", rows);
    this.element.setAttribute("aria-colcount", columns);
    this.element.style.setProperty("--columns", columns);
    this.element.style.setProperty("--tile-height", `${height}px`);
    this.clear();
    this.element.scrollTop = Math.floor(first / columns) * this.step;
    this.draw();
  }

  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
  }

  /** Draw soon, once for all that has changed by then. */
  plan() {
    this.frame ??= requestAnimationFrame(() => { this.frame = undefined; this.draw(); });
  }

  draw() {
    if (!this.step) return;
    const { scrollTop, clientHeight } = this.element;
    const rows = Math.ceil(this.count / this.columns);
    const first = Math.max(0, Math.floor(scrollTop / this.step) - OVERSCAN);
    const last = Math.min(rows - 1, Math.floor((scrollTop + clientHeight) / this.step) + OVERSCAN);
    const focused = Math.floor(this.current / this.columns); // stays, or the focus would be lost
    for (const [number, row] of this.rows) {
      if ((number < first || number > last) && number !== focused) {
        row.remove();
        this.rows.delete(number);
      }
    }
    for (let number = first; number <= last; number += 1) this.addRow(number);
    if (this.count && !this.rows.has(focused)) this.addRow(focused);
  }

  addRow(number) {
    if (this.rows.has(number)) return;
    const row = make("div", { class: "row", role: "row", "aria-rowindex": number + 1,
      style: `top:${number * this.step}px` });
    const end = Math.min(this.count, (number + 1) * this.columns);
    for (let place = number * this.columns; place < end; place += 1) {
      const cell = make("div", { class: "tile", role: "gridcell", "data-place": place,
        tabindex: place === this.current ? 0 : -1, "aria-colindex": (place % this.columns) + 1 });
      this.fill(cell, place);
      row.append(cell);
    }
    const after = [...this.rows.keys()].filter((other) => other > number).sort((a, b) => a - b)[0];
    this.spacer.insertBefore(row, this.rows.get(after) ?? null); // read aloud in their order
    this.rows.set(number, row);
  }

  cell(place) {
    return this.spacer.querySelector(`[data-place="${place}"]`);
  }

  /** Draw a tile anew where it is in view. */
  refresh(place) {
    const cell = this.cell(place);
    if (cell) this.fill(cell, place);
  }

  /** Make a tile the current one and bring it into view. */
  focus(place, { quiet = false } = {}) {
    if (!this.count) return;
    this.cell(this.current)?.setAttribute("tabindex", -1);
    this.current = Math.max(0, Math.min(place, this.count - 1));
    const top = Math.floor(this.current / this.columns) * this.step;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.step - GAP > scrollTop + clientHeight) {
      this.element.scrollTop = top + this.step - GAP - clientHeight;
    }
    this.draw();
    const cell = this.cell(this.current);
    cell?.setAttribute("tabindex", 0);
    if (!quiet) cell?.focus({ preventScroll: true });
  }

  /** Make a tile that has got the focus, however it did, the current one. */
  take(cell) {
    if (cell.dataset.place === undefined || Number(cell.dataset.place) === this.current) return;
    this.cell(this.current)?.setAttribute("tabindex", -1);
    this.current = Number(cell.dataset.place);
    cell.setAttribute("tabindex", 0);
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.step)) * this.columns;
    const target = {
      ArrowLeft: this.current - 1, ArrowRight: this.current + 1,
      ArrowUp: this.current - this.columns, ArrowDown: this.current + this.columns,
      PageUp: Math.max(this.current % this.columns, this.current - page),
      PageDown: this.current + page, Home: 0, End: this.count - 1,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    if (target >= 0) this.focus(target);
  }
}
