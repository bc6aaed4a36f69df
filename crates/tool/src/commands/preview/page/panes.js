// What the server says of the mapping, in the parts of the page. Everything is text: no value becomes markup.

import { counted, element } from "./dom.js";

const kinds = {
  null: () => "null",
  kept: () => "null, keeps a stored value",
  omitted: () => "",
  hidden: ({ chars }) => (chars === null ? "hidden" : counted(chars, "character")),
  masked: ({ chars }) => (chars === null ? "token" : `token, ${counted(chars, "character")}`),
  token: ({ text }) => text,
  value: ({ text }) => text,
};

const outcome = (message) => {
  if (message.rule) return ["rejected", message.rule];
  if (message.rows === undefined) return ["", ""];
  return message.rows ? ["", counted(message.rows, "row")] : ["skipped", "no row"];
};

/** The messages with what becomes of them. */
export function list({ messages, count }, selected) {
  const items = messages.map((message, position) => {
    const [state, text] = outcome(message);
    const isSelected = position === selected;
    return element("li",
      { role: "option", tabIndex: isSelected ? 0 : -1, aria: { selected: isSelected }, data: { message: position } },
      element("span", {}, message.place), element("span", { className: `outcome ${state}` }, text));
  });
  const others = count - messages.length;
  return others > 0 ? [...items, element("li", { className: "note" }, `${others} more are counted`)] : items;
}

/** The body of a message. */
export function body(lines) {
  return lines.map(({ depth, key, open, close, value, hidden, columns = [], unread = false }) => {
    const data = { columns: columns.join(" ") };
    const title = unread ? "No column reads this." : "";
    const line = element("div", { className: unread ? "unread" : columns.length ? "read" : "", title, data }, "  ".repeat(depth));
    if (key !== undefined && key !== null) line.append(element("span", { className: "key" }, key), ": ");
    if (hidden !== undefined) line.append(element("span", { className: "pill" }, hidden));
    line.append(open ?? close ?? value ?? "");
    return line;
  });
}

/** The rows of each table. */
export function tables({ tables, messages }) {
  return tables.map(({ name, columns, rows, count }, table) => {
    const head = columns.map((column, position) =>
      element("th", { scope: "col", data: { column: `${table}.${position}` } },
        element("span", {}, column.name), column.key ? element("span", { className: "chip" }, "key") : null,
        element("small", {}, column.type)));
    const lines = rows.map((row) => element("tr", { className: row.state, data: { message: row.message } },
      element("th", { scope: "row" }, messages[row.message]?.place ?? "",
        row.state === "stored" ? null : element("span", { className: "chip" }, row.state === "deleted" ? "deletes" : row.state)),
      row.cells.map((cell, position) => element("td",
        { className: cell.kind, tabIndex: -1, data: { column: `${table}.${position}` }, aria: { describedby: "tip" } },
        element("span", {}, kinds[cell.kind](cell)), cell.default ? element("span", { className: "chip" }, "default") : null))));
    const first = lines[0]?.querySelector("td");
    if (first) first.tabIndex = 0;
    const shown = rows.length < count ? `${rows.length} of ${counted(count, "row")}` : counted(count, "row");
    return element("section", { className: "table" },
      element("h2", {}, name, element("small", {}, shown)),
      rows.length === 0 ? element("p", { className: "note" }, "No message has a row here.") :
        element("div", { className: "scroll" }, element("table", {},
          element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "message"), head)), element("tbody", {}, lines))));
  });
}

const to = (message, text) => element("button", { className: "link", data: { message } }, text);

/** The messages that break a rule, and those without a row. */
export function rejected({ messages, tables }) {
  const isRejected = (position) => (messages[position].rule ? 0 : 1);
  const order = [...messages.keys()].sort((a, b) => isRejected(a) - isRejected(b));
  const found = order.flatMap((position) => {
    const message = messages[position];
    if (!message.rule && message.rows !== 0) return [];
    const table = tables.findIndex(({ name }) => name === message.table);
    const columns = tables[table < 0 ? 0 : table]?.columns ?? [];
    const column = columns.find(({ name }) => name === message.column);
    return element("li", {},
      element("p", {}, to(position, message.place),
        element("span", { className: `chip ${message.rule ? "rejected" : "skipped"}` }, message.rule ?? "no row"),
        message.column ? element("button", { className: "link code", disabled: !column?.line, data: { line: column?.line ?? "" } },
          tables.length > 1 && message.table ? `${message.table}.${message.column}` : message.column) : null,
        message.path ? element("span", { className: "code note" }, message.path) : null),
      message.reason ? element("p", {}, message.reason) : null,
      (message.why ?? []).map((why) => element("p", { className: "note" }, why)));
  });
  return found.length ? [element("ul", { className: "cards" }, found)] : [nothing("Every message has a row.")];
}

const nothing = (text) => element("p", { className: "nothing" }, text);

/** The paths that no column reads. */
export function unread({ unread, count }) {
  if (unread.length === 0) return [nothing("Every value of the messages is read by a column.")];
  const rows = unread.map(({ path, messages }) => element("tr", {},
    element("td", { className: "code" }, path), element("td", {}, bar(messages / count)),
    element("td", { className: "note" }, `${messages} of ${counted(count, "message")}`)));
  return [element("p", { className: "note lead" }, "No column reads these paths, so their values are not stored."),
    element("table", { className: "plain" }, element("tbody", {}, rows))];
}

function bar(share) {
  const filled = element("i");
  filled.style.width = `${Math.round(share * 100)}%`;
  return element("span", { className: "bar" }, filled);
}

/** What the mapping loses or misreads, and what the columns have. */
export function summary({ totals, findings, summary }) {
  const list = findings.map(({ severity, text }) =>
    element("li", {}, element("p", {}, element("span", { className: `chip ${severity}` }, severity), text)));
  const tables = summary.map(({ table, rows, deleted, columns }) => {
    const head = ["column", "type", "values", "", "null", "default", "masked"];
    const cells = columns.map(({ column, type, null: nulls, defaulted, masked }) => {
      const values = rows - nulls - defaulted;
      const counts = [nulls, defaulted, masked ?? 0];
      return element("tr", {}, element("td", { className: "code" }, column), element("td", { className: "code note" }, type),
        element("td", { className: "number" }, String(values)), element("td", {}, bar(rows ? values / rows : 0)),
        counts.map((count) => element("td", { className: "number note" }, count ? String(count) : "")));
    });
    const gone = deleted ? `, ${deleted} deleted` : "";
    return element("section", { className: "table" }, element("h2", {}, table, element("small", {}, counted(rows, "row") + gone)),
      element("table", { className: "plain" },
        element("thead", {}, element("tr", {}, head.map((name) => element("th", { scope: "col" }, name)))), element("tbody", {}, cells)));
  });
  return [element("p", { className: "lead" }, totals), element("ul", { className: "cards" }, list), ...tables];
}

/** The statements that create the tables. */
export function ddl({ ddl }) {
  return [element("button", { className: "copy", data: { copy: ddl } }, "Copy"), element("pre", { className: "ddl" }, ddl)];
}

/** What a cell or a column is made of. */
export function tip({ name, type, source, key, line }) {
  const notes = [key ? "part of the key" : "", line ? `line ${line} of the mapping` : ""].filter(Boolean).join(" · ");
  return [element("p", {}, element("b", {}, name), " ", element("span", { className: "note" }, type)),
    element("p", {}, source), notes ? element("p", { className: "note" }, notes) : null].filter(Boolean);
}
