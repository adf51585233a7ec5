// Where the model looked: a coarse map of numbers, laid softly over the part of the picture it saw.

/** Draw activation maps on a canvas that covers a picture of width × height pixels. */
export function draw(canvas, width, height, activations) {
  const scale = Math.min(1, 1600 / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  for (const { values, corners: [origin, right, below] } of activations) {
    const map = tinted(values);
    // From the map's pixels to the picture's: two edges and a corner say it all.
    context.setTransform(
      ((right[0] - origin[0]) / map.width) * scale, ((right[1] - origin[1]) / map.width) * scale,
      ((below[0] - origin[0]) / map.height) * scale, ((below[1] - origin[1]) / map.height) * scale,
      origin[0] * scale, origin[1] * scale,
    );
    context.drawImage(map, 0, 0);
  }
}

export function wipe(canvas) {
  canvas.width = canvas.width;
}

/** A map as a small picture: the stronger, the more opaque, from violet over orange to pale yellow. */
function tinted(values) {
  const map = new OffscreenCanvas(values[0].length, values.length);
  const context = map.getContext("2d");
  const image = context.createImageData(map.width, map.height);
  values.flat().forEach((value, index) => image.data.set(colour(value), index * 4));
  context.putImageData(image, 0, 0);
  return map;
}

function colour(value) {
  const stops = [[70, 20, 120], [235, 95, 40], [255, 235, 130]];
  const place = Math.min(value, 0.999) * 2;
  const [from, to, share] = [stops[Math.floor(place)], stops[Math.floor(place) + 1], place % 1];
  return [...from.map((part, index) => part + (to[index] - part) * share), 215 * value ** 0.8];
}
