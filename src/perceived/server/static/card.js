// One picture on the page: the picture, its faces outlined, and a list that says the same in words.

import { count, labelOf, percent } from "./answer.js";
import { draw, wipe } from "./overlay.js";

const FEW = 8; // faces in a list that needs no scrolling

/** Make the card of a picture that has no answer yet. */
export function makeCard(name, url) {
  const card = document.getElementById("card").content.firstElementChild.cloneNode(true);
  const image = card.querySelector("img");
  card.classList.add("waiting");
  card.querySelector(".name").textContent = name;
  card.querySelector(".note").textContent = "waiting for its answer";
  image.alt = name;
  image.addEventListener("error", () => card.querySelector(".stage").classList.add("blank"));
  image.src = url;
  return card;
}

/** Show an answer on its card. */
export function showAnswer(card, answer, threshold, showAll) {
  card.classList.remove("waiting");
  if (answer.error) return showError(card, answer.error);
  card.classList.toggle("faceless", !answer.faces.length);
  const note = `${count(answer.faces.length, "face")} · ${answer.width} × ${answer.height} pixels`;
  card.querySelector(".note").textContent = note;
  card.querySelector("img").alt = `${answer.source}: ${count(answer.faces.length, "face")}`;
  card.querySelector(".stage").style.aspectRatio = `${answer.width} / ${answer.height}`;
  const boxes = card.querySelector(".boxes");
  boxes.setAttribute("aria-label", `Faces in ${answer.source}; the arrow keys go from one to the next`);
  if (!answer.faces.length) boxes.remove();
  boxes.append(...answer.faces.map((face, index) => outline(answer, face, index)));
  const list = card.querySelector(".faces");
  list.append(...answer.faces.map((_, index) => row(index)));
  if (answer.faces.length > FEW) Object.assign(list, { tabIndex: 0, ariaLabel: `Faces in ${answer.source}, in words` });
  follow(card, answer, showAll);
  label(card, answer, threshold);
}

/** Say on a card why there is no answer, with a button to try again where that may help. */
export function showError(card, message, tryAgain) {
  card.classList.remove("waiting");
  card.classList.add("failed");
  card.querySelector(".note").textContent = message;
  card.querySelector(".boxes").remove();
  if (!tryAgain) return;
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
  button.addEventListener("click", tryAgain);
  card.querySelector("figcaption").append(button);
}

/** Write every face's label and confidence as the threshold has it. */
export function label(card, answer, threshold) {
  const outlines = card.querySelectorAll(".face");
  const rows = card.querySelectorAll(".faces li");
  answer.faces.forEach((face, index) => {
    const said = labelOf(face, threshold);
    const sure = percent(face.confidence);
    outlines[index].dataset.answer = rows[index].dataset.answer = said;
    outlines[index].setAttribute("aria-label", `Face ${index + 1}: ${said}, ${sure} sure`);
    outlines[index].querySelector("span").textContent = `${said} ${sure}`;
    rows[index].querySelector(".answer").textContent = said;
    rows[index].querySelector(".sure").textContent = sure;
    rows[index].querySelector("i").style.width = `${face.confidence * 100}%`;
  });
}

/** Show where the model looked on every face, or on none. */
export function showActivations(card, answer, all) {
  const maps = all ? answer.faces.map((face) => face.activation).filter(Boolean) : [];
  const canvas = card.querySelector("canvas");
  if (maps.length) draw(canvas, answer.width, answer.height, maps);
  else wipe(canvas);
}

function outline(answer, face, index) {
  const button = document.createElement("button");
  const [x0, y0, x1, y1] = face.box;
  button.type = "button";
  button.className = "face";
  button.tabIndex = index ? -1 : 0;
  const number = document.createElement("b");
  number.textContent = index + 1;
  button.append(number, document.createElement("span"));
  const middle = (x0 + x1) / 2 / answer.width;
  button.classList.toggle("low", y1 > answer.height * 0.9);
  button.classList.toggle("at-left", middle < 0.2);
  button.classList.toggle("at-right", middle > 0.8);
  Object.assign(button.style, {
    left: `${(x0 / answer.width) * 100}%`,
    top: `${(y0 / answer.height) * 100}%`,
    width: `${((x1 - x0) / answer.width) * 100}%`,
    height: `${((y1 - y0) / answer.height) * 100}%`,
  });
  return button;
}

function row(index) {
  const item = document.createElement("li");
  const parts = ["index", "answer", "bar", "sure"].map((name) => {
    const part = document.createElement("span");
    part.className = name;
    return part;
  });
  parts[0].textContent = index + 1;
  parts[2].append(document.createElement("i"));
  item.append(...parts);
  return item;
}

/** Let pointer and keyboard bring out one face: on the picture, in the list, and what the model looked at. */
function follow(card, answer, showAll) {
  const outlines = [...card.querySelectorAll(".face")];
  const rows = [...card.querySelectorAll(".faces li")];
  const show = (index) => {
    [outlines, rows].forEach((list) => list.forEach((one, i) => one.classList.toggle("shown", i === index)));
    const activation = answer.faces[index]?.activation;
    if (activation) draw(card.querySelector("canvas"), answer.width, answer.height, [activation]);
    else showActivations(card, answer, showAll());
  };
  const focused = () => outlines.indexOf(document.activeElement);
  [outlines, rows].forEach((list) => list.forEach((one, index) => {
    one.addEventListener("pointerenter", () => show(index));
    one.addEventListener("pointerleave", () => show(focused()));
  }));
  outlines.forEach((one, index) => {
    one.addEventListener("focus", () => {
      show(index);
      const list = rows[index].parentElement;
      list.scrollTop = rows[index].offsetTop - list.offsetTop - list.clientHeight / 2;
    });
    one.addEventListener("blur", () => show(-1));
    one.addEventListener("click", () => one.focus());
    one.addEventListener("keydown", (event) => step(event, outlines, index));
  });
}

/** Arrow keys, Home and End go from face to face; the picture stays one stop of the Tab key. */
function step(event, outlines, index) {
  const last = outlines.length - 1;
  const to = {
    ArrowRight: Math.min(index + 1, last), ArrowDown: Math.min(index + 1, last),
    ArrowLeft: Math.max(index - 1, 0), ArrowUp: Math.max(index - 1, 0), Home: 0, End: last,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  outlines[index].tabIndex = -1;
  outlines[to].tabIndex = 0;
  outlines[to].focus();
}
