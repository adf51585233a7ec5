// Answers of @vladmandic/human: BlazeFace and its face mesh find the face, FaceRes reads it.

import { join } from "node:path";
import { answer, largest, models, PACKAGES, require, WASM } from "./tfjs.mjs";

// By its path: the package names its build for WebAssembly to bundlers alone.
const { Human } = require(join(PACKAGES, "@vladmandic/human/dist/human.node-wasm.js"));

const human = new Human({
  backend: "wasm",
  wasmPath: WASM,
  modelBasePath: models("@vladmandic/human/models"),
  cacheSensitivity: 0, // every picture is a new one, not the next of a video
  skipAllowed: false,
  filter: { enabled: false },
  face: {
    detector: { maxDetected: 10 },
    description: { minConfidence: 0 }, // always answers
    iris: { enabled: false },
    emotion: { enabled: false },
  },
  body: { enabled: false },
  hand: { enabled: false },
  object: { enabled: false },
  gesture: { enabled: false },
});
await human.load();
const { tf } = human;

async function detect(pixels) {
  const { face: faces } = await human.detect(pixels);
  const face = largest(faces, ({ box }) => box[2] * box[3]);
  if (!Number.isFinite(face?.genderScore)) return null; // no face, or one that was found and not read
  return 0.5 + (face.gender === "male" ? 0.5 : -0.5) * face.genderScore;
}

async function classify(pixels) {
  const outputs = tf.tidy(() => {
    const face = tf.image.resizeBilinear(tf.cast(tf.expandDims(pixels, 0), "float32"), [224, 224]);
    return human.models.models.faceres.execute(face);
  });
  const [male] = await outputs.find((output) => output.shape[1] === 1).data();
  tf.dispose(outputs);
  return male;
}

await answer(tf, { detect, classify });
