/* Which pictures are shown, in which order; and the fragment of the address that keeps it. */

const WHENS = { // of one unit, or of any
  present: () => (set, number, unit) => set.truth(number, unit) === 1,
  absent: () => (set, number, unit) => set.truth(number, unit) === 0,
  flip: () => (set, number, unit) => set.flips(number, unit),
  seen: (side) => (set, number, unit) => set.decision(side, number, unit) === 1,
  unseen: (side) => (set, number, unit) => set.decision(side, number, unit) === 0,
  wrong: (side) => (set, number, unit) => set.isWrong(side, number, unit),
};

/** Return a selection that shows everything, the worst first. */
function wholeSelection(set) {
  return { sort: set.columns[0]?.key ?? "", best: false, text: "", split: "", domain: "",
    subject: "", unit: "", when: "", marked: false, ranges: {} };
}

/** Return conditions on a unit: `[value, text]`. */
function whensOf(set) {
  const sides = set.units.sides;
  const each = (key, text) => sides.map((side) => [`${key}:${side}`, text(set.label(side))]);
  return [
    ...(/[01]/.test(set.truths) ? [["present", "truly present"], ["absent", "truly absent"]] : []),
    ...(sides.length > 1 ? [["flip", `flips: ${sides.slice(0, 2).map((s) => set.label(s)).join(" ≠ ")}`]] : []),
    ...each("seen", (label) => `found in ${label}`),
    ...each("unseen", (label) => `not found in ${label}`),
    ...(/[01]/.test(set.truths) ? each("wrong", (label) => `wrong in ${label}`) : []),
  ];
}

/** Return the numbers of the items that a selection shows, in its order. */
function selected(set, selection, marks) {
  const tests = testsOf(set, selection, marks);
  const found = [];
  for (let number = 0; number < set.count; number += 1) {
    if (tests.every((test) => test(number))) found.push(number);
  }
  const column = set.columns.find(({ key }) => key === selection.sort);
  if (!column) return selection.best ? found.reverse() : found;
  const values = set.figures.get(column.key);
  const sign = (column.worst === "high" ? -1 : 1) * (selection.best ? -1 : 1);
  return found.sort((one, other) => {
    const [a, b] = [values[one], values[other]];
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b) || one - other;
    return sign * (a - b) || one - other;
  });
}

function testsOf(set, selection, marks) {
  const tests = [];
  for (const key of ["split", "domain", "subject"]) {
    if (selection[key]) tests.push((number) => set.word(key, number) === selection[key]);
  }
  const words = selection.text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) {
    tests.push((number) => {
      const text = [set.name(number), set.word("split", number), set.word("domain", number),
        set.word("subject", number), marks.reason(set, number) ?? ""].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }
  if (selection.marked) tests.push((number) => marks.has(set, number));
  for (const [key, [low, high]] of Object.entries(selection.ranges)) {
    const values = set.figures.get(key);
    if (values) tests.push((number) => values[number] >= low && values[number] <= high);
  }
  const [kind, side] = selection.when.split(":");
  if (set.units && kind in WHENS) {
    const holds = WHENS[kind](side);
    const unit = set.units.names.indexOf(selection.unit);
    const units = unit < 0 ? set.units.names.map((_, place) => place) : [unit];
    tests.push((number) => units.some((each) => holds(set, number, each)));
  }
  return tests;
}

/* The fragment: `#/ID?sort=cycle&split=test/ID?...`, a part for each set that differs from the
   beginning. Anchors of the page have no slash, and stay what they are. */

const fragment = {
  /** Return what the address says of a set. */
  read(identity) {
    const part = location.hash.slice(1).split("/").find((each) => each.startsWith(`${identity}?`));
    return part === undefined ? null : new URLSearchParams(part.slice(identity.length + 1));
  },

  write(identity, parameters) {
    const parts = location.hash.startsWith("#/") ? location.hash.slice(2).split("/") : [];
    const kept = parts.filter((each) => each && !each.startsWith(`${identity}?`));
    const text = parameters.toString();
    if (text) kept.push(`${identity}?${text}`);
    const address = kept.length ? `#/${kept.join("/")}`
      : location.hash.startsWith("#/") ? location.pathname + location.search : null;
    if (address !== null) history.replaceState(null, "", address);
  },
};

/** Return a selection as parameters, without what is as at the beginning. */
function toParameters(set, selection) {
  const parameters = new URLSearchParams();
  const whole = wholeSelection(set);
  for (const key of ["sort", "text", "split", "domain", "subject", "unit", "when"]) {
    if (selection[key] !== whole[key]) parameters.set(key, selection[key]);
  }
  for (const key of ["best", "marked"]) if (selection[key]) parameters.set(key, "1");
  for (const [key, [low, high]] of Object.entries(selection.ranges)) {
    parameters.set(`range-${key}`, `${Number.isFinite(low) ? low : ""}..${
      Number.isFinite(high) ? high : ""}`);
  }
  return parameters;
}

/** Return the selection that parameters describe; what they do not know of the set is ignored. */
function fromParameters(set, parameters) {
  const selection = wholeSelection(set);
  for (const key of ["text", "split", "domain", "subject", "unit", "when"]) {
    selection[key] = parameters.get(key) ?? "";
  }
  const sort = parameters.get("sort");
  if (sort === "" || set.figures.has(sort)) selection.sort = sort;
  for (const key of ["best", "marked"]) selection[key] = parameters.get(key) === "1";
  for (const { key } of set.columns) {
    const [low, high] = (parameters.get(`range-${key}`) ?? "").split("..");
    if (high !== undefined) {
      selection.ranges[key] = [low === "" ? -Infinity : Number(low),
        high === "" ? Infinity : Number(high)];
    }
  }
  return selection;
}
