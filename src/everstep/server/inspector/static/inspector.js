// Keeps a page of the inspector up to date and sends what its buttons and forms say to the control API.
"use strict";

const EVERY_MS = 1000;
const said = document.getElementById("said");
let refreshing = false;
let lost = false;

function say(text, bad = false) {
  said.textContent = text;
  said.classList.toggle("bad", bad);
}

async function refresh() {
  if (refreshing) return;
  refreshing = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = page.getElementById("main");
    if (main) morph(document.getElementById("main"), main);
    if (lost) say("");
    lost = false;
  } catch {
    lost = true;
    say("The server does not answer; trying again.", true);
  } finally {
    refreshing = false;
  }
}

// Turns one element into another by changing only what differs, so that focus, selections, scrolled boxes, what was
// typed and what was unfolded stay as they are.
function morph(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const match = find(old, at, next);
    if (!match) {
      old.insertBefore(next, at);
    } else {
      if (match !== at) old.insertBefore(match, at);
      if (match.nodeType === Node.ELEMENT_NODE) morph(match, next);
      else if (match.data !== next.data) match.data = next.data;
      at = match.nextSibling;
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function find(parent, at, next) {
  const key = idOf(next);
  if (key) return [...parent.children].find((child) => idOf(child) === key && child.nodeName === next.nodeName);
  return at && !idOf(at) && at.nodeName === next.nodeName ? at : null;
}

// Not `node.id`: a form's field of that name would be in its place.
function idOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("id") : null;
}

async function send(method, url, body) {
  try {
    const answer = await fetch(url, { method, body, headers: { "content-type": "application/json" } });
    const text = await answer.text();
    const envelope = answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : null;
    if (envelope?.success) return envelope.result;
    say(envelope ? envelope.errors.map((error) => error.message).join("; ") : text, true);
  } catch {
    say("The server does not answer; nothing was changed as far as this page knows.", true);
  }
  return null;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button || (button.dataset.ask && !confirm(button.dataset.ask))) return;
  const done = await send("PATCH", button.dataset.url, JSON.stringify({ status: button.dataset.action }));
  if (done) {
    say(`${button.dataset.action}: it is ${done.status} now.`);
    await refresh();
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  event.preventDefault();
  const field = (name) => form.elements[name].value.trim();
  if (idOf(form) === "send-event") {
    const done = await send("POST", `${form.dataset.url}/${encodeURIComponent(field("type"))}`, field("payload"));
    if (done) {
      say(`Event ${field("type")} is on its way.`);
      form.reset();
      await refresh();
    }
  } else if (idOf(form) === "create") {
    const body = {};
    if (field("instance_id")) body.instance_id = field("instance_id");
    if (field("params")) body.params = field("params");
    const done = await send("POST", form.dataset.url, JSON.stringify(body));
    if (done) location.assign(`${form.dataset.page}/${encodeURIComponent(done.id)}`);
  }
});

const asJson = document.getElementById("as-json");
const query = new URLSearchParams(location.search);
query.set("format", "json");
asJson.href = `?${query}`;

setInterval(() => {
  if (!document.hidden && document.getElementById("main").hasAttribute("data-live")) refresh();
}, EVERY_MS);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
