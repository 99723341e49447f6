/* What happens when the page is there. */

const galleries = [];

/** Read and show the set of an element. */
async function startGallery(root) {
  const { set: identity, place, stamp } = root.dataset;
  const note = make("p", { class: "message", role: "status" }, "Reading …");
  root.append(note);
  try {
    const set = await PictureSet.load(identity, place, stamp);
    note.remove();
    galleries.push(new Gallery(root, set, galleries));
  } catch (error) {
    note.classList.add("warns");
    note.textContent = `The pictures cannot be shown: ${place}/items.js ${error.message}. `
      + "The folder beside the page has to be there as it was written.";
  }
}

/** Show the frames of a scrubber one at a time, with a slider and a button that plays them. */
function startScrubber(root) {
  const frames = [...root.querySelectorAll(".frame")];
  if (frames.length < 2) return;
  const label = make("output", { class: "frame-label" });
  const range = make("input", { type: "range", class: "slider", min: 0, max: frames.length - 1,
    value: frames.length - 1, "aria-label": "Moment", input: () => show() });
  let timer;
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "Play";
  };
  const play = makeButton("Play", () => {
    if (timer !== undefined) { stop(); return; }
    play.textContent = "Stop";
    if (Number(range.value) === frames.length - 1) range.value = 0;
    show();
    timer = setInterval(() => {
      range.value = Number(range.value) + 1;
      show();
      if (Number(range.value) === frames.length - 1) stop();
    }, 500);
  }, { class: "button" });
  const show = () => {
    const place = Number(range.value);
    frames.forEach((frame, number) => { frame.hidden = number !== place; });
    label.textContent = frames[place].querySelector("figcaption").textContent;
    range.setAttribute("aria-valuetext", label.textContent);
  };
  root.classList.add("live");
  root.querySelector(".scroll").after(make("div", { class: "scrub" }, play, range, label));
  show();
}

/** Return the gallery that keys are meant for: the one nearest to the middle of the screen. */
function nearestGallery() {
  const away = ({ root }) => {
    const { top, bottom } = root.getBoundingClientRect();
    return Math.abs((top + bottom) / 2 - innerHeight / 2);
  };
  return galleries.toSorted((one, other) => away(one) - away(other))[0];
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape" && event.target.matches("[type=search]")) {
      galleries.find(({ text }) => text === event.target)?.grid.focus(0);
    }
    return;
  }
  if (document.querySelector("dialog[open]") || !galleries.length) return;
  const gallery = nearestGallery();
  if (event.key === "/") gallery.text.focus();
  else if (event.key === "p") palette.next();
  else if (event.key === "?") gallery.help.showModal();
  else return;
  event.preventDefault();
});

document.getElementById("grey")?.addEventListener("change", (event) =>
  palette.choose(event.target.checked ? "grey" : "inferno"));
palette.listeners.add(() => galleries.forEach((gallery) => gallery.keep()));
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#/")) galleries.forEach((gallery) => gallery.restore());
});

document.documentElement.classList.add("scripted");
marks.load();
document.querySelectorAll(".scrubber").forEach(startScrubber);
const begun = [...document.querySelectorAll(".gallery")].map(startGallery);
Promise.all(begun).then(() => {
  const shown = galleries.find(({ set }) => fragment.read(set.identity));
  if (shown) shown.root.scrollIntoView();
});
