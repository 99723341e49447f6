/* Elements of the page. Texts become text nodes: nothing that a name holds is ever markup. */

/** Return a new element; attributes that are functions listen, `undefined` ones are left out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return a button of text, whose `label` is what is read aloud where the text is a sign. */
function makeButton(text, listener, { label, title, ...attributes } = {}) {
  return make("button",
    { type: "button", "aria-label": label, title: title ?? label, click: listener, ...attributes },
    text);
}

/** Return a select with `[value, text]` options, or groups of them, under a label. */
function makeSelect(label, options, value, listener) {
  const entry = ([key, text, inner]) => inner
    ? make("optgroup", { label: text }, ...inner.map(entry))
    : make("option", { value: key, selected: key === value }, text);
  const select = make("select", { "aria-label": label, change: () => listener(select.value) },
    ...options.map(entry));
  return make("label", { class: "choice" }, make("span", {}, label), select);
}

/** Return a group of buttons of which one is pressed: `[value, text]` each. */
function makeSwitch(label, options, value, listener) {
  const group = make("div", { class: "switches", role: "group", "aria-label": label });
  for (const [key, text, title] of options) {
    group.append(makeButton(text, () => { group.choose(key); listener(key); },
      { "data-value": key, title, label: title }));
  }
  group.choose = (chosen) => {
    for (const button of group.children) {
      button.setAttribute("aria-pressed", String(button.dataset.value === chosen));
    }
  };
  group.choose(value);
  return group;
}

/** Tell whether keys that are typed are meant for a field. */
function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable
    || target.matches("textarea, select, input:not([type=checkbox], [type=range], [type=radio])"));
}

const formatCount = (number) => number.toLocaleString("en");

/** Return a figure with three significant digits, or a dash where it is unknown. */
function formatFigure(value) {
  if (!Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) {
    return value.toExponential(2);
  }
  const digits = Math.min(4, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1))));
  return value.toFixed(digits);
}
