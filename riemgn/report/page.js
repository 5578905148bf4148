"use strict";
(() => {
  const dialog = document.getElementById("large");
  const stage = dialog.querySelector(".stage");
  const name = document.getElementById("large-name");
  const STEP = 1.3, MOST = 40;
  let svg = null, whole = null, view = null;
  const fingers = new Map();

  const show = () => svg.setAttribute("viewBox", [view.x, view.y, view.w, view.h].map((v) => v.toFixed(3)).join(" "));
  // figure units for one pixel of the screen, and the figure's point under a place on the screen
  const unit = () => {
    const box = stage.getBoundingClientRect();
    return Math.max(view.w / box.width, view.h / box.height);
  };
  const under = (x, y) => {
    const box = stage.getBoundingClientRect(), u = unit();
    return { x: view.x + view.w / 2 + (x - box.left - box.width / 2) * u, y: view.y + view.h / 2 + (y - box.top - box.height / 2) * u };
  };
  const centre = () => {
    const box = stage.getBoundingClientRect();
    return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  };
  const fit = () => { view = { ...whole }; show(); };
  const hold = () => {
    view.x = Math.min(Math.max(view.x, -view.w / 2), whole.w - view.w / 2);
    view.y = Math.min(Math.max(view.y, -view.h / 2), whole.h - view.h / 2);
    show();
  };
  const zoom = (factor, x, y) => {
    const wanted = Math.min(Math.max(whole.w / view.w * factor, 0.5), MOST), by = wanted / (whole.w / view.w);
    const point = under(x, y);
    view = { x: point.x - (point.x - view.x) / by, y: point.y - (point.y - view.y) / by, w: view.w / by, h: view.h / by };
    hold();
  };
  const move = (dx, dy) => { const u = unit(); view.x -= dx * u; view.y -= dy * u; hold(); };

  const open = (button) => {
    svg = button.querySelector("svg").cloneNode(true);
    svg.querySelectorAll("[id]").forEach((part) => part.removeAttribute("id")); // what refers to them finds the figure on the page
    svg.querySelectorAll("defs").forEach((part) => part.remove());
    svg.removeAttribute("width");
    svg.removeAttribute("height");
    svg.style.maxWidth = "none";
    const [x, y, w, h] = svg.getAttribute("viewBox").split(" ").map(Number);
    whole = { x, y, w, h };
    name.textContent = button.dataset.name;
    stage.replaceChildren(svg);
    dialog.showModal();
    stage.focus();
    fit();
    const box = stage.getBoundingClientRect();
    if (box.height > 2 * h / unit()) zoom(Math.min(box.height / (h / unit()), 2.5), box.left, centre().y); // a wide figure on a tall screen
  };

  document.querySelectorAll(".picture").forEach((button) => button.addEventListener("click", () => open(button)));
  const commands = {
    in: () => zoom(STEP, centre().x, centre().y),
    out: () => zoom(1 / STEP, centre().x, centre().y),
    fit,
    close: () => dialog.close(),
  };
  dialog.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", () => commands[button.dataset.do]()));
  dialog.addEventListener("close", () => { stage.replaceChildren(); fingers.clear(); });
  dialog.addEventListener("keydown", (event) => {
    const keys = {
      "+": commands.in, "=": commands.in, "-": commands.out, "0": fit,
      ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
    };
    if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); keys[event.key](); }
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 300), event.clientX, event.clientY);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    stage.classList.add("moving");
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...fingers].find(([id]) => id !== event.pointerId);
    if (other) {
      const apart = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) || 1;
      zoom(apart(now, other[1]) / apart(before, other[1]), (now.x + other[1].x) / 2, (now.y + other[1].y) / 2);
      move((now.x - before.x) / 2, (now.y - before.y) / 2);
    } else {
      move(now.x - before.x, now.y - before.y);
    }
    fingers.set(event.pointerId, now);
  });
  const lift = (event) => { fingers.delete(event.pointerId); if (!fingers.size) stage.classList.remove("moving"); };
  stage.addEventListener("pointerup", lift);
  stage.addEventListener("pointercancel", lift);

  const copy = async (text, code) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      return document.execCommand("copy");
    }
    return true;
  };
  document.querySelectorAll(".copy").forEach((button) => {
    const code = button.parentElement.querySelector("code"), word = button.firstChild;
    button.hidden = false;
    button.addEventListener("click", async () => {
      word.data = (await copy(code.textContent.trim(), code)) ? "Copied" : "Selected";
      setTimeout(() => { word.data = "Copy"; }, 1500);
    });
  });
})();
