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
  let found = [];
  let shown = 0;

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

  // -- what is looked for ----------------------------------------------------------------------

  const grade = (answer) =>
    answer.score === null ? "unscored" : answer.score >= 1 ? "right" : answer.score > 0 ? "partial" : "wrong";

  const texts = (parts) => parts.filter((part) => typeof part === "string").join(" ");

  for (const sample of data.samples) {
    sample.words = [
      sample.id, texts(sample.question), sample.hint, ...sample.options.map(texts), ...sample.types,
      ...sample.references.map(([text]) => text),
      ...sample.answers.flatMap((answer) => [answer.said, answer.raw || "", answer.read || ""]),
    ].join("\n").toLowerCase();
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
    return field.search.value.toLowerCase().split(/\s+/).every((word) => sample.words.includes(word));
  }

  const asked = (answer) => field.cell.value === "" || answer.cell === Number(field.cell.value);

  // -- what is shown ---------------------------------------------------------------------------

  function picture(at, lazy) {
    const { name, webp } = data.pictures[at];
    if (!webp) return make("span", "missing", name);
    const image = make("img");
    image.alt = name;
    image.loading = lazy ? "lazy" : "eager";
    image.src = "data:image/webp;base64," + webp;
    return image;
  }

  const inline = (parts) => parts.map((part) => (typeof part === "string" ? part : picture(part, true)));

  function scoreOf(answer) {
    const kind = grade(answer);
    const sign = { right: "✓ ", wrong: "✗ ", partial: "", unscored: "" }[kind];
    const text = kind === "unscored" ? "unscored" : sign + (100 * answer.score).toFixed(0);
    const element = make("span", "score " + kind, text);
    element.setAttribute("aria-label", kind + (kind === "unscored" ? "" : ", " + (100 * answer.score).toFixed(1)));
    element.setAttribute("role", "img");
    return element;
  }

  function row(answer) {
    const line = make("tr", asked(answer) ? "" : "other");
    const head = make("th", "", data.cells[answer.cell].name);
    head.scope = "row";
    const said = make("td");
    said.append(make("span", "said", answer.said || "(nothing)"));
    if (answer.raw !== undefined) said.append(make("span", "sub", "raw: " + answer.raw));
    if (answer.read !== undefined) said.append(make("span", "sub", "read as: " + answer.read));
    if (answer.unread) said.append(make("span", "sub warn", "no answer found in it"));
    if (answer.finish) said.append(make("span", "sub warn", answer.finish === "length" ? "cut at the length limit" : answer.finish));
    for (const note of answer.notes || []) said.append(make("span", "sub warn", note));
    const score = make("td");
    score.append(scoreOf(answer));
    line.append(head, said, score);
    return line;
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
        body.append(...inline(data.prompts[at]));
        details.append(body);
      });
      return details;
    });
  }

  function show(sample, number) {
    const item = make("li");
    const article = make("article", sample.pictures.length ? "sample" : "sample bare");
    article.tabIndex = -1;
    const heading = make("h3");
    heading.id = "sample-" + number;
    heading.append(...(sample.question.length ? inline(sample.question) : ["Describe the picture"]));
    article.setAttribute("aria-labelledby", heading.id);
    const pictures = make("div", "pictures");
    pictures.append(...sample.pictures.map((at) => picture(at, true)));
    const body = make("div");
    const changed = Object.entries(sample.changed).map(([kind, how]) => CHANGES[kind + " " + how]);
    body.append(make("p", "where", [data.tasks[sample.task].title, sample.id, ...sample.types, ...changed].join(" · ")));
    body.append(heading);
    if (sample.hint) body.append(make("p", "references", sample.hint));
    if (sample.options.length) {
      const options = make("ol", "options");
      sample.options.forEach((parts, at) => {
        const option = make("li");
        option.append(String.fromCharCode(65 + at) + ". ", ...inline(parts));
        options.append(option);
      });
      body.append(options);
    }
    const answers = make("table", "answers");
    const rows = make("tbody");
    rows.append(...sample.answers.map(row));
    answers.append(rows);
    answers.setAttribute("aria-label", "Answers and scores");
    body.append(answers);
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

  function showMore() {
    list.append(...found.slice(shown, shown + STEP).map((sample, at) => show(sample, shown + at)));
    shown = Math.min(found.length, shown + STEP);
    more.hidden = shown >= found.length;
  }

  function update() {
    refine();
    found = data.samples.filter(matches);
    shown = 0;
    list.replaceChildren();
    count.textContent = `${found.length} of ${data.samples.length} samples`;
    showMore();
  }

  // -- keys, buttons ---------------------------------------------------------------------------

  function move(by) {
    const articles = [...list.querySelectorAll(".sample")];
    const at = articles.indexOf(document.activeElement.closest(".sample"));
    const next = at < 0 ? 0 : at + by;
    if (next >= articles.length && !more.hidden) {
      showMore();
      return move(by);
    }
    const article = articles[Math.max(0, Math.min(articles.length - 1, next))];
    if (article) {
      article.focus();
      article.scrollIntoView({ block: "nearest" });
    }
  }

  // Single keys act only while the focus is in this section, and never while something is typed.
  document.getElementById("samples").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
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

  more.addEventListener("click", () => {
    const first = shown;
    showMore();
    list.querySelectorAll(".sample")[first]?.focus();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));

  choices(field.task, "all", Object.entries(data.tasks).map(([name, { title }]) => [name, title]));
  choices(field.changed, "any", Object.entries(CHANGES).filter(([key]) => {
    const [kind, how] = key.split(" ");
    return data.samples.some((sample) => sample.changed[kind] === how);
  }));
  update();

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
