"use strict";
// The sample browser.  Every text is set by textContent: what data or models say stays text.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const field = form.elements;
  const STEP = 40;
  const natural = new Intl.Collator("en", { numeric: true }).compare;
  let found = [];
  let shown = 0;
  let only = null; // the one sample that the address names

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function choices(select, all, pairs) {
    const kept = select.value;
    select.replaceChildren(new Option(all, ""), ...pairs.map(([value, text]) => new Option(text, value)));
    select.value = pairs.some(([value]) => String(value) === kept) ? kept : "";
    select.parentElement.hidden = pairs.length === 0;
  }

  // -- volumes: samples that lie in the folder beside the page ----------------------------------

  const known = new Map(data.samples.map((sample) => [sample.task + "\n" + sample.id, sample]));
  const volumes = new Map(); // by number: the promise that its samples are here
  const arrived = new Map();
  if (!data.folder) data.samples.forEach((sample) => { sample.book = data; });

  window.infimmVolume = (number, book) => {
    for (const sample of book.samples) Object.assign(known.get(sample.task + "\n" + sample.id), sample, { book });
    arrived.get(number)();
  };

  function arrival(number) {
    if (!volumes.has(number)) {
      volumes.set(number, new Promise((resolve, reject) => {
        const script = make("script");
        arrived.set(number, resolve);
        script.onerror = reject;
        script.src = `${data.folder}/${number}.js`;
        document.head.append(script);
      }));
    }
    return volumes.get(number);
  }

  // Until all of these are here; false where they are not to be had.
  async function fetched(samples) {
    const missing = [...new Set(samples.filter((sample) => !sample.book).map((sample) => sample.volume))];
    try {
      for (let at = 0; at < missing.length; at += 8) {
        if (missing.length > 8) count.textContent = `reading ${at} of ${missing.length} volumes`;
        await Promise.all(missing.slice(at, at + 8).map(arrival));
      }
    } catch {
      count.textContent = `The samples lie in the folder ${data.folder}, which belongs beside this file.`;
      more.hidden = true;
      return false;
    }
    return true;
  }

  // -- what is looked for ----------------------------------------------------------------------

  const grade = (answer) =>
    answer.score === null ? "unscored" : answer.score >= 1 ? "right" : answer.score > 0 ? "partial" : "wrong";

  const texts = (parts) => parts.filter((part) => typeof part === "string").join(" ");

  function wordsOf(sample) {
    sample.words ??= [
      sample.id, texts(sample.question), sample.hint, ...sample.options.map(texts), ...sample.types,
      ...sample.references.map(([text]) => text),
      ...sample.answers.flatMap((answer) => [answer.said, answer.raw || "", answer.read || ""]),
    ].join("\n").toLowerCase();
    return sample.words;
  }

  const CHANGES = {
    "run better": "better in the later run", "run worse": "worse in the later run",
    "shots better": "better with more shots", "shots worse": "worse with more shots",
  };

  function refine() {
    const task = field.task.value;
    choices(field.cell, "all", data.cells.map((cell, at) => [at, cell])
      .filter(([, cell]) => !task || cell.task === task)
      .map(([at, cell]) => [at, task ? cell.name : `${data.tasks[cell.task].title}, ${cell.name}`]));
    const types = Object.entries(data.tasks).filter(([name]) => !task || name === task)
      .flatMap(([, { types }]) => types);
    choices(field.type, "any", [...new Set(types)].map((type) => [type, type]));
  }

  function matches(sample) {
    if (field.task.value && sample.task !== field.task.value) return false;
    if (field.type.value && !sample.types.includes(field.type.value)) return false;
    if (field.changed.value) {
      const [kind, how] = field.changed.value.split(" ");
      if (sample.changed[kind] !== how) return false;
    }
    const answers = sample.answers.filter(asked);
    if (answers.length === 0) return false;
    if (field.score.value && !answers.some((answer) => grade(answer) === field.score.value)) return false;
    const words = field.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return words.every((word) => wordsOf(sample).includes(word));
  }

  const asked = (answer) => field.cell.value === "" || answer.cell === Number(field.cell.value);

  // Unscored answers stand last: there is nothing wrong with them that anybody knows.
  const lowest = (sample) => Math.min(...sample.answers.filter(asked).map((answer) => answer.score ?? Infinity));
  const highest = (sample) => Math.max(...sample.answers.filter(asked).map((answer) => answer.score ?? -Infinity));
  const longest = (sample) => Math.max(...sample.answers.filter(asked).map((answer) => answer.length ?? answer.said.length));

  const ORDERS = {
    "": (a, b) => lowest(a) - lowest(b) || 0,
    best: (a, b) => highest(b) - highest(a) || 0,
    long: (a, b) => longest(b) - longest(a),
    short: (a, b) => longest(a) - longest(b),
    id: (a, b) => natural(a.id, b.id),
    question: (a, b) => natural(texts(a.question), texts(b.question)),
  };

  // -- what the address says -------------------------------------------------------------------

  const FILTERS = ["task", "cell", "score", "type", "changed", "order", "search"];

  const linkTo = (sample) => `#sample/${encodeURIComponent(sample.task)}/${encodeURIComponent(sample.id)}`;

  function remember() {
    const query = new URLSearchParams(FILTERS.map((name) => [name, field[name].value]).filter(([, value]) => value));
    const hash = `#samples${query.size ? "?" + query : ""}`;
    history.replaceState(null, "", hash);
  }

  function choose(name, value) {
    field[name].value = value;
    if (field[name].selectedIndex === -1) field[name].value = ""; // of another report
  }

  // The filters or the sample that the address names; false where it names neither.
  function visit() {
    const [place, ...rest] = location.hash.slice(1).split(/[/?]/);
    if (place === "sample" && rest.length === 2) {
      const [task, id] = rest.map(decoded);
      only = data.samples.find((sample) => sample.task === task && sample.id === id) || null;
    } else if (place === "samples" && location.hash.includes("?")) {
      const query = new URLSearchParams(location.hash.slice(location.hash.indexOf("?")));
      only = null;
      choose("task", query.get("task") || "");
      refine();
      FILTERS.slice(1).forEach((name) => choose(name, query.get(name) || ""));
    } else {
      return false;
    }
    update().then(() => {
      const section = document.getElementById("samples");
      section.scrollIntoView({ behavior: "instant" });
      if (only) list.querySelector(".sample")?.focus({ preventScroll: true });
      else if (place === "sample") count.textContent += `; ${decoded(rest[1])} is not among them`;
      // What is above is laid out by now, and may have moved it.
      requestAnimationFrame(() => section.scrollIntoView({ behavior: "instant" }));
    });
    return true;
  }

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // written by hand
    }
  }

  // -- what is shown ---------------------------------------------------------------------------

  function picture(book, at) {
    const { name, webp } = book.pictures[at];
    if (!webp) return make("span", "missing", name);
    const image = make("img");
    image.alt = name;
    image.loading = "lazy";
    image.src = "data:image/webp;base64," + webp;
    return image;
  }

  const inline = (book, parts) => parts.map((part) => (typeof part === "string" ? part : picture(book, part)));

  function scoreOf(answer) {
    const kind = grade(answer);
    const sign = { right: "✓ ", wrong: "✗ ", partial: "", unscored: "" }[kind];
    const text = kind === "unscored" ? "unscored" : sign + (100 * answer.score).toFixed(0);
    const element = make("span", "score " + kind, text);
    element.setAttribute("aria-label", kind + (kind === "unscored" ? "" : ", " + (100 * answer.score).toFixed(1)));
    element.setAttribute("role", "img");
    return element;
  }

  function heading(text, scope, className) {
    const head = make("th", className || "", text);
    head.scope = scope;
    return head;
  }

  function saying(answer, content) {
    const said = make("td");
    const text = make("span", "said");
    text.append(...(content || [answer.said || "(nothing)"]));
    said.append(text);
    if (answer.raw !== undefined) said.append(make("span", "sub", "raw: " + answer.raw));
    if (answer.read !== undefined) said.append(make("span", "sub", "read as: " + answer.read));
    if (answer.unread) said.append(make("span", "sub warn", "no answer found in it"));
    if (answer.finish) said.append(make("span", "sub warn", answer.finish === "length" ? "cut at the length limit" : answer.finish));
    for (const note of answer.notes || []) said.append(make("span", "sub warn", note));
    return said;
  }

  function row(answer) {
    const line = make("tr", asked(answer) ? "" : "other");
    const score = make("td");
    score.append(scoreOf(answer));
    line.append(heading(data.cells[answer.cell].name, "row"), saying(answer), score);
    return line;
  }

  function answersOf(sample) {
    const table = make("table", "answers");
    table.setAttribute("aria-label", "Answers and scores");
    const spots = Map.groupBy(sample.answers, (answer) => data.cells[answer.cell].spot);
    const body = make("tbody");
    if (data.runs.length === 2 && [...spots.values()].some((answers) => answers.length === 2)) {
      table.classList.add("pair");
      const line = make("tr");
      line.append(make("td"), ...data.runs.map((name) => heading(name, "col")));
      const head = make("thead");
      head.append(line);
      table.append(head);
      body.append(...[...spots].map(([spot, answers]) => beside(spot, answers)));
    } else {
      body.append(...sample.answers.map(row));
    }
    table.append(body);
    return table;
  }

  // -- two runs side by side -------------------------------------------------------------------

  function beside(spot, answers) {
    const line = make("tr", answers.some(asked) ? "" : "other");
    line.append(heading(spot, "row"));
    data.runs.forEach((_, at) => {
      const [mine, other] = [at, 1 - at].map((run) => answers.find((answer) => data.cells[answer.cell].run === run));
      if (!mine) return line.append(make("td", "none", "not asked"));
      const cell = saying(mine, other && marked(mine.said, other.said, at ? "new" : "gone"));
      cell.prepend(scoreOf(mine));
      line.append(cell);
    });
    return line;
  }

  const pieces = (text) => text.match(/\s+|[\p{L}\p{M}\p{N}]+|[^]/gu) || [];

  // The words of a text, those marked that the other one lacks in this order.
  function marked(text, other, className) {
    if (!text) return ["(nothing)"];
    const common = shared(pieces(text), pieces(other));
    const parts = [];
    pieces(text).forEach((piece, at) => {
      const last = parts.at(-1);
      if (common.has(at) || !piece.trim()) parts.push(piece);
      else if (last instanceof Element && last.tagName === "MARK") last.append(piece);
      else parts.push(make("mark", className, piece));
    });
    return parts;
  }

  // Which of ``a`` stand in ``b`` too: the ends that agree, and of what lies between the longest
  // common subsequence; too long a middle counts as all different.
  function shared(a, b) {
    const common = new Set();
    let start = 0;
    while (start < Math.min(a.length, b.length) && a[start] === b[start]) common.add(start++);
    let end = 0;
    while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) common.add(a.length - ++end);
    const [m, n] = [a.length - end - start, b.length - end - start];
    if (m * n > 1e6) return common;
    const longest = Array.from({ length: m + 1 }, () => new Uint16Array(n + 1));
    const same = (i, j) => a[start + i] === b[start + j];
    for (let i = m - 1; i >= 0; i--) {
      for (let j = n - 1; j >= 0; j--) {
        longest[i][j] = same(i, j) ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
      }
    }
    for (let i = 0, j = 0; i < m && j < n;) {
      if (same(i, j)) {
        common.add(start + i++);
        j++;
      } else if (longest[i + 1][j] >= longest[i][j + 1]) {
        i++;
      } else {
        j++;
      }
    }
    return common;
  }

  function prompts(sample) {
    const byPrompt = new Map();
    for (const answer of sample.answers) {
      byPrompt.set(answer.prompt, [...(byPrompt.get(answer.prompt) || []), answer]);
    }
    return [...byPrompt].map(([at, answers]) => {
      const details = make("details", "asked");
      const names = [...new Set(answers.map((answer) => data.cells[answer.cell].name))].join("; ");
      const how = answers.every((answer) => answer.exact) ? "Prompt as the model read it" : "Prompt";
      details.append(make("summary", "", how + ", " + names));
      details.addEventListener("toggle", () => {
        if (!details.open || details.childElementCount > 1) return;
        const body = make("div", "prompt");
        body.append(...inline(sample.book, sample.book.prompts[at]));
        details.append(body);
      });
      return details;
    });
  }

  function show(sample, number) {
    const item = make("li");
    const article = make("article", sample.pictures.length ? "sample" : "sample bare");
    article.tabIndex = -1;
    const title = make("h3");
    title.id = "sample-" + number;
    title.append(...(sample.question.length ? inline(sample.book, sample.question) : ["Describe the picture"]));
    article.setAttribute("aria-labelledby", title.id);
    const pictures = make("div", "pictures");
    pictures.append(...sample.pictures.map((at) => picture(sample.book, at)));
    const body = make("div");
    const changed = Object.entries(sample.changed).map(([kind, how]) => CHANGES[kind + " " + how]);
    const where = make("p", "where", `${data.tasks[sample.task].title} · `);
    const link = make("a", "", sample.id);
    link.href = linkTo(sample);
    link.title = "The address of this sample";
    where.append(link, ...[...sample.types, ...changed].map((text) => ` · ${text}`));
    body.append(where, title);
    if (sample.hint) body.append(make("p", "references", sample.hint));
    if (sample.options.length) {
      const options = make("ol", "options");
      sample.options.forEach((parts, at) => {
        const option = make("li");
        option.append(String.fromCharCode(65 + at) + ". ", ...inline(sample.book, parts));
        options.append(option);
      });
      body.append(options);
    }
    body.append(answersOf(sample));
    const references = make("p", "references", "References: ");
    sample.references.forEach(([text, times], at) => {
      references.append(make("b", "", text), (times > 1 ? ` ×${times}` : "") + (at + 1 < sample.references.length ? " / " : ""));
    });
    body.append(references, ...prompts(sample));
    if (sample.pictures.length) article.append(pictures);
    article.append(body);
    item.append(article);
    return item;
  }

  let turn = 0; // of the updates, the one that counts

  async function showMore() {
    const mine = turn;
    const next = found.slice(shown, shown + STEP);
    if (next.some((sample) => !sample.book) && !(await fetched(next))) return;
    if (mine !== turn) return;
    list.append(...next.map((sample, at) => show(sample, shown + at)));
    shown += next.length;
    more.hidden = shown >= found.length;
    count.textContent = `${found.length} of ${data.samples.length} samples`;
  }

  // At once, but for what has to be read: the shown samples, and all of them for a search.
  async function update() {
    const mine = ++turn;
    refine();
    const everything = field.search.value.trim() || field.order.value === "question";
    if (everything && data.samples.some((sample) => !sample.book) && !(await fetched(data.samples))) return;
    if (mine !== turn) return;
    found = only ? [only] : data.samples.filter(matches).sort(ORDERS[field.order.value]);
    shown = 0;
    list.replaceChildren();
    await showMore();
  }

  // -- keys, buttons ---------------------------------------------------------------------------

  async function move(by) {
    const articles = [...list.querySelectorAll(".sample")];
    const at = articles.indexOf(document.activeElement.closest(".sample"));
    const next = at < 0 ? 0 : at + by;
    if (next >= articles.length && !more.hidden) {
      await showMore();
      return shown > next ? move(by) : undefined;
    }
    const article = articles[Math.max(0, Math.min(articles.length - 1, next))];
    if (article) {
      article.focus();
      article.scrollIntoView({ block: "nearest" });
    }
  }

  // Single keys act from anywhere, but never while something is typed, and can be switched off.
  const keysOn = document.getElementById("keys");
  document.addEventListener("keydown", (event) => {
    if (!keysOn.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    const keys = {
      j: () => move(1),
      k: () => move(-1),
      p: () => {
        const details = document.activeElement.closest(".sample")?.querySelectorAll("details") || [];
        details.forEach((one) => { one.open = !one.open; });
      },
      "/": () => field.search.focus(),
    };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  more.addEventListener("click", async () => {
    const first = shown;
    await showMore();
    list.querySelectorAll(".sample")[first]?.focus();
  });
  function refined() {
    only = null;
    update();
    remember();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", refined);
  form.addEventListener("reset", () => setTimeout(refined));
  addEventListener("hashchange", visit);

  choices(field.task, "all", Object.entries(data.tasks).map(([name, { title }]) => [name, title]));
  choices(field.changed, "any", Object.entries(CHANGES).filter(([key]) => {
    const [kind, how] = key.split(" ");
    return data.samples.some((sample) => sample.changed[kind] === how);
  }));
  if (!visit()) update();

  // -- tables that are sorted by a column ------------------------------------------------------

  const numberIn = (text) => {
    const found = text.replaceAll("\u2212", "-").match(/-?\d[\d,]*(\.\d+)?/);
    return found ? Number(found[0].replaceAll(",", "")) : null;
  };

  const textOf = (row, at) => (row.cells[at]?.querySelector(".value, b") || row.cells[at])?.textContent.trim() || "";

  function sortBy(body, rows, at, numeric, falling) {
    const key = (row) => (numeric ? numberIn(textOf(row, at)) : textOf(row, at));
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null); // no figure: last
      return (numeric ? x - y : natural(x, y)) * (falling ? -1 : 1);
    };
    body.append(...(falling === null ? rows : [...rows].sort(order)));
  }

  for (const table of document.querySelectorAll("main .scroll table")) {
    const [body] = table.tBodies;
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    if (rows.length < 2) continue;
    heads.forEach((head, at) => {
      const numeric = head.classList.contains("n");
      const button = make("button", "sort", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const turns = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
        const next = turns[turns.indexOf(head.ariaSort) + 1] || null; // and back to how it stood
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        if (next) head.ariaSort = next;
        sortBy(body, rows, at, numeric, next && next === "descending");
      });
    });
  }

  const button = document.getElementById("theme");
  const THEMES = ["auto", "light", "dark"];
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3];
    document.documentElement.dataset.theme = next;
    button.lastElementChild.textContent = next;
  });

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.protocol:not([open]), .card details:not([open])")];
    opened.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
})();
