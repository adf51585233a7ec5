// The camera: asked for by a button, seen only here until the picture is taken, and let go afterwards.

const section = document.getElementById("camera");
const video = section.querySelector("video");
const button = document.getElementById("camera-take");

/** Offer the camera where the browser has one to give; `take` receives the picture as a file. */
export function offerCamera(take, warn) {
  const open = document.getElementById("camera-open");
  open.hidden = !navigator.mediaDevices?.getUserMedia;
  open.addEventListener("click", async () => {
    if (!section.hidden) return;
    section.hidden = false;
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    } catch {
      section.hidden = true;
      warn("The camera cannot be used. The browser may have been told not to allow it, or there is none.");
      return;
    }
    warn("");
    if (section.hidden) return close(open); // closed while the browser still asked
    await video.play();
    button.disabled = false;
    button.focus();
  });
  document.getElementById("camera-close").addEventListener("click", () => close(open));
  section.addEventListener("keydown", (event) => event.key === "Escape" && close(open));
  button.addEventListener("click", async () => {
    const picture = await still();
    close(open);
    take(new File([picture], `camera ${new Date().toLocaleTimeString()}.jpg`, { type: "image/jpeg" }));
  });
}

function still() {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

function close(opener) {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  section.hidden = true;
  button.disabled = true;
  opener.focus();
}
