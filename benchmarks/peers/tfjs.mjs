// What the runners under TensorFlow.js share: packages, pictures, and one line out for each line in.
//
// A runner is started in the folder that holds node_modules. Each line of its standard input is an id, a
// tab and a path; each line of its standard output is `id,perceived_gender,probability_male,seconds`.

import { readFile } from "node:fs/promises";
import { writeSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

export const PACKAGES = join(process.cwd(), "node_modules");
export const require = createRequire(join(PACKAGES, "index.js"));
export const WASM = join(PACKAGES, "@tensorflow/tfjs-backend-wasm/dist/");
const sharp = require("sharp");

sharp.concurrency(1); // one processor for each runner: the driver starts as many as there are
console.log = console.error; // standard output is for answers
globalThis.fetch = async (url) => new Response(await readFile(fileURLToPath(url))); // models lie on the disk

/** Return the folder of a package's models as a URL. */
export const models = (name) => pathToFileURL(join(PACKAGES, name)).href;

/** Answer every line of standard input with `detect(tensor)`, or `classify(tensor)` of the centre with --crop. */
export async function answer(tf, { detect, classify }) {
  const share = Number(parseArgs({ options: { crop: { type: "string" } } }).values.crop ?? 0);
  for await (const line of createInterface({ input: process.stdin })) {
    const [id, path] = line.split("\t");
    const started = performance.now();
    const pixels = await read(tf, path, share);
    const male = share ? await classify(pixels) : await detect(pixels);
    tf.dispose(pixels);
    const seconds = ((performance.now() - started) / 1e3).toFixed(4);
    const answered = male === null ? "missed," : `${male > 0.5 ? "male" : "female"},${male.toFixed(6)}`;
    writeSync(1, `${id},${answered},${seconds}\n`);
  }
}

/** Return the largest of faces, by `area(face)`, or null where there are none. */
export function largest(faces, area) {
  return faces.reduce((best, face) => (best === null || area(face) > area(best) ? face : best), null);
}

/** Return a picture, or the square in its centre of `share` of its shorter side, as int32 RGB (height, width, 3). */
async function read(tf, path, share) {
  const { data, info } = await sharp(path).autoOrient().toColourspace("srgb").removeAlpha().raw()
    .toBuffer({ resolveWithObject: true });
  return tf.tidy(() => {
    const whole = tf.tensor3d(data, [info.height, info.width, 3], "int32");
    if (!share) return whole;
    const side = Math.round(share * Math.min(info.width, info.height));
    return tf.slice(whole, [(info.height - side) >> 1, (info.width - side) >> 1, 0], [side, side, 3]);
  });
}
