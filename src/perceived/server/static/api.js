// The server, asked politely: it says how long to wait when it is busy, and we do.

const TRIES = 6;

/** An error whose message is a sentence for the reader. */
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let key = "";

/** Use a key from now on; it is kept in memory only. */
export function useKey(value) {
  key = value;
}

/** The server's models and limits. */
export async function models() {
  return (await ask("/v1/models")).json();
}

/** A picture with faces of nobody, as a blob. */
export async function demo() {
  return (await ask("/demo.jpg")).blob();
}

/** The answer for one picture, with activation maps. */
export async function predict(file, name) {
  const form = new FormData();
  form.append("files", file, name);
  const answer = await (await ask("/v1/predict?explain=true", { method: "POST", body: form })).json();
  return answer.pictures[0];
}

async function ask(address, options = {}) {
  const headers = key ? { "X-API-Key": key } : {};
  for (let tried = 1; ; tried += 1) {
    let response;
    try {
      response = await fetch(address, { ...options, headers, cache: "no-store" });
    } catch {
      if (tried === TRIES) throw new Refusal("The server cannot be reached. Is it still running?", 0);
      await pause(tried);
      continue;
    }
    if (response.ok) return response;
    if (response.status !== 503 || tried === TRIES) throw await refusal(response);
    await pause(Number(response.headers.get("Retry-After")) || tried);
  }
}

async function refusal(response) {
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  const problem = isProblem ? await response.json() : {};
  const text = problem.detail ?? `The server answered ${response.status}.`;
  return new Refusal(problem.expected ? `${text}\nExpected: ${problem.expected}` : text, response.status);
}

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000 + Math.random() * 300));
