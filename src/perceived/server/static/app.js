// The page put together: pictures come in, are sent a few at a time, and their answers are shown.

import { count, labelOf, percent, relabelled, toCsv, UNCERTAIN } from "./answer.js";
import { demo, models, predict, useKey } from "./api.js";
import { offerCamera } from "./camera.js";
import { label, makeCard, showActivations, showAnswer, showError } from "./card.js";

const AT_ONCE = 3;
const find = (id) => document.getElementById(id);

let server = null;
let chosen = null; // by the slider; until then the server's own threshold
let entries = []; // { file, name, card, url, answer }
let queue = [];
let active = 0;
let locked = false; // until there is a key

const threshold = () => chosen ?? server?.models[0].threshold ?? find("threshold").value / 100;

/** Tell those who listen to the page what happens. */
function say(text) {
  find("status").textContent = text;
}

/** Tell everybody what went wrong; nothing takes it back. */
function warn(text = "") {
  find("alert").textContent = text;
  find("alert").hidden = !text;
}

function add(files, rename = (file) => file.name) {
  const fresh = [...files].map((file) => {
    const name = (rename(file) || "picture").replace(/\p{C}/gu, "\uFFFD"); // as the server shows it
    const url = URL.createObjectURL(file);
    return { file, name, url, card: makeCard(name, url), answer: null };
  });
  if (!fresh.length) return;
  warn();
  document.body.classList.add("busy");
  find("results").hidden = false;
  find("pictures").prepend(...fresh.map((entry) => entry.card));
  entries = [...fresh, ...entries];
  queue.push(...fresh);
  say(`${count(fresh.length, "picture")} on the way.`);
  pump();
}

function pump() {
  while (!locked && active < AT_ONCE && queue.length) {
    active += 1;
    answer(queue.shift()).finally(() => {
      active -= 1;
      pump();
    });
  }
  const done = entries.filter((entry) => entry.answer).length;
  find("progress").hidden = done === entries.length || entries.length < 2;
  Object.assign(find("progress").querySelector("progress"), { value: done, max: entries.length || 1 });
  find("progress").querySelector("span").textContent = `${done} of ${entries.length}`;
}

async function answer(entry) {
  try {
    const tooLarge = server && entry.file.size > server.limits.file_bytes;
    if (tooLarge) throw new Error(`${entry.name} is larger than the ${megabytes(server.limits.file_bytes)} this server takes.`);
    entry.answer = { ...(await predict(entry.file, entry.name)), source: entry.name };
    showAnswer(entry.card, entry.answer, threshold(), () => find("show-all").checked);
    showActivations(entry.card, entry.answer, find("show-all").checked);
  } catch (error) {
    if (error.status === 401) return askForKey(entry);
    entry.answer = { source: entry.name, width: null, height: null, faces: [], error: error.message };
    showError(entry.card, error.message, error.status === 0 ? () => again(entry) : undefined);
  }
  refresh();
}

/** Ask once more for a picture that the server could not be reached for. */
function again(entry) {
  const card = makeCard(entry.name, entry.url);
  entry.card.replaceWith(card);
  Object.assign(entry, { card, answer: null });
  queue.push(entry);
  find("files").focus();
  pump();
  refresh();
}

/** Hold the picture back until there is a key. */
function askForKey(entry) {
  queue.unshift(entry);
  locked = true;
  find("key").hidden = false;
  find("key-input").focus();
  say("This server asks for a key.");
}

