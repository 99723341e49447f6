/* Marked pictures: kept by the browser where it may, handed on as a table. */

const STORE = `cycada-marks:${location.pathname}`;

const marks = {
  sets: new Map(), // identity -> name or digest -> reason
  listeners: new Set(),

  load() {
    try {
      const kept = JSON.parse(localStorage.getItem(STORE) ?? "{}");
      for (const [identity, entries] of Object.entries(kept)) {
        this.sets.set(identity, new Map(Object.entries(entries)));
      }
    } catch { /* a browser that forbids to keep anything: marks last as long as the page */ }
  },

  changed() {
    try {
      const kept = [...this.sets].map(([identity, entries]) =>
        [identity, Object.fromEntries(entries)]);
      localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(kept)));
    } catch { /* as above */ }
    this.listeners.forEach((listener) => listener());
  },

  of(set) {
    if (!this.sets.has(set.identity)) this.sets.set(set.identity, new Map());
    return this.sets.get(set.identity);
  },

  has(set, number) { return this.of(set).has(set.names[number]); },
  reason(set, number) { return this.of(set).get(set.names[number]); },
  count() { return [...this.sets.values()].reduce((sum, entries) => sum + entries.size, 0); },

  /** Mark an item, or take its mark away. */
  toggle(set, number) {
    const entries = this.of(set);
    if (!entries.delete(set.names[number])) entries.set(set.names[number], "");
    this.changed();
  },

  explain(set, number, reason) {
    this.of(set).set(set.names[number], reason);
    this.changed();
  },

  clear() {
    this.sets.clear();
    this.changed();
  },

  /** Return all marks of the page as CSV; without names, pictures are known by their digests. */
  toTable(named) {
    const quoted = (text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    const rows = [[named ? "path" : "digest", "set", "reason"]];
    for (const [identity, entries] of this.sets) {
      for (const [name, reason] of entries) rows.push([name, identity, reason]);
    }
    return rows.map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
  },

  /** Add the marks of a table that `toTable` made; return how many are of sets on this page. */
  fromTable(text, sets) {
    const [head, ...rows] = parseTable(text);
    const places = ["path", "digest", "set", "reason"].map((name) => head?.indexOf(name) ?? -1);
    const name = places[0] >= 0 ? places[0] : places[1];
    if (name < 0) throw new Error("it has no column called path or digest");
    let found = 0;
    for (const row of rows) {
      for (const set of sets) {
        const meant = places[2] < 0 || !row[places[2]] || row[places[2]] === set.identity;
        if (meant && set.numberOf(row[name]) !== undefined) {
          this.of(set).set(row[name], row[places[3]] ?? "");
          found += 1;
        }
      }
    }
    this.changed();
    return { found, total: rows.length };
  },
};


/** Return the rows of CSV (RFC 4180). */
function parseTable(text) {
  const rows = [[]];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy;
  for (const [whole, quoted, plain, end] of text.replace(/^\ufeff/, "").matchAll(cell)) {
    rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === "") break;
    if (end !== "," && whole) rows.push([]);
  }
  return rows.filter((row) => row.some(Boolean));
}

/** Hand a text over as a file. */
function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
