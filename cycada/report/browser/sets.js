/* Sets of pictures. A page from disk may not fetch, so that data come as scripts, which call
   `cycadaSet`, `cycadaFull` and `cycadaWhole` with plain values. */

const KEPT = 16; // large pictures in memory
const UNKNOWN = 65535; // code of a probability that is not known
const waiting = new Map(); // key of a script -> what takes its values

globalThis.cycadaSet = (identity, values) => waiting.get(identity)?.(values);
globalThis.cycadaFull = (identity, number, values) => waiting.get(`${identity}/${number}`)?.(values);
globalThis.cycadaWhole = (identity, number, values) =>
  waiting.get(`${identity}/${number}/whole`)?.(values);

/** Return what the script at an address hands over under a key. */
function loadValues(key, address) {
  return new Promise((resolve, reject) => {
    const script = make("script", { src: address });
    let values;
    const end = () => { waiting.delete(key); script.remove(); };
    waiting.set(key, (given) => { values = given; });
    script.addEventListener("load", () => {
      end();
      if (values === undefined) reject(new Error("holds something else"));
      else resolve(values);
    });
    script.addEventListener("error", () => { end(); reject(new Error("cannot be read")); });
    document.head.append(script);
  });
}

/** Return the bytes that a text in base64 stands for. */
function bytesOf(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** Return codes of 16 bits from deflated steps along the rows, low bytes before high ones. */
async function unpackCodes(text, height, width) {
  const stream = new Blob([bytesOf(text)]).stream()
    .pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const codes = new Uint16Array(height * width);
  for (let start = 0; start < codes.length; start += width) {
    let code = 0;
    for (let i = start; i < start + width; i += 1) {
      code += planes[i] | (planes[codes.length + i] << 8);
      codes[i] = code; // modulo 2^16
    }
  }
  return codes;
}

/** Return the pixels of a picture in a data URI, four bytes each. */
async function unpackColours(uri, height, width) {
  const [head, text] = uri.split(",", 2);
  const type = head.slice("data:".length).split(";", 1)[0];
  // Not by its address: those of large pictures are longer than some browsers take.
  const picture = await createImageBitmap(new Blob([bytesOf(text)], { type }));
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  picture.close();
  return context.getImageData(0, 0, width, height).data;
}

class PictureSet {
  /** Read the columns of a set that a page has been written for. */
  static async load(identity, place, stamp) {
    const values = await loadValues(identity, `${place}/items.js`);
    if (values.stamp !== stamp) {
      throw new Error("belongs to another report; write the report again");
    }
    return new PictureSet(identity, place, values);
  }

  constructor(identity, place, values) {
    Object.assign(this, {
      identity, place, count: values.count, views: values.views, columns: values.columns,
      units: values.units, window: values.window, named: values.named, names: values.names,
      words: values.words, truths: values.true, wholes: values.whole,
    });
    this.differences = this.views.flatMap(({ kind, of }, view) => { // places of two views each
      const model = this.views.findIndex(({ key }) => key === of);
      return model >= 0 && this.views[model].kind === kind ? [{ view, model }] : [];
    });
    this.has = bytesOf(values.has);
    this.figures = new Map(values.columns.map(({ key }) =>
      [key, Float64Array.from(values.figures[key], (value) => value ?? NaN)]));
    this.codes = new Map(Object.entries(values.probability)
      .map(([side, text]) => [side, new Uint16Array(bytesOf(text).buffer)]));
    this.large = new Map(); // number -> promise of large pictures, the latest last
  }

  /** Return what an item is called on the page. */
  name(number) {
    return this.named ? this.names[number] : `face ${number + 1}`;
  }

  /** Return the number of an item by its path or digest. */
  numberOf(name) {
    this.numbers ??= new Map(this.names.map((each, number) => [each, number]));
    return this.numbers.get(name);
  }

  word(key, number) {
    return this.words[key].values[this.words[key].places[number]];
  }

  holds(number, view) {
    return Boolean(this.has[number] & (1 << view));
  }

  label(key) {
    return this.views.find((view) => view.key === key)?.label ?? key;
  }

  thumbs(number) {
    return `${this.place}/thumbs/${String(number).padStart(6, "0")}.webp`;
  }

  /** Return 1, 0 or null. */
  truth(number, unit) {
    const letter = this.truths[number * this.units.names.length + unit];
    return letter === "-" ? null : Number(letter);
  }

  /** Return a probability or null. */
  probability(side, number, unit) {
    const code = this.codes.get(side)[number * this.units.names.length + unit];
    return code === UNKNOWN ? null : code / (UNKNOWN - 1);
  }

  /** Return what is decided: 1, 0 or null. */
  decision(side, number, unit) {
    const found = this.probability(side, number, unit);
    if (found === null) return null;
    if (!this.units.exclusive) return Number(found >= this.units.thresholds[unit]);
    const rivals = this.units.names.map((_, other) => this.probability(side, number, other) ?? 0);
    return Number(rivals.indexOf(Math.max(...rivals)) === unit);
  }

  /** Tell whether a face and its translation, the first two sides, are decided differently. */
  flips(number, unit) {
    const told = this.units.sides.slice(0, 2).map((side) => this.decision(side, number, unit))
      .filter((decision) => decision !== null);
    return told.includes(0) && told.includes(1);
  }

  /** Tell whether a side decides other than the truth, where both are known. */
  isWrong(side, number, unit) {
    const [told, truth] = [this.decision(side, number, unit), this.truth(number, unit)];
    return told !== null && truth !== null && told !== truth;
  }

  /** Return the large pictures of an item: of each view its pixels, and the activations. */
  full(number) {
    const known = this.large.get(number);
    this.large.delete(number);
    const found = known ?? this.read(number);
    this.large.set(number, found);
    found.catch(() => this.large.delete(number));
    for (const oldest of this.large.keys()) {
      if (this.large.size <= KEPT) break;
      this.large.delete(oldest);
    }
    return found;
  }

  /** Tell what there is of an item in full size: "there", "left out", or "no more" to show. */
  wholeness(number) {
    return { 0: "no more", 1: "there", 2: "left out" }[this.wholes[number]];
  }

  /** Return the pictures of an item in full size: the latest alone stay in memory. */
  whole(number) {
    if (this.largest?.number !== number) {
      const found = this.readFrom("whole", number, `${this.identity}/${number}/whole`);
      this.largest = { number, found };
      found.catch(() => { if (this.largest?.found === found) this.forgetWhole(); });
    }
    return this.largest.found;
  }

  forgetWhole() { this.largest = undefined; }

  read(number) {
    return this.readFrom("full", number, `${this.identity}/${number}`);
  }

  async readFrom(folder, number, key) {
    const address = `${this.place}/${folder}/${String(number).padStart(6, "0")}.js`;
    const values = await loadValues(key, address);
    const pictures = new Map();
    await Promise.all(Object.entries(values.views).map(async ([key, { size, of, uri, codes }]) => {
      const [height, width] = size;
      pictures.set(key, { height, width, of,
        colours: uri && await unpackColours(uri, height, width),
        codes: codes && await unpackCodes(codes, height, width) });
    }));
    return { pictures, span: values.span, activation: values.activation ?? {} };
  }
}
