// Sends the text to the server, shows what comes back, and keeps the file and the page the same.

import { element, rove } from "./dom.js";
import { Editor } from "./editor.js";
import * as panes from "./panes.js";

const PAUSE_MILLIS = 120;
const POLL_MILLIS = 1000;

const at = (id) => document.getElementById(id);

/** What the page shows and knows of the file. */
const page = {
  /** The text of the file, as it was last seen; null if there is none. */
  disk: null,
  /** The text of the file when it was last asked for. */
  polled: null,
  newline: "\n",
  isEdited: false,
  isConflict: false,
  values: false,
  message: 0,
  messagesVersion: 0,
  result: null,
  /** The last result of a mapping without a mistake. */
  good: null,
  tab: "rows",
  /** The columns that are marked, and whether because the user points at them. */
  marked: [],
  isPointed: false,
};

const editor = new Editor(at("mapping"), {
  onInput: () => {
    page.isEdited = true;
    status("Edited");
    soon();
  },
  onLine: (line) => show(columnsAt(line)),
});

// ---- Requests ----------------------------------------------------------------------------------------------------

async function ask(what, request = {}) {
  const answer = await fetch(what, { method: "POST", body: JSON.stringify(request) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

let timer;
function soon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, PAUSE_MILLIS);
}

let isBusy = false;
let isStale = false;
/** One request at a time, and another one if something has changed meanwhile. */
async function refresh() {
  isStale = true;
  if (isBusy) return;
  isBusy = true;
  try {
    while (isStale) {
      isStale = false;
      const text = editor.text;
      const { values, message } = page;
      const result = await ask("preview", { text, values, message });
      if (text !== editor.text) {
        isStale = true;
        continue;
      }
      render({ ...result, message });
      if (page.isEdited && !result.error) await save();
    }
  } catch (error) {
    lost(error);
  } finally {
    isBusy = false;
  }
}

async function save() {
  if (page.isConflict) return;
  const shown = editor.text;
  const text = shown.replaceAll("\n", page.newline);
  try {
    const { saved } = await ask("save", { before: page.disk, text });
    if (!saved) return poll();
    page.disk = text;
    page.isEdited = editor.text !== shown;
    status("Saved", "good");
  } catch (error) {
    lost(error);
  }
}

async function poll() {
  try {
    const { file, text, messages, error } = await ask("state");
    at("file").textContent = file;
    document.title = `${file} – preview`;
    // A file that is being written may be empty.
    const isWhole = page.disk === null || text === page.polled;
    page.polled = text;
    if (text !== page.disk && isWhole) changed(text);
    if (messages !== page.messagesVersion) {
      page.messagesVersion = messages;
      soon();
    }
    if (!page.isConflict) banner(error ?? "");
  } catch (error) {
    lost(error);
  }
}

/** The file is another than the one that the page has. */
function changed(text) {
  if (page.isEdited && text !== editor.text.replaceAll("\n", page.newline)) {
    page.isConflict = true;
    page.conflicting = text;
    const what = text === null ? "is no longer there" : "has changed on disk";
    status("Not saved", "bad");
    return banner(`${at("file").textContent} ${what}, and you have changed it here.`, text !== null);
  }
  if (text === null) return banner(`${at("file").textContent} is no longer there.`, false);
  take(text);
}

/** Shows the text of the file. */
function take(text) {
  const isFirst = page.disk === null;
  page.newline = text.includes("\r\n") ? "\r\n" : "\n";
  page.disk = text;
  page.isEdited = false;
  page.isConflict = false;
  banner("");
  editor.text = text;
  status(isFirst ? "Saved" : "Read again: it changed on disk", "good");
  refresh();
}

/** The server does not answer, or says why it cannot. */
function lost(error) {
  const isGone = error instanceof TypeError;
  status(isGone ? "Disconnected" : "Not saved", "bad");
  banner(isGone ? "The preview has ended: start it again in the terminal." : error.message.trim());
}

function status(text, kind = "") {
  at("state").textContent = text;
  at("state").className = kind;
}

function banner(text, canLoad = null) {
  at("banner").hidden = text === "";
  at("banner").querySelector("p").textContent = text;
  at("load").hidden = canLoad !== true;
  at("keep").hidden = canLoad === null;
}

// ---- Parts of the page -------------------------------------------------------------------------------------------

const tabs = {
  rows: { title: "Rows", show: panes.tables },
  rejected: {
    title: "Rejected", show: panes.rejected,
    count: ({ messages }) => messages.filter(({ rule }) => rule).length,
  },
  unread: { title: "Unread paths", show: panes.unread, count: ({ unread }) => unread.length },
  summary: { title: "Summary", show: panes.summary, count: ({ findings }) => findings.length },
  ddl: { title: "DDL", show: panes.ddl },
};

const shown = new Map();
/** Replaces the content of an element, unless it is the same. */
function put(into, made, by) {
  const key = JSON.stringify(by);
  if (shown.get(into) === key) return false;
  shown.set(into, key);
  into.replaceChildren(...made());
  return true;
}

function render(result) {
  page.result = result;
  if (!result.error) page.good = result;
  const { error } = result;
  editor.show(error);
  at("problem").textContent = error ? error.text : "";
  if (error && page.isEdited) status("Not saved: the mapping has a mistake (Ctrl+S saves it)", "bad");
  at("totals").textContent = error ? "" : result.totals;
  at("results").classList.toggle("old", Boolean(error));
  // What the mapping last made of the messages is more than what is known of them without it.
  const known = page.good ?? result;
  put(at("list"), () => panes.list(known, page.message), [known.messages, known.count]);
  const { body } = known.message === page.message ? known : result;
  put(at("body"), () => panes.body(body ?? []), body);
  renderTabs();
  select(page.message);
  show(page.marked, page.isPointed);
}

function renderTabs() {
  const result = page.good;
  const list = document.querySelector("[role=tablist]");
  const made = () => Object.entries(tabs).map(([name, { title, count }]) => {
    const isSelected = name === page.tab;
    const number = result && count ? count(result) : 0;
    return element("button",
      { id: `tab-${name}`, role: "tab", tabIndex: isSelected ? 0 : -1, data: { tab: name }, aria: { selected: isSelected, controls: "panel" } },
      title, number ? element("span", { className: `count ${name}` }, String(number)) : null);
  });
  const hadFocus = list.contains(document.activeElement);
  put(list, made, [page.tab, Object.values(tabs).map(({ count }) => (result && count ? count(result) : 0))]);
  if (hadFocus) at(`tab-${page.tab}`).focus();
  at("panel").setAttribute("aria-labelledby", `tab-${page.tab}`);
  if (!result) return;
  const { body, message, ...rest } = result;
  if (put(at("panel"), () => tabs[page.tab].show(result), [page.tab, rest])) hideTip();
}

/** Marks a message wherever it is shown. */
function select(message) {
  for (const item of at("list").querySelectorAll("[role=option]")) {
    const isSelected = Number(item.dataset.message) === message;
    item.setAttribute("aria-selected", isSelected);
    item.tabIndex = isSelected ? 0 : -1;
    if (isSelected && message !== page.message) item.scrollIntoView({ block: "nearest" });
  }
  for (const row of at("panel").querySelectorAll("tr[data-message]")) {
    row.classList.toggle("selected", Number(row.dataset.message) === message);
  }
  if (message === page.message) return;
  page.message = message;
  refresh();
}

// ---- What belongs together ---------------------------------------------------------------------------------------

const columnOf = (name) => {
  const [table, column] = name.split(".");
  return page.good?.tables[table]?.columns[column];
};

/** The columns that are written in this line. */
function columnsAt(line) {
  const tables = page.result?.error ? [] : page.good?.tables ?? [];
  return tables.flatMap(({ columns }, table) =>
    columns.flatMap((column, position) => (column.line === line ? [`${table}.${position}`] : [])));
}

/** Marks columns in the rows, what they read in the message, and, if they are not pointed at there, in the mapping. */
function show(columns, inMapping = false) {
  page.marked = columns;
  page.isPointed = inMapping;
  for (const cell of document.querySelectorAll("[data-column].marked")) cell.classList.remove("marked");
  for (const name of columns) {
    for (const cell of at("panel").querySelectorAll(`[data-column="${name}"]`)) cell.classList.add("marked");
  }
  for (const line of at("body").children) {
    const reads = line.dataset.columns.split(" ");
    line.classList.toggle("marked", columns.some((name) => reads.includes(name)));
  }
  const isCurrent = inMapping && !page.result?.error;
  editor.mark(isCurrent ? columns.map((name) => columnOf(name)?.line) : []);
}

function showTip(cell) {
  const column = columnOf(cell.dataset.column);
  if (!column) return;
  const tip = at("tip");
  tip.replaceChildren(...panes.tip(column));
  tip.hidden = false;
  const { left, bottom, top } = cell.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  tip.style.top = `${bottom + height + 12 > innerHeight ? top - height - 6 : bottom + 6}px`;
}

function hideTip() {
  at("tip").hidden = true;
}

function point(target) {
  const cell = target.closest?.("[data-column]");
  const line = target.closest?.("[data-columns]");
  if (cell) {
    showTip(cell);
    return show([cell.dataset.column], true);
  }
  hideTip();
  show(line?.dataset.columns ? line.dataset.columns.split(" ") : [], true);
}

for (const [id, begin] of [["panel", "mouseover"], ["panel", "focusin"], ["body", "mouseover"]]) {
  at(id).addEventListener(begin, ({ target }) => point(target));
}
for (const [id, end] of [["panel", "mouseleave"], ["panel", "focusout"], ["body", "mouseleave"]]) {
  at(id).addEventListener(end, () => point(document.activeElement));
}
at("panel").addEventListener("scroll", hideTip, { capture: true, passive: true });

at("panel").addEventListener("focusin", ({ target }) => {
  const row = target.closest("tr[data-message]");
  if (row) select(Number(row.dataset.message));
});

at("panel").addEventListener("click", async ({ target }) => {
  const { dataset } = target.closest("[data-line],[data-copy],[data-message]") ?? { dataset: {} };
  if (dataset.line) return editor.goTo(Number(dataset.line));
  if (dataset.copy !== undefined) {
    await navigator.clipboard.writeText(dataset.copy);
    target.textContent = "Copied";
    return;
  }
  if (dataset.message) select(Number(dataset.message));
});

at("panel").addEventListener("dblclick", ({ target }) => {
  const cell = target.closest("[data-column]");
  const line = cell && columnOf(cell.dataset.column)?.line;
  if (line) editor.goTo(line);
});

rove(at("panel"), "td[data-column]", (cell, key) => {
  const row = cell.parentElement;
  const vertical = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[key];
  if (vertical) return vertical.children[cell.cellIndex];
  const across = {
    ArrowRight: cell.nextElementSibling, ArrowLeft: cell.previousElementSibling, Home: row.children[1], End: row.lastElementChild,
  }[key];
  return across?.matches("td") ? across : null;
});

const beside = (item, key) => ({
  ArrowDown: item.nextElementSibling, ArrowUp: item.previousElementSibling,
  Home: item.parentElement.firstElementChild, End: item.parentElement.querySelector("[role=option]:last-of-type"),
})[key];
rove(at("list"), "[role=option]", (item, key) => {
  const to = beside(item, key);
  return to?.matches("[role=option]") ? to : null;
});
for (const event of ["focusin", "click"]) {
  at("list").addEventListener(event, ({ target }) => {
    const item = target.closest("[role=option]");
    if (item) select(Number(item.dataset.message));
  });
}

const tablist = document.querySelector("[role=tablist]");
function open(tab) {
  page.tab = tab.dataset.tab;
  at("panel").scrollTop = 0;
  renderTabs();
  select(page.message);
}
tablist.addEventListener("click", ({ target }) => {
  const tab = target.closest("[role=tab]");
  if (tab) open(tab);
});
tablist.addEventListener("keydown", (event) => {
  const tab = event.target.closest("[role=tab]");
  const to = { ArrowRight: tab.nextElementSibling, ArrowLeft: tab.previousElementSibling }[event.key];
  if (!to) return;
  event.preventDefault();
  open(to);
});

// ---- Keys, switches, the file ------------------------------------------------------------------------------------

at("values").addEventListener("click", () => {
  page.values = !page.values;
  at("values").setAttribute("aria-checked", page.values);
  refresh();
});
at("load").addEventListener("click", () => take(page.conflicting));
at("keep").addEventListener("click", () => {
  page.isConflict = false;
  page.disk = page.conflicting ?? null;
  banner("");
  save();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
  if (event.key !== "s" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  save();
});
addEventListener("beforeunload", (event) => {
  if (page.isEdited) event.preventDefault();
});

await poll();
setInterval(() => document.hidden || poll(), POLL_MILLIS);
