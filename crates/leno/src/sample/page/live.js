// Which version of reviews answered: this page's own answer, those before it in this tab, and, while asked to, one
// more each second. Nothing but the page itself is fetched.
const KEPT = 60;
const EVERY_MS = 1000;
const panel = document.getElementById("answers");
const button = document.getElementById("ask");
const strip = document.getElementById("strip");
const legend = document.getElementById("legend");
let answers = JSON.parse(sessionStorage.getItem("answers") ?? "[]");
let asking = false;

function note(page) {
  const { answer, stars } = page.getElementById("reviews").dataset;
  answers = [...answers, { answer, stars }].slice(-KEPT);
  sessionStorage.setItem("answers", JSON.stringify(answers));
  draw();
}

function draw() {
  for (let i = 0; i < KEPT; i++) {
    const cell = strip.children[i] ?? strip.appendChild(document.createElement("span"));
    const seen = answers[i];
    if (!seen) continue;
    cell.dataset.answer = seen.answer;
    cell.className = seen.stars;
    cell.title = seen.answer;
  }
  const counts = new Map();
  for (const { answer, stars } of answers) {
    const count = counts.get(answer) ?? { stars, times: 0 };
    counts.set(answer, { stars, times: count.times + 1 });
  }
  legend.replaceChildren(...[...counts].sort().map(([answer, { stars, times }]) => {
    const item = document.createElement("li");
    item.className = stars;
    const share = Math.round(100 * times / answers.length);
    item.append(answer, Object.assign(document.createElement("b"), { textContent: `${share} %` }), `${times} of ${answers.length}`);
    return item;
  }));
}

async function ask() {
  if (!asking) return;
  try {
    const text = await (await fetch("/productpage")).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    for (const id of ["details", "reviews"]) {
      document.getElementById(id).replaceWith(document.adoptNode(page.getElementById(id)));
    }
    note(document);
  } catch {
    answers = [...answers, { answer: "no answer", stars: "failed" }].slice(-KEPT);
    draw();
  }
  setTimeout(ask, EVERY_MS);
}

function keepAsking(on) {
  asking = on;
  // It goes on after signing in.
  sessionStorage.setItem("asking", on ? "yes" : "no");
  button.textContent = on ? "Stop" : "Keep asking";
  button.setAttribute("aria-pressed", on);
  if (on) setTimeout(ask, EVERY_MS);
}

panel.hidden = false;
button.addEventListener("click", () => keepAsking(!asking));
note(document);
if (location.hash === "#live" || sessionStorage.getItem("asking") === "yes") keepAsking(true);
