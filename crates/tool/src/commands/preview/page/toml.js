// The parts of a line of TOML, for their colours.

const PARTS = [
  ["comment", /#.*/y],
  ["open", /"""|'''/y],
  ["string", /"(?:\\.|[^"\\])*"?|'[^']*'?/y],
  ["header", /^\s*\[\[?[^\]]*\]\]?/y],
  ["key", /[\w-]+(?=\s*=)/y],
  ["atom", /\b(?:true|false|[+-]?\d[\d_.eE+:TZ-]*)\b/y],
  ["", /[\w-]+|\s+|./y],
];

/** Pairs of class and text, and the quotes of a string that goes on in the next line. */
export function parts(line, quotes) {
  const found = [];
  let at = 0;
  while (at < line.length) {
    if (quotes) {
      const end = line.indexOf(quotes, at);
      const to = end < 0 ? line.length : end + quotes.length;
      found.push(["string", line.slice(at, to)]);
      if (end >= 0) quotes = "";
      at = to;
      continue;
    }
    for (const [kind, pattern] of PARTS) {
      pattern.lastIndex = at;
      const [text] = pattern.exec(line) ?? [];
      if (text === undefined) continue;
      if (kind === "open") quotes = text;
      found.push([kind === "open" ? "string" : kind, text]);
      at += text.length;
      break;
    }
  }
  return { found, quotes };
}
