// The only place that makes elements. Telemetry is hostile: text goes in as text, never as HTML, and no attribute
// that could run anything or lead elsewhere is ever set from data.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "onclick") node.addEventListener("click", value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...shown.map((child) => (child instanceof Node ? child : visible(String(child)))));
  return node;
}

// Invisible characters can reverse a line or make two names look alike; whoever approves must see what is there.
const visible = (text) => text.replace(/[^\P{C}\n\t]/gu, "\uFFFD");

export const byId = (id) => document.getElementById(id);

// Replaces what a node holds, keeping what a reader has opened, where the keyboard is, and how far they scrolled.
export function replace(parent, ...children) {
  const opened = new Set([...parent.querySelectorAll("details[open][data-key]")].map((node) => node.dataset.key));
  const closed = new Set([...parent.querySelectorAll("details:not([open])[data-key]")].map((node) => node.dataset.key));
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const scrolled = parent.scrollTop;
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
  for (const node of parent.querySelectorAll("details[data-key]")) {
    if (opened.has(node.dataset.key)) node.open = true;
    if (closed.has(node.dataset.key)) node.open = false;
  }
  if (focused) [...parent.querySelectorAll("[data-key]")].find((node) => node.dataset.key === focused)?.focus();
  parent.scrollTop = scrolled;
}