const answered = () => entries.filter((entry) => entry.answer);
const megabytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MB`;

/** Write what depends on all answers and the threshold: the summary, the table, and the word aloud. */
function refresh() {
  const faces = answered().flatMap((entry) => entry.answer.faces);
  const labels = faces.map((face) => labelOf(face, threshold()));
  const tally = [...new Set([...(server?.models[0].labels ?? []), UNCERTAIN])]
    .map((name) => `${labels.filter((one) => one === name).length} ${name}`)
    .join(", ");
  const failed = answered().filter((entry) => entry.answer.error).length;
  const sentence = `${count(faces.length, "face")}: ${tally}${failed ? `; ${count(failed, "picture")} without an answer` : ""}`;
  find("summary").textContent = sentence;
  const mark = `${Number((threshold() * 100).toFixed(1))}\u00a0%`;
  find("threshold-text").textContent = mark;
  find("threshold").setAttribute("aria-valuetext", `${mark} sure`);
  find("as-table").querySelector("tbody").replaceChildren(...answered().flatMap(rows));
  say(`${sentence}.`);
}

function rows({ answer: { source, faces, error } }) {
  if (!faces.length) return [tableRow([source, "", error ? error.split("\n")[0] : "no face found", "", ""])];
  return faces.map((face, index) => {
    const [x0, y0, x1, y1] = face.box.map(Math.round);
    const cells = [source, index + 1, labelOf(face, threshold()), percent(face.confidence), `${x1 - x0} × ${y1 - y0}`];
    return tableRow(cells);
  });
}

function tableRow(cells) {
  const row = document.createElement("tr");
  cells.forEach((text, index) => {
    const cell = row.insertCell();
    cell.textContent = text;
    if (index > 2) cell.className = "number";
  });
  return row;
}

function save(text, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const toSave = () => answered().map((entry) => relabelled(entry.answer, threshold()));

function clear() {
  entries.forEach((entry) => URL.revokeObjectURL(entry.url));
  entries = [];
  queue = [];
  find("pictures").replaceChildren();
  find("results").hidden = true;
  document.body.classList.remove("busy");
  say("All pictures are gone from this page.");
  find("files").focus();
  pump();
}

async function start() {
  try {
    server = await models();
  } catch (error) {
    if (error.status !== 401) warn(error.message);
    return error.status;
  }
  warn();
  const [model] = server.models;
  if (chosen === null) find("threshold").value = Math.round(model.threshold * 100);
  find("about-server").textContent = `Model “${model.name}” (${model.sha256.slice(0, 12)}) · perceived ${server.version}`;
  refresh();
}

find("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
find("demo").addEventListener("click", async () => {
  try {
    add([new File([await demo()], "faces of nobody.jpg", { type: "image/jpeg" })]);
  } catch (error) {
    warn(error.message);
  }
});
find("threshold").addEventListener("input", (event) => {
  // The model's own threshold lies between two steps of the slider: the nearer one stands for it.
  const itsOwn = Math.max(event.target.min, Math.round((server?.models[0].threshold ?? 0) * 100));
  chosen = itsOwn < 100 && Number(event.target.value) === itsOwn ? null : event.target.value / 100;
  answered().forEach((entry) => !entry.answer.error && label(entry.card, entry.answer, threshold()));
  refresh();
});
find("show-all").addEventListener("change", (event) => {
  answered().forEach((entry) => !entry.answer.error && showActivations(entry.card, entry.answer, event.target.checked));
});
find("save-json").addEventListener("click", () => {
  save(JSON.stringify(toSave(), null, 2), "application/json", "perceived.json");
});
find("save-csv").addEventListener("click", () => save(toCsv(toSave()), "text/csv", "perceived.csv"));
find("clear").addEventListener("click", clear);

document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("intake").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) find("intake").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("intake").classList.remove("over");
  if (event.dataTransfer.files.length) add(event.dataTransfer.files);
  else warn("That was no picture file: a picture on another page is only a link. Save it first, or copy and paste it.");
});

find("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = find("key-input").value.trim();
  useKey(key);
  const refused = /^[!-~]+$/.test(key) ? await start() : 401;  // a header carries no other letters
  if (refused === 401) warn("This key does not open the server.");
  if (refused !== undefined) {
    find("key-input").select();
    return;
  }
  find("key").hidden = true;
  find("files").focus();
  locked = false;
  pump();
});

offerCamera((file) => add([file]), warn);
start();
