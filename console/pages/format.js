// Numbers and times as people read them. Times arrive as integer nanoseconds; milliseconds are all a person needs.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export const millis = (nanos) => nanos / 1e6;

export function time(nanos) {
  const at = new Date(millis(nanos));
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}

export const iso = (nanos) => new Date(millis(nanos)).toISOString();

export function span(milliseconds) {
  const s = Math.abs(milliseconds) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

export const ago = (nanos) => {
  const passed = Date.now() - millis(nanos);
  return passed < 5000 ? "just now" : `${span(passed)} ago`;
};

export function number(value, unit = "") {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(1).replace(".0e", "e") : String(Number(value.toPrecision(3)));
  return unit && unit !== "1" ? `${text} ${unit}` : text;
}

export const percent = (share) => `${Math.round(share * 100)} %`;

export function size(bytes) {
  if (bytes < 1e3) return `${bytes} B`;
  return bytes < 1e6 ? `${number(bytes / 1e3)} kB` : `${number(bytes / 1e6)} MB`;
}

// Telemetry may be as long as it likes; a line that is read may not.
export const clip = (text, most = 300) => (text.length > most ? `${text.slice(0, most)}…` : text);

// deployment_regression -> deployment regression
export const words = (name) => String(name).replaceAll("_", " ");

export const place = (entity) =>
  [entity.environment, entity.service, entity.instance].filter((part) => part !== null && part !== undefined).join(" / ");

export function value(thing) {
  if (thing === undefined) return "–";
  return typeof thing === "string" ? thing : JSON.stringify(thing);
}
