// Answers of @vladmandic/face-api: SSD MobileNetV1 finds the face, AgeGenderNet reads it.

import { readFile } from "node:fs/promises";
import { answer, largest, models, require, WASM } from "./tfjs.mjs";

const tf = require("@tensorflow/tfjs");
require("@tensorflow/tfjs-backend-wasm").setWasmPaths(WASM);
const faceapi = require("@vladmandic/face-api/dist/face-api.node-wasm.js");

await tf.setBackend("wasm");
await tf.ready();
const folder = models("@vladmandic/face-api/model");
await faceapi.nets.ssdMobilenetv1.loadFromUri(folder);
await faceapi.nets.ageGenderNet.loadFromUri(folder);

const probability = ({ gender, genderProbability: sure }) => (gender === "male" ? sure : 1 - sure);

async function detect(pixels) {
  const faces = await faceapi.detectAllFaces(pixels, new faceapi.SsdMobilenetv1Options()).withAgeAndGender();
  const face = largest(faces, ({ detection }) => detection.box.area);
  return face === null ? null : probability(face);
}

async function classify(pixels) {
  return probability(await faceapi.nets.ageGenderNet.predictAgeAndGender(pixels));
}

await answer(tf, { detect, classify });
