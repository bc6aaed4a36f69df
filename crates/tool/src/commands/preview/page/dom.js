// Elements, made without markup.

/** An element with these properties and children; `data` sets data attributes. */
export function element(tag, { data = {}, role, aria = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  Object.assign(made.dataset, data);
  if (role) made.setAttribute("role", role);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

/** A number and a noun: `1 row`, `2 rows`. */
export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Only one of the elements can be reached by Tab; arrow keys lead to the others. `next` names one by a key. */
export function rove(container, selector, next) {
  container.addEventListener("focusin", ({ target }) => {
    const focused = target.closest(selector);
    if (!focused) return;
    for (const other of container.querySelectorAll(`${selector}[tabindex="0"]`)) other.tabIndex = -1;
    focused.tabIndex = 0;
  });
  container.addEventListener("keydown", (event) => {
    const from = event.target.closest(selector);
    const to = from && !event.ctrlKey && !event.metaKey && !event.altKey && next(from, event.key);
    if (!to) return;
    event.preventDefault();
    to.focus();
    to.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}
