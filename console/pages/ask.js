// The one dialog: asks for a name, a note or the token, and shows exactly what is about to be said.

import { byId } from "./dom.js";

const WHO = "reflexarc.who";

export const who = () => byId("who").value.trim();

export function rememberWho() {
  byId("who").value = localStorage.getItem(WHO) || "";
  byId("who").addEventListener("change", () => localStorage.setItem(WHO, who()));
  byId("dialog-cancel").addEventListener("click", () => byId("dialog").close("cancel"));
}

// Resolves to {who, note, token}, or null when the person thinks better of it. What is shown does not change while it
// is open, whatever arrives meanwhile: nobody approves what they have not read.
export function ask({ title, body = [], ok, danger = false, note = false, name = true, token = false }) {
  const dialog = byId("dialog");
  if (dialog.open) return Promise.resolve(null);
  byId("dialog-title").textContent = title;
  byId("dialog-body").replaceChildren(...body);
  field("who", name).value = who();
  field("note", note).value = "";
  field("token", token).value = "";
  byId("dialog-ok").textContent = ok;
  byId("dialog-ok").classList.toggle("danger", danger);
  dialog.returnValue = "cancel";
  dialog.showModal();
  const first = ["who", "token", "note"].map((id) => byId(`dialog-${id}`)).find((input) => input.required && !input.value);
  (first || byId("dialog-ok")).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? answer(name) : null), { once: true });
  });
}

function field(id, shown) {
  byId(`dialog-${id}-row`).hidden = !shown;
  const input = byId(`dialog-${id}`);
  input.required = shown && id !== "note";
  return input;
}

function answer(named) {
  if (named) {
    byId("who").value = byId("dialog-who").value.trim();
    localStorage.setItem(WHO, who());
  }
  return { who: who(), note: byId("dialog-note").value.trim(), token: byId("dialog-token").value.trim() };
}
