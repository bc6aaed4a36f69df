// The text of the mapping. A transparent textarea lies over the coloured lines. A mistake stands between the lines, so
// the textarea moves down by its height while the cursor, or the mouse that may place it, is below the mistake.

import { element } from "./dom.js";
import { parts } from "./toml.js";

export class Editor {
  #area;
  #lines;
  #shown = [];
  #mistake = null;
  #marked = [];

  constructor(root, { onInput, onLine }) {
    this.#area = root.querySelector("textarea");
    this.#lines = root.querySelector(".lines");
    this.#area.addEventListener("input", () => {
      this.#render();
      onInput();
    });
    // Above the textarea, where it has moved down, the mouse is still in the editor.
    const editor = this.#area.closest(".editor");
    editor.addEventListener("pointermove", (event) => this.#follow(event));
    editor.addEventListener("mousedown", (event) => this.#press(event));
    editor.addEventListener("pointerleave", () => this.#move());
    this.#area.addEventListener("keydown", () => this.#move());
    document.addEventListener("selectionchange", () => {
      if (document.activeElement !== this.#area) return;
      if (!this.#area.matches(":active")) this.#move();
      onLine(this.#line());
    });
  }

  get text() {
    return this.#area.value;
  }

  set text(text) {
    const { scrollTop } = this.#area.closest(".editor");
    this.#area.value = text;
    this.#render();
    this.#area.setSelectionRange(0, 0);
    this.#area.closest(".editor").scrollTop = scrollTop;
  }

  /** Shows a mistake under its line, or none. */
  show(mistake) {
    this.#mistake?.shown.remove();
    this.#mistake = null;
    this.#area.setAttribute("aria-invalid", Boolean(mistake));
    if (mistake) {
      const before = this.text.slice(0, mistake.start);
      const number = before.split("\n").length;
      const column = before.length - (before.lastIndexOf("\n") + 1);
      const line = this.text.split("\n")[number - 1];
      const width = Math.max(1, Math.min(mistake.end - mistake.start, line.length - column));
      const carets = element("span", { className: "carets" }, " ".repeat(column) + "^".repeat(width));
      const shown = element("div", { className: "mistake" }, carets, element("p", {}, mistake.text));
      this.#mistake = { number, shown };
      this.#shown[number - 1]?.element.after(shown);
    }
    this.#mark();
    this.#move();
  }

  /** Marks these lines. */
  mark(numbers) {
    this.#marked = numbers;
    this.#mark();
  }

  /** Brings a line into view, and the cursor there. */
  goTo(number) {
    const at = this.text.split("\n").slice(0, number - 1).join("\n").length + (number > 1 ? 1 : 0);
    this.#area.focus({ preventScroll: true });
    this.#area.setSelectionRange(at, at);
    this.#shown[number - 1]?.element.scrollIntoView({ block: "center", inline: "nearest" });
  }

  #line() {
    return this.text.slice(0, this.#area.selectionEnd).split("\n").length;
  }

  #mark() {
    this.#shown.forEach(({ element }, position) => {
      element.classList.toggle("marked", this.#marked.includes(position + 1));
      element.classList.toggle("wrong", this.#mistake?.number === position + 1);
    });
  }

  #isBelow() {
    return this.#mistake !== null && this.#line() > this.#mistake.number;
  }

  #move() {
    this.#shift(this.#isBelow());
  }

  #follow({ clientY }) {
    const top = this.#mistake?.shown.getBoundingClientRect().top;
    this.#shift(top !== undefined && clientY > top);
  }

  /**
   * If the text moves under a press, because a mistake has appeared below a mouse at rest, the browser would place
   * the cursor where the text was before.
   */
  #press(event) {
    const { offsetTop } = this.#area;
    this.#follow(event);
    if (offsetTop === this.#area.offsetTop || event.button !== 0 || event.shiftKey) return;
    const place = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    if (place?.offsetNode !== this.#area) return;
    event.preventDefault();
    this.#area.focus({ preventScroll: true });
    this.#area.setSelectionRange(place.offset, place.offset);
  }

  #shift(isBelow) {
    this.#area.style.top = isBelow ? `${this.#mistake.shown.offsetHeight}px` : "0";
    // A cursor on the other side of the mistake would be shown in a wrong line.
    this.#area.classList.toggle("apart", isBelow !== this.#isBelow());
  }

  /** Only lines that have changed are made again. */
  #render() {
    const texts = this.text.split("\n");
    let quotes = "";
    texts.forEach((text, position) => {
      const before = this.#shown[position];
      const key = `${quotes}\n${text}`;
      const coloured = before?.key === key ? before : null;
      if (!coloured) {
        const { found, quotes: after } = parts(text, quotes);
        const made = element("div", { className: "line" },
          found.map(([kind, part]) => (kind ? element("span", { className: kind }, part) : part)), "\n");
        before ? before.element.replaceWith(made) : this.#lines.append(made);
        this.#shown[position] = { key, element: made, after };
      }
      quotes = this.#shown[position].after;
    });
    for (const { element } of this.#shown.splice(texts.length)) element.remove();
    this.#mark();
  }
}
