// What an answer says at a threshold. The server's probabilities are enough, so the slider asks nobody.

export const UNCERTAIN = "uncertain";

/** The label of a face: the likelier one, or "uncertain" where its confidence lies below the threshold. */
export function labelOf(face, threshold) {
  if (face.confidence < threshold) return UNCERTAIN;
  return Object.entries(face.probability).reduce((best, next) => (next[1] > best[1] ? next : best))[0];
}

/** A share as a percentage that is never rounded up, neither to certainty nor over the threshold: 0.9996 is "99.9 %". */
export function percent(share) {
  return `${(Math.floor(share * 1000 + 1e-6) / 10).toFixed(1)}\u00a0%`;
}

/** "1 face", "2 faces", "no face". */
export function count(number, word) {
  return number === 0 ? `no ${word}` : `${number} ${word}${number === 1 ? "" : "s"}`;
}

/** An answer as the server gave it, labelled at another threshold and without the activation maps. */
export function relabelled(answer, threshold) {
  const faces = answer.faces.map(({ activation, ...face }) => ({
    ...face,
    perceived_gender: labelOf(face, threshold),
  }));
  return { ...answer, faces };
}

const COLUMNS = ["source", "width", "height", "face", "x0", "y0", "x1", "y1", "perceived_gender", "confidence", "error"];

/** The answers as CSV (RFC 4180), one row a face; a picture without any has one row too. */
export function toCsv(answers) {
  const rows = answers.flatMap((answer) => {
    const head = [answer.source, answer.width ?? "", answer.height ?? ""];
    if (!answer.faces.length) return [[...head, "", "", "", "", "", "", "", answer.error ?? ""]];
    return answer.faces.map((face, index) => [
      ...head, index + 1, ...face.box, face.perceived_gender, face.confidence, "",
    ]);
  });
  return [COLUMNS, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

/** One cell. A name that a spreadsheet would take for a formula is kept from it by an apostrophe. */
function cell(value) {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
