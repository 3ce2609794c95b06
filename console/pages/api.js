// Talking to the console: JSON in and out, and one event stream that begins with everything and tells every change.

const TOKEN = "reflexarc.token";

export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// For this tab only: a token left in a browser for good would outlive the person's shift.
export const keepToken = (token) => sessionStorage.setItem(TOKEN, token);

function headers(more = {}) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function checked(response) {
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Failure(response.status, problem.detail || `${response.status} ${response.statusText}`);
}

export async function get(path) {
  const response = await fetch(path, { headers: headers(), signal: AbortSignal.timeout(10_000) });
  return (await checked(response)).json();
}

export async function say(control) {
  const response = await fetch("/api/controls", {
    method: "POST",
    headers: headers({ "Content-Type": "application/json" }),
    body: JSON.stringify(control),
    signal: AbortSignal.timeout(15_000),
  });
  return (await checked(response)).json();
}

// Not EventSource: that cannot send a token. Resolves when the server ends the stream; rejects when it breaks.
export async function follow(path, onOpen, onEvent) {
  const silence = new AbortController();
  let timer;
  // The server says something every 15 s; after three times that the line is dead, whatever the socket believes.
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Failure(0, "no word from the console")), 45_000);
  };
  heard();
  try {
    const response = await checked(await fetch(path, { headers: headers(), signal: silence.signal }));
    onOpen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) deliver(block, onEvent);
    }
  } finally {
    clearTimeout(timer);
  }
}

function deliver(block, onEvent) {
  const fields = Object.fromEntries(block.split("\n").map((line) => {
    const colon = line.indexOf(": ");
    return [line.slice(0, colon), line.slice(colon + 2)];
  }));
  if (fields.event) onEvent(fields.event, JSON.parse(fields.data));
}
